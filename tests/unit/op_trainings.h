/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Trainings on the tables of op_tables.h: alone, or as a gang of processes on loopback; and what
 * they leave in a folder of checkpoints.
 */
#ifndef MLQ_TESTS_UNIT_OP_TRAININGS_H
#define MLQ_TESTS_UNIT_OP_TRAININGS_H

#include "tests/unit/op_run.h"

#include <dirent.h>
#include <poll.h>
#include <string.h>

#include "lib/sys/clock.h"
#include "tests/support/patience.h"
#include "tests/unit/free_port.h"
#include "tests/unit/op_tables.h"

#define OP_TRAININGS_ROWS       403u /* no multiple of a batch */
#define OP_TRAININGS_OTHER_ROWS 300u /* more than one chunk of validation */
#define OP_GANG_RANKS_MAX       4u
#define OP_TRAININGS_TRIES      20

/* Writes train, validation and test.safetensors, and removes what an earlier run left. */
static inline void op_trainings_prepare(const char *const *folders, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(mlq_fs_remove_tree(folders[i], NULL), 0);
    }
    op_tables_write("train.safetensors",
                    (struct op_tables_plan){.key = 1000, .rows = OP_TRAININGS_ROWS});
    op_tables_write("validation.safetensors",
                    (struct op_tables_plan){.key = 2000, .rows = OP_TRAININGS_OTHER_ROWS});
    op_tables_write("test.safetensors",
                    (struct op_tables_plan){.key = 3000, .rows = OP_TRAININGS_OTHER_ROWS});
}

static inline struct op_run op_training(const char *op, const char *with, const char *output)
{
    return (struct op_run){.op = op,
                           .with = with,
                           .output = output,
                           .train = "train.safetensors",
                           .validation = "validation.safetensors"};
}

/* ---- Gangs of train.native ---- */

struct op_gang {
    uint32_t ranks;
    pid_t pids[OP_GANG_RANKS_MAX];
};

/* Rank 0 writes to `output`, the others to folders of their own that must stay empty. */
static inline struct op_gang op_gang_start(const char *with, const char *output,
                                           const char *checkpoint, uint32_t ranks)
{
    struct op_gang gang = {.ranks = ranks};
    uint16_t port = free_port();
    for (uint32_t rank = 0; rank < ranks; rank++) {
        char *folder = rank == 0 ? mlq_strdup(output) : mlq_format("%s.rank%u", output, rank);
        struct op_run run = op_training("train.native", with, folder);
        run.checkpoint = checkpoint;
        run.rank = rank;
        run.ranks = ranks;
        run.port = port;
        gang.pids[rank] = op_run_start(&run);
        mlq_free(folder);
    }
    return gang;
}

static inline void op_gang_expect(const struct op_gang *gang, int status)
{
    for (uint32_t rank = 0; rank < gang->ranks; rank++) {
        assert_int_equal(op_run_wait(gang->pids[rank]), status);
    }
}

/* Rank 1 gets a signal: the others leave, to be run again. False: they were at their end before it came. */
static inline bool op_gang_signal_one(const struct op_gang *gang, int with_signal)
{
    int statuses[OP_GANG_RANKS_MAX];
    assert_int_equal(kill(gang->pids[1], with_signal), 0);
    for (uint32_t rank = 0; rank < gang->ranks; rank++) {
        statuses[rank] = op_run_wait(gang->pids[rank]);
    }
    for (uint32_t rank = 0; rank < gang->ranks && statuses[0] != 0; rank++) {
        assert_int_equal(statuses[rank], rank == 1 && with_signal == SIGKILL ? 128 + SIGKILL : 75);
    }
    return statuses[0] != 0;
}

/* ---- Checkpoints of train.native ---- */

static inline size_t op_trainings_checkpoints(const char *folder, char newest[300])
{
    size_t count = 0;
    newest[0] = '\0';
    DIR *dir = opendir(folder);
    if (dir == NULL) {
        return 0;
    }
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        if (strncmp(entry->d_name, "train-", 6) == 0 && strstr(entry->d_name, ".tmp") == NULL) {
            count++;
            if (strcmp(entry->d_name, newest) > 0) {
                (void)snprintf(newest, 300, "%s", entry->d_name);
            }
        }
    }
    (void)closedir(dir);
    return count;
}

/* A training lasts some tenths of a second: on a busy machine it may be at its end before whoever saw its checkpoint
 * has sent it a signal. Then it is tried again, without that checkpoint. */
static inline void op_trainings_begin_again(const char *folder, int *tries)
{
    print_message("%s: the training was done before its signal came; again\n", folder);
    assert_true(++*tries < OP_TRAININGS_TRIES);
    assert_int_equal(mlq_fs_remove_tree(folder, NULL), 0);
}

/* Waits until another checkpoint than `before` is there, or the process has ended. */
static inline void op_trainings_await(const char *folder, const char *before, pid_t pid)
{
    char newest[300];
    siginfo_t info = {.si_pid = 0};
    int64_t deadline_ns = mlq_clock_boot_ns() + patience(60 * MLQ_NS_PER_S);
    do {
        assert_true(mlq_clock_boot_ns() < deadline_ns);
        (void)poll(NULL, 0, 2);
        (void)op_trainings_checkpoints(folder, newest);
        assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT), 0);
    } while (info.si_pid == 0 && (newest[0] == '\0' || strcmp(newest, before) == 0));
}

/* A gang whose rank 1 gets a signal after its first checkpoint. */
static inline void op_gang_interrupt(const char *with, const char *output, const char *checkpoint, uint32_t ranks,
                                     int with_signal)
{
    int tries = 0;
    for (bool was_met = false; !was_met;) {
        struct op_gang gang = op_gang_start(with, output, checkpoint, ranks);
        op_trainings_await(checkpoint, "", gang.pids[0]);
        was_met = op_gang_signal_one(&gang, with_signal);
        if (!was_met) {
            op_trainings_begin_again(checkpoint, &tries);
        }
    }
}

/* One that is asked to stop after its first checkpoint. */
static inline void op_trainings_stop(const struct op_run *run)
{
    char *model = mlq_format("%s/model.safetensors", run->output);
    int tries = 0, status = 0;
    while (status == 0) {
        pid_t pid = op_run_start(run);
        op_trainings_await(run->checkpoint, "", pid);
        (void)kill(pid, SIGTERM);
        status = op_run_wait(pid);
        if (status == 0) {
            op_trainings_begin_again(run->checkpoint, &tries);
            assert_int_equal(unlink(model), 0);
        }
    }
    assert_int_equal(status, 75);
    mlq_free(model);
}

#endif
