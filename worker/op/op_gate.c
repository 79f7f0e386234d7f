/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * gate: passes or fails on metrics. verdict.json is written whatever the verdict; a requirement or an
 * input that cannot be read is an error, and has none.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/spec/gate_condition.h"
#include "lib/sys/fs.h"
#include "lib/sys/mem.h"
#include "lib/task/task.h"
#include "worker/op/gate_judge.h"
#include "worker/op/jget.h"
#include "worker/op/op.h"
#include "worker/op/op_facts.h"
#include "worker/op/op_table.h"

struct gate {
    struct gate_condition conditions[GATE_CONDITIONS_MAX];
    size_t count;
    struct gate_evidence evidence;
    json_t *files[GATE_FILES_MAX]; /* owned; evidence borrows them */
    json_t *record;                /* owned */
    struct mlq_err record_err;
    bool pass_unknown; /* on_inconclusive: pass */
};

static int read_with(struct op_context *ctx, struct gate *gate, struct mlq_err *err)
{
    const json_t *require = op_with(ctx, "require");
    const char *unknown = NULL;
    int rc = op_get_text(ctx, "on_inconclusive", "fail", &unknown, err);
    if (rc != 0) {
        return rc;
    }
    gate->pass_unknown = strcmp(unknown, "pass") == 0;
    if (!gate->pass_unknown && strcmp(unknown, "fail") != 0) {
        return mlq_fail(err, MLQ_EINVAL, "on_inconclusive is '%s': expected fail or pass", unknown);
    }
    if (!json_is_array(require) || json_array_size(require) == 0) {
        return mlq_fail(err, MLQ_EINVAL,
                        "require: expected a list of conditions like \"accuracy >= 0.95\"");
    }
    size_t i;
    json_t *item;
    json_array_foreach((json_t *)(uintptr_t)require, i, item)
    {
        if (!json_is_string(item)) {
            return mlq_fail(err, MLQ_EINVAL,
                            "require[%zu]: expected a text like \"accuracy >= 0.95\"", i);
        }
        struct mlq_str text = {.ptr = json_string_value(item), .len = json_string_length(item)};
        rc = gate_condition_parse(text, gate->conditions, &gate->count, err);
        if (rc != 0) {
            return mlq_wrap(err, rc, "require[%zu]", i);
        }
    }
    return 0;
}

static int read_file(struct gate *gate, const char *path, struct mlq_err *err)
{
    if (gate->evidence.file_count == GATE_FILES_MAX) {
        return mlq_fail(err, MLQ_EFULL, "more than %u metrics files", GATE_FILES_MAX);
    }
    json_t *document = NULL;
    int rc = jget_file(path, &document, err);
    if (rc == 0) {
        gate->files[gate->evidence.file_count] = document;
        gate->evidence.files[gate->evidence.file_count++] = document;
    }
    return rc;
}

/* Every .json file of a folder; the order does not matter, since a contradiction is inconclusive.
 */
static int read_folder(struct gate *gate, const char *folder, struct mlq_err *err)
{
    int rc = 0;
    DIR *dir = opendir(folder);
    if (dir == NULL) {
        return mlq_fail(err, MLQ_EIO, "open %s: %s", folder, strerror(errno));
    }
    for (const struct dirent *entry = readdir(dir); entry != NULL && rc == 0;
         entry = readdir(dir)) {
        if (mlq_str_ends(mlq_str_from(entry->d_name), ".json")) {
            char *path = mlq_fs_join(folder, entry->d_name);
            rc = read_file(gate, path, err);
            mlq_free(path);
        }
    }
    (void)closedir(dir);
    return rc;
}

static int read_metrics(struct op_context *ctx, struct gate *gate, struct mlq_err *err)
{
    const char *path = op_input(ctx, "metrics");
    struct stat st;
    if (path == NULL) {
        return 0;
    }
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
        return read_folder(gate, path, err);
    }
    return read_file(gate, path, err);
}

/* A record that cannot be had is not an error: what it would have told is inconclusive. */
static void read_record(struct op_context *ctx, struct gate *gate)
{
    gate->record = op_facts_record(ctx, &gate->record_err);
    gate->evidence.record = gate->record;
    gate->evidence.record_lack = gate->record != NULL ? NULL : gate->record_err.text;
    gate->evidence.own_stage = task_env("STAGE");
}

/* One line per condition: the gate's log is its explanation. */
static void print_conditions(const json_t *document)
{
    size_t i;
    json_t *entry;
    json_array_foreach(jget_array(document, "conditions"), i, entry)
    {
        double value = 0.0;
        const char *verdict = jget_text(entry, "verdict");
        const char *text = jget_text(entry, "text");
        if (jget_number(entry, "value", &value)) {
            (void)printf("%-12s  %s  (%s is %.6g, from %s)\n", verdict, text,
                         jget_text(entry, "metric"), value, jget_text(entry, "source"));
        } else {
            (void)printf("%-12s  %s  (%s)\n", verdict, text, jget_text(entry, "reason"));
        }
    }
    (void)fflush(stdout);
}

/* The first condition that stands in the way. */
static const char *first_not_passed(const json_t *document)
{
    size_t i;
    json_t *entry;
    json_array_foreach(jget_array(document, "conditions"), i, entry)
    {
        if (strcmp(jget_text(entry, "verdict"), jget_text(document, "verdict")) == 0) {
            return jget_text(entry, "text");
        }
    }
    return "?";
}

static int judge(struct op_context *ctx, struct gate *gate, struct mlq_err *err)
{
    json_t *document = NULL;
    enum gate_verdict verdict =
        gate_judge_all(gate->conditions, gate->count, &gate->evidence, &document);
    bool passes = verdict == GATE_PASS || (verdict == GATE_INCONCLUSIVE && gate->pass_unknown);
    (void)json_object_set_new(document, "on_inconclusive",
                              json_string(gate->pass_unknown ? "pass" : "fail"));
    print_conditions(document);
    int rc = op_write_json(ctx, "verdict.json", document, err);
    op_metric(ctx, "gate_pass", passes ? 1.0 : 0.0, OP_NO_STEP);
    if (rc == 0 && !passes) {
        rc = mlq_fail(err, MLQ_EPERM, "the gate does not pass (%s): %s", gate_judge_text(verdict),
                      first_not_passed(document));
    }
    json_decref(document);
    return rc;
}

int op_gate_run(struct op_context *ctx, struct mlq_err *err)
{
    struct gate *gate = mlq_alloc(sizeof(*gate));
    int rc = read_with(ctx, gate, err);
    rc = rc != 0 ? rc : read_metrics(ctx, gate, err);
    if (rc == 0) {
        read_record(ctx, gate);
        rc = judge(ctx, gate, err);
    }
    for (size_t i = 0; i < gate->evidence.file_count; i++) {
        json_decref(gate->files[i]);
    }
    json_decref(gate->record);
    mlq_free(gate);
    return rc;
}
