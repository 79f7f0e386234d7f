/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The agent's table of members, found by name in constant time, and the names of the last ones that
 * went. For agent.c.
 */
#ifndef MLQ_WORKER_AGENT_MEMBERS_H
#define MLQ_WORKER_AGENT_MEMBERS_H

#include "worker/agent/agent.h"

/* NULL: not here. */
struct agent_member *members_find(struct agent *agent, uint64_t attempt, uint32_t rank);

/* It is not here yet: asserted. In state FREE; NULL: the table is full. */
struct agent_member *members_add(struct agent *agent, uint64_t attempt, uint32_t rank);

/* Its place is free, its name is remembered for a while. The state is the caller's to set. */
void members_remove(struct agent *agent, struct agent_member *member);

bool members_was_forgotten(const struct agent *agent, uint64_t attempt, uint32_t rank);

#endif
