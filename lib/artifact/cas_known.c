/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "lib/artifact/cas_known.h"

#include <pthread.h>
#include <stddef.h>
#include <time.h>

#include "lib/sys/clock.h"
#include "lib/sys/mem.h"

/* Times of modification are those of the last tick of the kernel's clock, 10 ms at most; some file systems keep
 * every or every other second. */
#define TICK_NS   INT64_C(10000000)
#define COARSE_NS INT64_C(2000000000)

struct entry {
    struct cas_digest digest;
    struct stat status;
    int64_t at_ns;
};

struct cas_known {
    pthread_mutex_t mutex;
    int64_t trust_ns;
    uint32_t count;
    uint32_t next; /* place for the next one: the oldest's, once there are enough */
    struct entry entries[CAS_KNOWN_MAX];
};

struct cas_known *cas_known_create(int64_t trust_ns)
{
    struct cas_known *known = mlq_alloc(sizeof *known);
    (void)pthread_mutex_init(&known->mutex, NULL);
    known->trust_ns = trust_ns;
    return known;
}

void cas_known_destroy(struct cas_known **known)
{
    if (*known != NULL) {
        (void)pthread_mutex_destroy(&(*known)->mutex);
        mlq_free(*known);
        *known = NULL;
    }
}

static int64_t ns_of(struct timespec time)
{
    return (int64_t)time.tv_sec * MLQ_NS_PER_S + time.tv_nsec;
}

static bool is_same(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
           ns_of(a->st_mtim) == ns_of(b->st_mtim);
}

/* Whether a change from now on would get another time. */
static bool is_settled(const struct stat *status)
{
    int64_t grain_ns = status->st_mtim.tv_nsec == 0 ? COARSE_NS : TICK_NS;
    return mlq_clock_wall_us() * 1000 - ns_of(status->st_mtim) > 2 * grain_ns;
}

void cas_known_add(struct cas_known *known, const struct cas_digest *digest, const struct stat *before,
                   const struct stat *after)
{
    if (known == NULL || after->st_size < (off_t)CAS_KNOWN_BYTES_MIN || !is_same(before, after) ||
        !is_settled(after)) {
        return;
    }
    (void)pthread_mutex_lock(&known->mutex);
    known->entries[known->next] =
        (struct entry){.digest = *digest, .status = *after, .at_ns = mlq_clock_boot_ns()};
    known->next = (known->next + 1) % CAS_KNOWN_MAX;
    known->count += known->count < CAS_KNOWN_MAX ? 1 : 0;
    (void)pthread_mutex_unlock(&known->mutex);
}

bool cas_known_has(struct cas_known *known, const struct cas_digest *digest, const struct stat *now)
{
    bool is_known = false;
    if (known == NULL || now->st_size < (off_t)CAS_KNOWN_BYTES_MIN) {
        return false;
    }
    int64_t since_ns = mlq_clock_boot_ns() - known->trust_ns;
    (void)pthread_mutex_lock(&known->mutex);
    for (uint32_t i = 0; i < known->count && !is_known; i++) {
        const struct entry *entry = &known->entries[i];
        is_known = entry->at_ns > since_ns && cas_digest_eq(&entry->digest, digest) &&
                   is_same(&entry->status, now);
    }
    (void)pthread_mutex_unlock(&known->mutex);
    return is_known;
}
