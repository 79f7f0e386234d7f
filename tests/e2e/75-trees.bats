#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: mlq authors
#
# Boosted trees through the whole architecture: examples/breast-cancer-trees, and a training whose machine
# takes it away again and again.

load cluster

# The process of JOB's training, if what it saved has its name just now: while it saves again, that is the one before.
saved_training_of() { # JOB
    local pid folder
    pid=$(task_pid "$1")
    folder=$(tr '\0' '\n' <"/proc/$pid/environ" | sed -n 's/^MLQ_CHECKPOINT=//p')
    [ -e "$folder/xgboost.safetensors" ] && echo "$pid"
}

setup_file() { cluster_up; }
teardown_file() { cluster_down; }

@test "trees go from a CSV to an ONNX file and a report" {
    job=$(mlq submit "$MLQ_SOURCE_DIR/examples/breast-cancer-trees/pipeline.yaml" -q)
    mlq wait "$job"
    [ "$(state_of "$job")" = succeeded ]
    [ "$(field "$job" "stages['gate']['verdict']")" = pass ]
    [ "$(field "$job" "sorted(a['name'] for a in stages['train']['artifacts'])")" = "['history.json', 'model.safetensors', 'model.ubj']" ]
    mlq artifacts get "$job" report/report.html -o trees.html
    grep -q 'What the trees look at' trees.html
    grep -q '>round<' trees.html
    mlq artifacts get "$job" package/README.md -o trees.md
    grep -q 'boosted trees' trees.md
    grep -q 'operator `train.xgboost`' trees.md
    points=$(mlq metrics "$job" --stage train --name val_loss --json | python3 -c 'import json,sys; print(len(json.load(sys.stdin)["metrics"][0]["points"]))')
    [ "$points" -ge 20 ]
}

@test "kill -9 of the training changes no byte of the model" {
    python3 -c '
import random
random.seed(1)
print("a,b,c,y")
for i in range(20000):
    a, b, c = random.random(), random.random(), random.random()
    print("%.6f,%.6f,%.6f,%d" % (a, b, c, (a * b > c * random.uniform(0.5, 1.5)) + (a > 0.9)))' >rows.csv
    cat >killed.yaml <<'Y'
apiVersion: mlq/v1
kind: Pipeline
metadata: {name: killed}
spec:
  stages:
    data:  {uses: data.import, with: {path: rows.csv, target: y}}
    train: {uses: train.xgboost, needs: [data], retry: 3, with: {rounds: 200, subsample: 0.7, colsample_bytree: 0.7, seed: 5}}
Y
    whole=$(mlq submit killed.yaml -q)
    mlq wait "$whole"
    job=$(mlq submit killed.yaml -q)
    kill -9 "$(awaited 60 saved_training_of "$job")"
    mlq wait "$job"
    [ "$(field "$job" "len(stages['train']['attempts'])")" = 2 ]
    mlq logs "$job" train | grep -q train.resume
    digest() { field "$1" "[(a['name'], a['digest']) for a in stages['train']['artifacts'] if a['name'] != 'history.json']"; }
    [ "$(digest "$whole")" = "$(digest "$job")" ]
}
