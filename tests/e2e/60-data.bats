#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: mlq authors
#
# Data as users have them: what a command made, and files that are wrong. A task that cannot use its data
# fails with the file, the line and the column, exit 1; nothing else suffers.

load cluster

setup_file() { cluster_up; }
teardown_file() { cluster_down; }

@test "a command's CSV feeds data.import" {
    cat >make.py <<'Y'
import os
with open(os.environ["MLQ_OUTPUT"] + "/rows.csv", "w") as f:
    f.write("x,y\n" + "".join("%d,%s\n" % (i, "ab"[i % 2]) for i in range(50)))
Y
    cat >made.yaml <<'Y'
apiVersion: mlq/v1
kind: Pipeline
metadata: {name: made}
spec:
  stages:
    make: {run: [python3, make.py]}
    data: {uses: data.import, needs: [make], inputs: {path: make.rows.csv}, with: {target: y}}
    none: {uses: data.import, needs: [make], inputs: {path: make.cols.csv}}
Y
    run mlq submit made.yaml --wait
    [ "$status" = 1 ]
    [ "$(field last "stages['data']['metrics']['rows']")" = 50 ]
    [ "$(field last "stages['none']['attempts'][0]['cause']")" = input ]
    mlq show last | grep -q 'cols.csv'
    sed -i '/none:/d; s/needs.*make.rows.csv}, with: {/with: {path: make.rows.csv, /' made.yaml
    run mlq submit made.yaml
    [ "$status" = 5 ]
    [[ "$output" == *"made.yaml:7:44: path: "*"make.rows.csv: No such file or directory (what stage 'make' made is given by inputs: {path: make.rows.csv})"* ]]
}
