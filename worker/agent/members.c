/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/agent/members.h"

#include "lib/base/panic.h"
#include "lib/base/prng.h"

static uint32_t bucket_of(uint64_t attempt, uint32_t rank)
{
    return (uint32_t)mlq_hash_keyed(0, attempt, rank) & (AGENT_BUCKETS - 1);
}

static const struct agent_member *find(const struct agent *agent, uint64_t attempt, uint32_t rank)
{
    for (uint32_t at = agent->buckets[bucket_of(attempt, rank)]; at != 0;
         at = agent->members[at - 1].next) {
        const struct agent_member *member = &agent->members[at - 1];
        if (member->attempt == attempt && member->rank == rank) {
            return member;
        }
    }
    return NULL;
}

const struct agent_member *agent_find(const struct agent *agent, uint64_t attempt, uint32_t rank)
{
    return find(agent, attempt, rank);
}

struct agent_member *members_find(struct agent *agent, uint64_t attempt, uint32_t rank)
{
    const struct agent_member *found = find(agent, attempt, rank);
    return found == NULL ? NULL : &agent->members[found - agent->members];
}

struct agent_member *members_add(struct agent *agent, uint64_t attempt, uint32_t rank)
{
    MLQ_ASSERT(find(agent, attempt, rank) == NULL);
    uint32_t at = agent->free;
    if (at != 0) {
        agent->free = agent->members[at - 1].next;
    } else if (agent->fresh < AGENT_MEMBERS_MAX) {
        at = ++agent->fresh;
    } else {
        return NULL;
    }
    uint32_t *bucket = &agent->buckets[bucket_of(attempt, rank)];
    struct agent_member *member = &agent->members[at - 1];
    *member = (struct agent_member){
        .attempt = attempt, .rank = rank, .exit_code = -1, .next = *bucket};
    *bucket = at;
    agent->count++;
    return member;
}

void members_remove(struct agent *agent, struct agent_member *member)
{
    uint32_t at = (uint32_t)(member - agent->members) + 1;
    uint32_t *link = &agent->buckets[bucket_of(member->attempt, member->rank)];
    while (*link != at) {
        MLQ_ASSERT(*link != 0);
        link = &agent->members[*link - 1].next;
    }
    *link = member->next;
    member->next = agent->free;
    agent->free = at;
    agent->count--;
    agent->forgotten[agent->forgotten_next] =
        (struct agent_name){.attempt = member->attempt, .rank = member->rank};
    agent->forgotten_next = (agent->forgotten_next + 1) % AGENT_FORGOTTEN_MAX;
}

bool members_was_forgotten(const struct agent *agent, uint64_t attempt, uint32_t rank)
{
    for (uint32_t i = 0; i < AGENT_FORGOTTEN_MAX; i++) {
        if (agent->forgotten[i].attempt == attempt && agent->forgotten[i].rank == rank) {
            return attempt != 0;
        }
    }
    return false;
}
