/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "client/cli/logread.h"

#include <stdlib.h>
#include <string.h>

#include "client/cli/doc.h"
#include "lib/sys/mem.h"

#define STORED_BYTES_MAX (256u << 20) /* workers bound a log far below this */
#define TAIL_BYTES       16384
#define LOOKUPS          3

static int read_stored(struct session *session, struct logread *log, struct mlq_str digest_text,
                       struct mlq_region *region, struct mlq_str *bytes, struct mlq_err *err)
{
    struct cas_digest digest;
    char *data = NULL;
    size_t len = 0;
    int rc = cas_digest_parse(digest_text, &digest)
                 ? session_store(session, err)
                 : mlq_fail(err, MLQ_EPROTO, "the log's digest is not understood");
    if (rc == MLQ_OK) {
        rc = cas_read(session->cas, &digest, STORED_BYTES_MAX, &data, &len, err);
    }
    if (rc != MLQ_OK) {
        return mlq_wrap(err, rc, "the stored log");
    }
    if (log->where.offset < len) {
        *bytes = mlq_region_copy(
            region, (struct mlq_str){data + log->where.offset, len - (size_t)log->where.offset});
        log->where.offset = len;
    }
    mlq_free(data);
    return MLQ_OK;
}

int logread_next(struct session *session, struct logread *log, struct mlq_region *region,
                 struct mlq_str *bytes, struct mlq_err *err)
{
    struct mlq_str digest = {0};
    int rc = MLQ_ENOENT;
    *bytes = (struct mlq_str){0};
    /* A worker that was asked forgets a task once its end is recorded: from then on the store has
     * the log. */
    for (int i = 0; i < LOOKUPS && rc == MLQ_ENOENT; i++) {
        rc = mlq_client_log(session->client, &log->where, region, bytes, &digest, &log->end, err);
    }
    if (rc == MLQ_OK && digest.len > 0) {
        rc = read_stored(session, log, digest, region, bytes, err);
    }
    return rc;
}

static struct mlq_str last_lines(struct mlq_str text, size_t lines)
{
    size_t at = text.len;
    while (at > 0 && text.ptr[at - 1] == '\n') {
        at--;
    }
    text.len = at;
    for (; at > 0; at--) {
        if (text.ptr[at - 1] == '\n' && --lines == 0) {
            break;
        }
    }
    return (struct mlq_str){text.ptr + at, text.len - at};
}

struct mlq_str logread_tail(struct session *session, uint64_t job, const char *stage,
                            uint32_t index, uint32_t rank, size_t lines, struct mlq_region *region)
{
    struct logread log = {
        .where = {.job = job, .stage = mlq_str_from(stage), .index = index, .rank = rank}};
    struct mlq_region *step = mlq_region_create();
    char tail[TAIL_BYTES];
    size_t len = 0;
    int rc = MLQ_OK;
    for (int reads = 0; rc == MLQ_OK && !log.end && reads < 1024; reads++) {
        struct mlq_str bytes;
        mlq_region_reset(step);
        rc = logread_next(session, &log, step, &bytes, NULL);
        if (rc != MLQ_OK || bytes.len == 0) {
            break;
        }
        if (bytes.len > sizeof tail) {
            bytes = (struct mlq_str){bytes.ptr + bytes.len - sizeof tail, sizeof tail};
        }
        size_t kept = len + bytes.len > sizeof tail ? sizeof tail - bytes.len : len;
        memmove(tail, tail + len - kept, kept);
        memcpy(tail + kept, bytes.ptr, bytes.len);
        len = kept + bytes.len;
    }
    mlq_region_destroy(&step);
    return mlq_region_copy(region, last_lines((struct mlq_str){tail, len}, lines));
}

const json_t *logread_pick_stage(const json_t *job)
{
    const json_t *stages = json_object_get(job, "stages");
    const json_t *picked = NULL;
    for (size_t i = 0; i < json_array_size(stages); i++) {
        const json_t *stage = json_array_get(stages, i);
        if (json_array_size(json_object_get(stage, "attempts")) == 0) {
            continue;
        }
        if (strcmp(doc_text(stage, "state"), "failed") == 0) {
            return stage;
        }
        /* ISO times of one zone compare as texts. */
        if (picked == NULL ||
            strcmp(doc_text(stage, "started"), doc_text(picked, "started")) >= 0) {
            picked = stage;
        }
    }
    return picked;
}

const json_t *logread_pick_attempt(const json_t *stage, int64_t index, int64_t rank)
{
    const json_t *attempts = json_object_get(stage, "attempts");
    const json_t *newest = NULL;
    const json_t *failed = NULL;
    for (size_t i = 0; i < json_array_size(attempts); i++) { /* ascending by attempt and rank */
        const json_t *attempt = json_array_get(attempts, i);
        if ((index >= 0 && doc_int(attempt, "index") != index) ||
            (rank >= 0 && doc_int(attempt, "rank") != rank)) {
            continue;
        }
        bool same = newest != NULL &&
                    strcmp(doc_text(newest, "attempt"), doc_text(attempt, "attempt")) == 0;
        newest = same ? newest : attempt; /* the lowest rank of the newest attempt */
        bool has_failed = strcmp(doc_text(attempt, "state"), "failed") == 0;
        bool peer =
            strcmp(doc_text(attempt, "cause"), "peer") == 0; /* died because another rank did */
        if (has_failed &&
            (failed == NULL || !peer ||
             strcmp(doc_text(failed, "attempt"), doc_text(attempt, "attempt")) != 0)) {
            failed = attempt;
        }
    }
    bool stage_failed = strcmp(doc_text(stage, "state"), "failed") == 0;
    return stage_failed && failed != NULL ? failed : newest;
}
