/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The windows of images as rows of a matrix ("im2col": Chellapilla, Puri and Simard 2006), and
 * back. What a window sees outside of its image is zero.
 */
#ifndef MLQ_ML_PATCHES_H
#define MLQ_ML_PATCHES_H

#include <stdint.h>

#include "lib/base/err.h"
#include "worker/ml/layer.h"

#define PATCHES_KERNEL_MAX 255u /* height and width of a window, stride */

/* The shape that windows of the layer's kernel, stride and padding give: out.height and out.width,
 * channels as in. Refuses windows that do not fit. */
int patches_shape(struct layer *layer, struct mlq_err *err);

/* Lines of the output, counted over all images: line l is line l % out.height of image
 * l / out.height. */
struct patches_lines {
    uint32_t first;
    uint32_t count;
};

/* patches [count * out.width][kernel_height][kernel_width][channels of in] from images. */
void patches_gather(const struct layer *layer,
                    struct patches_lines lines,
                    const float *images,
                    float *patches);

/* Adds each patch to where it was taken from, in the order of lines. */
void patches_scatter(const struct layer *layer,
                     struct patches_lines lines,
                     const float *patches,
                     float *images);

#endif
