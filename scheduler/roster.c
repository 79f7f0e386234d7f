/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "scheduler/roster.h"

#include <string.h>

#include "lib/base/panic.h"
#include "lib/sys/mem.h"

struct roster {
    struct roster_worker **workers; /* by ascending id: pointers stay valid while it grows */
    size_t count;
    size_t room;
    uint32_t highest;
};

struct roster *roster_create(uint32_t workers_max)
{
    struct roster *roster = mlq_alloc(sizeof *roster);
    roster->workers = mlq_alloc_array(workers_max, sizeof(struct roster_worker *));
    roster->room = workers_max;
    return roster;
}

static void free_gpus(struct roster_worker *worker)
{
    for (uint32_t i = 0; i < worker->gpu_count; i++) {
        mlq_free(worker->gpus[i].uuid);
        mlq_free(worker->gpus[i].model);
    }
    mlq_free(worker->gpus);
}

static void worker_destroy(struct roster_worker *worker)
{
    mlq_free(worker->name);
    mlq_free(worker->public_key);
    free_gpus(worker);
    mlq_free(worker->host);
    mlq_free(worker->software);
    mlq_free(worker->reachable);
    mlq_free(worker);
}

void roster_destroy(struct roster **roster)
{
    if (*roster == NULL) {
        return;
    }
    for (size_t i = 0; i < (*roster)->count; i++) {
        worker_destroy((*roster)->workers[i]);
    }
    mlq_free((*roster)->workers);
    mlq_free(*roster);
    *roster = NULL;
}

static struct roster_worker *append(struct roster *roster, uint32_t id, char *name, char *key)
{
    struct roster_worker *worker = mlq_alloc(sizeof *worker);
    *worker = (struct roster_worker){.id = id, .name = name, .public_key = key};
    roster->workers[roster->count++] = worker;
    if (id > roster->highest) {
        roster->highest = id;
    }
    return worker;
}

void roster_load(struct roster *roster, const struct store_worker *row)
{
    if (roster->count < roster->room) {
        (void)append(roster, row->id, mlq_strndup(row->name), mlq_strndup(row->public_key));
    }
}

void roster_set_highest(struct roster *roster, uint32_t highest)
{
    roster->highest = highest > roster->highest ? highest : roster->highest;
}

struct roster_worker *roster_find(const struct roster *roster, uint32_t id)
{
    size_t low = 0;
    size_t high = roster->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (roster->workers[middle]->id < id) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < roster->count && roster->workers[low]->id == id ? roster->workers[low] : NULL;
}

struct roster_worker *roster_find_name(const struct roster *roster, const char *name)
{
    for (size_t i = 0; i < roster->count; i++) {
        if (strcmp(roster->workers[i]->name, name) == 0) {
            return roster->workers[i];
        }
    }
    return NULL;
}

static bool same_address(const struct net_address *a, const struct net_address *b)
{
    return a->len == b->len && memcmp(a->bytes, b->bytes, a->len) == 0;
}

struct roster_worker *roster_at(const struct roster *roster, const struct net_address *address)
{
    for (size_t i = 0; i < roster->count; i++) {
        if (roster->workers[i]->connected && same_address(&roster->workers[i]->address, address)) {
            return roster->workers[i];
        }
    }
    return NULL;
}

static void replace(char **text, struct mlq_str with)
{
    mlq_free(*text);
    *text = mlq_strndup(with);
}

struct roster_worker *roster_enroll(struct roster *roster, const struct net_peer *peer)
{
    for (size_t i = 0; i < roster->count; i++) {
        struct roster_worker *worker = roster->workers[i];
        if (strcmp(worker->public_key, peer->public_key) == 0) {
            if (strcmp(worker->name, peer->name) != 0) { /* enrolled anew: a worker is its key */
                replace(&worker->name, mlq_str_from(peer->name));
            }
            return worker;
        }
    }
    if (roster->count == roster->room) {
        return NULL;
    }
    return append(roster, roster->highest + 1, mlq_strdup(peer->name), mlq_strdup(peer->public_key));
}

static void set_gpus(struct roster_worker *worker, const struct msg_hello *hello)
{
    free_gpus(worker);
    worker->gpu_count = hello->gpu_count;
    worker->gpus = mlq_alloc_array(hello->gpu_count, sizeof *worker->gpus);
    for (size_t i = 0; i < hello->gpu_count; i++) {
        struct msg_gpu detail = {.mem_bytes = 0};
        if (i < hello->gpu_detail_count) {
            detail = hello->gpus[i];
        }
        worker->gpus[i] = (struct roster_gpu){.uuid = mlq_strndup(hello->gpu_uuids[i]),
                                              .model = mlq_strndup(detail.model),
                                              .mem_bytes = detail.mem_bytes};
    }
}

void roster_hello(struct roster_worker *worker, const struct net_peer *peer,
                  const struct msg_hello *hello, int64_t now_ns)
{
    worker->connected = true;
    worker->address = peer->address;
    worker->session = hello->session;
    worker->cpu_milli = hello->cpu_milli;
    worker->mem_bytes = hello->mem_bytes;
    set_gpus(worker, hello);
    worker->port_first = hello->port_first;
    worker->port_count = hello->port_count;
    worker->heard_ns = now_ns;
    replace(&worker->host, hello->host);
    replace(&worker->software, hello->software);
    replace(&worker->reachable, hello->address);
}

struct store_worker roster_row(const struct roster_worker *worker, int64_t wall_us)
{
    return (struct store_worker){
        .id = worker->id,
        .name = mlq_str_from(worker->name),
        .public_key = mlq_str_from(worker->public_key),
        .cpu_milli = worker->cpu_milli,
        .mem_bytes = worker->mem_bytes,
        .gpus = (int32_t)worker->gpu_count,
        .seen_us = wall_us,
    };
}

size_t roster_count(const struct roster *roster)
{
    return roster->count;
}

struct roster_worker *roster_get(const struct roster *roster, size_t i)
{
    MLQ_ASSERT(i < roster->count);
    return roster->workers[i];
}
