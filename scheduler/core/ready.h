/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Which stage is next. A stage is in the queue once, however many tasks it has to start; its order
 * is (priority, highest first; job id, which is the order of submission; index in the job).
 *
 * Stages that ask for the same (a shape) share a pairing heap (Fredman, Sedgewick, Sleator, Tarjan
 * 1986) and the shapes stand in a heap by their first stage. So a walk in order steps over all
 * tasks of a shape that does not fit at once: a hundred thousand waiting GPU jobs do not hide one
 * CPU job behind them.
 */
#ifndef MLQ_SCHEDULER_CORE_READY_H
#define MLQ_SCHEDULER_CORE_READY_H

#include "scheduler/core/core_state.h"

/* The most shapes that are told apart by content; stages of further ones have one of their own. */
#define READY_SHAPES_SHARED_MAX 4096

bool ready_shape_before(const struct mlq_heap_node *a, const struct mlq_heap_node *b);

/* The shape's slot; one more stage refers to it. There are as many rows as for stages. */
uint32_t ready_shape_hold(struct core *core, const struct rvec *per_rank, uint32_t ranks,
                          uint32_t ranks_min);
void ready_shape_release(struct core *core, uint32_t shape_slot);

/* Whether some task of it may be started, were there room for it. */
bool ready_is_startable(const struct core *core, const struct stage *stage);

/* To be called after anything that ready_is_startable looks at has changed. */
void ready_update(struct core *core, uint32_t stage_slot);

/* The shape whose first stage is next, or NULL. */
struct shape *ready_first(struct core *core);

/* Set the shape aside during a walk, and back after it. */
void ready_set_aside(struct core *core, struct shape *shape);
void ready_put_back(struct core *core, struct shape *shape);

/* True when stage a goes before stage b. */
bool ready_stage_before(const struct core *core, uint32_t a, uint32_t b);

#endif
