#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: mlq authors
#
# Installs what the tests need, builds with the sanitizers, runs every test, says which were skipped
# and why, and ends with ctest's summary and its exit status. Arguments go to ctest:
#
#   sh tests/run.sh                  everything
#   sh tests/run.sh -L tidy          one label
#   sh tests/run.sh -R test_fs -V    one test, with its output
set -eu
cd "$(dirname "$0")/.."
source_dir=$PWD
build_dir=$source_dir/build/asan

say() { printf '== %s\n' "$*"; }

say "packages"
sh deploy/install-packages.sh --tests

say "build (address, leak and undefined-behaviour sanitizers) in build/asan"
mkdir -p "$build_dir"
if ! cmake --preset asan >"$build_dir/configure.log" 2>&1 </dev/null; then
    cat "$build_dir/configure.log"
    exit 1
fi
cmake --build --preset asan </dev/null

# A pipeline's status is its last command's, so ctest's own comes through a file. The summary is
# held back until the skipped tests have been listed.
say "tests"
status_file=$build_dir/tests-status
summary_file=$build_dir/tests-summary
: >"$summary_file"
echo 1 >"$status_file"
{
    ctest --test-dir "$build_dir" -j"$(nproc)" --timeout 300 --output-on-failure \
        --no-tests=error "$@" </dev/null 2>&1 && echo 0 >"$status_file" || echo $? >"$status_file"
} | {
    in_summary=no
    while IFS= read -r line || [ -n "$line" ]; do
        case $line in
        [0-9]*"% tests passed"*) in_summary=yes ;;
        esac
        if [ "$in_summary" = yes ]; then
            printf '%s\n' "$line" >>"$summary_file"
        else
            printf '%s\n' "$line"
        fi
    done
}
status=$(cat "$status_file")

log=$build_dir/Testing/Temporary/LastTest.log
if [ -f "$log" ]; then
    python3 tests/tidy/skipped.py "$log" "$summary_file"
fi
cat "$summary_file"
exit "$status"
