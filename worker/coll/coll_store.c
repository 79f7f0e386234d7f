/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The server of the meeting point. Its thread owns all of its state; the only thing that others
 * read is the atomic set of ranks that came. No call in it blocks but poll().
 */
#include "worker/coll/coll_store.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/panic.h"
#include "lib/sys/clock.h"
#include "lib/sys/mem.h"
#include "worker/coll/coll_store_wire.h"

#define STRANGERS_MAX   16u /* connections beyond one per rank */
#define CONNECTIONS_MAX (COLL_RANKS_MAX + STRANGERS_MAX)
#define IN_BYTES_MAX                                                                               \
    (STORE_REQUEST_BYTES + COLL_STORE_KEY_BYTES_MAX + COLL_STORE_VALUE_BYTES_MAX)
#define OUT_BYTES_MAX   (STORE_REPLY_BYTES + COLL_STORE_VALUE_BYTES_MAX)
#define SWEEP_MS        500

struct entry {
    char key[COLL_STORE_KEY_BYTES_MAX];
    uint32_t key_len;
    uint32_t value_len;
    uint8_t *value;
};

struct connection {
    int fd; /* -1: free */
    bool greeted;
    bool closing; /* after the reply that is being sent */
    bool waiting; /* a get of a key that is not there yet: it stays in `in` */
    int64_t opened_ns;
    uint32_t in_len;
    uint32_t out_len;
    uint32_t out_at;
    uint8_t *in;
    uint8_t *out;
};

struct coll_store_server {
    pthread_t thread;
    int listen_fd;
    bool listens_for_caller; /* who gave the socket, and closes it */
    int stop_fd;             /* eventfd: readable means leave */
    uint32_t size;
    uint64_t generation;
    char name[COLL_NAME_BYTES_MAX + 1];
    _Atomic uint64_t present;
    uint32_t entry_count;
    struct entry entries[COLL_STORE_KEYS_MAX];
    struct connection connections[CONNECTIONS_MAX];
};

/* ---- Requests ---- */

static void drop(struct connection *connection)
{
    (void)close(connection->fd);
    mlq_free(connection->in);
    mlq_free(connection->out);
    *connection = (struct connection){.fd = -1};
}

static void reply(struct connection *connection, uint32_t status, const void *value, uint32_t len)
{
    store_put_u32(connection->out, status);
    store_put_u32(connection->out + 4, len);
    if (len > 0) {
        memcpy(connection->out + STORE_REPLY_BYTES, value, len);
    }
    connection->out_len = STORE_REPLY_BYTES + len;
    connection->out_at = 0;
    connection->closing = status != STORE_OK;
}

static const struct entry *
find(const struct coll_store_server *server, const uint8_t *key, uint32_t len)
{
    for (uint32_t i = 0; i < server->entry_count; i++) {
        const struct entry *entry = &server->entries[i];
        if (entry->key_len == len && memcmp(entry->key, key, len) == 0) {
            return entry;
        }
    }
    return NULL;
}

static uint32_t set(struct coll_store_server *server,
                    const uint8_t *key,
                    uint32_t key_len,
                    const uint8_t *value,
                    uint32_t value_len)
{
    if (find(server, key, key_len) != NULL) {
        return STORE_REFUSED_SET_TWICE;
    }
    if (server->entry_count == COLL_STORE_KEYS_MAX) {
        return STORE_REFUSED_FULL;
    }
    struct entry *entry = &server->entries[server->entry_count++];
    memcpy(entry->key, key, key_len);
    entry->key_len = key_len;
    entry->value_len = value_len;
    entry->value = mlq_alloc(value_len);
    if (value_len > 0) {
        memcpy(entry->value, value, value_len);
    }
    return STORE_OK;
}

/* The bytes that the request at the front of `in` has, or 0 when more must come to know. */
static uint32_t hello_bytes(const struct connection *connection)
{
    if (connection->in_len < STORE_HELLO_BYTES) {
        return 0;
    }
    return STORE_HELLO_BYTES + store_get_u32(connection->in + STORE_HELLO_BYTES - 4);
}

static void serve_hello(struct coll_store_server *server, struct connection *connection)
{
    const uint8_t *in = connection->in;
    uint32_t name_len = store_get_u32(in + STORE_HELLO_BYTES - 4);
    if (memcmp(in, STORE_MAGIC, STORE_MAGIC_BYTES) != 0 || name_len > COLL_NAME_BYTES_MAX) {
        reply(connection, STORE_REFUSED_PROTOCOL, NULL, 0);
        return;
    }
    uint32_t bytes = hello_bytes(connection);
    if (connection->in_len < bytes) {
        return;
    }
    uint32_t rank = store_get_u32(in + STORE_MAGIC_BYTES);
    uint32_t size = store_get_u32(in + STORE_MAGIC_BYTES + 4);
    uint64_t generation = store_get_u32(in + STORE_MAGIC_BYTES + 8) |
                          (uint64_t)store_get_u32(in + STORE_MAGIC_BYTES + 12) << 32;
    bool same = name_len == strlen(server->name) &&
                memcmp(in + STORE_HELLO_BYTES, server->name, name_len) == 0;
    if (same && generation != server->generation) {
        bool early = generation > server->generation;
        reply(connection, early ? STORE_REFUSED_EARLY : STORE_REFUSED_GENERATION, NULL, 0);
        return;
    }
    if (!same || size != server->size || rank >= size) {
        reply(connection, STORE_REFUSED_OTHER_GANG, NULL, 0);
        return;
    }
    connection->greeted = true;
    connection->in_len = 0;
    atomic_fetch_or(&server->present, UINT64_C(1) << rank);
    reply(connection, STORE_OK, NULL, 0);
}

static void serve_request(struct coll_store_server *server, struct connection *connection)
{
    const uint8_t *in = connection->in;
    if (connection->in_len < STORE_REQUEST_BYTES) {
        return;
    }
    uint32_t verb = store_get_u32(in);
    uint32_t key_len = store_get_u32(in + 4), value_len = store_get_u32(in + 8);
    if ((verb != STORE_SET && verb != STORE_GET) || key_len > COLL_STORE_KEY_BYTES_MAX ||
        value_len > COLL_STORE_VALUE_BYTES_MAX) {
        reply(connection, STORE_REFUSED_PROTOCOL, NULL, 0);
        return;
    }
    if (connection->in_len < STORE_REQUEST_BYTES + key_len + value_len) {
        return;
    }
    const uint8_t *key = in + STORE_REQUEST_BYTES;
    if (verb == STORE_SET) {
        reply(connection, set(server, key, key_len, key + key_len, value_len), NULL, 0);
        connection->in_len = 0;
        return;
    }
    const struct entry *entry = find(server, key, key_len);
    connection->waiting = entry == NULL;
    if (entry != NULL) {
        connection->in_len = 0;
        reply(connection, STORE_OK, entry->value, entry->value_len);
    }
}

/* ---- Sockets ---- */

static void receive(struct coll_store_server *server, struct connection *connection)
{
    if (connection->in_len == IN_BYTES_MAX) {
        drop(connection); /* bytes after a request that waits: not our client */
        return;
    }
    ssize_t got = recv(connection->fd, connection->in + connection->in_len,
                       IN_BYTES_MAX - connection->in_len, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (got <= 0) {
        drop(connection);
        return;
    }
    connection->in_len += (uint32_t)got;
    if (connection->waiting) {
        return;
    }
    if (connection->greeted) {
        serve_request(server, connection);
    } else if (hello_bytes(connection) > 0) {
        serve_hello(server, connection);
    }
}

static void transmit(struct connection *connection)
{
    ssize_t sent = send(connection->fd, connection->out + connection->out_at,
                        connection->out_len - connection->out_at, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (sent < 0) {
        drop(connection);
        return;
    }
    connection->out_at += (uint32_t)sent;
    if (connection->out_at == connection->out_len) {
        connection->out_at = connection->out_len = 0;
        if (connection->closing) {
            drop(connection);
        }
    }
}

static void admit(struct coll_store_server *server)
{
    int fd = accept4(server->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
        return; /* it went away, or too many files: the next one may do better */
    }
    for (uint32_t i = 0; i < CONNECTIONS_MAX; i++) {
        struct connection *connection = &server->connections[i];
        if (connection->fd < 0) {
            int on = 1;
            (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
            *connection = (struct connection){
                .fd = fd,
                .opened_ns = mlq_clock_boot_ns(),
                .in = mlq_alloc(IN_BYTES_MAX),
                .out = mlq_alloc(OUT_BYTES_MAX),
            };
            return;
        }
    }
    (void)close(fd);
}

/* Drops who did not say hello in time, and answers gets whose key has come. */
static void sweep(struct coll_store_server *server)
{
    int64_t now_ns = mlq_clock_boot_ns();
    for (uint32_t i = 0; i < CONNECTIONS_MAX; i++) {
        struct connection *connection = &server->connections[i];
        if (connection->fd < 0) {
            continue;
        }
        if (!connection->greeted && now_ns - connection->opened_ns > COLL_STORE_HELLO_NS) {
            drop(connection);
        } else if (connection->waiting) {
            serve_request(server, connection);
        }
    }
}

static void *serve(void *argument)
{
    struct coll_store_server *server = argument;
    for (;;) {
        struct pollfd fds[2 + CONNECTIONS_MAX];
        uint32_t owner[2 + CONNECTIONS_MAX];
        nfds_t count = 2;
        fds[0] = (struct pollfd){.fd = server->stop_fd, .events = POLLIN};
        fds[1] = (struct pollfd){.fd = server->listen_fd, .events = POLLIN};
        for (uint32_t i = 0; i < CONNECTIONS_MAX; i++) {
            const struct connection *connection = &server->connections[i];
            if (connection->fd >= 0) {
                /* While a reply is on its way, no new request is read. */
                short events = connection->out_len > 0 ? POLLOUT : POLLIN;
                owner[count] = i;
                fds[count++] = (struct pollfd){.fd = connection->fd, .events = events};
            }
        }
        if (poll(fds, count, SWEEP_MS) < 0 && errno != EINTR) {
            return NULL;
        }
        if (fds[0].revents != 0) {
            return NULL;
        }
        for (nfds_t i = 2; i < count; i++) {
            struct connection *connection = &server->connections[owner[i]];
            if ((fds[i].revents & POLLOUT) != 0) {
                transmit(connection);
            } else if (fds[i].revents != 0) {
                receive(server, connection);
            }
        }
        if (fds[1].revents != 0) {
            admit(server);
        }
        sweep(server);
    }
}

/* ---- Life ---- */

static int listen_on(const struct coll_gang *gang, int *listen_fd, struct mlq_err *err)
{
    char port[8];
    (void)snprintf(port, sizeof(port), "%u", gang->port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    int error = getaddrinfo(gang->address, port, &hints, &found);
    if (error != 0) {
        return mlq_fail(err, MLQ_EINVAL, "MASTER_ADDR '%s': %s", gang->address,
                        gai_strerror(error));
    }
    int on = 1;
    int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool ready = fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
                 bind(fd, found->ai_addr, found->ai_addrlen) == 0 &&
                 listen(fd, (int)CONNECTIONS_MAX) == 0;
    int reason = errno;
    freeaddrinfo(found);
    if (!ready) {
        if (fd >= 0) {
            (void)close(fd);
        }
        return mlq_fail(err, MLQ_ECONN,
                        "rank 0 cannot listen on %s:%u (MASTER_ADDR, MASTER_PORT): %s",
                        gang->address, gang->port, strerror(reason));
    }
    *listen_fd = fd;
    return 0;
}

static void destroy(struct coll_store_server *server)
{
    for (uint32_t i = 0; i < CONNECTIONS_MAX; i++) {
        if (server->connections[i].fd >= 0) {
            drop(&server->connections[i]);
        }
    }
    for (uint32_t i = 0; i < server->entry_count; i++) {
        mlq_free(server->entries[i].value);
    }
    if (server->listen_fd >= 0 && !server->listens_for_caller) {
        (void)close(server->listen_fd);
    }
    if (server->stop_fd >= 0) {
        (void)close(server->stop_fd);
    }
    mlq_free(server);
}

int coll_store_serve(const struct coll_gang *gang,
                     struct coll_store_server **result,
                     struct mlq_err *err)
{
    struct coll_store_server *server = mlq_alloc(sizeof(*server));
    *result = NULL;
    server->listen_fd = -1;
    server->size = gang->size;
    server->generation = gang->generation;
    (void)snprintf(server->name, sizeof(server->name), "%s", gang->name);
    for (uint32_t i = 0; i < CONNECTIONS_MAX; i++) {
        server->connections[i].fd = -1;
    }
    server->stop_fd = eventfd(0, EFD_CLOEXEC);
    int rc = server->stop_fd >= 0 ? 0 : mlq_fail(err, MLQ_EIO, "eventfd: %s", strerror(errno));
    if (rc == 0 && gang->listen_fd > 0) {
        server->listen_fd = gang->listen_fd;
        server->listens_for_caller = true;
    } else if (rc == 0) {
        rc = listen_on(gang, &server->listen_fd, err);
    }
    if (rc == 0) {
        int error = pthread_create(&server->thread, NULL, serve, server);
        rc = error == 0 ? 0 : mlq_fail(err, MLQ_EIO, "rendezvous thread: %s", strerror(error));
    }
    if (rc != 0) {
        destroy(server);
        return rc;
    }
    *result = server;
    return 0;
}

void coll_store_stop(struct coll_store_server **server)
{
    if (*server == NULL) {
        return;
    }
    uint64_t one = 1;
    ssize_t written = write((*server)->stop_fd, &one, sizeof(one));
    MLQ_ASSERT(written == (ssize_t)sizeof(one));
    (void)pthread_join((*server)->thread, NULL);
    destroy(*server);
    *server = NULL;
}

uint64_t coll_store_present(const struct coll_store_server *server)
{
    return atomic_load(&server->present);
}
