/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * A spec as canonical JSON: keys sorted, everything explicit, no params left. The same JSON is the source of
 * what `mlq explain` prints. And the spec of a job given on the command line.
 */
#include <jansson.h>
#include <string.h>

#include "lib/base/panic.h"
#include "lib/spec/field.h"
#include "lib/spec/out.h"
#include "lib/spec/spec.h"
#include "lib/sys/mem.h"

static json_t *text_of(struct mlq_str text)
{
    json_t *value = json_stringn(text.ptr == NULL ? "" : text.ptr, text.len);
    MLQ_ASSERT(value != NULL); /* the parser checked UTF-8 */
    return value;
}

static void set(json_t *object, const char *key, json_t *value)
{
    MLQ_ASSERT(json_object_set_new(object, key, value) == 0);
}

static struct mlq_str dump(json_t *document, struct mlq_region *region)
{
    char *text = json_dumps(document, JSON_COMPACT | JSON_REAL_PRECISION(15));
    MLQ_ASSERT(text != NULL);
    struct mlq_str copy = mlq_region_copy(region, mlq_str_from(text));
    mlq_free(text);
    json_decref(document);
    return copy;
}

/* ---- Canonical ------------------------------------------------------------------------------- */

static void put_pairs(struct out *out, const char *key, const struct spec_pair *pairs, size_t count)
{
    out_key(out, mlq_str_from(key));
    out_open(out, '{');
    for (size_t i = 0; i < count; i++) {
        out_key(out, pairs[i].name);
        out_text(out, pairs[i].value);
    }
    out_close(out, '}');
}

static void put_text(struct out *out, const char *key, const char *text)
{
    out_key(out, mlq_str_from(key));
    out_text(out, mlq_str_from(text));
}

static void put_number(struct out *out, const char *key, int64_t number)
{
    out_key(out, mlq_str_from(key));
    out_number(out, number);
}

static void put_duration(struct out *out, const char *key, int64_t ns, struct mlq_region *region)
{
    put_text(out, key, field_format_duration(region, ns));
}

static json_t *file_of(const struct spec_file *file)
{
    if (file->digest.len == 0) { /* not stored: explain before submission */
        return text_of(file->path);
    }
    json_t *object = json_object();
    set(object, "name", text_of(file->name));
    set(object, "digest", text_of(file->digest));
    set(object, "bytes", json_integer((json_int_t)file->bytes));
    return object;
}

static bool is_code(const struct spec_file *file)
{
    return mlq_str_eq_c(file->param, "code") || mlq_str_eq_c(file->param, "scripts");
}

static void put_code(struct out *out, const struct spec_file *file, struct mlq_region *region)
{
    out_key(out, MLQ_STR("code"));
    if (file->digest.len == 0) {
        out_text(out, file->path);
    } else {
        out_json(out, dump(file_of(file), region));
    }
}

/* Its files are parameters, too, and may stand in their places among the others. */
static struct mlq_str with_of(const struct spec *spec, uint16_t number, struct mlq_region *region)
{
    const struct spec_stage *stage = &spec->stages[number];
    json_t *with = NULL;
    for (size_t i = 0; i < spec->file_count; i++) {
        const struct spec_file *file = &spec->files[i];
        if (file->stage == number && !is_code(file)) {
            with = with != NULL ? with : json_loadb(stage->with.ptr, stage->with.len, 0, NULL);
            MLQ_ASSERT(with != NULL);
            set(with, mlq_region_strndup(region, file->param), file_of(file));
        }
    }
    return with == NULL ? stage->with : dump(with, region); /* which is how the parser wrote it */
}

static void put_what(struct out *out, const struct spec *spec, uint16_t number, struct mlq_region *region)
{
    const struct spec_stage *stage = &spec->stages[number];
    const struct spec_file *code = NULL;
    if (stage->op != NULL) {
        put_text(out, "uses", stage->op->name);
        out_key(out, MLQ_STR("with"));
        out_json(out, with_of(spec, number, region));
    } else {
        out_key(out, MLQ_STR("run"));
        out_open(out, '[');
        for (size_t i = 0; i < stage->argc; i++) {
            out_text(out, stage->argv[i]);
        }
        out_close(out, ']');
    }
    for (size_t i = 0; i < spec->file_count; i++) {
        const struct spec_file *file = &spec->files[i];
        bool is_kept = file->digest.len > 0 || mlq_str_eq_c(file->param, "code");
        code = file->stage == number && is_code(file) && is_kept ? file : code;
    }
    if (code != NULL) {
        put_code(out, code, region);
    }
}

static void put_graph(struct out *out, const struct spec *spec, const struct spec_stage *stage, struct mlq_region *region)
{
    out_key(out, MLQ_STR("needs"));
    out_open(out, '[');
    for (uint16_t i = 0; i < stage->needs_count; i++) {
        out_text(out, spec->stages[stage->needs[i]].name);
    }
    out_close(out, ']');
    out_key(out, MLQ_STR("inputs"));
    out_open(out, '{');
    for (size_t i = 0; i < stage->input_count; i++) {
        const struct spec_input *input = &stage->inputs[i];
        out_key(out, input->name);
        out_text(out, mlq_str_from(mlq_region_format(region, "%.*s.%.*s", MLQ_STR_ARG(spec->stages[input->stage].name),
                                                     MLQ_STR_ARG(input->output))));
    }
    out_close(out, '}');
}

static void put_resources(struct out *out, const struct spec_stage *stage, struct mlq_region *region)
{
    if (stage->op != NULL && stage->op->in_agent) {
        return; /* it takes none, and may not ask for any */
    }
    out_key(out, MLQ_STR("resources"));
    out_open(out, '{');
    put_text(out, "cpus", mlq_region_format(region, "%lldm", (long long)stage->cpu_milli));
    if (stage->mem_bytes > 0) {
        put_text(out, "memory", mlq_region_format(region, "%lld", (long long)stage->mem_bytes));
    }
    put_number(out, "gpus", stage->gpus);
    out_close(out, '}');
}

static void put_retry(struct out *out, const struct spec_retry *retry, struct mlq_region *region)
{
    out_key(out, MLQ_STR("retry"));
    out_open(out, '{');
    put_number(out, "limit", retry->limit);
    out_key(out, MLQ_STR("on"));
    out_open(out, '[');
    for (size_t i = 0; i < retry->on_count; i++) {
        out_text(out, retry->on[i]);
    }
    out_close(out, ']');
    put_duration(out, "backoff", retry->backoff_ns, region);
    put_duration(out, "backoff_max", retry->backoff_max_ns, region);
    out_close(out, '}');
}

static void put_running(struct out *out, const struct spec_stage *stage, struct mlq_region *region)
{
    if (stage->ranks_min < stage->ranks) {
        put_text(out, "ranks", mlq_region_format(region, "%u..%u", stage->ranks_min, stage->ranks));
    } else {
        put_number(out, "ranks", stage->ranks);
    }
    out_key(out, MLQ_STR("array"));
    out_open(out, '{');
    put_number(out, "count", stage->array_count);
    put_number(out, "parallel", stage->array_parallel);
    put_number(out, "max_failures", stage->array_max_failures);
    out_close(out, '}');
    put_retry(out, &stage->retry, region);
    if (stage->timeout_ns > 0) {
        put_duration(out, "timeout", stage->timeout_ns, region);
    }
    put_duration(out, "grace", stage->grace_ns, region);
    put_pairs(out, "env", stage->env, stage->env_count);
}

static void put_stage(struct out *out, const struct spec *spec, uint16_t number, bool is_alone, struct mlq_region *region)
{
    const struct spec_stage *stage = &spec->stages[number];
    put_what(out, spec, number, region);
    if (!is_alone) {
        put_graph(out, spec, stage, region);
    }
    put_resources(out, stage, region);
    put_running(out, stage, region);
}

static void put_body(struct out *out, const struct spec *spec, struct mlq_region *region)
{
    if (mlq_str_eq_c(spec->kind, "Job")) {
        put_stage(out, spec, 0, true, region);
    } else {
        out_key(out, MLQ_STR("stages"));
        out_open(out, '{');
        for (uint16_t i = 0; i < spec->stage_count; i++) {
            out_key(out, spec->stages[i].name);
            out_open(out, '{');
            put_stage(out, spec, i, false, region);
            out_close(out, '}');
        }
        out_close(out, '}');
    }
    put_number(out, "priority", spec->priority);
    if (spec->deadline_ns > 0) {
        put_duration(out, "deadline", spec->deadline_ns, region);
    }
    if (spec->param_count > 0) { /* already filled in: kept to show what was used */
        put_pairs(out, "params", spec->params, spec->param_count);
    }
}

struct mlq_str spec_canonical(const struct spec *spec, struct mlq_region *region)
{
    /* The order of stages is part of a spec, and all others are given here: equal specs give equal bytes. */
    struct out out = {0};
    out_open(&out, '{');
    put_text(&out, "apiVersion", "mlq/v1");
    out_key(&out, MLQ_STR("kind"));
    out_text(&out, spec->kind);
    out_key(&out, MLQ_STR("metadata"));
    out_open(&out, '{');
    out_key(&out, MLQ_STR("name"));
    out_text(&out, spec->name);
    put_pairs(&out, "labels", spec->labels, spec->label_count);
    out_close(&out, '}');
    out_key(&out, MLQ_STR("spec"));
    out_open(&out, '{');
    put_body(&out, spec, region);
    out_close(&out, '}');
    out_close(&out, '}');
    return out_take(&out, region);
}

/* ---- From a command line ---------------------------------------------------------------------- */

static json_t *pairs_of(const struct spec_pair *pairs, size_t count, struct mlq_region *region)
{
    json_t *object = json_object();
    for (size_t i = 0; i < count; i++) {
        set(object, mlq_region_strndup(region, pairs[i].name), text_of(pairs[i].value));
    }
    return object;
}

static json_t *command_stage(const struct spec_command *command, struct mlq_region *region)
{
    json_t *body = json_object();
    json_t *argv = json_array();
    for (size_t i = 0; i < command->argc; i++) {
        (void)json_array_append_new(argv, json_string(command->argv[i]));
    }
    set(body, "run", argv);
    json_t *resources = json_object();
    if (command->cpus != NULL) {
        set(resources, "cpus", json_string(command->cpus));
    }
    if (command->memory != NULL) {
        set(resources, "memory", json_string(command->memory));
    }
    set(resources, "gpus", json_integer(command->gpus));
    set(body, "resources", resources);
    if (command->array_count > 0) {
        json_t *array = json_object();
        set(array, "count", json_integer(command->array_count));
        set(array, "parallel", json_integer(command->array_parallel));
        if (command->array_max_failures != NULL) {
            set(array, "max_failures", json_integer((json_int_t)*command->array_max_failures));
        }
        set(body, "array", array);
    }
    if (command->ranks != NULL) {
        set(body, "ranks", json_string(command->ranks));
    }
    if (command->retry_limit > 0) {
        set(body, "retry", json_integer(command->retry_limit));
    }
    if (command->timeout != NULL) {
        set(body, "timeout", json_string(command->timeout));
    }
    set(body, "env", pairs_of(command->env, command->env_count, region));
    set(body, "priority", json_integer(command->priority));
    return body;
}

struct mlq_str spec_from_command(const struct spec_command *command, struct mlq_region *region)
{
    json_t *document = json_object();
    set(document, "apiVersion", json_string("mlq/v1"));
    set(document, "kind", json_string("Job"));
    json_t *metadata = json_object();
    set(metadata, "name", json_string(command->name));
    set(metadata, "labels", pairs_of(command->labels, command->label_count, region));
    set(document, "metadata", metadata);
    set(document, "spec", command_stage(command, region));
    return dump(document, region);
}
