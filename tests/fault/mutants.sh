#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: mlq authors
#
# Does the fault test bite? Each patch of mutants/ plants one bug into a copy of the tree, in parts that the
# simulator does not run; the copy is built, and the kinds of faults that the patch names are dealt until
# something is found. Prints a table, and returns 1 when one was not found.
#   mutants.sh [MINUTES for each (3)] [NAME...]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
minutes=${1:-3}
[ $# -eq 0 ] || shift
work=$(mktemp -d)
chmod 0755 "$work" # PostgreSQL runs as a user of its own
trap 'rm -rf "$work"' EXIT INT TERM
missed=0

# Tries of half a minute, since a run is judged at its end. Prints what was found, or nothing.
hunt() { # PATCH
    sed -n 's/^kinds: //p' "$1" | tr ',' '\n' | sed 's/^/--only=/' >"$work/kinds"
    seed=1
    while [ $((seed - 1)) -lt $((minutes * 2)) ]; do
        tr '\n' '\0' <"$work/kinds" | xargs -0 python3 "$here/fault.py" --bin "$work/build/bin" --minutes 0.5 --pause 0.6 \
            --rate 2 --drain 60 --seed "$seed" --work "$work/run" >"$work/out" 2>&1 || true
        if grep -q '^FOUND' "$work/out"; then
            echo "$(sed -n 's/^FOUND \([a-z]*\):.*/\1/p' "$work/out" | sort | uniq -c | awk '{ printf "%s%s %s", s, $1, $2; s = ", " }') (seed $seed)"
            return
        fi
        grep -q '^lost 0, doubled 0, other findings 0' "$work/out" || { cat "$work/out" >&2; return; }
        seed=$((seed + 1))
    done
}

mkdir "$work/tree"
(cd "$root" && git ls-files -z | xargs -0 cp --parents -t "$work/tree")
cmake -S "$work/tree" -B "$work/build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DMLQ_TESTS=OFF >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
echo "| planted bug | what it does | found |"
echo "|---|---|---|"
for patch in "$here"/mutants/*.patch; do
    name=$(basename "$patch" .patch)
    case " $* " in
    "  " | *" $name "*) ;;
    *) continue ;;
    esac
    (cd "$work/tree" && patch -s -p1) <"$patch"
    cmake --build "$work/build" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
    found=$(hunt "$patch")
    (cd "$work/tree" && patch -s -R -p1) <"$patch"
    echo "| $name | $(head -1 "$patch") | ${found:-**no**} |"
    [ -n "$found" ] || missed=$((missed + 1))
done
[ "$missed" -eq 0 ]
