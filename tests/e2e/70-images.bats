#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: mlq authors
#
# Images from IDX files to a judged CNN: examples/fashion-mnist on a tenth of its images, for one epoch.

load cluster

setup_file() { cluster_up; }
teardown_file() { cluster_down; }

@test "a CNN learns clothes from IDX files, on two ranks" {
    [ -d /usr/share/datasets/fashion-mnist ] || skip "the package dataset-fashion-mnist is not installed"
    job=$(mlq submit "$MLQ_SOURCE_DIR/examples/fashion-mnist/pipeline.yaml" -q --set leave_out=0.9 --set epochs=1)
    mlq wait "$job"
    [ "$(state_of "$job")" = succeeded ]
    accuracy=$(field "$job" "stages['eval']['metrics']['accuracy']")
    python3 -c "import sys; sys.exit(not float(sys.argv[1]) > 0.7)" "$accuracy"
}
