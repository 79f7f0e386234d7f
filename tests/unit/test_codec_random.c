/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * 100,000 damaged frames of every kind: the decoder says yes or no, and nothing worse; what it says
 * yes to, it can also send. tests/fuzz/fuzz_envelope.c does the same guided by coverage.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/base/prng.h"
#include "lib/net/codec.h"
#include "lib/net/limits.h"
#include "lib/sys/mem.h"
#include "tests/unit/net_samples.h"

#define MUTATIONS 100000
#define FRAME_ROOM 4096

static size_t mutate(struct mlq_prng *prng, char *frame, size_t len)
{
    uint64_t changes = 1 + mlq_prng_below(prng, 4);
    for (uint64_t i = 0; i < changes && len > 2; i++) {
        size_t at = (size_t)mlq_prng_below(prng, len);
        uint64_t what = mlq_prng_below(prng, 6);
        size_t run = 1 + (size_t)mlq_prng_below(prng, 16);
        if (what == 0) {
            frame[at] ^= (char)(1u << mlq_prng_below(prng, 8));
        } else if (what == 1) {
            frame[at] = (char)mlq_prng_next(prng);
        } else if (what == 2) {
            len = at < 2 ? 2 : at;
        } else if (what == 3 && at + run < len) {
            memmove(frame + at, frame + at + run, len - at - run);
            len -= run;
        } else if (what == 4 && len + run <= FRAME_ROOM && at + run <= len) {
            memmove(frame + at + run, frame + at, len - at); /* doubles what lies there */
            len += run;
        } else {
            static const char extremes[] = "\x00\x7f\x80\xff\x01\x08";
            frame[at] = extremes[mlq_prng_below(prng, 6)];
        }
    }
    return len;
}

static void test_damaged_frames(void **state)
{
    (void)state;
    struct mlq_region *region = mlq_region_create();
    struct mlq_prng prng;
    const char *seed_text = getenv("MLQ_SEED");
    mlq_prng_seed(&prng, seed_text == NULL ? 1 : strtoull(seed_text, NULL, 10));
    size_t taken = 0;
    for (int i = 0; i < MUTATIONS; i++) {
        struct msg sample =
            sample_of((enum msg_kind)(1 + mlq_prng_below(&prng, SAMPLE_KINDS - 1)));
        struct codec_packing packing;
        assert_int_equal(codec_prepare(&sample, FRAME_ROOM, region, &packing, NULL), MLQ_OK);
        char room[FRAME_ROOM];
        assert_int_equal(codec_pack(&packing, (uint8_t *)room, NULL), MLQ_OK);
        size_t len = mutate(&prng, room, packing.bytes);
        /* A block of exactly that size: one byte too far and the sanitizer says so. */
        char *frame = mlq_alloc(len);
        memcpy(frame, room, len);
        struct msg msg;
        uint32_t version;
        int rc = codec_decode((struct mlq_str){frame, len}, FRAME_ROOM, region, &msg, &version,
                              NULL);
        assert_true(rc == MLQ_OK || rc == MLQ_ECORRUPT || rc == MLQ_EPROTO || rc == MLQ_EFULL);
        if (rc == MLQ_OK) {
            taken++;
            memset(frame, 0xa5, len); /* nothing may point into the frame */
            assert_int_equal(codec_prepare(&msg, 2 * FRAME_ROOM, region, &packing, NULL), MLQ_OK);
            uint8_t *again = mlq_region_alloc(region, packing.bytes);
            assert_int_equal(codec_pack(&packing, again, NULL), MLQ_OK);
        }
        mlq_free(frame);
        mlq_region_reset(region);
    }
    /* Some damage must be harmless, or the test never got behind the first check. */
    print_message("%zu of %d damaged frames were still messages\n", taken, MUTATIONS);
    assert_true(taken > MUTATIONS / 100 && taken < MUTATIONS);
    mlq_region_destroy(&region);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_damaged_frames)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
