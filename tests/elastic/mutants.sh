#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: mlq authors
#
# Does the elastic test bite? Each patch of mutants/ plants one bug of order or of state into a copy of the tree;
# mlq-op is built, and the rows that the patch names are run: with three ranks by the network, since where ranks share
# memory a step is over before anything can happen in it; unless the patch names its ranks, collectives and repeats. Prints a
# table, and returns 1 when one was not found.
#   mutants.sh [NAME...]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM
missed=0

mkdir "$work/tree"
(cd "$root" && git ls-files -z | xargs -0 cp --parents -t "$work/tree")
named() { # WHAT DEFAULT: what the patch says of it
    said=$(sed -n "s/^$1: //p" "$patch")
    echo "${said:-$2}"
}

cmake -S "$work/tree" -B "$work/build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DMLQ_TESTS=OFF >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
echo "| planted bug | what it does | found by |"
echo "|---|---|---|"
for patch in "$here"/mutants/*.patch; do
    name=$(basename "$patch" .patch)
    case " $* " in
    "  " | *" $name "*) ;;
    *) continue ;;
    esac
    (cd "$work/tree" && patch -s -p1 -F0) <"$patch"
    cmake --build "$work/build" --target mlq-op >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
    sed -n 's/^rows: /--only=/p' "$patch" | tr '\n' '\0' | xargs -0 python3 "$here/elastic.py" --bin "$work/build/bin" \
        --work "$work/run" --collectives "$(named collectives gloo)" --ranks "$(named ranks 3)" --repeat "$(named repeat 8)" --seed 1 >"$work/out" 2>&1 || true
    (cd "$work/tree" && patch -s -R -p1) <"$patch"
    found=$(sed -n 's/^FAILED: \(.*\) ([^(]*)$/\1/p' "$work/out" | head -1)
    grep -q '^| ' "$work/out" || { cat "$work/out" >&2; exit 1; }
    echo "| $name | $(head -1 "$patch") | ${found:-**no**} |"
    [ -n "$found" ] || missed=$((missed + 1))
done
[ "$missed" -eq 0 ]
