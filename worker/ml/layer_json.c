/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/ml/layer_json.h"

#include <string.h>

static const enum layer_kind kinds[] = {LAYER_DENSE};

static void set_count(json_t *json, const char *key, uint64_t value)
{
    (void)json_object_set_new(json, key, json_integer((json_int_t)value));
}

json_t *layer_json_write(const struct layer *layer, uint32_t index)
{
    json_t *json = json_object();
    if (layer->kind != LAYER_DENSE) {
        (void)json_object_set_new(json, "kind", json_string(layer_ops(layer->kind)->name));
    }
    if (layer->from != index) {
        set_count(json, "from", layer->from);
    }
    switch (layer->kind) {
    case LAYER_DENSE:
        set_count(json, "inputs", layer_shape_count(layer->in));
        set_count(json, "outputs", layer->out.channels);
        break;
    }
    (void)json_object_set_new(json, "activation",
                              json_string(layer_activation_text(layer->activation)));
    return json;
}

static int refuse(struct mlq_err *err, uint32_t index, const char *key)
{
    return mlq_fail(err, MLQ_ECORRUPT, "the model's description: layer %u has no valid \"%s\"",
                    index, key);
}

/* An absent key leaves *value as it is. */
static bool
get_count(const json_t *json, const char *key, uint32_t min, uint32_t max, uint32_t *value)
{
    const json_t *number = json_object_get(json, key);
    if (number == NULL) {
        return true;
    }
    json_int_t n = json_integer_value(number);
    *value = (uint32_t)n;
    return json_is_integer(number) && n >= (json_int_t)min && n <= (json_int_t)max;
}

static bool get_kind(const json_t *json, enum layer_kind *kind)
{
    const json_t *name = json_object_get(json, "kind");
    const char *text = name == NULL ? layer_ops(LAYER_DENSE)->name : json_string_value(name);
    for (size_t i = 0; text != NULL && i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (strcmp(text, layer_ops(kinds[i])->name) == 0) {
            *kind = kinds[i];
            return true;
        }
    }
    return false;
}

static bool get_activation(const json_t *json, enum layer_activation *activation)
{
    const char *text = json_string_value(json_object_get(json, "activation"));
    for (int i = 0; text != NULL && i < LAYER_ACTIVATIONS; i++) {
        if (strcmp(text, layer_activation_text((enum layer_activation)i)) == 0) {
            *activation = (enum layer_activation)i;
            return true;
        }
    }
    return false;
}

int layer_json_read(const json_t *json, uint32_t index, struct layer *layer, struct mlq_err *err)
{
    *layer = (struct layer){.from = index};
    if (!get_kind(json, &layer->kind)) {
        return refuse(err, index, "kind");
    }
    if (!get_activation(json, &layer->activation)) {
        return refuse(err, index, "activation");
    }
    if (!get_count(json, "from", 0, index, &layer->from)) {
        return refuse(err, index, "from");
    }
    switch (layer->kind) {
    case LAYER_DENSE:
        if (!get_count(json, "outputs", 1, LAYER_UNITS_MAX, &layer->out.channels)) {
            return refuse(err, index, "outputs");
        }
        break;
    }
    return 0;
}
