/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * A ring of pieces: taken <= begun <= given. Who is free begins the oldest that nobody began.
 */
#include "worker/op/op_crew.h"

#include <pthread.h>
#include <stdint.h>

#include "lib/base/panic.h"
#include "lib/sys/mem.h"
#include "worker/op/op_background.h"

struct piece {
    void *work;
    bool is_done;
};

struct op_crew {
    op_crew_fn run;
    struct op_background **threads;
    size_t thread_count;
    pthread_mutex_t lock;    /* guards what follows */
    pthread_cond_t is_given; /* or the crew is to end */
    pthread_cond_t is_done;
    struct piece *pieces;
    size_t room;
    uint64_t given;
    uint64_t begun;
    uint64_t taken;
    bool is_over;
};

static struct piece *piece_at(struct op_crew *crew, uint64_t number)
{
    return &crew->pieces[number % crew->room];
}

/* The lock is held before and after, not meanwhile. */
static void work_off_one(struct op_crew *crew)
{
    struct piece *piece = piece_at(crew, crew->begun++);
    MLQ_ASSERT(pthread_mutex_unlock(&crew->lock) == 0);
    crew->run(piece->work);
    MLQ_ASSERT(pthread_mutex_lock(&crew->lock) == 0);
    piece->is_done = true;
}

static int work_off(void *work, struct mlq_err *err)
{
    struct op_crew *crew = work;
    (void)err;
    MLQ_ASSERT(pthread_mutex_lock(&crew->lock) == 0);
    while (!crew->is_over) {
        if (crew->begun == crew->given) {
            MLQ_ASSERT(pthread_cond_wait(&crew->is_given, &crew->lock) == 0);
            continue;
        }
        work_off_one(crew);
        MLQ_ASSERT(pthread_cond_signal(&crew->is_done) == 0); /* only the caller waits for it */
    }
    MLQ_ASSERT(pthread_mutex_unlock(&crew->lock) == 0);
    return MLQ_OK;
}

int op_crew_create(unsigned cpus, size_t room, op_crew_fn run, struct op_crew **out,
                   struct mlq_err *err)
{
    struct op_crew *crew = mlq_alloc(sizeof *crew);
    int rc = MLQ_OK;
    crew->run = run;
    crew->room = room;
    crew->pieces = mlq_alloc_array(room, sizeof *crew->pieces);
    crew->threads = mlq_alloc_array(cpus, sizeof(struct op_background *));
    MLQ_ASSERT(pthread_mutex_init(&crew->lock, NULL) == 0);
    MLQ_ASSERT(pthread_cond_init(&crew->is_given, NULL) == 0);
    MLQ_ASSERT(pthread_cond_init(&crew->is_done, NULL) == 0);
    while (rc == MLQ_OK && crew->thread_count + 1 < cpus) {
        rc = op_background_create(&crew->threads[crew->thread_count], err);
        if (rc == MLQ_OK) {
            op_background_start(crew->threads[crew->thread_count++], work_off, crew);
        }
    }
    if (rc != MLQ_OK) {
        op_crew_destroy(&crew);
        return rc;
    }
    *out = crew;
    return MLQ_OK;
}

void op_crew_destroy(struct op_crew **crew)
{
    struct op_crew *old = *crew;
    if (old == NULL) {
        return;
    }
    MLQ_ASSERT(pthread_mutex_lock(&old->lock) == 0);
    old->is_over = true;
    MLQ_ASSERT(pthread_cond_broadcast(&old->is_given) == 0);
    MLQ_ASSERT(pthread_mutex_unlock(&old->lock) == 0);
    for (size_t i = 0; i < old->thread_count; i++) {
        op_background_destroy(&old->threads[i]);
    }
    MLQ_ASSERT(pthread_cond_destroy(&old->is_done) == 0);
    MLQ_ASSERT(pthread_cond_destroy(&old->is_given) == 0);
    MLQ_ASSERT(pthread_mutex_destroy(&old->lock) == 0);
    mlq_free(old->threads);
    mlq_free(old->pieces);
    mlq_free(old);
    *crew = NULL;
}

void op_crew_give(struct op_crew *crew, void *work)
{
    MLQ_ASSERT(pthread_mutex_lock(&crew->lock) == 0);
    MLQ_ASSERT(crew->given - crew->taken < crew->room);
    *piece_at(crew, crew->given++) = (struct piece){.work = work};
    MLQ_ASSERT(pthread_cond_signal(&crew->is_given) == 0);
    MLQ_ASSERT(pthread_mutex_unlock(&crew->lock) == 0);
}

void *op_crew_take(struct op_crew *crew)
{
    void *work = NULL;
    MLQ_ASSERT(pthread_mutex_lock(&crew->lock) == 0);
    while (crew->taken < crew->given && !piece_at(crew, crew->taken)->is_done) {
        if (crew->begun < crew->given) {
            work_off_one(crew);
        } else {
            MLQ_ASSERT(pthread_cond_wait(&crew->is_done, &crew->lock) == 0);
        }
    }
    if (crew->taken < crew->given) {
        work = piece_at(crew, crew->taken++)->work;
    }
    MLQ_ASSERT(pthread_mutex_unlock(&crew->lock) == 0);
    return work;
}
