/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "lib/net/zap.h"

#include <errno.h>
#include <string.h>
#include <zmq.h>

#include "lib/loop/zpoll.h"
#include "lib/net/enrolled.h"
#include "lib/net/limits.h"
#include "lib/net/zsock.h"
#include "lib/sys/clock.h"
#include "lib/sys/log.h"
#include "lib/sys/mem.h"

#define ZAP_ENDPOINT "inproc://zeromq.zap.01"
#define KEY_BYTES 32
#define FRAME_BYTES_MAX 255

/* Frames of a request, in their order. */
enum zap_frame {
    FRAME_VERSION,
    FRAME_REQUEST,
    FRAME_DOMAIN,
    FRAME_ADDRESS,
    FRAME_IDENTITY,
    FRAME_MECHANISM,
    FRAME_KEY,
    FRAME_COUNT
};

struct frame {
    char bytes[FRAME_BYTES_MAX];
    size_t len;
};

struct zap {
    void *socket;
    struct zpoll *poll;
    struct enrolled *enrolled;
    uint64_t refused;
    struct mlq_log_pace pace;
    void (*closed)(void *context);
    void *closed_context;
};

/* A whole request, so that it can be answered whatever is in it: the frames that do not fit are
 * read and counted, and the key of such a request is nobody's. False: nothing to read. */
static bool receive(struct zap *zap, struct frame *frames, size_t *count)
{
    int more = 1;
    *count = 0;
    while (more != 0) {
        struct frame spare;
        struct frame *frame = *count < FRAME_COUNT ? &frames[*count] : &spare;
        int len = zmq_recv(zap->socket, frame->bytes, sizeof frame->bytes, ZMQ_DONTWAIT);
        if (len < 0) {
            return false;
        }
        frame->len = len < FRAME_BYTES_MAX ? (size_t)len : FRAME_BYTES_MAX; /* the rest is cut */
        ++*count;
        size_t size = sizeof more;
        if (zmq_getsockopt(zap->socket, ZMQ_RCVMORE, &more, &size) != 0) {
            return false;
        }
    }
    return true;
}

static bool frame_is(const struct frame *frame, const char *text)
{
    return frame->len == strlen(text) && memcmp(frame->bytes, text, frame->len) == 0;
}

/* The peer's key as text, when the request is one of ours and whole. */
static bool proven_key(const struct frame *frames, size_t count, char *key)
{
    if (count != FRAME_COUNT || !frame_is(&frames[FRAME_VERSION], "1.0") ||
        !frame_is(&frames[FRAME_DOMAIN], ZAP_DOMAIN) ||
        !frame_is(&frames[FRAME_MECHANISM], "CURVE") || frames[FRAME_KEY].len != KEY_BYTES) {
        return false;
    }
    return zmq_z85_encode(key, (const uint8_t *)frames[FRAME_KEY].bytes, KEY_BYTES) != NULL;
}

static void answer(struct zap *zap, const struct frame *request, const char *status,
                   const char *text, const char *user)
{
    const struct {
        const char *bytes;
        size_t len;
    } parts[] = {
        {"1.0", 3},
        {request->bytes, request->len},
        {status, strlen(status)},
        {text, strlen(text)},
        {user, strlen(user)},
        {"", 0}, /* metadata */
    };
    const size_t count = sizeof parts / sizeof parts[0];
    for (size_t i = 0; i < count; i++) {
        int flags = ZMQ_DONTWAIT | (i + 1 < count ? ZMQ_SNDMORE : 0);
        if (zmq_send(zap->socket, parts[i].bytes, parts[i].len, flags) < 0) {
            /* The handshake gave up meanwhile. No answer means no entry. */
            log_warn("net.zap", "problem=\"%s\"", zmq_strerror(errno));
            return;
        }
    }
}

static void on_request(void *context)
{
    struct zap *zap = context;
    struct frame frames[FRAME_COUNT] = {{.len = 0}};
    size_t count;
    for (int i = 0; i < LIMIT_BURST_MESSAGES && receive(zap, frames, &count); i++) {
        char key[NET_KEY_TEXT_BYTES] = "";
        const struct enrolled_entry *entry = NULL;
        if (proven_key(frames, count, key)) {
            enrolled_refresh(zap->enrolled);
            entry = enrolled_find(zap->enrolled, key);
        }
        const struct frame *address = &frames[FRAME_ADDRESS];
        if (entry != NULL) {
            log_debug("net.connect", "name=%s address=%.*s", entry->name, (int)address->len,
                      address->bytes);
            answer(zap, &frames[FRAME_REQUEST], "200", "OK", key);
        } else {
            uint64_t times;
            zap->refused++;
            if (mlq_log_paced(&zap->pace, mlq_clock_boot_ns(), &times)) {
                log_warn("net.refuse", "key=\"%s\" address=%.*s times=%llu", key,
                         (int)address->len, address->bytes, (unsigned long long)times);
            }
            answer(zap, &frames[FRAME_REQUEST], "400", "not enrolled", "");
        }
        zpoll_sent(zap->poll);
    }
}

int zap_create(struct uv_loop_s *loop, void *context, struct enrolled *enrolled, struct zap **zap,
               struct mlq_err *err)
{
    struct zap *made = mlq_alloc(sizeof *made);
    made->enrolled = enrolled;
    made->socket = zmq_socket(context, ZMQ_REP);
    int rc = MLQ_OK;
    if (made->socket == NULL || zmq_bind(made->socket, ZAP_ENDPOINT) != 0) {
        rc = mlq_fail(err, MLQ_EPERM,
                      "cannot bind the handler that checks keys (%s): without it anyone could "
                      "connect, so the server does not start",
                      zmq_strerror(errno));
    } else {
        rc = zsock_set_int(made->socket, ZMQ_LINGER, 0, err);
    }
    if (rc == MLQ_OK) {
        rc = zpoll_create(loop, made->socket, on_request, made, &made->poll, err);
    }
    if (rc != MLQ_OK) {
        zsock_close(made->socket);
        mlq_free(made);
        return rc;
    }
    *zap = made;
    return MLQ_OK;
}

uint64_t zap_refused(const struct zap *zap)
{
    return zap->refused;
}

static void on_poll_closed(void *context)
{
    struct zap *zap = context;
    void (*closed)(void *context) = zap->closed;
    void *closed_context = zap->closed_context;
    zsock_close(zap->socket);
    mlq_free(zap);
    closed(closed_context);
}

void zap_close(struct zap **zap, void (*closed)(void *context), void *context)
{
    struct zap *closing = *zap;
    *zap = NULL;
    closing->closed = closed;
    closing->closed_context = context;
    zpoll_close(&closing->poll, on_poll_closed, closing);
}
