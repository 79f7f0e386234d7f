/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/op/profile.h"

#include <math.h>
#include <string.h>

#include "lib/base/panic.h"
#include "lib/base/prng.h"
#include "lib/base/radix.h"
#include "lib/sys/mem.h"

#define SLOTS_MIN    64u
#define SAMPLE_SEED  1
#define BLOCK_VALUES 1024u
#define ROUNDS_MAX   16u

struct tally {
    double value;
    uint64_t count; /* 0: free */
};

struct numbers {
    uint64_t count;
    double min;
    double max;
    double mean;
    double squares;      /* sum of squared differences from the mean */
    struct tally *slots; /* open addressing, at most half full; later the used ones, in order */
    uint32_t slot_count; /* a power of two */
    uint32_t distinct;   /* PROFILE_DISTINCT_MAX + 1: more than we count */
};

static struct tally *find_tally(const struct numbers *numbers, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint64_t at = mlq_hash_u64(bits);
    struct tally *slot;
    do {
        slot = &numbers->slots[at++ & (numbers->slot_count - 1)];
    } while (slot->count > 0 && slot->value != value);
    return slot;
}

static void grow_slots(struct numbers *numbers)
{
    struct numbers old = *numbers;
    numbers->slot_count = old.slot_count * 2;
    numbers->slots = mlq_alloc_array(numbers->slot_count, sizeof(struct tally));
    for (uint32_t i = 0; i < old.slot_count; i++) {
        if (old.slots[i].count > 0) {
            *find_tally(numbers, old.slots[i].value) = old.slots[i];
        }
    }
    mlq_free(old.slots);
}

static void add_distinct(struct numbers *numbers, double value)
{
    struct tally *slot = find_tally(numbers, value);
    if (slot->count > 0) {
        slot->count++;
        return;
    }
    numbers->distinct++;
    if (numbers->distinct > PROFILE_DISTINCT_MAX) {
        return;
    }
    *slot = (struct tally){.value = value, .count = 1};
    if (numbers->distinct > numbers->slot_count / 2) {
        grow_slots(numbers);
    }
}

/* Mean and squares of a block, then both joined to what was before (Chan, Golub and LeVeque, 1979):
 * as sound as one value at a time, without a division for each. */
static void add_block(struct numbers *numbers, const double *values, size_t count)
{
    double sum = 0;
    double min = values[0];
    double max = values[0];
    for (size_t i = 0; i < count; i++) {
        sum += values[i];
        min = values[i] < min ? values[i] : min;
        max = values[i] > max ? values[i] : max;
    }
    double mean = sum / (double)count;
    double squares = 0;
    for (size_t i = 0; i < count; i++) {
        squares += (values[i] - mean) * (values[i] - mean);
    }
    double before = (double)numbers->count;
    double after = before + (double)count;
    double difference = mean - numbers->mean;
    numbers->min = numbers->count == 0 || min < numbers->min ? min : numbers->min;
    numbers->max = numbers->count == 0 || max > numbers->max ? max : numbers->max;
    numbers->mean += difference * ((double)count / after);
    numbers->squares += squares + difference * difference * (before * (double)count / after);
    numbers->count += count;
}

static void add_all(struct numbers *numbers, const struct table *table, const double *column)
{
    double block[BLOCK_VALUES];
    uint64_t rows = table_rows(table);
    for (uint64_t row = 0; row < rows;) {
        size_t used = 0;
        table_walked(table, sizeof block);
        for (; row < rows && used < BLOCK_VALUES; row++) {
            block[used] = column[row] + 0.0; /* -0 becomes 0, so that both are one value */
            used += isnan(column[row]) ? 0 : 1;
        }
        if (used > 0) {
            add_block(numbers, block, used);
        }
        for (size_t i = 0; i < used && numbers->distinct <= PROFILE_DISTINCT_MAX; i++) {
            add_distinct(numbers, block[i]);
        }
    }
}

/* `used` tallies by value, in linear time: most columns of numbers have as many as we keep. */
static void sort_tallies(struct tally *tallies, size_t used)
{
    struct mlq_radix_pair *pairs = mlq_alloc_array(used * 2, sizeof *pairs);
    for (size_t i = 0; i < used; i++) {
        pairs[i] = (struct mlq_radix_pair){mlq_radix_key(tallies[i].value), tallies[i].count};
    }
    mlq_radix_sort(pairs, pairs + used, used);
    for (size_t i = 0; i < used; i++) {
        tallies[i] = (struct tally){mlq_radix_value(pairs[i].key), pairs[i].with};
    }
    mlq_free(pairs);
}

/* Values drawn by chance, with replacement, in place of tallies that were too many. They are looked
 * up in the order of the rows: the file may be far larger than memory. A column that is nearly all
 * missing gives a smaller sample rather than a long search. */
static size_t draw_sample(struct numbers *numbers, const struct table *table, const double *column)
{
    size_t used = 0;
    struct mlq_radix_pair *rows = mlq_alloc_array(PROFILE_SAMPLE_MAX * 2, sizeof *rows);
    struct mlq_prng prng;
    mlq_prng_seed(&prng, SAMPLE_SEED);
    for (unsigned round = 0; round < ROUNDS_MAX && used < PROFILE_SAMPLE_MAX; round++) {
        size_t wanted = PROFILE_SAMPLE_MAX - used;
        for (size_t i = 0; i < wanted; i++) {
            rows[i].key = mlq_prng_below(&prng, table_rows(table));
        }
        mlq_radix_sort(rows, rows + PROFILE_SAMPLE_MAX, wanted);
        for (size_t i = 0; i < wanted; i++) {
            double value = column[rows[i].key];
            table_walked(table, (rows[i].key - (i == 0 ? 0 : rows[i - 1].key)) * sizeof value);
            if (!isnan(value)) {
                numbers->slots[used++] = (struct tally){.value = value + 0.0, .count = 1};
            }
        }
    }
    mlq_free(rows);
    return used;
}

/* The tallies, without the free slots between them. */
static size_t close_up(struct numbers *numbers)
{
    size_t used = 0;
    for (size_t i = 0; i < numbers->slot_count; i++) {
        if (numbers->slots[i].count > 0) {
            numbers->slots[used++] = numbers->slots[i];
        }
    }
    return used;
}

/* JSON has no infinity: what overflowed is left out. */
static void set_number(json_t *out, const char *key, double value)
{
    if (isfinite(value)) {
        MLQ_ASSERT(json_object_set_new(out, key, json_real(value)) == 0);
    }
}

/* `used` tallies, which are sorted here. */
static void add_quantiles(json_t *out, struct tally *tallies, size_t used)
{
    static const struct {
        const char *text;
        double share;
    } wanted[] = {{"0.01", 0.01}, {"0.05", 0.05}, {"0.25", 0.25}, {"0.5", 0.5},
                  {"0.75", 0.75}, {"0.95", 0.95}, {"0.99", 0.99}};
    sort_tallies(tallies, used);
    uint64_t count = 0;
    for (size_t i = 0; i < used; i++) {
        count += tallies[i].count;
    }
    json_t *quantiles = json_object();
    uint64_t end = used > 0 ? tallies[0].count : 0; /* of the places that tallies[at] fills */
    size_t at = 0;
    for (size_t i = 0; used > 0 && i < MLQ_COUNT_OF(wanted); i++) {
        double place = wanted[i].share * (double)(count - 1);
        uint64_t below = (uint64_t)place;
        while (below >= end) {
            end += tallies[++at].count;
        }
        bool last = below + 1 < end || at + 1 == used;
        double part = place - (double)below;
        set_number(quantiles, wanted[i].text,
                   tallies[at].value * (1 - part) + tallies[last ? at : at + 1].value * part);
    }
    (void)json_object_set_new(out, "quantiles", quantiles);
}

/* `used` tallies, sorted by value: of equal counts the least values are shown. */
static void add_top_numbers(json_t *out, const struct tally *tallies, size_t used)
{
    struct tally best[PROFILE_TOP_MAX + 1];
    size_t count = 0;
    for (size_t i = 0; i < used; i++) {
        size_t at = count;
        for (; at > 0 && best[at - 1].count < tallies[i].count; at--) {
            best[at] = best[at - 1];
        }
        best[at] = tallies[i];
        count += count < PROFILE_TOP_MAX ? 1 : 0;
    }
    json_t *top = json_array();
    for (size_t i = 0; i < count; i++) {
        (void)json_array_append_new(top, json_pack("{s:f, s:I}", "value", best[i].value, "count",
                                                   (json_int_t)best[i].count));
    }
    (void)json_object_set_new(out, "top", top);
}

static void profile_numbers(json_t *out, const struct table *table,
                            const struct table_column *column)
{
    struct numbers numbers = {.slots = mlq_alloc_array(SLOTS_MIN, sizeof(struct tally)),
                              .slot_count = SLOTS_MIN};
    uint64_t rows = table_rows(table);
    add_all(&numbers, table, column->numbers);
    bool exact = numbers.distinct <= PROFILE_DISTINCT_MAX;
    (void)json_object_set_new(out, "integer", json_boolean(column->integer));
    (void)json_object_set_new(out, "count", json_integer((json_int_t)numbers.count));
    (void)json_object_set_new(out, "missing", json_integer((json_int_t)(rows - numbers.count)));
    (void)json_object_set_new(out, "distinct",
                              json_integer(exact ? numbers.distinct : PROFILE_DISTINCT_MAX));
    (void)json_object_set_new(out, "distinct_exact", json_boolean(exact));
    size_t used = exact ? close_up(&numbers) : draw_sample(&numbers, table, column->numbers);
    if (numbers.count > 0) {
        set_number(out, "min", numbers.min);
        set_number(out, "max", numbers.max);
        set_number(out, "mean", numbers.mean);
        if (numbers.count > 1) {
            set_number(out, "std", sqrt(numbers.squares / (double)(numbers.count - 1)));
        }
        add_quantiles(out, numbers.slots, used);
        (void)json_object_set_new(out, "quantiles_exact", json_boolean(exact));
    }
    if (exact) {
        add_top_numbers(out, numbers.slots, used);
    }
    mlq_free(numbers.slots);
}

static void profile_codes(json_t *out, const struct table *table, const struct table_column *column)
{
    uint64_t *counts = mlq_alloc_array(column->dictionary_count, sizeof *counts);
    uint64_t present = 0;
    uint64_t rows = table_rows(table);
    for (uint64_t i = 0; i < rows; i++) {
        if (column->codes[i] >= 0) {
            counts[column->codes[i]]++;
            present++;
        }
        if (i % BLOCK_VALUES == 0) {
            table_walked(table, BLOCK_VALUES * sizeof(int32_t));
        }
    }
    json_int_t distinct = 0;
    for (uint32_t code = 0; code < column->dictionary_count; code++) {
        distinct += counts[code] > 0 ? 1 : 0;
    }
    (void)json_object_set_new(out, "count", json_integer((json_int_t)present));
    (void)json_object_set_new(out, "missing", json_integer((json_int_t)(rows - present)));
    (void)json_object_set_new(out, "distinct", json_integer(distinct));
    (void)json_object_set_new(out, "distinct_exact", json_true());
    json_t *top = json_array();
    for (uint32_t shown = 0; shown < PROFILE_TOP_MAX && shown < distinct; shown++) {
        uint32_t best = 0;
        for (uint32_t code = 1; code < column->dictionary_count; code++) {
            best = counts[code] > counts[best] ? code : best;
        }
        (void)json_array_append_new(top, json_pack("{s:s, s:I}", "value", column->dictionary[best],
                                                   "count", (json_int_t)counts[best]));
        counts[best] = 0;
    }
    (void)json_object_set_new(out, "top", top);
    mlq_free(counts);
}

json_t *profile_column(const struct table *table, size_t i)
{
    const struct table_column *column = table_column(table, i);
    json_t *out = json_pack("{s:s, s:s, s:s}", "name", column->name, "kind",
                            table_kind_text(column->kind), "role", table_role_text(column->role));
    MLQ_ASSERT(out != NULL);
    if (column->kind == TABLE_NUMBER) {
        profile_numbers(out, table, column);
    } else {
        profile_codes(out, table, column);
    }
    return out;
}
