/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "scheduler/core/slots.h"

#include "lib/base/panic.h"

void slots_init(struct slots *slots, uint32_t *next, uint32_t max)
{
    MLQ_ASSERT(max > 0 && max < SLOT_IN_USE);
    *slots = (struct slots){.next = next, .max = max, .free = SLOT_NONE};
}

uint32_t slots_take(struct slots *slots)
{
    uint32_t slot = slots->free;
    if (slot != SLOT_NONE) {
        MLQ_ASSERT(slot < slots->fresh);
        slots->free = slots->next[slot];
    } else if (slots->fresh < slots->max) {
        slot = slots->fresh++;
    } else {
        return SLOT_NONE;
    }
    slots->next[slot] = SLOT_IN_USE;
    slots->count++;
    return slot;
}

void slots_give(struct slots *slots, uint32_t slot)
{
    MLQ_ASSERT(slots_in_use(slots, slot) && slots->count > 0);
    slots->next[slot] = slots->free;
    slots->free = slot;
    slots->count--;
}

bool slots_in_use(const struct slots *slots, uint32_t slot)
{
    return slot < slots->fresh && slots->next[slot] == SLOT_IN_USE;
}

uint32_t slots_room(const struct slots *slots)
{
    return slots->max - slots->count;
}

void slots_audit(const struct slots *slots)
{
    uint32_t free_count = 0;
    for (uint32_t slot = slots->free; slot != SLOT_NONE; slot = slots->next[slot]) {
        MLQ_ASSERT(slot < slots->fresh);
        free_count++;
        MLQ_ASSERT(free_count <= slots->fresh);
    }
    MLQ_ASSERT(slots->count + free_count == slots->fresh);
}
