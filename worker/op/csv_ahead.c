/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Two batches of records, each with a copy of their text: one is given out while the other is filled.
 */
#include "worker/op/csv_ahead.h"

#include <string.h>

#include "lib/base/panic.h"
#include "lib/sys/mem.h"
#include "worker/op/op_background.h"

#define BATCH_BYTES   (256u << 10) /* of text, unless one record has more */
#define BATCH_RECORDS 1024u
#define BATCH_FIELDS  (64u << 10)
#define BATCHES       2u

struct batch {
    struct csv *csv; /* the thread's while it fills the batch */
    struct csv_record records[BATCH_RECORDS];
    size_t count;
    char *text;
    size_t text_used;
    size_t text_room;
    struct mlq_str *fields;
    size_t field_count;
    size_t field_room;
    struct csv_record next; /* read, and found no room in the batch before */
    bool has_next;
    uint64_t bytes_done; /* of the file, with this batch */
    int rc;              /* 0: it is the last one; 1: more may follow; or an error, behind the records */
    struct mlq_err err;
};

struct csv_ahead {
    struct csv *csv;
    struct op_background *background; /* NULL: without a thread */
    struct batch batches[BATCHES];
    size_t current;
    size_t given; /* records of the current batch */
    uint64_t bytes_done;
};

/* ---- Filling ---- */

/* From where a record begins to where its last field ends. */
static size_t text_bytes(const struct csv_record *record)
{
    if (record->count == 0) {
        return record->raw.len;
    }
    const struct mlq_str *last = &record->fields[record->count - 1];
    size_t bytes = (size_t)(last->ptr + last->len - record->raw.ptr);
    return bytes < record->raw.len ? record->raw.len : bytes;
}

/* False: the batch is full. One that is empty takes any record. */
static bool make_room(struct batch *batch, size_t bytes, size_t fields)
{
    bool fits = batch->text_used + bytes <= batch->text_room &&
                batch->field_count + fields <= batch->field_room && batch->count < BATCH_RECORDS;
    if (fits || batch->count > 0) {
        return fits;
    }
    mlq_free(batch->text);
    mlq_free(batch->fields);
    batch->text_room = bytes < BATCH_BYTES ? BATCH_BYTES : bytes;
    batch->field_room = fields < BATCH_FIELDS ? BATCH_FIELDS : fields;
    batch->text = mlq_alloc_array(batch->text_room, 1);
    batch->fields = mlq_alloc_array(batch->field_room, sizeof *batch->fields);
    return true;
}

/* False: the batch is full. */
static bool add(struct batch *batch, const struct csv_record *record)
{
    size_t bytes = text_bytes(record);
    if (!make_room(batch, bytes, record->count)) {
        return false;
    }
    char *text = batch->text + batch->text_used;
    struct mlq_str *fields = batch->fields + batch->field_count;
    const char *from = record->raw.ptr;
    memcpy(text, from, bytes);
    for (size_t i = 0; i < record->count; i++) {
        fields[i] = (struct mlq_str){text + (record->fields[i].ptr - from), record->fields[i].len};
    }
    struct csv_record *copy = &batch->records[batch->count++];
    *copy = *record;
    copy->fields = fields;
    copy->raw.ptr = text;
    batch->text_used += bytes;
    batch->field_count += record->count;
    return true;
}

static int fill(void *work, struct mlq_err *err)
{
    struct batch *batch = work;
    batch->rc = 1;
    while (batch->rc == 1) {
        if (!batch->has_next) {
            batch->rc = csv_next(batch->csv, &batch->next, err);
        }
        batch->has_next = batch->rc == 1 && !add(batch, &batch->next);
        if (batch->has_next) {
            break;
        }
    }
    batch->bytes_done = csv_bytes_done(batch->csv);
    return batch->rc < 0 ? batch->rc : MLQ_OK;
}

/* The record that found no room goes first: the reader has it until the next call. */
static void start(struct csv_ahead *ahead, struct batch *batch, const struct batch *before)
{
    batch->count = 0;
    batch->text_used = 0;
    batch->field_count = 0;
    batch->has_next = before->has_next;
    batch->next = before->next;
    op_background_start(ahead->background, fill, batch);
}

static void take(struct csv_ahead *ahead)
{
    struct batch *batch = &ahead->batches[ahead->current];
    int rc;
    bool is_there = op_background_collect(ahead->background, true, &rc, &batch->err);
    MLQ_ASSERT(is_there);
    ahead->given = 0;
    if (batch->rc == 1) {
        start(ahead, &ahead->batches[(ahead->current + 1) % BATCHES], batch);
    }
}

/* ---- For the caller ---- */

int csv_ahead_open(const char *path, char delimiter, unsigned cpus, struct csv_ahead **out,
                   struct mlq_err *err)
{
    struct csv_ahead *ahead = mlq_alloc(sizeof *ahead);
    int rc = csv_open(path, delimiter, &ahead->csv, err);
    if (rc == MLQ_OK && cpus > 1) {
        rc = op_background_create(&ahead->background, err);
    }
    if (rc != MLQ_OK) {
        csv_ahead_close(&ahead);
        return rc;
    }
    for (size_t i = 0; i < BATCHES; i++) {
        ahead->batches[i].csv = ahead->csv;
    }
    if (ahead->background != NULL) {
        start(ahead, &ahead->batches[0], &ahead->batches[1]);
        take(ahead);
    }
    *out = ahead;
    return MLQ_OK;
}

void csv_ahead_close(struct csv_ahead **ahead)
{
    if (*ahead == NULL) {
        return;
    }
    op_background_destroy(&(*ahead)->background);
    for (size_t i = 0; i < BATCHES; i++) {
        mlq_free((*ahead)->batches[i].text);
        mlq_free((*ahead)->batches[i].fields);
    }
    csv_close(&(*ahead)->csv);
    mlq_free(*ahead);
    *ahead = NULL;
}

int csv_ahead_next(struct csv_ahead *ahead, struct csv_record *record, struct mlq_err *err)
{
    if (ahead->background == NULL) {
        int rc = csv_next(ahead->csv, record, err);
        ahead->bytes_done = csv_bytes_done(ahead->csv);
        return rc;
    }
    const struct batch *batch = &ahead->batches[ahead->current];
    while (ahead->given == batch->count) {
        ahead->bytes_done = batch->bytes_done;
        if (batch->rc != 1) {
            return batch->rc == 0 ? 0 : mlq_fail(err, batch->rc, "%s", batch->err.text);
        }
        ahead->current = (ahead->current + 1) % BATCHES;
        take(ahead);
        batch = &ahead->batches[ahead->current];
    }
    *record = batch->records[ahead->given++];
    return 1;
}

uint64_t csv_ahead_bytes(const struct csv_ahead *ahead)
{
    return csv_bytes(ahead->csv);
}

uint64_t csv_ahead_bytes_done(const struct csv_ahead *ahead)
{
    return ahead->bytes_done;
}
