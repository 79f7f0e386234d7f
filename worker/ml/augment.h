/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Samples changed a little, anew in each epoch: a function of (seed, epoch, sample), so that it is
 * the same whoever computes the sample. Images are turned and moved; any rows are mixed in pairs
 * (H. Zhang and others, "mixup: Beyond Empirical Risk Minimization", 2018).
 */
#ifndef MLQ_ML_AUGMENT_H
#define MLQ_ML_AUGMENT_H

#include <stdbool.h>
#include <stdint.h>

#include "worker/ml/layer.h"

struct augment {
    bool flip;     /* left to right, every second time */
    uint32_t crop; /* moved by up to this many pixels along each side; what comes in is 0 */
    double mixup;  /* 0: none; else alpha, up to 1: shares are drawn from Beta(alpha, alpha) */
};

/* What sample i is mixed with: share * i + (1 - share) * other, its target likewise. */
struct augment_mix {
    uint32_t other; /* below `samples` */
    float share;
};
struct augment_mix augment_mix(const struct augment *augment, uint64_t key, uint32_t sample,
                               uint32_t samples);

/* `to` may not overlap `from`; both are [height][width][channels]. `key` is of (seed, epoch). */
void augment_image(const struct augment *augment,
                   struct layer_shape image,
                   uint64_t key,
                   uint32_t sample,
                   const float *from,
                   float *to);

#endif
