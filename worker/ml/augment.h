/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Images changed a little, anew in each epoch: a function of (seed, epoch, sample), so that it is
 * the same whoever computes the sample.
 */
#ifndef MLQ_ML_AUGMENT_H
#define MLQ_ML_AUGMENT_H

#include <stdbool.h>
#include <stdint.h>

#include "worker/ml/layer.h"

struct augment {
    bool flip;     /* left to right, every second time */
    uint32_t crop; /* moved by up to this many pixels along each side; what comes in is 0 */
};

/* `to` may not overlap `from`; both are [height][width][channels]. `key` is of (seed, epoch). */
void augment_image(const struct augment *augment,
                   struct layer_shape image,
                   uint64_t key,
                   uint32_t sample,
                   const float *from,
                   float *to);

#endif
