#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: mlq authors
#
# Users' own commands: exit codes, arrays, inputs and outputs, logs, limits, cancel, retry.

load cluster

setup_file() { cluster_up; }
teardown_file() { cluster_down; }

@test "submit --wait returns what the job did" {
    mlq submit --wait -- true
    run mlq submit --wait -- false
    [ "$status" = 1 ]
    expect last "stages['main']['attempts'][0]['cause'], stages['main']['attempts'][0]['exit']" "('exit', 1)"
}

@test "a command that does not exist says so" {
    run mlq submit --wait -- no-such-command-here
    [ "$status" = 1 ]
    expect last "stages['main']['attempts'][0]['cause']" spawn
    mlq show last | grep -q no-such-command-here
}

@test "a signal is told apart from an exit" {
    run mlq submit --wait -- sh -c 'kill -SEGV $$'
    [ "$status" = 1 ]
    expect last "stages['main']['attempts'][0]['cause']" signal
}

@test "a running task is asked to save, and goes on" {
    cat >save.py <<'Y'
import os, signal, time
saved = os.environ["MLQ_CHECKPOINT"] + "/saved"
signal.signal(signal.SIGUSR1, lambda *_: open(saved, "w").close())
os.system("mlq-task progress 0.5 ready")
while not os.path.exists(saved):
    time.sleep(0.01)
print("went on")
Y
    printf 'apiVersion: mlq/v1\nkind: Job\nmetadata: {name: save}\nspec: {run: [python3, save.py]}\n' >save.yaml
    job=$(mlq submit save.yaml -q)
    await 30 sh -c "mlq checkpoint $job | grep -q 'asked 1 running process'"
    await 30 sh -c "mlq checkpoint $job; mlq wait $job --timeout 1s"
    mlq logs "$job" | grep -q 'went on'
    run mlq checkpoint "$job"
    [ "$status" = 4 ]
    [[ "$output" == *"the job has ended: nothing of it runs"* ]]
}

@test "who cannot save is left alone, and told so" {
    job=$(mlq submit -q -- sleep 600)
    await 30 sh -c "mlq checkpoint $job; mlq logs $job | grep -q 'has a handler for SIGUSR1'"
    [ "$(state_of "$job")" = running ]
    mlq cancel "$job"
}

@test "a time limit ends the whole tree" {
    run mlq submit --wait --timeout 1s -- sh -c 'sleep 1000.017 & sleep 1000.017'
    [ "$status" = 1 ]
    expect last "stages['main']['attempts'][0]['cause']" timeout
    refute pgrep -f 'sleep 1000.017'
}

@test "logs hold both streams, and follow to the end" {
    job=$(mlq submit -q -- sh -c 'echo out; echo err >&2')
    run mlq logs -f "$job"
    [[ "$output" == *out* ]]
    [[ "$output" == *err* ]]
}

@test "an array is one job with an index each" {
    job=$(mlq submit -q --array 20 -- sh -c 'echo index $MLQ_INDEX; mlq-task metric square=$((MLQ_INDEX * MLQ_INDEX))')
    mlq wait "$job"
    [ "$(field "$job" "stages['main']['tasks']['succeeded']")" = 20 ]
    mlq logs "$job" --index 7 | grep -q 'index 7'
}

@test "a noop joins stages, is recorded as any task, and its log is empty" {
    cat >join.yaml <<'Y'
apiVersion: mlq/v1
kind: Pipeline
metadata: {name: join}
spec:
  stages:
    a:    {run: ["true"]}
    join: {uses: noop, needs: [a], array: 3}
    b:    {run: ["true"], needs: [join]}
Y
    mlq submit join.yaml --wait
    run field last "stages['join']['tasks']['succeeded'], [a['exit'] for a in stages['join']['attempts']]"
    [ "$output" = "(3, [0, 0, 0])" ]
    run mlq logs last --stage join
    [ "$status" = 0 ]
    [ "$(mlq logs last --stage join 2>/dev/null)" = "" ]
}

@test "an array goes on when a task fails, unless told otherwise" {
    run mlq submit --wait --array 12%1 -- sh -c 'test $((MLQ_INDEX % 3)) != 0'
    [ "$status" = 1 ]
    [ "$(field last "[stages['main']['tasks'][k] for k in ('succeeded', 'failed', 'queued')]")" = "[8, 4, 0]" ]
    run mlq submit --wait --array 12%1 --max-failures 1 -- sh -c 'test $((MLQ_INDEX % 3)) != 0'
    [ "$(field last "[stages['main']['tasks'][k] for k in ('succeeded', 'failed')]")" = "[2, 2]" ]
}

@test "outputs of one stage are inputs of the next" {
    cat >flow.yaml <<'Y'
apiVersion: mlq/v1
kind: Pipeline
metadata: {name: flow}
spec:
  params: {word: hello}
  stages:
    make: {run: [sh, -c, 'echo ${{ params.word }} > $MLQ_OUTPUT/word.txt; echo "{\"loss\": 0.25}" > $MLQ_OUTPUT/metrics.json']}
    use:  {run: [sh, -c, 'cat $MLQ_INPUT_MAKE/word.txt; echo loss was ${{ stages.make.metrics.loss }}'], needs: [make]}
    pick: {run: [sh, -c, 'cat $MLQ_INPUT_TEXT'], needs: [make], inputs: {text: make.word}}
Y
    job=$(mlq submit flow.yaml --set word=goodbye -q)
    mlq wait "$job"
    mlq logs "$job" --stage use | grep -q goodbye
    mlq logs "$job" --stage use | grep -q 'loss was 0.25'
    mlq logs "$job" --stage pick | grep -q goodbye
    [ "$(field "$job" "stages['make']['metrics']['loss']")" = 0.25 ]
}

@test "a script beside the spec travels with it" {
    mkdir -p scripts
    echo 'print("from", __import__("os").environ["MLQ_STAGE"])' >scripts/hello.py
    printf 'apiVersion: mlq/v1\nkind: Job\nmetadata: {name: s}\nspec: {run: [python3, scripts/hello.py]}\n' >s.yaml
    job=$(mlq submit s.yaml -q)
    rm scripts/hello.py
    mlq wait "$job"
    mlq logs "$job" | grep -q 'from main'
}

@test "exit 75 runs again and is not a failure; the checkpoint survives" {
    job=$(mlq submit -q -- sh -c 'if [ -e $MLQ_CHECKPOINT/n ]; then echo resumed; else touch $MLQ_CHECKPOINT/n; exit 75; fi')
    mlq wait "$job"
    [ "$(state_of "$job")" = succeeded ]
    expect "$job" "len(stages['main']['attempts'])" 2
    mlq logs "$job" | grep -q resumed
}

@test "retry by count, then the job fails" {
    cat >retry.yaml <<'Y'
apiVersion: mlq/v1
kind: Job
metadata: {name: retry}
spec: {run: [sh, -c, 'exit 3'], retry: {limit: 2, on: [exit], backoff: 100ms}}
Y
    run mlq submit retry.yaml --wait
    [ "$status" = 1 ]
    expect last "len(stages['main']['attempts'])" 3
}

@test "a failed job can be retried, and only its failed stages run again" {
    cat >again.yaml <<'Y'
apiVersion: mlq/v1
kind: Pipeline
metadata: {name: again}
spec:
  stages:
    good: {run: [sh, -c, 'echo x > $MLQ_OUTPUT/x']}
    bad:  {run: [sh, -c, 'test -e /proc/self && test -e "$MARK"'], needs: [good], env: {MARK: "${{ params.mark }}"}}
    last: {run: ['true'], needs: [bad]}
  params: {mark: none}
Y
    mark=$PWD/mark
    rm -f "$mark"
    run mlq submit again.yaml --set "mark=$mark" --wait
    [ "$status" = 1 ]
    job=$(mlq ls -q | sort -n | tail -n 1)
    [ "$(field "$job" "stages['last']['state']")" = skipped ]
    touch "$mark"
    mlq retry "$job"
    mlq wait "$job"
    expect "$job" "job['state'], len(stages['good']['attempts']), len(stages['bad']['attempts'])" "('succeeded', 1, 2)"
}

@test "cancel stops a running job and its tree" {
    job=$(mlq submit -q -- sh -c 'sleep 2000.017 & wait')
    await 20 sh -c "mlq show $job --json | grep -q '\"running\"'"
    await 20 pgrep -f 'sleep 2000.017'
    mlq cancel "$job"
    run mlq wait "$job"
    [ "$status" = 1 ]
    [ "$(state_of "$job")" = cancelled ]
    refute pgrep -f 'sleep 2000.017'
}

@test "wait gives up in time" {
    job=$(mlq submit -q -- sleep 60)
    run mlq wait "$job" --timeout 1s
    [ "$status" = 124 ]
    mlq cancel "$job"
}

@test "a task may not eat more memory than it asked for" {
    if ! grep -q 'by cgroup' "$MLQ_HOME"/logs/w1.log; then skip "no writable cgroup here: memory is limited by rlimits"; fi
    run mlq submit --wait --memory 64Mi -- python3 -c 'x = bytearray(512 << 20); print(len(x))'
    [ "$status" = 1 ]
    expect last "stages['main']['attempts'][0]['cause']" oom
}

@test "the environment of the contract is there" {
    job=$(mlq submit -q -- env)
    mlq wait "$job"
    for name in MLQ_JOB MLQ_STAGE MLQ_INDEX MLQ_ATTEMPT MLQ_FENCE MLQ_OUTPUT MLQ_CHECKPOINT MLQ_CONTROL OMP_NUM_THREADS CUDA_VISIBLE_DEVICES; do
        mlq logs "$job" | grep -q "^$name=" || { echo "missing $name"; false; }
    done
}
