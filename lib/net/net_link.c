/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * A worker's connection on its loop. libzmq reconnects by itself except where it gives up for ever
 * (peer.h); the watchdog begins anew there.
 */
#include "lib/net/net.h"

#include "lib/loop/loop.h"
#include "lib/loop/zpoll.h"
#include "lib/net/limits.h"
#include "lib/net/peer.h"
#include "lib/net/zsock.h"
#include "lib/sys/clock.h"
#include "lib/sys/log.h"
#include "lib/sys/mem.h"

/* After a no of the server: soon, since a key may be enrolled at any time. Else later than any
 * handshake takes. */
#define RETRY_NS MLQ_NS_PER_S
#define STUCK_NS (5 * MLQ_NS_PER_S)

struct net_link {
    struct peer peer;
    struct zpoll *poll;
    struct zpoll *monitor_poll;
    struct loop_timer *watchdog;
    struct mlq_region *in;
    struct mlq_region *out;
    struct net_link_callbacks callbacks;
    enum peer_event logged; /* each way of failing is said once */
    bool closing;
    unsigned open_parts;
    void (*closed)(void *context);
    void *closed_context;
};

static void on_event(struct net_link *link, enum peer_event event)
{
    void *context = link->callbacks.context;
    if (event == PEER_CONNECTED) {
        loop_timer_clear(link->watchdog);
        link->logged = PEER_NOTHING;
        log_info("net.connected", "endpoint=%s", link->peer.endpoint);
        link->callbacks.connected(context);
        return;
    }
    if (event == PEER_DISCONNECTED) {
        loop_timer_set(link->watchdog, STUCK_NS, 0);
        log_warn("net.disconnected", "endpoint=%s", link->peer.endpoint);
        link->callbacks.disconnected(context);
        return;
    }
    if (event == PEER_NOT_ENROLLED) {
        loop_timer_set(link->watchdog, RETRY_NS, 0);
    }
    bool failure = event == PEER_NOT_ENROLLED || event == PEER_CUT_OFF || event == PEER_NO_LISTENER;
    if (failure && event != link->logged) {
        link->logged = event;
        log_warn("net.unreachable", "endpoint=%s why=\"%s\"", link->peer.endpoint,
                 peer_failure_text(event));
    }
}

static void on_monitor(void *context)
{
    struct net_link *link = context;
    enum peer_event event;
    while (!link->closing && (event = peer_next(&link->peer)) != PEER_NOTHING) {
        on_event(link, event);
    }
}

static void on_watchdog(void *context)
{
    struct net_link *link = context;
    struct mlq_err err = MLQ_ERR_INIT;
    if (!link->peer.connected && peer_reconnect(&link->peer, &err) != MLQ_OK) {
        log_warn("net.unreachable", "endpoint=%s why=\"%s\"", link->peer.endpoint, err.text);
    }
    loop_timer_set(link->watchdog, STUCK_NS, 0);
}

static void on_readable(void *context)
{
    struct net_link *link = context;
    on_monitor(link); /* connected comes before the first message */
    for (int i = 0; i < LIMIT_BURST_MESSAGES && !link->closing; i++) {
        struct msg msg;
        uint32_t version;
        struct mlq_err err = MLQ_ERR_INIT;
        mlq_region_reset(link->in);
        int rc = peer_receive(&link->peer, link->in, &msg, &version, &err);
        if (rc == MLQ_EAGAIN) {
            return;
        }
        if (rc == MLQ_EPROTO) {
            msg = (struct msg){.kind = MSG_REFUSED,
                               .refused = {.code = MLQ_EPROTO,
                                           .text = mlq_str_from(err.text),
                                           .version_theirs = version,
                                           .version_ours = MSG_PROTOCOL_VERSION}};
        } else if (rc != MLQ_OK) {
            log_warn("net.malformed", "endpoint=%s why=\"%s\"", link->peer.endpoint, err.text);
            continue;
        }
        link->callbacks.message(link->callbacks.context, &msg);
    }
}

static void free_link(struct net_link *link)
{
    peer_close(&link->peer, ZSOCK_LINGER_MS);
    mlq_region_destroy(&link->in);
    mlq_region_destroy(&link->out);
    mlq_free(link);
}

static void on_part_closed(void *context)
{
    struct net_link *link = context;
    if (--link->open_parts > 0) {
        return;
    }
    void (*closed)(void *context) = link->closed;
    void *closed_context = link->closed_context;
    free_link(link);
    if (closed != NULL) {
        closed(closed_context);
    }
}

int net_link_create(struct uv_loop_s *loop, const struct net_peer_options *options,
                    const struct net_link_callbacks *callbacks, struct net_link **link,
                    struct mlq_err *err)
{
    struct net_link *made = mlq_alloc(sizeof *made);
    made->callbacks = *callbacks;
    made->in = mlq_region_create();
    made->out = mlq_region_create();
    int rc = peer_open(&made->peer, options, err);
    if (rc == MLQ_OK) {
        rc = zpoll_create(loop, made->peer.monitor, on_monitor, made, &made->monitor_poll, err);
        made->open_parts += rc == MLQ_OK;
    }
    if (rc == MLQ_OK) {
        rc = zpoll_create(loop, made->peer.socket, on_readable, made, &made->poll, err);
        made->open_parts += rc == MLQ_OK;
    }
    if (rc != MLQ_OK) {
        if (made->monitor_poll != NULL) {
            zpoll_close(&made->monitor_poll, on_part_closed, made);
        } else {
            free_link(made);
        }
        return rc;
    }
    made->watchdog = loop_timer_create(loop, on_watchdog, made);
    loop_timer_set(made->watchdog, STUCK_NS, 0);
    *link = made;
    return MLQ_OK;
}

int net_link_send(struct net_link *link, const struct msg *msg, struct mlq_err *err)
{
    if (!link->peer.connected) {
        return mlq_fail(err, MLQ_ECONN, "not connected to the scheduler at %s",
                        link->peer.endpoint);
    }
    int rc = zsock_send(link->peer.socket, NULL, msg, LIMIT_FRAME_TO_SERVER_BYTES, link->out, err);
    if (!link->closing) {
        zpoll_sent(link->poll);
    }
    return rc == MLQ_EAGAIN ? MLQ_EFULL : rc;
}

void net_link_close(struct net_link **link, void (*closed)(void *context), void *context)
{
    struct net_link *closing = *link;
    *link = NULL;
    if (closing == NULL) {
        return;
    }
    closing->closing = true;
    closing->closed = closed;
    closing->closed_context = context;
    loop_timer_close(&closing->watchdog);
    zpoll_close(&closing->monitor_poll, on_part_closed, closing);
    zpoll_close(&closing->poll, on_part_closed, closing);
}
