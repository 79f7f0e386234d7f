#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: mlq authors
#
# Does the simulator bite? Each patch of mutants/ plants one bug into a copy of the tree; seeds are
# run until one fails. Prints a table, and returns 1 when fewer than 95 % were found.
#   mutants.sh [SECONDS for each (300)] [NAME...]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
limit=${1:-300}
[ $# -eq 0 ] || shift
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM
found=0
total=0

echo "| planted bug | what it does | found | seed | how |"
echo "|---|---|---|---|---|"
for patch in "$here"/mutants/*.patch; do
    name=$(basename "$patch" .patch)
    case " $* " in
    "  " | *" $name "*) ;;
    *) continue ;;
    esac
    rm -rf "$work/tree"
    mkdir -p "$work/tree/tests" "$work/tree/lib" "$work/tree/scheduler" "$work/tree/worker"
    cp -r "$root/tests/sim" "$work/tree/tests/"
    cp -r "$root/lib/base" "$root/lib/sys" "$work/tree/lib/"
    cp -r "$root/scheduler/core" "$work/tree/scheduler/"
    cp -r "$root/worker/agent" "$work/tree/worker/"
    (cd "$work/tree" && patch -s -p1) < "$patch"
    sh "$here/build.sh" "$work/tree" "$work/mlq-sim" gcc -O2
    total=$((total + 1))
    if timeout "$limit" "$work/mlq-sim" --seed 1 --seeds 1000000 --steps 6000 > /dev/null 2> "$work/err"; then
        rc=0
    else
        rc=$?
    fi
    if [ "$rc" -eq 1 ]; then
        found=$((found + 1))
        seed=$(sed -n 's/^seed \([0-9]*\),.*/\1/p' "$work/err")
        how=$(sed -n 's/^mlq-sim: FAILED: //p' "$work/err" | tr '|' '/')
        echo "| $name | $(head -1 "$patch") | yes | $seed | $how |"
    else
        echo "| $name | $(head -1 "$patch") | **no** | | |"
    fi
done
echo
echo "$found of $total found"
[ $((found * 100)) -ge $((total * 95)) ]
