#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: mlq authors
#
#   run.sh --build          build all fuzz targets (preset fuzz, clang) into build/fuzz
#   run.sh NAME             fuzz one for MLQ_FUZZ_SECONDS (60), from tests/fuzz/corpus/NAME
#   run.sh --minimise NAME  what the corpus and build/fuzz/found/NAME cover, with the fewest inputs,
#                           becomes tests/fuzz/corpus/NAME
#
# What is new lies in build/fuzz/found/NAME, and an input that fails in build/fuzz/findings/NAME-*: mend
# what it shows, then keep it in the corpus.
# A finding ends with 1: libFuzzer's own 77 is what ctest takes for a test that was skipped.
set -eu
cd "$(dirname "$0")/../.."
if ! command -v clang >/dev/null; then
    echo "clang is missing: apt-get install clang libclang-rt-14-dev"
    exit 77
fi
export ASAN_OPTIONS=detect_leaks=1:allocator_may_return_null=0 UBSAN_OPTIONS=print_stacktrace=1
export OPENBLAS_NUM_THREADS=1
case ${1:-} in
--build)
    mkdir -p build/fuzz
    cmake --preset fuzz >build/fuzz/configure.log 2>&1 || { cat build/fuzz/configure.log; exit 1; }
    exec cmake --build --preset fuzz
    ;;
--minimise)
    name=$2
    corpus=tests/fuzz/corpus/$name
    mkdir -p "build/fuzz/least/$name"
    find "build/fuzz/least/$name" -type f -delete
    "build/fuzz/tests/fuzz_$name" -set_cover_merge=1 -use_counters=0 -max_len=1024 "build/fuzz/least/$name" \
        "$corpus" "build/fuzz/found/$name"
    find "$corpus" -type f ! -name 'found-*' ! -name 'seed-*' -delete
    cp "build/fuzz/least/$name"/* "$corpus"
    ;;
*)
    name=$1
    mkdir -p "build/fuzz/found/$name" build/fuzz/findings
    exec "build/fuzz/tests/fuzz_$name" -max_total_time="${MLQ_FUZZ_SECONDS:-60}" -timeout=10 \
        -rss_limit_mb=2048 -max_len=16384 -print_final_stats=1 -verbosity=0 -error_exitcode=1 \
        -artifact_prefix="build/fuzz/findings/$name-" \
        "build/fuzz/found/$name" "tests/fuzz/corpus/$name"
    ;;
esac
