/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * A sample that this rank computes has one slot, or two with mixup; slots are numbered in the order
 * of the epoch, and a window is a stretch of them. `starts` and `list` are the inverse of that: the
 * slots of each row, ascending. Rows are dealt in the order of the table, so that a window's
 * records on disk are sorted by (row, slot); who reads it finds their slots by sorting these, and
 * nothing has to be written beside the rows.
 */
#include "worker/op/op_train_deal.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/panic.h"
#include "lib/sys/mem.h"
#include "worker/ml/order.h"
#include "worker/op/spill.h"

#define WHAT        "rows in the order of an epoch"
#define WHAT_ORDER  "the order of an epoch"
#define BLOCK_SHARE 4u  /* of a window, which is dealt at a time */
#define BLOCK_MIN   64u /* rows: fewer are not worth their bookkeeping */

struct op_train_deal {
    struct op_train_deal_plan plan;
    uint32_t per;        /* slots of a sample */
    uint32_t step_slots; /* of a step, the last one of an epoch may have fewer */
    uint32_t window_steps;
    uint32_t width; /* cells of a record */
    uint32_t block_rows;
    uint64_t slots_max; /* of an epoch */
    uint32_t windows_max;

    uint32_t *order;  /* [rows] */
    uint32_t *starts; /* [rows + 2]: row r has list[starts[r]..starts[r + 1]) */
    uint32_t *list;   /* [slots_max] */
    struct spill *file;
    union preprocess_cell *block;   /* [block_rows][width] */
    union preprocess_cell *buffers; /* [windows_max][room][width] */
    uint32_t room;                  /* records of a buffer */
    uint32_t *buffered;             /* [windows_max] */
    uint32_t *written;              /* [windows_max] */

    uint64_t epoch;
    uint32_t first_step;
    uint64_t slots; /* of this epoch, from first_step on */
    uint32_t dealt; /* rows */
};

/* ---- Memory and disk ---- */

static uint32_t steps_of(const struct op_train_deal_plan *plan)
{
    return (uint32_t)(((uint64_t)plan->rows + plan->batch - 1) / plan->batch);
}

/* Windows are whole steps. There are never more than have room for a record each in the buffers:
 * windows of a huge table grow instead. */
static void set_sizes(struct op_train_deal *deal)
{
    const struct op_train_deal_plan *plan = &deal->plan;
    uint64_t record = deal->width * sizeof(union preprocess_cell);
    uint32_t steps = steps_of(plan);
    uint64_t step_bytes = deal->step_slots * record, fit = plan->buffer_bytes / record;
    uint64_t window_steps = plan->window_bytes / (step_bytes == 0 ? 1 : step_bytes);
    fit = fit < 1 ? 1 : fit;
    uint64_t least = (steps + fit - 1) / fit;
    window_steps = window_steps < least ? least : window_steps;
    window_steps = window_steps < 1 ? 1 : window_steps > steps ? steps : window_steps;
    deal->window_steps = (uint32_t)window_steps;
    deal->windows_max = (steps + deal->window_steps - 1) / deal->window_steps;
    deal->slots_max = (uint64_t)steps * deal->step_slots;
    deal->room = (uint32_t)(fit / deal->windows_max);
    deal->room = deal->room < 1 ? 1 : deal->room;
    uint64_t block = plan->window_bytes / BLOCK_SHARE / record;
    block = block < BLOCK_MIN ? BLOCK_MIN : block;
    deal->block_rows = block > plan->rows ? plan->rows : (uint32_t)block;
}

static int take_disk(struct op_train_deal *deal, struct mlq_err *err)
{
    uint64_t rows = deal->plan.rows, record = deal->width * sizeof(union preprocess_cell);
    void *order = NULL, *starts = NULL, *list = NULL;
    int rc = spill_create(WHAT, deal->slots_max * record, &deal->file, err);
    rc = rc != 0 ? rc : spill_array_create(WHAT_ORDER, rows, sizeof(uint32_t), &order, err);
    rc = rc != 0 ? rc : spill_array_create(WHAT_ORDER, rows + 2, sizeof(uint32_t), &starts, err);
    rc = rc != 0 ? rc
                 : spill_array_create(WHAT_ORDER, deal->slots_max, sizeof(uint32_t), &list, err);
    deal->order = order;
    deal->starts = starts;
    deal->list = list;
    return rc;
}

int op_train_deal_create(const struct op_train_deal_plan *plan, struct op_train_deal **result,
                         struct mlq_err *err)
{
    struct op_train_deal *deal = mlq_alloc(sizeof(*deal));
    deal->plan = *plan;
    deal->per = plan->augment->mixup > 0 ? 2 : 1;
    uint32_t whole = plan->whole.end - plan->whole.begin, last = plan->last.end - plan->last.begin;
    deal->step_slots = (whole > last ? whole : last) * deal->per;
    deal->width = plan->model->feature_count;
    set_sizes(deal);
    int rc = deal->slots_max > UINT32_MAX
                 ? mlq_fail(err, MLQ_EFULL, "mixup of more than 2^31 rows: leave it out")
                 : take_disk(deal, err);
    if (rc != 0) {
        op_train_deal_destroy(&deal);
        return rc;
    }
    deal->block = mlq_alloc_array((size_t)deal->block_rows * deal->width, sizeof(*deal->block));
    deal->buffers = mlq_alloc_array((size_t)deal->windows_max * deal->room * deal->width,
                                    sizeof(*deal->buffers));
    deal->buffered = mlq_alloc_array(deal->windows_max, sizeof(*deal->buffered));
    deal->written = mlq_alloc_array(deal->windows_max, sizeof(*deal->written));
    *result = deal;
    return 0;
}

void op_train_deal_destroy(struct op_train_deal **deal)
{
    if (*deal == NULL) {
        return;
    }
    struct op_train_deal *d = *deal;
    spill_destroy(&d->file);
    spill_array_destroy(d->order, d->plan.rows, sizeof(uint32_t));
    spill_array_destroy(d->starts, (uint64_t)d->plan.rows + 2, sizeof(uint32_t));
    spill_array_destroy(d->list, d->slots_max, sizeof(uint32_t));
    mlq_free(d->block);
    mlq_free(d->buffers);
    mlq_free(d->buffered);
    mlq_free(d->written);
    mlq_free(d);
    *deal = NULL;
}

/* ---- Slots ---- */

static struct op_train_span span_of(const struct op_train_deal *deal, uint32_t step)
{
    return step + 1 < steps_of(&deal->plan) ? deal->plan.whole : deal->plan.last;
}

/* Since the epoch began. */
static uint64_t slot_at(const struct op_train_deal *deal, uint32_t position, uint32_t which)
{
    uint32_t step = position / deal->plan.batch, offset = position % deal->plan.batch;
    uint32_t sample = offset - span_of(deal, step).begin;
    return (uint64_t)(step - deal->first_step) * deal->step_slots + sample * deal->per + which;
}

/* The row of a slot: the sample's own, or what mixup adds. */
static uint32_t row_at(const struct op_train_deal *deal, uint64_t key, uint32_t position,
                       uint32_t which)
{
    uint32_t row = deal->order[position];
    return which == 0 ? row : augment_mix(deal->plan.augment, key, row, deal->plan.rows).other;
}

/* Calls `visit` for the slots of steps [step, end), in their order. */
static void visit_slots(struct op_train_deal *deal, uint32_t step, uint32_t end,
                        void (*visit)(struct op_train_deal *deal, uint32_t row, uint64_t slot,
                                      uint64_t *context),
                        uint64_t *context)
{
    uint64_t key = order_key(deal->plan.seed, deal->epoch);
    uint32_t steps = steps_of(&deal->plan);
    for (end = end < steps ? end : steps; step < end; step++) {
        struct op_train_span span = span_of(deal, step);
        for (uint32_t i = span.begin; i < span.end; i++) {
            uint32_t position = step * deal->plan.batch + i;
            for (uint32_t which = 0; which < deal->per; which++) {
                visit(deal, row_at(deal, key, position, which), slot_at(deal, position, which),
                      context);
            }
        }
    }
}

static void count_slot(struct op_train_deal *deal, uint32_t row, uint64_t slot, uint64_t *count)
{
    (void)slot;
    deal->starts[row + 2]++;
    (*count)++;
}

static void list_slot(struct op_train_deal *deal, uint32_t row, uint64_t slot, uint64_t *count)
{
    (void)count;
    deal->list[deal->starts[row + 1]++] = (uint32_t)slot;
}

void op_train_deal_begin(struct op_train_deal *deal, uint64_t epoch, uint32_t first_step)
{
    uint32_t rows = deal->plan.rows;
    deal->epoch = epoch;
    deal->first_step = first_step;
    deal->dealt = 0;
    deal->slots = 0;
    order_shuffle(deal->order, rows, deal->plan.seed, epoch);
    memset(deal->starts, 0, ((size_t)rows + 2) * sizeof(uint32_t));
    memset(deal->buffered, 0, deal->windows_max * sizeof(uint32_t));
    memset(deal->written, 0, deal->windows_max * sizeof(uint32_t));
    /* Counted two places behind, and listed one behind: in the end each row's start is its own. */
    visit_slots(deal, first_step, steps_of(&deal->plan), count_slot, &deal->slots);
    for (uint64_t row = 2; row <= (uint64_t)rows + 1; row++) {
        deal->starts[row] += deal->starts[row - 1];
    }
    visit_slots(deal, first_step, steps_of(&deal->plan), list_slot, NULL);
}

const uint32_t *op_train_deal_order(const struct op_train_deal *deal)
{
    return deal->order;
}

uint32_t op_train_deal_slots_max(const struct op_train_deal *deal)
{
    return deal->window_steps * deal->step_slots;
}

uint32_t op_train_deal_windows(const struct op_train_deal *deal)
{
    uint32_t window = op_train_deal_slots_max(deal);
    return window == 0 ? 0 : (uint32_t)((deal->slots + window - 1) / window);
}

uint32_t op_train_deal_window_of(const struct op_train_deal *deal, uint32_t step)
{
    return (step - deal->first_step) / deal->window_steps;
}

uint32_t op_train_deal_slot_of(const struct op_train_deal *deal, uint32_t position, uint32_t which)
{
    return (uint32_t)(slot_at(deal, position, which) % op_train_deal_slots_max(deal));
}

/* ---- Dealing ---- */

static uint64_t window_bytes(const struct op_train_deal *deal)
{
    return (uint64_t)op_train_deal_slots_max(deal) * deal->width * sizeof(union preprocess_cell);
}

static int flush(struct op_train_deal *deal, uint32_t window, struct mlq_err *err)
{
    uint64_t record = deal->width * sizeof(union preprocess_cell);
    uint64_t at = window * window_bytes(deal) + deal->written[window] * record;
    const union preprocess_cell *buffer = deal->buffers + (size_t)window * deal->room * deal->width;
    int rc = spill_write(deal->file, at, buffer, deal->buffered[window] * record, err);
    deal->written[window] += deal->buffered[window];
    deal->buffered[window] = 0;
    return rc;
}

static int deal_row(struct op_train_deal *deal, uint32_t row, const union preprocess_cell *cells,
                    struct mlq_err *err)
{
    for (uint32_t i = deal->starts[row]; i < deal->starts[row + 1]; i++) {
        uint32_t window = deal->list[i] / op_train_deal_slots_max(deal);
        size_t at = (size_t)window * deal->room + deal->buffered[window]++;
        memcpy(deal->buffers + at * deal->width, cells, deal->width * sizeof(*cells));
        int rc = deal->buffered[window] == deal->room ? flush(deal, window, err) : 0;
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

int op_train_deal_more(struct op_train_deal *deal, bool *is_done, struct mlq_err *err)
{
    uint32_t left = deal->plan.rows - deal->dealt, first = deal->dealt;
    uint32_t count = left < deal->block_rows ? left : deal->block_rows;
    bool is_wanted = deal->starts[first + count] > deal->starts[first];
    table_expect(deal->plan.table, first, count);
    int rc = is_wanted ? preprocess_pack(deal->plan.bound, first, count, deal->block, err) : 0;
    for (uint32_t i = 0; is_wanted && i < count && rc == 0; i++) {
        rc = deal_row(deal, first + i, deal->block + (size_t)i * deal->width, err);
    }
    table_walked(deal->plan.table, (uint64_t)count * deal->width * sizeof(double));
    deal->dealt += count;
    *is_done = deal->dealt == deal->plan.rows;
    for (uint32_t window = 0; *is_done && window < deal->windows_max && rc == 0; window++) {
        rc = flush(deal, window, err);
    }
    return rc;
}

/* ---- Reading a window ---- */

static void key_slot(struct op_train_deal *deal, uint32_t row, uint64_t slot, uint64_t *keys)
{
    uint64_t place = slot % op_train_deal_slots_max(deal);
    keys[place] = (uint64_t)row << 32 | place;
}

static int compare_keys(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

int op_train_deal_read(struct op_train_deal *deal, uint32_t window, union preprocess_cell *cells,
                       uint32_t *place, uint64_t *keys, struct mlq_err *err)
{
    MLQ_ASSERT(deal->dealt == deal->plan.rows && window < op_train_deal_windows(deal));
    uint32_t step = deal->first_step + window * deal->window_steps, count = deal->written[window];
    uint64_t bytes = (uint64_t)count * deal->width * sizeof(*cells);
    int rc = spill_read(deal->file, window * window_bytes(deal), cells, bytes, err);
    if (rc != 0) {
        return rc;
    }
    visit_slots(deal, step, step + deal->window_steps, key_slot, keys);
    qsort(keys, count, sizeof(*keys), compare_keys);
    for (uint32_t i = 0; i < count; i++) {
        place[(uint32_t)keys[i]] = i;
    }
    return 0;
}
