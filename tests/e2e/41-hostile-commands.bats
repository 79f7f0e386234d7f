#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: mlq authors
#
# Commands that break, resist or flood: the cause is in the record, nothing of them is left, and the workers go on.

load cluster

setup_file() {
    cluster_up
    cat "$MLQ_HOME"/pids/w1 "$MLQ_HOME"/pids/w2 >workers.before
}

teardown_file() {
    cat "$MLQ_HOME"/pids/w1 "$MLQ_HOME"/pids/w2 | diff workers.before -
    mlq doctor -q
    cluster_down
}

ended() { # EXPECTED: cause, exit code and signal of the newest job's first attempt
    local got
    got=$(field last "stages['main']['attempts'][0]['cause'], stages['main']['attempts'][0]['exit'], stages['main']['attempts'][0]['signal']" | tr -d "(',)")
    [ "$got" = "$1" ] || { echo "ended with $got"; return 1; }
}

job() { # BODY of spec: a Job in job.yaml
    printf 'apiVersion: mlq/v1\nkind: Job\nmetadata: {name: hostile}\nspec: {%s}\n' "$1" >job.yaml
}

seconds_since() { echo $(($(date +%s) - $1)); }

@test "a command that is not there, and one that is not executable: cause spawn" {
    run mlq submit --wait -- no-such-command-here
    [ "$status" = 1 ]
    ended "spawn None None"
    mlq show last | grep -qF "(spawn: run 'no-such-command-here': No such file or directory)"
    echo 'echo hi' >plain.sh
    chmod 644 plain.sh
    run mlq submit --wait -- ./plain.sh
    [ "$status" = 1 ]
    ended "spawn None None"
    mlq show last | grep -qF "(spawn: run './plain.sh': Permission denied)"
}

@test "a signal: cause signal and its number" {
    for number in 6 9 11; do
        run mlq submit --wait -- sh -c "kill -$number \$\$"
        [ "$status" = 1 ]
        ended "signal None $number"
    done
    mlq show last | grep -q "signal 11"
}

@test "SIGTERM is ignored: SIGKILL after the grace, by time limit and by cancel" {
    job 'run: "trap \"\" TERM; sleep 5000.021 & while :; do sleep 5000.021; done", timeout: 1s, grace: 2s'
    begun=$(date +%s)
    run mlq submit job.yaml --wait
    [ "$status" = 1 ]
    ended "timeout None 9"
    [ "$(seconds_since "$begun")" -lt 15 ]
    refute pgrep -f 'sleep 5000.021'
    job 'run: "trap \"\" TERM; while :; do sleep 5000.021; done", grace: 1s'
    id=$(mlq submit job.yaml -q)
    await 20 pgrep -f 'sleep 5000.021'
    begun=$(date +%s)
    mlq cancel "$id"
    run mlq wait "$id" --timeout 30s
    [ "$status" = 1 ]
    [ "$(state_of "$id")" = cancelled ]
    [ "$(seconds_since "$begun")" -lt 10 ]
    refute pgrep -f 'sleep 5000.021'
}

@test "1,000 children: all are gone with the command, whether it ends or is stopped" {
    many='i=0; while [ $i -lt 1000 ]; do sleep 6000.021 & i=$((i + 1)); done; '
    mlq submit --wait -- sh -c "$many"
    refute pgrep -f 'sleep 6000.021'
    job 'run: "'"${many}"'echo all there; wait", grace: 2s'
    id=$(mlq submit job.yaml -q)
    await 60 sh -c "mlq logs $id | grep -q 'all there'"
    await 60 count_of 1000 '^sleep 6000.021'
    begun=$(date +%s)
    mlq cancel "$id"
    run mlq wait "$id" --timeout 30s
    [ "$(state_of "$id")" = cancelled ]
    [ "$(seconds_since "$begun")" -lt 15 ]
    refute pgrep -f 'sleep 6000.021'
}

@test "what forks away twice, in a session of its own, belongs to the tree" {
    job 'run: "setsid sh -c \"trap : TERM; sleep 7000.021 & sleep 7000.021\" </dev/null >/dev/null 2>&1 & sleep 0.2; exit 0", grace: 1s'
    mlq submit job.yaml --wait
    refute pgrep -f 'sleep 7000.021'
    job 'run: "(setsid setsid sleep 7000.021 &) ; sleep 7000.021", timeout: 1s, grace: 1s'
    run mlq submit job.yaml --wait
    [ "$status" = 1 ]
    ended "timeout None 15"
    refute pgrep -f 'sleep 7000.021'
}

@test "1 GB of log: bounded, both ends kept, and said what is missing" {
    mlq submit --wait -- sh -c 'echo the first line; head -c 1073741824 /dev/zero | tr "\0" "x" | fold -w 99; echo; echo the last line'
    digest=$(mlq logs last >log; wc -c <log)
    [ "$digest" -le $((65 << 20)) ]
    [ "$(head -n 1 log)" = "the first line" ]
    [ "$(tail -n 1 log)" = "the last line" ]
    grep -aqE '^\[mlq: [0-9]+ bytes of output were dropped here\]$' log
    rm log
}

@test "binary output comes back byte for byte" {
    head -c 300000 /dev/urandom >noise.bin
    mlq submit --wait -- sh -c "cat '$PWD/noise.bin'"
    mlq logs last >back.bin
    cmp noise.bin back.bin
}

@test "a command that closes its output runs on, and its end counts" {
    run mlq submit --wait -- sh -c 'exec >&- 2>&-; sleep 1; exit 3'
    [ "$status" = 1 ]
    ended "exit 3 None"
}

@test "an output that is a link out of its folder is refused: cause output" {
    for target in /etc/passwd ../../../../etc/passwd; do
        run mlq submit --wait -- sh -c "ln -s $target \$MLQ_OUTPUT/leak"
        [ "$status" = 1 ]
        ended "output 0 None"
        mlq show last | grep -q "output: .*leak"
    done
    run mlq submit --wait -- sh -c 'mkdir $MLQ_OUTPUT/d; ln -s /etc $MLQ_OUTPUT/d/leak'
    [ "$status" = 1 ]
    ended "output 0 None"
    run mlq submit --wait -- sh -c 'mkfifo $MLQ_OUTPUT/pipe'
    [ "$status" = 1 ]
    ended "output 0 None"
}

@test "an object that is not what its digest says is not handed on: cause input, and the digest" {
    cat >lie.yaml <<'Y'
apiVersion: mlq/v1
kind: Pipeline
metadata: {name: lie}
spec:
  params: {gate: none}
  stages:
    make: {run: [sh, -c, 'echo honest > $MLQ_OUTPUT/a.txt']}
    hold: {run: [sh, -c, 'until [ -e "${{ params.gate }}" ]; do sleep 0.05; done'], needs: [make]}
    use:  {run: [sh, -c, 'cat $MLQ_INPUT_MAKE/a.txt'], needs: [make, hold]}
Y
    job=$(mlq submit lie.yaml --set "gate=$PWD/let-go" -q)
    await 30 sh -c "mlq show $job --json | grep -q a.txt"
    digest=$(field "$job" "[a['digest'] for a in stages['make']['artifacts'] if a['name']=='a.txt'][0]")
    hex=${digest#sha256:}
    object=$MLQ_HOME/store/objects/${hex:0:2}/${hex:2}
    chmod u+w "$object"
    echo forged >"$object"
    touch let-go
    run mlq wait "$job" --timeout 60s
    [ "$status" = 1 ]
    [ "$(field "$job" "stages['use']['state'], stages['use']['attempts'][0]['cause']" | tr -d "(',)")" = "failed input" ]
    mlq show "$job" | grep -q "(input: input 'make': .*object ${hex:0:2}/${hex:2} is damaged: its bytes no longer have that digest"
    rm "$object"
}

@test "a command that fills the disk fails by itself; the worker stays up and has its room back" {
    [ "$(id -u)" = 0 ] || skip "needs root, for a small file system"
    export MLQ_HOME=$MLQ_SCRATCH_DIR/small
    mkdir -p "$MLQ_HOME/w1"
    mount -t tmpfs -o size=24m none "$MLQ_HOME/w1" || skip "no mount here"
    mlq up --workers 1 --cpus 1 --memory 1Gi
    before=$(cat "$MLQ_HOME/pids/w1")
    run mlq submit --wait -- sh -c 'dd if=/dev/zero of=$TMPDIR/big bs=1M; echo it said $?; exit 7'
    first="$status $(field last "stages['main']['attempts'][0]['cause'], stages['main']['attempts'][0]['exit']" | tr -d "(',)") $(mlq logs last)"
    run mlq submit --wait -- sh -c 'head -c 100000000 /dev/zero | tr "\0" "y" | fold -w 99; echo the end'
    second="$status $(mlq show last | grep 'main failed')"
    run mlq submit --wait -- true
    third="$status $(cat "$MLQ_HOME/pids/w1")"
    mlq down
    umount "$MLQ_HOME/w1"
    mlq down --purge -y
    export MLQ_HOME=$MLQ_SCRATCH_DIR/home
    [[ "$first" == "1 exit 7 "*"No space left on device"*"it said 1"* ]] || { echo "$first"; false; }
    [[ "$second" == "1 "*"(output: log: "*": No space left on device)" ]] || { echo "$second"; false; }
    [ "$third" = "0 $before" ]
}
