/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "lib/base/radix.h"

#include <string.h>

#include "lib/base/panic.h"

#define DIGITS 8u
#define VALUES 256u
#define SIGN   (UINT64_C(1) << 63)

static uint8_t digit_of(uint64_t key, unsigned digit)
{
    return (uint8_t)(key >> 8 * digit);
}

void mlq_radix_sort(struct mlq_radix_pair *pairs, struct mlq_radix_pair *scratch, size_t count)
{
    size_t places[DIGITS][VALUES] = {{0}};
    struct mlq_radix_pair *from = pairs;
    struct mlq_radix_pair *to = scratch;
    for (size_t i = 0; i < count; i++) {
        for (unsigned digit = 0; digit < DIGITS; digit++) {
            places[digit][digit_of(pairs[i].key, digit)]++;
        }
    }
    for (unsigned digit = 0; digit < DIGITS && count > 0; digit++) {
        size_t *place = places[digit];
        if (place[digit_of(pairs[0].key, digit)] == count) {
            continue; /* all have the same */
        }
        size_t begin = 0;
        for (unsigned value = 0; value < VALUES; value++) {
            size_t end = begin + place[value];
            place[value] = begin;
            begin = end;
        }
        for (size_t i = 0; i < count; i++) {
            to[place[digit_of(from[i].key, digit)]++] = from[i];
        }
        struct mlq_radix_pair *sorted = to;
        to = from;
        from = sorted;
    }
    if (from != pairs) {
        memcpy(pairs, from, count * sizeof *pairs);
    }
}

/* Of few keys, the tables of long digits would take longer than the passes that they save. */
#define LONG_DIGITS_FROM 8192u
#define LONG_BITS        11u
#define SHORT_BITS       8u

void mlq_radix_sort_keys(uint64_t *keys, uint64_t *scratch, size_t count)
{
    const unsigned bits = count < LONG_DIGITS_FROM ? SHORT_BITS : LONG_BITS;
    const unsigned values = 1u << bits;
    const unsigned digits = (64 + bits - 1) / bits;
    uint32_t places[(64 / SHORT_BITS) << LONG_BITS]; /* of each digit, those of its values */
    uint64_t *from = keys;
    uint64_t *to = scratch;
    MLQ_ASSERT(count <= UINT32_MAX);
    memset(places, 0, digits * values * sizeof *places);
    for (size_t i = 0; i < count; i++) {
        uint64_t key = keys[i];
        for (uint32_t *place = places; place < places + digits * values; place += values) {
            place[key & (values - 1)]++;
            key >>= bits;
        }
    }
    for (unsigned digit = 0; digit < digits && count > 0; digit++) {
        uint32_t *place = places + digit * values;
        unsigned shift = digit * bits;
        if (place[keys[0] >> shift & (values - 1)] == count) {
            continue; /* all have the same */
        }
        uint32_t begin = 0;
        for (unsigned value = 0; value < values; value++) {
            uint32_t end = begin + place[value];
            place[value] = begin;
            begin = end;
        }
        for (size_t i = 0; i < count; i++) {
            to[place[from[i] >> shift & (values - 1)]++] = from[i];
        }
        uint64_t *sorted = to;
        to = from;
        from = sorted;
    }
    if (from != keys) {
        memcpy(keys, from, count * sizeof *keys);
    }
}

uint64_t mlq_radix_key(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return (bits & SIGN) != 0 ? ~bits : bits | SIGN;
}

double mlq_radix_value(uint64_t key)
{
    double value;
    uint64_t bits = (key & SIGN) != 0 ? key & ~SIGN : ~key;
    memcpy(&value, &bits, sizeof value);
    return value;
}
