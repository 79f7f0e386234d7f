/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "scheduler/record.h"

#include <jansson.h>

#include "lib/sys/mem.h"

static const struct spec_stage *find_stage(const struct spec *spec, const char *name)
{
    for (uint16_t i = 0; name != NULL && i < spec->stage_count; i++) {
        if (mlq_str_eq_c(spec->stages[i].name, name)) {
            return &spec->stages[i];
        }
    }
    return NULL;
}

static json_t *inputs_of(const struct spec *spec, const struct spec_stage *stage, struct mlq_region *region)
{
    json_t *inputs = json_object();
    for (size_t i = 0; i < stage->input_count; i++) {
        const struct spec_input *input = &stage->inputs[i];
        const char *from = mlq_region_format(region, "%.*s.%.*s", MLQ_STR_ARG(spec->stages[input->stage].name),
                                             MLQ_STR_ARG(input->output));
        (void)json_object_set_new(inputs, mlq_region_strndup(region, input->name), json_string(from));
    }
    return inputs;
}

static void complete_stage(const struct spec *spec, const struct spec_stage *stage, json_t *entry, struct mlq_region *region)
{
    json_t *with = stage->op == NULL ? NULL : json_loadb(stage->with.ptr, stage->with.len, 0, NULL);
    if (with != NULL) {
        (void)json_object_set_new(entry, "with", with);
    }
    if (stage->op == NULL) {
        json_t *run = json_array();
        for (size_t i = 0; i < stage->argc; i++) {
            (void)json_array_append_new(run, json_stringn(stage->argv[i].ptr, stage->argv[i].len));
        }
        (void)json_object_set_new(entry, "run", run);
    }
    (void)json_object_set_new(entry, "inputs", inputs_of(spec, stage, region));
}

struct mlq_str record_complete(const struct catalog_job *job, struct mlq_str json, struct mlq_region *region)
{
    json_t *document = json_loadb(json.ptr, json.len, 0, NULL);
    json_t *stages = json_object_get(json_object_get(document, "job"), "stages");
    for (size_t i = 0; i < json_array_size(stages); i++) {
        json_t *entry = json_array_get(stages, i);
        const struct spec_stage *stage = find_stage(job->spec, json_string_value(json_object_get(entry, "name")));
        if (stage != NULL) {
            complete_stage(job->spec, stage, entry, region);
        }
    }
    char *text = document == NULL ? NULL : json_dumps(document, JSON_COMPACT | JSON_REAL_PRECISION(17));
    struct mlq_str complete = text == NULL ? json : mlq_region_copy(region, mlq_str_from(text));
    mlq_free(text);
    json_decref(document);
    return complete;
}
