/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * A slot holds the first row of a key, plus 1, and a bit that says whether the key came again. Keys
 * are compared in the table itself, so the hash need not be perfect and nothing is copied.
 */
#include "worker/op/expect_unique.h"

#include <math.h>
#include <string.h>

#include "lib/base/panic.h"
#include "lib/base/prng.h"
#include "lib/sys/mem.h"

#define REPEATED (UINT64_C(1) << 63)

struct expect_unique {
    uint64_t *slots;
    uint64_t mask;
};

struct expect_unique *expect_unique_create(uint64_t rows)
{
    MLQ_ASSERT(rows <= TABLE_ROWS_MAX);
    uint64_t slots = 16;
    while (slots < rows * 2) {
        slots *= 2;
    }
    struct expect_unique *set = mlq_alloc(sizeof *set);
    set->slots = mlq_alloc_array(slots, sizeof *set->slots);
    set->mask = slots - 1;
    return set;
}

void expect_unique_destroy(struct expect_unique **set)
{
    if (*set == NULL) {
        return;
    }
    mlq_free((*set)->slots);
    mlq_free(*set);
    *set = NULL;
}

/* Equal values have equal bits: -0 is 0, and every NaN is one. */
static uint64_t value_bits(const struct table_column *column, uint64_t row)
{
    if (column->kind == TABLE_CATEGORY) {
        return (uint64_t)(uint32_t)column->codes[row];
    }
    double value = column->numbers[row];
    if (isnan(value)) {
        return UINT64_MAX;
    }
    value += 0.0;
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static uint64_t *find_slot(const struct expect_unique *set,
                           const struct table_column *const *columns, size_t count, uint64_t row)
{
    uint64_t hash = 0;
    for (size_t i = 0; i < count; i++) {
        hash = mlq_hash_u64(hash ^ value_bits(columns[i], row));
    }
    for (;; hash++) {
        uint64_t *slot = &set->slots[hash & set->mask];
        if (*slot == 0) {
            return slot;
        }
        uint64_t first = (*slot & ~REPEATED) - 1;
        size_t equal = 0;
        while (equal < count &&
               value_bits(columns[equal], first) == value_bits(columns[equal], row)) {
            equal++;
        }
        if (equal == count) {
            return slot;
        }
    }
}

void expect_unique_add(struct expect_unique *set, const struct table_column *const *columns,
                       size_t count, uint64_t row)
{
    uint64_t *slot = find_slot(set, columns, count, row);
    *slot = *slot == 0 ? row + 1 : *slot | REPEATED;
}

bool expect_unique_repeated(const struct expect_unique *set,
                            const struct table_column *const *columns, size_t count, uint64_t row)
{
    return (*find_slot(set, columns, count, row) & REPEATED) != 0;
}
