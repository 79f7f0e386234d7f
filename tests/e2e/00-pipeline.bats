#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: mlq authors
#
# examples/digits from the CSV to the report, through the whole architecture.

load cluster

setup_file() {
    cluster_up
    job=$(mlq submit "$MLQ_SOURCE_DIR/examples/digits/pipeline.yaml" -q)
    export job
    mlq wait "$job" || true
}

teardown_file() { cluster_down; }

@test "the pipeline succeeds, every stage of it" {
    run field "$job" "job['state'], sorted({s['state'] for s in job['stages']})"
    [ "$output" = "('succeeded', ['succeeded'])" ]
}

@test "the model is as good as scikit-learn's" {
    run field "$job" "stages['eval']['metrics']['accuracy'] >= 0.95"
    [ "$output" = True ]
}

@test "the gate says pass" {
    run field "$job" "stages['gate']['verdict']"
    [ "$output" = pass ]
}

@test "metrics of each epoch are in the record" {
    run mlq metrics "$job" --stage train --name val_loss --json
    [ "$status" = 0 ]
    points=$(echo "$output" | python3 -c 'import json,sys; print(len(json.load(sys.stdin)["metrics"][0]["points"]))')
    [ "$points" -ge 5 ]
}

@test "artifacts come back with their digest verified" {
    mlq artifacts get "$job" train/model.safetensors -o model.safetensors
    digest=$(field "$job" "[a['digest'] for a in stages['train']['artifacts'] if a['name']=='model.safetensors'][0]")
    [ "sha256:$(sha256sum model.safetensors | cut -d' ' -f1)" = "$digest" ]
}

@test "the report is one page without scripts" {
    mlq artifacts get "$job" report/report.html -o report.html
    grep -q '<svg' report.html
    refute grep -qi '<script' report.html
    refute grep -q 'http://\|https://' report.html
}

@test "the same seed gives the same model, bit for bit" {
    again=$(mlq submit "$MLQ_SOURCE_DIR/examples/digits/pipeline.yaml" -q)
    mlq wait "$again"
    for stage in data split train eval package; do
        for id in $job $again; do
            field "$id" "[(a['name'], a['digest']) for a in stages['$stage']['artifacts'] if a['name'].endswith('tensors') or a['name'] == 'profile.json']"
        done | sort -u | wc -l | grep -qx 1 || { echo "$stage differs"; false; }
    done
}

@test "logs are kept after the end" {
    run mlq logs "$job" --stage train
    [ "$status" = 0 ]
    [ -n "$output" ]
}

@test "ls, show and nodes speak tables and JSON" {
    mlq ls | grep -q digits
    mlq ls --json | python3 -c 'import json,sys; d=json.load(sys.stdin); assert d["schema"]=="mlq/v1" and d["jobs"]'
    mlq show "$job" | grep -q train
    mlq nodes --json | python3 -c 'import json,sys; assert len(json.load(sys.stdin)["nodes"])==2'
    mlq ls -q | grep -qx "$job"
}

@test "a submission that is repeated with its key makes one job" {
    a=$(mlq submit --idempotency-key k1 -q -- true)
    b=$(mlq submit --idempotency-key k1 -q -- true)
    [ "$a" = "$b" ]
}

@test "two classes: the gate judges by the area under the ROC curve" {
    two=$(mlq submit "$MLQ_SOURCE_DIR/examples/breast-cancer/pipeline.yaml" -q)
    mlq wait "$two"
    run field "$two" "job['state'], stages['gate']['verdict'], stages['eval']['metrics']['roc_auc'] >= 0.98"
    [ "$output" = "('succeeded', 'pass', True)" ]
    mlq artifacts get "$two" report/report.html -o two.html
    grep -q 'ROC curve' two.html
}
