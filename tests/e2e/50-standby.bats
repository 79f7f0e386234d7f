#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: mlq authors
#
# Two schedulers on one record: one leads, the other waits; it takes over when the leader dies or hangs, and
# what the old one still does is refused.

load cluster

setup_file() { cluster_up; }

teardown_file() {
    for file in "$MLQ_SCRATCH_DIR"/standby-*.pid; do
        [ -e "$file" ] && kill -9 "$(cat "$file")" 2>/dev/null || true
    done
    cluster_down
}

# The command line of the running leader, started once more.
start_standby() { # NAME
    local pid
    pid=$(pid_of scheduler)
    mapfile -d '' -t words <"/proc/$pid/cmdline"
    "${words[@]}" >"$MLQ_SCRATCH_DIR/standby-$1.log" 2>&1 3>&- &
    echo $! >"$MLQ_SCRATCH_DIR/standby-$1.pid"
    disown
    await 20 grep -q leader.campaign "$MLQ_SCRATCH_DIR/standby-$1.log"
}

epoch() { mlq status --json | python3 -c 'import json,sys; print(json.load(sys.stdin)["cluster"]["epoch"])'; }

@test "a standby waits, and takes over when the leader is killed; the running task goes on, and hears what it asked meanwhile" {
    start_standby a
    gate=$MLQ_SCRATCH_DIR/gate
    job=$(mlq submit -q -- sh -c "echo start >> $gate.starts; until [ -e $gate.ask ]; do sleep 0.1; done
        mlq-task record > $gate.record; until [ -e $gate ]; do sleep 0.1; done")
    await 30 test -s "$gate.starts"
    before=$(epoch)
    refute grep -q leader.elected "$MLQ_SCRATCH_DIR/standby-a.log"
    kill_daemons scheduler
    touch "$gate.ask"
    await 30 grep -q leader.serving "$MLQ_SCRATCH_DIR/standby-a.log"
    await 60 grep -q '"state":"running"' "$gate.record"
    touch "$gate"
    mlq wait "$job" --timeout 60s
    [ "$(state_of "$job")" = succeeded ]
    [ "$(wc -l <"$gate.starts")" = 1 ]
    [ "$(epoch)" -gt "$before" ]
}

@test "promise 4: a leader that hung and wakes up is refused by the record" {
    standby=$(cat "$MLQ_SCRATCH_DIR/standby-a.pid")
    kill -STOP "$standby"
    words=()
    mapfile -d '' -t words <"/proc/$standby/cmdline"
    for i in "${!words[@]}"; do # its port is still held by the one that hangs
        [ "${words[$i]}" = --listen ] && words[i + 1]=tcp://127.0.0.1:0
    done
    "${words[@]}" >"$MLQ_SCRATCH_DIR/standby-b.log" 2>&1 3>&- &
    echo $! >"$MLQ_SCRATCH_DIR/standby-b.pid"
    disown
    await 60 grep -q leader.serving "$MLQ_SCRATCH_DIR/standby-b.log"
    kill -CONT "$standby"
    await 60 grep -q leader.deposed "$MLQ_SCRATCH_DIR/standby-a.log"
    kill -9 "$(cat "$MLQ_SCRATCH_DIR/standby-b.pid")" # the first address serves again, by the one that waits
    await 60 sh -c "[ \$(grep -c leader.serving '$MLQ_SCRATCH_DIR/standby-a.log') = 2 ]"
    mlq submit --wait -- true
}
