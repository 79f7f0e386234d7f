/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Rows that stay on disk: the model is that of rows in memory, bit for bit, however small the
 * memory is and whoever computes which rows; a checkpoint of one goes on with the other; what goes
 * wrong on the disk is said; and private memory does not grow with the table.
 */
#include "tests/unit/op_trainings.h"

#include "lib/base/ownership.h"

static int write_tables(void **state)
{
    (void)state;
    static const char *const folders[] = {"ckpt"};
    op_trainings_prepare(folders, MLQ_COUNT_OF(folders));
    op_tables_write(
        "numbers.safetensors",
        (struct op_tables_plan){.key = 1000, .rows = OP_TRAININGS_ROWS, .numeric_target = true});
    return 0;
}

/* `with` has no braces; `rows` is memory or disk. The caller frees the parameters. */
static struct op_run training(const char *with, const char *rows, const char *output)
{
    return op_training("train.native", mlq_format("{%s, \"rows\": \"%s\"}", with, rows), output);
}

static void train(const char *with, const char *rows, const char *output)
{
    struct op_run run = training(with, rows, output);
    op_run_expect(&run, 0, NULL);
    mlq_free((void *)(uintptr_t)run.with);
}

/* Windows and buffers are a share of it. */
static void set_memory(const char *bytes)
{
    op_run_set("MLQ_MEMORY", bytes);
}

static const char *const trainings[] = {
    "\"model\": {\"mlp\": {\"hidden\": [16, 8]}}, \"batch\": 64, \"seed\": 3, \"epochs\": 5, "
    "\"early_stop\": {\"patience\": 50}",
    /* An epoch that is one step, a batch of one row, and fewer rows than shards in a step. */
    "\"model\": \"softmax\", \"batch\": 500, \"epochs\": 3",
    "\"model\": \"softmax\", \"batch\": 1, \"shards\": 1, \"epochs\": 2",
    "\"model\": \"softmax\", \"batch\": 3, \"shards\": 8, \"epochs\": 2",
    "\"model\": {\"mlp\": {\"hidden\": [9], \"embedding\": 2}}, \"epochs\": 4, \"seed\": 6",
    "\"model\": {\"mlp\": {\"hidden\": [9]}}, \"balance\": true, \"epochs\": 3, \"accumulate\": 2",
    "\"model\": {\"cnn\": {\"image\": [7, 1, 1], \"channels\": [6], \"head\": \"mean\", \"crop\": "
    "1, "
    "\"flip\": true}}, "
    "\"batch\": 50, \"epochs\": 3, \"mixup\": 0.4",
    "\"model\": {\"mlp\": {\"hidden\": [9]}}, \"level\": \"fast\", \"batch\": 50, \"epochs\": 3, "
    "\"mixup\": 0.3",
};

/* ---- The same bits ---- */

static void the_model_is_that_of_rows_in_memory(void **state)
{
    (void)state;
    static const char *const memories[] = {"100", "20000", "1000000000"};
    for (size_t i = 0; i < MLQ_COUNT_OF(trainings); i++) {
        train(trainings[i], "memory", "out-memory");
        for (size_t k = 0; k < MLQ_COUNT_OF(memories); k++) {
            set_memory(memories[k]);
            train(trainings[i], "disk", "out-disk");
            set_memory(NULL);
            assert_true(
                op_run_same_file("out-memory/model.safetensors", "out-disk/model.safetensors"));
        }
    }
}

static void a_number_is_predicted_by_the_same_model(void **state)
{
    (void)state;
    static const char *const rows[] = {"memory", "disk"};
    for (size_t i = 0; i < 2; i++) {
        struct op_run run = training("\"model\": {\"mlp\": {\"hidden\": [9]}}, \"epochs\": 3",
                                     rows[i], i == 0 ? "out-memory" : "out-disk");
        run.train = "numbers.safetensors";
        run.validation = NULL;
        set_memory(i == 0 ? NULL : "20000");
        op_run_expect(&run, 0, NULL);
        mlq_free((void *)(uintptr_t)run.with);
    }
    set_memory(NULL);
    assert_true(op_run_same_file("out-memory/model.safetensors", "out-disk/model.safetensors"));
}

/* Ranks of one gang may keep their rows in different places. */
static void ranks_get_their_own_rows(void **state)
{
    (void)state;
    set_memory("20000");
    for (size_t i = 0; i + 1 < MLQ_COUNT_OF(trainings); i++) { /* fast is another model per size */
        train(trainings[i], "memory", "out-memory");
        for (uint32_t ranks = 2; ranks <= OP_GANG_RANKS_MAX; ranks++) {
            pid_t pids[OP_GANG_RANKS_MAX];
            uint16_t port = free_port();
            for (uint32_t rank = 0; rank < ranks; rank++) {
                struct op_run run = training(trainings[i], rank == 1 ? "memory" : "disk",
                                             rank == 0 ? "out-gang" : "out-others");
                run.rank = rank;
                run.ranks = ranks;
                run.port = port;
                pids[rank] = op_run_start(&run);
                mlq_free((void *)(uintptr_t)run.with);
            }
            bool is_possible = strstr(trainings[i], "\"shards\": 1,") == NULL;
            for (uint32_t rank = 0; rank < ranks; rank++) {
                assert_int_equal(op_run_wait(pids[rank]), is_possible ? 0 : 1);
            }
            assert_true(!is_possible || op_run_same_file("out-memory/model.safetensors",
                                                         "out-gang/model.safetensors"));
        }
    }
    set_memory(NULL);
}

/* ---- Stops ---- */

#define LONG                                                                                       \
    "\"model\": {\"mlp\": {\"hidden\": [16, 8]}}, \"batch\": 8, \"seed\": 3, \"epochs\": 400, "    \
    "\"mixup\": 0.2"

static int stop_after_checkpoint(const struct op_run *run, const char *before)
{
    pid_t pid = op_run_start(run);
    op_trainings_await(run->checkpoint, before, pid);
    (void)kill(pid, SIGTERM);
    return op_run_wait(pid);
}

/* In the middle of an epoch, from memory to disk and back. */
static void a_stopped_training_goes_on_elsewhere(void **state)
{
    (void)state;
    train(LONG, "memory", "out-whole");
    int status = 75, tries = 0;
    for (int i = 0; i < 3; i++) {
        struct op_run run = training(LONG, i % 2 == 0 ? "disk" : "memory", "out-parts");
        char newest[300];
        run.checkpoint = "ckpt";
        set_memory("30000");
        (void)op_trainings_checkpoints("ckpt", newest);
        status = i < 2 ? stop_after_checkpoint(&run, newest) : op_run_wait(op_run_start(&run));
        mlq_free((void *)(uintptr_t)run.with);
        if (i < 2 && status == 0) {
            op_trainings_begin_again("ckpt", &tries);
            i = -1;
            continue;
        }
        assert_int_equal(status, i < 2 ? 75 : 0);
    }
    set_memory(NULL);
    assert_true(op_run_same_file("out-whole/model.safetensors", "out-parts/model.safetensors"));
}

/* ---- Where rows are kept ---- */

static void rows_stay_on_disk_when_memory_is_short(void **state)
{
    (void)state;
    struct op_run run = training("\"model\": \"softmax\", \"epochs\": 2", "auto", "out-auto");
    /* 703 rows of 7 inputs, a place and a target are 25,308 bytes: half of the memory must do. */
    set_memory("50000");
    op_run_expect(&run, 0, "train.stream");
    set_memory("52000");
    op_run_expect(&run, 0, NULL);
    char *log = op_run_read("out-auto.log", &(size_t){0});
    assert_null(strstr(log, "train.stream"));
    mlq_free(log);
    set_memory(NULL);
    mlq_free((void *)(uintptr_t)run.with);
}

static void the_time_of_waiting_is_told(void **state)
{
    (void)state;
    train(trainings[0], "disk", "out-disk");
    train(trainings[0], "memory", "out-memory");
    json_t *disk = json_load_file("out-disk/history.json", 0, NULL);
    json_t *memory = json_load_file("out-memory/history.json", 0, NULL);
    assert_true(json_number_value(json_object_get(json_object_get(disk, "phases"), "wait")) > 0);
    assert_true(json_number_value(json_object_get(json_object_get(memory, "phases"), "wait")) == 0);
    assert_true(json_number_value(json_object_get(disk, "samples_per_second")) > 0);
    json_decref(disk);
    json_decref(memory);
}

static void a_disk_without_room_is_said_before_the_work(void **state)
{
    (void)state;
    struct op_run run = training(trainings[0], "disk", "out-full");
    op_run_set("TMPDIR", "no-such-folder");
    op_run_expect(&run, 1, "each row in no-such-folder: create");
    op_run_set("TMPDIR", NULL);
    mlq_free((void *)(uintptr_t)run.with);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_model_is_that_of_rows_in_memory),
        cmocka_unit_test(a_number_is_predicted_by_the_same_model),
        cmocka_unit_test(ranks_get_their_own_rows),
        cmocka_unit_test(a_stopped_training_goes_on_elsewhere),
        cmocka_unit_test(rows_stay_on_disk_when_memory_is_short),
        cmocka_unit_test(the_time_of_waiting_is_told),
        cmocka_unit_test(a_disk_without_room_is_said_before_the_work),
    };
    return cmocka_run_group_tests(tests, write_tables, NULL);
}
