#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: mlq authors
#
# A machine is gone: its worker, shims and tasks end at once, or stand still, and nobody says so. What ran there
# is lost after the lease and its margin: a gang is run again elsewhere, an elastic training goes on without it.
# Leases are of 4 s here, as flags of mlq-scheduler make them, so 10 s pass where it is 67 otherwise.

load cluster
load elastic

setup_file() {
    cluster_up --workers 3 --cpus 1 # each rank gets a machine of its own
    lease_of 4 500ms
    train_undisturbed
}

teardown_file() { cluster_down; }

setup() { mlq up; } # the machine that the last test took

# The scheduler with its own command line, and other leases.
lease_of() { # LEASE HEARTBEAT
    local pid words
    pid=$(pid_of scheduler)
    mapfile -d '' -t words <"/proc/$pid/cmdline"
    kill_daemons scheduler
    rm "$MLQ_HOME/serving"
    "${words[@]}" --lease "$1" --heartbeat "$2" </dev/null >>"$MLQ_HOME/logs/scheduler.log" 2>&1 3>&- &
    disown
    echo "$! $(cut -d' ' -f22 "/proc/$!/stat")" >"$MLQ_HOME/pids/scheduler" # for mlq up and down
    await 30 test -e "$MLQ_HOME/serving"
}

machine_of() { # JOB STAGE RANK, of the newest attempt
    field "$1" "[a['worker'] for a in stages['$2']['attempts'] if a['rank'] == $3][-1]"
}

# All that runs on it, its worker first.
processes_of() { # WORKER
    python3 - "$MLQ_HOME/$1/" "$(pid_of "$1")" <<'P'
import os, sys
home, worker = sys.argv[1:]
found = [worker]
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        words = open(f"/proc/{pid}/cmdline", "rb").read() + b"\0" + open(f"/proc/{pid}/environ", "rb").read()
        parent = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[1]
    except OSError:
        continue
    if parent == worker or f"\0MLQ_OUTPUT={home}".encode() in words or (b"mlq-shim\0" + home.encode()) in words:
        found.append(pid)
print(*found)
P
}

is_there() { # JOB EXPRESSION
    [ "$(field "$1" "$2")" = True ]
}

# Of the first attempt and the second: who ended by what.
causes() { # JOB STAGE WANTED
    expect "$1" "[sorted((a['rank'], a['cause']) for a in stages['$2']['attempts'] if a['attempt'] == id)
        for id in sorted({a['attempt'] for a in stages['$2']['attempts']}, key=int)]" "$3"
}

a_gang_loses() { # RANK WANTED: its machine, and what the ranks of both attempts ended by
    local gate=$MLQ_SCRATCH_DIR/gate-$1 job lost
    job=$(mlq submit -q --ranks 2 -- sh -c "until [ -e $gate ]; do sleep 0.1; done")
    await 30 is_there "$job" "[a['started'] is not None for a in stages['main']['attempts']] == [True, True]"
    lost=$(machine_of "$job" main "$1")
    kill -9 $(processes_of "$lost")
    await 40 is_there "$job" "any(a['cause'] == 'node' for a in stages['main']['attempts'])"
    touch "$gate"
    mlq wait "$job" --timeout 60s
    expect "$job" "'$lost' in [a['worker'] for a in stages['main']['attempts']][-2:]" False
    causes "$job" main "$2"
}

@test "the machine of a rank loses power: the gang ends by it, and is run again on others" {
    a_gang_loses 1 "[[(0, 'peer'), (1, 'node')], [(0, None), (1, None)]]"
}

@test "the machine of rank 0, where the ranks meet, loses power" {
    a_gang_loses 0 "[[(0, 'node'), (1, 'peer')], [(0, None), (1, None)]]"
}

@test "the leader's machine loses power under an elastic training: who finds it gone does not wait for the lease" {
    job=$(train --set ranks=2)
    await 60 has_trained_with "$job" 1 2
    kill -9 $(processes_of "$(machine_of "$job" train 0)")
    await 60 has_trained_with "$job" 1 1
    mlq wait "$job" --timeout 120s
    alone=$(mlq logs "$job" --stage train --rank 1 | sed -n 's/ .*train.gang.* ranks=1 .*//p' | head -n 1)
    lost=$(field "$job" "[a['ended'] for a in stages['train']['attempts'] if a['rank'] == 0][0]")
    [ -n "$alone" ] && [ "$(date -d "$alone" +%s%N)" -lt "$(date -d "$lost" +%s%N)" ] || { echo "alone at $alone, lost at $lost"; false; }
    expect "$job" "sorted((a['rank'], a['cause']) for a in stages['train']['attempts'])[:2]" "[(0, 'node'), (1, None)]"
    is_the_same_model "$job"
}

@test "a machine stands still under an elastic training: after the lease one takes its place, and it wakes up too late" {
    job=$(train --set ranks=2)
    await 60 has_trained_with "$job" 0 2
    lost=$(machine_of "$job" train 1)
    pids=$(processes_of "$lost")
    kill -STOP $pids
    mlq wait "$job" --timeout 120s
    causes "$job" train "[[(0, None), (1, 'node'), (2, None)]]"
    is_the_same_model "$job"
    kill -CONT $pids
    for pid in $pids; do # but for the worker itself and its nursery
        grep -q -e "train.native" -e "$MLQ_HOME/$lost/attempts" "/proc/$pid/cmdline" 2>/dev/null || continue
        await 30 is_gone "$pid"
    done
    causes "$job" train "[[(0, None), (1, 'node'), (2, None)]]"
    other=$(mlq submit -q --ranks 3 -- true) # it works again
    mlq wait "$other"
}
