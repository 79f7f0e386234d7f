/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * A table larger than the memory that a training may use: its private memory (RssAnon, which the
 * kernel cannot drop) is bounded, and does not grow with the rows; the same bound holds the
 * evaluation of the model.
 */
#include "tests/unit/op_run.h"

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>

#include "lib/base/prng.h"
#include "worker/op/table.h"

#define MIB              (UINT64_C(1) << 20)
#define NUMBERS          100u
#define CHUNK_ROWS       1024u
#define MEMORY_BYTES     (32 * MIB)
#define GROWTH_BYTES_MAX (4 * MIB)
#define TRIES_MAX        5

static double value_at(uint64_t row, uint64_t column)
{
    return (double)(mlq_hash_keyed(row, column, 0) >> 40) / 1e6;
}

/* The class of a row is whether its first number is above the middle. */
static void write_table(const char *path, uint64_t rows)
{
    static double values[CHUNK_ROWS];
    static char names[NUMBERS + 1][8];
    struct table_column columns[NUMBERS + 1] = {{.name = NULL}};
    for (unsigned i = 0; i <= NUMBERS; i++) {
        (void)snprintf(names[i], sizeof(names[i]), i == NUMBERS ? "class" : "n%u", i);
        columns[i] = (struct table_column){.name = names[i],
                                           .kind = TABLE_NUMBER,
                                           .integer = i == NUMBERS,
                                           .role = i == NUMBERS ? TABLE_TARGET : TABLE_FEATURE};
    }
    struct table_schema schema = {.rows = rows, .columns = columns, .column_count = NUMBERS + 1};
    struct table_writer *writer = NULL;
    assert_int_equal(table_writer_create(path, &schema, &writer, NULL), 0);
    for (uint64_t row = 0; row < rows; row += CHUNK_ROWS) {
        uint64_t count = rows - row < CHUNK_ROWS ? rows - row : CHUNK_ROWS;
        for (unsigned i = 0; i <= NUMBERS; i++) {
            for (uint64_t k = 0; k < count; k++) {
                values[k] = i < NUMBERS ? value_at(row + k, i) : value_at(row + k, 0) > 8.39;
            }
            assert_int_equal(table_write_numbers(writer, i, values, count, NULL), 0);
        }
    }
    assert_int_equal(table_writer_finish(&writer, NULL), 0);
}

/* Of a running process; 0 once it has ended. */
static uint64_t private_bytes(pid_t pid)
{
    char path[64], line[128];
    unsigned long long kib = 0;
    (void)snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    FILE *file = fopen(path, "r");
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        if (sscanf(line, "RssAnon: %llu kB", &kib) == 1) {
            break;
        }
    }
    if (file != NULL) {
        (void)fclose(file);
    }
    return kib * 1024;
}

/* The most that was seen of an operator, which must end well. */
static uint64_t run_peak(const struct op_run *run)
{
    uint64_t peak = 0, now = 0;
    siginfo_t info = {.si_pid = 0};
    pid_t pid = op_run_start(run);
    while (info.si_pid == 0) {
        (void)poll(NULL, 0, 1);
        now = private_bytes(pid);
        peak = now > peak ? now : peak;
        assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT), 0);
    }
    assert_int_equal(op_run_wait(pid), 0);
    print_message("%s: %.1f MiB of private memory at the peak\n", run->op,
                  (double)peak / (double)MIB);
    return peak;
}

struct peaks {
    uint64_t train;
    uint64_t eval;
};

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static struct peaks train_and_judge(uint64_t table_bytes)
{
    struct peaks peaks;
    struct op_run train = {.op = "train.native",
                           .with = "{\"model\": \"softmax\", \"batch\": 256, \"epochs\": 2}",
                           .train = "large.safetensors",
                           .output = "large"};
    struct op_run eval = {.op = "eval.metrics",
                          .model = "large/model.safetensors",
                          .data = "large.safetensors",
                          .output = "large-eval"};
    write_table("large.safetensors", table_bytes / (NUMBERS + 1) / sizeof(double));
    peaks.train = run_peak(&train);
    peaks.eval = run_peak(&eval);
    char *log = op_run_read("large.log", &(size_t){0});
    assert_non_null(strstr(log, "train.stream"));
    mlq_free(log);
    assert_true(op_run_metric("large-eval/metrics.json", "accuracy") > 0.8);
    assert_int_equal(unlink("large.safetensors"), 0);
    return peaks;
}

static void private_memory_does_not_grow_with_the_table(void **state)
{
    (void)state;
    /* AddressSanitizer keeps what was freed, up to this, to find who still uses it. */
    assert_int_equal(
        setenv("ASAN_OPTIONS", "quarantine_size_mb=1:thread_local_quarantine_size_kb=64", 1), 0);
    assert_int_equal(setenv("MLQ_MEMORY", "33554432", 1), 0);
    assert_int_equal(setenv("OPENBLAS_NUM_THREADS", "1", 1), 0);
    op_run_set("OMP_NUM_THREADS", "4"); /* each thread has memory of its own: as many on every machine */
    struct peaks large = train_and_judge(MEMORY_BYTES * 4);
    struct peaks small = {.train = 0};
    /* A prediction has 40 bytes, whatever the row has. */
    const uint64_t eval_growth = GROWTH_BYTES_MAX + MEMORY_BYTES * 4 * 48 / 808;
    bool is_bounded = false;
    /* A look now and then misses a short peak where the machine is busy: then the smaller one is looked at again. */
    for (int tries = 0; tries < TRIES_MAX && !is_bounded; tries++) {
        struct peaks seen = train_and_judge(MEMORY_BYTES * 3 / 2);
        small = (struct peaks){larger(small.train, seen.train), larger(small.eval, seen.eval)};
        is_bounded = large.train <= small.train + GROWTH_BYTES_MAX && large.eval <= small.eval + eval_growth;
    }
    assert_true(is_bounded);
#ifndef __SANITIZE_ADDRESS__ /* which keeps a shadow of all memory */
    assert_true(large.train <= MEMORY_BYTES);
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(private_memory_does_not_grow_with_the_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
