/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/op/op_background.h"

#include <pthread.h>
#include <string.h>

#include "lib/base/panic.h"
#include "lib/sys/mem.h"
#include "lib/sys/thread.h"

struct op_background {
    pthread_t thread;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t changed;
    op_background_fn run; /* NULL: nothing was started */
    void *work;
    bool has_ended; /* what was started */
    bool is_over;   /* the thread is to end */
    int rc;
    struct mlq_err err;
};

static void lock(struct op_background *background)
{
    MLQ_ASSERT(pthread_mutex_lock(&background->lock) == 0);
}

static void unlock(struct op_background *background)
{
    MLQ_ASSERT(pthread_mutex_unlock(&background->lock) == 0);
}

static void await_change(struct op_background *background)
{
    MLQ_ASSERT(pthread_cond_wait(&background->changed, &background->lock) == 0);
}

static void *work_off(void *argument)
{
    struct op_background *background = argument;
    lock(background);
    for (;;) {
        while (!background->is_over && (background->run == NULL || background->has_ended)) {
            await_change(background);
        }
        if (background->run == NULL || background->has_ended) {
            break;
        }
        op_background_fn run = background->run;
        struct mlq_err err = MLQ_ERR_INIT;
        unlock(background);
        int rc = run(background->work, &err);
        lock(background);
        background->rc = rc;
        background->err = err;
        background->has_ended = true;
        (void)pthread_cond_broadcast(&background->changed);
    }
    unlock(background);
    return NULL;
}

int op_background_create(struct op_background **background, struct mlq_err *err)
{
    struct op_background *created = mlq_alloc(sizeof(*created));
    MLQ_ASSERT(pthread_mutex_init(&created->lock, NULL) == 0);
    MLQ_ASSERT(pthread_cond_init(&created->changed, NULL) == 0);
    int error = mlq_thread_start(&created->thread, work_off, created);
    *background = error == 0 ? created : NULL;
    if (error != 0) {
        mlq_free(created);
        return mlq_fail(err, MLQ_EIO, "a thread to write in: %s", strerror(error));
    }
    return 0;
}

void op_background_destroy(struct op_background **background)
{
    if (*background == NULL) {
        return;
    }
    lock(*background);
    (*background)->is_over = true;
    (void)pthread_cond_broadcast(&(*background)->changed);
    unlock(*background);
    (void)pthread_join((*background)->thread, NULL);
    (void)pthread_cond_destroy(&(*background)->changed);
    (void)pthread_mutex_destroy(&(*background)->lock);
    mlq_free(*background);
    *background = NULL;
}

void op_background_start(struct op_background *background, op_background_fn run, void *work)
{
    lock(background);
    MLQ_ASSERT(background->run == NULL);
    background->run = run;
    background->work = work;
    background->has_ended = false;
    (void)pthread_cond_broadcast(&background->changed);
    unlock(background);
}

bool op_background_is_busy(const struct op_background *background)
{
    return background->run != NULL; /* which only the caller's thread changes */
}

bool op_background_collect(struct op_background *background, bool wait, int *rc,
                           struct mlq_err *err)
{
    lock(background);
    while (wait && background->run != NULL && !background->has_ended) {
        await_change(background);
    }
    bool has_ended = background->run != NULL && background->has_ended;
    if (has_ended) {
        background->run = NULL;
        *rc = background->rc;
        if (*rc != 0 && err != NULL) {
            *err = background->err;
        }
    }
    unlock(background);
    return has_ended;
}
