/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "scheduler/core/dag.h"

#include "scheduler/core/job.h"

static const char *check_needs(const struct core_job_desc *desc, uint32_t index)
{
    const struct core_stage_desc *stage = &desc->stages[index];
    uint64_t seen[CORE_STAGES_PER_JOB_MAX / 64] = {0};
    if (stage->needs_count > CORE_NEEDS_PER_STAGE_MAX) {
        return "a stage needs more than 64 others";
    }
    if (stage->needs_count > 0 && stage->needs == NULL) {
        return "a stage names needs without a list";
    }
    for (uint32_t i = 0; i < stage->needs_count; i++) {
        uint32_t need = stage->needs[i];
        if (need >= desc->stage_count) {
            return "a stage needs one that does not exist";
        }
        if (need == index) {
            return "a stage needs itself";
        }
        uint64_t bit = UINT64_C(1) << (need % 64);
        if ((seen[need / 64] & bit) != 0) {
            return "a stage names a need twice";
        }
        seen[need / 64] |= bit;
    }
    return NULL;
}

/* Depth first along the needs, without recursion: `path` holds the stages that are being visited,
 * `next` which need of each comes next. To meet one of the path again is a cycle. */
static bool has_cycle(const struct core_job_desc *desc)
{
    enum { NEW, ON_PATH, DONE };
    uint8_t mark[CORE_STAGES_PER_JOB_MAX] = {0};
    uint8_t next[CORE_STAGES_PER_JOB_MAX] = {0};
    uint16_t path[CORE_STAGES_PER_JOB_MAX];
    for (uint32_t start = 0; start < desc->stage_count; start++) {
        uint32_t depth = 0;
        if (mark[start] == NEW) {
            mark[start] = ON_PATH;
            path[depth++] = (uint16_t)start;
        }
        while (depth > 0) {
            uint32_t at = path[depth - 1];
            const struct core_stage_desc *stage = &desc->stages[at];
            if (next[at] == stage->needs_count) {
                mark[at] = DONE;
                depth--;
                continue;
            }
            uint32_t need = stage->needs[next[at]++];
            if (mark[need] == ON_PATH) {
                return true;
            }
            if (mark[need] == NEW) {
                MLQ_ASSERT(depth < desc->stage_count);
                mark[need] = ON_PATH;
                path[depth++] = (uint16_t)need;
            }
        }
    }
    return false;
}

const char *dag_check(const struct core_job_desc *desc)
{
    for (uint32_t i = 0; i < desc->stage_count; i++) {
        const char *wrong = check_needs(desc, i);
        if (wrong != NULL) {
            return wrong;
        }
    }
    return has_cycle(desc) ? "the needs form a cycle" : NULL;
}

uint32_t dag_edge_count(const struct core_job_desc *desc)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < desc->stage_count; i++) {
        count += desc->stages[i].needs_count;
    }
    return count;
}

void dag_link(struct core *core, struct job *job, const struct core_job_desc *desc)
{
    MLQ_ASSERT(slots_room(&core->edge_slots) >= dag_edge_count(desc));
    for (uint32_t i = 0; i < desc->stage_count; i++) {
        uint32_t child_slot = job_stage_slot(core, job->id, i);
        struct stage *child = &core->stages[child_slot];
        for (uint32_t k = 0; k < desc->stages[i].needs_count; k++) {
            uint32_t parent_slot = job_stage_slot(core, job->id, desc->stages[i].needs[k]);
            struct stage *parent = &core->stages[parent_slot];
            uint32_t slot = slots_take(&core->edge_slots);
            MLQ_ASSERT(slot != SLOT_NONE);
            core->edges[slot] = (struct edge){
                .parent = parent_slot,
                .child = child_slot,
                .next_up = child->edge_first_up,
                .next_down = parent->edge_first_down,
            };
            child->edge_first_up = slot;
            parent->edge_first_down = slot;
            child->unmet++;
        }
    }
}

void dag_unlink(struct core *core, struct stage *stage)
{
    uint32_t slot = stage->edge_first_up;
    while (slot != SLOT_NONE) {
        uint32_t next = core->edges[slot].next_up;
        slots_give(&core->edge_slots, slot);
        slot = next;
    }
    stage->edge_first_up = SLOT_NONE;
    stage->edge_first_down = SLOT_NONE;
}

void dag_recount(struct core *core, struct stage *stage)
{
    stage->unmet = 0;
    stage->needs_lost = 0;
    for (uint32_t slot = stage->edge_first_up; slot != SLOT_NONE;
         slot = core->edges[slot].next_up) {
        enum core_state state = core->stages[core->edges[slot].parent].state;
        stage->unmet += state != STATE_SUCCEEDED ? 1 : 0;
        stage->needs_lost += state != STATE_SUCCEEDED && job_state_is_end(state) ? 1 : 0;
    }
}
