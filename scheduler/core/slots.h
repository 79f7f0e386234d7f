/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Which rows of a fixed table are in use. The rows themselves lie elsewhere, at the same numbers. A
 * row that was never used is never touched, so a big limit costs address space and not memory.
 */
#ifndef MLQ_SCHEDULER_CORE_SLOTS_H
#define MLQ_SCHEDULER_CORE_SLOTS_H

#include <stdbool.h>
#include <stdint.h>

#define SLOT_NONE UINT32_MAX

struct slots {
    uint32_t *next; /* per row: the next free one, or SLOT_IN_USE */
    uint32_t max;
    uint32_t fresh; /* rows from here on were never used */
    uint32_t free;  /* first of the rows that were given back */
    uint32_t count; /* rows in use */
};

#define SLOT_IN_USE (UINT32_MAX - 1)

/* `next` has room for `max` entries. */
void slots_init(struct slots *slots, uint32_t *next, uint32_t max);

/* A row that is now in use, or SLOT_NONE when the table is full. Its content is whatever it was. */
uint32_t slots_take(struct slots *slots);

/* The row must be in use: asserted. */
void slots_give(struct slots *slots, uint32_t slot);

bool slots_in_use(const struct slots *slots, uint32_t slot);
uint32_t slots_room(const struct slots *slots);

/* Recounts the free list; asserts. */
void slots_audit(const struct slots *slots);

#endif
