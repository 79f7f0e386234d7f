#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: mlq authors
#
# Mistakes are answered with the place, the way out and the right exit code; nothing is recorded.

load cluster

setup_file() { cluster_up; }
teardown_file() { cluster_down; }

@test "an unknown key: exit 5, the place, a suggestion, nothing recorded" {
    printf 'apiVersion: mlq/v1\nkind: Pipeline\nmetadata: {name: x}\nspec:\n  stages:\n    a: {run: [x], neds: [b]}\n' >bad.yaml
    before=$(mlq ls -q | wc -l)
    run mlq submit bad.yaml
    [ "$status" = 5 ]
    [[ "$output" == *"bad.yaml:6:19: unknown key 'neds' in stage 'a' (did you mean 'needs'?)"* ]]
    [ "$(mlq ls -q | wc -l)" = "$before" ]
}

@test "a file that is not there" {
    printf 'apiVersion: mlq/v1\nkind: Pipeline\nmetadata: {name: x}\nspec:\n  stages:\n    a: {uses: data.import, with: {path: none.csv}}\n' >nofile.yaml
    run mlq submit nofile.yaml
    [ "$status" = 5 ] || [ "$status" = 3 ]
    [[ "$output" == *none.csv* ]]
}

@test "unknown verbs and flags: exit 2" {
    run mlq submti
    [ "$status" = 2 ]
    [[ "$output" == *submit* ]]
    run mlq submit --no-such-flag -- true
    [ "$status" = 2 ]
}

@test "an unknown job: exit 3" {
    run mlq show 999999
    [ "$status" = 3 ]
    run mlq cancel 999999
    [ "$status" = 3 ]
}

@test "more than the cluster has is accepted with a warning" {
    run mlq submit --cpus 500 -- true
    [ "$status" = 0 ]
    [[ "$output" == *"waits"* ]]
    mlq cancel last
    run mlq submit --cpus 1000 --gpus 3 -q -- true
    [[ $output == *"asks for 1 x (1000 CPUs, 0 MiB, 3 GPUs)"*"the largest worker, w"*", has 4 CPUs, 4096 MiB, 0 GPUs"* ]]
    mlq show last | grep -q "main waits for workers with room for it"
    mlq cancel last
}

@test "bad data fails the task with line and column, and the worker stays up" {
    printf 'a,b\n1,2\n3\n' >ragged.csv
    printf 'apiVersion: mlq/v1\nkind: Pipeline\nmetadata: {name: ragged}\nspec:\n  stages:\n    data: {uses: data.import, with: {path: ragged.csv}}\n' >ragged.yaml
    run mlq submit ragged.yaml --wait
    [ "$status" = 1 ]
    mlq logs last | grep -q ':3'
    mlq submit --wait -- true
}

@test "no scheduler: exit 6 with the address and the way out" {
    run mlq ls --home "$MLQ_SCRATCH_DIR/none"
    [ "$status" = 6 ] || [ "$status" = 3 ]
    [[ "$output" == *"mlq up"* ]]
}

@test "two mlq up at once do no harm" {
    mlq up &
    mlq up
    wait
    mlq submit --wait -- true
}
