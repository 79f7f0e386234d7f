#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: mlq authors
#
# Promise 6 under fire: ranks die, are sent away and join while a model is trained, workers and the
# scheduler die meanwhile, and the model is bit for bit that of one rank that nobody disturbed.

load cluster
load elastic

setup_file() {
    cluster_up
    train_undisturbed
}
teardown_file() { cluster_down; }

causes() { # JOB WANTED: of the ranks that did not end well
    expect "$1" "sorted(a['cause'] for a in stages['train']['attempts'] if a['cause'])" "$2"
    expect "$1" "len({a['attempt'] for a in stages['train']['attempts']})" 1
}

@test "ranks are killed, the leader first, and others join: one attempt, the same model" {
    job=$(train --set ranks=1..3)
    await 60 trains_with "$job" 0 3
    kill -9 "$(task_pid "$job" 0)"
    await 60 trains_with "$job" 1 3 # the third is a new one
    kill -9 "$(task_pid "$job" 2)"
    mlq wait "$job"
    causes "$job" "['signal', 'signal']"
    is_the_same_model "$job"
}

@test "a fixed number of ranks is held, too: a lost one is replaced" {
    job=$(train --set ranks=2)
    await 60 trains_with "$job" 0 2
    kill -9 "$(task_pid "$job" 1)"
    await 60 has_trained_with "$job" 0 1
    await 60 trains_with "$job" 0 2
    mlq wait "$job"
    causes "$job" "['signal']"
    is_the_same_model "$job"
}

@test "the scheduler is killed, and a rank while it is away" {
    job=$(train --set ranks=1..3)
    await 60 trains_with "$job" 0 3
    kill_daemons scheduler
    kill -9 "$(task_pid "$job" 0)"
    mlq up
    await 60 trains_with "$job" 1 3
    mlq wait "$job"
    causes "$job" "['signal']"
    is_the_same_model "$job"
}

@test "the workers are killed, and a rank after they are back" {
    job=$(train --set ranks=1..3)
    await 60 trains_with "$job" 0 3
    kill_daemons w1 w2
    mlq up
    kill -9 "$(task_pid "$job" 2)"
    await 60 has_trained_with "$job" 0 2
    mlq wait "$job"
    causes "$job" "['signal']"
    is_the_same_model "$job"
}

@test "a higher priority takes ranks, which come back after it" {
    gate=$MLQ_SCRATCH_DIR/gate
    job=$(train --set ranks=1..8 --set epochs=1000000)
    await 60 trains_with "$job" 0 8
    urgent=$(mlq submit -q --priority 5 --cpus 4 -- sh -c "until [ -e $gate ]; do sleep 0.05; done")
    await 60 trains_with "$job" 0 4
    touch "$gate"
    mlq wait "$urgent"
    await 60 trains_with "$job" 0 8
    mlq cancel "$job"
    mlq wait "$job" || true
    expect "$urgent" "job['state']" succeeded
    expect "$job" "sorted({a['cause'] for a in stages['train']['attempts'] if a['ended'] and a['cause'] != 'cancel'})" \
        "['requeue']"
}

names() { # JOB RANK: as the one that the others wait for
    mlq show "$1" | grep -q "the others wait for rank $2 on w[12], which is stopped"
}

@test "a rank that hangs is named" {
    job=$(train --set ranks=2 --set epochs=1000000)
    await 60 trains_with "$job" 0 2
    stopped=$(task_pid "$job" 1)
    kill -STOP "$stopped"
    await 60 names "$job" 1
    kill -CONT "$stopped"
    mlq cancel "$job"
    mlq wait "$job" || true
}

@test "a command starts with what is free" {
    job=$(mlq submit --ranks 2..16 -q -- sh -c 'echo "rank $RANK of $WORLD_SIZE"')
    mlq wait "$job"
    expect "$job" "len(stages['main']['attempts'])" 8
    mlq logs "$job" --rank 7 | grep -q 'rank 7 of 8'
}
