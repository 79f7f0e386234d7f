/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The thread does one bounded piece of work at a time without the lock, and looks what is wanted
 * between two of them; the training thread moves what is wanted only while none is under way.
 */
#include "worker/op/op_train_loader.h"

#include <pthread.h>
#include <string.h>

#include "lib/base/panic.h"
#include "lib/sys/clock.h"
#include "lib/sys/mem.h"
#include "worker/ml/order.h"

#define WINDOWS 2u /* that are kept: one in use, one ahead */
#define WINDOW_SHARE                                                                               \
    4u /* 1 / this of the memory is a window; deals have their buffers of the rest */

/* Of an epoch that is dealt, or will be. */
struct stage {
    struct op_train_deal *deal;
    uint64_t epoch;
    uint32_t first_step;
    bool is_wanted;
    bool is_begun;
    bool is_dealt;
};

struct window {
    bool is_full;
    uint32_t number; /* in its epoch */
    union preprocess_cell *cells;
    uint32_t *place;
};

struct op_train_loader {
    struct op_train_loader_plan plan;
    uint32_t *order; /* of rows in memory */
    bool is_streamed;
    /* The rest is for rows that are streamed. */
    pthread_t thread;
    bool has_thread;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t changed;
    bool is_busy; /* the thread is at a piece of work, whose data are its own */
    bool is_stopping;
    uint64_t epoch;         /* the running one */
    uint32_t next;          /* window to be read */
    uint32_t used;          /* window that the steps are in */
    struct stage stages[2]; /* an epoch's is that of its parity */
    struct window windows[WINDOWS];
    uint64_t *keys;
    int rc;
    struct mlq_err err;
};

static void lock(struct op_train_loader *loader)
{
    MLQ_ASSERT(pthread_mutex_lock(&loader->lock) == 0);
}

static void unlock(struct op_train_loader *loader)
{
    MLQ_ASSERT(pthread_mutex_unlock(&loader->lock) == 0);
}

static struct stage *stage_of(struct op_train_loader *loader, uint64_t epoch)
{
    return &loader->stages[epoch % 2];
}

/* ---- The thread ---- */

/* Another piece of an epoch's deal. Without the lock. */
static int deal_more(struct stage *stage, bool *is_dealt, struct mlq_err *err)
{
    if (!stage->is_begun) {
        op_train_deal_begin(stage->deal, stage->epoch, stage->first_step);
        stage->is_begun = true;
        return 0;
    }
    return op_train_deal_more(stage->deal, is_dealt, err);
}

enum work { WORK_NONE, WORK_DEAL, WORK_DEAL_NEXT, WORK_READ };

/* Caller holds the lock. What the steps wait for first; then what they will. */
static enum work find_work(struct op_train_loader *loader)
{
    const struct stage *running = stage_of(loader, loader->epoch);
    const struct stage *next = stage_of(loader, loader->epoch + 1);
    if (!running->is_wanted) {
        return WORK_NONE;
    }
    if (!running->is_dealt) {
        return WORK_DEAL;
    }
    if (loader->next < op_train_deal_windows(running->deal) &&
        !loader->windows[loader->next % WINDOWS].is_full) {
        return WORK_READ;
    }
    return next->is_wanted && !next->is_dealt ? WORK_DEAL_NEXT : WORK_NONE;
}

static int do_work(struct op_train_loader *loader, enum work work, bool *is_dealt,
                   struct mlq_err *err)
{
    uint64_t epoch = loader->epoch + (work == WORK_DEAL_NEXT);
    struct stage *stage = stage_of(loader, epoch);
    if (work != WORK_READ) {
        return deal_more(stage, is_dealt, err);
    }
    struct window *window = &loader->windows[loader->next % WINDOWS];
    return op_train_deal_read(stage->deal, loader->next, window->cells, window->place, loader->keys,
                              err);
}

static void note_work(struct op_train_loader *loader, enum work work, bool is_dealt)
{
    if (work == WORK_READ) {
        struct window *window = &loader->windows[loader->next % WINDOWS];
        window->number = loader->next++;
        window->is_full = true;
    } else {
        stage_of(loader, loader->epoch + (work == WORK_DEAL_NEXT))->is_dealt = is_dealt;
    }
}

static void *run(void *argument)
{
    struct op_train_loader *loader = argument;
    struct mlq_err err = MLQ_ERR_INIT;
    lock(loader);
    while (!loader->is_stopping && loader->rc == 0) {
        enum work work = find_work(loader);
        if (work == WORK_NONE) {
            (void)pthread_cond_wait(&loader->changed, &loader->lock);
            continue;
        }
        bool is_dealt = false;
        loader->is_busy = true;
        unlock(loader);
        int rc = do_work(loader, work, &is_dealt, &err);
        lock(loader);
        loader->is_busy = false;
        if (rc == 0) {
            note_work(loader, work, is_dealt);
        } else {
            loader->rc = rc;
            loader->err = err;
        }
        (void)pthread_cond_broadcast(&loader->changed);
    }
    unlock(loader);
    return NULL;
}

/* ---- Life ---- */

static int start(struct op_train_loader *loader, struct mlq_err *err)
{
    pthread_condattr_t attributes;
    MLQ_ASSERT(pthread_mutex_init(&loader->lock, NULL) == 0);
    MLQ_ASSERT(pthread_condattr_init(&attributes) == 0);
    MLQ_ASSERT(pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0);
    MLQ_ASSERT(pthread_cond_init(&loader->changed, &attributes) == 0);
    (void)pthread_condattr_destroy(&attributes);
    int error = pthread_create(&loader->thread, NULL, run, loader);
    loader->has_thread = error == 0;
    return error == 0 ? 0 : mlq_fail(err, MLQ_EIO, "the loader's thread: %s", strerror(error));
}

static int create_stages(struct op_train_loader *loader, struct mlq_err *err)
{
    const struct op_train_loader_plan *plan = &loader->plan;
    uint64_t bytes = plan->memory_bytes / WINDOW_SHARE;
    struct op_train_deal_plan deal = {.table = plan->set->table,
                                      .bound = plan->set->bound,
                                      .model = plan->model,
                                      .augment = &plan->config->augment,
                                      .seed = plan->config->seed,
                                      .rows = plan->set->rows,
                                      .batch = plan->config->batch,
                                      .whole = plan->whole,
                                      .last = plan->last,
                                      .window_bytes = bytes,
                                      .buffer_bytes = bytes / 2};
    int rc = 0;
    for (size_t i = 0; i < 2 && rc == 0; i++) {
        rc = op_train_deal_create(&deal, &loader->stages[i].deal, err);
    }
    if (rc != 0) {
        return rc;
    }
    size_t slots = op_train_deal_slots_max(loader->stages[0].deal);
    for (size_t i = 0; i < WINDOWS; i++) {
        struct window *window = &loader->windows[i];
        window->cells = mlq_alloc_array(slots * plan->model->feature_count, sizeof(*window->cells));
        window->place = mlq_alloc_array(slots, sizeof(*window->place));
    }
    loader->keys = mlq_alloc_array(slots, sizeof(*loader->keys));
    return start(loader, err);
}

int op_train_loader_create(const struct op_train_loader_plan *plan, struct op_train_loader **result,
                           struct mlq_err *err)
{
    struct op_train_loader *loader = mlq_alloc(sizeof(*loader));
    loader->plan = *plan;
    loader->is_streamed = plan->set->table != NULL;
    int rc = 0;
    if (loader->is_streamed) {
        rc = create_stages(loader, err);
    } else {
        loader->order = mlq_alloc_array(plan->set->rows, sizeof(*loader->order));
    }
    if (rc != 0) {
        op_train_loader_destroy(&loader);
        return rc;
    }
    *result = loader;
    return 0;
}

void op_train_loader_destroy(struct op_train_loader **loader)
{
    if (*loader == NULL) {
        return;
    }
    struct op_train_loader *l = *loader;
    if (l->has_thread) {
        lock(l);
        l->is_stopping = true;
        (void)pthread_cond_broadcast(&l->changed);
        unlock(l);
        (void)pthread_join(l->thread, NULL);
        (void)pthread_cond_destroy(&l->changed);
        (void)pthread_mutex_destroy(&l->lock);
    }
    for (size_t i = 0; i < WINDOWS; i++) {
        mlq_free(l->windows[i].cells);
        mlq_free(l->windows[i].place);
    }
    op_train_deal_destroy(&l->stages[0].deal);
    op_train_deal_destroy(&l->stages[1].deal);
    mlq_free(l->keys);
    mlq_free(l->order);
    mlq_free(l);
    *loader = NULL;
}

/* ---- Epochs ---- */

static void want(struct op_train_loader *loader, uint64_t epoch, uint32_t first_step)
{
    struct stage *stage = stage_of(loader, epoch);
    if (!stage->is_wanted || stage->epoch != epoch || stage->first_step != first_step) {
        *stage = (struct stage){
            .deal = stage->deal, .epoch = epoch, .first_step = first_step, .is_wanted = true};
    }
}

void op_train_loader_begin(struct op_train_loader *loader, uint64_t epoch, uint32_t first_step)
{
    const struct op_train_config *config = loader->plan.config;
    if (!loader->is_streamed) {
        order_shuffle(loader->order, loader->plan.set->rows, config->seed, epoch);
        return;
    }
    lock(loader);
    while (loader->is_busy) {
        (void)pthread_cond_wait(&loader->changed, &loader->lock);
    }
    loader->epoch = epoch;
    loader->next = 0;
    loader->used = 0;
    for (size_t i = 0; i < WINDOWS; i++) {
        loader->windows[i].is_full = false;
    }
    want(loader, epoch, first_step);
    if (epoch + 1 < config->epochs) {
        want(loader, epoch + 1, 0);
    }
    (void)pthread_cond_broadcast(&loader->changed);
    unlock(loader);
}

/* Whether the window that a step is in has been read; a rank may have no sample at all. Caller
 * holds the lock. */
static bool is_there(struct op_train_loader *loader, uint32_t window)
{
    const struct stage *stage = stage_of(loader, loader->epoch);
    if (!stage->is_dealt) {
        return false;
    }
    const struct window *kept = &loader->windows[window % WINDOWS];
    return window >= op_train_deal_windows(stage->deal) ||
           (kept->is_full && kept->number == window);
}

/* With the thread's error, if it has ended with one. Caller holds the lock. */
static int tell_error(const struct op_train_loader *loader, struct mlq_err *err)
{
    return loader->rc == 0 ? 0 : mlq_fail(err, loader->rc, "%s", loader->err.text);
}

int op_train_loader_await(struct op_train_loader *loader, int64_t wait_ns, bool *is_ready,
                          struct mlq_err *err)
{
    *is_ready = true;
    if (!loader->is_streamed) {
        return 0;
    }
    struct timespec until = mlq_clock_monotonic_after(wait_ns);
    int waited = 0;
    lock(loader);
    while (loader->rc == 0 && !is_there(loader, 0) && waited == 0) {
        waited = pthread_cond_timedwait(&loader->changed, &loader->lock, &until);
    }
    *is_ready = is_there(loader, 0);
    int rc = tell_error(loader, err);
    unlock(loader);
    return rc;
}

const uint32_t *op_train_loader_order(const struct op_train_loader *loader)
{
    return loader->is_streamed ? op_train_deal_order(loader->stages[loader->epoch % 2].deal)
                               : loader->order;
}

/* ---- Steps ---- */

int op_train_loader_step(struct op_train_loader *loader, uint32_t step, struct mlq_err *err)
{
    if (!loader->is_streamed) {
        return 0;
    }
    const struct stage *stage = stage_of(loader, loader->epoch);
    lock(loader);
    uint32_t window = op_train_deal_window_of(stage->deal, step);
    for (; loader->used < window; loader->used++) {
        loader->windows[loader->used % WINDOWS].is_full = false;
        (void)pthread_cond_broadcast(&loader->changed);
    }
    while (loader->rc == 0 && !is_there(loader, window)) {
        (void)pthread_cond_wait(&loader->changed, &loader->lock);
    }
    int rc = is_there(loader, window) ? 0 : tell_error(loader, err);
    unlock(loader);
    return rc;
}

const float *op_train_loader_row(const struct op_train_loader *loader, uint32_t position,
                                 uint32_t row, float *room)
{
    const struct model *model = loader->plan.model;
    if (!loader->is_streamed) {
        return loader->plan.set->inputs + (size_t)row * model->input_count;
    }
    const struct window *window = &loader->windows[loader->used % WINDOWS];
    const struct op_train_deal *deal = loader->stages[loader->epoch % 2].deal;
    uint32_t which = row != op_train_deal_order(deal)[position];
    uint32_t record = window->place[op_train_deal_slot_of(deal, position, which)];
    preprocess_unpack(model, window->cells + (size_t)record * model->feature_count, room);
    return room;
}
