/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * What tasks have asked the scheduler and not been told yet. A question is asked again until it is
 * answered: after a welcome, since the leader that had it may be gone; when the answer was "later";
 * and when none came. Numbers are used once, so an answer that comes twice or late settles nothing.
 * Who sends and what time it is, the caller knows (records.c).
 */
#ifndef MLQ_WORKER_QUESTIONS_H
#define MLQ_WORKER_QUESTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/str.h"
#include "lib/task/task.h"

#define QUESTIONS_MAX 256
/* Longer than any answer takes that is not lost: the scheduler itself gives up after 30 s. */
#define QUESTIONS_AGAIN_NS (INT64_C(35) * 1000000000)
#define QUESTIONS_LATER_NS (INT64_C(2) * 1000000000) /* after an answer that says: not now */
/* When a task hears that there is no answer: a moment before it stops waiting. */
#define QUESTIONS_WAIT_NS (INT64_C(1000000000) * TASK_RECORD_WAIT_S)

struct question {
    uint64_t request; /* 0: free */
    uint64_t attempt;
    uint32_t rank;
    uint64_t control_request;
    int64_t ask_ns;   /* when it is to be asked (again) */
    int64_t until_ns; /* when it is given up */
};

/* All zero: empty. Read `items` freely; what nobody waits for is dropped by *item = {0}. */
struct questions {
    struct question items[QUESTIONS_MAX];
    uint64_t last;
};

/* Due at once. False: there are as many as there may be. */
bool questions_add(struct questions *questions, uint64_t attempt, uint32_t rank,
                   uint64_t control_request, int64_t now_ns);

/* The scheduler's answer. True: this question has it, and is dropped; false: no such question, or
 * it says "later". */
bool questions_settle(struct questions *questions, uint64_t request, int code, int64_t now_ns,
                      struct question *settled);

/* Another leader, or the same one over another connection: all are due. */
void questions_renew(struct questions *questions, int64_t now_ns);

/* One that is due, and not again for a while. NULL: none. */
const struct question *questions_take_due(struct questions *questions, int64_t now_ns);

/* One whose time is over, dropped. False: none. */
bool questions_take_expired(struct questions *questions, int64_t now_ns, struct question *expired);

bool questions_is_empty(const struct questions *questions);

#endif
