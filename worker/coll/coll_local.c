/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * A region as its owner sees it: control words, two stages for small pieces, memory. The others map
 * it for reading, but for pages that are for all, and for the bell, which they ring when they have
 * something to say: a futex that the owner sleeps on. Slots and stages are two, taken in turns: a
 * rank writes those of call n + 2 once call n + 1 has returned, and then nobody is in call n any
 * more.
 */
#include "worker/coll/coll_local.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/base/panic.h"
#include "lib/sys/clock.h"
#include "lib/sys/mem.h"
#include "worker/coll/coll_local_trade.h"

/* Of addresses, not of memory: pages come when they are written. 64 ranks fit into 47 bits. */
#define REGION_BYTES   (UINT64_C(64) << 30)
#define PAGE_BYTES_MAX (64u << 10) /* of any Linux */
#define STAGE_BYTES    (64u << 10)
#define LINE_BYTES     64u
#define BY_NETWORK     UINT64_MAX
/* A rank that is late by less is waited for awake, where there is a processor for each: to sleep
 * and to be woken takes a virtual machine about as long. */
#define AWAKE_NS INT64_C(100000)

struct control {
    union {
        struct {
            _Atomic uint32_t bell; /* grows with each ring */
            _Atomic uint32_t is_asleep;
        };
        uint8_t written_by_all[PAGE_BYTES_MAX];
    };
    _Atomic uint64_t arrived;          /* calls that the owner has begun */
    uint64_t slots[2][COLL_RANKS_MAX]; /* where the piece for a rank lies here, or BY_NETWORK */
    uint8_t stages[2][STAGE_BYTES];
};
_Static_assert(offsetof(struct control, arrived) == PAGE_BYTES_MAX, "the rest is for reading");

struct coll_local {
    uint32_t rank;
    uint32_t size;
    uint64_t peers; /* bit r: rank r is one of this machine */
    uint64_t calls;
    uint64_t used; /* bytes of the own region */
    int64_t awake_ns;
    int sockets[COLL_RANKS_MAX];             /* -1: none */
    struct control *regions[COLL_RANKS_MAX]; /* NULL: not mapped */
    /* Written by other threads: */
    _Atomic uint64_t lost; /* bit r: rank r is gone */
    atomic_bool aborted;
};

/* ---- The bell ---- */

static void ring(struct control *control)
{
    atomic_fetch_add(&control->bell, 1);
    if (atomic_load(&control->is_asleep) != 0) {
        (void)syscall(SYS_futex, &control->bell, FUTEX_WAKE, 1, NULL, NULL, 0);
    }
}

/* Until somebody has rung since `heard`, or the time is over. May return for nothing. */
static void sleep_on(struct control *control, uint32_t heard, int64_t ns)
{
    struct timespec limit = {.tv_sec = ns / MLQ_NS_PER_S, .tv_nsec = ns % MLQ_NS_PER_S};
    atomic_store(&control->is_asleep, 1);
    (void)syscall(SYS_futex, &control->bell, FUTEX_WAIT, heard, &limit, NULL, 0);
    atomic_store(&control->is_asleep, 0);
}

/* ---- Regions ---- */

/* -1 when the system has none to give. */
static int make_region(void)
{
    int fd = memfd_create("mlq-rank", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd >= 0 && (ftruncate(fd, (off_t)REGION_BYTES) != 0 ||
                    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_SEAL) != 0)) {
        (void)close(fd);
        fd = -1;
    }
    return fd;
}

/* A region that could be cut short would end its readers with SIGBUS. */
static bool is_whole(int fd)
{
    return lseek(fd, 0, SEEK_END) == (off_t)REGION_BYTES &&
           (fcntl(fd, F_GET_SEALS) & F_SEAL_SHRINK) != 0;
}

/* NULL when there is no room for it. */
static struct control *map_region(int fd, bool is_own)
{
    int protection = is_own ? PROT_READ | PROT_WRITE : PROT_READ;
    void *region = mmap(NULL, REGION_BYTES, protection, MAP_SHARED | MAP_NORESERVE, fd, 0);
    if (region == MAP_FAILED) {
        return NULL;
    }
    if (!is_own && mprotect(region, PAGE_BYTES_MAX, PROT_READ | PROT_WRITE) != 0) {
        (void)munmap(region, REGION_BYTES);
        return NULL;
    }
    if (!is_own) {
        (void)madvise(region, REGION_BYTES, MADV_DONTDUMP); /* the owner's core file has it */
    }
    return region;
}

/* Whether this process may map what the whole gang has. */
static bool has_room(uint32_t size)
{
    void *room = mmap(NULL, REGION_BYTES * size, PROT_NONE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (room == MAP_FAILED) {
        return false;
    }
    (void)munmap(room, REGION_BYTES * size);
    return true;
}

static int64_t awake_ns(uint64_t peers)
{
    cpu_set_t cpus;
    bool is_known = sched_getaffinity(0, sizeof(cpus), &cpus) == 0;
    return is_known && CPU_COUNT(&cpus) > __builtin_popcountll(peers) ? AWAKE_NS : 0;
}

/* ---- Open and close ---- */

static int map_peers(struct coll_local *local, const int fds[COLL_RANKS_MAX], struct mlq_err *err)
{
    for (uint32_t peer = 0; peer < local->size; peer++) {
        if (!coll_local_has(local, peer)) {
            continue;
        }
        local->regions[peer] = is_whole(fds[peer]) ? map_region(fds[peer], false) : NULL;
        if (local->regions[peer] == NULL) {
            return mlq_fail(err, MLQ_EIO, "the memory of rank %u cannot be mapped: %s", peer,
                            strerror(errno));
        }
    }
    return 0;
}

int coll_local_open(const struct coll_gang *gang, struct coll_store_client *store,
                    int64_t deadline_ns, struct coll_local **local, struct mlq_err *err)
{
    struct coll_local *opened = mlq_alloc(sizeof(*opened));
    *opened =
        (struct coll_local){.rank = gang->rank, .size = gang->size, .used = sizeof(struct control)};
    struct coll_local_trade trade;
    int own = gang->kind != COLL_GLOO && has_room(gang->size) ? make_region() : -1;
    opened->regions[gang->rank] = own >= 0 ? map_region(own, true) : NULL;
    bool is_able = opened->regions[gang->rank] != NULL;
    int rc = coll_local_trade_run(&trade, gang, is_able ? own : -1, store, deadline_ns, err);
    opened->peers = trade.peers;
    opened->awake_ns = awake_ns(trade.peers);
    memcpy(opened->sockets, trade.sockets, sizeof(opened->sockets));
    rc = rc != 0 ? rc : map_peers(opened, trade.regions, err);
    coll_local_trade_fini(&trade); /* a mapping needs no descriptor */
    if (own >= 0) {
        (void)close(own);
    }
    if (rc != 0) {
        coll_local_close(&opened);
    }
    *local = opened;
    return rc;
}

void coll_local_close(struct coll_local **local)
{
    struct coll_local *l = *local;
    if (l == NULL) {
        return;
    }
    for (uint32_t rank = 0; rank < l->size; rank++) {
        if (l->sockets[rank] >= 0) {
            (void)close(l->sockets[rank]);
        }
        if (l->regions[rank] != NULL) {
            (void)munmap(l->regions[rank], REGION_BYTES);
        }
    }
    mlq_free(l);
    *local = NULL;
}

bool coll_local_has(const struct coll_local *local, uint32_t peer)
{
    return (local->peers >> peer & 1) != 0;
}

bool coll_local_has_all(const struct coll_local *local)
{
    return (uint32_t)__builtin_popcountll(local->peers) + 1 == local->size;
}

static void *take_memory(struct coll_local *local, uint64_t bytes, uint64_t align)
{
    uint64_t begin = (local->used + align - 1) / align * align;
    if (local->peers == 0 || begin > REGION_BYTES || bytes > REGION_BYTES - begin) {
        return NULL;
    }
    local->used = begin + bytes;
    return (uint8_t *)local->regions[local->rank] + begin;
}

void *coll_local_memory(struct coll_local *local, uint64_t bytes)
{
    return take_memory(local, bytes, LINE_BYTES);
}

static uint64_t whole_pages(uint64_t bytes)
{
    return (bytes + PAGE_BYTES_MAX - 1) / PAGE_BYTES_MAX * PAGE_BYTES_MAX;
}

void *coll_local_pages(struct coll_local *local, uint64_t bytes, uint64_t *place)
{
    uint8_t *pages = bytes > REGION_BYTES
                         ? NULL
                         : take_memory(local, whole_pages(bytes), PAGE_BYTES_MAX);
    *place = pages == NULL ? 0 : (uint64_t)(pages - (uint8_t *)local->regions[local->rank]);
    return pages;
}

void *coll_local_open_pages(struct coll_local *local, uint32_t owner, uint64_t place,
                            uint64_t bytes)
{
    uint8_t *pages = (uint8_t *)local->regions[owner] + place;
    MLQ_ASSERT(place % PAGE_BYTES_MAX == 0 && bytes <= REGION_BYTES - place);
    bool is_own = owner == local->rank;
    return is_own || mprotect(pages, whole_pages(bytes), PROT_READ | PROT_WRITE) == 0 ? pages
                                                                                       : NULL;
}

/* ---- Calls ---- */

/* Where `in` begins in the own region, after a copy if it must be; BY_NETWORK: nowhere. */
static uint64_t place_of(const struct coll_local *local, const uint8_t *in, uint64_t bytes)
{
    struct control *own = local->regions[local->rank];
    uintptr_t at = (uintptr_t)in - (uintptr_t)own; /* huge when it lies before */
    if (at < local->used && bytes <= local->used - at) {
        return at;
    }
    if (bytes > STAGE_BYTES) {
        return BY_NETWORK;
    }
    uint8_t *stage = own->stages[local->calls % 2];
    if (bytes > 0) {
        memcpy(stage, in, bytes);
    }
    return (uint64_t)(stage - (const uint8_t *)own);
}

bool coll_local_offer(struct coll_local *local, const void *in, uint64_t in_bytes,
                      const uint64_t at[COLL_RANKS_MAX])
{
    if (local->peers == 0) {
        return true;
    }
    struct control *own = local->regions[local->rank];
    local->calls++;
    uint64_t *slot = own->slots[local->calls % 2], place = place_of(local, in, in_bytes);
    for (uint32_t peer = 0; peer < local->size; peer++) {
        slot[peer] = place == BY_NETWORK ? BY_NETWORK : place + at[peer];
    }
    atomic_store(&own->arrived, local->calls);
    for (uint32_t peer = 0; peer < local->size; peer++) {
        if (coll_local_has(local, peer)) {
            ring(local->regions[peer]);
        }
    }
    return place != BY_NETWORK;
}

/* Bits of the local ranks that have not begun this call. */
static uint64_t late_ones(const struct coll_local *local)
{
    uint64_t late = 0;
    for (uint32_t peer = 0; peer < local->size; peer++) {
        if (coll_local_has(local, peer) &&
            atomic_load(&local->regions[peer]->arrived) < local->calls) {
            late |= UINT64_C(1) << peer;
        }
    }
    return late;
}

static int fail_for(const struct coll_local *local, int code, const char *what, uint64_t late,
                    struct mlq_err *err)
{
    char ranks[COLL_MISSING_BYTES];
    coll_missing_text(~late, local->size, ranks);
    return mlq_fail(err, code, "%s: %s", what, ranks);
}

int coll_local_await(struct coll_local *local, int64_t deadline_ns, struct mlq_err *err)
{
    struct control *own = local->regions[local->rank];
    int64_t awake_until_ns = mlq_clock_boot_ns() + local->awake_ns;
    while (local->peers != 0) {
        uint32_t heard = atomic_load(&own->bell);
        /* Before looking who is late: who has come and then gone has come. */
        uint64_t lost = atomic_load(&local->lost), late = late_ones(local);
        int64_t now_ns = mlq_clock_boot_ns();
        if (late == 0) {
            break;
        }
        if (atomic_load(&local->aborted)) {
            return mlq_fail(err, MLQ_ECANCELED, "the gang was aborted");
        }
        if ((late & lost) != 0) {
            return fail_for(local, MLQ_ECONN, "ranks that are gone", late & lost, err);
        }
        if (now_ns >= deadline_ns) {
            return fail_for(local, MLQ_ETIMEOUT, "ranks that are late", late, err);
        }
        if (now_ns >= awake_until_ns) {
            sleep_on(own, heard, deadline_ns - now_ns);
        }
    }
    return 0;
}

const void *coll_local_piece(const struct coll_local *local, uint32_t peer)
{
    MLQ_ASSERT(coll_local_has(local, peer));
    const struct control *region = local->regions[peer];
    uint64_t at = region->slots[local->calls % 2][local->rank];
    MLQ_ASSERT(at == BY_NETWORK || at < REGION_BYTES);
    return at == BY_NETWORK ? NULL : (const uint8_t *)region + at;
}

/* ---- From another thread ---- */

int coll_local_socket(const struct coll_local *local, uint32_t peer)
{
    return local->sockets[peer];
}

void coll_local_lost(struct coll_local *local, uint32_t peer)
{
    atomic_fetch_or(&local->lost, UINT64_C(1) << peer);
    ring(local->regions[local->rank]);
}

void coll_local_abort(struct coll_local *local)
{
    atomic_store(&local->aborted, true);
    if (local->peers != 0) {
        ring(local->regions[local->rank]);
    }
}
