/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Why an attempt ended, as messages carry it: the numbers and words of the scheduler's
 * `enum core_cause`. Workers may not include the scheduler's headers, so they are written down
 * twice; tests/unit/test_cause.c holds the two together.
 */
#ifndef MLQ_WORKER_AGENT_CAUSE_H
#define MLQ_WORKER_AGENT_CAUSE_H

#include <stdint.h>

#define WORKER_CAUSES(X)                                                                           \
    X(NONE, "none")                                                                                \
    X(EXIT, "exit")                                                                                \
    X(SIGNAL, "signal")                                                                            \
    X(OOM, "oom")                                                                                  \
    X(TIMEOUT, "timeout")                                                                          \
    X(NODE, "node")                                                                                \
    X(LEASE, "lease")                                                                              \
    X(CANCEL, "cancel")                                                                            \
    X(PEER, "peer")                                                                                \
    X(SPAWN, "spawn")                                                                              \
    X(INPUT, "input")                                                                              \
    X(OUTPUT, "output")                                                                            \
    X(REQUEUE, "requeue")

enum worker_cause {
#define WORKER_CAUSE_ENUM(name, text) WORKER_CAUSE_##name,
    WORKER_CAUSES(WORKER_CAUSE_ENUM)
#undef WORKER_CAUSE_ENUM
        WORKER_CAUSE_COUNT
};

#endif
