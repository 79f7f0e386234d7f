#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: mlq authors
#
# mlq doctor: each thing that can be wrong is named with the command that mends it, and that command does.

load cluster

setup_file() { cluster_up; }
teardown_file() { cluster_down; }

checks() { # EXPRESSION of python over `c`, the checks by name, and `doc`
    mlq doctor --json | python3 -c "import json,sys; doc=json.load(sys.stdin); c={x['name']:x for x in doc['checks']}; print($1)"
}

is_healthy() { # no more than notes, exit code 0
    run mlq doctor
    [ "$status" = 0 ] || { echo "$output"; return 1; }
}

wrong() { # NAME FOUND: exit code 1, and exactly this is wrong
    run mlq doctor -q
    [ "$status" = 1 ]
    [[ $'\n'"$output"$'\n' == *$'\n'"$1"$'\n'* ]] || { echo "wrong are: $output"; return 1; }
    [[ "$(checks "c['$1']['found']")" == *"$2"* ]] || { checks "c['$1']"; return 1; }
}

mend() { # NAME: does what is said to mend it
    sh -c "$(checks "c['$1']['mend']")"
}

@test "a healthy cluster: exit 0, everything is looked at" {
    is_healthy
    for name in mlq-scheduler mlq-worker mlq-shim mlq-op mlq-task zeromq postgresql home store 'key server.key' \
        'key client.key' 'key w1.key' 'key w2.key' port 'process postgres' 'process scheduler' 'process w1' 'process w2' \
        scheduler 'clock of the scheduler' 'disk of the database' database 'clock of the database' fsync \
        full_page_writes synchronous_commit clock 'open files' resources; do
        [ "$(checks "c['$name']['state']")" = ok ]
    done
    [ "$(checks "doc['schema'], doc['healthy'], 'cgroup' in c, 'gpu' in c")" = "mlq/v1 True True True" ]
    run mlq up --check
    [ "$status" = 0 ]
}

@test "no cluster yet: exit 0 and a note; up --check says 6" {
    run mlq doctor --home "$MLQ_SCRATCH_DIR/none"
    [ "$status" = 0 ]
    [[ "$output" == *"note   cluster        none in $MLQ_SCRATCH_DIR/none yet"* ]]
    [[ "$output" == *"  cluster: mlq up --home $MLQ_SCRATCH_DIR/none"* ]]
    [ ! -e "$MLQ_SCRATCH_DIR/none" ]
    run mlq up --check --home "$MLQ_SCRATCH_DIR/none"
    [ "$status" = 6 ]
}

@test "a key that others may read" {
    chmod 644 "$MLQ_HOME/keys/client.key"
    wrong 'key client.key' 'mode 0644: others may read it'
    run mlq up --check
    [ "$status" = 4 ]
    mend 'key client.key'
    is_healthy
}

@test "a key that is gone" {
    rm "$MLQ_HOME/keys/client.key"
    wrong 'key client.key' 'No such file or directory'
    run mlq ls
    [ "$status" = 3 ] || [ "$status" = 4 ]
    mend 'key client.key'
    is_healthy
    mlq submit --wait -- true
}

@test "a worker that died" {
    kill_daemons w2
    await 10 sh -c "mlq doctor -q | grep -qx 'process w2'"
    wrong 'process w2' "died (killed, or the machine went down): $MLQ_HOME/logs/w2.log"
    run mlq up --check
    [ "$status" = 6 ]
    mend 'process w2'
    is_healthy
}

@test "a database that would lose jobs, while it runs and while it is down" {
    psql=$(checks "c['postgresql']['found']")
    where="host=$(python3 -c "import json; print(json.load(open('$MLQ_HOME/cluster.json'))['pg_socket_dir'])") user=mlq dbname=postgres"
    "$psql" "$where" -qc 'ALTER SYSTEM SET fsync = off' -c 'SELECT pg_reload_conf()'
    await 10 sh -c "mlq doctor -q | grep -qx fsync"
    wrong fsync 'off: a crash could lose accepted jobs, so no scheduler serves with it'
    mlq down
    wrong fsync 'off: a crash could lose accepted jobs'
    run mlq up
    [ "$status" = 6 ]
    [[ "$output" == *"PostgreSQL runs with fsync = off: an accepted job could be lost. Set fsync = on"* ]]
    mend fsync # the server's way: it runs by now
    await 10 sh -c "! mlq doctor -q | grep -qx fsync"
    mlq up
    is_healthy
    mlq down
    data=$(python3 -c "import json; print(json.load(open('$MLQ_HOME/cluster.json'))['pg_data'])")
    echo 'full_page_writes = off' >>"$data/postgresql.conf"
    wrong full_page_writes off
    mend full_page_writes # the files' way
    is_healthy
    mlq up
}

@test "a port that another program took" {
    port=$(python3 -c "import json; print(json.load(open('$MLQ_HOME/cluster.json'))['endpoint'].split(':')[-1])")
    mlq down
    python3 -c "import socket,time; s=socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(('127.0.0.1', $port)); s.listen(); open('held','w').close(); time.sleep(600)" 3>&- &
    holder=$!
    await 10 test -e held
    wrong port "$port is taken by another program: ss -ltnp 'sport = :$port' tells which"
    mend port
    is_healthy
    kill "$holder"
    mlq submit --wait -- true
}

@test "a program that is missing, and one of another release" {
    mkdir -p bin
    cp "$MLQ_BIN_DIR"/mlq* bin/
    rm bin/mlq-shim
    run bin/mlq doctor
    [ "$status" = 1 ]
    [[ "$output" == *"wrong  mlq-shim "*"$MLQ_SCRATCH_DIR/bin/mlq-shim: No such file or directory"* ]]
    printf '#!/bin/sh\necho mlq-scheduler 9.9.9\n' >bin/mlq-scheduler
    run bin/mlq doctor
    [[ "$output" =~ "wrong  mlq-scheduler "\ +"this is mlq "[0-9.]+", it says: mlq-scheduler 9.9.9" ]]
    rm -r bin
}

@test "GPUs are told as the worker finds them" {
    mkdir -p gpu
    printf '#!/bin/sh\necho "GPU-11111111-2222-3333-4444-555555555555, 81559, NVIDIA H100"\n' >gpu/nvidia-smi
    chmod +x gpu/nvidia-smi
    PATH=$PWD/gpu:$PATH run mlq doctor
    [ "$status" = 0 ]
    [[ "$output" =~ "ok "\ +"gpu "\ +"1 by nvidia-smi, driver " ]]
}

@test "a cluster elsewhere: its answer, its clock, the own key" {
    run mlq doctor --endpoint "$(python3 -c "import json; print(json.load(open('$MLQ_HOME/cluster.json'))['endpoint'])")" \
        --server-key "$(python3 -c "import json; print(json.load(open('$MLQ_HOME/cluster.json'))['server_key'])")" \
        --key "$MLQ_HOME/keys/client.key" --store "$MLQ_HOME/store"
    [ "$status" = 0 ]
    [[ "$output" == *"ok     scheduler "* ]]
    [[ "$output" == *"ok     store "* ]]
    run mlq doctor --endpoint tcp://127.0.0.1:1 --server-key "$(printf 'x%.0s' $(seq 40))" --key "$MLQ_HOME/keys/client.key"
    [ "$status" = 1 ]
    [[ "$output" == *"wrong  scheduler "*"tcp://127.0.0.1:1"* ]]
}

@test "disk full, and a home that cannot be written" {
    [ "$(id -u)" = 0 ] || skip "needs root, for a small file system"
    mkdir -p small
    mount -t tmpfs -o size=16m none small || skip "no mount here"
    run mlq doctor --home "$PWD/small/h"
    mount -o remount,ro small
    full=$output
    run mlq doctor --home "$PWD/small/h"
    umount small
    [[ "$full" == *"wrong  home "*"$PWD/small/h: 16 MiB free"* ]]
    [ "$status" = 1 ]
    [[ "$output" == *"wrong  home "*"$PWD/small cannot be written: Read-only file system"* ]]
}
