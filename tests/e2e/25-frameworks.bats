#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: mlq authors
#
# Users' frameworks as they are: what mlq sets is enough for each to meet, and a rank that dies starts all again.

load cluster

setup_file() { cluster_up; }
teardown_file() { cluster_down; }

venv_of() { # torch | jax | tensorflow: sets $python, or skips and says why
    local venv
    venv=$(sh "$BATS_TEST_DIRNAME/python-venv.sh" "$1" "$MLQ_SCRATCH_DIR/../$1-venv" 2>"$MLQ_SCRATCH_DIR/why") ||
        skip "$(cat "$MLQ_SCRATCH_DIR/why")"
    python=$venv/bin/python3
}

example() { # NAME [flags of mlq submit]
    local name=$1
    shift
    mlq submit "$MLQ_SOURCE_DIR/examples/$name/pipeline.yaml" -q --set "python=$python" "$@"
}

@test "torch.distributed on two ranks, and on four" {
    venv_of torch
    two=$(example torch-ddp --set ranks=2)
    four=$(example torch-ddp --set ranks=4)
    mlq wait "$two" "$four"
    [ "$(field "$two" "stages['train']['metrics']['ranks']")" = 2 ]
    [ "$(field "$four" "stages['train']['metrics']['ranks']")" = 4 ]
}

@test "a rank of torch.distributed is killed: all start again, and go on from the checkpoint" {
    venv_of torch
    job=$(example torch-ddp --set ranks=2 --set epochs=60)
    await 120 has_metric "$job" train_loss
    kill -9 "$(task_pid "$job" 1)"
    mlq wait "$job" || expect "$job" "job['state']" succeeded
    expect "$job" "len({a['attempt'] for a in stages['train']['attempts']})" 2
    # Rank 0 may notice by itself and leave before it is told to.
    expect "$job" "[a['cause'] for a in stages['train']['attempts'] if a['rank'] == 1]" "['signal', None]"
    expect "$job" "all(a['cause'] in ('peer', 'exit', None) for a in stages['train']['attempts'] if a['rank'] == 0)" True
    mlq logs "$job" --rank 1 | grep -q 'rank 1 of 2 begins at epoch [1-9][0-9]*, restart 1'
}

# A task on each worker, which holds 3 of its 4 CPUs until the file is there.
hold() { # FILE [flags of mlq submit]
    local file=$1
    shift
    mlq submit -q --array 2 --cpus 3 "$@" -- sh -c "until [ -e $file ]; do sleep 0.1; done"
}

are_running() { # JOB of hold
    [ "$(field "$1" "stages['main']['tasks']['running']")" = 2 ]
}

begins() { # JOB WHAT: a line of rank 0, of its newest attempt
    mlq logs "$1" --rank 0 | grep -q "$2"
}

@test "torch.distributed starts again: on more CPUs, on fewer, and when a rank is killed" {
    venv_of torch
    holders=$(hold "$MLQ_SCRATCH_DIR/first")
    await 30 are_running "$holders"
    job=$(example torch-ddp --set ranks=2..4 --set epochs=1000000)
    await 120 begins "$job" 'rank 0 of 2 begins at epoch 0, restart 0'
    await 120 has_metric "$job" train_loss
    touch "$MLQ_SCRATCH_DIR/first"
    await 180 begins "$job" 'rank 0 of 4 begins at epoch [1-9][0-9]*, restart 1'
    urgent=$(hold "$MLQ_SCRATCH_DIR/second" --priority 5)
    await 120 begins "$job" 'rank 0 of 2 begins at epoch [1-9][0-9]*, restart 2'
    kill -9 "$(task_pid "$job" 1)"
    await 120 begins "$job" 'rank 0 of 2 begins at epoch [1-9][0-9]*, restart 3'
    touch "$MLQ_SCRATCH_DIR/second"
    mlq wait "$urgent"
    mlq cancel "$job"
    mlq wait "$job" || true
    expect "$job" "[sorted({a['cause'] for a in stages['train']['attempts'] if a['attempt'] == n}) for n in sorted({a['attempt'] for a in stages['train']['attempts']}, key=int)][:2]" \
        "[['requeue'], ['requeue']]"
}

@test "jax.distributed" {
    venv_of jax
    job=$(example jax --set ranks=2)
    mlq wait "$job"
    [ "$(field "$job" "stages['train']['metrics']['processes']")" = 2 ]
}

@test "jax.distributed starts again: on fewer CPUs, and when a process is killed" {
    venv_of jax
    job=$(example jax --set ranks=2..4 --set steps=1000000000)
    await 120 begins "$job" 'process 0 of 4 begins at step 0, restart 0'
    urgent=$(hold "$MLQ_SCRATCH_DIR/third" --priority 5)
    await 120 begins "$job" 'process 0 of 2 begins at step [1-9][0-9]*, restart 1'
    kill -9 "$(task_pid "$job" 1)"
    await 120 begins "$job" 'process 0 of 2 begins at step [1-9][0-9]*, restart 2'
    touch "$MLQ_SCRATCH_DIR/third"
    mlq wait "$urgent"
    mlq cancel "$job"
    mlq wait "$job" || true
}

@test "TensorFlow's MultiWorkerMirroredStrategy" {
    venv_of tensorflow
    job=$(example tensorflow)
    mlq wait "$job"
    [ "$(field "$job" "stages['train']['metrics']['workers']")" = 2 ]
}

@test "SIGUSR1 saves, SIGTERM saves and leaves with 75, SIGKILL costs what was not saved" {
    job=$(mlq submit "$MLQ_SOURCE_DIR/examples/preempt/pipeline.yaml" -q --set steps=400)
    await 30 sh -c "mlq checkpoint $job | grep -q 'asked 1'"
    await 30 sh -c "mlq logs $job | grep -q 'saved at step'"
    mlq down # its workers leave: their tasks are asked to stop
    mlq up --workers 2 --cpus 4 --memory 4Gi
    await 60 sh -c "mlq logs $job | grep -q 'goes on at step'"
    kill -9 "$(task_pid "$job")"
    mlq wait "$job"
    expect "$job" "[a['cause'] for a in stages['train']['attempts']]" "['requeue', 'signal', None]"
    expect "$job" "stages['train']['metrics']['steps']" 400
}
