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

spec() { # STAGES: a pipeline of them in bad.yaml
    printf 'apiVersion: mlq/v1\nkind: Pipeline\nmetadata: {name: x}\nspec:\n  stages:\n%s\n' "$1" >bad.yaml
}

refused() { # TEXT: of submit, exit 5, and the record stays as it is
    local before
    before=$(mlq ls -q | wc -l)
    run mlq submit bad.yaml
    [ "$status" = 5 ] || { echo "exit $status: $output"; return 1; }
    [[ "$output" == *"$1"* ]] || { echo "not in: $output"; return 1; }
    [ "$(mlq ls -q | wc -l)" = "$before" ]
}

@test "each mistake in a spec: exit 5, the place, nothing recorded" {
    spec '    a: {run: [x], timeout: [1]}'
    refused 'bad.yaml:6:28: timeout: expected a duration like 90s, 10m or 1h30m, found a list'
    spec '    a: {run: [x], needs: [b]}
    b: {run: [x], needs: [a]}'
    refused 'bad.yaml:6:5: stages need each other in a circle: a, b'
    spec '    split: {uses: data.split}'
    refused "bad.yaml:6:5: stage 'split': nothing upstream feeds its input 'data'"
    spec '    train: {run: [x]}
    mine: {run: [x], needs: [tain]}'
    refused "bad.yaml:7:30: needs: there is no stage 'tain' (did you mean 'train'?)"
    touch a.csv b.csv
    spec '    d1: {uses: data.import, with: {path: a.csv}}
    d2: {uses: data.import, with: {path: b.csv}}
    s: {uses: data.split, needs: [d1, d2]}'
    refused "bad.yaml:8:5: stage 's': both 'd1' and 'd2' could feed its input 'data': say inputs: {data: d1.table.safetensors}"
    spec '    d: {uses: data.import, with: {path: a.csv}}
    t: {uses: train.native, needs: [d], with: {shards: 6}}'
    refused 'bad.yaml:7:56: shards: 6 is not a power of two: use 4 or 8'
    spec '    d: {uses: data.import, with: {path: a.csv}}
    t: {uses: train.native, needs: [d], with: {range_test: {}, early_stop: {}}}'
    refused 'bad.yaml:7:76: early_stop: means nothing with range_test: the test moves the learning rate itself, and ends when the loss rises: leave it out, or range_test'
    run mlq explain bad.yaml
    [ "$status" = 5 ]
    [[ "$output" == *"bad.yaml:7:76: early_stop: means nothing with range_test"* ]]
    spec "    a: {run: ['\${{ params.lr }}']}"
    refused "bad.yaml:6:15: \${{ params.lr }} refers to nothing: spec.params has no 'lr'"
}

@test "numbers, names, sizes and bombs: exit 5, the limit, nothing recorded" {
    spec '    a: {run: [x], array: -1}'
    refused 'bad.yaml:6:26: array: -1 is not between 1 and 1000000'
    spec '    a: {run: [x], resources: {memory: 99999999999999999999}}'
    refused 'bad.yaml:6:39: memory: must be between 1 byte and 8192Ti'
    spec '    a: {run: [x], resources: {cpus: .nan}}'
    refused "bad.yaml:6:37: cpus: expected CPUs like 2, 0.5 or 500m, found '.nan'"
    spec '    ../a: {run: [x]}'
    refused "bad.yaml:6:5: stage '../a' is not a name of 1 to 63 letters, digits, '-' and '_'"
    spec "$(for i in $(seq 10000); do echo "    s$i: {run: [x]}"; done)"
    refused 'bad.yaml:6:5: stages: 10000 stages, at most 1024 are allowed in one job (use array: for many alike)'
    printf 'a: &a [x]\nb: [*a]\n' >bad.yaml
    refused 'bad.yaml:1:7: anchors (&) and aliases (*) are not supported'
    truncate -s 100M bad.yaml
    refused 'mlq submit: read bad.yaml: larger than the limit of 2097152 bytes'
    printf 'a: b: c\n' >bad.yaml
    refused 'bad.yaml:1:5: not valid YAML: invalid nested block mapping on the same line'
}

@test "numbers of flags: exit 2 or 5, the limit" {
    for ranks in 1000 0 -1 3..1 0..2 1..257 a..b 1.. ..2 1...2 1..2..3 '1 .. 2' ''; do
        run mlq submit --ranks "$ranks" -- true
        [ "$status" = 2 ]
        [[ $output == "mlq submit: --ranks takes N, or MIN..MAX with 1 <= MIN <= MAX <= 256, not '$ranks'"* ]]
    done
    run mlq submit --array 0 -- true
    [ "$status" = 2 ]
    [[ $output == "mlq submit: --array takes N or N%P, with N up to 1000000, not '0'"* ]]
    run mlq submit --cpus nan -- true
    [ "$status" = 5 ]
    [[ $output == *"cpus: expected CPUs like 2, 0.5 or 500m, found 'nan'" ]]
    run mlq submit --name a/b -- true
    [ "$status" = 2 ]
    [[ $output == "mlq submit: --name 'a/b' is not a name of 1 to 63 letters, digits, '-', '_' and '.'"* ]]
    run mlq wait last --timeout inf
    [ "$status" = 2 ]
    [[ $output == "mlq wait: --timeout takes a duration like 90s, 10m or 1h30m, not 'inf'"* ]]
}

@test "a file that is not there" {
    printf 'apiVersion: mlq/v1\nkind: Pipeline\nmetadata: {name: x}\nspec:\n  stages:\n    a: {uses: data.import, with: {path: none.csv}}\n' >nofile.yaml
    run mlq submit nofile.yaml
    [ "$status" = 5 ]
    [[ "$output" == "nofile.yaml:6:41: path: ./none.csv: No such file or directory" ]]
    run mlq submit none.yaml
    [ "$status" = 3 ]
    [[ "$output" == "mlq submit: open none.yaml: No such file or directory" ]]
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

@test "more than the cluster has: accepted with a warning that names the largest node" {
    run mlq submit --cpus 1000 --gpus 3 -q -- true
    [ "$status" = 0 ]
    [[ $output == "mlq submit: stage 'main' asks for 1 x (1000 CPUs, 0 MiB, 3 GPUs), more than the workers that are connected now have (the largest worker, w"[12]", has 4 CPUs, 4096 MiB, 0 GPUs): it waits for larger ones"* ]]
    mlq show last | grep -q "  main waits for workers with room for 1 x (1000 CPUs, 0 MiB, 3 GPUs): more than the workers that are connected have (the largest, w[12], has 4 CPUs, 4096 MiB, 0 GPUs)$"
    mlq cancel last
    run mlq submit --memory 1Ti -q -- true
    [[ $output == *"asks for 1 x (1 CPUs, 1048576 MiB, 0 GPUs)"* ]]
    mlq cancel last
    run mlq submit --ranks 200 -q -- true
    [[ $output == *"asks for 200 x (1 CPUs, 0 MiB, 0 GPUs)"* ]]
    mlq cancel last
}

@test "more than the cluster has, with --feasible-only: exit 5, nothing recorded" {
    before=$(mlq ls -q | wc -l)
    run mlq submit --feasible-only --cpus 500 -- true
    [ "$status" = 5 ]
    [[ $output == "mlq submit: command line: stage 'main' asks for 1 x (500 CPUs, 0 MiB, 0 GPUs), more than the workers that are connected now have (the largest worker, w"[12]", has 4 CPUs, 4096 MiB, 0 GPUs)" ]]
    [ "$(mlq ls -q | wc -l)" = "$before" ]
    mlq submit --feasible-only --wait -- true
}

both_run() { [ "$(field "$1" "stages['main']['tasks']['running']")" = 2 ]; }

@test "what a job waits for, when all is taken" {
    long=$(mlq submit -q --array 2 --cpus 4 -- sleep 1000)
    await 30 both_run "$long"
    mlq submit -q --cpus 2 --memory 64Mi -- true
    mlq show last | grep -q "  main waits for workers with room for 1 x (2 CPUs, 64 MiB, 0 GPUs): .mlq nodes. shows what is free$"
    mlq cancel last "$long"
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
