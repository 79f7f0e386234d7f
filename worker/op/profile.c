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

#define SLOTS       (2u * PROFILE_DISTINCT_MAX)
#define SAMPLE_SEED 1

struct tally {
    double value;
    uint64_t count; /* 0: free */
};

struct numbers {
    uint64_t count;
    double min;
    double max;
    double mean;
    double squares; /* Welford's sum of squared differences from the mean */
    struct tally *slots;
    uint32_t distinct; /* PROFILE_DISTINCT_MAX + 1: more than we count */
    double *sample;
    struct mlq_prng prng;
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

/* Vitter's algorithm R: each of the values so far is in the sample with the same chance. */
static void add_sample(struct numbers *numbers, double value)
{
    if (numbers->count <= PROFILE_SAMPLE_MAX) {
        numbers->sample[numbers->count - 1] = value;
        return;
    }
    uint64_t at = mlq_prng_below(&numbers->prng, numbers->count);
    if (at < PROFILE_SAMPLE_MAX) {
        numbers->sample[at] = value;
    }
}

static void add_number(struct numbers *numbers, double value)
{
    value += 0.0; /* -0 becomes 0, so that both are one value */
    numbers->count++;
    numbers->min = numbers->count == 1 || value < numbers->min ? value : numbers->min;
    numbers->max = numbers->count == 1 || value > numbers->max ? value : numbers->max;
    double difference = value - numbers->mean;
    numbers->mean += difference / (double)numbers->count;
    numbers->squares += difference * (value - numbers->mean);
    add_distinct(numbers, value);
    add_sample(numbers, value);
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

static void add_quantiles(json_t *out, struct numbers *numbers)
{
    static const struct {
        const char *text;
        double share;
    } wanted[] = {{"0.01", 0.01}, {"0.05", 0.05}, {"0.25", 0.25}, {"0.5", 0.5},
                  {"0.75", 0.75}, {"0.95", 0.95}, {"0.99", 0.99}};
    size_t count =
        numbers->count < PROFILE_SAMPLE_MAX ? (size_t)numbers->count : PROFILE_SAMPLE_MAX;
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
    mlq_prng_seed(&numbers.prng, SAMPLE_SEED);
    uint64_t rows = table_rows(table);
    for (uint64_t i = 0; i < rows; i++) {
        if (!isnan(column->numbers[i])) {
            add_number(&numbers, column->numbers[i]);
        }
    }
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
        add_quantiles(out, &numbers);
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
