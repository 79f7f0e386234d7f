/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/coll/coll_local_trade.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/sys/clock.h"
#include "lib/sys/mem.h"

#define NAME_BYTES 16u /* of chance: nobody guesses it */
#define KEY_BYTES  24u

struct trade {
    struct coll_local_trade *out;
    const struct coll_gang *gang;
    int region_fd;
    int listen_fd; /* -1: this rank has nothing to trade */
    struct coll_store_client *store;
    int64_t deadline_ns;
};

/* ---- Names ---- */

/* In the abstract namespace: no file, and gone with the socket. */
static socklen_t address_of(const uint8_t name[NAME_BYTES], struct sockaddr_un *address)
{
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    int len = snprintf(address->sun_path + 1, sizeof(address->sun_path) - 1, "mlq-rank-");
    for (uint32_t i = 0; i < NAME_BYTES; i++) {
        len += snprintf(address->sun_path + 1 + len, 3, "%02x", name[i]);
    }
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)len);
}

/* -1 when there is none to be had. */
static int listen_at(const uint8_t name[NAME_BYTES])
{
    struct sockaddr_un address;
    socklen_t len = address_of(name, &address);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 &&
        (bind(fd, (struct sockaddr *)&address, len) != 0 || listen(fd, COLL_RANKS_MAX) != 0)) {
        (void)close(fd);
        fd = -1;
    }
    return fd;
}

/* -1 when nobody listens there on this machine. */
static int connect_to(const uint8_t name[NAME_BYTES])
{
    struct sockaddr_un address;
    socklen_t len = address_of(name, &address);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, len) != 0) {
        (void)close(fd);
        fd = -1;
    }
    return fd;
}

static int tell(const struct trade *trade, const char *what, const void *value, size_t len,
                struct mlq_err *err)
{
    char key[KEY_BYTES];
    (void)snprintf(key, sizeof(key), "%s.%u", what, trade->gang->rank);
    return coll_store_client_set(trade->store, key, value, len, trade->deadline_ns, err);
}

/* `value` becomes what `rank` told, which has `len` bytes, or else stays zero. */
static int hear(const struct trade *trade, const char *what, uint32_t rank, void *value, size_t len,
                struct mlq_err *err)
{
    char key[KEY_BYTES];
    uint8_t *told = mlq_alloc(COLL_STORE_VALUE_BYTES_MAX);
    size_t told_bytes = 0;
    (void)snprintf(key, sizeof(key), "%s.%u", what, rank);
    int rc = coll_store_client_get(trade->store, key, told, &told_bytes, trade->deadline_ns, err);
    memset(value, 0, len);
    if (rc == 0 && told_bytes == len) {
        memcpy(value, told, len);
    }
    mlq_free(told);
    return rc;
}

/* ---- Connections ---- */

static int wait_readable(const struct trade *trade, int fd, struct mlq_err *err)
{
    for (;;) {
        int cancel_fd = trade->gang->cancel_fd > 0 ? trade->gang->cancel_fd : -1;
        struct pollfd waiting[] = {{.fd = cancel_fd, .events = POLLIN},
                                   {.fd = fd, .events = POLLIN}};
        int64_t left_ms = (trade->deadline_ns - mlq_clock_boot_ns()) / MLQ_NS_PER_MS;
        int ready = poll(waiting, 2, left_ms < 0 ? 0 : left_ms > 1000000 ? 1000000 : (int)left_ms);
        if (ready > 0) {
            return waiting[0].revents != 0 ? mlq_fail(err, MLQ_ECANCELED, "the gang was aborted")
                                           : 0;
        }
        if (ready == 0) {
            return mlq_fail(err, MLQ_ETIMEOUT, "a rank of this machine did not send its memory");
        }
        if (errno != EINTR) {
            return mlq_fail(err, MLQ_EIO, "poll: %s", strerror(errno));
        }
    }
}

union ancillary {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(sizeof(int))];
};

static int send_region(const struct trade *trade, int to, struct mlq_err *err)
{
    uint32_t rank = trade->gang->rank;
    union ancillary control = {.bytes = {0}};
    struct iovec body = {.iov_base = &rank, .iov_len = sizeof(rank)};
    struct msghdr message = {.msg_iov = &body,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof(control.bytes)};
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    *head = (struct cmsghdr){
        .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int))};
    memcpy(CMSG_DATA(head), &trade->region_fd, sizeof(int));
    return sendmsg(to, &message, MSG_NOSIGNAL) == sizeof(rank)
               ? 0
               : mlq_fail(err, MLQ_ECONN, "a rank of this machine left: %s", strerror(errno));
}

/* Takes over `from`, and what comes through it. */
static int take_region(const struct trade *trade, int from, struct mlq_err *err)
{
    uint32_t rank = COLL_RANKS_MAX;
    int region = -1;
    union ancillary control;
    struct iovec body = {.iov_base = &rank, .iov_len = sizeof(rank)};
    struct msghdr message = {.msg_iov = &body,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof(control.bytes)};
    int rc = wait_readable(trade, from, err);
    if (rc != 0) {
        (void)close(from);
        return rc;
    }
    ssize_t got = recvmsg(from, &message, MSG_CMSG_CLOEXEC);
    const struct cmsghdr *head = got > 0 ? CMSG_FIRSTHDR(&message) : NULL;
    if (head != NULL && head->cmsg_type == SCM_RIGHTS && head->cmsg_len == CMSG_LEN(sizeof(int))) {
        memcpy(&region, CMSG_DATA(head), sizeof(int));
    }
    bool is_known = got == sizeof(rank) && rank < trade->gang->size && rank != trade->gang->rank &&
                    trade->out->sockets[rank] < 0;
    if (region < 0 || !is_known) {
        (void)close(from);
        if (region >= 0) {
            (void)close(region);
        }
        return mlq_fail(err, MLQ_ECONN, "a rank of this machine left before it sent its memory");
    }
    trade->out->sockets[rank] = from;
    trade->out->regions[rank] = region;
    trade->out->peers |= UINT64_C(1) << rank;
    return 0;
}

/* ---- The trade ---- */

/* Connects to the lower ranks that are on this machine, and tells which. */
static int reach_lower(const struct trade *trade, int reached[COLL_RANKS_MAX], struct mlq_err *err)
{
    static const uint8_t nothing[NAME_BYTES] = {0};
    uint64_t bits = 0;
    for (uint32_t rank = 0; rank < trade->gang->rank; rank++) {
        uint8_t name[NAME_BYTES];
        int rc = hear(trade, "memory", rank, name, sizeof(name), err);
        if (rc != 0) {
            return rc;
        }
        if (trade->listen_fd >= 0 && memcmp(name, nothing, sizeof(name)) != 0) {
            reached[rank] = connect_to(name);
            bits |= (uint64_t)(reached[rank] >= 0) << rank;
        }
    }
    return tell(trade, "reached", &bits, sizeof(bits), err);
}

/* To all of them first: none waits for what another one is waiting for. */
static int trade_with_lower(const struct trade *trade, int reached[COLL_RANKS_MAX],
                            struct mlq_err *err)
{
    int rc = 0;
    for (uint32_t rank = 0; rank < trade->gang->rank && rc == 0; rank++) {
        rc = reached[rank] >= 0 ? send_region(trade, reached[rank], err) : 0;
    }
    for (uint32_t rank = 0; rank < trade->gang->rank && rc == 0; rank++) {
        if (reached[rank] >= 0) {
            rc = take_region(trade, reached[rank], err);
            reached[rank] = -1;
        }
    }
    return rc;
}

static int trade_with_higher(const struct trade *trade, struct mlq_err *err)
{
    for (uint32_t rank = trade->gang->rank + 1; rank < trade->gang->size; rank++) {
        uint64_t bits = 0;
        int rc = hear(trade, "reached", rank, &bits, sizeof(bits), err);
        if (rc != 0) {
            return rc;
        }
        if ((bits >> trade->gang->rank & 1) == 0) {
            continue;
        }
        /* Whoever it is: it connected before it said so. */
        int from = accept4(trade->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (from < 0) {
            return mlq_fail(err, MLQ_ECONN, "a rank of this machine left: %s", strerror(errno));
        }
        rc = send_region(trade, from, err);
        rc = rc != 0 ? rc : take_region(trade, from, err);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

int coll_local_trade_run(struct coll_local_trade *out, const struct coll_gang *gang, int region_fd,
                         struct coll_store_client *store, int64_t deadline_ns, struct mlq_err *err)
{
    uint8_t name[NAME_BYTES];
    int reached[COLL_RANKS_MAX];
    struct trade trade = {.out = out,
                          .gang = gang,
                          .region_fd = region_fd,
                          .listen_fd = -1,
                          .store = store,
                          .deadline_ns = deadline_ns};
    out->peers = 0;
    for (uint32_t rank = 0; rank < COLL_RANKS_MAX; rank++) {
        out->sockets[rank] = out->regions[rank] = reached[rank] = -1;
    }
    if (region_fd >= 0 && getrandom(name, sizeof(name), 0) == sizeof(name)) {
        trade.listen_fd = listen_at(name);
    }
    int rc = tell(&trade, "memory", name, trade.listen_fd >= 0 ? sizeof(name) : 0, err);
    rc = rc != 0 ? rc : reach_lower(&trade, reached, err);
    rc = rc != 0 ? rc : trade_with_lower(&trade, reached, err);
    rc = rc != 0 ? rc : trade_with_higher(&trade, err);
    for (uint32_t rank = 0; rank < COLL_RANKS_MAX; rank++) {
        if (reached[rank] >= 0) {
            (void)close(reached[rank]);
        }
    }
    if (trade.listen_fd >= 0) {
        (void)close(trade.listen_fd);
    }
    return rc;
}

void coll_local_trade_fini(struct coll_local_trade *trade)
{
    for (uint32_t rank = 0; rank < COLL_RANKS_MAX; rank++) {
        if (trade->regions[rank] >= 0) {
            (void)close(trade->regions[rank]);
        }
    }
}
