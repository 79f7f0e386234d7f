#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: mlq authors
#
# Build mlq-sim from the tree ROOT into OUT with one compiler command, for instance "gcc -O0":
#   build.sh ROOT OUT COMPILER FLAG...
set -eu
root=$1
out=$2
shift 2
cd "$root"
# All of the core, the agent and the simulator, and the parts of lib that they stand on.
exec "$@" -std=c17 -D_GNU_SOURCE -I. -o "$out" \
    tests/sim/*.c scheduler/core/*.c worker/agent/*.c \
    lib/base/*.c lib/sys/mem.c
