/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Bytes of the meeting point's protocol (coll_store.h), shared by its server and its client.
 */
#ifndef MLQ_COLL_COLL_STORE_WIRE_H
#define MLQ_COLL_COLL_STORE_WIRE_H

#include <stdint.h>

#define STORE_MAGIC         "mlqkv2\n"
#define STORE_MAGIC_BYTES   8u  /* its NUL included */
#define STORE_HELLO_BYTES   28u /* magic, rank, size, generation, name length */
#define STORE_REQUEST_BYTES 12u
#define STORE_REPLY_BYTES   8u

enum store_verb { STORE_SET = 1, STORE_GET = 2 };

enum store_status {
    STORE_OK = 0,
    STORE_REFUSED_PROTOCOL = 1,
    STORE_REFUSED_OTHER_GANG = 2,
    STORE_REFUSED_SET_TWICE = 3,
    STORE_REFUSED_FULL = 4,
    STORE_REFUSED_GENERATION = 5, /* the gang is at a newer one */
    STORE_REFUSED_EARLY = 6,      /* rank 0 is still at an older one: ask again */
};

static inline void store_put_u32(uint8_t *to, uint32_t value)
{
    for (int i = 0; i < 4; i++) {
        to[i] = (uint8_t)(value >> (8 * i));
    }
}

static inline uint32_t store_get_u32(const uint8_t *from)
{
    return (uint32_t)from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16 |
           (uint32_t)from[3] << 24;
}

#endif
