/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "client/cli/summary.h"

#include <string.h>

#include "client/cli/doc.h"
#include "client/cli/logread.h"
#include "client/cli/table.h"
#include "client/cli/text.h"
#include "lib/base/ownership.h"

#define HEADLINES_MAX 4
#define LOG_LINES     10
#define FAILURES_MAX  5 /* stages; a log is fetched for each */

/* In this order; a stage that has none of them shows its first ones. */
static const char *const headlines[] = {"accuracy", "f1_macro", "roc_auc",  "log_loss", "r2",
                                        "rmse",     "mae",      "val_loss", "loss"};

static size_t put_metric(FILE *file, const char *name, const json_t *value, size_t shown,
                         struct mlq_region *region)
{
    char number[DOC_NUMBER_BYTES];
    (void)doc_number_short(value, number);
    struct mlq_str safe = text_safe(region, mlq_str_from(name), false);
    fprintf(file, "%s%.*s %s", shown == 0 ? "  " : ", ", MLQ_STR_ARG(safe), number);
    return shown + 1;
}

static void print_metrics(FILE *file, const json_t *stage, struct mlq_region *region)
{
    json_t *metrics = json_object_get(stage, "metrics");
    const char *uses = doc_text(stage, "uses");
    size_t shown = 0;
    if (strcmp(uses, "eval.metrics") != 0 && strcmp(uses, "run") != 0) {
        return;
    }
    for (size_t i = 0; i < MLQ_COUNT_OF(headlines) && shown < HEADLINES_MAX; i++) {
        const json_t *value = json_object_get(metrics, headlines[i]);
        if (value != NULL) {
            if (shown == 0) {
                fprintf(file, "  %s:", doc_text(stage, "name"));
            }
            shown = put_metric(file, headlines[i], value, shown, region);
        }
    }
    const char *name;
    json_t *value;
    if (shown == 0) {
        json_object_foreach(metrics, name, value)
        {
            if (shown == 0) {
                fprintf(file, "  %s:", doc_text(stage, "name"));
            }
            if (shown < HEADLINES_MAX) {
                shown = put_metric(file, name, value, shown, region);
            }
        }
    }
    fputs(shown > 0 ? "\n" : "", file);
}

const char *summary_cause(struct mlq_region *region, const json_t *attempt)
{
    const char *cause = doc_text(attempt, "cause");
    const char *text = cause;
    if (strcmp(cause, "exit") == 0) {
        text = mlq_region_format(region, "exit %lld", (long long)doc_int(attempt, "exit"));
    } else if (strcmp(cause, "signal") == 0) {
        text = mlq_region_format(region, "signal %lld", (long long)doc_int(attempt, "signal"));
    }
    const char *detail = doc_text(attempt, "detail");
    if (text != cause && strncmp(detail, "exit status", strlen("exit status")) == 0) {
        return text; /* says the same */
    }
    if (strcmp(cause, "signal") == 0 && strncmp(detail, "died by", strlen("died by")) == 0) {
        return detail;
    }
    return detail[0] == '\0' ? text : mlq_region_format(region, "%s: %s", text, detail);
}

static void print_failure(struct session *session, const json_t *job, const json_t *stage,
                          FILE *file)
{
    struct mlq_region *region = session->region;
    const json_t *attempt = logread_pick_attempt(stage, -1, -1);
    struct mlq_str name = text_safe(region, mlq_str_from(doc_text(stage, "name")), false);
    if (attempt == NULL) {
        fprintf(file, "  %.*s failed before it ran\n", MLQ_STR_ARG(name));
        return;
    }
    uint32_t index = (uint32_t)doc_int(attempt, "index");
    uint32_t rank = (uint32_t)doc_int(attempt, "rank");
    uint64_t id = 0;
    (void)mlq_str_u64(mlq_str_from(doc_text(job, "id")), &id);
    struct mlq_str cause = text_safe(region, mlq_str_from(summary_cause(region, attempt)), true);
    const char *index_text =
        doc_int(stage, "array") > 1 ? mlq_region_format(region, "[%u]", index) : "";
    const char *rank_text =
        doc_int(stage, "ranks") > 1 ? mlq_region_format(region, " rank %u", rank) : "";
    fprintf(file, "  %.*s%s%s failed on %s (%.*s)\n", MLQ_STR_ARG(name), index_text, rank_text,
            doc_text(attempt, "worker"), MLQ_STR_ARG(cause));
    struct mlq_str tail =
        logread_tail(session, id, doc_text(stage, "name"), index, rank, LOG_LINES, region);
    struct mlq_str line;
    tail = text_safe(region, tail, true);
    while (tail.len > 0) {
        (void)mlq_str_cut(tail, '\n', &line, &tail);
        fprintf(file, "    | %.*s\n", MLQ_STR_ARG(line));
    }
}

static bool is_failed(const json_t *stage)
{
    return strcmp(doc_text(stage, "state"), "failed") == 0;
}

static void print_way_out(const json_t *job, FILE *file)
{
    fprintf(file, "  look: `mlq logs %s`   again: `mlq retry %s`\n", doc_text(job, "id"),
            doc_text(job, "id"));
}

void summary_failures(struct session *session, const json_t *job, FILE *file)
{
    const json_t *stages = json_object_get(job, "stages");
    size_t failed = 0;
    for (size_t i = 0; i < json_array_size(stages); i++) {
        const json_t *stage = json_array_get(stages, i);
        if (is_failed(stage) && failed++ < FAILURES_MAX) {
            print_failure(session, job, stage, file);
        }
    }
    if (failed > FAILURES_MAX) {
        fprintf(file, "  and %zu more stages\n", failed - FAILURES_MAX);
    }
    if (failed > 0) {
        print_way_out(job, file);
    }
}

void summary_print(struct session *session, const json_t *job, FILE *file)
{
    const json_t *stages = json_object_get(job, "stages");
    const char *state = doc_text(job, "state");
    const char *colour = table_colour(file) ? table_state_colour(mlq_str_from(state)) : "";
    char span[TEXT_BYTES];
    struct mlq_str name = text_safe(session->region, mlq_str_from(doc_text(job, "name")), false);
    fprintf(file, "job %s %.*s: %s%s%s in %s\n", doc_text(job, "id"), MLQ_STR_ARG(name), colour,
            state, colour[0] == '\0' ? "" : TABLE_PLAIN,
            text_span(doc_text(job, "submitted"), doc_text(job, "ended"), span));
    bool failed = false;
    for (size_t i = 0; i < json_array_size(stages); i++) {
        const json_t *stage = json_array_get(stages, i);
        const char *verdict = doc_text(stage, "verdict");
        print_metrics(file, stage, session->region);
        if (verdict[0] != '\0') {
            fprintf(file, "  %s:  %s\n", doc_text(stage, "name"), verdict);
        }
        if (is_failed(stage)) {
            failed = true;
            print_failure(session, job, stage, file);
        }
    }
    if (failed) {
        print_way_out(job, file);
    }
}
