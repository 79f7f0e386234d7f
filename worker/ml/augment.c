/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/ml/augment.h"

#include <string.h>

#include "lib/base/prng.h"

#define AUGMENT_KEY UINT64_C(0x6175676d656e74) /* "augment": apart from dropout's numbers */

/* -crop to crop, each as likely as the others but for 1 in 2^31. */
static int64_t shift(uint32_t bits, uint32_t crop)
{
    return (int64_t)(bits % (2 * (uint64_t)crop + 1)) - crop;
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
