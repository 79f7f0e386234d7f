/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "client/cli/follow.h"

#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "client/cli/doc.h"
#include "client/cli/logread.h"
#include "client/cli/progress.h"
#include "client/cli/summary.h"
#include "client/cli/table.h"
#include "client/cli/text.h"
#include "lib/sys/clock.h"
#include "lib/sys/mem.h"

#define PATIENCE_NS  (60 * MLQ_NS_PER_S) /* with a scheduler that does not answer */
#define PAUSE_MS     200
#define LONG_POLL_NS (20 * MLQ_NS_PER_S)
#define DRAW_NS      MLQ_NS_PER_S /* a clock that ticks */
#define BAR_WIDTH    20

struct follow {
    struct session *session;
    const struct follow_options *options;
    uint64_t job;
    uint64_t version;
    int64_t began_ns;
    int64_t deadline_ns;
    int64_t lost_ns; /* since when nobody answers; 0: somebody does */
    struct progress progress;
    struct mlq_region *region; /* of one answer */
    json_t *states;            /* stage to the state that was last printed */
};

/* Ctrl-C ends the looking on, not the job. Prepared before: a handler may only write and leave. */
static char interrupt_text[160];
static volatile sig_atomic_t interrupt_bytes;

static void on_interrupt(int number)
{
    (void)number;
    ssize_t ignored = write(STDERR_FILENO, interrupt_text, (size_t)interrupt_bytes);
    (void)ignored;
    _exit(CMD_INTERRUPTED);
}

static void arm_interrupt(uint64_t job)
{
    struct sigaction action = {.sa_handler = on_interrupt};
    interrupt_bytes = 0;
    int len = snprintf(
        interrupt_text, sizeof interrupt_text,
        "\njob %llu goes on. `mlq wait %llu --follow` looks again, `mlq cancel %llu` stops it.\n",
        (unsigned long long)job, (unsigned long long)job, (unsigned long long)job);
    interrupt_bytes = len > 0 ? len : 0;
    (void)sigaction(SIGINT, &action, NULL);
}

/* Of a watched stage, or of one in the record. */
static int64_t tasks(const json_t *stage, const char *key)
{
    const json_t *counts = json_object_get(stage, "tasks");
    return doc_int(counts == NULL ? stage : counts, key);
}

/* What the scheduler calls pending is running once something of it was assigned. */
static const char *stage_state(const json_t *stage)
{
    const char *state = doc_text(stage, "state");
    bool begun =
        tasks(stage, "running") > 0 || tasks(stage, "succeeded") > 0 || tasks(stage, "failed") > 0;
    return strcmp(state, "pending") == 0 && begun ? "running" : state;
}

static double stage_fraction(const json_t *stage)
{
    double total = (double)tasks(stage, "total");
    double done = (double)(tasks(stage, "succeeded") + tasks(stage, "failed"));
    if (strcmp(stage_state(stage), "succeeded") == 0) {
        return 1;
    }
    if (total < 1.5 && tasks(stage, "running") > 0) {
        return doc_real(stage, "progress");
    }
    return total > 0 ? done / total : 0;
}

static void draw_stage(struct follow *follow, FILE *out, const json_t *stage, size_t names,
                       size_t width)
{
    char bar[PROGRESS_BAR_BYTES];
    const char *state = stage_state(stage);
    bool colour = table_colour(stderr);
    struct mlq_region *region = follow->region;
    char span[TEXT_BYTES];
    const char *note = doc_text(stage, "ended")[0] == '\0'
                           ? ""
                           : text_span(doc_text(stage, "started"), doc_text(stage, "ended"), span);
    long long failed = tasks(stage, "failed");
    if (tasks(stage, "total") > 1) {
        note =
            mlq_region_format(region, "%lld/%lld%s", (long long)tasks(stage, "succeeded"),
                              (long long)tasks(stage, "total"),
                              failed > 0 ? mlq_region_format(region, ", %lld failed", failed) : "");
    } else if (strcmp(state, "running") == 0) {
        note = doc_text(stage, "text");
    }
    struct mlq_str name =
        text_cut(region, text_safe(region, mlq_str_from(doc_text(stage, "name")), false), names);
    size_t used = 2 + names + 2 + BAR_WIDTH + 2 + 9 + 2;
    struct mlq_str shown = text_cut(region, text_safe(region, mlq_str_from(note), false),
                                    width > used ? width - used : 1);
    fprintf(out, "  %.*s%*s  %s  %s%-9s%s  %.*s\n", MLQ_STR_ARG(name),
            (int)(names - text_width(name)), "",
            progress_bar(stage_fraction(stage), BAR_WIDTH, bar),
            colour ? table_state_colour(mlq_str_from(state)) : "", state, colour ? TABLE_PLAIN : "",
            MLQ_STR_ARG(shown));
}

static bool is_quiet_state(const json_t *stage)
{
    const char *state = stage_state(stage);
    return strcmp(state, "running") != 0 && strcmp(state, "failed") != 0;
}

static void draw(struct follow *follow, const json_t *job)
{
    const json_t *stages = json_object_get(job, "stages");
    char elapsed[TEXT_BYTES];
    size_t height = table_height(stderr);
    size_t width = table_width(stderr);
    size_t count = json_array_size(stages);
    bool all = height == 0 || count + 2 <= height;
    size_t names = 4;
    size_t hidden = 0;
    width = width == 0 ? 100 : width;
    for (size_t i = 0; i < count; i++) {
        size_t name = text_width(mlq_str_from(doc_text(json_array_get(stages, i), "name")));
        names = name > names ? name : names;
    }
    names = names > 24 ? 24 : names;
    FILE *out = progress_begin(&follow->progress);
    fprintf(out, "job %llu  %s\n", (unsigned long long)follow->job,
            text_duration((double)(mlq_clock_boot_ns() - follow->began_ns) / 1e9, elapsed));
    for (size_t i = 0, shown = 0; i < count; i++) {
        const json_t *stage = json_array_get(stages, i);
        if (!all && (is_quiet_state(stage) || shown + 3 > height)) {
            hidden++;
            continue;
        }
        draw_stage(follow, out, stage, names, width);
        shown++;
    }
    if (hidden > 0) {
        fprintf(out, "  and %zu more stages\n", hidden);
    }
    progress_end(&follow->progress);
}

/* One line per change, where lines stay. */
static void print_changes(struct follow *follow, const json_t *job)
{
    const json_t *stages = json_object_get(job, "stages");
    for (size_t i = 0; i < json_array_size(stages); i++) {
        const json_t *stage = json_array_get(stages, i);
        const char *name = doc_text(stage, "name");
        const char *state = stage_state(stage);
        if (strcmp(doc_text(follow->states, name), state) == 0 || strcmp(state, "pending") == 0) {
            continue;
        }
        struct mlq_str safe = text_safe(follow->region, mlq_str_from(name), false);
        fprintf(stderr, "job %llu: %.*s %s\n", (unsigned long long)follow->job, MLQ_STR_ARG(safe),
                state);
        (void)json_object_set_new(follow->states, name, json_string(state));
    }
}

static void show(struct follow *follow, const json_t *document)
{
    const json_t *job = json_object_get(document, "job");
    if (!follow->options->shows || job == NULL) {
        return;
    }
    if (follow->progress.is_terminal) {
        draw(follow, job);
    } else {
        print_changes(follow, job);
    }
}

/* After a call that failed: true to try again. */
static bool has_patience(struct follow *follow, int rc, struct mlq_err *err)
{
    int64_t now_ns = mlq_clock_boot_ns();
    if (!session_is_passing(rc)) {
        return false;
    }
    if (follow->lost_ns == 0) {
        follow->lost_ns = now_ns;
        progress_clear(&follow->progress);
        fprintf(
            stderr,
            "mlq %s: the scheduler does not answer: trying again for a minute (the job goes on)\n",
            follow->session->verb);
    }
    if (now_ns - follow->lost_ns > PATIENCE_NS) {
        return false;
    }
    (void)err;
    (void)poll(NULL, 0, PAUSE_MS);
    return true;
}

static void is_back(struct follow *follow)
{
    if (follow->lost_ns != 0) {
        fprintf(stderr, "mlq %s: the scheduler is back\n", follow->session->verb);
        follow->lost_ns = 0;
        follow->version = 0; /* another one counts anew */
    }
}

static int64_t next_wait_ns(const struct follow *follow)
{
    int64_t left = follow->deadline_ns - mlq_clock_boot_ns();
    int64_t wait = follow->options->shows && follow->progress.is_terminal ? DRAW_NS : LONG_POLL_NS;
    return left < wait ? left : wait;
}

/* Until the job has ended: MLQ_OK, MLQ_ECANCELED when the time is over, or the error. */
static int watch(struct follow *follow, struct mlq_err *err)
{
    for (;;) {
        struct mlq_str json = {0};
        bool ended = false;
        json_t *document = NULL;
        if (mlq_clock_boot_ns() >= follow->deadline_ns) {
            return mlq_fail(err, MLQ_ECANCELED, "the job has not ended in that time");
        }
        mlq_region_reset(follow->region);
        int rc = mlq_client_watch(follow->session->client, follow->job, follow->version,
                                  next_wait_ns(follow), follow->region, &json, &ended, err);
        if (rc != MLQ_OK) {
            if (has_patience(follow, rc, err)) {
                continue;
            }
            return rc;
        }
        is_back(follow);
        if (json.len > 0) {
            rc = doc_parse(json, &document, err);
            if (rc != MLQ_OK) {
                return rc;
            }
            follow->version = (uint64_t)doc_int(document, "version");
            show(follow, document);
            json_decref(document);
        }
        if (ended) {
            return MLQ_OK;
        }
    }
}

/* The record of the job, which has ended. */
static int load(struct follow *follow, struct mlq_str *json, json_t **document, struct mlq_err *err)
{
    for (;;) {
        mlq_region_reset(follow->region);
        int rc = mlq_client_show(follow->session->client, follow->job, follow->region, json, err);
        if (rc == MLQ_OK) {
            is_back(follow);
            return doc_parse(*json, document, err);
        }
        if (!has_patience(follow, rc, err)) {
            return rc;
        }
    }
}

static bool has_ended(const json_t *job)
{
    return doc_text(job, "ended")[0] != '\0';
}

static int follow_one(struct follow *follow)
{
    struct session *session = follow->session;
    struct mlq_err err = MLQ_ERR_INIT;
    struct mlq_str json = {0};
    json_t *document = NULL;
    char id[24];
    int rc;
    (void)snprintf(id, sizeof id, "%llu", (unsigned long long)follow->job);
    arm_interrupt(follow->job);
    for (;;) { /* a job that was retried while its record was read is waited for again */
        rc = watch(follow, &err);
        if (rc == MLQ_OK) {
            rc = load(follow, &json, &document, &err);
        }
        if (rc != MLQ_OK || has_ended(json_object_get(document, "job"))) {
            break;
        }
        json_decref(document);
        (void)poll(NULL, 0, PAUSE_MS);
    }
    if (rc != MLQ_OK) {
        int code = session_fail(session, id, &err);
        return rc == MLQ_ECANCELED ? CMD_TIMEOUT : code;
    }
    const json_t *job = json_object_get(document, "job");
    bool succeeded = strcmp(doc_text(job, "state"), "succeeded") == 0;
    if (follow->options->shows) {
        show(follow, document);
        summary_print(session, job, stderr);
    }
    if (follow->options->prints && session->json) {
        doc_print(stdout, json);
    } else if (follow->options->prints && !session->quiet) {
        printf("%s  %s\n", id, doc_text(job, "state"));
    }
    json_decref(document);
    return succeeded ? CMD_OK : CMD_JOB_FAILED;
}

int follow_jobs(struct session *session, const uint64_t *jobs, size_t count,
                const struct follow_options *options)
{
    int64_t now_ns = mlq_clock_boot_ns();
    int worst = CMD_OK;
    for (size_t i = 0; i < count; i++) {
        struct follow follow = {
            .session = session,
            .options = options,
            .job = jobs[i],
            .began_ns = mlq_clock_boot_ns(),
            .deadline_ns = options->has_timeout ? now_ns + options->timeout_ns : INT64_MAX,
            .region = mlq_region_create(),
            .states = json_object(),
        };
        progress_init(&follow.progress);
        int code = follow_one(&follow);
        json_decref(follow.states);
        mlq_region_destroy(&follow.region);
        if (code != CMD_OK && code != CMD_JOB_FAILED) {
            return code;
        }
        worst = code == CMD_OK ? worst : code;
    }
    (void)signal(SIGINT, SIG_DFL);
    return worst;
}
