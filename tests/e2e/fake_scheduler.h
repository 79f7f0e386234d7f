/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * A scheduler of a few rules, over the real connection, for tests of the real worker program: it
 * welcomes, acknowledges and remembers what it heard. Each test says what it sends. On a busy machine
 * a test is slow to acknowledge heartbeats, the worker says hello again, and an assignment that crosses
 * this hello is lost, as it should be; so what a hello does not claim is assigned again.
 */
#ifndef MLQ_TESTS_E2E_FAKE_SCHEDULER_H
#define MLQ_TESTS_E2E_FAKE_SCHEDULER_H

#include "tests/unit/cm.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>

#include "lib/artifact/cas.h"
#include "lib/loop/loop.h"
#include "lib/net/codec.h"
#include "lib/net/limits.h"
#include "lib/net/net.h"
#include "lib/sys/clock.h"
#include "lib/sys/fs.h"
#include "lib/sys/mem.h"
#include "lib/sys/region.h"
#include "tests/support/patience.h"
#include "worker/agent/cause.h"

#define PATIENCE_NS patience(60 * MLQ_NS_PER_S)
#define ENDS_MAX     64
#define ORDERS_MAX   64
#define NOTES_MAX    256
#define HEARTBEAT_NS (100 * MLQ_NS_PER_MS)

struct heard_artifact {
    char name[64];
    char digest[CAS_DIGEST_TEXT_BYTES];
    bool is_tree;
};

struct heard_metric {
    char name[64];
    double value;
    int64_t step;
};

struct heard_end {
    uint64_t attempt;
    uint32_t rank;
    unsigned times; /* how often it was reported */
    uint32_t cause;
    int exit_code;
    int signal;
    char detail[300];
    struct heard_artifact artifacts[16];
    size_t artifact_count;
    struct heard_metric metrics[16];
    size_t metric_count;
};

/* A message of assignments: it arrives whole or not at all. */
struct fake_order {
    struct msg_member first;
    struct mlq_str frame;
};

struct fake {
    uv_loop_t *loop;
    struct net_server *server;
    char endpoint[256];
    char server_public[NET_KEY_TEXT_BYTES];
    bool is_closed;
    pid_t worker;
    /* How it behaves. */
    uint32_t epoch;
    int64_t lease_ns;
    bool is_deaf; /* welcomes nobody and acknowledges nothing */
    bool acks_ends;
    /* What it assigned. */
    struct mlq_region *region;
    struct fake_order orders[ORDERS_MAX];
    size_t order_count;
    /* What it heard. */
    struct net_address address;
    uint64_t session;
    unsigned hellos;
    unsigned heartbeats;
    unsigned leavings;
    unsigned started;
    unsigned reports; /* messages */
    size_t claim_count;
    struct msg_member claims[16];
    char software[200];
    struct heard_end ends[ENDS_MAX];
    size_t end_count;
    struct heard_metric notes[NOTES_MAX];
    size_t note_count;
    double progress;
    char progress_text[300];
    struct msg_log_data log; /* the last answer; bytes in log_bytes */
    char log_bytes[4096];
    unsigned logs;
    uint64_t record_request;
};

static inline void fake_send(struct fake *f, struct msg *msg)
{
    struct mlq_err err = MLQ_ERR_INIT;
    msg->epoch = f->epoch;
    int rc = net_server_send(f->server, &f->address, msg, &err);
    if (rc != MLQ_OK && rc != MLQ_ECONN) { /* it may have left just now */
        fail_msg("send: %s", err.text);
    }
}

static inline void copy_text(char *to, size_t room, struct mlq_str from)
{
    (void)snprintf(to, room, "%.*s", MLQ_STR_ARG(from));
}

static inline struct heard_end *fake_end(struct fake *f, uint64_t attempt, uint32_t rank)
{
    for (size_t i = 0; i < f->end_count; i++) {
        if (f->ends[i].attempt == attempt && f->ends[i].rank == rank) {
            return &f->ends[i];
        }
    }
    return NULL;
}

static inline void hear_metric(struct heard_metric *to, const struct msg_metric *from)
{
    copy_text(to->name, sizeof to->name, from->name);
    to->value = from->value;
    to->step = from->step;
}

static inline void hear_end(struct fake *f, const struct msg_report_item *item)
{
    struct heard_end *end = fake_end(f, item->member.attempt, item->member.rank);
    if (end == NULL) {
        assert_true(f->end_count < ENDS_MAX);
        end = &f->ends[f->end_count++];
    }
    *end = (struct heard_end){.attempt = item->member.attempt,
                              .rank = item->member.rank,
                              .times = end->times + 1,
                              .cause = item->cause,
                              .exit_code = item->exit_code,
                              .signal = item->signal};
    copy_text(end->detail, sizeof end->detail, item->detail);
    for (size_t i = 0; i < item->artifact_count && i < 16; i++) {
        copy_text(end->artifacts[i].name, 64, item->artifacts[i].name);
        copy_text(end->artifacts[i].digest, CAS_DIGEST_TEXT_BYTES, item->artifacts[i].digest);
        end->artifacts[i].is_tree = item->artifacts[i].is_tree;
        end->artifact_count++;
    }
    for (size_t i = 0; i < item->metric_count && i < 16; i++) {
        hear_metric(&end->metrics[end->metric_count++], &item->metrics[i]);
    }
}

static inline void hear_report(struct fake *f, const struct msg_report *report)
{
    f->reports++;
    for (size_t i = 0; i < report->count; i++) {
        const struct msg_report_item *item = &report->items[i];
        if (item->kind == MSG_REPORT_STARTED) {
            f->started++;
        } else if (item->kind == MSG_REPORT_NOTE) {
            for (size_t k = 0; k < item->metric_count && f->note_count < NOTES_MAX; k++) {
                hear_metric(&f->notes[f->note_count++], &item->metrics[k]);
            }
        } else {
            hear_end(f, item);
            if (f->acks_ends && !f->is_deaf) {
                struct msg ack = {.kind = MSG_ACK, .ack = {.items = &item->member, .count = 1}};
                fake_send(f, &ack);
            }
        }
    }
}

/* ---- Assignments ---- */

static inline void fake_assign(struct fake *f, const struct msg_assignment *items, size_t count)
{
    struct msg msg = {.kind = MSG_ASSIGN,
                      .epoch = f->epoch,
                      .assign = {.session = f->session, .items = items, .count = count}};
    struct codec_packing packing;
    assert_true(f->order_count < ORDERS_MAX);
    assert_int_equal(codec_prepare(&msg, LIMIT_FRAME_TO_PEER_BYTES, f->region, &packing, NULL),
                     0);
    uint8_t *frame = mlq_region_alloc(f->region, packing.bytes);
    assert_int_equal(codec_pack(&packing, frame, NULL), 0);
    f->orders[f->order_count++] = (struct fake_order){
        .first = items[0].member, .frame = {.ptr = (const char *)frame, .len = packing.bytes}};
    fake_send(f, &msg);
}

static inline bool is_claimed(const struct msg_hello *hello, struct msg_member member)
{
    for (size_t i = 0; i < hello->claim_count; i++) {
        if (hello->claims[i].attempt == member.attempt && hello->claims[i].rank == member.rank) {
            return true;
        }
    }
    return false;
}

static inline void assign_again(struct fake *f, const struct msg_hello *hello)
{
    for (size_t i = 0; i < f->order_count; i++) {
        const struct fake_order *order = &f->orders[i];
        struct msg_member first = order->first;
        if (is_claimed(hello, first) || fake_end(f, first.attempt, first.rank) != NULL) {
            continue;
        }
        struct msg msg;
        uint32_t version;
        assert_int_equal(codec_decode(order->frame, LIMIT_FRAME_TO_PEER_BYTES, f->region, &msg,
                                      &version, NULL),
                         0);
        msg.assign.session = hello->session;
        fake_send(f, &msg);
    }
}

/* ---- What it hears ---- */

static inline void hear_hello(struct fake *f, const struct msg_hello *hello)
{
    f->hellos++;
    assert_true(hello->session > f->session);
    f->session = hello->session;
    f->claim_count = hello->claim_count;
    copy_text(f->software, sizeof f->software, hello->software);
    for (size_t i = 0; i < hello->claim_count && i < 16; i++) {
        f->claims[i] = hello->claims[i];
    }
    if (!f->is_deaf) {
        struct msg welcome = {.kind = MSG_WELCOME,
                              .welcome = {.cluster = MLQ_STR("test"),
                                          .session = hello->session,
                                          .worker = 1,
                                          .lease_ns = f->lease_ns,
                                          .heartbeat_ns = HEARTBEAT_NS}};
        fake_send(f, &welcome);
        assign_again(f, hello);
    }
}

static inline void hear_heartbeat(struct fake *f, const struct msg_heartbeat *heartbeat)
{
    f->heartbeats++;
    if (heartbeat->progress_count > 0) {
        f->progress = heartbeat->progress[0].fraction;
        copy_text(f->progress_text, sizeof f->progress_text, heartbeat->progress[0].text);
    }
    if (!f->is_deaf) {
        struct msg ack = {
            .kind = MSG_HEARTBEAT_ACK,
            .heartbeat_ack = {.session = heartbeat->session, .sent_ns = heartbeat->sent_ns}};
        ack.epoch = f->epoch;
        (void)net_server_send(f->server, &f->address, &ack, NULL); /* it may have hung up: a late answer is none */
    }
}

static inline void fake_hear(void *context, const struct net_peer *peer, const struct msg *msg)
{
    struct fake *f = context;
    f->address = peer->address;
    if (msg->kind == MSG_HELLO) {
        hear_hello(f, &msg->hello);
    } else if (msg->kind == MSG_HEARTBEAT) {
        hear_heartbeat(f, &msg->heartbeat);
    } else if (msg->kind == MSG_REPORT) {
        hear_report(f, &msg->report);
    } else if (msg->kind == MSG_LOG_DATA) {
        f->log = msg->log_data;
        assert_true(msg->log_data.bytes.len < sizeof f->log_bytes);
        copy_text(f->log_bytes, sizeof f->log_bytes, msg->log_data.bytes);
        f->logs++;
    } else if (msg->kind == MSG_RECORD_REQUEST) {
        f->record_request = msg->record_request.request;
    } else if (msg->kind == MSG_LEAVING) {
        f->leavings++;
    } else {
        fail_msg("a worker sent message kind %d", (int)msg->kind);
    }
}

#define FAKE_WAIT(f, condition)                                                                    \
    do {                                                                                           \
        int64_t until_ns_ = mlq_clock_boot_ns() + PATIENCE_NS;                                     \
        while (!(condition)) {                                                                     \
            (void)uv_run((f)->loop, UV_RUN_NOWAIT);                                                \
            (void)usleep(1000);                                                                    \
            if (mlq_clock_boot_ns() > until_ns_) {                                                 \
                fail_msg("waited in vain for %s", #condition);                                     \
            }                                                                                      \
        }                                                                                          \
    } while (0)

/* Lets the world go on for a while in which nothing is expected to happen. */
static inline void fake_run_for(struct fake *f, int64_t ns)
{
    int64_t until = mlq_clock_boot_ns() + ns;
    while (mlq_clock_boot_ns() < until) {
        (void)uv_run(f->loop, UV_RUN_NOWAIT);
        (void)usleep(1000);
    }
}

static inline void fake_open(struct fake *f)
{
    struct net_keypair server;
    struct net_keypair worker;
    struct mlq_err err = MLQ_ERR_INIT;
    *f = (struct fake){.epoch = 3, .lease_ns = 20 * MLQ_NS_PER_S, .acks_ends = true};
    f->region = mlq_region_create();
    assert_int_equal(mlq_fs_remove_tree("home", NULL), 0);
    assert_int_equal(mlq_fs_remove_tree("store", NULL), 0);
    (void)unlink("enrolled");
    assert_int_equal(loop_create(&f->loop, NULL), 0);
    assert_int_equal(net_keys_generate(&server, NULL), 0);
    assert_int_equal(net_keys_generate(&worker, NULL), 0);
    assert_int_equal(net_keys_save("server.key", &server, NULL), 0);
    assert_int_equal(net_keys_save("worker.key", &worker, NULL), 0);
    assert_int_equal(net_keys_enroll("enrolled", NET_ROLE_WORKER, "w1", worker.public_key, NULL),
                     0);
    memcpy(f->server_public, server.public_key, sizeof server.public_key);
    const struct net_server_options options = {
        .endpoint = "tcp://127.0.0.1:0", .key_path = "server.key", .enrolled_path = "enrolled"};
    if (net_server_create(f->loop, &options, fake_hear, f, &f->server, &err) != MLQ_OK) {
        fail_msg("%s", err.text);
    }
    (void)snprintf(f->endpoint, sizeof f->endpoint, "%s", net_server_endpoint(f->server));
}

static inline void fake_closed(void *context)
{
    struct fake *f = context;
    f->is_closed = true;
}

static inline void fake_start_worker(struct fake *f)
{
    char program[4096];
    (void)snprintf(program, sizeof program, "%s/mlq-worker", getenv("MLQ_BIN_DIR"));
    f->worker = fork();
    if (f->worker == 0) {
        int log = open("worker.log", O_WRONLY | O_CREAT | O_APPEND, 0600);
        (void)dup2(log, 2);
        execl(program, "mlq-worker", "--name", "w1", "--home", "home", "--endpoint", f->endpoint,
              "--server-key", f->server_public, "--key", "worker.key", "--store", "store", "--gpus",
              "none", "--log-level", "debug", (char *)NULL);
        _exit(126);
    }
}

/* By signal; its exit status, or minus the signal that killed it. */
static inline int fake_end_worker(struct fake *f, int number)
{
    int status = 0;
    assert_int_equal(kill(f->worker, number), 0);
    FAKE_WAIT(f, waitpid(f->worker, &status, WNOHANG) == f->worker);
    f->worker = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static inline void fake_close(struct fake *f)
{
    if (f->worker != 0) {
        assert_int_equal(fake_end_worker(f, SIGTERM), 0);
    }
    net_server_close(&f->server, fake_closed, f);
    FAKE_WAIT(f, f->is_closed);
    assert_int_equal(loop_destroy(&f->loop), 0);
    mlq_region_destroy(&f->region);
}

#endif
