/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Loads a cluster that `mlq up` has started, as a client does, and judges by its record:
 *     bench_mlq HOME latency N            one job at a time: from submission to its start
 *     bench_mlq HOME jobs N WINDOW [each] N separate jobs, at most WINDOW of them unanswered
 *     bench_mlq HOME array N [COMMAND…]   one job of N tasks: the operator noop, or a command
 *     bench_mlq HOME queue N [each]       N separate jobs that no worker can take
 * prints "name=value" words on one line. The jobs are all of one spec, or with `each` no two are alike.
 *
 * A start is dated by its worker, as the rival's jobs date theirs. Jobs of `jobs` carry no idempotency key: the
 * rivals have none.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <uv.h>

#include "client/cli/home.h"
#include "lib/loop/loop.h"
#include "lib/net/net.h"
#include "lib/spec/spec.h"
#include "lib/sys/clock.h"
#include "lib/sys/log.h"
#include "lib/sys/mem.h"
#include "tests/support/pg_cluster.h"

#define CALL_NS    (60 * MLQ_NS_PER_S)
#define LOOK_MS    2
#define WARM_JOBS  20
#define PAUSE_MS   3 /* in `latency`, after a job was accepted and after it was seen to have ended */
#define SPEC_BYTES 4096
#define JOB_NAME   "bench-00000000"
#define STARTED_US "(extract(epoch FROM at) * 1e6)::bigint FROM mlq.fact WHERE kind = 'started' AND job ="
#define ENDED_US   "(extract(epoch FROM max(ended_at)) * 1e6)::bigint FROM mlq.job WHERE id >="

struct bench {
    struct home home;
    struct net_keypair keys;
    struct net_peer_options peer;
    char *conninfo;
    struct mlq_region *region;
    struct mlq_str spec;
};

static void check(int rc, const char *text)
{
    if (rc != MLQ_OK) {
        (void)fprintf(stderr, "bench_mlq: %s\n", text);
        exit(1);
    }
}

static uint64_t number(const char *text)
{
    uint64_t value = 0;
    check(text != NULL && mlq_str_u64(mlq_str_from(text), &value) && value > 0 ? MLQ_OK : MLQ_EINVAL,
          "a number above 0 is needed: see the head of tests/bench/bench_mlq.c");
    return value;
}

/* A number that the record answers; `what` ends where a job's id belongs. */
static int64_t ask(const struct bench *bench, const char *what, uint64_t job)
{
    char *text = mlq_format("SELECT %s %" PRIu64, what, job);
    char *answer = pg_cluster_query(bench->conninfo, text);
    int64_t value = answer == NULL ? 0 : strtoll(answer, NULL, 10);
    free(answer);
    mlq_free(text);
    return value;
}

static void open_home(struct bench *bench, const char *dir)
{
    struct mlq_err err = MLQ_ERR_INIT;
    check(home_load(dir, &bench->home, &err), err.text);
    char *key = home_file(&bench->home, "keys/client.key");
    check(net_keys_load(key, &bench->keys, &err), err.text);
    mlq_free(key);
    bench->peer = (struct net_peer_options){.endpoint = bench->home.endpoint,
                                            .server_public_key = bench->home.server_key,
                                            .keys = &bench->keys};
    bench->conninfo =
        mlq_format("host=%s port=5432 user=mlq dbname=postgres", bench->home.pg_socket_dir);
    bench->region = mlq_region_create();
}

static void set_spec(struct bench *bench, const char *stage)
{
    struct diag_list diags;
    char text[SPEC_BYTES];
    (void)snprintf(text, sizeof text,
                   "apiVersion: mlq/v1\nkind: Job\nmetadata: {name: " JOB_NAME "}\nspec: {%s}\n", stage);
    diag_init(&diags, bench->region, "bench");
    struct spec *spec = spec_parse(mlq_str_from(text), NULL, bench->region, &diags);
    check(spec == NULL ? MLQ_EINVAL : MLQ_OK, spec == NULL ? diag_text(&diags) : "");
    bench->spec = spec_canonical(spec, bench->region);
}

/* ---- One at a time ---------------------------------------------------------------------------- */

static uint64_t submit(const struct bench *bench, struct net_caller *caller, struct mlq_str key)
{
    struct mlq_region *region = mlq_region_create();
    struct msg_request request = {.op = MSG_OP_SUBMIT, .spec = bench->spec, .key = key};
    struct msg_reply reply;
    struct mlq_err err = MLQ_ERR_INIT;
    check(net_caller_call(caller, &request, CALL_NS, region, &reply, &err), err.text);
    check(reply.code, mlq_region_strndup(region, reply.text));
    mlq_region_destroy(&region);
    return reply.job;
}

/* Jobs that the scheduler holds: asking it costs the machine less than asking PostgreSQL. */
static int64_t jobs_held(struct net_caller *caller)
{
    struct mlq_region *region = mlq_region_create();
    struct msg_request request = {.op = MSG_OP_STATUS};
    struct msg_reply reply;
    struct mlq_err err = MLQ_ERR_INIT;
    check(net_caller_call(caller, &request, CALL_NS, region, &reply, &err), err.text);
    const char *found = strstr(mlq_region_strndup(region, reply.blob), "\"jobs\":");
    check(found == NULL ? MLQ_EPROTO : MLQ_OK, "the status names no number of jobs");
    int64_t held = strtoll(found + strlen("\"jobs\":"), NULL, 10);
    mlq_region_destroy(&region);
    return held;
}

static void wait_idle(struct net_caller *caller)
{
    while (jobs_held(caller) > 0) {
        uv_sleep(LOOK_MS);
    }
}

static void wait_ended(const struct bench *bench, struct net_caller *caller, uint64_t first)
{
    wait_idle(caller);
    /* As the index of live jobs says it. */
    while (ask(bench, "count(*) FROM mlq.job WHERE state IN ('pending', 'running') AND id >=",
               first) > 0) {
        uv_sleep(LOOK_MS);
    }
    int64_t failed = ask(bench, "count(*) FROM mlq.job WHERE state <> 'succeeded' AND id >=", first);
    check(failed == 0 ? MLQ_OK : MLQ_EDB, "not all jobs succeeded");
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

static void print_quantiles(const char *what, double *us, uint64_t count)
{
    qsort(us, count, sizeof *us, compare);
    printf("%s_p50_us=%.0f %s_p99_us=%.0f ", what, us[count / 2], what, us[count * 99 / 100]);
}

struct lone {
    uint64_t job;
    int64_t began_us;
    int64_t accepted_us;
};

static struct lone submit_alone(const struct bench *bench, struct net_caller *caller)
{
    char key[64];
    struct lone lone = {.began_us = mlq_clock_wall_us()};
    (void)snprintf(key, sizeof key, "bench-%lld", (long long)lone.began_us);
    lone.job = submit(bench, caller, mlq_str_from(key));
    lone.accepted_us = mlq_clock_wall_us();
    uv_sleep(PAUSE_MS);
    wait_idle(caller);
    uv_sleep(PAUSE_MS);
    return lone;
}

/* The record is asked when all is over: each question starts and ends a process of PostgreSQL, which would be in
 * the way of the next job. */
static void run_latency(struct bench *bench, uint64_t count)
{
    struct net_caller *caller;
    struct mlq_err err = MLQ_ERR_INIT;
    struct lone *lone = mlq_alloc_array(WARM_JOBS + count, sizeof *lone);
    double *started = mlq_alloc_array(count, sizeof *started);
    double *accepted = mlq_alloc_array(count, sizeof *accepted);
    check(net_caller_open(&bench->peer, &caller, &err), err.text);
    for (uint64_t i = 0; i < WARM_JOBS + count; i++) {
        lone[i] = submit_alone(bench, caller);
    }
    wait_ended(bench, caller, lone[0].job);
    for (uint64_t i = 0; i < count; i++) {
        const struct lone *it = &lone[WARM_JOBS + i];
        accepted[i] = (double)(it->accepted_us - it->began_us);
        started[i] = (double)(ask(bench, STARTED_US, it->job) - it->began_us);
    }
    print_quantiles("start", started, count);
    print_quantiles("accept", accepted, count);
    printf("\n");
    net_caller_close(&caller);
    mlq_free(lone);
    mlq_free(started);
    mlq_free(accepted);
}

/* From the submission of an array to the recorded end of its last task. */
static void run_array(struct bench *bench, uint64_t count)
{
    struct net_caller *caller;
    struct mlq_err err = MLQ_ERR_INIT;
    check(net_caller_open(&bench->peer, &caller, &err), err.text);
    int64_t began_us = mlq_clock_wall_us();
    uint64_t job = submit(bench, caller, (struct mlq_str){0});
    wait_ended(bench, caller, job);
    int64_t ended_us = ask(bench, ENDED_US, job);
    printf("tasks_per_s=%.0f\n", (double)count * 1e6 / (double)(ended_us - began_us));
    net_caller_close(&caller);
}

/* ---- Many under way --------------------------------------------------------------------------- */

struct flood {
    const struct bench *bench;
    uv_loop_t *loop;
    struct net_link *link;
    uint64_t count;
    uint64_t window;
    uint64_t sent;
    uint64_t answered;
    uint64_t first; /* job */
    char *number;   /* in the spec's text, where its name counts; NULL: all are of one spec */
    int64_t began_us;
};

static void fill(struct flood *flood)
{
    while (flood->sent < flood->count && flood->sent - flood->answered < flood->window) {
        struct msg msg = {.kind = MSG_REQUEST,
                          .request = {.id = flood->sent + 1,
                                      .op = MSG_OP_SUBMIT,
                                      .spec = flood->bench->spec}};
        if (flood->number != NULL) {
            char digits[16];
            (void)snprintf(digits, sizeof digits, "%08u", (unsigned)(flood->sent % 100000000));
            memcpy(flood->number, digits, 8);
        }
        if (net_link_send(flood->link, &msg, NULL) != MLQ_OK) {
            return;
        }
        flood->sent++;
    }
}

static void on_connected(void *context)
{
    struct flood *flood = context;
    flood->began_us = mlq_clock_wall_us();
    fill(flood);
}

static void on_disconnected(void *context)
{
    (void)context;
    check(MLQ_ECONN, "the connection broke");
}

static void on_answer(void *context, const struct msg *msg)
{
    struct flood *flood = context;
    check(msg->kind == MSG_REPLY ? msg->reply.code : MLQ_EPROTO, "a job was not accepted");
    if (flood->first == 0 || msg->reply.job < flood->first) {
        flood->first = msg->reply.job;
    }
    flood->answered++;
    if (flood->answered == flood->count) {
        loop_stop(flood->loop);
    }
    fill(flood);
}

/* Returns the first job's id. */
static uint64_t flood_jobs(struct bench *bench, uint64_t count, uint64_t window, bool each, int64_t *began_us)
{
    char *text = mlq_region_strndup(bench->region, bench->spec);
    bench->spec.ptr = text;
    char *name = strstr(text, JOB_NAME);
    check(name == NULL ? MLQ_EINVAL : MLQ_OK, "the spec has lost its name");
    struct flood flood = {.bench = bench,
                          .count = count,
                          .window = window,
                          .number = each ? name + strlen(JOB_NAME) - 8 : NULL};
    struct mlq_err err = MLQ_ERR_INIT;
    const struct net_link_callbacks callbacks = {.context = &flood,
                                                 .connected = on_connected,
                                                 .disconnected = on_disconnected,
                                                 .message = on_answer};
    check(loop_create(&flood.loop, &err), err.text);
    check(net_link_create(flood.loop, &bench->peer, &callbacks, &flood.link, &err), err.text);
    loop_run(flood.loop);
    *began_us = flood.began_us;
    net_link_close(&flood.link, NULL, NULL);
    loop_run(flood.loop);
    (void)loop_destroy(&flood.loop);
    return flood.first;
}

static void run_jobs(struct bench *bench, uint64_t count, uint64_t window, bool each)
{
    int64_t began_us;
    uint64_t first = flood_jobs(bench, count, window, each, &began_us);
    int64_t accepted_us = mlq_clock_wall_us();
    struct net_caller *caller;
    struct mlq_err err = MLQ_ERR_INIT;
    check(net_caller_open(&bench->peer, &caller, &err), err.text);
    wait_ended(bench, caller, first);
    net_caller_close(&caller);
    int64_t ended_us = ask(bench, ENDED_US, first);
    printf("jobs_per_s=%.0f accepted_per_s=%.0f\n", (double)count * 1e6 / (double)(ended_us - began_us),
           (double)count * 1e6 / (double)(accepted_us - began_us));
}

int main(int argc, char **argv)
{
    struct bench bench = {.region = NULL};
    check(argc >= 4 ? MLQ_OK : MLQ_EINVAL,
          "usage: bench_mlq HOME latency N | jobs N WINDOW [each] | array N [COMMAND…] | queue N [each]");
    bool each = argc > 4 && strcmp(argv[argc - 1], "each") == 0;
    mlq_log_set_level(MLQ_LOG_WARN);
    open_home(&bench, argv[1]);
    uint64_t count = number(argv[3]);
    if (strcmp(argv[2], "latency") == 0) {
        set_spec(&bench, "uses: noop");
        run_latency(&bench, count);
    } else if (strcmp(argv[2], "jobs") == 0) {
        set_spec(&bench, "uses: noop");
        check(argc > 4 ? MLQ_OK : MLQ_EINVAL, "jobs N WINDOW");
        run_jobs(&bench, count, number(argv[4]), each);
    } else if (strcmp(argv[2], "array") == 0) {
        char stage[SPEC_BYTES / 2];
        if (argc > 4) {
            (void)snprintf(stage, sizeof stage, "run: [\"%s\"], array: %s", argv[4], argv[3]);
        } else {
            (void)snprintf(stage, sizeof stage, "uses: noop, array: %s", argv[3]);
        }
        set_spec(&bench, stage);
        run_array(&bench, count);
    } else {
        int64_t began_us;
        set_spec(&bench, "run: [\"true\"], resources: {gpus: 64}");
        (void)flood_jobs(&bench, count, 1000, each, &began_us);
        printf("accepted_per_s=%.0f\n", (double)count * 1e6 / (double)(mlq_clock_wall_us() - began_us));
    }
    mlq_region_destroy(&bench.region);
    mlq_free(bench.conninfo);
    home_clear(&bench.home);
    return 0;
}
