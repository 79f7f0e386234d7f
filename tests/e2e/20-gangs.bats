#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: mlq authors
#
# Gangs: all ranks start or none does, they find each other, and one that fails takes the others along.

load cluster

setup_file() { cluster_up; }
teardown_file() { cluster_down; }

@test "ranks all-reduce over MASTER_ADDR and MASTER_PORT" {
    job=$(mlq submit "$MLQ_SOURCE_DIR/examples/gang/pipeline.yaml" -q)
    mlq wait "$job"
    [ "$(state_of "$job")" = succeeded ]
}

@test "a gang that does not fit whole does not start at all" {
    job=$(mlq submit -q --ranks 3 --cpus 4 -- true)
    other=$(mlq submit -q -- true)
    mlq wait "$other"
    expect "$job" "job['state'], len(stages['main']['attempts'])" "('pending', 0)"
    mlq cancel "$job"
}

@test "a rank that fails takes its gang along, and is blamed" {
    run mlq submit --wait --ranks 2 -- sh -c 'if [ "$RANK" = 1 ]; then exit 9; fi; sleep 600'
    [ "$status" = 1 ]
    expect last "sorted((a['rank'], a['cause']) for a in stages['main']['attempts'])" "[(0, 'peer'), (1, 'exit')]"
}

@test "the torchrun variables are complete" {
    job=$(mlq submit -q --ranks 2 -- env)
    mlq wait "$job"
    for name in RANK LOCAL_RANK WORLD_SIZE LOCAL_WORLD_SIZE GROUP_RANK GROUP_WORLD_SIZE ROLE_NAME ROLE_RANK ROLE_WORLD_SIZE \
        MASTER_ADDR MASTER_PORT TORCHELASTIC_RESTART_COUNT TORCHELASTIC_MAX_RESTARTS TORCHELASTIC_RUN_ID \
        TORCHELASTIC_USE_AGENT_STORE TORCH_NCCL_ASYNC_ERROR_HANDLING TORCHELASTIC_ERROR_FILE TF_CONFIG \
        JAX_COORDINATOR_ADDRESS JAX_NUM_PROCESSES JAX_PROCESS_ID; do
        mlq logs "$job" --rank 1 | grep -q "^$name=" || { echo "missing $name"; false; }
    done
    mlq logs "$job" --rank 1 | grep -qx RANK=1
}
