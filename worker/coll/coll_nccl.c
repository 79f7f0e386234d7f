/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * NCCL, in the plugin mlq_cuda.so: bytes travel between GPUs, staged through a buffer on this
 * rank's first visible one. The unique id goes through the meeting point (coll_store.h).
 *
 * The communicator is non-blocking, and nothing here waits in NCCL or CUDA: the stream and the
 * communicator are asked how far they are until the time limit. A communicator that failed is never
 * destroyed, which would wait for the dead; it is aborted. Abort can get stuck too: coll_close runs
 * under the watchdog, which ends the process then, and a process is a clean reset.
 */
#include <arpa/inet.h>
#include <ifaddrs.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "lib/base/panic.h"
#include "lib/sys/clock.h"
#include "lib/sys/log.h"
#include "lib/sys/mem.h"
#include "worker/coll/coll_nccl_api.h"
#include "worker/coll/coll_plugin.h"
#include "worker/coll/coll_store.h"

#define ID_KEY       "nccl-id"
#define BUFFER_LEAST ((uint64_t)1 << 20)
#define FINALIZE_NS  (2 * MLQ_NS_PER_S) /* well within the watchdog's grace for close */
#define SPINS        2000               /* looks before the first pause: some tens of microseconds */
#define PAUSE_MS     1

struct nccl {
    const struct nccl_api *api;
    uint32_t rank;
    uint32_t size;
    nccl_cu_device device;
    bool has_context;
    nccl_cu_stream stream;
    nccl_cu_pointer buffer;
    uint64_t buffer_bytes;
    struct ncclComm *comm;
    bool is_broken; /* aborted, not destroyed */
    int cancel_fd;  /* the gang's */
};

/* ---- Errors ---- */

static int check_cuda(const struct nccl *self, nccl_cu_result result, const char *what,
                      struct mlq_err *err)
{
    const char *text = NULL;
    if (result == NCCL_CU_SUCCESS) {
        return 0;
    }
    (void)self->api->cuda.error_text(result, &text);
    return mlq_fail(err, MLQ_EIO, "cuda: %s: %s (%u)", what, text == NULL ? "unknown" : text,
                    result);
}

/* NCCL_IN_PROGRESS is none: whoever started it waits for it. */
static int check_nccl(const struct nccl *self, nccl_result result, const char *what,
                      struct mlq_err *err)
{
    if (result == NCCL_SUCCESS || result == NCCL_IN_PROGRESS) {
        return 0;
    }
    const char *last = self->api->last_error(self->comm);
    return mlq_fail(err, MLQ_ECONN, "nccl: %s: %s%s%s", what, self->api->result_text(result),
                    last == NULL || last[0] == '\0' ? "" : ": ", last == NULL ? "" : last);
}

/* ---- Waiting ---- */

struct wait {
    int64_t deadline_ns;
    uint32_t looks;
};

/* 0: look again. NCCL and CUDA have nothing that poll(2) could wait for. */
static int look_again(struct nccl *self, struct wait *wait, const char *what, struct mlq_err *err)
{
    struct pollfd cancel = {.fd = self->cancel_fd, .events = POLLIN};
    if (mlq_clock_boot_ns() > wait->deadline_ns) {
        return mlq_fail(err, MLQ_ETIMEOUT, "nccl: %s: not within its time", what);
    }
    if (wait->looks++ > SPINS && poll(&cancel, 1, PAUSE_MS) > 0) {
        return mlq_fail(err, MLQ_ECANCELED, "the gang was aborted");
    }
    return 0;
}

/* Until the communicator has done what it was told; then the next thing may be put on its stream. */
static int
wait_comm(struct nccl *self, int64_t deadline_ns, const char *what, struct mlq_err *err)
{
    struct wait wait = {.deadline_ns = deadline_ns};
    nccl_result state = NCCL_IN_PROGRESS;
    int rc = 0;
    while (rc == 0 && state == NCCL_IN_PROGRESS) {
        rc = check_nccl(self, self->api->async_error(self->comm, &state), what, err);
        rc = rc == 0 ? check_nccl(self, state, what, err) : rc;
        if (rc == 0 && state == NCCL_IN_PROGRESS) {
            rc = look_again(self, &wait, what, err);
        }
    }
    return rc;
}

static int
wait_stream(struct nccl *self, int64_t deadline_ns, const char *what, struct mlq_err *err)
{
    struct wait wait = {.deadline_ns = deadline_ns};
    int rc = 0;
    nccl_cu_result done = NCCL_CU_NOT_READY;
    while (rc == 0 && (done = self->api->cuda.stream_query(self->stream)) == NCCL_CU_NOT_READY) {
        nccl_result state = NCCL_SUCCESS;
        rc = check_nccl(self, self->api->async_error(self->comm, &state), what, err);
        rc = rc == 0 ? check_nccl(self, state, what, err) : rc;
        rc = rc == 0 ? look_again(self, &wait, what, err) : rc;
    }
    return rc == 0 ? check_cuda(self, done, what, err) : rc;
}

/* ---- Open ---- */

static int take_device(struct nccl *self, struct mlq_err *err)
{
    const struct nccl_cuda_api *cuda = &self->api->cuda;
    int count = 0;
    nccl_cu_context context = NULL;
    if (cuda->init(0) != NCCL_CU_SUCCESS || cuda->device_count(&count) != NCCL_CU_SUCCESS ||
        count == 0) {
        const char *visible = getenv("CUDA_VISIBLE_DEVICES");
        return mlq_fail(err, MLQ_ENOTSUP,
                        "no GPU can be used here (CUDA_VISIBLE_DEVICES is %s%s%s): give each rank "
                        "one with resources: {gpus: 1}",
                        visible == NULL ? "not set" : "\"", visible == NULL ? "" : visible,
                        visible == NULL ? "" : "\"");
    }
    int rc = check_cuda(self, cuda->device_get(&self->device, 0), "first GPU", err);
    if (rc == 0) {
        rc = check_cuda(self, cuda->context_retain(&context, self->device), "context", err);
        self->has_context = rc == 0;
    }
    if (rc == 0) {
        rc = check_cuda(self, cuda->context_set(context), "context", err);
    }
    if (rc == 0) {
        rc = check_cuda(self, cuda->stream_create(&self->stream, NCCL_CU_STREAM_NOWAIT), "stream",
                        err);
    }
    return rc;
}

static bool has_address(const struct ifaddrs *entry, const char *address)
{
    char text[COLL_STORE_ADDRESS_BYTES];
    int family = entry->ifa_addr == NULL ? AF_UNSPEC : entry->ifa_addr->sa_family;
    socklen_t len = family == AF_INET    ? sizeof(struct sockaddr_in)
                    : family == AF_INET6 ? sizeof(struct sockaddr_in6)
                                         : 0;
    return len > 0 &&
           getnameinfo(entry->ifa_addr, len, text, sizeof(text), NULL, 0, NI_NUMERICHOST) == 0 &&
           strcmp(text, address) == 0;
}

/* The interface by which this machine reaches rank 0, unless the user chose one: NCCL guesses, and a
 * wrong guess among several is its most common hang. It reads this once in a process. */
static void choose_interface(const char *address)
{
    struct ifaddrs *all = NULL;
    if (getenv("NCCL_SOCKET_IFNAME") != NULL || getifaddrs(&all) != 0) {
        return;
    }
    for (const struct ifaddrs *entry = all; entry != NULL; entry = entry->ifa_next) {
        if (has_address(entry, address)) {
            char name[64];
            (void)snprintf(name, sizeof(name), "=%s", entry->ifa_name);
            (void)setenv("NCCL_SOCKET_IFNAME", name, 0);
            break;
        }
    }
    freeifaddrs(all);
}

/* Rank 0 makes the id, in whose process it is answered, and the others get it. */
static int share_id(const struct nccl *self, struct coll_store_client *store, struct nccl_id *id,
                    int64_t deadline_ns, struct mlq_err *err)
{
    char value[COLL_STORE_VALUE_BYTES_MAX];
    size_t len = 0;
    int rc = 0;
    if (self->rank == 0) {
        rc = check_nccl(self, self->api->unique_id(id), "unique id", err);
        if (rc == 0 && store != NULL) {
            rc = coll_store_client_set(store, ID_KEY, id, sizeof(*id), deadline_ns, err);
        }
        return rc;
    }
    rc = coll_store_client_get(store, ID_KEY, value, &len, deadline_ns, err);
    if (rc == 0 && len != sizeof(*id)) {
        rc = mlq_fail(err, MLQ_EPROTO, "NCCL's id has %zu bytes, expected %zu", len, sizeof(*id));
    }
    if (rc == 0) {
        memcpy(id, value, sizeof(*id));
    }
    return rc;
}

static int
start_comm(struct nccl *self, struct nccl_id id, int64_t deadline_ns, struct mlq_err *err)
{
    struct nccl_config config = {.size = sizeof(config),
                                 .magic = NCCL_CONFIG_MAGIC,
                                 .version = NCCL_CONFIG_VERSION,
                                 .blocking = 0};
    int rc = check_nccl(
        self, self->api->init(&self->comm, (int)self->size, id, (int)self->rank, &config), "init",
        err);
    if (rc == 0 && self->comm == NULL) {
        rc = mlq_fail(err, MLQ_ECONN, "nccl: init gave no communicator");
    }
    return rc == 0 ? wait_comm(self, deadline_ns, "init", err) : rc;
}

/* All ranks have come when NCCL's own init is over, so rank 0 may take the meeting point down. */
static int
meet(struct nccl *self, const struct coll_gang *gang, int64_t deadline_ns, struct mlq_err *err)
{
    char local[COLL_STORE_ADDRESS_BYTES];
    struct coll_store_client *store = NULL;
    struct nccl_id id = {.internal = {0}};
    int rc = 0;
    if (gang->size > 1) {
        rc = coll_store_client_open(gang, deadline_ns, &store, local, err);
        if (rc == 0) {
            choose_interface(local);
        }
    }
    if (rc == 0) {
        rc = share_id(self, store, &id, deadline_ns, err);
    }
    if (rc == 0) {
        rc = start_comm(self, id, deadline_ns, err);
    }
    coll_store_client_close(&store);
    return rc;
}

static void nccl_close(void *state);

static int
nccl_open(const struct coll_gang *gang, int64_t timeout_ns, void **state, struct mlq_err *err)
{
    int64_t deadline_ns = mlq_clock_boot_ns() + timeout_ns;
    struct coll_store_server *server = NULL;
    struct nccl *self = mlq_alloc(sizeof(*self));
    self->rank = gang->rank;
    self->size = gang->size;
    self->cancel_fd = gang->cancel_fd;
    (void)signal(SIGPIPE, SIG_IGN);
    int rc = coll_nccl_api_load(&self->api, err);
    if (rc == 0) {
        rc = take_device(self, err);
    }
    if (rc == 0 && gang->rank == 0 && gang->size > 1) {
        rc = coll_store_serve(gang, &server, err);
    }
    if (rc == 0) {
        rc = meet(self, gang, deadline_ns, err);
    }
    if (rc != 0 && server != NULL) {
        char missing[COLL_MISSING_BYTES];
        coll_missing_text(coll_store_present(server), gang->size, missing);
        if (missing[0] != '\0') {
            rc = mlq_wrap(err, rc, "ranks that did not come: %s", missing);
        }
    }
    coll_store_stop(&server);
    if (rc != 0) {
        self->is_broken = true;
        nccl_close(self);
        self = NULL;
    } else {
        int v = self->api->found_version;
        log_info("coll.nccl", "version=%d.%d.%d rank=%u size=%u", v / 10000, v / 100 % 100, v % 100,
                 gang->rank, gang->size);
    }
    *state = self;
    return rc;
}

/* ---- Moves ---- */

static int reserve(struct nccl *self, uint64_t bytes, struct mlq_err *err)
{
    const struct nccl_cuda_api *cuda = &self->api->cuda;
    if (bytes <= self->buffer_bytes) {
        return 0;
    }
    if (self->buffer != 0) {
        (void)cuda->memory_give(self->buffer); /* nothing runs on it: each call waits for its end */
        self->buffer = 0;
        self->buffer_bytes = 0;
    }
    uint64_t room = BUFFER_LEAST;
    while (room < bytes) {
        room *= 2;
    }
    int rc = check_cuda(self, cuda->memory_take(&self->buffer, room), "memory for a message", err);
    self->buffer_bytes = rc == 0 ? room : 0;
    return rc;
}

static void *at(const struct nccl *self, uint64_t offset)
{
    return (void *)(uintptr_t)(self->buffer + offset);
}

static int
copy_in(struct nccl *self, uint64_t offset, const void *from, uint64_t bytes, struct mlq_err *err)
{
    if (bytes == 0) {
        return 0;
    }
    return check_cuda(
        self, self->api->cuda.copy_in(self->buffer + offset, from, bytes, self->stream), "copy in",
        err);
}

/* After the stream was waited for, so that this does not wait for a peer. */
static int copy_out(struct nccl *self, void *to, uint64_t offset, uint64_t bytes, int64_t deadline_ns,
                    struct mlq_err *err)
{
    if (bytes == 0) {
        return 0;
    }
    int rc = check_cuda(
        self, self->api->cuda.copy_out(to, self->buffer + offset, bytes, self->stream), "copy out",
        err);
    return rc == 0 ? wait_stream(self, deadline_ns, "copy out", err) : rc;
}

static uint64_t sum(const uint64_t *bytes, uint32_t count)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < count; i++) {
        total += bytes[i];
    }
    return total;
}

/* Ends a group of calls, and waits until their bytes have moved. */
static int
finish_group(struct nccl *self, int rc, int64_t deadline_ns, const char *what, struct mlq_err *err)
{
    nccl_result ended = self->api->group_end();
    rc = rc == 0 ? check_nccl(self, ended, what, err) : rc;
    rc = rc == 0 ? wait_comm(self, deadline_ns, what, err) : rc;
    return rc == 0 ? wait_stream(self, deadline_ns, what, err) : rc;
}

/* One broadcast per rank, in place. */
static int gather(struct nccl *self, const uint64_t *bytes, int64_t deadline_ns, struct mlq_err *err)
{
    uint64_t offset = 0;
    int rc = check_nccl(self, self->api->group_start(), "group", err);
    if (rc != 0) {
        return rc;
    }
    for (uint32_t rank = 0; rank < self->size && rc == 0; rank++) {
        if (bytes[rank] > 0) {
            nccl_result sent =
                self->api->broadcast(at(self, offset), at(self, offset), bytes[rank], NCCL_UINT8,
                                     (int)rank, self->comm, self->stream);
            rc = check_nccl(self, sent, "broadcast", err);
        }
        offset += bytes[rank];
    }
    return finish_group(self, rc, deadline_ns, "broadcast", err);
}

/* The outcome of a call: after a failure the communicator can only be aborted. */
static int conclude(struct nccl *self, int rc)
{
    self->is_broken = self->is_broken || rc != 0;
    return rc;
}

static int nccl_allgather(void *state,
                          const void *send,
                          void *receive,
                          const uint64_t *bytes,
                          int64_t timeout_ns,
                          struct mlq_err *err)
{
    struct nccl *self = state;
    int64_t deadline_ns = mlq_clock_boot_ns() + timeout_ns;
    uint64_t total = sum(bytes, self->size), own = sum(bytes, self->rank);
    int rc = reserve(self, total, err);
    if (rc == 0) {
        rc = copy_in(self, own, send, bytes[self->rank], err);
    }
    if (rc == 0) {
        rc = gather(self, bytes, deadline_ns, err);
    }
    if (rc == 0) {
        rc = copy_out(self, receive, 0, total, deadline_ns, err);
    }
    return conclude(self, rc);
}

static int nccl_broadcast(
    void *state, void *data, uint64_t bytes, uint32_t root, int64_t timeout_ns, struct mlq_err *err)
{
    struct nccl *self = state;
    uint64_t lengths[COLL_RANKS_MAX] = {0};
    lengths[root] = bytes; /* a gathering where only root has something */
    int64_t deadline_ns = mlq_clock_boot_ns() + timeout_ns;
    int rc = reserve(self, bytes, err);
    if (rc == 0 && self->rank == root) {
        rc = copy_in(self, 0, data, bytes, err);
    }
    if (rc == 0) {
        rc = gather(self, lengths, deadline_ns, err);
    }
    if (rc == 0 && self->rank != root) {
        rc = copy_out(self, data, 0, bytes, deadline_ns, err);
    }
    return conclude(self, rc);
}

/* A byte from everyone to everyone. */
static int nccl_barrier(void *state, int64_t timeout_ns, struct mlq_err *err)
{
    struct nccl *self = state;
    uint8_t send = 0, receive[COLL_RANKS_MAX];
    uint64_t ones[COLL_RANKS_MAX];
    for (uint32_t rank = 0; rank < self->size; rank++) {
        ones[rank] = 1;
    }
    return nccl_allgather(state, &send, receive, ones, timeout_ns, err);
}

/* The sends lie in front of the receives in the buffer. What this rank has for itself goes the same
 * way. */
static int exchange(struct nccl *self,
                    const uint64_t *send_bytes,
                    const uint64_t *receive_bytes,
                    int64_t deadline_ns,
                    struct mlq_err *err)
{
    uint64_t from = 0, to = sum(send_bytes, self->size);
    int rc = check_nccl(self, self->api->group_start(), "group", err);
    if (rc != 0) {
        return rc;
    }
    for (uint32_t rank = 0; rank < self->size && rc == 0; rank++) {
        if (send_bytes[rank] > 0) {
            rc = check_nccl(self,
                            self->api->send(at(self, from), send_bytes[rank], NCCL_UINT8, (int)rank,
                                            self->comm, self->stream),
                            "send", err);
        }
        if (receive_bytes[rank] > 0 && rc == 0) {
            rc = check_nccl(self,
                            self->api->receive(at(self, to), receive_bytes[rank], NCCL_UINT8,
                                               (int)rank, self->comm, self->stream),
                            "receive", err);
        }
        from += send_bytes[rank];
        to += receive_bytes[rank];
    }
    return finish_group(self, rc, deadline_ns, "exchange", err);
}

static int nccl_alltoall(void *state,
                         const void *send,
                         const uint64_t *send_bytes,
                         void *receive,
                         const uint64_t *receive_bytes,
                         int64_t timeout_ns,
                         struct mlq_err *err)
{
    struct nccl *self = state;
    int64_t deadline_ns = mlq_clock_boot_ns() + timeout_ns;
    uint64_t sent = sum(send_bytes, self->size), received = sum(receive_bytes, self->size);
    int rc = reserve(self, sent + received, err);
    if (rc == 0) {
        rc = copy_in(self, 0, send, sent, err);
    }
    if (rc == 0) {
        rc = exchange(self, send_bytes, receive_bytes, deadline_ns, err);
    }
    if (rc == 0) {
        rc = copy_out(self, receive, sent, received, deadline_ns, err);
    }
    return conclude(self, rc);
}

/* NCCL's own sum: it knows rings, trees and switches that add. All ranks get the same bits. */
static int add_up(struct nccl *self, uint64_t count, int64_t deadline_ns, struct mlq_err *err)
{
    int rc = check_nccl(self, self->api->group_start(), "group", err);
    if (rc != 0) {
        return rc;
    }
    nccl_result begun = self->api->allreduce(at(self, 0), at(self, 0), count, NCCL_FLOAT32,
                                             NCCL_SUM, self->comm, self->stream);
    rc = check_nccl(self, begun, "allreduce", err);
    return finish_group(self, rc, deadline_ns, "allreduce", err);
}

static int
nccl_allreduce(void *state, struct coll_floats data, int64_t timeout_ns, struct mlq_err *err)
{
    struct nccl *self = state;
    int64_t deadline_ns = mlq_clock_boot_ns() + timeout_ns;
    uint64_t bytes = data.count * sizeof(float);
    int rc = reserve(self, bytes, err);
    if (rc == 0) {
        rc = copy_in(self, 0, data.values, bytes, err);
    }
    if (rc == 0 && data.count > 0) {
        rc = add_up(self, data.count, deadline_ns, err);
    }
    if (rc == 0) {
        rc = copy_out(self, data.values, 0, bytes, deadline_ns, err);
    }
    return conclude(self, rc);
}

/* ---- The end ---- */

static bool is_cancelled(const struct nccl *self)
{
    struct pollfd cancel = {.fd = self->cancel_fd, .events = POLLIN};
    return poll(&cancel, 1, 0) > 0;
}

/* What other ranks still wait for is on its way when finalize is over. */
static void close_comm(struct nccl *self)
{
    int64_t start_ns = mlq_clock_boot_ns();
    bool whole = !self->is_broken && !is_cancelled(self) &&
                 check_nccl(self, self->api->finalize(self->comm), "finalize", NULL) == 0 &&
                 wait_comm(self, start_ns + FINALIZE_NS, "finalize", NULL) == 0;
    nccl_result ended =
        whole ? self->api->destroy(self->comm) : self->api->abort(self->comm);
    log_info("coll.nccl_closed", "how=%s result=%u ms=%lld", whole ? "destroyed" : "aborted", ended,
             (long long)((mlq_clock_boot_ns() - start_ns) / MLQ_NS_PER_MS));
    self->comm = NULL;
}

static void nccl_close(void *state)
{
    struct nccl *self = state;
    if (self->comm != NULL) {
        close_comm(self);
    }
    if (self->buffer != 0) {
        (void)self->api->cuda.memory_give(self->buffer);
    }
    if (self->stream != NULL) {
        (void)self->api->cuda.stream_destroy(self->stream);
    }
    if (self->has_context) {
        (void)self->api->cuda.context_release(self->device);
    }
    mlq_free(self);
}

static const struct coll_ops nccl_ops = {
    .name = "nccl",
    .may_stick = true,
    .open = nccl_open,
    .allgather = nccl_allgather,
    .broadcast = nccl_broadcast,
    .barrier = nccl_barrier,
    .alltoall = nccl_alltoall,
    .allreduce = nccl_allreduce,
    .close = nccl_close,
};

__attribute__((visibility("default"))) extern const struct coll_plugin coll_nccl_plugin;

const struct coll_plugin coll_nccl_plugin = {.abi = COLL_PLUGIN_ABI, .nccl = &nccl_ops};
