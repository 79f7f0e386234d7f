#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: mlq authors
#
# Promises 1 to 3: kill -9 of each process while a job runs; nothing accepted is lost, nothing runs twice,
# running tasks go on.

load cluster

setup_file() { cluster_up; }
teardown_file() { cluster_down; }

# A job whose task runs until it is let go, and counts how often it was started.
long_job() {
    gate=$MLQ_SCRATCH_DIR/gate-$BATS_TEST_NUMBER
    rm -f "$gate" "$gate.starts"
    job=$(mlq submit -q -- sh -c "echo \$\$ >> $gate.starts; until [ -e $gate ]; do sleep 0.1; done; echo done")
    await 30 test -s "$gate.starts"
}

finished_once() {
    touch "$gate"
    mlq wait "$job" --timeout 90s
    [ "$(state_of "$job")" = succeeded ]
    [ "$(wc -l <"$gate.starts")" = 1 ]
    expect "$job" "len(stages['main']['attempts'])" 1
}

@test "promise 3: a task survives kill -9 of the scheduler and is adopted" {
    long_job
    kill_daemons scheduler
    mlq up
    finished_once
}

@test "promise 3: a task survives kill -9 of PostgreSQL" {
    long_job
    kill_daemons postgres
    mlq up
    finished_once
}

@test "promise 3: a task survives kill -9 of its worker and is adopted" {
    long_job
    kill_daemons w1 w2
    mlq up
    finished_once
}

@test "promise 3: a task that ends while its worker is dead is not run again" {
    long_job
    kill_daemons w1 w2
    touch "$gate"
    mlq up
    finished_once
}

@test "promise 1: what was accepted just before kill -9 of everything is done after" {
    ids=$(for i in 1 2 3 4 5; do mlq submit -q -- true; done)
    kill_daemons scheduler postgres w1 w2
    mlq up
    for id in $ids; do
        mlq wait "$id" --timeout 120s
        [ "$(state_of "$id")" = succeeded ]
    done
}

@test "promise 2: a pipeline in the middle of which everything is killed ends with one result" {
    job=$(mlq submit "$MLQ_SOURCE_DIR/examples/digits/pipeline.yaml" -q --set epochs=60)
    await 60 sh -c "mlq metrics $job --stage train --json | grep -q val_loss"
    kill_daemons scheduler
    mlq up
    kill_daemons w1
    mlq up
    kill_daemons postgres
    mlq up
    mlq wait "$job" --timeout 240s
    [ "$(state_of "$job")" = succeeded ]
    expect "$job" "max(sum(a['state']=='succeeded' and a['rank']==0 for a in s['attempts']) for s in job['stages'])" 1
}

@test "a killed task is told as what it was" {
    long_job
    kill -9 "$(cat "$gate.starts")"
    run mlq wait "$job" --timeout 60s
    [ "$status" = 1 ]
    expect "$job" "stages['main']['attempts'][0]['cause']" signal
}

@test "mlq down and up: what ran is run again, and no retry is used up" {
    gate=$MLQ_SCRATCH_DIR/gate-$BATS_TEST_NUMBER
    printf 'apiVersion: mlq/v1\nkind: Job\nmetadata: {name: down, owner: me}\nspec: {run: "echo x >> %s.starts; until [ -e %s ]; do sleep 0.1; done", retry: 0}\n' "$gate" "$gate" >down.yaml
    job=$(mlq submit down.yaml -q)
    await 30 test -s "$gate.starts"
    mlq down
    mlq up
    touch "$gate"
    mlq wait "$job" --timeout 60s
    expect "$job" "job['state'], job['labels']['owner'], [a['cause'] for a in stages['main']['attempts']]" "('succeeded', 'me', ['requeue', None])"
}

backend_of() { # CONNECTION of the scheduler
    PSQL=$(python3 -c 'import json,os; print(json.load(open(os.environ["MLQ_HOME"] + "/cluster.json"))["pg_socket_dir"])')
    psql -XAtq -h "$PSQL" -U mlq -d postgres -c "SELECT pid FROM pg_stat_activity WHERE application_name = 'mlq scheduler $1'"
}

live_jobs() { mlq status --json | python3 -c 'import json,sys; print(json.load(sys.stdin)["cluster"]["jobs"])'; }

# A submit that is in the scheduler's memory alone, since its commit hangs: $submit is its pid.
submit_in_vain() { # KEY
    journal=$(backend_of journal)
    before=$(live_jobs)
    kill -STOP "$journal"
    mlq submit -q --idempotency-key "$1" -- true >out 2>err 3>&- &
    submit=$!
    await 30 eval "[ \$(live_jobs) -gt $before ]"
}

# Nobody can say what became of it; the same submit again is one job.
outcome_unknown() { # KEY
    status=0
    wait $submit || status=$?
    cat err
    [ "$status" = 7 ]
    grep -q "with --idempotency-key $1 is safe" err
    mlq up
    job=$(mlq submit -q --idempotency-key "$1" -- true)
    mlq wait "$job" --timeout 60s
    [ "$(mlq submit -q --idempotency-key "$1" -- true)" = "$job" ]
}

@test "a submit that was sent and not answered exits with 7, though nobody is reached any more" {
    submit_in_vain sent-once
    kill_daemons scheduler
    kill -CONT "$journal"
    outcome_unknown sent-once
}

@test "PostgreSQL dies while a submit waits for it: exit 7 (6 is for what comes later: 43-setting-up.bats)" {
    submit_in_vain no-disk
    kill -9 "$(pid_of postgres)" "$journal"
    outcome_unknown no-disk
}
