/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/op/booster.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/panic.h"
#include "lib/sys/mem.h"
#include "worker/op/booster_api.h"

#define VALUE_BYTES  32
#define REASON_BYTES 400

struct booster {
    struct booster_api api;
    struct booster_options options;
    DMatrixHandle sets[2]; /* by enum booster_set; NULL: none */
    uint32_t columns;
    BoosterHandle handle;
    uint32_t rounds;
    char version[VALUE_BYTES];
};

static int fail(const struct booster *booster, int rc, const char *what, struct mlq_err *err)
{
    char reason[REASON_BYTES];
    return mlq_fail(err, rc, "XGBoost: %s: %s", what,
                    booster_api_reason(&booster->api, reason, sizeof(reason)));
}

const char *booster_version(const struct booster *booster)
{
    return booster->version;
}

uint32_t booster_outputs(const struct booster *booster)
{
    return booster->options.objective == BOOSTER_SOFTMAX ? booster->options.classes : 1;
}

uint32_t booster_rounds(const struct booster *booster)
{
    return booster->rounds;
}

uint32_t booster_columns(const struct booster *booster)
{
    return booster->columns;
}

/* XGBoost's base_score of classes is 0.5: a probability for one output, a margin for several. */
float booster_base_margin(const struct booster *booster)
{
    switch (booster->options.objective) {
    case BOOSTER_SQUARED:
        return (float)booster->options.base_score;
    case BOOSTER_LOGISTIC:
        return 0;
    case BOOSTER_SOFTMAX:
        return 0.5f;
    }
    MLQ_ASSERT(false);
    return 0;
}

/* ---- Options ---- */

static int set_text(struct booster *booster, const char *name, const char *value,
                    struct mlq_err *err)
{
    int rc = booster->api.XGBoosterSetParam(booster->handle, name, value);
    return rc == 0 ? 0 : fail(booster, MLQ_EINVAL, name, err);
}

/* XGBoost keeps floats: nine digits give them back. */
static int set_number(struct booster *booster, const char *name, double value, struct mlq_err *err)
{
    char text[VALUE_BYTES];
    (void)snprintf(text, sizeof(text), "%.9g", (double)(float)value);
    return set_text(booster, name, text, err);
}

static int set_integer(struct booster *booster, const char *name, int64_t value,
                       struct mlq_err *err)
{
    char text[VALUE_BYTES];
    (void)snprintf(text, sizeof(text), "%" PRId64, value);
    return set_text(booster, name, text, err);
}

/* Has the parameters take effect now. */
static int configure(struct booster *booster, struct mlq_err *err)
{
    int rounds = 0;
    int rc = booster->api.XGBoosterBoostedRounds(booster->handle, &rounds);
    return rc == 0 ? 0 : fail(booster, MLQ_EINVAL, "parameters", err);
}

static int set_objective(struct booster *booster, struct mlq_err *err)
{
    static const char *const names[] = {[BOOSTER_SQUARED] = "reg:squarederror",
                                        [BOOSTER_LOGISTIC] = "binary:logistic",
                                        [BOOSTER_SOFTMAX] = "multi:softprob"};
    const struct booster_options *o = &booster->options;
    int rc = set_text(booster, "objective", names[o->objective], err);
    if (rc == 0 && o->objective == BOOSTER_SOFTMAX) {
        rc = set_integer(booster, "num_class", o->classes, err);
    }
    double base = o->objective == BOOSTER_SQUARED ? o->base_score : 0.5;
    return rc != 0 ? rc : set_number(booster, "base_score", base, err);
}

/* seed_per_iteration: the generator starts anew from (seed, round) in each round. */
static int set_options(struct booster *booster, struct mlq_err *err)
{
    const struct booster_options *o = &booster->options;
    const struct {
        const char *name;
        double value;
    } numbers[] = {{"eta", o->eta},
                   {"subsample", o->subsample},
                   {"colsample_bytree", o->colsample_bytree},
                   {"min_child_weight", o->min_child_weight},
                   {"lambda", o->lambda},
                   {"alpha", o->alpha},
                   {"gamma", o->gamma}};
    const struct {
        const char *name;
        int64_t value;
    } integers[] = {{"max_depth", o->max_depth},
                    {"max_bin", o->max_bin},
                    {"seed", o->seed},
                    {"seed_per_iteration", 1},
                    {"nthread", o->threads},
                    {"disable_default_eval_metric", 1},
                    {"verbosity", 1}};
    int rc = set_objective(booster, err);
    rc = rc != 0 ? rc : set_text(booster, "tree_method", "hist", err);
    for (size_t i = 0; i < MLQ_COUNT_OF(numbers) && rc == 0; i++) {
        rc = set_number(booster, numbers[i].name, numbers[i].value, err);
    }
    for (size_t i = 0; i < MLQ_COUNT_OF(integers) && rc == 0; i++) {
        rc = set_integer(booster, integers[i].name, integers[i].value, err);
    }
    return rc != 0 ? rc : configure(booster, err);
}

/* ---- Opening ---- */

static int make_set(struct booster *booster, const struct booster_rows *rows, enum booster_set set,
                    struct mlq_err *err)
{
    char array[160], config[64];
    (void)snprintf(array, sizeof(array),
                   "{\"data\": [%" PRIuPTR ", true], \"shape\": [%" PRIu32 ", %" PRIu32
                   "], \"typestr\": \"<f4\", \"version\": 3}",
                   (uintptr_t)rows->inputs, rows->rows, rows->columns);
    (void)snprintf(config, sizeof(config), "{\"missing\": NaN, \"nthread\": %" PRIu32 "}",
                   booster->options.threads);
    DMatrixHandle *made = &booster->sets[set];
    const char *what = set == BOOSTER_TRAIN ? "training rows" : "validation rows";
    if (booster->api.XGDMatrixCreateFromDense(array, config, made) != 0 ||
        booster->api.XGDMatrixSetFloatInfo(*made, "label", rows->labels, rows->rows) != 0) {
        return fail(booster, MLQ_EINVAL, what, err);
    }
    return 0;
}

static int make_handle(struct booster *booster, struct mlq_err *err)
{
    bst_ulong count = booster->sets[BOOSTER_VALIDATION] == NULL ? 1 : 2;
    if (booster->api.XGBoosterCreate(booster->sets, count, &booster->handle) != 0) {
        return fail(booster, MLQ_EINVAL, "create", err);
    }
    return 0;
}

int booster_open(const struct booster_options *options, const struct booster_rows *train,
                 const struct booster_rows *validation, struct booster **result,
                 struct mlq_err *err)
{
    struct booster *booster = mlq_alloc(sizeof(*booster));
    booster->options = *options;
    booster->columns = train->columns;
    int rc = booster_api_load(&booster->api, err);
    if (rc != 0) {
        mlq_free(booster);
        *result = NULL;
        return rc;
    }
    int major = 0, minor = 0, patch = 0;
    booster->api.XGBoostVersion(&major, &minor, &patch);
    (void)snprintf(booster->version, sizeof(booster->version), "%d.%d.%d", major, minor, patch);
    rc = make_set(booster, train, BOOSTER_TRAIN, err);
    if (rc == 0 && validation->rows > 0) {
        rc = make_set(booster, validation, BOOSTER_VALIDATION, err);
    }
    rc = rc != 0 ? rc : make_handle(booster, err);
    rc = rc != 0 ? rc : set_options(booster, err);
    if (rc != 0) {
        booster_close(&booster);
    }
    *result = booster;
    return rc;
}

void booster_close(struct booster **booster)
{
    struct booster *b = *booster;
    if (b == NULL) {
        return;
    }
    if (b->handle != NULL) {
        (void)b->api.XGBoosterFree(b->handle);
    }
    for (size_t i = 0; i < MLQ_COUNT_OF(b->sets); i++) {
        if (b->sets[i] != NULL) {
            (void)b->api.XGDMatrixFree(b->sets[i]);
        }
    }
    mlq_free(b);
    *booster = NULL;
}

/* ---- Rounds ---- */

/* The sampler of columns is a member of what grows the trees, seeded once when that is made, and is
 * not part of a saved model: a booster that was loaded would sample other columns. To change the
 * method and back has XGBoost make it anew, from the round's own seed; the binned rows stay. What
 * is made anew knows only the options that are set with it. */
static int renew_sampler(struct booster *booster, struct mlq_err *err)
{
    int rc = set_text(booster, "tree_method", "approx", err);
    rc = rc != 0 ? rc : configure(booster, err);
    return rc != 0 ? rc : set_options(booster, err);
}

int booster_update(struct booster *booster, struct mlq_err *err)
{
    int rc = booster->options.colsample_bytree < 1 ? renew_sampler(booster, err) : 0;
    if (rc == 0 && booster->api.XGBoosterUpdateOneIter(booster->handle, (int)booster->rounds,
                                                       booster->sets[BOOSTER_TRAIN]) != 0) {
        char round[VALUE_BYTES];
        (void)snprintf(round, sizeof(round), "round %" PRIu32, booster->rounds + 1);
        rc = fail(booster, MLQ_EINVAL, round, err);
    }
    booster->rounds += rc == 0;
    return rc;
}

int booster_margins(struct booster *booster, enum booster_set set, const float **margins,
                    struct mlq_err *err)
{
    static const char config[] = "{\"type\": 1, \"training\": false, \"iteration_begin\": 0, "
                                 "\"iteration_end\": 0, \"strict_shape\": true}";
    const bst_ulong *shape = NULL;
    bst_ulong rank = 0;
    MLQ_ASSERT(booster->sets[set] != NULL);
    if (booster->api.XGBoosterPredictFromDMatrix(booster->handle, booster->sets[set], config,
                                                 &shape, &rank, margins) != 0) {
        return fail(booster, MLQ_EINVAL, "predict", err);
    }
    MLQ_ASSERT(rank == 2 && shape[1] == booster_outputs(booster));
    return 0;
}

/* ---- Files ---- */

static int copy_model(struct booster *booster, BoosterHandle handle, const char *format,
                      const char *const *names, char **bytes, size_t *len, struct mlq_err *err)
{
    char config[VALUE_BYTES];
    bst_ulong size = 0;
    const char *data = NULL;
    (void)snprintf(config, sizeof(config), "{\"format\": \"%s\"}", format);
    if (names != NULL && booster->api.XGBoosterSetStrFeatureInfo(handle, "feature_name",
                                                                 (const char **)(uintptr_t)names,
                                                                 booster->columns) != 0) {
        return fail(booster, MLQ_EINVAL, "the inputs' names", err);
    }
    if (booster->api.XGBoosterSaveModelToBuffer(handle, config, &size, &data) != 0) {
        return fail(booster, MLQ_EINVAL, "save", err);
    }
    *bytes = mlq_alloc(size);
    *len = size;
    memcpy(*bytes, data, size);
    return 0;
}

int booster_save_part(struct booster *booster, uint32_t first, uint32_t end, const char *format,
                      const char *const *names, char **bytes, size_t *len, struct mlq_err *err)
{
    MLQ_ASSERT(first < end && end <= booster->rounds);
    if (first == 0 && end == booster->rounds) {
        return copy_model(booster, booster->handle, format, names, bytes, len, err);
    }
    BoosterHandle part = NULL;
    if (booster->api.XGBoosterSlice(booster->handle, (int)first, (int)end, 1, &part) != 0) {
        return fail(booster, MLQ_EINVAL, "slice", err);
    }
    int rc = copy_model(booster, part, format, names, bytes, len, err);
    (void)booster->api.XGBoosterFree(part);
    return rc;
}

int booster_save(struct booster *booster, uint32_t rounds, const char *format,
                 const char *const *names, char **bytes, size_t *len, struct mlq_err *err)
{
    return booster_save_part(booster, 0, rounds, format, names, bytes, len, err);
}

int booster_load(struct booster *booster, const char *bytes, size_t len, uint32_t rounds,
                 struct mlq_err *err)
{
    int found = 0;
    if (booster->api.XGBoosterLoadModelFromBuffer(booster->handle, bytes, len) != 0) {
        return fail(booster, MLQ_ECORRUPT, "load", err);
    }
    int rc = set_options(booster, err);
    if (rc == 0 && (booster->api.XGBoosterBoostedRounds(booster->handle, &found) != 0 ||
                    found != (int)rounds)) {
        rc = mlq_fail(err, MLQ_ECORRUPT, "%d rounds where %" PRIu32 " were saved", found, rounds);
    }
    booster->rounds = rc == 0 ? rounds : 0;
    return rc;
}
