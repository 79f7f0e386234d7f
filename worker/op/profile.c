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
#define SLOTS_MAX    (2 * PROFILE_DISTINCT_MAX)
#define SAMPLE_SEED  1
#define BLOCK_VALUES 1024u
#define ROUNDS_MAX   16u
#define GROWTH       8u    /* of the slots: few columns stop in between */
#define PROBE_FROM   4096u /* distinct values */
#define PROBE_ROWS   262144u
#define PROBE_BITS   (1u << 20)

struct tally {
    double value;
    uint64_t count; /* 0: free */
};

/* Memory that is had anew for each column would be returned to the system and cleared by it in
 * between. */
struct profile {
    struct tally slots[2][SLOTS_MAX];
    struct mlq_radix_pair pairs[2][PROFILE_SAMPLE_MAX];
    uint64_t keys[2][PROFILE_SAMPLE_MAX];
    uint64_t probe[PROBE_BITS / 64];
    uint64_t drawn[PROFILE_SAMPLE_MAX]; /* rows, which are the same for every column */
    uint64_t drawn_of;                  /* so many; 0: none were drawn */
    uint64_t drawn_again[PROFILE_SAMPLE_MAX];
    struct mlq_prng prng; /* after that */
};

_Static_assert(PROFILE_SAMPLE_MAX >= PROFILE_DISTINCT_MAX, "what is counted can be sorted");

struct numbers {
    struct profile *profile;
    uint64_t count;
    double min;
    double max;
    double mean;
    double squares;      /* sum of squared differences from the mean */
    struct tally *slots; /* open addressing, at most half full; later the used ones, in order */
    unsigned side;       /* of the profile's two that these are */
    uint32_t slot_count; /* a power of two */
    uint32_t distinct;   /* PROFILE_DISTINCT_MAX + 1: more than we count */
    bool is_small;       /* all values can be sorted, which is quicker than to look each up */
    bool is_probed;
    size_t passed; /* drawn rows that were passed */
    size_t picked; /* of those, values that are there: keys */
};

static uint64_t hash(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return mlq_hash_u64(bits);
}

static struct tally *find_tally(const struct numbers *numbers, double value)
{
    uint64_t at = hash(value);
    struct tally *slot;
    do {
        slot = &numbers->slots[at++ & (numbers->slot_count - 1)];
    } while (slot->count > 0 && slot->value != value);
    return slot;
}

static void use_slots(struct numbers *numbers, unsigned side, uint32_t count)
{
    numbers->side = side;
    numbers->slots = numbers->profile->slots[side];
    numbers->slot_count = count;
    memset(numbers->slots, 0, count * sizeof *numbers->slots);
}

static void grow_slots(struct numbers *numbers)
{
    struct numbers old = *numbers;
    uint32_t count = old.slot_count * GROWTH;
    use_slots(numbers, 1 - old.side, count < SLOTS_MAX ? count : SLOTS_MAX);
    for (uint32_t i = 0; i < old.slot_count; i++) {
        if (old.slots[i].count > 0) {
            *find_tally(numbers, old.slots[i].value) = old.slots[i];
        }
    }
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

/* Values to be sorted later (sort_all), or counted now. */
static void tally_block(struct numbers *numbers, const double *values, size_t count)
{
    uint64_t *keys = numbers->profile->keys[0] + numbers->count;
    bool is_small = numbers->is_small;
    for (size_t i = 0; i < count && is_small; i++) {
        keys[i] = mlq_radix_key(values[i]);
    }
    for (size_t i = 0; i < count && !is_small && numbers->distinct <= PROFILE_DISTINCT_MAX; i++) {
        add_distinct(numbers, values[i]);
    }
}

/* Whether the rows that follow hold more distinct values than we count. Values whose hashes differ
 * are different: so many bits are proof, at a fraction of what it takes to count that far; fewer
 * tell nothing. */
static bool has_too_many(struct profile *profile, const double *values, uint64_t count)
{
    uint32_t set = 0;
    memset(profile->probe, 0, sizeof profile->probe);
    for (uint64_t i = 0; i < count && set <= PROFILE_DISTINCT_MAX; i++) {
        uint64_t at = hash(values[i] + 0.0) % PROBE_BITS;
        uint64_t bit = UINT64_C(1) << at % 64;
        bool is_new = !isnan(values[i]) && (profile->probe[at / 64] & bit) == 0;
        profile->probe[at / 64] |= is_new ? bit : 0;
        set += is_new ? 1 : 0;
    }
    return set > PROFILE_DISTINCT_MAX;
}

/* Once a column has many distinct values, it probably has too many. */
static void probe(struct numbers *numbers, const struct table *table, const double *column,
                  uint64_t row)
{
    if (numbers->is_probed || numbers->distinct < PROBE_FROM) {
        return;
    }
    uint64_t left = table_rows(table) - row;
    uint64_t count = left < PROBE_ROWS ? left : PROBE_ROWS;
    numbers->is_probed = true;
    table_walked(table, count * sizeof *column);
    if (has_too_many(numbers->profile, column + row, count)) {
        numbers->distinct = PROFILE_DISTINCT_MAX + 1;
    }
}

/* Rows by chance, with replacement, in order: the file may be far larger than memory. */
static void draw_rows(struct profile *profile, struct mlq_prng *prng, uint64_t rows,
                      uint64_t *drawn, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        drawn[i] = mlq_prng_below(prng, rows);
    }
    mlq_radix_sort_keys(drawn, profile->keys[1], count);
}

/* The drawn rows before `end`: their values are at hand now, if there turn out to be too many to
 * count. */
static void pick(struct numbers *numbers, const double *column, uint64_t end)
{
    struct profile *profile = numbers->profile;
    size_t i = numbers->passed;
    for (; i < PROFILE_SAMPLE_MAX && profile->drawn[i] < end; i++) {
        double value = column[profile->drawn[i]];
        profile->keys[0][numbers->picked] = mlq_radix_key(value + 0.0);
        numbers->picked += isnan(value) ? 0 : 1;
    }
    numbers->passed = i;
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
            tally_block(numbers, block, used);
            add_block(numbers, block, used);
        }
        if (!numbers->is_small) {
            pick(numbers, column, row);
            probe(numbers, table, column, row);
        }
    }
}

/* The keys of `count` values become tallies in order, one for equal ones. How many. */
static size_t count_keys(struct numbers *numbers, size_t count)
{
    uint64_t *keys = numbers->profile->keys[0];
    size_t used = 0;
    mlq_radix_sort_keys(keys, numbers->profile->keys[1], count);
    for (size_t i = 0; i < count; i++) {
        if (i == 0 || keys[i] != keys[i - 1]) {
            numbers->slots[used++] = (struct tally){.value = mlq_radix_value(keys[i])};
        }
        numbers->slots[used - 1].count++;
    }
    return used;
}

/* `used` tallies by value, in linear time: most columns of numbers have as many as we keep. */
static void sort_tallies(struct profile *profile, struct tally *tallies, size_t used)
{
    struct mlq_radix_pair *pairs = profile->pairs[0];
    for (size_t i = 0; i < used; i++) {
        pairs[i] = (struct mlq_radix_pair){mlq_radix_key(tallies[i].value), tallies[i].count};
    }
    mlq_radix_sort(pairs, profile->pairs[1], used);
    for (size_t i = 0; i < used; i++) {
        tallies[i] = (struct tally){mlq_radix_value(pairs[i].key), pairs[i].with};
    }
}

/* What was picked of the drawn rows, in place of tallies that were too many; for those without a
 * value others are drawn. A column that is nearly all missing gives a smaller sample rather than a
 * long search. */
static size_t draw_sample(struct numbers *numbers, const struct table *table, const double *column)
{
    struct profile *profile = numbers->profile;
    uint64_t *drawn = profile->drawn_again;
    size_t used = numbers->picked;
    struct mlq_prng prng = profile->prng;
    for (unsigned round = 1; round < ROUNDS_MAX && used < PROFILE_SAMPLE_MAX; round++) {
        size_t wanted = PROFILE_SAMPLE_MAX - used;
        draw_rows(profile, &prng, table_rows(table), drawn, wanted);
        for (size_t i = 0; i < wanted; i++) {
            double value = column[drawn[i]];
            table_walked(table, (drawn[i] - (i == 0 ? 0 : drawn[i - 1])) * sizeof value);
            if (!isnan(value)) {
                profile->keys[0][used++] = mlq_radix_key(value + 0.0);
            }
        }
    }
    return count_keys(numbers, used);
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

/* `used` tallies, sorted by value. */
static void add_quantiles(json_t *out, const struct tally *tallies, size_t used)
{
    static const struct {
        const char *text;
        double share;
    } wanted[] = {{"0.01", 0.01}, {"0.05", 0.05}, {"0.25", 0.25}, {"0.5", 0.5},
                  {"0.75", 0.75}, {"0.95", 0.95}, {"0.99", 0.99}};
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

static void profile_numbers(struct profile *profile, json_t *out, const struct table *table,
                            const struct table_column *column)
{
    uint64_t rows = table_rows(table);
    struct numbers numbers = {.profile = profile, .is_small = rows <= PROFILE_DISTINCT_MAX};
    use_slots(&numbers, 0, SLOTS_MIN);
    if (!numbers.is_small && profile->drawn_of != rows) {
        mlq_prng_seed(&profile->prng, SAMPLE_SEED);
        draw_rows(profile, &profile->prng, rows, profile->drawn, PROFILE_SAMPLE_MAX);
        profile->drawn_of = rows;
    }
    add_all(&numbers, table, column->numbers);
    size_t used = numbers.is_small ? count_keys(&numbers, numbers.count) : 0;
    numbers.distinct = numbers.is_small ? (uint32_t)used : numbers.distinct;
    bool exact = numbers.distinct <= PROFILE_DISTINCT_MAX;
    (void)json_object_set_new(out, "integer", json_boolean(column->integer));
    (void)json_object_set_new(out, "count", json_integer((json_int_t)numbers.count));
    (void)json_object_set_new(out, "missing", json_integer((json_int_t)(rows - numbers.count)));
    (void)json_object_set_new(out, "distinct",
                              json_integer(exact ? numbers.distinct : PROFILE_DISTINCT_MAX));
    (void)json_object_set_new(out, "distinct_exact", json_boolean(exact));
    if (!exact) {
        used = draw_sample(&numbers, table, column->numbers);
    } else if (!numbers.is_small) {
        used = close_up(&numbers);
        sort_tallies(profile, numbers.slots, used);
    }
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

struct profile *profile_create(void)
{
    return mlq_alloc(sizeof(struct profile));
}

void profile_destroy(struct profile **profile)
{
    mlq_free(*profile);
    *profile = NULL;
}

json_t *profile_column(struct profile *profile, const struct table *table, size_t i)
{
    const struct table_column *column = table_column(table, i);
    json_t *out = json_pack("{s:s, s:s, s:s}", "name", column->name, "kind",
                            table_kind_text(column->kind), "role", table_role_text(column->role));
    MLQ_ASSERT(out != NULL);
    if (column->kind == TABLE_NUMBER) {
        profile_numbers(profile, out, table, column);
    } else {
        profile_codes(out, table, column);
    }
    return out;
}
