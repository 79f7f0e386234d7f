/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The largest first, so that none is left over at the end. A file that has two names there, as the
 * best model and the last one may be, is put once.
 */
#include "worker/outputs.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "lib/sys/mem.h"
#include "lib/sys/thread.h"

struct work {
    struct cas *cas;
    const char *root;
    struct output **order;
    size_t count;
    atomic_size_t next;
};

static void put(struct cas *cas, struct output *output)
{
    output->rc =
        S_ISDIR(output->status.st_mode)
            ? cas_put_own_tree(cas, output->path, &output->digest, &output->bytes, &output->err)
            : cas_put_own_file(cas, output->path, &output->digest, &output->bytes, &output->err);
    if (output->rc != MLQ_OK) {
        (void)mlq_wrap(&output->err, output->rc, "output %s", output->name);
    }
}

/* The same file as the one before it. */
static bool is_repeated(const struct work *work, size_t i)
{
    return i > 0 && work->order[i]->status.st_dev == work->order[i - 1]->status.st_dev &&
           work->order[i]->status.st_ino == work->order[i - 1]->status.st_ino;
}

static void put_like(struct cas *cas, struct output *output, const struct output *same)
{
    if (same->rc != MLQ_OK) {
        put(cas, output);
        return;
    }
    output->digest = same->digest;
    output->bytes = same->bytes;
}

static void put_next(struct work *work, struct cas *cas)
{
    for (size_t i = atomic_fetch_add(&work->next, 1); i < work->count;
         i = atomic_fetch_add(&work->next, 1)) {
        if (!is_repeated(work, i)) {
            put(cas, work->order[i]);
        }
    }
}

/* One of several at work: the first has the store open, and who cannot open it leaves the work to the others. */
static int put_side_by_side(void *context, size_t i, struct mlq_err *err)
{
    (void)err;
    struct work *work = context;
    struct cas *cas = NULL;
    if (i == 0) {
        put_next(work, work->cas);
    } else if (cas_open(work->root, &cas, NULL) == MLQ_OK) {
        put_next(work, cas);
    }
    cas_close(&cas);
    return MLQ_OK;
}

/* Of a folder it is not known. */
static uint64_t size_of(const struct output *output)
{
    return S_ISDIR(output->status.st_mode) ? UINT64_MAX : (uint64_t)output->status.st_size;
}

static int compare(uint64_t a, uint64_t b)
{
    return a < b ? -1 : a > b ? 1 : 0;
}

static int compare_sizes(const void *a, const void *b)
{
    const struct output *x = *(struct output *const *)a;
    const struct output *y = *(struct output *const *)b;
    int by_size = compare(size_of(y), size_of(x));
    int by_device = compare(x->status.st_dev, y->status.st_dev);
    return by_size != 0     ? by_size
           : by_device != 0 ? by_device
                            : compare(x->status.st_ino, y->status.st_ino);
}

/* All that wait, and how many of them are large. */
static size_t put_in_order(struct work *work, struct output *outputs, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (outputs[i].rc == MLQ_OK) {
            work->order[work->count++] = &outputs[i];
        }
    }
    if (work->count > 0) {
        qsort(work->order, work->count, sizeof *work->order, compare_sizes);
    }
    size_t large = 0;
    while (large < work->count && size_of(work->order[large]) >= OUTPUTS_LARGE_BYTES) {
        large++;
    }
    return large;
}

void outputs_put(struct cas *cas, const char *root, struct output *outputs, size_t count,
                 unsigned threads)
{
    struct work work = {.cas = cas, .root = root, .order = mlq_alloc_array(count + 1, sizeof(struct output *))};
    size_t large = put_in_order(&work, outputs, count);
    unsigned most = threads < OUTPUTS_THREADS_MAX ? threads : OUTPUTS_THREADS_MAX;
    most = large < most ? (unsigned)large : most;
    most = most < 1 ? 1 : most;
    (void)mlq_thread_each(most, most, put_side_by_side, &work, NULL);
    for (size_t i = 0; i < work.count; i++) {
        if (is_repeated(&work, i)) {
            put_like(cas, work.order[i], work.order[i - 1]);
        }
    }
    mlq_free(work.order);
}
