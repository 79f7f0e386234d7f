/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/ml/order.h"

#include "lib/base/prng.h"

/* Apart from other uses of the same seed. */
#define ORDER_KEY UINT64_C(0x6f72646572) /* "order" */
#define EPOCH_KEY UINT64_C(0x65706f6368) /* "epoch" */

void order_shuffle(uint32_t *order, uint32_t count, uint64_t seed, uint64_t epoch)
{
    struct mlq_prng prng;
    mlq_prng_seed(&prng, mlq_hash_keyed(seed, ORDER_KEY, epoch));
    for (uint32_t i = 0; i < count; i++) {
        order[i] = i;
    }
    for (uint32_t left = count; left > 1; left--) {
        uint32_t pick = (uint32_t)mlq_prng_below(&prng, left);
        uint32_t last = order[left - 1];
        order[left - 1] = order[pick];
        order[pick] = last;
    }
}

uint64_t order_key(uint64_t seed, uint64_t epoch)
{
    return mlq_hash_keyed(seed, epoch, EPOCH_KEY);
}
