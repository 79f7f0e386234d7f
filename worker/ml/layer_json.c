/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/ml/layer_json.h"

#include <string.h>

#include "worker/ml/patches.h"

static void set_count(json_t *json, const char *key, uint64_t value)
{
    (void)json_object_set_new(json, key, json_integer((json_int_t)value));
}

static void write_window(json_t *json, const struct layer *layer)
{
    (void)json_object_set_new(
        json, "kernel",
        json_pack("[I, I]", (json_int_t)layer->kernel_height, (json_int_t)layer->kernel_width));
    set_count(json, "stride", layer->stride);
    set_count(json, "padding", layer->padding);
    if (layer->kind == LAYER_CONV || layer->kind == LAYER_DEPTHWISE) {
        (void)json_object_set_new(json, "bias", json_boolean(!layer->no_bias));
    }
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
    case LAYER_CONV:
        set_count(json, "channels", layer->out.channels);
        write_window(json, layer);
        break;
    case LAYER_DEPTHWISE:
    case LAYER_MAX_POOL:
    case LAYER_AVERAGE_POOL:
        write_window(json, layer);
        break;
    case LAYER_ADD:
        set_count(json, "also", layer->also);
        break;
    case LAYER_DROPOUT:
        (void)json_object_set_new(json, "rate", json_real(layer->rate));
        break;
    case LAYER_EMBEDDING:
        set_count(json, "width", layer->width);
        break;
    case LAYER_NORM:
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
    for (int i = 0; text != NULL && i < LAYER_KINDS; i++) {
        if (strcmp(text, layer_ops((enum layer_kind)i)->name) == 0) {
            *kind = (enum layer_kind)i;
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

/* NULL, or the key that is not right. Whether windows fit is seen when the layer is appended. */
static const char *read_window(const json_t *json, struct layer *layer)
{
    const json_t *kernel = json_object_get(json, "kernel"), *bias = json_object_get(json, "bias");
    json_int_t height = json_integer_value(json_array_get(kernel, 0));
    json_int_t width = json_integer_value(json_array_get(kernel, 1));
    if (json_array_size(kernel) != 2 || height < 1 || width < 1 || height > PATCHES_KERNEL_MAX ||
        width > PATCHES_KERNEL_MAX) {
        return "kernel";
    }
    layer->kernel_height = (uint32_t)height;
    layer->kernel_width = (uint32_t)width;
    layer->no_bias = json_is_false(bias);
    if (!get_count(json, "stride", 1, PATCHES_KERNEL_MAX, &layer->stride)) {
        return "stride";
    }
    if (!get_count(json, "padding", 0, PATCHES_KERNEL_MAX, &layer->padding)) {
        return "padding";
    }
    return bias == NULL || json_is_boolean(bias) ? NULL : "bias";
}

static const char *read_options(const json_t *json, uint32_t index, struct layer *layer)
{
    const char *units = layer->kind == LAYER_CONV ? "channels" : "outputs";
    switch (layer->kind) {
    case LAYER_DENSE:
    case LAYER_CONV:
        if (!get_count(json, units, 1, LAYER_UNITS_MAX, &layer->out.channels)) {
            return units;
        }
        return layer->kind == LAYER_CONV ? read_window(json, layer) : NULL;
    case LAYER_DEPTHWISE:
    case LAYER_MAX_POOL:
    case LAYER_AVERAGE_POOL:
        return read_window(json, layer);
    case LAYER_ADD:
        layer->also = index;
        return get_count(json, "also", 0, index, &layer->also) ? NULL : "also";
    case LAYER_DROPOUT:
        layer->rate = json_number_value(json_object_get(json, "rate"));
        return json_is_number(json_object_get(json, "rate")) ? NULL : "rate";
    case LAYER_EMBEDDING:
        return get_count(json, "width", 1, LAYER_UNITS_MAX, &layer->width) ? NULL : "width";
    case LAYER_NORM:
        return NULL;
    }
    return "kind";
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
    const char *bad = read_options(json, index, layer);
    return bad == NULL ? 0 : refuse(err, index, bad);
}
