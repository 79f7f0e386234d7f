/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * MLQ_CHECKPOINT/xgboost.safetensors, and the one before it in case the disk damaged that: a tensor
 * "model" with XGBoost's own file, and in the metadata "mlq.checkpoint", a JSON object with the
 * round, the best one, the history and the fingerprint, and "mlq.hash", which covers both.
 */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "lib/artifact/safetensors.h"
#include "lib/base/prng.h"
#include "lib/sys/fs.h"
#include "lib/sys/log.h"
#include "lib/sys/mem.h"
#include "worker/op/jget.h"
#include "worker/op/op_xgboost.h"

#define NEWEST          "xgboost.safetensors"
#define BEFORE          "xgboost.before.safetensors"
#define STATE_BYTES_MAX (64u << 20)
#define HASH_BYTES      17

static void format_hash(uint64_t hash, char text[HASH_BYTES])
{
    (void)snprintf(text, HASH_BYTES, "%016" PRIx64, hash);
}

static void hash_content(const char *state, const void *model, size_t len, char text[HASH_BYTES])
{
    format_hash(mlq_hash_bytes(mlq_hash_bytes(1, state, strlen(state)), model, len), text);
}

/* ---- Saving ---- */

static char *state_text(const struct op_xgboost *x)
{
    char fingerprint[HASH_BYTES];
    format_hash(x->fingerprint, fingerprint);
    json_t *state = json_pack("{s:i, s:s, s:I, s:I, s:f, s:O}", "version", 1, "fingerprint",
                              fingerprint, "round", (json_int_t)booster_rounds(x->booster),
                              "best_round", (json_int_t)x->cursor.best_round, "best_score",
                              x->cursor.best_score, "history", x->history);
    char *text = json_dumps(state, JSON_COMPACT | JSON_REAL_PRECISION(17));
    json_decref(state);
    return text;
}

/* What is there becomes the one before; a crash between the two steps leaves that. */
static int replace(const char *dir, const struct safetensors_tensor *model, const char *state,
                   const char *hash, struct mlq_err *err)
{
    const char *metadata[] = {"mlq.checkpoint", state, "mlq.hash", hash, NULL};
    char *newest = mlq_fs_join(dir, NEWEST), *before = mlq_fs_join(dir, BEFORE);
    int rc = mlq_fs_make_dirs(dir, 0755, err);
    if (rc == 0 && rename(newest, before) != 0 && errno != ENOENT) {
        rc = mlq_fail(err, MLQ_EIO, "%s: %s", newest, strerror(errno));
    }
    rc = rc != 0 ? rc : safetensors_writer_save(newest, model, 1, metadata, err);
    mlq_free(newest);
    mlq_free(before);
    return rc;
}

int op_xgboost_checkpoint_save(struct op_xgboost *x, struct mlq_err *err)
{
    const char *dir = op_checkpoint_dir(x->ctx);
    uint32_t rounds = booster_rounds(x->booster);
    if (dir == NULL || rounds == 0) {
        return 0;
    }
    char *bytes = NULL, *state = state_text(x);
    size_t len = 0;
    char hash[HASH_BYTES];
    int rc = state == NULL ? mlq_fail(err, MLQ_EINVAL, "the state cannot be written as JSON")
                           : booster_save(x->booster, rounds, "ubj", NULL, &bytes, &len, err);
    if (rc == 0) {
        struct safetensors_tensor model = {.name = "model",
                                           .dtype = SAFETENSORS_U8,
                                           .rank = 1,
                                           .shape = {len},
                                           .data = bytes,
                                           .bytes = len};
        hash_content(state, bytes, len, hash);
        rc = replace(dir, &model, state, hash, err);
    }
    if (rc == 0) {
        char *path = mlq_fs_join(dir, NEWEST);
        op_checkpointed(x->ctx, path);
        mlq_free(path);
    }
    mlq_free(bytes);
    mlq_free(state);
    return rc == 0 ? 0 : mlq_wrap(err, rc, "checkpoint");
}

/* ---- Loading ---- */

static int take(struct op_xgboost *x, const struct safetensors_tensor *model, const json_t *state,
                struct mlq_err *err)
{
    char fingerprint[HASH_BYTES];
    uint64_t round = 0, best_round = 0;
    double best_score = 0;
    json_t *history = jget_array(state, "history");
    const char *theirs = jget_text(state, "fingerprint");
    format_hash(x->fingerprint, fingerprint);
    if (theirs == NULL || strcmp(theirs, fingerprint) != 0) {
        return mlq_fail(err, MLQ_EINVAL,
                        "it was written for other rows or other parameters: remove it, or give "
                        "this training a checkpoint folder of its own");
    }
    if (!jget_u64(state, "round", &round) || !jget_u64(state, "best_round", &best_round) ||
        !jget_number(state, "best_score", &best_score) || !isfinite(best_score) ||
        round > x->config.rounds || best_round > round || json_array_size(history) != round) {
        return mlq_fail(err, MLQ_ECORRUPT, "its state is not complete");
    }
    int rc = booster_load(x->booster, model->data, model->bytes, (uint32_t)round, err);
    if (rc == 0) {
        x->cursor = (struct op_xgboost_cursor){.best_round = (uint32_t)best_round,
                                               .best_score = best_score};
        json_decref(x->history);
        x->history = json_incref(history);
    }
    return rc;
}

/* XGBoost's reader is not made for hostile files: it sees what we have written and the disk has
 * kept. */
static int load_one(struct op_xgboost *x, const char *path, struct mlq_err *err)
{
    struct safetensors *file = NULL;
    char hash[HASH_BYTES] = "";
    int rc = safetensors_open(path, &file, err);
    if (rc != 0) {
        return rc;
    }
    const struct safetensors_tensor *model = safetensors_find(file, "model");
    const char *text = safetensors_metadata(file, "mlq.checkpoint");
    const char *expected = safetensors_metadata(file, "mlq.hash");
    bool whole =
        model != NULL && text != NULL && expected != NULL && strlen(text) <= STATE_BYTES_MAX;
    if (whole) {
        hash_content(text, model->data, model->bytes, hash);
    }
    json_t *state = whole && strcmp(hash, expected) == 0 ? json_loads(text, 0, NULL) : NULL;
    rc = state == NULL ? mlq_fail(err, MLQ_ECORRUPT, "the content does not match its hash")
                       : take(x, model, state, err);
    json_decref(state);
    safetensors_close(&file);
    return rc;
}

int op_xgboost_checkpoint_load(struct op_xgboost *x, struct mlq_err *err)
{
    static const char *const names[] = {NEWEST, BEFORE};
    const char *dir = op_checkpoint_dir(x->ctx);
    int rc = 0;
    for (size_t i = 0; dir != NULL && i < MLQ_COUNT_OF(names) && rc == 0 && !x->resumed; i++) {
        struct mlq_err own = MLQ_ERR_INIT;
        char *path = mlq_fs_join(dir, names[i]);
        int loaded = mlq_fs_exists(path) ? load_one(x, path, &own) : MLQ_ENOENT;
        x->resumed = loaded == 0;
        if (loaded == 0) {
            log_info("train.resume", "checkpoint=%s round=%" PRIu32, path,
                     booster_rounds(x->booster));
        } else if (loaded == MLQ_ECORRUPT) {
            log_warn("train.checkpoint_damaged",
                     "checkpoint=%s reason=\"%s\" action=\"use an older one, or start again\"",
                     path, own.text);
        } else if (loaded != MLQ_ENOENT) {
            rc = mlq_fail(err, loaded, "checkpoint %s: %s", path, own.text);
        }
        mlq_free(path);
    }
    return rc;
}
