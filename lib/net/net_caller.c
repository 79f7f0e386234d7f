/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * One request, one reply, waiting. The point is to know whether the request left: before the
 * handshake is done nothing is sent (MLQ_ECONN), after that an answer that does not come leaves the
 * outcome open (MLQ_EUNKNOWN).
 */
#include "lib/net/net.h"

#include <errno.h>
#include <zmq.h>

#include "lib/base/panic.h"
#include "lib/net/limits.h"
#include "lib/net/peer.h"
#include "lib/net/zsock.h"
#include "lib/sys/clock.h"
#include "lib/sys/mem.h"

/* An attempt that has led to nothing for so long (longer than any handshake) is begun anew. */
#define STUCK_NS (5 * MLQ_NS_PER_S)

struct net_caller {
    struct peer peer;
    struct mlq_region *out;
    uint64_t last_id;
};

int net_caller_open(const struct net_peer_options *options, struct net_caller **caller,
                    struct mlq_err *err)
{
    struct net_caller *made = mlq_alloc(sizeof *made);
    int rc = peer_open(&made->peer, options, err);
    if (rc != MLQ_OK) {
        mlq_free(made);
        return rc;
    }
    made->out = mlq_region_create();
    *caller = made;
    return MLQ_OK;
}

void net_caller_close(struct net_caller **caller)
{
    if (*caller == NULL) {
        return;
    }
    peer_close(&(*caller)->peer, 0);
    mlq_region_destroy(&(*caller)->out);
    mlq_free(*caller);
    *caller = NULL;
}

/* Until something happens to the connection, or the socket is ready for `events` (0: for nothing);
 * at most until the deadline. */
static void wait_any(struct net_caller *caller, short events, int64_t deadline_ns)
{
    zmq_pollitem_t items[] = {
        {.socket = caller->peer.monitor, .events = ZMQ_POLLIN},
        {.socket = caller->peer.socket, .events = events},
    };
    int64_t left_ns = deadline_ns - mlq_clock_boot_ns();
    long left_ms = left_ns <= 0 ? 0 : (long)((left_ns + MLQ_NS_PER_MS - 1) / MLQ_NS_PER_MS);
    (void)zmq_poll(items, events != 0 ? 2 : 1, left_ms); /* EINTR: the callers look at the clock */
}

static int not_reached(const struct net_caller *caller, struct mlq_err *err)
{
    return mlq_fail(err, MLQ_ECONN, "no scheduler reached at %s: %s", caller->peer.endpoint,
                    peer_failure_text(caller->peer.last_failure));
}

/* After return with MLQ_OK the handshake is done. */
static int wait_connected(struct net_caller *caller, int64_t deadline_ns, struct mlq_err *err)
{
    struct peer *peer = &caller->peer;
    int64_t began_ns = mlq_clock_boot_ns();
    while (peer_next(peer) != PEER_NOTHING) {
    }
    if (!peer->connected && peer->last_failure == PEER_NOT_ENROLLED) {
        int rc = peer_reconnect(peer, err); /* an earlier call's failure: perhaps enrolled now */
        if (rc != MLQ_OK) {
            return rc;
        }
    }
    while (!peer->connected) {
        int64_t now_ns = mlq_clock_boot_ns();
        if (now_ns >= deadline_ns) {
            return not_reached(caller, err);
        }
        if (now_ns - began_ns >= STUCK_NS) {
            began_ns = now_ns;
            int rc = peer_reconnect(peer, err);
            if (rc != MLQ_OK) {
                return rc;
            }
        }
        int64_t stuck_ns = began_ns + STUCK_NS;
        wait_any(caller, 0, deadline_ns < stuck_ns ? deadline_ns : stuck_ns);
        enum peer_event event;
        while ((event = peer_next(peer)) != PEER_NOTHING) {
            if (event == PEER_NOT_ENROLLED) {
                return not_reached(caller, err); /* waiting changes nothing */
            }
        }
    }
    return MLQ_OK;
}

static int unknown(const struct net_caller *caller, const char *why, struct mlq_err *err)
{
    return mlq_fail(err, MLQ_EUNKNOWN,
                    "the scheduler at %s was sent the request, but %s: it may or may not have been "
                    "carried out (the same idempotency key makes it safe to repeat)",
                    caller->peer.endpoint, why);
}

/* MLQ_EAGAIN: not the answer to this request; read on. */
static int take_answer(struct net_caller *caller, uint64_t id, struct mlq_region *region,
                       struct msg_reply *reply, struct mlq_err *err)
{
    struct msg msg;
    uint32_t version;
    int rc = peer_receive(&caller->peer, region, &msg, &version, err);
    if (rc == MLQ_EPROTO) {
        return rc;
    }
    if (rc == MLQ_ECORRUPT || rc == MLQ_EFULL) {
        return mlq_wrap(err, MLQ_EUNKNOWN, "the reply cannot be read");
    }
    if (rc != MLQ_OK) {
        return rc;
    }
    if (msg.kind == MSG_REFUSED) {
        return mlq_fail(err, msg.refused.code < 0 ? msg.refused.code : MLQ_EPROTO,
                        "the scheduler at %s refused the request: %.*s", caller->peer.endpoint,
                        MLQ_STR_ARG(msg.refused.text));
    }
    if (msg.kind != MSG_REPLY || msg.reply.id != id) {
        return MLQ_EAGAIN; /* an answer that an earlier call did not wait for */
    }
    *reply = msg.reply;
    return MLQ_OK;
}

static int wait_answer(struct net_caller *caller, uint64_t id, int64_t deadline_ns,
                       struct mlq_region *region, struct msg_reply *reply, struct mlq_err *err)
{
    bool lost = false;
    for (;;) {
        /* The connection is looked at before the queue: what had arrived when it broke counts. */
        enum peer_event event;
        while ((event = peer_next(&caller->peer)) != PEER_NOTHING) {
            lost = lost || event == PEER_DISCONNECTED;
        }
        int rc = take_answer(caller, id, region, reply, err);
        if (rc != MLQ_EAGAIN) {
            return rc;
        }
        int events = 0;
        size_t size = sizeof events;
        if (zmq_getsockopt(caller->peer.socket, ZMQ_EVENTS, &events, &size) == 0 &&
            (events & ZMQ_POLLIN) != 0) {
            continue;
        }
        if (lost) {
            return unknown(caller, "the connection broke before the answer", err);
        }
        if (mlq_clock_boot_ns() >= deadline_ns) {
            return unknown(caller, "did not answer in time", err);
        }
        wait_any(caller, ZMQ_POLLIN, deadline_ns);
    }
}

int net_caller_call(struct net_caller *caller, struct msg_request *request, int64_t timeout_ns,
                    struct mlq_region *region, struct msg_reply *reply, struct mlq_err *err)
{
    int64_t deadline_ns;
    if (__builtin_add_overflow(mlq_clock_boot_ns(), timeout_ns, &deadline_ns)) {
        deadline_ns = INT64_MAX - STUCK_NS;
    }
    request->id = ++caller->last_id;
    struct msg msg = {.kind = MSG_REQUEST, .request = *request};
    for (;;) {
        int rc = wait_connected(caller, deadline_ns, err);
        if (rc != MLQ_OK) {
            return rc;
        }
        rc = zsock_send(caller->peer.socket, NULL, &msg, LIMIT_FRAME_TO_SERVER_BYTES, caller->out,
                        err);
        if (rc == MLQ_OK) {
            return wait_answer(caller, request->id, deadline_ns, region, reply, err);
        }
        /* An empty queue is full only when its connection has just broken, which the monitor is
         * about to say. Anything else is the message itself. */
        if (rc != MLQ_EAGAIN) {
            return rc;
        }
        if (mlq_clock_boot_ns() >= deadline_ns) {
            return not_reached(caller, err);
        }
        wait_any(caller, ZMQ_POLLOUT, deadline_ns);
    }
}
