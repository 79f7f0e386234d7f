/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/op/op.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/artifact/io.h"
#include "lib/base/panic.h"
#include "lib/base/str.h"
#include "lib/spec/op_rules.h"
#include "lib/sys/clock.h"
#include "lib/sys/fs.h"
#include "lib/sys/log.h"
#include "lib/sys/mem.h"
#include "lib/task/task.h"

#define WITH_BYTES_MAX       (16u << 20)
#define WITH_DEPTH_MAX       64u
#define WITH_VALUES_MAX      (1u << 20)
#define WORLD_SIZE_MAX       65536u
#define CPUS_MAX             1024u
#define VALUE_TEXT_BYTES_MAX 80 /* of a wrong value, quoted in an error */

#define PROGRESS_EVERY_NS (MLQ_NS_PER_S / 10)
#define STATUS_EVERY_NS   (MLQ_NS_PER_S / 5)

struct op_context {
    char *name;
    json_t *with;
    struct task *task;
    struct mlq_region *region;
    const char *output;
    uint32_t rank;
    uint32_t world_size;
    bool stop; /* the worker asked; stays true */
    int64_t progress_ns;
    int64_t status_ns;
};

/* The one state that a signal handler may touch. */
static volatile sig_atomic_t stop_signal;
static volatile sig_atomic_t checkpoint_signal;

static void note_signal(int number)
{
    if (number == SIGTERM) {
        stop_signal = 1;
    } else {
        checkpoint_signal = 1;
    }
}

static void catch_signals(void)
{
    stop_signal = 0;
    checkpoint_signal = 0;
    struct sigaction action = {.sa_handler = note_signal, .sa_flags = SA_RESTART};
    (void)sigemptyset(&action.sa_mask);
    MLQ_ASSERT(sigaction(SIGTERM, &action, NULL) == 0 && sigaction(SIGUSR1, &action, NULL) == 0);
}

/* ---- Opening ---- */

static int read_with(struct op_context *ctx, struct mlq_err *err)
{
    const char *path = task_env("WITH");
    if (path == NULL || path[0] == '\0') {
        ctx->with = json_object();
        return MLQ_OK;
    }
    char *text = NULL;
    size_t len = 0;
    int rc = mlq_fs_read(path, WITH_BYTES_MAX, &text, &len, err);
    if (rc == MLQ_OK) {
        rc = io_json_parse((struct mlq_str){text, len},
                           (struct io_json_limits){WITH_DEPTH_MAX, WITH_VALUES_MAX}, &ctx->with,
                           err);
        mlq_free(text);
        if (rc == MLQ_OK && !json_is_object(ctx->with)) {
            rc = mlq_fail(err, MLQ_EINVAL, "expected a JSON object");
        }
    }
    return rc == MLQ_OK ? rc : mlq_wrap(err, rc, "parameters (MLQ_WITH=%s)", path);
}

static int read_count(const char *name, uint32_t fallback, uint32_t max, uint32_t *value,
                      struct mlq_err *err)
{
    const char *text = getenv(name);
    uint64_t number = fallback;
    if (text != NULL && (!mlq_str_u64(mlq_str_from(text), &number) || number > max)) {
        return mlq_fail(err, MLQ_EINVAL, "%s is '%.40s': expected a number up to %u", name, text,
                        max);
    }
    *value = (uint32_t)number;
    return MLQ_OK;
}

static int read_environment(struct op_context *ctx, struct mlq_err *err)
{
    int rc = read_with(ctx, err);
    if (rc == MLQ_OK) {
        rc = read_count("WORLD_SIZE", 1, WORLD_SIZE_MAX, &ctx->world_size, err);
    }
    if (rc == MLQ_OK) {
        rc = read_count("RANK", 0, WORLD_SIZE_MAX, &ctx->rank, err);
    }
    if (rc == MLQ_OK && ctx->rank >= ctx->world_size && !op_is_elastic(ctx)) {
        rc = mlq_fail(err, MLQ_EINVAL, "RANK is %u, but WORLD_SIZE is %u", ctx->rank,
                      ctx->world_size);
    }
    ctx->output = task_env("OUTPUT");
    if (ctx->output == NULL || ctx->output[0] == '\0') {
        ctx->output = ".";
    }
    return rc;
}

static void broken_rule(void *context, const char *path, const char *text)
{
    struct mlq_err *first = context;
    if (first->code == MLQ_OK) {
        (void)mlq_fail(first, MLQ_EINVAL, "%s: %s", path, text);
    }
}

/* The spec's compiler has checked the same, but for what was an expression then. */
static int check_rules(const struct op_context *ctx, struct mlq_err *err)
{
    const struct op_schema *schema = op_schema_find(mlq_str_from(ctx->name));
    struct mlq_err first = MLQ_ERR_INIT;
    if (schema != NULL) {
        op_rules_check(schema, ctx->with, broken_rule, &first);
    }
    return first.code == MLQ_OK ? MLQ_OK : mlq_fail(err, first.code, "%s", first.text);
}

int op_open(const char *name, struct op_context **out, struct mlq_err *err)
{
    struct op_context *ctx = mlq_alloc(sizeof *ctx);
    ctx->name = mlq_strdup(name);
    ctx->region = mlq_region_create();
    int rc = read_environment(ctx, err);
    if (rc == MLQ_OK) {
        rc = check_rules(ctx, err);
    }
    if (rc == MLQ_OK) {
        rc = task_open(&ctx->task, err);
    }
    if (rc != MLQ_OK) {
        op_close(&ctx);
        return rc;
    }
    catch_signals();
    *out = ctx;
    return MLQ_OK;
}

void op_close(struct op_context **ctx)
{
    if (*ctx == NULL) {
        return;
    }
    task_close(&(*ctx)->task);
    json_decref((*ctx)->with);
    mlq_region_destroy(&(*ctx)->region);
    mlq_free((*ctx)->name);
    mlq_free(*ctx);
    *ctx = NULL;
}

/* ---- Parameters ---- */

const json_t *op_with(const struct op_context *ctx, const char *name)
{
    const json_t *at = ctx->with;
    struct mlq_str part;
    struct mlq_str rest = mlq_str_from(name);
    bool more;
    do {
        more = mlq_str_cut(rest, '.', &part, &rest);
        char *key = mlq_strndup(part);
        at = json_object_get(at, key);
        mlq_free(key);
    } while (more && at != NULL);
    return json_is_null(at) ? NULL : at;
}

static int wrong(const char *name, const json_t *value, struct mlq_err *err, const char *expected)
{
    char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    int rc = mlq_fail(err, MLQ_EINVAL, "with.%s is %.*s: expected %s", name, VALUE_TEXT_BYTES_MAX,
                      text == NULL ? "?" : text, expected);
    mlq_free(text); /* jansson's, which comes from malloc as ours does */
    return rc;
}

int op_get_text(const struct op_context *ctx, const char *name, const char *fallback,
                const char **value, struct mlq_err *err)
{
    const json_t *found = op_with(ctx, name);
    *value = found == NULL ? fallback : json_string_value(found);
    return found != NULL && *value == NULL ? wrong(name, found, err, "a text") : MLQ_OK;
}

int op_get_bool(const struct op_context *ctx, const char *name, bool fallback, bool *value,
                struct mlq_err *err)
{
    const json_t *found = op_with(ctx, name);
    *value = found == NULL ? fallback : json_is_true(found);
    return found != NULL && !json_is_boolean(found) ? wrong(name, found, err, "true or false")
                                                    : MLQ_OK;
}

/* The place of `text` among `names`; a refusal names them all. */
static int find_choice(const char *name, const char *text, const char *const *names, size_t count,
                       size_t *choice, struct mlq_err *err)
{
    char all[160];
    size_t used = 0;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(text, names[i]) == 0) {
            *choice = i;
            return 0;
        }
        int more = snprintf(all + used, sizeof(all) - used, "%s%s", i == 0 ? "" : ", ", names[i]);
        used += more > 0 && used + (size_t)more < sizeof(all) ? (size_t)more : 0;
    }
    return mlq_fail(err, MLQ_EINVAL, "%s: '%s' is not one of %s", name, text, all);
}

int op_get_choice(const struct op_context *ctx, const char *name, const char *const *names,
                  size_t count, size_t *choice, struct mlq_err *err)
{
    const char *text = NULL;
    int rc = op_get_text(ctx, name, names[*choice], &text, err);
    return rc == 0 ? find_choice(name, text, names, count, choice, err) : rc;
}

int op_get_one_of(const struct op_context *ctx, const char *name, const char *const *names,
                  size_t count, size_t *choice, struct mlq_err *err)
{
    const json_t *value = op_with(ctx, name);
    if (value == NULL) {
        return 0;
    }
    const char *text = json_string_value(value);
    if (json_object_size(value) == 1) {
        text = json_object_iter_key(json_object_iter((json_t *)(uintptr_t)value));
    }
    if (text == NULL) {
        return mlq_fail(err, MLQ_EINVAL, "%s: expected one name, or a mapping with exactly one",
                        name);
    }
    return find_choice(name, text, names, count, choice, err);
}

int op_get_int(const struct op_context *ctx, const char *name, struct op_int_range range,
               int64_t *value, struct mlq_err *err)
{
    const json_t *found = op_with(ctx, name);
    *value = found == NULL ? range.fallback : json_integer_value(found);
    if (found == NULL || (json_is_integer(found) && *value >= range.min && *value <= range.max)) {
        return MLQ_OK;
    }
    char expected[96];
    (void)snprintf(expected, sizeof expected, "an integer in %" PRId64 "..%" PRId64, range.min,
                   range.max);
    return wrong(name, found, err, expected);
}

int op_get_number(const struct op_context *ctx, const char *name, struct op_number_range range,
                  double *value, struct mlq_err *err)
{
    const json_t *found = op_with(ctx, name);
    *value = found == NULL ? range.fallback : json_number_value(found);
    if (found == NULL ||
        (json_is_number(found) && isfinite(*value) && *value >= range.min && *value <= range.max)) {
        return MLQ_OK;
    }
    char expected[96];
    (void)snprintf(expected, sizeof expected, "a number in %g..%g", range.min, range.max);
    return wrong(name, found, err, expected);
}

/* ---- CPUs ---- */

uint32_t op_cpus(void)
{
    const char *text = getenv("OMP_NUM_THREADS");
    uint64_t value = 0;
    if (text == NULL || !mlq_str_u64(mlq_str_from(text), &value) || value == 0) {
        long online = sysconf(_SC_NPROCESSORS_ONLN);
        value = online > 0 ? (uint64_t)online : 1;
    }
    return value > CPUS_MAX ? CPUS_MAX : (uint32_t)value;
}

/* ---- Files ---- */

const char *op_input(const struct op_context *ctx, const char *name)
{
    (void)ctx;
    const char *path = task_input(name);
    return path == NULL || path[0] == '\0' ? NULL : path;
}

const char *op_file_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash == NULL ? path : slash + 1;
}

int op_need_input(const struct op_context *ctx, const char *name, const char **path,
                  struct mlq_err *err)
{
    *path = op_input(ctx, name);
    if (*path != NULL) {
        return MLQ_OK;
    }
    return mlq_fail(err, MLQ_ENOENT,
                    "the input '%s' is missing: give the stage a `needs:` that makes it, or "
                    "`inputs: {%s: stage.output}`",
                    name, name);
}

bool op_input_digest(const char *name, struct cas_digest *digest)
{
    const char *text = task_digest(name);
    return text != NULL && cas_digest_parse(mlq_str_from(text), digest);
}

const char *op_output(struct op_context *ctx, const char *name)
{
    MLQ_ASSERT(mlq_fs_is_inner_path(mlq_str_from(name)));
    return mlq_region_format(ctx->region, "%s/%s", ctx->output, name);
}

int op_write_json(struct op_context *ctx, const char *name, const json_t *json, struct mlq_err *err)
{
    char *text = json_dumps(json, JSON_INDENT(2));
    MLQ_ASSERT(text != NULL);
    int rc = mlq_fs_write_whole(op_output(ctx, name), mlq_str_from(text), 0644, err);
    mlq_free(text); /* jansson's, which comes from malloc as ours does */
    return rc;
}

const char *op_checkpoint_dir(const struct op_context *ctx)
{
    (void)ctx;
    const char *path = task_env("CHECKPOINT");
    return path == NULL || path[0] == '\0' ? NULL : path;
}

/* ---- Reports ---- */

/* A report that the worker refused is a defect worth a line, never a reason to fail. */
static void reported(struct op_context *ctx, int rc, bool stop, const struct mlq_err *err)
{
    ctx->stop = ctx->stop || (rc == MLQ_OK && stop);
    if (rc != MLQ_OK) {
        log_warn("op.report_refused", "op=%s reason=\"%s\"", ctx->name, err->text);
    }
}

void op_metric(struct op_context *ctx, const char *name, double value, int64_t step)
{
    bool stop = false;
    struct mlq_err err = MLQ_ERR_INIT;
    if (step == OP_NO_STEP) {
        log_info("op.metric", "name=%s value=%.10g", name, value);
    } else {
        log_debug("op.metric", "name=%s step=%" PRId64 " value=%.10g", name, step, value);
    }
    int rc =
        task_metric(ctx->task, name, value, step == OP_NO_STEP ? TASK_NO_STEP : step, &stop, &err);
    reported(ctx, rc, stop, &err);
}

void op_progress(struct op_context *ctx, double fraction, const char *text)
{
    int64_t now_ns = mlq_clock_boot_ns();
    if (ctx->progress_ns != 0 && now_ns - ctx->progress_ns < PROGRESS_EVERY_NS && fraction < 1) {
        return;
    }
    ctx->progress_ns = now_ns;
    bool stop = false;
    struct mlq_err err = MLQ_ERR_INIT;
    double clamped = fraction >= 0 ? (fraction <= 1 ? fraction : 1) : 0; /* NaN gives 0 */
    int rc = task_progress(ctx->task, clamped, text, &stop, &err);
    reported(ctx, rc, stop, &err);
}

void op_checkpointed(struct op_context *ctx, const char *path)
{
    bool stop = false;
    struct mlq_err err = MLQ_ERR_INIT;
    int rc = task_checkpoint(ctx->task, path, &stop, &err);
    reported(ctx, rc, stop, &err);
}

bool op_should_stop(struct op_context *ctx)
{
    if (ctx->stop || stop_signal != 0) {
        return true;
    }
    int64_t now_ns = mlq_clock_boot_ns();
    if (now_ns - ctx->status_ns >= STATUS_EVERY_NS) {
        ctx->status_ns = now_ns;
        bool stop = false;
        struct mlq_err err = MLQ_ERR_INIT;
        int rc = task_status(ctx->task, &stop, &err);
        reported(ctx, rc, stop, &err);
    }
    return ctx->stop;
}

bool op_should_checkpoint(struct op_context *ctx)
{
    (void)ctx;
    bool asked = checkpoint_signal != 0;
    checkpoint_signal = 0;
    return asked;
}

/* ---- The rest ---- */

const char *op_name(const struct op_context *ctx)
{
    return ctx->name;
}

uint32_t op_rank(const struct op_context *ctx)
{
    return ctx->rank;
}

uint32_t op_world_size(const struct op_context *ctx)
{
    return ctx->world_size;
}

bool op_is_elastic(const struct op_context *ctx)
{
    (void)ctx;
    const char *range = task_env("ELASTIC");
    return range != NULL && range[0] != '\0';
}

struct mlq_region *op_region(struct op_context *ctx)
{
    return ctx->region;
}

struct task *op_task(struct op_context *ctx)
{
    return ctx->task;
}
