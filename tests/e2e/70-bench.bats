#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: mlq authors
#
# The programs behind tests/bench/run.sh, on small numbers: they must go on working between the runs that count.

load cluster

setup_file() { cluster_up; }
teardown_file() { cluster_down; }

@test "a latency, a flood and arrays are measured, and the record has them all" {
    [[ "$(bench_mlq "$MLQ_HOME" latency 5)" =~ start_p50_us=[1-9] ]]
    [[ "$(bench_mlq "$MLQ_HOME" jobs 300 50)" =~ jobs_per_s=[1-9] ]]
    [[ "$(bench_mlq "$MLQ_HOME" array 3000)" =~ tasks_per_s=[1-9] ]]
    [[ "$(bench_mlq "$MLQ_HOME" array 10 true)" =~ tasks_per_s=[1-9] ]]
    [ "$(mlq ls --limit 1000 --json | python3 -c 'import json,sys; j=json.load(sys.stdin)["jobs"]; print(len(j), {x["state"] for x in j})')" = "327 {'succeeded'}" ]
}

@test "more tasks than a worker holds wait, and none is refused" {
    [ "$(field last "stages['main']['tasks']['succeeded']")" = 10 ]
    job=$(mlq ls --limit 2 -q | sort -n | head -n 1)
    [ "$(field "$job" "stages['main']['tasks']['succeeded']")" = 3000 ]
}

@test "the limit of processes is measured" {
    [[ "$(bench_spawn /bin/true 2 1)" =~ tasks_per_s=[1-9] ]]
    run bench_spawn /bin/false 1 1
    [ "$status" = 1 ]
}

@test "the table compares medians, of the best where there are several" {
    printf 'spawn\tlimit\tposix_spawn\ttasks_per_s=%s\n' 100 300 200 >results
    printf 'spawn\tmlq\tmlq\ttasks_per_s=%s\n' 90 150 100 >>results
    printf 'kill\tmlq\t%s\tseconds=%s\n' slow 0.5 fast 0.25 >>results
    python3 "$MLQ_SOURCE_DIR/tests/bench/table.py" results results.json table.md
    grep -F '| 100 [90 - 150] |  | 0.50 |' table.md
    grep -F '| fast: 250 [250 - 250] |' table.md
    python3 -c 'import json; assert json.load(open("results.json"))["results"][0]["mlq"][0]["median"] == 100'
}

@test "a training is measured on one core and on two" {
    rm -f results
    python3 "$MLQ_SOURCE_DIR/tests/bench/train/train.py" --build "$MLQ_BIN_DIR/.." --results results --smoke --repeats 1 mlp
    python3 "$MLQ_SOURCE_DIR/tests/bench/table.py" results results.json table.md
    [ "$(grep -c -E 'MLP.*(one|two) core.*(products alone|shards)' table.md)" = 2 ]
    grep -F 'speed of 2 ranks, of 1 rank' table.md
}
