/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The numbers here were computed by an independent implementation (Python integers); the first ten
 * of xoshiro256** from the state 1 2 3 4 and splitmix64 from 1234567 are the ones that other
 * implementations publish. If they change, every recorded seed means something else.
 */
#include "tests/unit/cm.h"

#include <stdbool.h>

#include "lib/base/prng.h"

TEST_CATCHES_PANICS

static void xoshiro_gives_the_published_sequence(void **state)
{
    (void)state;
    const uint64_t expected[] = {
        UINT64_C(11520),
        UINT64_C(0),
        UINT64_C(1509978240),
        UINT64_C(1215971899390074240),
        UINT64_C(1216172134540287360),
        UINT64_C(607988272756665600),
        UINT64_C(16172922978634559625),
        UINT64_C(8476171486693032832),
        UINT64_C(10595114339597558777),
        UINT64_C(2904607092377533576),
    };
    struct mlq_prng prng = {.state = {1, 2, 3, 4}};
    for (size_t i = 0; i < 10; i++) {
        assert_true(mlq_prng_next(&prng) == expected[i]);
    }
}

static void splitmix_gives_the_published_sequence(void **state)
{
    (void)state;
    const uint64_t expected[] = {
        UINT64_C(6457827717110365317),  UINT64_C(3203168211198807973),
        UINT64_C(9817491932198370423),  UINT64_C(4593380528125082431),
        UINT64_C(16408922859458223821),
    };
    struct mlq_prng prng;
    mlq_prng_seed(&prng, 1234567);
    uint64_t x = 1234567;
    for (size_t i = 0; i < 5; i++) {
        x += UINT64_C(0x9e3779b97f4a7c15);
        assert_true(mlq_hash_u64(x) == expected[i]);
        assert_true(i == 4 || prng.state[i] == expected[i]);
    }
}

/* Eight by eight side by side, whatever the size of the table, and the eights are spread over all of it. */
static void runs_stay_together(void **state)
{
    (void)state;
    bool is_used[128] = {false};
    int used = 0;
    for (uint64_t first = UINT64_C(5) << 32; first < (UINT64_C(5) << 32) + 1024; first += 8) {
        uint64_t place = mlq_hash_in_runs(first) & 1023;
        assert_int_equal(place % 8, 0);
        for (uint64_t i = 1; i < 8; i++) {
            assert_int_equal(mlq_hash_in_runs(first + i) & 1023, place + i);
        }
        used += !is_used[place / 8];
        is_used[place / 8] = true;
    }
    assert_in_range(used, 74, 88); /* 81 of 128 are expected, with a deviation of 3.5 */
}

static void seeds_give_their_numbers(void **state)
{
    (void)state;
    const struct {
        uint64_t seed;
        uint64_t numbers[4];
    } cases[] = {
        {0,
         {UINT64_C(0x99ec5f36cb75f2b4), UINT64_C(0xbf6e1f784956452a), UINT64_C(0x1a5f849d4933e6e0),
          UINT64_C(0x6aa594f1262d2d2c)}},
        {42,
         {UINT64_C(0x15780b2e0c2ec716), UINT64_C(0x6104d9866d113a7e), UINT64_C(0xae17533239e499a1),
          UINT64_C(0xecb8ad4703b360a1)}},
        {UINT64_MAX,
         {UINT64_C(0x8f5520d52a7ead08), UINT64_C(0xc476a018caa1802d), UINT64_C(0x81de31c0d260469e),
          UINT64_C(0xbf658d7e065f3c2f)}},
    };
    for (size_t i = 0; i < 3; i++) {
        struct mlq_prng prng;
        mlq_prng_seed(&prng, cases[i].seed);
        for (size_t k = 0; k < 4; k++) {
            assert_true(mlq_prng_next(&prng) == cases[i].numbers[k]);
        }
    }
}

static void keyed_hash_gives_its_numbers(void **state)
{
    (void)state;
    const uint64_t max = UINT64_MAX;
    assert_true(mlq_hash_keyed(0, 0, 0) == UINT64_C(0x238275bc38fcbe91));
    assert_true(mlq_hash_keyed(1, 2, 3) == UINT64_C(0xd0734750fde362b3));
    assert_true(mlq_hash_keyed(max, max, max) == UINT64_C(0x595b17f487c0e71b));
    /* The places of the arguments count. */
    assert_true(mlq_hash_keyed(7, 0, 1) == UINT64_C(0xf69e37ef143706e0));
    assert_true(mlq_hash_keyed(7, 1, 0) == UINT64_C(0x7010c70c013e27ec));
}

static void below_gives_its_numbers(void **state)
{
    (void)state;
    const struct {
        uint64_t bound;
        uint64_t numbers[4];
    } cases[] = {
        {6, {0, 2, 4, 5}},
        {1, {0, 0, 0, 0}},
        {1000003, {83863, 378981, 680045, 924695}},
        /* Half of all draws are refused here, so the loop runs. */
        {(UINT64_C(1) << 63) + 1,
         {UINT64_C(9147776489032658738), UINT64_C(7099593415032875292),
          UINT64_C(6633989454467100377), UINT64_C(7022439175346172479)}},
    };
    for (size_t i = 0; i < 4; i++) {
        struct mlq_prng prng;
        mlq_prng_seed(&prng, 42);
        for (size_t k = 0; k < 4; k++) {
            assert_true(mlq_prng_below(&prng, cases[i].bound) == cases[i].numbers[k]);
        }
    }
}

static void below_is_even(void **state)
{
    (void)state;
    struct mlq_prng prng;
    mlq_prng_seed(&prng, 3);
    uint32_t seen[10] = {0};
    for (int i = 0; i < 100000; i++) {
        uint64_t number = mlq_prng_below(&prng, 10);
        assert_true(number < 10);
        seen[number]++;
    }
    for (size_t i = 0; i < 10; i++) {
        assert_in_range(seen[i], 9500, 10500); /* 5 standard deviations */
    }
    for (int i = 0; i < 1000; i++) {
        assert_true(mlq_prng_below(&prng, UINT64_MAX) < UINT64_MAX);
    }
    assert_panics(mlq_prng_below(&prng, 0));
}

static void bytes_hash_to_their_numbers_however_they_are_cut(void **state)
{
    (void)state;
    static const struct {
        size_t bytes;
        uint64_t hash;
    } expected[] = {{0, UINT64_C(0xa711a1abdd4d6f75)},
                    {7, UINT64_C(0x3aea7419e721bca3)},
                    {8, UINT64_C(0x700a0ec05462a60a)},
                    {61, UINT64_C(0x267010b2e630d499)}};
    uint8_t data[61];
    for (size_t i = 0; i < sizeof(data); i++) {
        data[i] = (uint8_t)(i * 7 + 1);
    }
    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
        assert_true(mlq_hash_bytes(5, data, expected[i].bytes) == expected[i].hash);
        for (size_t piece = 1; piece <= 20; piece++) {
            struct mlq_hasher hasher;
            mlq_hasher_begin(&hasher, 5);
            for (size_t at = 0; at < expected[i].bytes; at += piece) {
                size_t left = expected[i].bytes - at;
                mlq_hasher_add(&hasher, data + at, left < piece ? left : piece);
            }
            assert_true(mlq_hasher_end(&hasher) == expected[i].hash);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(xoshiro_gives_the_published_sequence),
        cmocka_unit_test(splitmix_gives_the_published_sequence),
        cmocka_unit_test(runs_stay_together),
        cmocka_unit_test(seeds_give_their_numbers),
        cmocka_unit_test(keyed_hash_gives_its_numbers),
        cmocka_unit_test(bytes_hash_to_their_numbers_however_they_are_cut),
        cmocka_unit_test(below_gives_its_numbers),
        cmocka_unit_test(below_is_even),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
