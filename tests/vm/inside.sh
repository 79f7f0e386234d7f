#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: mlq authors
#
# Runs in the machine that vm.sh boots, as a service of its systemd; then the machine is turned off.
set -u
build=/srv/mlq/build/bench
bin=$build/bin
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8
export MLQ_SOURCE_DIR=/srv/mlq MLQ_BIN_DIR="$bin" MLQ_SCRATCH_DIR="$build/tests/scratch/vm" MLQ_PATIENCE=10
failed=
say() { printf '== %s\n' "$*"; }
check() { # check WHAT COMMAND...
    what=$1
    shift
    say "$what"
    if "$@"; then
        say "passed: $what"
    else
        say "FAILED: $what"
        failed="$failed
  $what"
    fi
}
as_user() { # in the user's own manager, as after a login
    runuser -u mlq -- env HOME=/home/mlq XDG_RUNTIME_DIR=/run/user/1000 "$@"
}
has_limits() { # has_limits PREFIX...: mlq-worker finds all three controllers of version 2
    "$@" "$bin/mlq-worker" --probe >/tmp/probe.$$ 2>&1
    cat /tmp/probe.$$
    grep -q '^limits memory,cpu,pids by cgroup v2$' /tmp/probe.$$
}
# Tests that see control groups; one that is skipped has failed.
none_skipped() { # none_skipped COMMAND...
    "$@" </dev/null >/tmp/tests.$$ 2>&1
    status=$?
    cat /tmp/tests.$$
    ! grep -E '# skip|\[  SKIPPED' /tmp/tests.$$ && return $status
}
unit_tests() { # unit_tests PREFIX...
    for test in test_shim test_cgroup test_cgpool test_worker; do
        none_skipped "$@" sh -c "cd $build/tests/scratch/$test && exec $build/tests/$test" || return 1
    done
}
e2e_tests() { # e2e_tests PREFIX...
    none_skipped "$@" bats --tap --filter 'more memory|whole tree|ignored|children|forks away' \
        /srv/mlq/tests/e2e/10-commands.bats /srv/mlq/tests/e2e/41-hostile-commands.bats
}

part_root() {
    check "root: limits are by version 2" has_limits env
    check "root: unit tests" unit_tests env
    check "root: end-to-end tests" e2e_tests env
}

part_user() {
    chown -R mlq /srv/mlq
    scope="systemd-run --user --scope --quiet --"
    check "user: limits are by version 2 in a scope of their systemd" has_limits as_user $scope
    check "user: unit tests in such a scope" unit_tests as_user $scope
    check "user: end-to-end tests in such a scope" e2e_tests as_user $scope
    check "user: limits are by version 2 in a unit with Delegate=yes" has_limits \
        systemd-run --quiet --wait --pipe --uid=mlq -p Delegate=yes --
}

# A worker as a service whose tasks outlive it (KillMode=process), killed under a running task: systemd
# starts it again, and it finds the task. part_service runs it with and without Delegate=yes.
wait_until() { # wait_until COMMAND...: at most five minutes
    tries=600
    while ! "$@"; do
        tries=$((tries - 1))
        [ $tries -gt 0 ] || return 1
        sleep 0.5
    done
}
write_unit() {
    xargs -0 sh -c 'printf "\"%s\" " "$@"' unit <"/proc/$1/cmdline" >/run/worker-command
    cat >/run/systemd/system/mlq-worker.service <<END
[Unit]
Description=mlq worker w1
[Service]
ExecStart=$(cat /run/worker-command)
WorkingDirectory=/srv
KillMode=process
Restart=always
RestartSec=0
StandardOutput=append:/run/worker.log
StandardError=inherit
Delegate=$2
MemoryMax=1G
END
    systemctl daemon-reload
}
is_restarted() { now=$(systemctl show -P MainPID mlq-worker); [ "$now" != 0 ] && [ "$now" != "$main" ]; }
limit_of_task() { find /sys/fs/cgroup -path '*mlq-*' -name memory.max -exec cat {} + | grep -x 100663296; }
task_outlives_worker() {
    old=$(head -n 1 "$MLQ_HOME/pids/w1" | cut -d' ' -f1)
    write_unit "$old" "$1"
    kill "$old"
    wait_until test ! -e "/proc/$old" && rm -f /run/worker.log && systemctl start mlq-worker || return 1
    wait_until grep -q link.welcomed /run/worker.log || return 1
    job=$("$bin/mlq" submit -q --memory 96Mi -- sh -c 'touch /srv/begun; until [ -e /srv/go ]; do sleep 0.2; done') ||
        return 1
    wait_until test -e /srv/begun && limit_of_task || return 1
    main=$(systemctl show -P MainPID mlq-worker)
    kill -KILL "$main"
    wait_until is_restarted || return 1
    touch /srv/go
    "$bin/mlq" wait "$job" --timeout 5m
    "$bin/mlq" show "$job" | tee /tmp/job
    grep -q succeeded /tmp/job && ! grep -q 'failed attempts' /tmp/job
}
service_survives() { # service_survives DELEGATE
    export MLQ_HOME=/srv/home-$1
    "$bin/mlq" up --workers 1 --memory 512Mi || return 1
    task_outlives_worker "$1"
    status=$?
    systemctl --no-pager status mlq-worker
    cat /run/worker.log
    tail -n 20 "$MLQ_HOME/logs/scheduler.log"
    rm -f /srv/go /srv/begun
    systemctl stop mlq-worker
    "$bin/mlq" down
    return $status
}
part_service() {
    check "service: its task outlives it" service_survives no
    check "service with Delegate=yes: its task outlives it" service_survives yes
}

say "$(uname -sr), $(systemctl --version | head -n 1), cgroup: $(stat -fc %T /sys/fs/cgroup), CPUs: $(nproc)"
for part in $(cat /srv/parts); do
    part_"$part"
done
if [ -z "$failed" ]; then
    echo "VM PASSED"
else
    echo "VM FAILED:$failed"
fi
sync
systemctl poweroff --force --force
