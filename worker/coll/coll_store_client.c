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

#define RETRY_MS 20

struct coll_store_client {
    int fd;
    int cancel_fd; /* -1: none */
};

/* Milliseconds left, at least 0, and small enough for poll. */
static int left_ms(int64_t deadline_ns)
{
    int64_t left = (deadline_ns - mlq_clock_boot_ns()) / MLQ_NS_PER_MS;
    return left < 0 ? 0 : left > 1000000 ? 1000000 : (int)left;
}

static int cancelled(struct mlq_err *err)
{
    return mlq_fail(err, MLQ_ECANCELED, "the gang was aborted");
}

static int wait_for(const struct coll_store_client *store, short events, int64_t deadline_ns,
                    struct mlq_err *err)
{
    for (;;) {
        struct pollfd waiting[] = {{.fd = store->cancel_fd, .events = POLLIN},
                                   {.fd = store->fd, .events = events}};
        int ready = poll(waiting, 2, left_ms(deadline_ns));
        if (ready > 0) {
            return waiting[0].revents != 0 ? cancelled(err) : 0;
        }
        if (ready == 0) {
            return mlq_fail(err, MLQ_ETIMEOUT, "rank 0's rendezvous did not answer in time");
        }
        if (errno != EINTR) {
            return mlq_fail(err, MLQ_EIO, "poll: %s", strerror(errno));
        }
    }
}

static int send_all(const struct coll_store_client *store, const void *data, size_t len,
                    int64_t deadline_ns, struct mlq_err *err)
{
    const uint8_t *at = data;
    while (len > 0) {
        int rc = wait_for(store, POLLOUT, deadline_ns, err);
        if (rc != 0) {
            return rc;
        }
        ssize_t sent = send(store->fd, at, len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno != EAGAIN && errno != EINTR) {
            return mlq_fail(err, MLQ_ECONN, "rank 0's rendezvous: %s", strerror(errno));
        }
        at += sent > 0 ? sent : 0;
        len -= sent > 0 ? (size_t)sent : 0;
    }
    return 0;
}

static int receive_all(const struct coll_store_client *store, void *data, size_t len,
                       int64_t deadline_ns, struct mlq_err *err)
{
    uint8_t *at = data;
    while (len > 0) {
        int rc = wait_for(store, POLLIN, deadline_ns, err);
        if (rc != 0) {
            return rc;
        }
        ssize_t got = recv(store->fd, at, len, MSG_DONTWAIT);
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
static int receive_reply(const struct coll_store_client *store, void *value, size_t *len,
                         int64_t deadline_ns, struct mlq_err *err)
{
    static const char *const refusals[] = {
        [STORE_REFUSED_PROTOCOL] = "the request was malformed",
        [STORE_REFUSED_OTHER_GANG] = "this rank belongs to another gang or attempt",
        [STORE_REFUSED_SET_TWICE] = "the key is set already (two processes with one RANK?)",
        [STORE_REFUSED_FULL] = "too many keys",
        [STORE_REFUSED_GENERATION] = "this rank belongs to an older generation of the gang",
        [STORE_REFUSED_EARLY] = "rank 0 is still in an older generation of the gang",
    };
    static const int codes[] = {[STORE_REFUSED_GENERATION] = MLQ_EFENCED,
                                [STORE_REFUSED_EARLY] = MLQ_EAGAIN};
    uint8_t head[STORE_REPLY_BYTES];
    int rc = receive_all(store, head, sizeof(head), deadline_ns, err);
    if (rc != 0) {
        return rc;
    }
    uint32_t status = store_get_u32(head), value_len = store_get_u32(head + 4);
    if (status != STORE_OK) {
        const char *why = status < MLQ_COUNT_OF(refusals) ? refusals[status] : "unknown status";
        int code = status < MLQ_COUNT_OF(codes) && codes[status] != 0 ? codes[status] : MLQ_EPERM;
        return mlq_fail(err, code, "rank 0's rendezvous refused: %s", why);
    }
    if (value_len > (value == NULL ? 0 : COLL_STORE_VALUE_BYTES_MAX)) {
        return mlq_fail(err, MLQ_EPROTO, "rank 0's rendezvous sent %" PRIu32 " bytes", value_len);
    }
    if (value != NULL) {
        *len = value_len;
        rc = receive_all(store, value, value_len, deadline_ns, err);
    }
    return rc;
}

static int say_hello(const struct coll_gang *gang, const struct coll_store_client *store,
                     int64_t deadline_ns, struct mlq_err *err)
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
    int rc = send_all(store, hello, STORE_HELLO_BYTES + name_len, deadline_ns, err);
    return rc != 0 ? rc : receive_reply(store, NULL, NULL, deadline_ns, err);
}

/* On loopback a socket may meet itself when the port is in the ephemeral range and nobody listens. */
static bool is_met_itself(int fd)
{
    struct sockaddr_storage own = {.ss_family = 0}, peer = {.ss_family = 0};
    socklen_t own_len = sizeof(own), peer_len = sizeof(peer);
    return getsockname(fd, (struct sockaddr *)&own, &own_len) == 0 &&
           getpeername(fd, (struct sockaddr *)&peer, &peer_len) == 0 && own_len == peer_len &&
           memcmp(&own, &peer, own_len) == 0;
}

/* store->fd becomes a connected socket; MLQ_ECONN: not this time. */
static int try_connect(struct coll_store_client *store, const struct addrinfo *to,
                       int64_t deadline_ns, struct mlq_err *err)
{
    store->fd = socket(to->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (store->fd < 0) {
        return mlq_fail(err, MLQ_ECONN, "%s", strerror(errno));
    }
    int reason = connect(store->fd, to->ai_addr, to->ai_addrlen) == 0 ? 0 : errno;
    if (reason == EINPROGRESS) {
        socklen_t len = sizeof(reason);
        int rc = wait_for(store, POLLOUT, deadline_ns, err);
        if (rc != 0) {
            return rc;
        }
        reason = getsockopt(store->fd, SOL_SOCKET, SO_ERROR, &reason, &len) == 0 ? reason : errno;
    }
    if (reason == 0 && is_met_itself(store->fd)) {
        reason = ECONNREFUSED;
    }
    return reason == 0 ? 0 : mlq_fail(err, MLQ_ECONN, "%s", strerror(reason));
}

static void hang_up(struct coll_store_client *store)
{
    if (store->fd >= 0) {
        (void)close(store->fd);
    }
    store->fd = -1;
}

static int pause_before_retry(const struct coll_store_client *store, int64_t deadline_ns,
                              struct mlq_err *err)
{
    struct pollfd cancel = {.fd = store->cancel_fd, .events = POLLIN};
    int left = left_ms(deadline_ns);
    return poll(&cancel, 1, left < RETRY_MS ? left : RETRY_MS) > 0 ? cancelled(err) : 0;
}

/* Rank 0 may not be there yet, or be in an older generation, or take that one's meeting point down
 * while this rank is at its door. */
static int meet_until(struct coll_store_client *store, const struct coll_gang *gang,
                      const struct addrinfo *to, int64_t deadline_ns, struct mlq_err *err)
{
    struct mlq_err last = MLQ_ERR_INIT;
    int rc = 0;
    do {
        struct mlq_err now = MLQ_ERR_INIT;
        rc = try_connect(store, to, deadline_ns, &now);
        if (rc == 0) {
            rc = say_hello(gang, store, deadline_ns, &now);
        }
        if (rc == 0) {
            return 0;
        }
        hang_up(store);
        if (rc != MLQ_ETIMEOUT || last.code == 0) {
            last = now; /* that the time is over says less than why this rank had to wait */
        }
        if (rc == MLQ_ECONN || rc == MLQ_EAGAIN) {
            rc = pause_before_retry(store, deadline_ns, &last);
        }
    } while (rc == 0 && left_ms(deadline_ns) > 0);
    if (rc == 0 || rc == MLQ_ETIMEOUT) {
        return mlq_fail(err, MLQ_ETIMEOUT, "rank 0 is not there at %s:%u: %s", gang->address,
                        gang->port, last.text);
    }
    return mlq_fail(err, rc, "%s", last.text);
}

static int find_local_address(const struct coll_store_client *store, char *text, struct mlq_err *err)
{
    struct sockaddr_storage local = {.ss_family = 0};
    socklen_t len = sizeof(local);
    if (getsockname(store->fd, (struct sockaddr *)&local, &len) == 0 &&
        getnameinfo((struct sockaddr *)&local, len, text, COLL_STORE_ADDRESS_BYTES, NULL, 0,
                    NI_NUMERICHOST) == 0) {
        return 0;
    }
    return mlq_fail(err, MLQ_EIO, "own address on the way to rank 0: %s", strerror(errno));
}

int coll_store_client_open(const struct coll_gang *gang,
                           int64_t deadline_ns,
                           struct coll_store_client **store,
                           char *local_address,
                           struct mlq_err *err)
{
    char port[8];
    (void)snprintf(port, sizeof(port), "%u", gang->port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    *store = NULL;
    int error = getaddrinfo(gang->address, port, &hints, &found);
    if (error != 0) {
        return mlq_fail(err, MLQ_EINVAL, "MASTER_ADDR '%s': %s", gang->address,
                        gai_strerror(error));
    }
    struct coll_store_client *opened = mlq_alloc(sizeof(*opened));
    opened->fd = -1;
    opened->cancel_fd = gang->cancel_fd > 0 ? gang->cancel_fd : -1;
    int rc = meet_until(opened, gang, found, deadline_ns, err);
    freeaddrinfo(found);
    if (rc == 0) {
        int on = 1;
        (void)setsockopt(opened->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        rc = find_local_address(opened, local_address, err);
    }
    if (rc != 0) {
        coll_store_client_close(&opened);
    }
    *store = opened;
    return rc;
}

void coll_store_client_close(struct coll_store_client **store)
{
    if (*store == NULL) {
        return;
    }
    hang_up(*store);
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
    return send_all(store, head, STORE_REQUEST_BYTES + key_len, deadline_ns, err);
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
        rc = send_all(store, value, len, deadline_ns, err);
    }
    return rc != 0 ? rc : receive_reply(store, NULL, NULL, deadline_ns, err);
}

int coll_store_client_get(struct coll_store_client *store,
                          const char *key,
                          void *value,
                          size_t *len,
                          int64_t deadline_ns,
                          struct mlq_err *err)
{
    int rc = request(store, STORE_GET, key, 0, deadline_ns, err);
    return rc != 0 ? rc : receive_reply(store, value, len, deadline_ns, err);
}
