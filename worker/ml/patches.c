/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/ml/patches.h"

#include <string.h>

#include "worker/ml/wide.h"

/* Windows of `kernel` over `size` numbers with `padding` on both sides; 0: they do not fit. */
static uint32_t windows(uint32_t size, uint32_t kernel, uint32_t stride, uint32_t padding)
{
    uint32_t padded = size + 2 * padding;
    return kernel > padded ? 0 : (padded - kernel) / stride + 1;
}

int patches_shape(struct layer *layer, struct mlq_err *err)
{
    uint32_t height = layer->kernel_height, width = layer->kernel_width;
    if (height == 0 || height > PATCHES_KERNEL_MAX || width == 0 || width > PATCHES_KERNEL_MAX ||
        layer->stride == 0 || layer->stride > PATCHES_KERNEL_MAX) {
        return mlq_fail(err, MLQ_EINVAL, "a window of %u x %u and a stride of %u: expected 1 to %u",
                        height, width, layer->stride, PATCHES_KERNEL_MAX);
    }
    if (layer->padding >= height || layer->padding >= width) {
        return mlq_fail(err, MLQ_EINVAL, "a padding of %u: a window of %u x %u takes less",
                        layer->padding, height, width);
    }
    layer->out = (struct layer_shape){
        .height = windows(layer->in.height, height, layer->stride, layer->padding),
        .width = windows(layer->in.width, width, layer->stride, layer->padding),
        .channels = layer->in.channels,
    };
    if (layer->out.height == 0 || layer->out.width == 0) {
        return mlq_fail(err, MLQ_EINVAL, "a window of %u x %u does not fit an image of %u x %u",
                        height, width, layer->in.height, layer->in.width);
    }
    return 0;
}

/* One line of one window: where it lies in the image, and how much of it is outside. */
struct strip {
    size_t image_at; /* of its first number inside */
    size_t left;     /* numbers outside before it */
    size_t inside;   /* numbers in the image; 0: all outside */
    size_t right;    /* numbers outside behind it */
};

static struct strip find_strip(const struct layer *layer, uint32_t line, uint32_t x, uint32_t ky)
{
    uint32_t channels = layer->in.channels, width = layer->kernel_width;
    uint32_t image = line / layer->out.height;
    uint32_t iy = line % layer->out.height * layer->stride + ky; /* + padding */
    uint32_t ix = x * layer->stride;                             /* + padding */
    uint32_t begin = ix < layer->padding ? layer->padding : ix;
    uint32_t end = ix + width, edge = layer->in.width + layer->padding;
    end = end > edge ? edge : end;
    if (iy < layer->padding || iy >= layer->in.height + layer->padding || begin >= end) {
        return (struct strip){.left = (size_t)width * channels};
    }
    size_t top = (size_t)image * layer->in.height + (iy - layer->padding);
    return (struct strip){
        .image_at = (top * layer->in.width + (begin - layer->padding)) * channels,
        .left = (size_t)(begin - ix) * channels,
        .inside = (size_t)(end - begin) * channels,
        .right = (size_t)(ix + width - end) * channels,
    };
}

ML_WIDE
void patches_gather(const struct layer *layer,
                    struct patches_lines lines,
                    const float *restrict images,
                    float *restrict patches)
{
    float *to = patches;
    for (uint32_t line = lines.first; line < lines.first + lines.count; line++) {
        for (uint32_t x = 0; x < layer->out.width; x++) {
            for (uint32_t ky = 0; ky < layer->kernel_height; ky++) {
                struct strip strip = find_strip(layer, line, x, ky);
                for (size_t i = 0; i < strip.left; i++) {
                    *to++ = 0;
                }
                const float *from = images + strip.image_at;
                for (size_t i = 0; i < strip.inside; i++) {
                    *to++ = from[i];
                }
                for (size_t i = 0; i < strip.right; i++) {
                    *to++ = 0;
                }
            }
        }
    }
}

ML_WIDE
void patches_scatter(const struct layer *layer,
                     struct patches_lines lines,
                     const float *restrict patches,
                     float *restrict images)
{
    const float *from = patches;
    for (uint32_t line = lines.first; line < lines.first + lines.count; line++) {
        for (uint32_t x = 0; x < layer->out.width; x++) {
            for (uint32_t ky = 0; ky < layer->kernel_height; ky++) {
                struct strip strip = find_strip(layer, line, x, ky);
                float *to = images + strip.image_at;
                from += strip.left;
                for (size_t i = 0; i < strip.inside; i++) {
                    to[i] += from[i];
                }
                from += strip.inside + strip.right;
            }
        }
    }
}
