/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "scheduler/keybook.h"

#include "lib/base/panic.h"
#include "lib/base/prng.h"
#include "lib/sys/mem.h"

struct entry {
    struct mlq_str key; /* ours */
    uint64_t job;       /* 0: free */
};

struct keybook {
    struct entry *entries;
    size_t room; /* a power of two, at least twice the count */
    size_t count;
};

struct keybook *keybook_create(void)
{
    struct keybook *book = mlq_alloc(sizeof *book);
    book->room = 1024;
    book->entries = mlq_alloc_array(book->room, sizeof *book->entries);
    return book;
}

void keybook_destroy(struct keybook **book)
{
    if (*book == NULL) {
        return;
    }
    for (size_t i = 0; i < (*book)->room; i++) {
        char *owned = (char *)(uintptr_t)(*book)->entries[i].key.ptr;
        mlq_free(owned);
    }
    mlq_free((*book)->entries);
    mlq_free(*book);
    *book = NULL;
}

static uint64_t hash(struct mlq_str key)
{
    uint64_t sum = key.len;
    for (size_t i = 0; i < key.len; i++) {
        sum = mlq_hash_u64(sum ^ (unsigned char)key.ptr[i]);
    }
    return sum;
}

static struct entry *place(struct entry *entries, size_t room, struct mlq_str key)
{
    size_t at = (size_t)hash(key) & (room - 1);
    while (entries[at].job != 0 && !mlq_str_eq(entries[at].key, key)) {
        at = (at + 1) & (room - 1);
    }
    return &entries[at];
}

static void grow(struct keybook *book)
{
    size_t room = book->room * 2;
    struct entry *entries = mlq_alloc_array(room, sizeof *entries);
    for (size_t i = 0; i < book->room; i++) {
        if (book->entries[i].job != 0) {
            *place(entries, room, book->entries[i].key) = book->entries[i];
        }
    }
    mlq_free(book->entries);
    book->entries = entries;
    book->room = room;
}

void keybook_put(struct keybook *book, struct mlq_str key, uint64_t job)
{
    MLQ_ASSERT(job != 0);
    if ((book->count + 1) * 2 > book->room) {
        grow(book);
    }
    struct entry *entry = place(book->entries, book->room, key);
    MLQ_ASSERT(entry->job == 0);
    *entry = (struct entry){.key = {mlq_strndup(key), key.len}, .job = job};
    book->count++;
}

uint64_t keybook_find(const struct keybook *book, struct mlq_str key)
{
    return key.len == 0 ? 0 : place(book->entries, book->room, key)->job;
}
