/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The workers as the shell knows them: a number for ever (it is in the record), a name and key, and
 * while connected an address, a session and what the last hello said.
 */
#ifndef MLQ_SCHEDULER_ROSTER_H
#define MLQ_SCHEDULER_ROSTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/ownership.h"
#include "lib/net/msg.h"
#include "lib/net/net.h"
#include "lib/sys/region.h"
#include "scheduler/store/store.h"

struct roster_gpu {
    char *uuid;
    char *model; /* "" and 0: not said */
    int64_t mem_bytes;
};

struct roster_worker {
    uint32_t id;
    char *name;
    char *public_key;
    bool connected; /* said hello to this leader; `address` and `session` are of that hello */
    struct net_address address;
    uint64_t session;
    int64_t cpu_milli;
    int64_t mem_bytes;
    uint32_t gpu_count;
    struct roster_gpu *gpus; /* gpu_count of them */
    char *host;
    char *software;
    char *reachable; /* address for gangs */
    uint16_t port_first;
    uint16_t port_count;
    int64_t heard_ns; /* of its last message */
};

struct roster;

MLQ_OWNED_RETURN struct roster *roster_create(uint32_t workers_max);
void roster_destroy(struct roster **roster);

/* From the record. */
void roster_load(struct roster *roster, const struct store_worker *worker);
void roster_set_highest(struct roster *roster, uint32_t highest);

struct roster_worker *roster_find(const struct roster *roster, uint32_t id);
struct roster_worker *roster_find_name(const struct roster *roster, const char *name);
/* The worker that now speaks from this address, or NULL. */
struct roster_worker *roster_at(const struct roster *roster, const struct net_address *address);

/* The worker of this peer, enrolled under a new number if it was never seen; NULL when workers_max are known. */
struct roster_worker *roster_enroll(struct roster *roster, const struct net_peer *peer);
void roster_hello(struct roster_worker *worker, const struct net_peer *peer, const struct msg_hello *hello, int64_t now_ns);
struct store_worker roster_row(const struct roster_worker *worker, int64_t wall_us);

size_t roster_count(const struct roster *roster);
struct roster_worker *roster_get(const struct roster *roster, size_t i); /* by ascending id */

#endif
