/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * mlq-task: the control socket of a task, for scripts in any language. Its exit status carries the
 * worker's wish, so that a shell loop can ask with one command.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/str.h"
#include "lib/sys/mem.h"
#include "lib/task/task.h"

enum { EXIT_GO = 0, EXIT_ERROR = 1, EXIT_USAGE = 2, EXIT_STOP = 3 };

static const char usage[] =
    "usage: mlq-task metric NAME=VALUE... [step=N]\n"
    "       mlq-task progress FRACTION [TEXT]\n"
    "       mlq-task checkpoint PATH\n"
    "       mlq-task status\n"
    "       mlq-task record\n"
    "\n"
    "Reports to the worker that runs this task (MLQ_CONTROL). Outside a task it does nothing and\n"
    "succeeds, so that a script also runs by hand.\n"
    "\n"
    "examples:\n"
    "  mlq-task metric loss=0.31 accuracy=0.9 step=5\n"
    "  mlq-task progress 0.4 \"epoch 8 of 20\"\n"
    "  mlq-task checkpoint \"$MLQ_CHECKPOINT/epoch-8\"   # it is complete and fsynced\n"
    "  mlq-task status; [ $? -ne 3 ] || { save; exit 75; }\n"
    "  mlq-task record | jq .job.state\n"
    "\n"
    "exit status: 0 go on, 1 the report was refused, 2 wrong use, 3 the worker asks to stop: "
    "save,\n"
    "then exit 75 (or 0 when done).\n";

static int use_error(const char *what, const char *detail)
{
    (void)fprintf(stderr, "mlq-task: %s%s\nTry 'mlq-task --help'.\n", what, detail);
    return EXIT_USAGE;
}

static int finish(int rc, bool stop, const struct mlq_err *err)
{
    if (rc != MLQ_OK) {
        (void)fprintf(stderr, "mlq-task: %s\n", err->text);
        return EXIT_ERROR;
    }
    return stop ? EXIT_STOP : EXIT_GO;
}

static bool parse_number(const char *text, double *value)
{
    char *end = NULL;
    *value = strtod(text, &end);
    return end != text && *end == '\0';
}

/* step=N may stand anywhere; it holds for all metrics of the line. */
static bool find_step(int count, char **words, int64_t *step)
{
    *step = TASK_NO_STEP;
    for (int i = 0; i < count; i++) {
        if (strncmp(words[i], "step=", 5) == 0 && !mlq_str_i64(mlq_str_from(words[i] + 5), step)) {
            return false;
        }
    }
    return true;
}

static int run_metric(struct task *task, int count, char **words)
{
    struct mlq_err err = MLQ_ERR_INIT;
    int64_t step;
    bool stop = false;
    int reported = 0;
    if (!find_step(count, words, &step)) {
        return use_error("step: expected a whole number", "");
    }
    for (int i = 0; i < count; i++) {
        char *equals = strrchr(words[i], '=');
        double value;
        if (strncmp(words[i], "step=", 5) == 0) {
            continue;
        }
        if (equals == NULL || !parse_number(equals + 1, &value)) {
            return use_error("expected NAME=NUMBER, got ", words[i]);
        }
        *equals = '\0';
        bool wish = false;
        int rc = task_metric(task, words[i], value, step, &wish, &err);
        stop = stop || wish;
        if (rc != MLQ_OK) {
            return finish(rc, stop, &err);
        }
        reported++;
    }
    return reported == 0 ? use_error("metric: expected NAME=VALUE", "")
                         : finish(MLQ_OK, stop, &err);
}

static int run_record(struct task *task)
{
    struct mlq_err err = MLQ_ERR_INIT;
    char *json = NULL;
    size_t len = 0;
    int rc = task_record(task, &json, &len, &err);
    if (rc == MLQ_OK &&
        (fwrite(json, 1, len, stdout) != len || putchar('\n') == EOF || fflush(stdout) != 0)) {
        rc = mlq_fail(&err, MLQ_EIO, "record: cannot write to standard output");
    }
    mlq_free(json);
    return finish(rc, false, &err);
}

static int run(struct task *task, int count, char **words)
{
    struct mlq_err err = MLQ_ERR_INIT;
    const char *verb = words[0];
    bool stop = false;
    double fraction = 0;
    if (strcmp(verb, "metric") == 0) {
        return run_metric(task, count - 1, words + 1);
    }
    if (strcmp(verb, "record") == 0 && count == 1) {
        return run_record(task);
    }
    if (strcmp(verb, "progress") == 0 && (count == 2 || count == 3)) {
        if (!parse_number(words[1], &fraction)) {
            return use_error("progress: expected a number from 0 to 1, got ", words[1]);
        }
        int rc = task_progress(task, fraction, count == 3 ? words[2] : NULL, &stop, &err);
        return finish(rc, stop, &err);
    }
    if (strcmp(verb, "checkpoint") == 0 && count == 2) {
        int rc = task_checkpoint(task, words[1], &stop, &err);
        return finish(rc, stop, &err);
    }
    if (strcmp(verb, "status") == 0 && count == 1) {
        int rc = task_status(task, &stop, &err);
        if (rc == MLQ_OK) {
            (void)puts(stop ? "stop" : "go");
        }
        return finish(rc, stop, &err);
    }
    return use_error("unknown verb or wrong number of arguments: ", verb);
}

int main(int argc, char **argv)
{
    struct mlq_err err = MLQ_ERR_INIT;
    struct task *task = NULL;
    if (argc < 2) {
        (void)fputs(usage, stderr);
        return EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        (void)fputs(usage, stdout);
        return EXIT_GO;
    }
    int rc = task_open(&task, &err);
    if (rc != MLQ_OK) {
        return finish(rc, false, &err);
    }
    int status = run(task, argc - 1, argv + 1);
    task_close(&task);
    return status;
}
