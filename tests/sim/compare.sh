#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: mlq authors
#
# One seed gives one hash over all actions, whatever compiler and optimisation built the program.
# Prints the seeds that differ and returns 1, or says that all are the same. 77: a
# compiler is missing.
#   compare.sh [SEEDS [STEPS]]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
seeds=${1:-100}
steps=${2:-6000}
for compiler in gcc clang; do
    if ! command -v $compiler >/dev/null; then
        echo "compare.sh: there is no $compiler: deploy/install-packages.sh --tests installs it"
        exit 77
    fi
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM

first=
for build in "gcc -O0" "gcc -O2" "clang -O2"; do
    name=$(echo "$build" | tr -d ' ')
    # shellcheck disable=SC2086
    sh "$here/build.sh" "$root" "$work/$name" $build
    "$work/$name" --seed 1 --seeds "$seeds" --steps "$steps" > "$work/$name.txt"
    if [ -z "$first" ]; then
        first=$name
    elif ! diff "$work/$first.txt" "$work/$name.txt"; then
        echo "$first and $name do not do the same" >&2
        exit 1
    fi
    echo "$build: $(sha256sum < "$work/$name.txt" | cut -c1-16) over $seeds seeds"
done
