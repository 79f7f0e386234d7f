/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/op/gate_judge.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/panic.h"
#include "worker/op/jget.h"

#define WORDS_BYTES 512

struct finding {
    bool found;
    bool ambiguous;
    double value;
    char words[WORDS_BYTES]; /* where it was found, or why it was not */
};

const char *gate_judge_text(enum gate_verdict verdict)
{
    switch (verdict) {
    case GATE_PASS:
        return "pass";
    case GATE_FAIL:
        return "fail";
    case GATE_INCONCLUSIVE:
        return "inconclusive";
    }
    MLQ_UNREACHABLE("gate verdict");
}

/* Takes a value that a place has; a second place with another value makes it ambiguous. */
static void take(struct finding *f, double value, const char *where, const char *name)
{
    bool same = f->found && (f->value == value || (isnan(f->value) && isnan(value)));
    if (f->found && !same && !f->ambiguous) {
        char first[WORDS_BYTES];
        memcpy(first, f->words, sizeof(first));
        (void)snprintf(
            f->words, sizeof(f->words),
            "%.160s and %.80s have different values: write STAGE.%.128s for the one that is meant",
            first, where, name);
        f->ambiguous = true;
    }
    if (!f->found) {
        f->found = true;
        f->value = value;
        (void)snprintf(f->words, sizeof(f->words), "%.200s", where);
    }
}

static const json_t *own_stage(const struct gate_evidence *e)
{
    json_t *stages = jget_array(jget_object(e->record, "job"), "stages");
    size_t i;
    json_t *stage;
    json_array_foreach(stages, i, stage)
    {
        const char *name = jget_text(stage, "name");
        if (name != NULL && e->own_stage != NULL && strcmp(name, e->own_stage) == 0) {
            return stage;
        }
    }
    return NULL;
}

static bool is_needed(const json_t *own, const char *name)
{
    size_t i;
    json_t *need;
    json_array_foreach(jget_array(own, "needs"), i, need)
    {
        const char *text = json_string_value(need);
        if (text != NULL && strcmp(text, name) == 0) {
            return true;
        }
    }
    return false;
}

static void find_in_files(const struct gate_evidence *e, const char *metric, struct finding *f)
{
    for (size_t i = 0; i < e->file_count; i++) {
        double value = 0.0;
        if (jget_number(e->files[i], metric, &value)) {
            take(f, value, "metrics.json", metric);
        } else if (json_is_null(json_object_get(e->files[i], metric))) {
            take(f, (double)NAN, "metrics.json", metric); /* how JSON writes a NaN */
        }
    }
}

static void find_in_stages(const struct gate_evidence *e, const char *metric, bool needed,
                           struct finding *f)
{
    const json_t *own = own_stage(e);
    json_t *stages = jget_array(jget_object(e->record, "job"), "stages");
    size_t i;
    json_t *stage;
    json_array_foreach(stages, i, stage)
    {
        const char *name = jget_text(stage, "name");
        double value = 0.0;
        if (name == NULL || stage == own || is_needed(own, name) != needed ||
            !jget_number(jget_object(stage, "metrics"), metric, &value)) {
            continue;
        }
        char where[160];
        (void)snprintf(where, sizeof(where), "stage %.120s", name);
        take(f, value, where, metric);
    }
}

/* STAGE.METRIC: both may hold dots, so each stage's name is tried as the beginning. */
static void find_qualified(const struct gate_evidence *e, const char *metric, struct finding *f)
{
    json_t *stages = jget_array(jget_object(e->record, "job"), "stages");
    size_t i;
    json_t *stage;
    json_array_foreach(stages, i, stage)
    {
        const char *name = jget_text(stage, "name");
        size_t len = name == NULL ? 0 : strlen(name);
        double value = 0.0;
        if (len > 0 && strncmp(metric, name, len) == 0 && metric[len] == '.' &&
            jget_number(jget_object(stage, "metrics"), metric + len + 1, &value)) {
            char where[160];
            (void)snprintf(where, sizeof(where), "stage %.120s", name);
            take(f, value, where, metric + len + 1);
        }
    }
}

static void find(const struct gate_evidence *e, const char *metric, struct finding *f)
{
    find_in_files(e, metric, f);
    if (!f->found) {
        find_in_stages(e, metric, true, f);
    }
    if (!f->found) {
        find_in_stages(e, metric, false, f);
    }
    if (!f->found) {
        find_qualified(e, metric, f);
    }
    if (!f->found) {
        (void)snprintf(f->words, sizeof(f->words), "no stage has reported it%s%.300s",
                       e->record_lack != NULL ? "; and there is no record: " : "",
                       e->record_lack != NULL ? e->record_lack : "");
    } else if (isnan(f->value) && !f->ambiguous) {
        char where[WORDS_BYTES];
        memcpy(where, f->words, sizeof(where));
        (void)snprintf(f->words, sizeof(f->words), "%.200s has it as not a number", where);
    }
}

static enum gate_verdict judge_one(const struct gate_condition *condition,
                                   const struct gate_evidence *evidence, json_t *conditions)
{
    struct finding f = {.found = false};
    find(evidence, condition->metric, &f);
    bool known = f.found && !f.ambiguous && !isnan(f.value);
    enum gate_verdict verdict = !known                                     ? GATE_INCONCLUSIVE
                                : gate_condition_holds(condition, f.value) ? GATE_PASS
                                                                           : GATE_FAIL;
    json_t *entry = json_object();
    json_t *value = json_null();
    if (known) {
        value = isfinite(f.value) ? json_real(f.value) : json_string(f.value > 0 ? "inf" : "-inf");
    }
    (void)json_object_set_new(entry, "text",
                              json_stringn(condition->text.ptr, condition->text.len));
    (void)json_object_set_new(entry, "metric", json_string(condition->metric));
    (void)json_object_set_new(entry, "value", value);
    (void)json_object_set_new(entry, "op",
                              json_string(gate_condition_operator_text(condition->op)));
    (void)json_object_set_new(entry, "limit", json_real(condition->limit));
    (void)json_object_set_new(entry, "verdict", json_string(gate_judge_text(verdict)));
    (void)json_object_set_new(entry, known ? "source" : "reason", json_string(f.words));
    (void)json_array_append_new(conditions, entry);
    return verdict;
}

enum gate_verdict gate_judge_all(const struct gate_condition *conditions, size_t count,
                                 const struct gate_evidence *evidence, json_t **document)
{
    enum gate_verdict verdict = GATE_PASS;
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++) {
        enum gate_verdict one = judge_one(&conditions[i], evidence, list);
        if (one == GATE_FAIL || (one == GATE_INCONCLUSIVE && verdict == GATE_PASS)) {
            verdict = one;
        }
    }
    *document = json_object();
    (void)json_object_set_new(*document, "verdict", json_string(gate_judge_text(verdict)));
    (void)json_object_set_new(*document, "conditions", list);
    return verdict;
}
