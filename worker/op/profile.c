/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/op/profile.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/panic.h"
#include "lib/base/prng.h"
#include "lib/sys/mem.h"

#define SLOTS        (2u * PROFILE_DISTINCT_MAX)
#define SAMPLE_SEED  1
#define BLOCK_VALUES 1024u
#define TRIES_MAX    (16u * PROFILE_SAMPLE_MAX)

struct tally {
    double value;
    uint64_t count; /* 0: free */
};

struct numbers {
    uint64_t count;
    double min;
    double max;
    double mean;
    double squares; /* sum of squared differences from the mean */
    struct tally *slots;
    uint32_t distinct; /* PROFILE_DISTINCT_MAX + 1: more than we count */
    double *sample;
};

static void add_distinct(struct numbers *numbers, double value)
{
    if (numbers->distinct > PROFILE_DISTINCT_MAX) {
        return;
    }
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    for (uint64_t at = mlq_hash_u64(bits);; at++) {
        struct tally *slot = &numbers->slots[at % SLOTS];
        if (slot->count == 0) {
            numbers->distinct++;
            if (numbers->distinct <= PROFILE_DISTINCT_MAX) {
                *slot = (struct tally){.value = value, .count = 1};
            }
            return;
        }
        if (slot->value == value) {
            slot->count++;
            return;
        }
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

static void add_all(struct numbers *numbers, const double *column, uint64_t rows)
{
    double block[BLOCK_VALUES];
    for (uint64_t row = 0; row < rows;) {
        size_t used = 0;
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

/* All values when they fit, else as many drawn by chance, with replacement. Returns how many. */
static size_t draw_sample(struct numbers *numbers, const double *column, uint64_t rows)
{
    size_t used = 0;
    if (numbers->count <= PROFILE_SAMPLE_MAX) {
        for (uint64_t row = 0; row < rows; row++) {
            if (!isnan(column[row])) {
                numbers->sample[used++] = column[row] + 0.0;
            }
        }
        return used;
    }
    struct mlq_prng prng;
    mlq_prng_seed(&prng, SAMPLE_SEED);
    /* A column that is nearly all missing gives a smaller sample rather than a long search. */
    for (uint32_t tries = 0; tries < TRIES_MAX && used < PROFILE_SAMPLE_MAX; tries++) {
        double value = column[mlq_prng_below(&prng, rows)];
        if (!isnan(value)) {
            numbers->sample[used++] = value + 0.0;
        }
    }
    return used;
}

static int compare_values(const void *a, const void *b)
{
    const double *x = a;
    const double *y = b;
    return (*x > *y) - (*x < *y);
}

static int compare_tallies(const void *a, const void *b)
{
    const struct tally *x = a;
    const struct tally *y = b;
    if (x->count != y->count) {
        return x->count > y->count ? -1 : 1;
    }
    return compare_values(&x->value, &y->value);
}

/* JSON has no infinity: what overflowed is left out. */
static void set_number(json_t *out, const char *key, double value)
{
    if (isfinite(value)) {
        MLQ_ASSERT(json_object_set_new(out, key, json_real(value)) == 0);
    }
}

static void add_quantiles(json_t *out, struct numbers *numbers, size_t count)
{
    static const struct {
        const char *text;
        double share;
    } wanted[] = {{"0.01", 0.01}, {"0.05", 0.05}, {"0.25", 0.25}, {"0.5", 0.5},
                  {"0.75", 0.75}, {"0.95", 0.95}, {"0.99", 0.99}};
    if (count == 0) {
        return;
    }
    qsort(numbers->sample, count, sizeof(double), compare_values);
    json_t *quantiles = json_object();
    for (size_t i = 0; i < MLQ_COUNT_OF(wanted); i++) {
        double place = wanted[i].share * (double)(count - 1);
        size_t below = (size_t)place;
        size_t above = below + 1 < count ? below + 1 : below;
        double part = place - (double)below;
        set_number(quantiles, wanted[i].text,
                   numbers->sample[below] * (1 - part) + numbers->sample[above] * part);
    }
    (void)json_object_set_new(out, "quantiles", quantiles);
    (void)json_object_set_new(out, "quantiles_exact",
                              json_boolean(numbers->count <= PROFILE_SAMPLE_MAX));
}

static void add_top_numbers(json_t *out, struct numbers *numbers)
{
    size_t used = 0;
    for (size_t i = 0; i < SLOTS; i++) {
        if (numbers->slots[i].count > 0) {
            numbers->slots[used++] = numbers->slots[i];
        }
    }
    qsort(numbers->slots, used, sizeof *numbers->slots, compare_tallies);
    json_t *top = json_array();
    for (size_t i = 0; i < PROFILE_TOP_MAX && i < used; i++) {
        (void)json_array_append_new(top, json_pack("{s:f, s:I}", "value", numbers->slots[i].value,
                                                   "count", (json_int_t)numbers->slots[i].count));
    }
    (void)json_object_set_new(out, "top", top);
}

static void profile_numbers(json_t *out, const struct table *table,
                            const struct table_column *column)
{
    struct numbers numbers = {.slots = mlq_alloc_array(SLOTS, sizeof(struct tally)),
                              .sample = mlq_alloc_array(PROFILE_SAMPLE_MAX, sizeof(double))};
    uint64_t rows = table_rows(table);
    add_all(&numbers, column->numbers, rows);
    bool exact = numbers.distinct <= PROFILE_DISTINCT_MAX;
    (void)json_object_set_new(out, "integer", json_boolean(column->integer));
    (void)json_object_set_new(out, "count", json_integer((json_int_t)numbers.count));
    (void)json_object_set_new(out, "missing", json_integer((json_int_t)(rows - numbers.count)));
    (void)json_object_set_new(out, "distinct",
                              json_integer(exact ? numbers.distinct : PROFILE_DISTINCT_MAX));
    (void)json_object_set_new(out, "distinct_exact", json_boolean(exact));
    if (numbers.count > 0) {
        set_number(out, "min", numbers.min);
        set_number(out, "max", numbers.max);
        set_number(out, "mean", numbers.mean);
        if (numbers.count > 1) {
            set_number(out, "std", sqrt(numbers.squares / (double)(numbers.count - 1)));
        }
        add_quantiles(out, &numbers, draw_sample(&numbers, column->numbers, rows));
    }
    if (exact) {
        add_top_numbers(out, &numbers);
    }
    mlq_free(numbers.slots);
    mlq_free(numbers.sample);
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
