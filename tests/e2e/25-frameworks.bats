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

@test "torch.distributed on two ranks, and on four" {
    venv_of torch
    two=$(mlq submit "$MLQ_SOURCE_DIR/examples/torch-ddp/pipeline.yaml" -q --set "python=$python")
    four=$(mlq submit "$MLQ_SOURCE_DIR/examples/torch-ddp/pipeline.yaml" -q --set "python=$python" --set ranks=4)
    mlq wait "$two" "$four"
    [ "$(field "$two" "stages['train']['metrics']['ranks']")" = 2 ]
    [ "$(field "$four" "stages['train']['metrics']['ranks']")" = 4 ]
}

@test "a rank of torch.distributed is killed: all start again, and go on from the checkpoint" {
    venv_of torch
    job=$(mlq submit "$MLQ_SOURCE_DIR/examples/torch-ddp/pipeline.yaml" -q --set "python=$python" --set epochs=60)
    await 120 has_metric "$job" train_loss
    kill -9 "$(task_pid "$job" 1)"
    mlq wait "$job" || expect "$job" "job['state']" succeeded
    expect "$job" "len({a['attempt'] for a in stages['train']['attempts']})" 2
    # Rank 0 may notice by itself and leave before it is told to.
    expect "$job" "[a['cause'] for a in stages['train']['attempts'] if a['rank'] == 1]" "['signal', None]"
    expect "$job" "all(a['cause'] in ('peer', 'exit', None) for a in stages['train']['attempts'] if a['rank'] == 0)" True
    mlq logs "$job" --rank 1 | grep -q 'rank 1 goes on at epoch [1-9][0-9]*, restart 1'
}

@test "jax.distributed" {
    venv_of jax
    job=$(mlq submit "$MLQ_SOURCE_DIR/examples/jax/pipeline.yaml" -q --set "python=$python")
    mlq wait "$job"
    [ "$(field "$job" "stages['train']['metrics']['processes']")" = 2 ]
}

@test "TensorFlow's MultiWorkerMirroredStrategy" {
    venv_of tensorflow
    job=$(mlq submit "$MLQ_SOURCE_DIR/examples/tensorflow/pipeline.yaml" -q --set "python=$python")
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
