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

# Level fast is a gang of a fixed size: a lost rank ends it, and it goes on from its checkpoint as a whole.
@test "train.native at level fast: all ranks or none, and it says which promise it gives up" {
    cat >fast.yaml <<Y
apiVersion: mlq/v1
kind: Pipeline
metadata: {name: fast}
spec:
  stages:
    data:   {uses: data.import, with: {path: $MLQ_SOURCE_DIR/examples/digits/digits.csv, target: label}}
    split:  {uses: data.split, needs: [data], with: {test: 0.2, stratify: label, seed: 7}}
    train:
      uses: train.native
      needs: [split]
      ranks: 2
      retry: {limit: 1, on: [signal]}
      with: {level: fast, shards: 8, epochs: 100, batch: 32, model: {mlp: {hidden: [256, 128]}}, seed: 1}
    eval:   {uses: eval.metrics, needs: [train, split]}
    report: {uses: report, needs: [eval]}
Y
    run mlq submit fast.yaml
    [ "$status" = 5 ]
    [[ "$output" == *"fast.yaml:13:35: shards: means nothing with level: fast: leave it out, or use level: elastic or repeat"* ]]
    sed -i 's/ shards: 8,//' fast.yaml
    [ "$(mlq explain fast.yaml | grep -c shards)" = 0 ]
    job=$(mlq submit fast.yaml -q)
    await 60 has_metric "$job" val_loss # its first checkpoint is on the way
    kill -9 "$(task_pid "$job" 1)"
    mlq wait "$job"
    # It is told to stop (peer), or sees for itself that its peer is lost, saves and ends with 75 (requeue).
    expect "$job" "[sorted((a['rank'], 'peer' if a['cause'] == 'requeue' else a['cause']) for a in stages['train']['attempts'] if a['attempt'] == id)
        for id in sorted({a['attempt'] for a in stages['train']['attempts']}, key=int)]" \
        "[[(0, 'peer'), (1, 'signal')], [(0, None), (1, None)]]"
    expect "$job" "stages['eval']['metrics']['accuracy'] > 0.9" True
    mlq logs "$job" --stage train --rank 1 | grep 'train.start' | grep -q 'level=fast'
    mlq artifacts get "$job" train/history.json -o history.json
    python3 - <<'P'
import json
told = json.load(open("history.json"))
found = [told[key] for key in ("level", "same_bits", "shards", "ranks", "resumed")]
assert found == ["fast", False, None, 2, True], found
P
    mlq artifacts get "$job" report/report.html -o report.html
    grep -q 'Trained at level <bdi>fast</bdi>: gradients were added in no fixed order' report.html
}
