#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: mlq authors
#
# Does the simulator bite? Each patch of mutants/ plants one bug into a copy of the tree; seeds are
# run until one fails. Prints a table, and returns 1 when fewer than 95 % were found, or when a
# regression that is named after a planted bug does not see it.
#   mutants.sh [SECONDS for each (300)] [NAME...]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
limit=${1:-300}
[ $# -eq 0 ] || shift
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM
steps=3000

copy_tree() {
    rm -rf "$work/tree"
    mkdir -p "$work/tree/tests" "$work/tree/lib" "$work/tree/scheduler" "$work/tree/worker"
    cp -r "$root/tests/sim" "$work/tree/tests/"
    cp -r "$root/lib/base" "$root/lib/sys" "$work/tree/lib/"
    cp -r "$root/scheduler/core" "$work/tree/scheduler/"
    cp -r "$root/worker/agent" "$work/tree/worker/"
}

# The whole once; then, for each bug, the file that has it.
compile() { # SOURCE OBJECT
    (cd "$work/tree" && gcc -O2 -std=c17 -D_GNU_SOURCE -I. -c -o "$2" "$1")
}
object_of() { # SOURCE
    echo "$work/objects/$(echo "$1" | tr / _).o"
}
copy_tree
mkdir "$work/objects"
for source in $(cd "$work/tree" && sh tests/sim/build.sh . - echo | tr ' ' '\n' | grep '\.c$'); do
    compile "$source" "$(object_of "$source")"
done

blind=0
found=0
total=0
echo "| planted bug | what it does | in | found by seed | after | as |"
echo "|---|---|---|---|---|---|"
for patch in "$here"/mutants/*.patch; do
    name=$(basename "$patch" .patch)
    case " $* " in
    "  " | *" $name "*) ;;
    *) continue ;;
    esac
    copy_tree
    (cd "$work/tree" && patch -s -p1 -F0) < "$patch"
    place=$(sed -n 's/^--- a\///p' "$patch")
    compile "$place" "$work/patched.o"
    objects=$(find "$work/objects" -name '*.o' ! -path "$(object_of "$place")" | sort)
    # shellcheck disable=SC2086
    gcc -o "$work/mlq-sim" "$work/patched.o" $objects
    total=$((total + 1))
    began=$(date +%s%N)
    if timeout "$limit" "$work/mlq-sim" --seed 1 --seeds 100000000 --steps $steps > /dev/null 2> "$work/err"; then
        rc=0
    else
        rc=$?
    fi
    tenths=$((($(date +%s%N) - began) / 100000000))
    if [ "$rc" -eq 1 ]; then
        found=$((found + 1))
        seed=$(sed -n 's/^seed \([0-9]*\),.*/\1/p' "$work/err")
        how=$(sed -n 's/^mlq-sim: FAILED: //p' "$work/err" | tr '|' '/')
        echo "| $name | $(head -1 "$patch") | $place | $seed | $((tenths / 10)).$((tenths % 10)) s | $how |"
    else
        echo "| $name | $(head -1 "$patch") | $place | **none** | | |"
    fi
    if [ -e "$here/regressions/$name" ] &&
        "$work/mlq-sim" --replay "$here/regressions/$name" > /dev/null 2>&1; then
        echo "regressions/$name does not see $name" >&2
        blind=$((blind + 1))
    fi
done
echo
echo "$found of $total found"
[ $((found * 100)) -ge $((total * 95)) ] && [ "$blind" -eq 0 ]
