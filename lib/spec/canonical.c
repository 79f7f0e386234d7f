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

static void set_slice(json_t *object, struct mlq_region *region, struct mlq_str key, json_t *value)
{
    set(object, mlq_region_strndup(region, key), value);
}

static json_t *pairs_of(const struct spec_pair *pairs, size_t count, struct mlq_region *region)
{
    json_t *object = json_object();
    for (size_t i = 0; i < count; i++) {
        set_slice(object, region, pairs[i].name, text_of(pairs[i].value));
    }
    return object;
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

static void set_what(json_t *object, const struct spec *spec, uint16_t number, struct mlq_region *region)
{
    const struct spec_stage *stage = &spec->stages[number];
    json_t *with = NULL;
    if (stage->op != NULL) {
        set(object, "uses", json_string(stage->op->name));
        with = json_loadb(stage->with.ptr, stage->with.len, 0, NULL);
        MLQ_ASSERT(with != NULL);
        set(object, "with", with);
    } else {
        json_t *argv = json_array();
        for (size_t i = 0; i < stage->argc; i++) {
            (void)json_array_append_new(argv, text_of(stage->argv[i]));
        }
        set(object, "run", argv);
    }
    for (size_t i = 0; i < spec->file_count; i++) {
        const struct spec_file *file = &spec->files[i];
        if (file->stage != number) {
            continue;
        }
        if (!is_code(file)) {
            set_slice(with, region, file->param, file_of(file));
        } else if (file->digest.len > 0 || mlq_str_eq_c(file->param, "code")) {
            set(object, "code", file_of(file));
        }
    }
}

static void set_graph(json_t *object, const struct spec *spec, const struct spec_stage *stage,
                      struct mlq_region *region)
{
    json_t *needs = json_array();
    for (uint16_t i = 0; i < stage->needs_count; i++) {
        (void)json_array_append_new(needs, text_of(spec->stages[stage->needs[i]].name));
    }
    set(object, "needs", needs);
    json_t *inputs = json_object();
    for (size_t i = 0; i < stage->input_count; i++) {
        const struct spec_input *input = &stage->inputs[i];
        const char *from = mlq_region_format(region, "%.*s.%.*s", MLQ_STR_ARG(spec->stages[input->stage].name),
                                             MLQ_STR_ARG(input->output));
        set_slice(inputs, region, input->name, json_string(from));
    }
    set(object, "inputs", inputs);
}

static void set_resources(json_t *object, const struct spec_stage *stage, struct mlq_region *region)
{
    if (stage->op != NULL && stage->op->in_agent) {
        return; /* it takes none, and may not ask for any */
    }
    json_t *resources = json_object();
    set(resources, "cpus", json_string(mlq_region_format(region, "%lldm", (long long)stage->cpu_milli)));
    if (stage->mem_bytes > 0) {
        set(resources, "memory", json_string(mlq_region_format(region, "%lld", (long long)stage->mem_bytes)));
    }
    set(resources, "gpus", json_integer(stage->gpus));
    set(object, "resources", resources);
}

static void set_running(json_t *object, const struct spec_stage *stage, struct mlq_region *region)
{
    if (stage->ranks_min < stage->ranks) {
        set(object, "ranks", json_string(mlq_region_format(region, "%u..%u", stage->ranks_min, stage->ranks)));
    } else {
        set(object, "ranks", json_integer(stage->ranks));
    }
    json_t *array = json_object();
    set(array, "count", json_integer(stage->array_count));
    set(array, "parallel", json_integer(stage->array_parallel));
    set(array, "max_failures", json_integer(stage->array_max_failures));
    set(object, "array", array);
    json_t *on = json_array();
    for (size_t i = 0; i < stage->retry.on_count; i++) {
        (void)json_array_append_new(on, text_of(stage->retry.on[i]));
    }
    json_t *retry = json_object();
    set(retry, "limit", json_integer(stage->retry.limit));
    set(retry, "on", on);
    set(retry, "backoff", json_string(field_format_duration(region, stage->retry.backoff_ns)));
    set(retry, "backoff_max", json_string(field_format_duration(region, stage->retry.backoff_max_ns)));
    set(object, "retry", retry);
    if (stage->timeout_ns > 0) {
        set(object, "timeout", json_string(field_format_duration(region, stage->timeout_ns)));
    }
    set(object, "grace", json_string(field_format_duration(region, stage->grace_ns)));
    set(object, "env", pairs_of(stage->env, stage->env_count, region));
}

static json_t *stage_of(const struct spec *spec, uint16_t number, struct mlq_region *region)
{
    json_t *object = json_object();
    const struct spec_stage *stage = &spec->stages[number];
    set_what(object, spec, number, region);
    set_graph(object, spec, stage, region);
    set_resources(object, stage, region);
    set_running(object, stage, region);
    return object;
}

static json_t *document_of(const struct spec *spec, struct mlq_region *region)
{
    json_t *metadata = json_object();
    set(metadata, "name", text_of(spec->name));
    set(metadata, "labels", pairs_of(spec->labels, spec->label_count, region));
    json_t *body = json_object();
    bool is_job = mlq_str_eq_c(spec->kind, "Job");
    if (is_job) {
        json_t *stage = stage_of(spec, 0, region);
        (void)json_object_del(stage, "needs");
        (void)json_object_del(stage, "inputs");
        (void)json_object_update(body, stage);
        json_decref(stage);
    } else {
        json_t *stages = json_object();
        for (uint16_t i = 0; i < spec->stage_count; i++) {
            set_slice(stages, region, spec->stages[i].name, stage_of(spec, i, region));
        }
        set(body, "stages", stages);
    }
    set(body, "priority", json_integer(spec->priority));
    if (spec->deadline_ns > 0) {
        set(body, "deadline", json_string(field_format_duration(region, spec->deadline_ns)));
    }
    if (spec->param_count > 0) { /* already filled in: kept to show what was used */
        set(body, "params", pairs_of(spec->params, spec->param_count, region));
    }
    json_t *document = json_object();
    set(document, "apiVersion", json_string("mlq/v1"));
    set(document, "kind", text_of(spec->kind));
    set(document, "metadata", metadata);
    set(document, "spec", body);
    return document;
}

static struct mlq_str dump(json_t *document, size_t flags, struct mlq_region *region)
{
    char *text = json_dumps(document, flags);
    MLQ_ASSERT(text != NULL);
    struct mlq_str copy = mlq_region_copy(region, mlq_str_from(text));
    mlq_free(text);
    json_decref(document);
    return copy;
}

struct mlq_str spec_canonical(const struct spec *spec, struct mlq_region *region)
{
    /* Insertion order is kept, because the order of stages is part of a spec; it is a function of the
     * spec alone, so equal specs give equal bytes. */
    return dump(document_of(spec, region), JSON_COMPACT | JSON_REAL_PRECISION(15), region);
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
    return dump(document, JSON_COMPACT | JSON_REAL_PRECISION(15), region);
}
