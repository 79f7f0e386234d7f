/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Checkpoints: MLQ_CHECKPOINT/train-EEEEEEEE-SSSSSSSS.safetensors, where E epochs are finished and
 * S steps of the next one. Tensors "parameters", and where they exist "first", "second" (the
 * optimizer's moments) and "best"; metadata "mlq.checkpoint", a JSON object with the cursor, the
 * history and the fingerprint, and "mlq.hash", which covers both, so that a flipped bit is seen.
 *
 * The training copies its state into a snapshot, between two steps, and goes on; a thread hashes
 * the copy, writes it beside, fsyncs and renames it. The training hears of that behind a later step
 * and tells the worker. There is one snapshot: whoever wants another one before the last is on the
 * disk waits, or has it taken then.
 */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/artifact/safetensors.h"
#include "lib/base/prng.h"
#include "lib/sys/clock.h"
#include "lib/sys/fs.h"
#include "lib/sys/log.h"
#include "lib/sys/mem.h"
#include "worker/op/op_background.h"
#include "worker/op/op_train_range.h"

#define NAME_BYTES      48
#define KEPT            2  /* the newest, and the one before in case the disk damaged it */
#define NAMES_MAX       64 /* more are a foreign folder */
#define HASH_BYTES      17
#define STATE_BYTES_MAX (64u << 20)
#define COST_SHARE      5 /* checkpoints may take this share of the time: 1 / 5 */

struct op_train_checkpoints {
    struct op_background *writer; /* works on what follows while it is busy */
    const char *dir;
    char *path;
    char *state; /* metadata "mlq.checkpoint" */
    struct op_train_part parts[OP_TRAIN_PARTS_MAX]; /* copies */
    size_t part_count;
    int64_t cost_ns; /* of the last one, copied and written */
    int64_t ended_ns; /* when it was durable */
    /* Not the writer's: */
    bool is_asked; /* for another one, once the writer is free */
};

/* A range test has none. */
static const char *checkpoint_dir(const struct op_train *train)
{
    return op_train_range_is_on(&train->config) ? NULL : op_checkpoint_dir(train->ctx);
}

/* ---- What is in one ---- */

static uint64_t hash_more(uint64_t hash, const void *data, size_t bytes)
{
    const uint8_t *at = data;
    for (size_t i = 0; i < bytes; i += sizeof(uint64_t)) {
        uint64_t word = 0;
        memcpy(&word, at + i, bytes - i < sizeof(word) ? bytes - i : sizeof(word));
        hash = mlq_hash_u64(hash ^ word) + bytes;
    }
    return hash;
}

static void format_hash(uint64_t hash, char text[HASH_BYTES])
{
    (void)snprintf(text, HASH_BYTES, "%016" PRIx64, hash);
}

static json_t *pack_state(const struct op_train *train)
{
    const struct op_train_cursor *cursor = &train->cursor;
    char fingerprint[HASH_BYTES], probe[HASH_BYTES];
    format_hash(train->data.fingerprint, fingerprint);
    format_hash(train->engine.probe, probe);
    return json_pack("{s:i, s:s, s:{s:s, s:s, s:s}, s:I, s:I, s:f, s:f, s:f, s:I, s:f, s:I, s:I, s:O}",
                     "version", 1, "fingerprint", fingerprint, "engine", "library",
                     train->engine.library, "core", train->engine.core, "probe", probe, "epoch",
                     (json_int_t)cursor->epoch, "step", (json_int_t)cursor->step, "epoch_loss",
                     cursor->epoch_loss, "rate", cursor->rate, "gradient_norm",
                     cursor->gradient_norm, "best_epoch", (json_int_t)cursor->best_epoch, "best_score",
                     cursor->best_score, "stale", (json_int_t)cursor->stale, "optimizer_steps",
                     (json_int_t)train->optim->steps, "history", train->history);
}

/* ---- The folder ---- */

struct names {
    size_t count;
    char text[NAMES_MAX][NAME_BYTES];
};

/* Names have fixed widths, so that sorting by text sorts by age. */
static int newest_first(const void *a, const void *b)
{
    return strcmp(b, a);
}

static bool is_checkpoint_name(const char *name)
{
    unsigned long long epoch = 0, step = 0;
    int end = 0;
    return strlen(name) < NAME_BYTES &&
           sscanf(name, "train-%8llu-%8llu.safetensors%n", &epoch, &step, &end) == 2 && end > 0 &&
           name[end] == '\0';
}

static int list_names(const char *dir, struct names *names, struct mlq_err *err)
{
    names->count = 0;
    DIR *folder = opendir(dir);
    if (folder == NULL) {
        return errno == ENOENT
                   ? 0
                   : mlq_fail(err, MLQ_EIO, "checkpoint folder %s: %s", dir, strerror(errno));
    }
    for (const struct dirent *entry = readdir(folder); entry != NULL; entry = readdir(folder)) {
        if (is_checkpoint_name(entry->d_name) && names->count < NAMES_MAX) {
            /* Shorter than NAME_BYTES, as is_checkpoint_name has seen. */
            memcpy(names->text[names->count++], entry->d_name, strlen(entry->d_name) + 1);
        }
    }
    (void)closedir(folder);
    qsort(names->text, names->count, NAME_BYTES, newest_first);
    return 0;
}

static void remove_named(const char *dir, const char *name)
{
    char *path = mlq_fs_join(dir, name);
    (void)unlink(path);
    mlq_free(path);
}

/* What somebody died over while it wrote (safetensors.h), of before the oldest one that is kept. */
static void remove_unfinished(const char *dir, const char *kept)
{
    DIR *folder = opendir(dir);
    const struct dirent *entry = NULL;
    while (folder != NULL && (entry = readdir(folder)) != NULL) {
        const char *temp = strstr(entry->d_name, ".tmp.");
        char name[NAME_BYTES] = "";
        if (temp != NULL && (size_t)(temp - entry->d_name) < sizeof(name)) {
            memcpy(name, entry->d_name, (size_t)(temp - entry->d_name));
        }
        if (is_checkpoint_name(name) && strcmp(name, kept) < 0) {
            remove_named(dir, entry->d_name);
        }
    }
    if (folder != NULL) {
        (void)closedir(folder);
    }
}

static void remove_old(const char *dir)
{
    struct names names;
    if (list_names(dir, &names, NULL) != 0 || names.count == 0) {
        return;
    }
    for (size_t i = KEPT; i < names.count; i++) {
        remove_named(dir, names.text[i]);
    }
    remove_unfinished(dir, names.text[names.count < KEPT ? names.count - 1 : KEPT - 1]);
}

/* ---- Writing: on the thread ---- */

static int write_snapshot(void *work, struct mlq_err *err)
{
    struct op_train_checkpoints *snapshot = work;
    struct safetensors_tensor tensors[OP_TRAIN_PARTS_MAX];
    int64_t start_ns = mlq_clock_boot_ns();
    char hash_text[HASH_BYTES];
    uint64_t hash = hash_more(1, snapshot->state, strlen(snapshot->state));
    for (size_t i = 0; i < snapshot->part_count; i++) {
        const struct op_train_part *part = &snapshot->parts[i];
        uint64_t bytes = part->count * sizeof(float);
        tensors[i] = (struct safetensors_tensor){.name = part->name,
                                                 .dtype = SAFETENSORS_F32,
                                                 .rank = 1,
                                                 .shape = {part->count},
                                                 .data = part->values,
                                                 .bytes = bytes};
        hash = hash_more(hash, part->values, bytes);
    }
    format_hash(hash, hash_text);
    const char *metadata[] = {"mlq.checkpoint", snapshot->state, "mlq.hash", hash_text, NULL};
    int rc = mlq_fs_make_dirs(snapshot->dir, 0755, err);
    if (rc == 0) {
        remove_old(snapshot->dir); /* now, too: who is killed behind each save would leave one more each time */
        rc = safetensors_writer_save(snapshot->path, tensors, snapshot->part_count, metadata, err);
    }
    if (rc == 0) {
        remove_old(snapshot->dir);
    }
    snapshot->ended_ns = mlq_clock_boot_ns();
    snapshot->cost_ns += snapshot->ended_ns - start_ns;
    return rc == 0 ? 0 : mlq_wrap(err, rc, "checkpoint (an earlier one stays whole)");
}

/* ---- Saving ---- */

static int create(struct op_train *train, const char *dir, struct mlq_err *err)
{
    struct op_train_part parts[OP_TRAIN_PARTS_MAX];
    struct op_train_checkpoints *created = mlq_alloc(sizeof(*created));
    created->dir = dir;
    created->part_count = op_train_parts(train, parts);
    for (size_t i = 0; i < created->part_count; i++) {
        created->parts[i] = parts[i];
        created->parts[i].values = mlq_alloc_array(parts[i].count, sizeof(float));
    }
    train->checkpoints = created;
    int rc = op_background_create(&created->writer, err);
    if (rc != 0) {
        op_train_checkpoint_fini(train);
    }
    return rc;
}

void op_train_checkpoint_fini(struct op_train *train)
{
    struct op_train_checkpoints *checkpoints = train->checkpoints;
    if (checkpoints == NULL) {
        return;
    }
    op_background_destroy(&checkpoints->writer); /* first: it may be at work on the rest */
    for (size_t i = 0; i < checkpoints->part_count; i++) {
        mlq_free(checkpoints->parts[i].values);
    }
    mlq_free(checkpoints->path);
    mlq_free(checkpoints->state);
    mlq_free(checkpoints);
    train->checkpoints = NULL;
}

/* The state as it is, to the writer, who is free. */
static int begin(struct op_train *train, struct mlq_err *err)
{
    const char *dir = checkpoint_dir(train);
    int64_t start_ns = mlq_clock_boot_ns();
    op_train_note(train, TASK_FLIGHT_CHECKPOINT);
    int rc = train->checkpoints == NULL ? create(train, dir, err) : 0;
    if (rc != 0) {
        return rc;
    }
    struct op_train_checkpoints *snapshot = train->checkpoints;
    struct op_train_part parts[OP_TRAIN_PARTS_MAX];
    char name[NAME_BYTES];
    json_t *state = pack_state(train);
    mlq_free(snapshot->state); /* jansson's, which comes from malloc as ours does */
    mlq_free(snapshot->path);
    snapshot->state = json_dumps(state, JSON_COMPACT | JSON_REAL_PRECISION(17));
    (void)snprintf(name, sizeof(name), "train-%08" PRIu64 "-%08" PRIu64 ".safetensors",
                   train->cursor.epoch, train->cursor.step);
    snapshot->path = mlq_fs_join(dir, name);
    json_decref(state);
    if (snapshot->state == NULL) {
        return mlq_fail(err, MLQ_EINVAL, "checkpoint: the state cannot be written as JSON");
    }
    (void)op_train_parts(train, parts);
    for (size_t i = 0; i < snapshot->part_count; i++) {
        memcpy(snapshot->parts[i].values, parts[i].values, parts[i].count * sizeof(float));
    }
    snapshot->is_asked = false;
    snapshot->cost_ns = mlq_clock_boot_ns() - start_ns;
    op_background_start(snapshot->writer, write_snapshot, snapshot);
    return 0;
}

/* Hears of what was written. */
static int collect(struct op_train *train, bool wait, struct mlq_err *err)
{
    struct op_train_checkpoints *checkpoints = train->checkpoints;
    int rc = 0;
    if (checkpoints != NULL && op_background_is_busy(checkpoints->writer) &&
        op_background_collect(checkpoints->writer, wait, &rc, err) && rc == 0) {
        op_checkpointed(train->ctx, checkpoints->path);
    }
    return rc;
}

static bool is_busy(const struct op_train *train)
{
    return train->checkpoints != NULL && op_background_is_busy(train->checkpoints->writer);
}

/* After the first epoch, and then whenever checkpoints stay under their share of the time: an epoch
 * of a few milliseconds does not keep a disk busy. */
bool op_train_checkpoint_is_due(const struct op_train *train)
{
    const struct op_train_checkpoints *last = train->checkpoints;
    return last == NULL ||
           (!is_busy(train) &&
            mlq_clock_boot_ns() - last->ended_ns >= last->cost_ns * (COST_SHARE - 1));
}

int op_train_checkpoint_ask(struct op_train *train, struct mlq_err *err)
{
    if (checkpoint_dir(train) == NULL) {
        return 0;
    }
    if (is_busy(train)) {
        train->checkpoints->is_asked = true;
        return 0;
    }
    return begin(train, err);
}

int op_train_checkpoint_poll(struct op_train *train, struct mlq_err *err)
{
    int rc = collect(train, false, err);
    bool is_asked = train->checkpoints != NULL && train->checkpoints->is_asked;
    return rc == 0 && is_asked && !is_busy(train) ? begin(train, err) : rc;
}

int op_train_checkpoint_settle(struct op_train *train, struct mlq_err *err)
{
    if (is_busy(train)) {
        op_train_note(train, TASK_FLIGHT_CHECKPOINT);
    }
    return collect(train, true, err);
}

int op_train_checkpoint_save(struct op_train *train, struct mlq_err *err)
{
    int rc = op_train_checkpoint_settle(train, err);
    if (rc == 0) {
        rc = op_train_checkpoint_ask(train, err);
    }
    return rc == 0 ? op_train_checkpoint_settle(train, err) : rc;
}

/* ---- Loading ---- */

static bool get_u64(const json_t *state, const char *key, uint64_t *value)
{
    const json_t *number = json_object_get(state, key);
    *value = (uint64_t)json_integer_value(number);
    return json_is_integer(number) && json_integer_value(number) >= 0;
}

static bool get_real(const json_t *state, const char *key, double *value)
{
    const json_t *number = json_object_get(state, key);
    *value = json_number_value(number);
    return json_is_number(number) && isfinite(*value);
}

static int check_hash(const struct safetensors *file, const char *text, struct mlq_err *err)
{
    const char *expected = safetensors_metadata(file, "mlq.hash");
    char hash_text[HASH_BYTES];
    uint64_t hash = hash_more(1, text, strlen(text));
    for (size_t i = 0; i < safetensors_count(file); i++) {
        hash = hash_more(hash, safetensors_at(file, i)->data, safetensors_at(file, i)->bytes);
    }
    format_hash(hash, hash_text);
    if (expected == NULL || strcmp(expected, hash_text) != 0) {
        return mlq_fail(err, MLQ_ECORRUPT, "the content does not match its hash");
    }
    return 0;
}

/* Of other rows or parameters: not damage, but a folder that belongs to something else. */
static int check_owner(const struct op_train *train, const json_t *state, struct mlq_err *err)
{
    char fingerprint[HASH_BYTES], probe[HASH_BYTES];
    format_hash(train->data.fingerprint, fingerprint);
    format_hash(train->engine.probe, probe);
    const char *theirs = json_string_value(json_object_get(state, "fingerprint"));
    const json_t *engine = json_object_get(state, "engine");
    const char *their_probe = json_string_value(json_object_get(engine, "probe"));
    const char *their_core = json_string_value(json_object_get(engine, "core"));
    if (theirs == NULL || strcmp(theirs, fingerprint) != 0) {
        return mlq_fail(err, MLQ_EINVAL,
                        "it was written for other rows, another model or other parameters: "
                        "remove it, or give this training a checkpoint folder of its own");
    }
    if (their_probe == NULL || strcmp(their_probe, probe) != 0) {
        log_warn("train.engine_changed",
                 "was=%s is=%s note=\"the result will not be that of one engine\"",
                 their_core == NULL ? "unknown" : their_core, train->engine.core);
    }
    return 0;
}

static int take_state(struct op_train *train,
                      const struct safetensors *file,
                      const json_t *state,
                      struct mlq_err *err)
{
    struct op_train_cursor cursor = {.epoch = 0};
    struct op_train_part parts[OP_TRAIN_PARTS_MAX];
    uint64_t optimizer_steps = 0;
    size_t count = op_train_parts(train, parts);
    json_t *history = json_object_get(state, "history");
    bool whole = get_u64(state, "epoch", &cursor.epoch) && get_u64(state, "step", &cursor.step) &&
                 get_real(state, "epoch_loss", &cursor.epoch_loss) &&
                 get_u64(state, "best_epoch", &cursor.best_epoch) &&
                 get_real(state, "best_score", &cursor.best_score) &&
                 get_u64(state, "stale", &cursor.stale) &&
                 get_u64(state, "optimizer_steps", &optimizer_steps) && json_is_array(history) &&
                 cursor.epoch <= train->config.epochs && json_array_size(history) == cursor.epoch;
    /* Older ones do not have these, which only the history shows. */
    (void)get_real(state, "rate", &cursor.rate);
    (void)get_real(state, "gradient_norm", &cursor.gradient_norm);
    for (size_t i = 0; whole && i < count; i++) {
        const struct safetensors_tensor *tensor = safetensors_find(file, parts[i].name);
        whole = tensor != NULL && tensor->dtype == SAFETENSORS_F32 &&
                tensor->bytes == parts[i].count * sizeof(float);
    }
    if (!whole) {
        return mlq_fail(err, MLQ_ECORRUPT, "its state is not complete");
    }
    for (size_t i = 0; i < count; i++) {
        memcpy(parts[i].values, safetensors_find(file, parts[i].name)->data,
               parts[i].count * sizeof(float));
    }
    train->cursor = cursor;
    train->optim->steps = optimizer_steps;
    json_decref(train->history);
    train->history = json_incref(history);
    return 0;
}

static int load_one(struct op_train *train, const char *path, struct mlq_err *err)
{
    struct safetensors *file = NULL;
    json_t *state = NULL;
    int rc = safetensors_open(path, &file, err);
    if (rc != 0) {
        return rc;
    }
    const char *text = safetensors_metadata(file, "mlq.checkpoint");
    rc = text == NULL || strlen(text) > STATE_BYTES_MAX
             ? mlq_fail(err, MLQ_ECORRUPT, "it holds no state")
             : check_hash(file, text, err);
    if (rc == 0) {
        state = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
        rc = json_is_object(state) ? check_owner(train, state, err)
                                   : mlq_fail(err, MLQ_ECORRUPT, "its state is not a JSON object");
    }
    if (rc == 0) {
        rc = take_state(train, file, state, err);
    }
    json_decref(state);
    safetensors_close(&file);
    return rc;
}

int op_train_checkpoint_load(struct op_train *train, bool *found, struct mlq_err *err)
{
    const char *dir = checkpoint_dir(train);
    struct names names;
    *found = false;
    if (dir == NULL) {
        return 0;
    }
    int rc = list_names(dir, &names, err);
    for (size_t i = 0; i < names.count && rc == 0 && !*found; i++) {
        struct mlq_err own = MLQ_ERR_INIT;
        char *path = mlq_fs_join(dir, names.text[i]);
        int loaded = load_one(train, path, &own);
        *found = loaded == 0;
        if (loaded == 0) {
            log_info("train.resume", "checkpoint=%s epoch=%" PRIu64 " step=%" PRIu64, path,
                     train->cursor.epoch, train->cursor.step);
        } else if (loaded == MLQ_ECORRUPT) {
            log_warn("train.checkpoint_damaged",
                     "checkpoint=%s reason=\"%s\" action=\"use an older one, or "
                     "start again\"",
                     path, own.text);
        } else {
            rc = mlq_fail(err, loaded, "checkpoint %s: %s", path, own.text);
        }
        mlq_free(path);
    }
    return rc;
}
