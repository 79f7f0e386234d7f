/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * A spec without what its parser left around it. The walk is done twice: the first time nothing is
 * written and the bytes are counted. Texts stay terminated, as those of a region are.
 */
#include <stdalign.h>
#include <string.h>

#include "lib/base/panic.h"
#include "lib/spec/spec.h"
#include "lib/sys/mem.h"

struct packer {
    char *block; /* NULL: count */
    size_t used;
};

/* The place of `count` copies of `bytes`, to be overwritten one by one; NULL while counting. */
static void *take(struct packer *p, const void *from, size_t count, size_t bytes)
{
    p->used = (p->used + alignof(max_align_t) - 1) & ~(alignof(max_align_t) - 1);
    char *place = p->block == NULL ? NULL : p->block + p->used;
    if (place != NULL && count > 0) {
        memcpy(place, from, count * bytes);
    }
    p->used += count * bytes;
    return place;
}

static struct mlq_str text(struct packer *p, struct mlq_str from)
{
    char *place = p->block == NULL ? NULL : p->block + p->used;
    if (place != NULL && from.len > 0) {
        memcpy(place, from.ptr, from.len);
    }
    p->used += from.len + 1;
    return (struct mlq_str){.ptr = place, .len = from.len};
}

static const struct mlq_str *texts(struct packer *p, const struct mlq_str *from, size_t count)
{
    struct mlq_str *places = take(p, from, count, sizeof *from);
    for (size_t i = 0; i < count; i++) {
        struct mlq_str copy = text(p, from[i]);
        if (places != NULL) {
            places[i] = copy;
        }
    }
    return places;
}

static const struct spec_pair *pairs(struct packer *p, const struct spec_pair *from, size_t count)
{
    struct spec_pair *places = take(p, from, count, sizeof *from);
    for (size_t i = 0; i < count; i++) {
        struct spec_pair copy = {.name = text(p, from[i].name), .value = text(p, from[i].value)};
        if (places != NULL) {
            places[i] = copy;
        }
    }
    return places;
}

static const struct spec_input *inputs(struct packer *p, const struct spec_input *from, size_t count)
{
    struct spec_input *places = take(p, from, count, sizeof *from);
    for (size_t i = 0; i < count; i++) {
        struct mlq_str name = text(p, from[i].name);
        struct mlq_str output = text(p, from[i].output);
        if (places != NULL) {
            places[i].name = name;
            places[i].output = output;
        }
    }
    return places;
}

static struct spec_stage *stages(struct packer *p, const struct spec_stage *from, size_t count)
{
    struct spec_stage *places = take(p, from, count, sizeof *from);
    for (size_t i = 0; i < count; i++) {
        struct spec_stage stage = from[i];
        stage.name = text(p, stage.name);
        stage.argv = texts(p, stage.argv, stage.argc);
        stage.scripts = texts(p, stage.scripts, stage.script_count);
        stage.with = text(p, stage.with);
        stage.needs = take(p, stage.needs, stage.needs_count, sizeof *stage.needs);
        stage.inputs = inputs(p, stage.inputs, stage.input_count);
        stage.retry.on = texts(p, stage.retry.on, stage.retry.on_count);
        stage.env = pairs(p, stage.env, stage.env_count);
        if (places != NULL) {
            places[i] = stage;
        }
    }
    return places;
}

static struct spec_file *files(struct packer *p, const struct spec_file *from, size_t count)
{
    struct spec_file *places = take(p, from, count, sizeof *from);
    for (size_t i = 0; i < count; i++) {
        struct spec_file file = from[i];
        file.param = text(p, file.param);
        file.path = text(p, file.path);
        file.name = text(p, file.name);
        file.digest = text(p, file.digest);
        if (places != NULL) {
            places[i] = file;
        }
    }
    return places;
}

static void pack(struct packer *p, const struct spec *from)
{
    struct spec *place = take(p, from, 1, sizeof *from); /* first, so that its address is the block's */
    struct spec spec = *from;
    spec.name = text(p, spec.name);
    spec.kind = text(p, spec.kind);
    spec.labels = pairs(p, spec.labels, spec.label_count);
    spec.params = pairs(p, spec.params, spec.param_count);
    spec.stages = stages(p, spec.stages, spec.stage_count);
    spec.files = files(p, spec.files, spec.file_count);
    if (place != NULL) {
        *place = spec;
    }
}

struct spec *spec_pack(const struct spec *spec)
{
    struct packer packer = {.block = NULL};
    pack(&packer, spec);
    size_t bytes = packer.used;
    packer = (struct packer){.block = mlq_alloc(bytes)};
    pack(&packer, spec);
    MLQ_ASSERT(packer.used == bytes);
    return (struct spec *)(void *)packer.block;
}
