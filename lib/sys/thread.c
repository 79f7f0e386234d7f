/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "lib/sys/thread.h"

#include <signal.h>
#include <stdatomic.h>

#include "lib/base/ownership.h"
#include "lib/base/panic.h"

int mlq_thread_start(pthread_t *thread, void *(*run)(void *argument), void *argument)
{
    static const int faults[] = {SIGBUS, SIGFPE, SIGILL, SIGSEGV};
    sigset_t others, before;
    (void)sigfillset(&others);
    for (size_t i = 0; i < MLQ_COUNT_OF(faults); i++) {
        (void)sigdelset(&others, faults[i]);
    }
    MLQ_ASSERT(pthread_sigmask(SIG_BLOCK, &others, &before) == 0); /* the thread inherits it */
    int error = pthread_create(thread, NULL, run, argument);
    MLQ_ASSERT(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
    return error;
}

struct each {
    mlq_thread_fn run;
    void *context;
    size_t count;
    atomic_size_t next;   /* beyond `count` when one has failed */
    pthread_mutex_t lock; /* guards what follows */
    size_t failed;
    int rc;
    struct mlq_err err;
};

/* Lower numbers were taken before: they run, or have ended. */
static void note_failure(struct each *each, size_t i, int rc, const struct mlq_err *err)
{
    atomic_store(&each->next, each->count);
    MLQ_ASSERT(pthread_mutex_lock(&each->lock) == 0);
    if (each->rc == MLQ_OK || i < each->failed) {
        each->failed = i;
        each->rc = rc;
        each->err = *err;
    }
    MLQ_ASSERT(pthread_mutex_unlock(&each->lock) == 0);
}

static void *take_next(void *argument)
{
    struct each *each = argument;
    for (size_t i = atomic_fetch_add(&each->next, 1); i < each->count; i = atomic_fetch_add(&each->next, 1)) {
        struct mlq_err err = MLQ_ERR_INIT;
        int rc = each->run(each->context, i, &err);
        if (rc != MLQ_OK) {
            note_failure(each, i, rc, &err);
        }
    }
    return NULL;
}

int mlq_thread_each(unsigned threads, size_t count, mlq_thread_fn run, void *context, struct mlq_err *err)
{
    struct each each = {.run = run, .context = context, .count = count, .lock = PTHREAD_MUTEX_INITIALIZER};
    pthread_t helpers[MLQ_THREADS_MAX - 1];
    size_t most = threads < MLQ_THREADS_MAX ? threads : MLQ_THREADS_MAX;
    most = most < count ? most : count;
    size_t started = 0;
    while (started + 1 < most && mlq_thread_start(&helpers[started], take_next, &each) == 0) {
        started++;
    }
    (void)take_next(&each);
    for (size_t i = 0; i < started; i++) {
        MLQ_ASSERT(pthread_join(helpers[i], NULL) == 0);
    }
    MLQ_ASSERT(pthread_mutex_destroy(&each.lock) == 0);
    if (each.rc != MLQ_OK && err != NULL) {
        *err = each.err;
    }
    return each.rc;
}
