/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * What the network layer itself costs, on loopback with CURVE: a scheduler's loop in one process,
 * a client in another, requests and replies with a payload of 128 bytes.
 *     bench_net [SECONDS]
 * prints the round trip of one request at a time, and messages a second with many under way.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <uv.h>

#include "lib/loop/loop.h"
#include "lib/net/net.h"
#include "lib/sys/clock.h"
#include "lib/sys/log.h"
#include "lib/sys/mem.h"

#define PAYLOAD_BYTES 128
#define SAMPLES_MAX 2000000
#define WINDOW 512 /* messages under way */

static char payload[PAYLOAD_BYTES];

static void check(int rc, const struct mlq_err *err)
{
    if (rc != MLQ_OK) {
        fprintf(stderr, "bench_net: %s\n", err->text);
        exit(1);
    }
}

/* ---- The scheduler's side --------------------------------------------------------------------- */

static struct net_server *server;

static void on_message(void *context, const struct net_peer *peer, const struct msg *msg)
{
    (void)context;
    struct msg answer = {.kind = MSG_NONE};
    if (msg->kind == MSG_REQUEST) {
        answer = (struct msg){.kind = MSG_REPLY,
                              .reply = {.id = msg->request.id, .blob = msg->request.spec}};
    } else if (msg->kind == MSG_LOG_DATA) {
        answer = (struct msg){.kind = MSG_RECORD_REPLY,
                              .record_reply = {.request = msg->log_data.request,
                                               .json = msg->log_data.bytes}};
    }
    if (answer.kind != MSG_NONE) {
        (void)net_server_send(server, &peer->address, &answer, NULL);
    }
}

static void serve(int ready_fd)
{
    uv_loop_t *loop;
    struct mlq_err err = MLQ_ERR_INIT;
    struct net_server_options options = {
        .endpoint = "tcp://127.0.0.1:0", .key_path = "server.key", .enrolled_path = "enrolled"};
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    check(loop_create(&loop, &err), &err);
    check(net_server_create(loop, &options, on_message, NULL, &server, &err), &err);
    const char *endpoint = net_server_endpoint(server);
    if (write(ready_fd, endpoint, strlen(endpoint) + 1) < 0) {
        exit(1);
    }
    loop_run(loop);
}

/* ---- One at a time ---------------------------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a;
    int64_t y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static void bench_round_trip(const struct net_peer_options *options, int64_t seconds)
{
    struct net_caller *caller;
    struct mlq_err err = MLQ_ERR_INIT;
    int64_t *samples = mlq_alloc_array(SAMPLES_MAX, sizeof *samples);
    struct mlq_region *region = mlq_region_create();
    size_t count = 0;
    check(net_caller_open(options, &caller, &err), &err);
    int64_t end_ns = mlq_clock_boot_ns() + seconds * MLQ_NS_PER_S;
    while (count < SAMPLES_MAX && mlq_clock_boot_ns() < end_ns) {
        struct msg_request request = {.op = MSG_OP_STATUS, .spec = {payload, PAYLOAD_BYTES}};
        struct msg_reply reply;
        int64_t began_ns = mlq_clock_boot_ns();
        mlq_region_reset(region);
        check(net_caller_call(caller, &request, 5 * MLQ_NS_PER_S, region, &reply, &err), &err);
        samples[count++] = mlq_clock_boot_ns() - began_ns;
    }
    samples[0] = samples[count - 1]; /* the first one holds the handshake */
    qsort(samples, count, sizeof *samples, compare);
    printf("round trip   p50 %7.1f us   p99 %7.1f us   max %7.1f us   (%zu)\n",
           (double)samples[count / 2] / 1e3, (double)samples[count * 99 / 100] / 1e3,
           (double)samples[count - 1] / 1e3, count);
    net_caller_close(&caller);
    mlq_region_destroy(&region);
    mlq_free(samples);
}

/* ---- Many under way --------------------------------------------------------------------------- */

struct stream {
    uv_loop_t *loop;
    struct net_link *link;
    uint64_t sent;
    uint64_t answered;
    int64_t began_ns;
    int64_t end_ns;
};

static void fill(struct stream *stream)
{
    while (stream->sent - stream->answered < WINDOW) {
        struct msg msg = {.kind = MSG_LOG_DATA,
                          .log_data = {.request = stream->sent + 1,
                                       .bytes = {payload, PAYLOAD_BYTES}}};
        if (net_link_send(stream->link, &msg, NULL) != MLQ_OK) {
            return;
        }
        stream->sent++;
    }
}

static void on_connected(void *context)
{
    struct stream *stream = context;
    stream->began_ns = mlq_clock_boot_ns();
    fill(stream);
}

static void on_disconnected(void *context)
{
    (void)context;
    fprintf(stderr, "bench_net: the connection broke\n");
    exit(1);
}

static void on_answer(void *context, const struct msg *msg)
{
    struct stream *stream = context;
    if (msg->kind != MSG_RECORD_REPLY || msg->record_reply.request != stream->answered + 1) {
        fprintf(stderr, "bench_net: an answer out of order\n");
        exit(1);
    }
    stream->answered++;
    if (stream->answered % 64 == 0) {
        if (mlq_clock_boot_ns() > stream->end_ns) {
            loop_stop(stream->loop);
        }
        fill(stream);
    }
}

static void bench_stream(const struct net_peer_options *options, int64_t seconds)
{
    struct stream stream = {.sent = 0};
    struct mlq_err err = MLQ_ERR_INIT;
    struct net_link_callbacks callbacks = {.context = &stream,
                                           .connected = on_connected,
                                           .disconnected = on_disconnected,
                                           .message = on_answer};
    check(loop_create(&stream.loop, &err), &err);
    stream.end_ns = mlq_clock_boot_ns() + seconds * MLQ_NS_PER_S;
    check(net_link_create(stream.loop, options, &callbacks, &stream.link, &err), &err);
    loop_run(stream.loop);
    double took_s = (double)(mlq_clock_boot_ns() - stream.began_ns) / 1e9;
    printf("stream       %.0f messages/s each way (%d under way)\n",
           (double)stream.answered / took_s, WINDOW);
    net_link_close(&stream.link, NULL, NULL);
    loop_run(stream.loop);
    (void)loop_destroy(&stream.loop);
}

int main(int argc, char **argv)
{
    int64_t seconds = argc > 1 ? strtol(argv[1], NULL, 10) : 3;
    struct mlq_err err = MLQ_ERR_INIT;
    struct net_keypair keys[3];
    char folder[] = "/tmp/bench_net.XXXXXX";
    char endpoint[128] = "";
    int ready[2];
    memset(payload, 'x', sizeof payload);
    mlq_log_set_level(MLQ_LOG_WARN);
    if (mkdtemp(folder) == NULL || chdir(folder) != 0 || pipe(ready) != 0) {
        perror("bench_net");
        return 1;
    }
    for (int i = 0; i < 3; i++) {
        check(net_keys_generate(&keys[i], &err), &err);
    }
    check(net_keys_save("server.key", &keys[0], &err), &err);
    check(net_keys_enroll("enrolled", NET_ROLE_CLIENT, "c", keys[1].public_key, &err), &err);
    check(net_keys_enroll("enrolled", NET_ROLE_WORKER, "w", keys[2].public_key, &err), &err);
    pid_t pid = fork();
    if (pid == 0) {
        serve(ready[1]);
        _exit(0);
    }
    if (pid < 0 || read(ready[0], endpoint, sizeof endpoint) <= 0) {
        perror("bench_net");
        return 1;
    }
    struct net_peer_options options = {
        .endpoint = endpoint, .server_public_key = keys[0].public_key, .keys = &keys[1]};
    bench_round_trip(&options, seconds);
    options.keys = &keys[2];
    bench_stream(&options, seconds);
    (void)kill(pid, SIGTERM);
    (void)waitpid(pid, NULL, 0);
    (void)unlink("server.key");
    (void)unlink("enrolled");
    (void)rmdir(folder);
    return 0;
}
