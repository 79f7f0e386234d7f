#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: mlq authors
#
# Rival, physical limit and mlq side by side in one run: medians as JSON and a Markdown table.
#
#   tests/bench/run.sh [--quick] [--repeats N] [--out DIR] [start|jobs|array|spawn|csv|memory|train ...]
#
# train is all of mlp, cnn28, cnn32, levels, kill, logistic and fashion, which can be named, too (train/train.py).
# Five repeats (N) in turns; --quick measures less in each; DIR (default: build/bench/report) takes results.json and table.md.
# Rivals that are not installed are skipped, with a word on how to get them. Everything listens on
# loopback or a Unix socket, in a folder of its own that is gone afterwards.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
build=$root/build/bench
out=$build/report
repeats=5
scale=4
quick=()
wanted=()
trainings=()
while [ $# -gt 0 ]; do
    case $1 in
    --quick) scale=1 quick=(--quick) ;;
    --repeats) repeats=$2; shift ;;
    --out) out=$2; shift ;;
    start | jobs | array | spawn | csv | memory | train) wanted+=("$1") ;;
    mlp | cnn28 | cnn32 | levels | kill | logistic | fashion) wanted+=(train) trainings+=("$1") ;;
    *) sed -n '5,12p' "$0" | sed 's/^# \{0,1\}//' >&2; exit 2 ;;
    esac
    shift
done

say() { printf '== %s\n' "$*" >&2; }
skip() { printf '== SKIPPED: %s\n' "$*" >&2; }
is_wanted() { [ ${#wanted[@]} -eq 0 ] || [[ " ${wanted[*]} " == *" $1 "* ]]; }

say "build (release, in build/bench)"
mkdir -p "$build" "$out"
(cd "$root" && cmake --preset bench >"$build/configure.log" 2>&1 </dev/null) || { cat "$build/configure.log"; exit 1; }
(cd "$root" && cmake --build --preset bench --target mlq mlq-scheduler mlq-worker mlq-shim mlq-op mlq-task \
    bench_mlq bench_spawn bench_gemm >"$build/build.log" 2>&1 </dev/null) || { tail -n 40 "$build/build.log"; exit 1; }

export PATH=$build/bin:$PATH
work=$(mktemp -d -t mlq-bench.XXXXXX)
chmod 755 "$work"
export MLQ_HOME=$work/home
results=$work/results
: >"$results"
finish() {
    mlq down --purge -y >/dev/null 2>&1 || true
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM
system_python=$(PATH=$(getconf PATH) command -v python3)
modules=${MLQ_BENCH_NODE:-$build/node}

# measure SECTION WHO WHAT COMMAND...: one repeat; the command prints name=value words.
measure() {
    local section=$1 who=$2 what=$3 words
    shift 3
    words=$("$@" 2>"$work/errors") || { cat "$work/errors" >&2; echo "failed: $*" >&2; exit 1; }
    printf '%s\t%s\t%s\t%s\n' "$section" "$who" "$what" "$words" >>"$results"
    say "$section $who ($what): $words"
}

cluster_up() { # a fresh one for each section, as a user's
    mlq down --purge -y >/dev/null 2>&1 || true
    mlq up --workers 2 --cpus 2 --memory 4Gi >/dev/null 2>&1
    export PGHOST=$MLQ_HOME/run PGUSER=mlq PGDATABASE=postgres
    [ -S "$PGHOST/.s.PGSQL.5432" ] || PGHOST=$(sed -n 's/.*"pg_socket_dir": *"\([^"]*\)".*/\1/p' "$MLQ_HOME/cluster.json")
    psql -Xqc "CREATE DATABASE rival" -c "CREATE TABLE public.line (id bigint, at timestamptz, body text)"
}

# ---- From submission to start ----

# A transaction of one row: durable, and nothing else.
limit_insert() {
    printf "INSERT INTO public.line VALUES (1, now(), 'a job and nothing else');\n" >"$work/insert.sql"
    (cd "$work" && rm -f insert.log.* && pgbench -n -c 1 -t "$1" -M prepared -f insert.sql -l --log-prefix insert.log >/dev/null 2>&1)
    sort -n -k3,3 "$work"/insert.log.* | awk '{v[NR] = $3} END {p50 = v[int(NR * 0.5) + 1]; p99 = v[int(NR * 0.99)]
        printf "start_p50_us=%d start_p99_us=%d accept_p50_us=%d\n", p50, p99, p50}'
}

graphile() {
    PGDATABASE=rival node "$here/rival_graphile.mjs" "$modules" "$@"
}

has_graphile=no
if command -v node >/dev/null && [ -d "$modules/node_modules/graphile-worker" ]; then
    has_graphile=yes
elif is_wanted start || is_wanted jobs; then
    skip "graphile-worker: npm i --prefix $modules graphile-worker (or MLQ_BENCH_NODE=DIR)"
fi

section_start() {
    cluster_up
    for _ in $(seq "$repeats"); do
        measure start limit "one-row INSERT, committed" limit_insert $((scale * 500))
        [ $has_graphile = no ] || measure start rival graphile-worker graphile latency $((scale * 50))
        measure start mlq mlq bench_mlq "$MLQ_HOME" latency $((scale * 50))
    done
}

# ---- Throughput of the record ----

# One connection appends a row for each job, 10,000 a transaction. What it leaves to be written is written before
# the next one is measured.
limit_copy() {
    local rows=$1 began ended
    [ -f "$work/rows" ] || seq 10000 | awk '{printf "%d\t2026-01-01\t%0128d\n", $1, $1}' >"$work/rows"
    [ -f "$work/copy.sql" ] || for _ in $(seq $((rows / 10000))); do echo "\\copy public.line from '$work/rows'"; done >"$work/copy.sql"
    psql -Xqc "TRUNCATE public.line"
    began=$(date +%s%N)
    psql -Xqf "$work/copy.sql"
    ended=$(date +%s%N)
    psql -Xqc CHECKPOINT
    sync -f "$work"
    awk -v rows="$rows" -v ns=$((ended - began)) 'BEGIN {printf "jobs_per_s=%.0f tasks_per_s=%.0f\n", rows * 1e9 / ns, rows * 1e9 / ns}'
}

# Of a cluster that runs: the first jobs after its start do not count.
section_jobs() {
    cluster_up
    bench_mlq "$MLQ_HOME" jobs 10000 1000 >/dev/null
    for _ in $(seq "$repeats"); do
        measure jobs limit "append-only COPY" limit_copy 200000
        [ $has_graphile = no ] || measure jobs rival graphile-worker graphile jobs $((scale * 10000))
        measure jobs mlq mlq bench_mlq "$MLQ_HOME" jobs $((scale * 25000)) 1000
    done
}

section_array() {
    cluster_up
    for _ in $(seq "$repeats"); do
        measure array limit "append-only COPY" limit_copy 200000
        measure array mlq mlq bench_mlq "$MLQ_HOME" array $((scale * 25000))
    done
}

# ---- Processes ----

section_spawn() {
    cluster_up
    bench_mlq "$MLQ_HOME" array 20 /bin/true >/dev/null
    for _ in $(seq "$repeats"); do
        measure spawn limit "posix_spawn, 2 loops" bench_spawn /bin/true 2 $((scale > 1 ? 2 : 1))
        measure spawn mlq mlq bench_mlq "$MLQ_HOME" array $((scale * 200)) /bin/true
    done
}

# ---- Data ----

# op NAME DIR WITH [INPUT=FILE ...]: a native operator by itself, as a task has it, on one thread.
op() {
    local name=$1 dir=$2 with=$3
    shift 3
    rm -rf "$dir"
    mkdir -p "$dir"
    printf '%s' "$with" >"$work/with.json"
    env "$@" MLQ_WITH="$work/with.json" MLQ_OUTPUT="$dir" MLQ_CHECKPOINT="$work" OMP_NUM_THREADS=1 \
        OPENBLAS_NUM_THREADS=1 mlq-op "$name"
}

make_csv() { # FILE ROWS COLUMNS: numbers of seven digits, and a label of ten classes
    awk -v rows="$2" -v columns="$3" 'BEGIN {
        srand(1)
        for (c = 1; c <= columns; c++) printf "x%d,", c
        print "label"
        for (r = 1; r <= rows; r++) {
            line = ""
            for (c = 1; c <= columns; c++) line = line sprintf("%.5f,", rand() * 2 - 1)
            print line "c" int(rand() * 10)
        }
    }' >"$1"
}

import_csv() {
    local began ended
    began=$(date +%s%N)
    op data.import "$work/table" '{"path": "input", "target": "label"}' MLQ_INPUT_PATH="$1"
    ended=$(date +%s%N)
    awk -v bytes="$(stat -c %s "$1")" -v ns=$((ended - began)) 'BEGIN {printf "mb_per_s=%.1f\n", bytes * 1e3 / ns}'
}

section_csv() {
    make_csv "$work/data.csv" $((scale * 10000)) 50
    local has_pandas=no
    if "$system_python" -c 'import pandas' 2>/dev/null; then has_pandas=yes; else skip "pandas: apt-get install python3-pandas"; fi
    for _ in $(seq "$repeats"); do
        [ $has_pandas = no ] || measure csv rival "pandas.read_csv" "$system_python" "$here/rival_csv.py" "$work/data.csv"
        measure csv mlq mlq import_csv "$work/data.csv"
    done
}

# The folder of a python3 that has a framework, or nothing and a word on how to get it.
venv_of() {
    sh "$root/tests/e2e/python-venv.sh" "$1" "$build/$1-venv" 2>"$work/why" || skip "$(cat "$work/why")"
}

section_train() {
    local torch sklearn rivals=()
    torch=$(venv_of torch)
    sklearn=$(venv_of sklearn)
    [ -z "$torch" ] || rivals+=(--torch "$torch/bin/python3")
    # Another build of PyTorch may be the faster one.
    if [ "$torch/bin/python3" != "$system_python" ] && "$system_python" -c 'import torch' 2>/dev/null; then
        rivals+=(--torch "$system_python")
    fi
    [ -z "$sklearn" ] || rivals+=(--sklearn "$sklearn/bin/python3")
    "$system_python" "$here/train/train.py" --build "$build" --results "$results" --repeats "$repeats" \
        "${quick[@]}" "${rivals[@]}" "${trainings[@]}"
}

# ---- Memory ----

# Its own and its share of what it shares, in MiB.
pss() { awk '/^Pss:/ {printf "%s=%.1f ", name, $2 / 1024}' name="$1" "/proc/$(cut -d' ' -f1 "$MLQ_HOME/pids/$2")/smaps_rollup"; }

section_memory() {
    for _ in $(seq "$repeats"); do
        cluster_up
        measure memory mlq mlq eval "pss scheduler_mib scheduler; pss worker_mib w1"
        bench_mlq "$MLQ_HOME" queue 100000 >/dev/null
        measure memory mlq mlq pss queued_mib scheduler
    done
}

for section in start jobs array spawn csv memory train; do
    if is_wanted $section; then
        "section_$section"
    fi
done
"$system_python" "$here/table.py" "$results" "$out/results.json" "$out/table.md"
