/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/ml/augment.h"

#include <math.h>
#include <string.h>

#include "lib/base/prng.h"

#define AUGMENT_KEY UINT64_C(0x6175676d656e74) /* "augment": apart from dropout's numbers */

/* -crop to crop, each as likely as the others but for 1 in 2^31. */
static int64_t shift(uint32_t bits, uint32_t crop)
{
    return (int64_t)(bits % (2 * (uint64_t)crop + 1)) - crop;
}

#define MIX_KEY   UINT64_C(0x6d69787570) /* "mixup" */
#define TRIES_MAX 64                     /* each is taken with a chance of at least a half */

/* In (0, 1). */
static double uniform(uint64_t key, uint64_t sample, uint64_t number)
{
    return ((double)(mlq_hash_keyed(key, sample, MIX_KEY + number) >> 11) + 0.5) * 0x1.0p-53;
}

/* Joehnk's way to Beta(alpha, alpha), for alpha up to 1. */
struct augment_mix augment_mix(const struct augment *augment, uint64_t key, uint32_t sample,
                               uint32_t samples)
{
    struct augment_mix mix = {.other = (uint32_t)(mlq_hash_keyed(key, sample, MIX_KEY) % samples),
                              .share = 1};
    for (uint64_t i = 0; i < TRIES_MAX; i++) {
        double x = pow(uniform(key, sample, 2 * i + 1), 1 / augment->mixup);
        double y = pow(uniform(key, sample, 2 * i + 2), 1 / augment->mixup);
        if (x + y <= 1 && x + y > 0) {
            mix.share = (float)(x / (x + y));
            break;
        }
    }
    return mix;
}

void augment_image(const struct augment *augment,
                   struct layer_shape image,
                   uint64_t key,
                   uint32_t sample,
                   const float *from,
                   float *to)
{
    uint64_t choice = mlq_hash_keyed(key, sample, AUGMENT_KEY);
    uint64_t place = mlq_hash_keyed(key, sample, AUGMENT_KEY + 1);
    bool flip = augment->flip && (choice >> 63) != 0;
    int64_t down = shift((uint32_t)place, augment->crop);
    int64_t right = shift((uint32_t)(place >> 32), augment->crop);
    size_t bytes = image.channels * sizeof(float);
    for (uint32_t y = 0; y < image.height; y++) {
        for (uint32_t x = 0; x < image.width; x++, to += image.channels) {
            int64_t sy = (int64_t)y + down;
            int64_t sx = (int64_t)(flip ? image.width - 1 - x : x) + right;
            if (sy < 0 || sx < 0 || sy >= image.height || sx >= image.width) {
                memset(to, 0, bytes);
            } else {
                size_t at = (size_t)sy * image.width + (size_t)sx;
                memcpy(to, from + at * image.channels, bytes);
            }
        }
    }
}
