/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Ranks that are threads of one process: each copies what it needs from the others' buffers. For
 * tests of what lies above, and for gangs inside one process; no network, and no chance.
 *
 * The ranks of one gang share a hub, found by name in a table of the process. A call is two
 * meetings: all have shown their buffers; all have copied. Copies are made under the hub's lock, so
 * a rank that gives up cannot take its buffer away under another's hands. The hub fails as a whole:
 * whoever is late, leaves, calls something else or is aborted takes the others along at once. A
 * newer generation of the same name ends the older one, and an older one is refused.
 */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "lib/base/panic.h"
#include "lib/sys/clock.h"
#include "lib/sys/mem.h"
#include "worker/coll/coll.h"

enum loop_call { LOOP_OPEN, LOOP_ALLGATHER, LOOP_BROADCAST, LOOP_BARRIER, LOOP_ALLTOALL };

static const char *const call_texts[] = {"open", "allgather", "broadcast", "barrier", "alltoall"};

/* What a rank shows to the others during a call. */
struct shown {
    enum loop_call call;
    const uint8_t *data;
    const uint64_t *bytes;    /* allgather: of each rank; alltoall: for each rank */
    const uint64_t *expected; /* from each rank */
    uint64_t total;           /* broadcast */
    uint32_t root;
};

struct hub {
    struct hub *next;
    char name[COLL_NAME_BYTES_MAX + 1];
    uint64_t generation;
    uint32_t size;
    uint32_t users;    /* ranks that hold a pointer to it */
    uint64_t came;     /* bit r: rank r has come */
    uint64_t arrived;  /* bit r: rank r is at the present meeting */
    uint64_t meetings; /* that took place */
    int failed;        /* MLQ_E... of the gang, or 0 */
    char why[160];
    pthread_cond_t changed;
    struct shown shown[COLL_RANKS_MAX];
};

/* One per rank: what coll.h calls the state. */
struct seat {
    struct hub *hub;
    uint32_t rank;
};

/* Guards the table and all hubs in it: they are few, and their calls are short. */
static pthread_mutex_t hubs_lock = PTHREAD_MUTEX_INITIALIZER;
static struct hub *hubs;

static void lock(void)
{
    MLQ_ASSERT(pthread_mutex_lock(&hubs_lock) == 0);
}

static void unlock(void)
{
    MLQ_ASSERT(pthread_mutex_unlock(&hubs_lock) == 0);
}

/* ---- Hubs; the caller holds the lock ---- */

static void fail_hub(struct hub *hub, int code, const char *why)
{
    if (hub->failed == 0) {
        hub->failed = code;
        (void)snprintf(hub->why, sizeof(hub->why), "%s", why);
        (void)pthread_cond_broadcast(&hub->changed);
    }
}

static struct hub *create_hub(const struct coll_gang *gang)
{
    struct hub *hub = mlq_alloc(sizeof(*hub));
    pthread_condattr_t attributes;
    MLQ_ASSERT(pthread_condattr_init(&attributes) == 0);
    MLQ_ASSERT(pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0);
    MLQ_ASSERT(pthread_cond_init(&hub->changed, &attributes) == 0);
    (void)pthread_condattr_destroy(&attributes);
    (void)snprintf(hub->name, sizeof(hub->name), "%s", gang->name == NULL ? "" : gang->name);
    hub->generation = gang->generation;
    hub->size = gang->size;
    hub->next = hubs;
    hubs = hub;
    return hub;
}

static void leave_hub(struct hub *hub)
{
    if (--hub->users > 0) {
        return;
    }
    struct hub **at = &hubs;
    while (*at != hub) {
        at = &(*at)->next;
    }
    *at = hub->next;
    (void)pthread_cond_destroy(&hub->changed);
    mlq_free(hub);
}

/* The gang's hub, with this rank in it. */
static int join_hub(const struct coll_gang *gang, struct hub **joined, struct mlq_err *err)
{
    struct hub *mine = NULL;
    const char *name = gang->name == NULL ? "" : gang->name;
    for (struct hub *hub = hubs; hub != NULL; hub = hub->next) {
        if (strcmp(hub->name, name) != 0) {
            continue;
        }
        if (hub->generation > gang->generation) {
            return mlq_fail(err, MLQ_EFENCED,
                            "this rank belongs to generation %" PRIu64 ", the gang is at %" PRIu64,
                            gang->generation, hub->generation);
        }
        if (hub->generation < gang->generation) {
            fail_hub(hub, MLQ_ECONN, "a newer generation of the gang has begun");
        } else if (hub->failed == 0) {
            mine = hub;
        }
    }
    if (mine != NULL && mine->size != gang->size) {
        return mlq_fail(err, MLQ_EPERM, "this rank counts %u ranks, the gang has %u", gang->size,
                        mine->size);
    }
    if (mine != NULL && (mine->came >> gang->rank & 1) != 0) {
        return mlq_fail(err, MLQ_EPERM, "rank %u is there already (two threads with one rank?)",
                        gang->rank);
    }
    *joined = mine != NULL ? mine : create_hub(gang);
    (*joined)->users++;
    (*joined)->came |= UINT64_C(1) << gang->rank;
    return 0;
}

/* ---- Meetings; the caller holds the lock ---- */

/* Waits until all ranks are here. Whoever is too late fails the gang for all. */
static int meet(struct seat *seat, int64_t deadline_ns, struct mlq_err *err)
{
    struct hub *hub = seat->hub;
    uint64_t all = hub->size == 64 ? UINT64_MAX : (UINT64_C(1) << hub->size) - 1;
    uint64_t meeting = hub->meetings;
    hub->arrived |= UINT64_C(1) << seat->rank;
    if (hub->failed == 0 && hub->arrived == all) {
        hub->arrived = 0;
        hub->meetings++;
        (void)pthread_cond_broadcast(&hub->changed);
    }
    struct timespec until = mlq_clock_monotonic_after(deadline_ns - mlq_clock_boot_ns());
    while (hub->failed == 0 && hub->meetings == meeting) {
        if (pthread_cond_timedwait(&hub->changed, &hubs_lock, &until) == ETIMEDOUT &&
            hub->meetings == meeting) {
            char missing[COLL_MISSING_BYTES], why[sizeof(hub->why)];
            coll_missing_text(hub->arrived, hub->size, missing);
            (void)snprintf(why, sizeof(why), "ranks that did not come: %.100s", missing);
            fail_hub(hub, MLQ_ETIMEOUT, why);
        }
    }
    return hub->meetings != meeting ? 0 : mlq_fail(err, hub->failed, "%s", hub->why);
}

/* The bytes that `from` has for this rank; UINT64_MAX: it is in another call. */
static uint64_t piece_bytes(const struct seat *seat, uint32_t from)
{
    const struct shown *own = &seat->hub->shown[seat->rank], *other = &seat->hub->shown[from];
    if (other->call != own->call || other->root != own->root || other->total != own->total) {
        return UINT64_MAX;
    }
    return own->call == LOOP_ALLGATHER  ? other->bytes[from]
           : own->call == LOOP_ALLTOALL ? other->bytes[seat->rank]
                                        : 0;
}

static int check_same_call(struct seat *seat, struct mlq_err *err)
{
    const struct shown *own = &seat->hub->shown[seat->rank];
    for (uint32_t rank = 0; rank < seat->hub->size; rank++) {
        const struct shown *other = &seat->hub->shown[rank];
        uint64_t expected = own->expected == NULL ? 0 : own->expected[rank];
        if (piece_bytes(seat, rank) != expected) {
            char why[sizeof(seat->hub->why)];
            (void)snprintf(why, sizeof(why),
                           "rank %u calls %s, rank %u calls %s with another root or other lengths",
                           seat->rank, call_texts[own->call], rank, call_texts[other->call]);
            fail_hub(seat->hub, MLQ_EPROTO, why);
            return mlq_fail(err, MLQ_EPROTO, "%s", why);
        }
    }
    return 0;
}

/* ---- Copies ---- */

static void copy(void *to, const void *from, uint64_t bytes)
{
    if (bytes > 0) {
        memcpy(to, from, bytes);
    }
}

static uint64_t sum(const uint64_t *bytes, uint32_t count)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < count; i++) {
        total += bytes[i];
    }
    return total;
}

/* What this rank gets, once all have shown what they have. */
static void take(struct seat *seat, void *receive)
{
    struct hub *hub = seat->hub;
    const struct shown *own = &hub->shown[seat->rank];
    uint8_t *to = receive;
    for (uint32_t rank = 0; rank < hub->size; rank++) {
        const struct shown *from = &hub->shown[rank];
        if (own->call == LOOP_ALLGATHER) {
            copy(to, from->data, from->bytes[rank]);
            to += from->bytes[rank];
        } else if (own->call == LOOP_ALLTOALL) {
            copy(to, from->data + sum(from->bytes, seat->rank), from->bytes[seat->rank]);
            to += from->bytes[seat->rank];
        } else if (own->call == LOOP_BROADCAST && rank == own->root && rank != seat->rank) {
            copy(to, from->data, own->total);
        }
    }
}

static int run_call(struct seat *seat,
                    const struct shown *shown,
                    void *receive,
                    int64_t timeout_ns,
                    struct mlq_err *err)
{
    int64_t deadline_ns = mlq_clock_boot_ns() + timeout_ns;
    lock();
    seat->hub->shown[seat->rank] = *shown;
    int rc = meet(seat, deadline_ns, err);
    if (rc == 0) {
        rc = check_same_call(seat, err);
    }
    if (rc == 0) {
        take(seat, receive);
        rc = meet(seat, deadline_ns, err);
    }
    unlock();
    return rc;
}

/* ---- The table ---- */

static int
loop_open(const struct coll_gang *gang, int64_t timeout_ns, void **state, struct mlq_err *err)
{
    struct hub *hub = NULL;
    int64_t deadline_ns = mlq_clock_boot_ns() + timeout_ns;
    *state = NULL;
    lock();
    int rc = join_hub(gang, &hub, err);
    if (rc == 0) {
        struct seat *seat = mlq_alloc(sizeof(*seat));
        *seat = (struct seat){.hub = hub, .rank = gang->rank};
        rc = meet(seat, deadline_ns, err);
        if (rc == 0) {
            *state = seat;
        } else {
            mlq_free(seat);
            leave_hub(hub);
        }
    }
    unlock();
    return rc;
}

static int loop_allgather(void *state,
                          const void *send,
                          void *receive,
                          const uint64_t *bytes,
                          int64_t timeout_ns,
                          struct mlq_err *err)
{
    struct shown shown = {
        .call = LOOP_ALLGATHER, .data = send, .bytes = bytes, .expected = bytes};
    return run_call(state, &shown, receive, timeout_ns, err);
}

static int loop_broadcast(
    void *state, void *data, uint64_t bytes, uint32_t root, int64_t timeout_ns, struct mlq_err *err)
{
    struct shown shown = {.call = LOOP_BROADCAST, .data = data, .total = bytes, .root = root};
    return run_call(state, &shown, data, timeout_ns, err);
}

static int loop_barrier(void *state, int64_t timeout_ns, struct mlq_err *err)
{
    struct shown shown = {.call = LOOP_BARRIER};
    return run_call(state, &shown, NULL, timeout_ns, err);
}

static int loop_alltoall(void *state,
                         const void *send,
                         const uint64_t *send_bytes,
                         void *receive,
                         const uint64_t *receive_bytes,
                         int64_t timeout_ns,
                         struct mlq_err *err)
{
    struct shown shown = {
        .call = LOOP_ALLTOALL, .data = send, .bytes = send_bytes, .expected = receive_bytes};
    return run_call(state, &shown, receive, timeout_ns, err);
}

static void loop_abort(void *state)
{
    struct seat *seat = state;
    lock();
    fail_hub(seat->hub, MLQ_ECANCELED, "the gang was aborted");
    unlock();
}

static void loop_close(void *state)
{
    struct seat *seat = state;
    char why[sizeof(seat->hub->why)];
    (void)snprintf(why, sizeof(why), "rank %u has left", seat->rank);
    lock();
    fail_hub(seat->hub, MLQ_ECONN, why);
    leave_hub(seat->hub);
    unlock();
    mlq_free(seat);
}

const struct coll_ops coll_loop_ops = {
    .name = "loop",
    .open = loop_open,
    .allgather = loop_allgather,
    .broadcast = loop_broadcast,
    .barrier = loop_barrier,
    .alltoall = loop_alltoall,
    .abort = loop_abort,
    .close = loop_close,
};
