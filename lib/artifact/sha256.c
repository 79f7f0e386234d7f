/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "lib/artifact/sha256.h"

#include <pthread.h>
#include <stdbool.h>

#include <openssl/evp.h>

#include "lib/base/panic.h"
#include "lib/sys/mem.h"
#include "lib/sys/thread.h"

/* In a ring, 8 MiB: are hashed in 5 ms, for as long as one of the two may be kept waiting for a processor. */
#define PIECES 32u

struct sha256 {
    EVP_MD_CTX *md;
    char *pieces;
    size_t bytes[PIECES];
    bool has_thread;
    pthread_t thread;
    pthread_mutex_t mutex; /* guards what follows */
    pthread_cond_t changed;
    uint64_t given; /* pieces */
    uint64_t done;
    bool is_over; /* no more will be given */
};

/* ---- The hash: EVP fails only when the library itself is broken or out of memory. ---- */

static EVP_MD_CTX *begin(void)
{
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    MLQ_ASSERT(md != NULL && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1);
    return md;
}

static void update(EVP_MD_CTX *md, const void *data, size_t bytes)
{
    MLQ_ASSERT(EVP_DigestUpdate(md, data, bytes) == 1);
}

static void finish(EVP_MD_CTX *md, struct cas_digest *digest)
{
    unsigned int bytes = 0;
    MLQ_ASSERT(EVP_DigestFinal_ex(md, digest->sha256, &bytes) == 1 &&
               bytes == sizeof digest->sha256);
    EVP_MD_CTX_free(md);
}

void sha256_of(const void *data, size_t bytes, struct cas_digest *digest)
{
    EVP_MD_CTX *md = begin();
    update(md, data, bytes);
    finish(md, digest);
}

/* ---- The thread ---- */

static void lock(struct sha256 *sha256)
{
    MLQ_ASSERT(pthread_mutex_lock(&sha256->mutex) == 0);
}

static void unlock(struct sha256 *sha256)
{
    MLQ_ASSERT(pthread_mutex_unlock(&sha256->mutex) == 0);
}

static void await_change(struct sha256 *sha256)
{
    MLQ_ASSERT(pthread_cond_wait(&sha256->changed, &sha256->mutex) == 0);
}

static char *piece_of(const struct sha256 *sha256, uint64_t number)
{
    return sha256->pieces + number % PIECES * SHA256_PIECE_BYTES;
}

/* Pieces in their order until the last. */
static void *work_off(void *argument)
{
    struct sha256 *sha256 = argument;
    lock(sha256);
    for (;;) {
        while (sha256->done == sha256->given && !sha256->is_over) {
            await_change(sha256);
        }
        if (sha256->done == sha256->given) {
            break;
        }
        uint64_t at = sha256->done;
        unlock(sha256);
        update(sha256->md, piece_of(sha256, at), sha256->bytes[at % PIECES]);
        lock(sha256);
        sha256->done++;
        (void)pthread_cond_signal(&sha256->changed);
    }
    unlock(sha256);
    return NULL;
}

static bool start_thread(struct sha256 *sha256)
{
    MLQ_ASSERT(pthread_mutex_init(&sha256->mutex, NULL) == 0);
    MLQ_ASSERT(pthread_cond_init(&sha256->changed, NULL) == 0);
    return mlq_thread_start(&sha256->thread, work_off, sha256) == 0;
}

/* ---- The caller ---- */

struct sha256 *sha256_start(uint64_t bytes)
{
    struct sha256 *sha256 = mlq_alloc(sizeof *sha256);
    sha256->md = begin();
    bool is_long = bytes >= SHA256_LONG_BYTES;
    sha256->pieces = mlq_alloc((is_long ? PIECES : 1) * SHA256_PIECE_BYTES);
    sha256->has_thread = is_long && start_thread(sha256);
    return sha256;
}

char *sha256_room(struct sha256 *sha256)
{
    if (!sha256->has_thread) {
        return sha256->pieces;
    }
    lock(sha256);
    while (sha256->given - sha256->done == PIECES) {
        await_change(sha256);
    }
    unlock(sha256);
    return piece_of(sha256, sha256->given);
}

void sha256_add(struct sha256 *sha256, size_t bytes)
{
    if (!sha256->has_thread) {
        update(sha256->md, sha256->pieces, bytes);
        return;
    }
    lock(sha256);
    sha256->bytes[sha256->given % PIECES] = bytes;
    sha256->given++;
    (void)pthread_cond_signal(&sha256->changed);
    unlock(sha256);
}

void sha256_end(struct sha256 *sha256, struct cas_digest *digest)
{
    if (sha256->has_thread) {
        lock(sha256);
        sha256->is_over = true;
        (void)pthread_cond_signal(&sha256->changed);
        unlock(sha256);
        MLQ_ASSERT(pthread_join(sha256->thread, NULL) == 0);
        (void)pthread_cond_destroy(&sha256->changed);
        (void)pthread_mutex_destroy(&sha256->mutex);
    }
    finish(sha256->md, digest);
    mlq_free(sha256->pieces);
    mlq_free(sha256);
}
