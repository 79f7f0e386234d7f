/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "client/cli/cmd.h"
#include "client/cli/doc.h"
#include "client/cli/logread.h"
#include "client/cli/session.h"
#include "client/cli/text.h"
#include "lib/sys/clock.h"

#define WAIT_NS     (10 * MLQ_NS_PER_S)
#define PATIENCE_NS (60 * MLQ_NS_PER_S)
#define PAUSE_MS    100

const char cmd_logs_help[] =
    "  mlq logs last                     of the stage that failed, else of the one that ran last\n"
    "  mlq logs 12 train -f              while it runs, until it has ended, retries included\n"
    "  mlq logs 12 --stage train --rank 1\n"
    "  mlq logs 12 --index 7 >task7.log\n"
    "\n"
    "usage: mlq logs JOB [STAGE] [-f] [--stage STAGE] [--index N] [--rank N]\n"
    "\n"
    "Output and errors of a task as it wrote them (into a pipe: byte for byte). What was not named "
    "is chosen and said\n"
    "on stderr.\n"
    "\n"
    "  -f, --follow   go on until the task has ended\n"
    "  --stage STAGE  the same as the second word (default: what failed, else what ran last)\n"
    "  --index N      task of an array (default: one that failed, else the newest)\n"
    "  --rank N       of a gang (default: the one that failed first, else 0)\n";

#define NOT_SAID UINT64_MAX

struct logs {
    struct session session;
    bool follow;
    const char *stage;
    uint64_t index;
    uint64_t rank;
    uint64_t job;
    char attempt[32]; /* that is being read */
    struct logread log;
    bool stage_ended;
    bool written; /* there was something to read */
};

/* What to read: fills log.where, attempt and stage_ended. MLQ_EAGAIN: nothing has run yet. */
static int choose(struct logs *logs, struct mlq_err *err)
{
    struct mlq_str json;
    json_t *document = NULL;
    struct session *session = &logs->session;
    int rc = mlq_client_show(session->client, logs->job, session->region, &json, err);
    if (rc == MLQ_OK) {
        rc = doc_parse(json, &document, err);
    }
    if (rc != MLQ_OK) {
        return rc;
    }
    const json_t *job = json_object_get(document, "job");
    const json_t *stages = json_object_get(job, "stages");
    const json_t *stage = logs->stage == NULL ? logread_pick_stage(job) : NULL;
    for (size_t i = 0; logs->stage != NULL && i < json_array_size(stages); i++) {
        const json_t *one = json_array_get(stages, i);
        stage = strcmp(doc_text(one, "name"), logs->stage) == 0 ? one : stage;
    }
    const json_t *attempt =
        stage == NULL
            ? NULL
            : logread_pick_attempt(stage, logs->index == NOT_SAID ? -1 : (int64_t)logs->index,
                                   logs->rank == NOT_SAID ? -1 : (int64_t)logs->rank);
    if (stage == NULL && logs->stage != NULL) {
        rc = mlq_fail(err, MLQ_ENOENT, "the job has no stage '%s' (mlq show lists them)",
                      logs->stage);
    } else if (attempt == NULL) {
        const json_t *of = stage == NULL ? job : stage;
        logs->stage_ended = doc_text(of, "ended")[0] != '\0' || doc_text(job, "ended")[0] != '\0';
        rc = mlq_fail(err, logs->stage_ended ? MLQ_ENOENT : MLQ_EAGAIN, "nothing of it has run%s",
                      logs->stage_ended ? "" : " yet (-f waits)");
    } else {
        const char *name = doc_text(stage, "name");
        logs->log.where.job = logs->job;
        logs->log.where.stage = mlq_str_from(mlq_region_strdup(session->region, name));
        logs->log.where.index = (uint32_t)doc_int(attempt, "index");
        logs->log.where.rank = (uint32_t)doc_int(attempt, "rank");
        logs->stage_ended =
            doc_text(stage, "ended")[0] != '\0' || doc_text(job, "ended")[0] != '\0';
        if (strcmp(logs->attempt, doc_text(attempt, "attempt")) != 0) {
            logs->log.where.offset = 0;
            logs->log.end = false;
            (void)snprintf(logs->attempt, sizeof logs->attempt, "%s", doc_text(attempt, "attempt"));
            if ((logs->stage == NULL || logs->follow) && !session->quiet) {
                fprintf(stderr, "-- job %llu, stage %s, task %u, rank %u, on %s\n",
                        (unsigned long long)logs->job, name, logs->log.where.index,
                        logs->log.where.rank, doc_text(attempt, "worker"));
            }
        }
    }
    json_decref(document);
    return rc;
}

static void write_out(struct mlq_str bytes, struct mlq_region *region)
{
    if (bytes.len == 0) {
        return;
    }
    /* A terminal obeys control sequences; a file does not. */
    struct mlq_str shown = isatty(STDOUT_FILENO) ? text_safe(region, bytes, true) : bytes;
    (void)fwrite(shown.ptr, 1, shown.len, stdout);
    (void)fflush(stdout);
}

/* One attempt to its end, or to what there is now. */
static int read_attempt(struct logs *logs, struct mlq_err *err)
{
    struct mlq_region *region = mlq_region_create();
    int64_t lost_ns = 0;
    int rc = MLQ_OK;
    logs->log.where.wait_ns = logs->follow ? WAIT_NS : 0;
    while (!logs->log.end && !ferror(stdout)) {
        struct mlq_str bytes;
        mlq_region_reset(region);
        rc = logread_next(&logs->session, &logs->log, region, &bytes, err);
        if (rc == MLQ_OK) {
            lost_ns = 0;
            write_out(bytes, region);
            logs->written = logs->written || bytes.len > 0;
            if (bytes.len == 0 && !logs->follow) {
                break;
            }
            continue;
        }
        int64_t now_ns = mlq_clock_boot_ns();
        lost_ns = lost_ns == 0 ? now_ns : lost_ns;
        if (!logs->follow || !session_is_passing(rc) || now_ns - lost_ns > PATIENCE_NS) {
            break;
        }
        (void)poll(NULL, 0, PAUSE_MS);
    }
    mlq_region_destroy(&region);
    return rc;
}

static int wait_for_change(struct logs *logs, uint64_t *version, struct mlq_err *err)
{
    struct mlq_region *region = mlq_region_create();
    struct mlq_str json = {0};
    json_t *document = NULL;
    bool ended = false;
    int rc = mlq_client_watch(logs->session.client, logs->job, *version, WAIT_NS, region, &json,
                              &ended, err);
    if (rc == MLQ_OK && json.len > 0 && doc_parse(json, &document, err) == MLQ_OK) {
        *version = (uint64_t)doc_int(document, "version");
        json_decref(document);
    }
    mlq_region_destroy(&region);
    (void)poll(NULL, 0, PAUSE_MS); /* the record follows what is watched */
    return session_is_passing(rc) ? MLQ_OK : rc;
}

static int run(struct logs *logs, struct mlq_err *err)
{
    uint64_t version = 0;
    for (;;) {
        int rc = choose(logs, err);
        bool waits = logs->follow && (rc == MLQ_EAGAIN || session_is_passing(rc));
        if (rc == MLQ_OK) {
            rc = read_attempt(logs, err);
            waits = logs->follow && rc == MLQ_OK && !logs->stage_ended && !ferror(stdout);
        }
        if (!waits) {
            return rc;
        }
        /* The attempt has ended, its stage not: another attempt or the end will be recorded. */
        rc = wait_for_change(logs, &version, err);
        if (rc != MLQ_OK) {
            return rc;
        }
    }
}

int cmd_logs(int argc, char **argv)
{
    struct logs logs = {.session = {.verb = "logs"}, .index = NOT_SAID, .rank = NOT_SAID};
    const struct args_option own[] = {
        {.name = "follow", .letter = 'f', .kind = ARGS_FLAG, .value = &logs.follow},
        {.name = "stage", .kind = ARGS_TEXT, .value = &logs.stage},
        {.name = "index", .kind = ARGS_NUMBER, .value = &logs.index, .max = UINT32_MAX},
        {.name = "rank", .kind = ARGS_NUMBER, .value = &logs.rank, .max = UINT32_MAX},
        {0},
    };
    struct mlq_err err = MLQ_ERR_INIT;
    int code = session_parse(&logs.session, own, argc, argv);
    if (code != CMD_OK) {
        return code;
    }
    if (logs.session.args.count > 2) {
        return session_usage(&logs.session, "one job and one stage, not '%s'",
                             logs.session.args.operands[2]);
    }
    if (logs.session.args.count == 2) {
        logs.stage = logs.session.args.operands[1];
    }
    code = session_open(&logs.session);
    if (code == CMD_OK) {
        code = session_job(&logs.session, 0, &logs.job);
    }
    if (code == CMD_OK && run(&logs, &err) != MLQ_OK) {
        code = session_fail(&logs.session, logs.session.args.operands[0], &err);
    }
    if (code == CMD_OK && !logs.written && !logs.session.quiet) {
        fprintf(stderr, "-- it wrote nothing%s\n", logs.stage_ended ? "" : " yet");
    }
    code = session_finish(&logs.session, code);
    session_close(&logs.session);
    return code;
}
