/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The client of the meeting point: blocking calls, each with a deadline.
 */
#include <errno.h>
#include <inttypes.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/panic.h"
#include "lib/sys/clock.h"
#include "lib/sys/mem.h"
#include "worker/coll/coll_store.h"
#include "worker/coll/coll_store_wire.h"

#define RETRY_MS 50

struct coll_store_client {
    int fd;
};

/* Milliseconds left, at least 0, and small enough for poll. */
static int left_ms(int64_t deadline_ns)
{
    int64_t left = (deadline_ns - mlq_clock_boot_ns()) / MLQ_NS_PER_MS;
    return left < 0 ? 0 : left > 1000000 ? 1000000 : (int)left;
}

static int wait_for(int fd, short events, int64_t deadline_ns, struct mlq_err *err)
{
    for (;;) {
        struct pollfd waiting = {.fd = fd, .events = events};
        int ready = poll(&waiting, 1, left_ms(deadline_ns));
        if (ready > 0) {
            return 0;
        }
        if (ready == 0) {
            return mlq_fail(err, MLQ_ETIMEOUT, "rank 0's rendezvous did not answer in time");
        }
        if (errno != EINTR) {
            return mlq_fail(err, MLQ_EIO, "poll: %s", strerror(errno));
        }
    }
}

static int send_all(int fd, const void *data, size_t len, int64_t deadline_ns, struct mlq_err *err)
{
    const uint8_t *at = data;
    while (len > 0) {
        int rc = wait_for(fd, POLLOUT, deadline_ns, err);
        if (rc != 0) {
            return rc;
        }
        ssize_t sent = send(fd, at, len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno != EAGAIN && errno != EINTR) {
            return mlq_fail(err, MLQ_ECONN, "rank 0's rendezvous: %s", strerror(errno));
        }
        at += sent > 0 ? sent : 0;
        len -= sent > 0 ? (size_t)sent : 0;
    }
    return 0;
}

static int receive_all(int fd, void *data, size_t len, int64_t deadline_ns, struct mlq_err *err)
{
    uint8_t *at = data;
    while (len > 0) {
        int rc = wait_for(fd, POLLIN, deadline_ns, err);
        if (rc != 0) {
            return rc;
        }
        ssize_t got = recv(fd, at, len, MSG_DONTWAIT);
        if (got == 0) {
            return mlq_fail(err, MLQ_ECONN, "rank 0's rendezvous closed the connection");
        }
        if (got < 0 && errno != EAGAIN && errno != EINTR) {
            return mlq_fail(err, MLQ_ECONN, "rank 0's rendezvous: %s", strerror(errno));
        }
        at += got > 0 ? got : 0;
        len -= got > 0 ? (size_t)got : 0;
    }
    return 0;
}

/* `value` may be NULL when none is expected. */
static int receive_reply(int fd, void *value, size_t *len, int64_t deadline_ns, struct mlq_err *err)
{
    static const char *const refusals[] = {
        [STORE_REFUSED_PROTOCOL] = "the request was malformed",
        [STORE_REFUSED_OTHER_GANG] = "this rank belongs to another gang or attempt",
        [STORE_REFUSED_SET_TWICE] = "the key is set already (two processes with one RANK?)",
        [STORE_REFUSED_FULL] = "too many keys",
        [STORE_REFUSED_GENERATION] = "this rank belongs to another generation of the gang",
    };
    uint8_t head[STORE_REPLY_BYTES];
    int rc = receive_all(fd, head, sizeof(head), deadline_ns, err);
    if (rc != 0) {
        return rc;
    }
    uint32_t status = store_get_u32(head), value_len = store_get_u32(head + 4);
    if (status != STORE_OK) {
        const char *why = status < MLQ_COUNT_OF(refusals) ? refusals[status] : "unknown status";
        return mlq_fail(err, MLQ_EPERM, "rank 0's rendezvous refused: %s", why);
    }
    if (value_len > (value == NULL ? 0 : COLL_STORE_VALUE_BYTES_MAX)) {
        return mlq_fail(err, MLQ_EPROTO, "rank 0's rendezvous sent %" PRIu32 " bytes", value_len);
    }
    if (value != NULL) {
        *len = value_len;
        rc = receive_all(fd, value, value_len, deadline_ns, err);
    }
    return rc;
}

static int say_hello(const struct coll_gang *gang, int fd, int64_t deadline_ns, struct mlq_err *err)
{
    uint8_t hello[STORE_HELLO_BYTES + COLL_NAME_BYTES_MAX];
    size_t name_len = strlen(gang->name);
    MLQ_ASSERT(name_len <= COLL_NAME_BYTES_MAX);
    memcpy(hello, STORE_MAGIC, STORE_MAGIC_BYTES);
    store_put_u32(hello + STORE_MAGIC_BYTES, gang->rank);
    store_put_u32(hello + STORE_MAGIC_BYTES + 4, gang->size);
    store_put_u32(hello + STORE_MAGIC_BYTES + 8, (uint32_t)gang->generation);
    store_put_u32(hello + STORE_MAGIC_BYTES + 12, (uint32_t)(gang->generation >> 32));
    store_put_u32(hello + STORE_MAGIC_BYTES + 16, (uint32_t)name_len);
    memcpy(hello + STORE_HELLO_BYTES, gang->name, name_len);
    int rc = send_all(fd, hello, STORE_HELLO_BYTES + name_len, deadline_ns, err);
    return rc != 0 ? rc : receive_reply(fd, NULL, NULL, deadline_ns, err);
}

/* One attempt: a connected socket, or -1 with *reason set. */
static int try_connect(const struct addrinfo *to, int64_t deadline_ns, int *reason)
{
    int fd = socket(to->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        *reason = errno;
        return -1;
    }
    *reason = connect(fd, to->ai_addr, to->ai_addrlen) == 0 ? 0 : errno;
    if (*reason == EINPROGRESS) {
        socklen_t len = sizeof(*reason);
        if (wait_for(fd, POLLOUT, deadline_ns, NULL) != 0) {
            *reason = ETIMEDOUT;
        } else if (getsockopt(fd, SOL_SOCKET, SO_ERROR, reason, &len) != 0) {
            *reason = errno;
        }
    }
    /* On loopback a socket may meet itself when the port is in the ephemeral range and nobody
     * listens. */
    struct sockaddr_storage own = {.ss_family = 0}, peer = {.ss_family = 0};
    socklen_t own_len = sizeof(own), peer_len = sizeof(peer);
    if (*reason == 0 && getsockname(fd, (struct sockaddr *)&own, &own_len) == 0 &&
        getpeername(fd, (struct sockaddr *)&peer, &peer_len) == 0 && own_len == peer_len &&
        memcmp(&own, &peer, own_len) == 0) {
        *reason = ECONNREFUSED;
    }
    if (*reason != 0) {
        (void)close(fd);
        return -1;
    }
    return fd;
}

static int connect_until(const struct coll_gang *gang,
                         int64_t deadline_ns,
                         int *connected,
                         struct mlq_err *err)
{
    char port[8];
    (void)snprintf(port, sizeof(port), "%u", gang->port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    int error = getaddrinfo(gang->address, port, &hints, &found);
    if (error != 0) {
        return mlq_fail(err, MLQ_EINVAL, "MASTER_ADDR '%s': %s", gang->address,
                        gai_strerror(error));
    }
    int reason = 0;
    *connected = -1;
    do {
        *connected = try_connect(found, deadline_ns, &reason);
        if (*connected < 0) {
            (void)poll(NULL, 0, left_ms(deadline_ns) < RETRY_MS ? left_ms(deadline_ns) : RETRY_MS);
        }
    } while (*connected < 0 && left_ms(deadline_ns) > 0);
    freeaddrinfo(found);
    if (*connected < 0) {
        return mlq_fail(err, MLQ_ETIMEOUT, "rank 0 is not there at %s:%u: %s", gang->address,
                        gang->port, strerror(reason));
    }
    return 0;
}

int coll_store_client_open(const struct coll_gang *gang,
                           int64_t deadline_ns,
                           struct coll_store_client **store,
                           char *local_address,
                           struct mlq_err *err)
{
    *store = NULL;
    int fd = -1;
    int rc = connect_until(gang, deadline_ns, &fd, err);
    if (rc != 0) {
        return rc;
    }
    int on = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    struct sockaddr_storage local = {.ss_family = 0};
    socklen_t len = sizeof(local);
    if (getsockname(fd, (struct sockaddr *)&local, &len) != 0 ||
        getnameinfo((struct sockaddr *)&local, len, local_address, COLL_STORE_ADDRESS_BYTES, NULL,
                    0, NI_NUMERICHOST) != 0) {
        rc = mlq_fail(err, MLQ_EIO, "own address on the way to %s: %s", gang->address,
                      strerror(errno));
    }
    if (rc == 0) {
        rc = say_hello(gang, fd, deadline_ns, err);
    }
    if (rc != 0) {
        (void)close(fd);
        return rc;
    }
    *store = mlq_alloc(sizeof(**store));
    (*store)->fd = fd;
    return 0;
}

void coll_store_client_close(struct coll_store_client **store)
{
    if (*store == NULL) {
        return;
    }
    (void)close((*store)->fd);
    mlq_free(*store);
    *store = NULL;
}

static int request(struct coll_store_client *store,
                   enum store_verb verb,
                   const char *key,
                   size_t value_len,
                   int64_t deadline_ns,
                   struct mlq_err *err)
{
    uint8_t head[STORE_REQUEST_BYTES + COLL_STORE_KEY_BYTES_MAX];
    size_t key_len = strlen(key);
    if (key_len > COLL_STORE_KEY_BYTES_MAX || value_len > COLL_STORE_VALUE_BYTES_MAX) {
        return mlq_fail(err, MLQ_EFULL,
                        "rendezvous: a key of %zu or a value of %zu bytes is too long", key_len,
                        value_len);
    }
    store_put_u32(head, verb);
    store_put_u32(head + 4, (uint32_t)key_len);
    store_put_u32(head + 8, (uint32_t)value_len);
    memcpy(head + STORE_REQUEST_BYTES, key, key_len);
    return send_all(store->fd, head, STORE_REQUEST_BYTES + key_len, deadline_ns, err);
}

int coll_store_client_set(struct coll_store_client *store,
                          const char *key,
                          const void *value,
                          size_t len,
                          int64_t deadline_ns,
                          struct mlq_err *err)
{
    int rc = request(store, STORE_SET, key, len, deadline_ns, err);
    if (rc == 0) {
        rc = send_all(store->fd, value, len, deadline_ns, err);
    }
    return rc != 0 ? rc : receive_reply(store->fd, NULL, NULL, deadline_ns, err);
}

int coll_store_client_get(struct coll_store_client *store,
                          const char *key,
                          void *value,
                          size_t *len,
                          int64_t deadline_ns,
                          struct mlq_err *err)
{
    int rc = request(store, STORE_GET, key, 0, deadline_ns, err);
    return rc != 0 ? rc : receive_reply(store->fd, value, len, deadline_ns, err);
}
