/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The real shell on a real PostgreSQL, with scripted workers and a client on real connections, all in one
 * process. Each scheduler has a loop of its own: one that is not run is a process that hangs, or that was
 * killed, for everybody else.
 */
#ifndef MLQ_TESTS_UNIT_SHELL_RIG_H
#define MLQ_TESTS_UNIT_SHELL_RIG_H

#include "tests/unit/cm.h"

#include <jansson.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "lib/loop/loop.h"
#include "lib/net/net.h"
#include "lib/sys/clock.h"
#include "lib/sys/mem.h"
#include "scheduler/shell.h"
#include "scheduler/shell_state.h"
#include "tests/support/patience.h"
#include "tests/support/pg_cluster.h"
#include "tests/unit/spec_text.h"

#define PATIENCE_NS patience(60 * MLQ_NS_PER_S) /* after that a test fails; none waits so long */
#define SEEN_MAX    256

struct rig;

struct rig_scheduler {
    struct rig *rig;
    uv_loop_t *loop;
    struct shell *shell;
    char file[64]; /* the endpoint file */
    char holder[16];
    char endpoint[128];
    char listen[64];
    bool is_frozen;
    bool is_stopped;
};

struct rig_worker {
    struct rig *rig;
    struct net_keypair keys;
    struct net_link *link;
    bool is_closed;
    bool is_connected;
    bool says_hello; /* by itself, on each connection */
    bool is_mute;    /* hears nothing: what comes is lost */
    uint64_t session;
    struct msg_member claims[16];
    size_t claim_count;
    /* What it heard. */
    uint64_t welcomed; /* session */
    uint32_t epoch;
    struct {
        uint64_t attempt;
        uint64_t job;
        uint32_t rank;
        uint32_t index;
        uint32_t restarts;
        char stage[32];
        char digest[96]; /* of its first input */
        char argv1[96];
    } assigned[SEEN_MAX];
    size_t assigned_count;
    uint64_t killed[SEEN_MAX];
    size_t killed_count;
    struct msg_member saving[SEEN_MAX]; /* asked to save */
    size_t saving_count;
    uint64_t acked[SEEN_MAX];
    size_t acked_count;
    unsigned assign_messages;
    unsigned ack_messages;
    uint64_t fenced[SEEN_MAX];
    size_t fenced_count;
    unsigned heartbeats_acked;
    unsigned refused;
    int refused_code;
    uint64_t log_request; /* asked for a log: its handle */
    uint64_t record_request;
    int record_code;
    char *record;
};

struct rig {
    struct pg_cluster *cluster;
    const char *database;
    uv_loop_t *loop; /* of the workers and the client */
    uv_timer_t pulse;
    struct net_keypair server_keys;
    struct net_keypair client_keys;
    struct rig_scheduler a;
    struct rig_scheduler b;
    struct rig_worker w1;
    struct rig_worker w2;
    struct net_link *client;
    bool client_is_connected;
    bool client_is_closed;
    uint64_t next_id;
    uint64_t answered; /* id */
    unsigned answers;
    int code;
    uint64_t job;
    bool end;
    char text[512];
    char *blob;
    int64_t lease_ns;
    int64_t leader_lease_ns;
};

static void rig_pump(struct rig *rig)
{
    if (rig->a.loop != NULL && !rig->a.is_frozen) {
        (void)uv_run(rig->a.loop, UV_RUN_NOWAIT);
    }
    if (rig->b.loop != NULL && !rig->b.is_frozen) {
        (void)uv_run(rig->b.loop, UV_RUN_NOWAIT);
    }
    (void)uv_run(rig->loop, UV_RUN_ONCE); /* the pulse ends it */
}

#define RIG_WAIT(rig, condition)                                                                   \
    do {                                                                                           \
        int64_t until_ns_ = mlq_clock_boot_ns() + PATIENCE_NS;                                     \
        while (!(condition)) {                                                                     \
            rig_pump(rig);                                                                         \
            if (mlq_clock_boot_ns() > until_ns_) {                                                 \
                fail_msg("waited in vain for %s", #condition);                                     \
            }                                                                                      \
        }                                                                                          \
    } while (0)

static inline void on_pulse(uv_timer_t *timer)
{
    (void)timer;
}

/* ---- Schedulers ---- */

static inline struct shell_options rig_options(struct rig_scheduler *s)
{
    struct shell_options options = {
        .listen = s->listen,
        .endpoint_file = s->file,
        .key_path = "server.key",
        .enrolled_path = "enrolled",
        .conninfo = s->rig->database,
        .cluster = "test",
        .holder = s->holder,
        .heartbeat_ns = MLQ_NS_PER_S,
        .leader_lease_ns = s->rig->leader_lease_ns,
        .limits = core_limits_default(),
    };
    static char migrations[512];
    (void)snprintf(migrations, sizeof migrations, "%s/migrations", getenv("MLQ_SOURCE_DIR"));
    options.migrations_dir = migrations;
    options.limits.jobs_max = 64;
    options.limits.stages_max = 2048;
    options.limits.needs_max = 1024;
    options.limits.tasks_max = 1024;
    options.limits.members_max = 1024;
    options.limits.workers_max = 16;
    options.limits.lease_ns = s->rig->lease_ns;
    options.limits.lease_margin_ns = MLQ_NS_PER_S / 2;
    return options;
}

static inline void rig_start(struct rig *rig, struct rig_scheduler *s, const char *name)
{
    if (s->listen[0] == '\0') {
        (void)snprintf(s->listen, sizeof s->listen, "tcp://127.0.0.1:0");
    }
    s->rig = rig;
    s->is_stopped = false;
    s->is_frozen = false;
    (void)snprintf(s->holder, sizeof s->holder, "%s", name);
    (void)snprintf(s->file, sizeof s->file, "endpoint-%s", name);
    (void)unlink(s->file);
    assert_int_equal(loop_create(&s->loop, NULL), MLQ_OK);
    struct shell_options options = rig_options(s);
    s->shell = shell_create(s->loop, &options);
    shell_start(s->shell);
}

static inline bool rig_serves(const struct rig_scheduler *s)
{
    return s->shell->phase == SHELL_SERVING;
}

static inline void rig_on_stopped(void *context)
{
    struct rig_scheduler *s = context;
    s->is_stopped = true;
}

static inline void rig_stop(struct rig *rig, struct rig_scheduler *s)
{
    if (s->loop == NULL) {
        return;
    }
    s->is_frozen = false;
    shell_stop(s->shell, rig_on_stopped, s);
    RIG_WAIT(rig, s->is_stopped);
    shell_destroy(&s->shell);
    assert_int_equal(loop_destroy(&s->loop), 0);
}

/* ---- Workers ---- */

static inline void rig_send(struct rig_worker *w, const struct msg *msg)
{
    struct mlq_err err = MLQ_ERR_INIT;
    if (net_link_send(w->link, msg, &err) != MLQ_OK) {
        fail_msg("send: %s", err.text);
    }
}

static inline void rig_hello(struct rig_worker *w)
{
    w->session++;
    rig_send(w, &(struct msg){.kind = MSG_HELLO,
                              .hello = {.session = w->session,
                                        .software = MLQ_STR("test"),
                                        .host = MLQ_STR("here"),
                                        .cpu_milli = 4000,
                                        .mem_bytes = INT64_C(8) << 30,
                                        .address = MLQ_STR("127.0.0.1"),
                                        .port_first = 30000,
                                        .port_count = 100,
                                        .claims = w->claims,
                                        .claim_count = w->claim_count}});
}

static inline void rig_on_connected(void *context)
{
    struct rig_worker *w = context;
    w->is_connected = true;
    if (w->says_hello) {
        rig_hello(w);
    }
}

static inline void rig_on_disconnected(void *context)
{
    struct rig_worker *w = context;
    w->is_connected = false;
}

static inline void rig_take_assign(struct rig_worker *w, const struct msg_assign *assign)
{
    for (size_t i = 0; assign->session == w->session && i < assign->count; i++) {
        const struct msg_assignment *item = &assign->items[i];
        assert_true(w->assigned_count < SEEN_MAX);
        size_t n = w->assigned_count++;
        w->assigned[n].attempt = item->member.attempt;
        w->assigned[n].rank = item->member.rank;
        w->assigned[n].job = item->job;
        w->assigned[n].index = item->index;
        w->assigned[n].restarts = item->restart_count;
        (void)snprintf(w->assigned[n].stage, 32, "%.*s", MLQ_STR_ARG(item->stage_name));
        w->assigned[n].digest[0] = '\0';
        w->assigned[n].argv1[0] = '\0';
        if (item->input_count > 0) {
            (void)snprintf(w->assigned[n].digest, 96, "%.*s", MLQ_STR_ARG(item->inputs[0].digest));
        }
        if (item->argc > 1) {
            (void)snprintf(w->assigned[n].argv1, 96, "%.*s", MLQ_STR_ARG(item->argv[1]));
        }
    }
}

static inline void rig_on_message(void *context, const struct msg *msg)
{
    struct rig_worker *w = context;
    if (w->is_mute) {
        return;
    }
    w->epoch = msg->epoch > w->epoch ? msg->epoch : w->epoch;
    if (msg->kind == MSG_WELCOME) {
        w->welcomed = msg->welcome.session;
    } else if (msg->kind == MSG_ASSIGN) {
        w->assign_messages++;
        rig_take_assign(w, &msg->assign);
    } else if (msg->kind == MSG_KILL) {
        for (size_t i = 0; i < msg->kill.count && w->killed_count < SEEN_MAX; i++) {
            w->killed[w->killed_count++] = msg->kill.items[i].member.attempt;
        }
    } else if (msg->kind == MSG_ACK) {
        w->ack_messages++;
        for (size_t i = 0; i < msg->ack.count && w->acked_count < SEEN_MAX; i++) {
            w->acked[w->acked_count++] = msg->ack.items[i].attempt;
        }
    } else if (msg->kind == MSG_FENCED) {
        for (size_t i = 0; i < msg->fenced.count && w->fenced_count < SEEN_MAX; i++) {
            w->fenced[w->fenced_count++] = msg->fenced.items[i].attempt;
        }
    } else if (msg->kind == MSG_CHECKPOINT) {
        for (size_t i = 0; i < msg->checkpoint.count && w->saving_count < SEEN_MAX; i++) {
            w->saving[w->saving_count++] = msg->checkpoint.items[i];
        }
    } else if (msg->kind == MSG_HEARTBEAT_ACK) {
        w->heartbeats_acked++;
    } else if (msg->kind == MSG_REFUSED) {
        w->refused++;
        w->refused_code = msg->refused.code;
    } else if (msg->kind == MSG_LOG_READ) {
        w->log_request = msg->log_read.request;
    } else if (msg->kind == MSG_RECORD_REPLY) {
        w->record_request = msg->record_reply.request;
        w->record_code = msg->record_reply.code;
        mlq_free(w->record);
        w->record = mlq_strndup(msg->record_reply.json);
    }
}

static inline void rig_on_link_closed(void *context)
{
    *(bool *)context = true;
}

static inline void rig_connect(struct rig *rig, struct rig_worker *w, const struct rig_scheduler *to)
{
    struct net_peer_options options = {.endpoint = net_server_endpoint(to->shell->server),
                                       .server_public_key = rig->server_keys.public_key,
                                       .keys = &w->keys};
    struct net_link_callbacks callbacks = {.context = w,
                                           .connected = rig_on_connected,
                                           .disconnected = rig_on_disconnected,
                                           .message = rig_on_message};
    w->rig = rig;
    w->is_connected = false;
    w->is_closed = false;
    assert_int_equal(net_link_create(rig->loop, &options, &callbacks, &w->link, NULL), MLQ_OK);
}

static inline void rig_disconnect(struct rig *rig, struct rig_worker *w)
{
    if (w->link != NULL) {
        net_link_close(&w->link, rig_on_link_closed, &w->is_closed);
        RIG_WAIT(rig, w->is_closed);
    }
}

/* Connected, and welcomed with a new session. */
static inline void rig_join(struct rig *rig, struct rig_worker *w, const struct rig_scheduler *to)
{
    rig_disconnect(rig, w);
    w->says_hello = true;
    rig_connect(rig, w, to);
    RIG_WAIT(rig, w->is_connected && w->welcomed == w->session);
}

static inline void rig_report(struct rig_worker *w, const struct msg_report_item *item)
{
    rig_send(w, &(struct msg){.kind = MSG_REPORT, .epoch = w->epoch, .report = {.items = item, .count = 1}});
}

static inline void rig_started(struct rig_worker *w, uint64_t attempt, uint32_t rank)
{
    rig_report(w, &(struct msg_report_item){.kind = MSG_REPORT_STARTED, .member = {attempt, rank}, .exit_code = -1});
}

/* With one metric `score` and one output "out.txt" when it succeeded. */
static inline void rig_ended(struct rig_worker *w, uint64_t attempt, uint32_t rank, enum core_cause cause,
                             const char *digest)
{
    struct msg_metric metric = {.name = MLQ_STR("score"), .step = INT64_MIN, .value = 0.5, .at_us = 1000000};
    struct msg_artifact artifact = {.name = MLQ_STR("out.txt"), .digest = mlq_str_from(digest), .bytes = 3};
    bool ok = cause == CAUSE_NONE;
    rig_report(w, &(struct msg_report_item){.kind = MSG_REPORT_ENDED,
                                            .member = {attempt, rank},
                                            .cause = cause,
                                            .exit_code = ok ? 0 : 1,
                                            .metrics = &metric,
                                            .metric_count = ok ? 1 : 0,
                                            .artifacts = &artifact,
                                            .artifact_count = ok ? 1 : 0});
}

static inline void rig_heartbeat(struct rig_worker *w)
{
    rig_send(w, &(struct msg){.kind = MSG_HEARTBEAT,
                              .heartbeat = {.session = w->session, .sent_ns = mlq_clock_boot_ns()}});
}

/* ---- The client ---- */

static inline void rig_on_client_connected(void *context)
{
    struct rig *rig = context;
    rig->client_is_connected = true;
}

static inline void rig_on_client_disconnected(void *context)
{
    struct rig *rig = context;
    rig->client_is_connected = false;
}

static inline void rig_on_reply(void *context, const struct msg *msg)
{
    struct rig *rig = context;
    if (msg->kind == MSG_REPLY) {
        rig->answered = msg->reply.id;
        rig->answers++;
        rig->code = msg->reply.code;
        rig->job = msg->reply.job;
        rig->end = msg->reply.end;
        (void)snprintf(rig->text, sizeof rig->text, "%.*s", MLQ_STR_ARG(msg->reply.text));
        mlq_free(rig->blob);
        rig->blob = mlq_strndup(msg->reply.blob);
    }
}

static inline void rig_client(struct rig *rig, const struct rig_scheduler *to)
{
    struct net_peer_options options = {.endpoint = net_server_endpoint(to->shell->server),
                                       .server_public_key = rig->server_keys.public_key,
                                       .keys = &rig->client_keys};
    struct net_link_callbacks callbacks = {.context = rig,
                                           .connected = rig_on_client_connected,
                                           .disconnected = rig_on_client_disconnected,
                                           .message = rig_on_reply};
    if (rig->client != NULL) {
        rig->client_is_closed = false;
        net_link_close(&rig->client, rig_on_link_closed, &rig->client_is_closed);
        RIG_WAIT(rig, rig->client_is_closed);
    }
    rig->client_is_connected = false;
    assert_int_equal(net_link_create(rig->loop, &options, &callbacks, &rig->client, NULL), MLQ_OK);
    RIG_WAIT(rig, rig->client_is_connected);
}

static inline uint64_t rig_ask(struct rig *rig, struct msg_request request)
{
    struct mlq_err err = MLQ_ERR_INIT;
    request.id = ++rig->next_id;
    if (net_link_send(rig->client, &(struct msg){.kind = MSG_REQUEST, .request = request}, &err) != MLQ_OK) {
        fail_msg("request: %s", err.text);
    }
    return request.id;
}

/* The reply is in rig->code, text, blob, job, end. Returns the code. */
static inline int rig_call(struct rig *rig, struct msg_request request)
{
    uint64_t id = rig_ask(rig, request);
    RIG_WAIT(rig, rig->answered == id);
    return rig->code;
}

static inline uint64_t rig_submit(struct rig *rig, const char *spec, const char *key)
{
    int rc = rig_call(rig, (struct msg_request){.op = MSG_OP_SUBMIT, .spec = spec_text_canonical(spec), .key = mlq_str_from(key)});
    if (rc != MLQ_OK) {
        fail_msg("submit: %d %s", rc, rig->text);
    }
    return rig->job;
}

/* ---- The record, from the database itself ---- */

static inline long rig_count(const struct rig *rig, const char *from)
{
    char sql[512];
    (void)snprintf(sql, sizeof sql, "SELECT count(*) FROM %s", from);
    char *text = pg_cluster_query(rig->database, sql);
    long count = strtol(text, NULL, 10);
    free(text);
    return count;
}

/* What pg_cluster_query says, compared. */
static inline void rig_expect(const struct rig *rig, const char *sql, const char *wanted)
{
    char *text = pg_cluster_query(rig->database, sql);
    assert_non_null(text);
    assert_string_equal(text, wanted);
    free(text);
}

/* ---- Life ---- */

static inline struct rig *rig_open(struct pg_cluster *cluster)
{
    struct rig *rig = mlq_alloc(sizeof *rig);
    rig->cluster = cluster;
    rig->database = pg_cluster_database(cluster);
    rig->lease_ns = 60 * MLQ_NS_PER_S;
    rig->leader_lease_ns = 10 * MLQ_NS_PER_S; /* so that a disk that is busy for seconds deposes nobody */
    (void)unlink("enrolled");
    (void)unlink("server.key");
    assert_int_equal(loop_create(&rig->loop, NULL), MLQ_OK);
    assert_int_equal(uv_timer_init(rig->loop, &rig->pulse), 0);
    assert_int_equal(uv_timer_start(&rig->pulse, on_pulse, 1, 1), 0);
    struct net_keypair *pairs[] = {&rig->server_keys, &rig->client_keys, &rig->w1.keys, &rig->w2.keys};
    for (size_t i = 0; i < MLQ_COUNT_OF(pairs); i++) {
        assert_int_equal(net_keys_generate(pairs[i], NULL), MLQ_OK);
    }
    assert_int_equal(net_keys_save("server.key", &rig->server_keys, NULL), MLQ_OK);
    assert_int_equal(net_keys_enroll("enrolled", NET_ROLE_CLIENT, "me", rig->client_keys.public_key, NULL), 0);
    assert_int_equal(net_keys_enroll("enrolled", NET_ROLE_WORKER, "w1", rig->w1.keys.public_key, NULL), 0);
    assert_int_equal(net_keys_enroll("enrolled", NET_ROLE_WORKER, "w2", rig->w2.keys.public_key, NULL), 0);
    return rig;
}

/* One scheduler that serves, one worker that was welcomed, one client. */
static inline void rig_serve(struct rig *rig)
{
    rig_start(rig, &rig->a, "a");
    RIG_WAIT(rig, rig_serves(&rig->a));
    rig_client(rig, &rig->a);
    rig_join(rig, &rig->w1, &rig->a);
}

static inline struct rig *rig_open_serving(struct pg_cluster *cluster)
{
    struct rig *rig = rig_open(cluster);
    rig_serve(rig);
    return rig;
}

static inline void rig_close(struct rig *rig)
{
    rig_disconnect(rig, &rig->w1);
    rig_disconnect(rig, &rig->w2);
    if (rig->client != NULL) {
        net_link_close(&rig->client, rig_on_link_closed, &rig->client_is_closed);
        RIG_WAIT(rig, rig->client_is_closed);
    }
    rig_stop(rig, &rig->a);
    rig_stop(rig, &rig->b);
    uv_close((uv_handle_t *)&rig->pulse, NULL);
    assert_int_equal(loop_destroy(&rig->loop), 0);
    mlq_free(rig->blob);
    mlq_free(rig->w1.record);
    mlq_free(rig->w2.record);
    mlq_free(rig);
}

#endif
