/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/questions.h"

#include <stddef.h>

#include "lib/base/err.h"

bool questions_add(struct questions *questions, uint64_t attempt, uint32_t rank,
                   uint64_t control_request, int64_t now_ns)
{
    for (size_t i = 0; i < QUESTIONS_MAX; i++) {
        struct question *item = &questions->items[i];
        if (item->request == 0) {
            *item = (struct question){.request = ++questions->last,
                                      .attempt = attempt,
                                      .rank = rank,
                                      .control_request = control_request,
                                      .ask_ns = now_ns,
                                      .until_ns = now_ns + QUESTIONS_WAIT_NS};
            return true;
        }
    }
    return false;
}

/* The scheduler or its database is not as it should be, which passes. */
static bool says_later(int code)
{
    return code == MLQ_EAGAIN || code == MLQ_ETIMEOUT || code == MLQ_ECONN || code == MLQ_EDB;
}

bool questions_settle(struct questions *questions, uint64_t request, int code, int64_t now_ns,
                      struct question *settled)
{
    for (size_t i = 0; i < QUESTIONS_MAX && request != 0; i++) {
        struct question *item = &questions->items[i];
        if (item->request != request) {
            continue;
        }
        if (says_later(code)) {
            item->ask_ns = now_ns + QUESTIONS_LATER_NS;
            return false;
        }
        *settled = *item;
        *item = (struct question){0};
        return true;
    }
    return false;
}

void questions_renew(struct questions *questions, int64_t now_ns)
{
    for (size_t i = 0; i < QUESTIONS_MAX; i++) {
        questions->items[i].ask_ns = now_ns;
    }
}

const struct question *questions_take_due(struct questions *questions, int64_t now_ns)
{
    for (size_t i = 0; i < QUESTIONS_MAX; i++) {
        struct question *item = &questions->items[i];
        if (item->request != 0 && item->ask_ns <= now_ns) {
            item->ask_ns = now_ns + QUESTIONS_AGAIN_NS;
            return item;
        }
    }
    return NULL;
}

bool questions_take_expired(struct questions *questions, int64_t now_ns, struct question *expired)
{
    for (size_t i = 0; i < QUESTIONS_MAX; i++) {
        struct question *item = &questions->items[i];
        if (item->request != 0 && item->until_ns <= now_ns) {
            *expired = *item;
            *item = (struct question){0};
            return true;
        }
    }
    return false;
}

bool questions_is_empty(const struct questions *questions)
{
    for (size_t i = 0; i < QUESTIONS_MAX; i++) {
        if (questions->items[i].request != 0) {
            return false;
        }
    }
    return true;
}
