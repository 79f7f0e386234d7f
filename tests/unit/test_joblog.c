/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "lib/base/prng.h"
#include "lib/sys/fs.h"
#include "lib/sys/mem.h"
#include "worker/exec/joblog.h"

static char byte_at(uint64_t offset)
{
    return (char)('a' + mlq_hash_u64(offset) % 26);
}

static void write_stream(struct joblog *log, uint64_t upto, size_t step)
{
    char buffer[1000];
    while (log->total < upto) {
        size_t len = step < upto - log->total ? step : (size_t)(upto - log->total);
        for (size_t i = 0; i < len; i++) {
            buffer[i] = byte_at(log->total + i);
        }
        joblog_append(log, buffer, len);
    }
}

/* What is read is always what was written at that offset; what is skipped is only the middle. */
static uint64_t read_all(uint64_t expect_total, uint64_t *skipped)
{
    char buffer[77];
    uint64_t offset = 0;
    uint64_t total = 0;
    *skipped = 0;
    for (;;) {
        uint64_t from = offset;
        size_t len;
        assert_int_equal(joblog_read(".", &from, buffer, sizeof buffer, &len, &total, NULL), 0);
        assert_true(from >= offset);
        *skipped += from - offset;
        for (size_t i = 0; i < len; i++) {
            assert_int_equal(buffer[i], byte_at(from + i));
        }
        offset = from + len;
        if (len == 0) {
            break;
        }
    }
    assert_int_equal(total, expect_total);
    return offset;
}

static void test_bounds(void **state)
{
    (void)state;
    const uint64_t sizes[] = {0, 1, 99, 100, 101, 150, 187, 188, 199, 200, 201, 500, 12345};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        for (size_t step = 1; step <= 1000; step = step * 7 + 3) {
            struct joblog log;
            uint64_t skipped;
            (void)unlink("log.pos");
            assert_int_equal(joblog_create(&log, ".", 100, 100, NULL), 0);
            write_stream(&log, sizes[i], step);
            assert_int_equal(mlq_fs_exists("log.pos"), sizes[i] > 100); /* one file, until it rings */
            assert_int_equal(read_all(sizes[i], &skipped), sizes[i]);
            if (sizes[i] <= 188) {
                assert_int_equal(skipped, 0);
            } else {
                assert_int_equal(skipped, sizes[i] - 188);
            }
            joblog_close(&log);
        }
    }
}

static void test_flatten(void **state)
{
    (void)state;
    struct joblog log;
    char *data;
    size_t len;
    assert_int_equal(joblog_create(&log, ".", 100, 80, NULL), 0);
    write_stream(&log, 1000, 33);
    assert_int_equal(joblog_flatten(".", "flat", NULL), 0);
    assert_int_equal(mlq_fs_read("flat", 10000, &data, &len, NULL), 0);
    const char *marker = "\n[mlq: 830 bytes of output were dropped here]\n";
    assert_int_equal(len, 170 + strlen(marker));
    assert_memory_equal(data + 100, marker, strlen(marker));
    assert_int_equal(data[len - 1], byte_at(999));
    mlq_free(data);
    joblog_close(&log);
}

static void test_missing(void **state)
{
    (void)state;
    uint64_t offset = 5;
    uint64_t total = 1;
    size_t len = 1;
    char buffer[8];
    assert_int_equal(
        joblog_read("no-such-folder", &offset, buffer, sizeof buffer, &len, &total, NULL), 0);
    assert_int_equal(len, 0);
    assert_int_equal(total, 0);
    struct joblog log;
    assert_int_equal(joblog_create(&log, ".", 100, 0, NULL), MLQ_EINVAL);
    assert_true(joblog_create(&log, "no-such-folder", 1, 1, NULL) < 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_flatten),
        cmocka_unit_test(test_missing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
