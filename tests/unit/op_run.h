/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Runs mlq-op as a worker would: a process of its own, told by its environment.
 */
#ifndef MLQ_TESTS_UNIT_OP_RUN_H
#define MLQ_TESTS_UNIT_OP_RUN_H

#include "tests/unit/cm.h"

#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/sys/fs.h"
#include "lib/sys/mem.h"

#define OP_RUN_FILE_BYTES_MAX (16u << 20)

struct op_run {
    const char *program; /* NULL: mlq-op */
    const char *op;
    const char *with; /* JSON text */
    const char *train;
    const char *validation;
    const char *model;
    const char *data;
    const char *path;
    const char *suite;
    const char *output;
    const char *checkpoint;
    uint32_t rank;
    uint32_t ranks; /* 0: no gang */
    uint16_t port;
};

static inline void op_run_set(const char *name, const char *value)
{
    if (value == NULL) {
        (void)unsetenv(name);
    } else {
        (void)setenv(name, value, 1);
    }
}

static inline void op_run_set_number(const char *name, uint32_t value)
{
    char *text = mlq_format("%u", value);
    op_run_set(name, text);
    mlq_free(text);
}

/* Its stderr goes to <output>/../<output>.log. */
static inline pid_t op_run_start(const struct op_run *run)
{
    char *program = run->program != NULL ? mlq_strdup(run->program)
                                         : mlq_format("%s/mlq-op", getenv("MLQ_BIN_DIR"));
    char *with_path = mlq_format("%s.with.json", run->output);
    char *log_path = mlq_format("%s.log", run->output);
    const char *with = run->with == NULL ? "{}" : run->with;
    assert_int_equal(mlq_fs_make_dirs(run->output, 0755, NULL), 0);
    assert_int_equal(mlq_fs_write_durable(with_path, mlq_str_from(with), 0644, NULL), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        op_run_set("MLQ_WITH", with_path);
        op_run_set("MLQ_OUTPUT", run->output);
        op_run_set("MLQ_CHECKPOINT", run->checkpoint);
        op_run_set("MLQ_INPUT_TRAIN", run->train);
        op_run_set("MLQ_INPUT_VALIDATION", run->validation);
        op_run_set("MLQ_INPUT_MODEL", run->model);
        op_run_set("MLQ_INPUT_DATA", run->data);
        op_run_set("MLQ_INPUT_PATH", run->path);
        op_run_set("MLQ_INPUT_SUITE", run->suite);
        op_run_set("MLQ_CONTROL", NULL);
        if (run->ranks > 0) {
            op_run_set_number("RANK", run->rank);
            op_run_set_number("WORLD_SIZE", run->ranks);
            op_run_set_number("MASTER_PORT", run->port);
            op_run_set("MASTER_ADDR", "127.0.0.1");
        }
        int log = open(log_path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
        (void)dup2(log, STDERR_FILENO);
        (void)execl(program, program, run->op, (char *)NULL);
        _exit(127);
    }
    mlq_free(program);
    mlq_free(with_path);
    mlq_free(log_path);
    return pid;
}

/* The exit status, or 128 + the signal. */
static inline int op_run_wait(pid_t pid)
{
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static inline char *op_run_read(const char *path, size_t *len)
{
    char *data = NULL;
    struct mlq_err err = MLQ_ERR_INIT;
    if (mlq_fs_read(path, OP_RUN_FILE_BYTES_MAX, &data, len, &err) != 0) {
        fail_msg("%s", err.text);
    }
    return data;
}

static inline void op_run_expect(const struct op_run *run, int status, const char *text)
{
    int got = op_run_wait(op_run_start(run));
    char *log_path = mlq_format("%s.log", run->output);
    size_t len = 0;
    char *log = op_run_read(log_path, &len);
    if (got != status || (text != NULL && strstr(log, text) == NULL)) {
        fail_msg("exit %d (expected %d), and this on stderr (expected '%s'):\n%s", got, status,
                 text == NULL ? "" : text, log);
    }
    mlq_free(log_path);
    mlq_free(log);
}

/* A number at the top level of a JSON file, or NaN. */
static inline double op_run_metric(const char *path, const char *name)
{
    json_t *json = json_load_file(path, 0, NULL);
    const json_t *value = json_object_get(json, name);
    double number = json_is_number(value) ? json_number_value(value) : (double)NAN;
    json_decref(json);
    return number;
}

static inline void op_run_flip_a_bit(const char *path, off_t from_end)
{
    int fd = open(path, O_RDWR);
    off_t at = lseek(fd, -from_end, SEEK_END);
    uint8_t byte;
    assert_true(fd >= 0 && at > 0);
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte ^= 4;
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    (void)close(fd);
}

static inline bool op_run_same_file(const char *a, const char *b)
{
    size_t a_len = 0, b_len = 0;
    char *x = op_run_read(a, &a_len), *y = op_run_read(b, &b_len);
    bool same = a_len == b_len && memcmp(x, y, a_len) == 0;
    mlq_free(x);
    mlq_free(y);
    return same;
}

#endif
