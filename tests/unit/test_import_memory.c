/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The bound of worker/op/import.h, on the real operator: files of growing size, with many number
 * columns, one of them without repeats, and a category with thousands of texts. What a process had
 * resident at its peak is what the kernel counted (wait4).
 */
#include "tests/unit/op_run.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/resource.h>

#include "worker/op/import.h"

#define MIB              (UINT64_C(1) << 20)
#define NUMBERS          300u
#define TEXTS            3000u
#define TEXT_BYTES       32u
#define FILL_BYTES_MAX   (64 * MIB) /* of buffers that 8 MiB of CSV do not fill */
#define GROWTH_BYTES_MAX (16 * MIB) /* once they are full: its threads are not always equally far ahead */

static void write_csv(const char *path, uint64_t bytes)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    uint64_t done = (uint64_t)fprintf(file, "id,city");
    for (unsigned i = 0; i < NUMBERS; i++) {
        done += (uint64_t)fprintf(file, ",n%u", i);
    }
    char *numbers = mlq_alloc(NUMBERS * 16);
    for (uint64_t row = 0; done < bytes; row++) {
        if (row % 100 == 0) { /* printing all of them would take most of the test's time */
            size_t used = 0;
            for (unsigned i = 0; i < NUMBERS; i++) {
                used += (size_t)snprintf(numbers + used, 16, ",%u.%u", i % 97,
                                         (unsigned)(row / 100 * 7 + i) % 10000);
            }
        }
        done += (uint64_t)fprintf(file, "\n%" PRIu64 ",\"city, %0*" PRIu64 "\"%s", row,
                                  (int)TEXT_BYTES - 6, row % TEXTS, numbers);
    }
    mlq_free(numbers);
    assert_int_equal(fclose(file), 0);
}

/* The import's peak of resident memory. */
static uint64_t import_peak(uint64_t bytes)
{
    write_csv("memory.csv", bytes);
    struct op_run run = {.op = "data.import", .path = "memory.csv", .output = "memory"};
    int status = 0;
    struct rusage usage;
    pid_t pid = op_run_start(&run);
    assert_int_equal(wait4(pid, &status, 0, &usage), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_int_equal(mlq_fs_remove_tree("memory", NULL), MLQ_OK);
    assert_int_equal(unlink("memory.csv"), 0);
    uint64_t peak = (uint64_t)usage.ru_maxrss * 1024;
    print_message("%" PRIu64 " MiB of CSV: %.1f MiB resident at the peak\n", bytes / MIB,
                  (double)peak / (double)MIB);
    return peak;
}

static void test_the_peak_does_not_grow_with_the_file(void **state)
{
    (void)state;
    /* AddressSanitizer keeps what was freed, up to this, to find who still uses it. */
    assert_int_equal(
        setenv("ASAN_OPTIONS", "quarantine_size_mb=1:thread_local_quarantine_size_kb=64", 1), 0);
    op_run_set("OMP_NUM_THREADS", "2"); /* each thread has buffers: as many on every machine */
    uint64_t small = import_peak(8 * MIB);
    uint64_t middle = import_peak(64 * MIB);
    uint64_t large = import_peak(256 * MIB);
    assert_true(middle <= small + FILL_BYTES_MAX);
    assert_true(large <= middle + GROWTH_BYTES_MAX);
#ifndef __SANITIZE_ADDRESS__ /* which keeps a shadow of all memory */
    assert_true(large <= IMPORT_BYTES_MAX(NUMBERS + 2, TEXTS * (TEXT_BYTES + 64)));
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_peak_does_not_grow_with_the_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
