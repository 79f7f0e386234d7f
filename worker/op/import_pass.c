/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * This thread reads the file, gives its pieces to the crew, of which it is one, and takes their
 * rows in the order of the file.
 */
#include "worker/op/import_rows.h"

#include <string.h>

#include "lib/sys/mem.h"
#include "worker/op/op_crew.h"

#define SAMPLE_BYTES_MAX (4u << 20)
#define SAMPLE_SHARE     16u /* of the file, since what the sample reads is read again */
#define CPUS_MAX         8u  /* which one thread can feed */

/* True when asked to stop. */
static bool look_up(struct import *import, uint64_t bytes_done)
{
    double bytes = (double)import->bytes;
    double part = bytes > 0 ? (double)bytes_done / bytes : 1;
    op_progress(import->ctx, import->progress_from + import->progress_share * part,
                import->phase == PHASE_WRITE ? "writing columns" : "reading");
    return op_should_stop(import->ctx);
}

/* A column whose texts begin later than this costs another scan, and changes nothing else. */
static bool is_sampled(const struct import *import, uint64_t bytes)
{
    return bytes > SAMPLE_BYTES_MAX || bytes > import->bytes / SAMPLE_SHARE;
}

struct pass {
    struct import *import;
    import_take_fn take;
    struct csv *csv;
    struct op_crew *crew;
    struct rows *rows; /* a ring */
    size_t room;
    uint64_t given;
    uint64_t taken;
    int read; /* 1: there may be more in the file, or how it ended: read_err */
    struct mlq_err read_err;
};

/* Which columns are read as what. */
static void sort_columns(struct import *import)
{
    import->span_count = 0;
    import->number_count = 0;
    import->category_count = 0;
    for (size_t i = 0; i < import->count; i++) {
        struct span *last = &import->spans[import->span_count > 0 ? import->span_count - 1 : 0];
        if (import->columns[i].ignored) {
            continue;
        }
        if (import->columns[i].kind == TABLE_CATEGORY) {
            import->categories[import->category_count++] = i;
            continue;
        }
        if (import->span_count > 0 && last->begin + last->count == i) {
            last->count++;
        } else {
            import->spans[import->span_count++] = (struct span){i, 1, import->number_count};
        }
        import->number_count++;
    }
}

static int open_pass(struct pass *pass, struct import *import, import_take_fn take,
                     struct mlq_err *err)
{
    unsigned cpus = op_cpus() < CPUS_MAX ? op_cpus() : CPUS_MAX;
    *pass = (struct pass){.import = import, .take = take, .read = 1, .read_err = MLQ_ERR_INIT};
    pass->room = cpus == 1 ? 1 : (size_t)cpus * 2 + 4; /* for all, while this thread writes */
    pass->rows = mlq_alloc_array(pass->room, sizeof *pass->rows);
    for (size_t i = 0; i < pass->room; i++) {
        import_rows_init(&pass->rows[i], import);
    }
    int rc = csv_open(import->options->path, import->options->delimiter, &pass->csv, err);
    return rc == MLQ_OK ? op_crew_create(cpus, pass->room, import_rows_parse, &pass->crew, err)
                        : rc;
}

static void close_pass(struct pass *pass)
{
    op_crew_destroy(&pass->crew);
    for (size_t i = 0; i < pass->room; i++) {
        import_rows_fini(&pass->rows[i]);
    }
    mlq_free(pass->rows);
    csv_close(&pass->csv);
}

/* What is known already need not be found out again. */
static void tell_seen(const struct import *import, struct rows *rows)
{
    memset(rows->seen, 0, import->number_count * sizeof *rows->seen);
    for (size_t i = 0; i < import->span_count; i++) {
        const struct span *span = &import->spans[i];
        for (size_t n = 0; n < span->count; n++) {
            rows->seen[span->place + n].not_integer = import->columns[span->begin + n].not_integer;
        }
    }
}

/* The next pieces to the crew, for as many as it has room. */
static void give_pieces(struct pass *pass)
{
    struct import *import = pass->import;
    while (pass->read == 1 && pass->given - pass->taken < pass->room) {
        struct rows *rows = &pass->rows[pass->given % pass->room];
        if (import->phase == PHASE_SAMPLE && is_sampled(import, csv_bytes_done(pass->csv))) {
            pass->read = 0;
            break;
        }
        pass->read = csv_piece_read(pass->csv, &rows->piece, &pass->read_err);
        if (pass->read == 1) {
            rows->has_header = pass->given++ == 0;
            tell_seen(import, rows);
            op_crew_give(pass->crew, rows);
        }
    }
}

static int run_pass(struct pass *pass, struct mlq_err *err)
{
    struct import *import = pass->import;
    for (;;) {
        give_pieces(pass);
        struct rows *rows = op_crew_take(pass->crew);
        if (rows == NULL) {
            return pass->read < 0 ? mlq_fail(err, pass->read, "%s", pass->read_err.text) : MLQ_OK;
        }
        pass->taken++;
        int rc = pass->take(import, rows, err);
        if (rc != MLQ_OK) {
            return rc;
        }
        import->lines += rows->lines;
        import->records += rows->records;
        if (look_up(import, rows->piece.bytes_done)) {
            return OP_STOPPED;
        }
    }
}

int import_pass(struct import *import, enum phase phase, import_take_fn take, struct mlq_err *err)
{
    struct pass pass;
    import->phase = phase;
    import->bad_count = 0;
    import->lines = 0;
    import->records = 0;
    sort_columns(import);
    int rc = open_pass(&pass, import, take, err);
    if (rc == MLQ_OK) {
        import->bytes = csv_bytes(pass.csv);
        rc = run_pass(&pass, err);
    }
    close_pass(&pass);
    return rc;
}
