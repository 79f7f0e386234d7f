#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: mlq authors
#
# Instructions that the core spends on an event, counted by callgrind over a fixed workload. They are
# the same on a busy machine, so that a budget can be held by a test: 1 when it is exceeded, or when
# it has become so loose that it would not notice (then lower it). 77: valgrind is missing.
#   core_budget.sh
set -eu
# Instructions an event, over all events: 4,540 were measured with gcc 12 -O2 on amd64; a tenth is slack.
BUDGET=5000
SLACK_PERCENT=10

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
if ! command -v valgrind >/dev/null || ! command -v gcc >/dev/null; then
    echo "core_budget.sh: skipped: valgrind or gcc is missing: deploy/install-packages.sh --tests"
    exit 77
fi
if [ "$(uname -m)" != x86_64 ]; then
    echo "core_budget.sh: skipped: the budget is one of amd64"
    exit 77
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM

cd "$root"
gcc -std=c17 -D_GNU_SOURCE -O2 -g -I. -o "$work/core_budget" tests/bench/core_budget.c \
    scheduler/core/*.c lib/base/*.c lib/sys/mem.c
valgrind --tool=callgrind --callgrind-out-file="$work/out" --toggle-collect=core_step \
    "$work/core_budget" >"$work/events" 2>"$work/log" || { cat "$work/log"; exit 1; }
# The inclusive cost of each kind's function: "  1,234 (12.3%)  ...:budget_submit [...]".
callgrind_annotate --auto=no --inclusive=yes --threshold=100 "$work/out" >"$work/costs"

awk -v budget="$BUDGET" -v slack="$SLACK_PERCENT" '
    FNR == NR { events[$1] = $2; order[++kinds] = $1; next }
    /PROGRAM TOTALS/ { gsub(",", "", $1); total = $1 }
    match($0, /:budget_[a-z]+ /) {
        kind = substr($0, RSTART + 8, RLENGTH - 9); gsub(",", "", $1); cost[kind] = $1
    }
    END {
        for (i = 1; i <= kinds; i++) {
            all += events[order[i]]
            printf "%-10s %8d events %8d instructions each\n", order[i], events[order[i]],
                cost[order[i]] / events[order[i]]
        }
        each = total / all
        printf "%-10s %8d events %8d instructions each; the budget is %d\n", "all", all, each, budget
        if (each > budget) {
            print "core_budget.sh: over budget: mend the core, or say in the commit why it costs more"
            exit 1
        }
        if (each < budget * (100 - 2 * slack) / 100) {
            print "core_budget.sh: far below the budget: lower it, or it holds nothing"
            exit 1
        }
    }' "$work/events" "$work/costs"
