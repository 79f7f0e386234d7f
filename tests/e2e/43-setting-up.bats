#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: mlq authors
#
# What goes wrong around a cluster: nobody there, the wrong key, no room, no right to write, two at once, a power
# cut. Exit 6, 7 or 4 with the address and the way out, and nothing is left half done.

load cluster

setup_file() { cluster_up; }
teardown_file() { cluster_down; }

of_cluster() { python3 -c "import json; print(json.load(open('$MLQ_HOME/cluster.json'))['$1'])"; }

says() { # EXIT TEXT COMMAND...
    local code=$1 text=$2
    shift 2
    run "$@"
    [ "$status" = "$code" ] || { echo "exit $status: $output"; return 1; }
    [[ "$output" == *"$text"* ]] || { echo "said: $output"; return 1; }
}

@test "PostgreSQL gets a quarter of the memory to keep pages in, 128 MB at least and 512 at most" {
    quarter=$(awk '/^MemTotal:/ {print int($2 / 4096)}' /proc/meminfo)
    wanted=$((quarter < 128 ? 128 : quarter > 512 ? 512 : quarter))
    [ "$(psql -XAtq -h "$(of_cluster pg_socket_dir)" -U mlq -d postgres -c 'SHOW shared_buffers')" = "${wanted}MB" ]
}

@test "the scheduler does not run: exit 6, the address, the way out; nothing was sent" {
    endpoint=$(of_cluster endpoint)
    before=$(mlq ls -q | wc -l)
    kill_daemons scheduler
    says 6 "mlq submit: command line: no scheduler reached at $endpoint: nothing listens there
  is the cluster up? \`mlq status\` tells, \`mlq up --home $MLQ_HOME\` starts it" mlq submit -- true
    says 6 "mlq status: no scheduler reached at $endpoint: nothing listens there" mlq status
    mlq up
    [ "$(mlq ls -q | wc -l)" = "$before" ]
    mlq submit --wait -- true
}

times_deposed() { grep -c ' leader.deposed ' "$MLQ_HOME/logs/scheduler.log" || true; }

# A scheduler that has noticed closes its port: nothing can be sent. What it got before that is 7: 30-crashes.bats.
@test "PostgreSQL does not run: exit 6, and mlq up is the way out" {
    before=$(times_deposed)
    kill_daemons postgres
    await 60 eval "[ \$(times_deposed) -gt $before ]"
    run mlq submit -- true
    mlq up # also for the tests that follow, whatever was said
    echo "$output"
    [ "$status" = 6 ]
    [[ "$output" == *"$(of_cluster endpoint)"*"mlq up --home $MLQ_HOME"* ]]
    mlq submit --wait -- true
}

@test "a scheduler that hangs: exit 6, and why" {
    scheduler=$(pid_of scheduler)
    await 60 mlq ls
    kill -STOP "$scheduler"
    run mlq submit -- true
    kill -CONT "$scheduler"
    await 60 mlq ls # if its leadership lapsed meanwhile, it closes its port and campaigns again
    [ "$status" = 6 ]
    [[ "$output" == *"no scheduler reached at $(of_cluster endpoint): something listens there but does not finish the handshake: the server key is another one, it hangs, or it is no mlq scheduler"* ]] || { echo "$output"; false; }
}

@test "wrong keys: exit 6 or 4, and what to do" {
    endpoint=$(of_cluster endpoint)
    server=$(of_cluster server_key)
    public=$(sed -n 's/^public //p' "$MLQ_HOME/keys/w1.key")
    says 6 "no scheduler reached at $endpoint: something listens there but does not finish the handshake: the server key is another one" \
        mlq ls --endpoint "$endpoint" --server-key "$public" --key "$MLQ_HOME/keys/client.key"
    says 4 "the scheduler at $endpoint refused the request: a worker may not send 'request'" \
        mlq ls --endpoint "$endpoint" --server-key "$server" --key "$MLQ_HOME/keys/w1.key"
    cp "$MLQ_HOME/keys/enrolled" enrolled.kept
    sed -i '/^client client /d' "$MLQ_HOME/keys/enrolled"
    says 6 "no scheduler reached at $endpoint: the scheduler there does not know this key: enroll it" mlq ls
    cp enrolled.kept "$MLQ_HOME/keys/enrolled"
    await 10 mlq ls
    says 2 "--key (or MLQ_KEY) is missing: the file of your own key pair" mlq ls --endpoint "$endpoint" --server-key "$server"
    chmod 640 "$MLQ_HOME/keys/client.key"
    says 4 "$MLQ_HOME/keys/client.key holds a secret key and others may read or write it: chmod 600 $MLQ_HOME/keys/client.key" mlq ls
    chmod 600 "$MLQ_HOME/keys/client.key"
    echo nonsense >bad.key
    chmod 600 bad.key
    says 4 "bad.key" mlq ls --key "$PWD/bad.key"
}

@test "data of another PostgreSQL: exit 4 and the package" {
    data=$(of_cluster pg_data)
    mlq down
    cp "$data/PG_VERSION" version.kept
    echo 99 >"$data/PG_VERSION"
    says 4 "the data in $data are of PostgreSQL 99, whose postgres is not installed: apt-get install postgresql-99" mlq up
    cat version.kept >"$data/PG_VERSION"
    mlq up
    mlq submit --wait -- true
}

@test "no room on the disk: exit 4; with room it goes on from there" {
    [ "$(id -u)" = 0 ] || skip "needs root, for a small file system"
    mkdir -p small
    mount -t tmpfs -o size=20m none small || skip "no mount here"
    run mlq up --home "$PWD/small/h" --workers 1 --cpus 1 --memory 1Gi
    full="$status $output"
    mount -o remount,size=600m small
    run mlq up --home "$PWD/small/h"
    mlq submit --home "$PWD/small/h" --wait -- true && works=yes
    mlq down --home "$PWD/small/h"
    umount small
    [[ "$full" == "4 "*"the disk of $PWD/small/h is full: make room and run it again" ]] || { echo "$full"; false; }
    [ "$status" = 0 ]
    [ "$works" = yes ]
}

@test "a home that cannot be written: exit 4, nothing is started" {
    [ "$(id -u)" = 0 ] || skip "needs root, for a file system that is read-only"
    mkdir -p fixed
    mount -t tmpfs -o ro,size=1m none fixed || skip "no mount here"
    run mlq up --home "$PWD/fixed/h"
    umount fixed
    [ "$status" = 4 ] || { echo "$status: $output"; false; }
    [[ "$output" == *"$PWD/fixed/h: Read-only file system"* ]] || { echo "$output"; false; }
    refute pgrep -f "$PWD/fixed/h"
    echo x >file
    says 4 "$PWD/file" mlq up --home "$PWD/file"
}

@test "four mlq up at once: one cluster" {
    mlq down
    for i in 1 2 3 4; do mlq up >"up.$i" 2>&1 3>&- & pids="$pids $!"; done
    for pid in $pids; do wait "$pid"; done
    await 20 count_of 1 "^[^ ]*mlq-scheduler .*$MLQ_HOME/"
    await 20 count_of 2 "^[^ ]*mlq-worker .*--home $MLQ_HOME "
    mlq submit --wait -- true
    mlq doctor -q
}

@test "mlq up after a power cut: stale files and strangers under the old numbers are no obstacle" {
    job=$(mlq submit -q -- sh -c "echo run >>'$PWD/runs'; until [ -e '$PWD/go' ]; do sleep 0.1; done")
    await 30 test -s runs
    data=$(of_cluster pg_data)
    cp "$data/postmaster.pid" postmaster.kept
    pkill_tree=$(pgrep -f "until \[ -e '$PWD/go'" | tr '\n' ' ')
    shims=$(pgrep -f "mlq-shim .*$MLQ_HOME/" | tr '\n' ' ' || true)
    kill -9 $(pid_of scheduler) $(pid_of postgres) $(pid_of w1) $(pid_of w2) $shims $pkill_tree
    # What a boot leaves: files of processes that are no more, their numbers with others.
    sleep 8000.043 >/dev/null 2>&1 3>&- &
    stranger=$!
    for name in scheduler postgres w1 w2; do echo "$stranger 12345" >"$MLQ_HOME/pids/$name"; done
    await 20 sh -c "! pgrep -f '[/]postgres.* -D $data'" # a server's children end when they notice
    sed "1s/.*/$stranger/" postmaster.kept >"$data/postmaster.pid"
    touch "$MLQ_HOME/serving"
    : >"$MLQ_HOME/lock"
    mlq up
    kill -0 "$stranger" # not taken for ours, nor shot
    kill "$stranger"
    touch go
    mlq wait "$job" --timeout 120s
    [ "$(state_of "$job")" = succeeded ]
    mlq doctor -q
}

@test "a worker whose home is in use, and a second scheduler on the port: refused with the reason" {
    mapfile -d '' -t words <"/proc/$(pid_of w1)/cmdline"
    says 1 "w1" "${words[@]}"
    mapfile -d '' -t words <"/proc/$(pid_of scheduler)/cmdline"
    "${words[@]}" >standby.log 2>&1 3>&- &
    standby=$!
    await 20 grep -q leader.campaign standby.log
    kill -0 "$standby" # it waits for its turn
    kill "$standby"
    mlq submit --wait -- true
}

@test "garbage on the scheduler's port: closed, nothing crashes, others are served meanwhile" {
    scheduler=$(pid_of scheduler)
    python3 - "$(of_cluster endpoint)" <<'P'
import os, socket, sys
port = int(sys.argv[1].rsplit(':', 1)[1])
greeting = b'\xff' + bytes(8) + b'\x7f\x03\x00CURVE' + bytes(15) + b'\x00' + bytes(31)
kinds = [os.urandom(4096), b'GET / HTTP/1.1\r\nHost: x\r\n\r\n', b'\xff' + bytes(8) + b'\x7f', greeting,
         greeting + b'\x06' + (1 << 62).to_bytes(8, 'big'), greeting + b'\x04\xff' + os.urandom(255),
         greeting.replace(b'CURVE', b'NULL\0') + b'\x04\x19\x05READY' + bytes(19), b'\x16\x03\x01' + os.urandom(500), b'']
held = []
for round in range(20):
    for bytes_ in kinds:
        s = socket.create_connection(('127.0.0.1', port))
        try:
            s.sendall(bytes_)
        except OSError:
            pass
        held.append(s)
P
    mlq submit --wait -- true
    [ "$(pid_of scheduler)" = "$scheduler" ]
    kill -0 "$scheduler"
    await 20 eval '[ "$(mlq status --json | python3 -c "import json,sys; print(json.load(sys.stdin)[\"cluster\"][\"refused\"][\"handshakes\"])")" -ge 100 ]' # counted (each mlq status just now hides one),
    [ "$(grep -c 'a connection ended in its handshake' "$MLQ_HOME/logs/scheduler.log")" -le 2 ] # and not a line for each
}
