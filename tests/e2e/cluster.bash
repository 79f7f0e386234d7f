# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: mlq authors
#
# A cluster of its own for each script. Load it with `load cluster`; setup_file starts it, teardown_file stops it.

cluster_up() { # [flags of mlq up]
    export PATH=$MLQ_BIN_DIR:$PATH
    export MLQ_HOME=$MLQ_SCRATCH_DIR/home
    mlq down --purge -y >/dev/null 2>&1 || true
    rm -rf "$MLQ_SCRATCH_DIR"
    mkdir -p "$MLQ_SCRATCH_DIR"
    cd "$MLQ_SCRATCH_DIR"
    mlq up --workers 2 --cpus 4 --memory 4Gi "$@"
}

cluster_down() {
    for log in "$MLQ_HOME"/logs/*.log; do # a sanitizer's report must not go unseen
        if grep -q -e 'ERROR: AddressSanitizer' -e 'runtime error:' -e ' error panic ' "$log"; then
            sed 's/^/# /' "$log" | tail -n 60 >&3
            false
        fi
    done
    mlq down --purge -y
}

pid_of() { # NAME of a daemon: scheduler, postgres, w1, w2
    cut -d' ' -f1 "$MLQ_HOME/pids/$1"
}

is_gone() { # PID
    ! grep -q '^State:.[^ZX]' "/proc/$1/status" 2>/dev/null
}

# kill -9 takes its time on a busy machine, and who starts them again at once finds them there.
kill_daemons() { # NAME...
    local name pids=""
    for name; do pids="$pids $(pid_of "$name")"; done
    kill -9 $pids
    for name in $pids; do await 30 is_gone "$name"; done
}

state_of() { # JOB
    mlq show "$1" --json | python3 -c 'import json,sys; print(json.load(sys.stdin)["job"]["state"])'
}

field() { # JOB EXPRESSION of python over `job`
    mlq show "$1" --json | python3 -c "import json,sys; job=json.load(sys.stdin)['job']; stages={s['name']:s for s in job['stages']}; print(($2))"
}

# What a job shall be like. When it is not, what became of it is shown: each failed attempt and its log.
expect() { # JOB EXPRESSION WANTED
    local got
    got=$(field "$1" "$2")
    [ "$got" = "$3" ] && return
    echo "job $1: $2"
    echo "is      $got"
    echo "and not $3"
    mlq show "$1" --full
    field "$1" "'\n'.join(s['name'] + ' ' + str(a) for s in job['stages'] for a in s['attempts'])"
    mlq logs "$1" 2>&1 | tail -n 40
    return 1
}

# A command that shall fail. A line that begins with "!" ends no test, whatever it gives.
refute() { # COMMAND...
    if "$@"; then
        echo "succeeds: $*"
        return 1
    fi
}

# Waits until a command succeeds, and prints what it printed then: a condition, not a time. MLQ_PATIENCE times as long on a
# slow machine.
awaited() { # SECONDS COMMAND...
    local deadline=$(($(date +%s) + $1 * ${MLQ_PATIENCE:-1})) printed
    shift
    until printed=$("$@" 2>/dev/null); do
        if [ "$(date +%s)" -gt "$deadline" ]; then
            echo "not within its time: $*" >&2
            return 1
        fi
        read -r -t 0.05 <> <(:) || true
    done
    printf '%s\n' "$printed"
}

await() { # SECONDS COMMAND...
    awaited "$@" >/dev/null
}

# To be awaited: a child that was forked has its parent's command line until it runs its own.
count_of() { # NUMBER PATTERN of command lines
    [ "$(pgrep -fc "$2")" = "$1" ]
}

# The process of this cluster that runs a task of a job, or one of its ranks: the first one, not what it has started.
task_pid() { # JOB [RANK]
    python3 - "$MLQ_HOME" "$1" "${2:-}" <<'P'
import os, sys
home, job, rank = sys.argv[1:]
ours = {}
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        words = open("/proc/%s/environ" % pid, "rb").read().decode(errors="replace").split("\0")
        parent = open("/proc/%s/stat" % pid).read().rsplit(")", 1)[1].split()[1]
    except OSError:
        continue
    values = dict(word.split("=", 1) for word in words if "=" in word)
    if values.get("MLQ_OUTPUT", "").startswith(home) and values["MLQ_JOB"] == job and values.get("RANK", "") == rank:
        ours[pid] = parent
print(*[pid for pid in ours if ours[pid] not in ours][:1])
P
}

has_metric() { # JOB NAME
    mlq metrics "$1" --json | grep -q "\"$2\""
}
