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

# One stage for each hostile file, all in one job: each fails by its own cause, with its own place.
@test "hostile CSV files: the place, exit 1, and the worker stays up" {
    cat >hostile.py <<'Y'
import json, os
cases = {
    "empty": (b"", "", "empty.csv:1:1: the file is empty: expected a header line with the names of the columns"),
    "header": (b"a,b\n", "", "header.csv:2:1: there is no row below the header"),
    "ragged": (b"a,b\n1,2\n3\n", "", "ragged.csv:3:1: 1 fields, but the header has 2 (3) (bad row 1; with.max_bad_rows is 0)"),
    "inf": (b"a,b\n1,2\n2,-inf\n", "", "inf.csv:3:2: '-inf' in the number column 'b' is not a finite number (bad row 1; with.max_bad_rows is 0)"),
    "latin": (b"a,b\n1,\xe9t\xe9\n", "", "latin.csv:2:2: bytes that are not UTF-8 (bad row 1; with.max_bad_rows is 0)"),
    "nul": (b"a,b\n1,x\0y\n", "", "nul.csv:2:2: a NUL byte (bad row 1; with.max_bad_rows is 0)"),
    "long": (b"a,b\n1," + b"x" * (17 << 20) + b"\n", "", "long.csv:2:1: the row is longer than 16 MiB (bad row 1; with.max_bad_rows is 0)"),
    "twice": (b"a,b,a\n1,2,3\n", "", "twice.csv:1:3: columns 1 and 3 are both named 'a'"),
    "unnamed": (b"a,,c\n1,2,3\n", "", "unnamed.csv:1:2: column 2 has no name"),
    "absent": (b"age,b\n1,2\n", "target: aeg", "absent.csv:1: with.target names 'aeg', but there is no such column (did you mean 'age'?)"),
    "constant": (b"a,b\n1,2\n2,2\n", "target: b", "constant.csv:1:2: the target 'b' has the same value in every row: there is nothing to learn"),
    "classes": (b"a,b\n1,x\n2,y\n3,z\n", "target: b", "classes.csv:1:2: the target 'b' has a class of its own for each of its 3 rows: is it an identifier?"),
}
with open("hostile.yaml", "w") as f:
    f.write("apiVersion: mlq/v1\nkind: Pipeline\nmetadata: {name: hostile}\nspec:\n  stages:\n")
    for name, (data, more, text) in cases.items():
        open(name + ".csv", "wb").write(data)
        f.write("    %s: {uses: data.import, resources: {cpus: 500m}, with: {path: %s.csv, %s}}\n" % (name, name, more))
        open(name + ".text", "w").write("mlq-op data.import: " + text + "\n")
Y
    python3 hostile.py
    run mlq submit hostile.yaml --wait
    [ "$status" = 1 ]
    for text in *.text; do
        name=${text%.text}
        [ "$(field last "stages['$name']['attempts'][0]['cause'], stages['$name']['attempts'][0]['exit'], len(stages['$name']['attempts'])")" = "('exit', 1, 1)" ]
        mlq logs last "$name" | grep -Fxq "$(cat "$text")" || { mlq logs last "$name"; cat "$text"; false; }
    done
    [ "$(mlq nodes --json | python3 -c 'import json,sys; print(sum(n["state"] == "up" for n in json.load(sys.stdin)["nodes"]))')" = 2 ]
    mlq submit --wait -- true
}

# What an import may keep, later stages may not be able to use.
@test "rows that cannot be split or learned from: the column, and the way out" {
    awk 'BEGIN { print "a,b"; for (i = 0; i < 40; i++) print i ",same" }' >one.csv
    awk 'BEGIN { print "a,b"; for (i = 0; i < 40; i++) print i "," (i == 7 ? "rare" : i % 2 ? "x" : "y") }' >rare.csv
    cat >later.yaml <<'Y'
apiVersion: mlq/v1
kind: Pipeline
metadata: {name: later}
spec:
  stages:
    one:    {uses: data.import, with: {path: one.csv}}
    rare:   {uses: data.import, with: {path: rare.csv, target: b}}
    ids:    {uses: data.import, with: {path: one.csv, target: a}}
    none:   {uses: train.native, needs: [one]}
    each:   {uses: train.native, needs: [ids], with: {task: classification}}
    strata: {uses: data.split, needs: [rare], with: {stratify: b}}
    column: {uses: data.split, needs: [rare], with: {stratify: bb}}
Y
    run mlq submit later.yaml --wait
    [ "$status" = 1 ]
    mlq logs last none | grep -Fx 'mlq-op train.native: the training table has no target column: name one with `target:` of data.import'
    mlq logs last each | grep -Fx "mlq-op train.native: the target 'a' has a class of its own for each of the 40 training rows: is it an identifier? (a number: task: regression)"
    mlq logs last strata | grep -F "mlq-op data.split: with.stratify: the class 'rare' of 'b' has 1 row, too few to have one in each part: merge it with another, drop it, or split without stratify"
    mlq logs last column | grep -Fx "mlq-op data.split: with.stratify: the table has no column 'bb' (did you mean 'b'?)"
}
