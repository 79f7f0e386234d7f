/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "lib/base/radix.h"

#include <string.h>

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
