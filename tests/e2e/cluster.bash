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

state_of() { # JOB
    mlq show "$1" --json | python3 -c 'import json,sys; print(json.load(sys.stdin)["job"]["state"])'
}

field() { # JOB EXPRESSION of python over `job`
    mlq show "$1" --json | python3 -c "import json,sys; job=json.load(sys.stdin)['job']; stages={s['name']:s for s in job['stages']}; print(($2))"
}

# Wait until a command succeeds: a condition, not a time.
await() { # SECONDS COMMAND...
    local deadline=$(($(date +%s) + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        if [ "$(date +%s)" -gt "$deadline" ]; then
            echo "not within its time: $*" >&2
            return 1
        fi
        read -r -t 0.05 <> <(:) || true
    done
}
