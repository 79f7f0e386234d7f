/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The state of a training that several ranks hold together, in memory that all of them write: each
 * steps a slice of it, and reads what the others have made of theirs. It outlives each of them,
 * whatever instruction it ends at: who is left takes the state out, as it was before the step, or
 * steps what is missing itself.
 *
 * A slice is stepped a block at a time. Before a block is touched its numbers are saved, and `at`
 * tells that it is in work; of a rank that ended there, this block is read from what was saved, and
 * none behind it has been touched. Nobody has to know whether that rank is dead: who takes the
 * state out closes it first, and a rank looks whether it is closed after it has told which block is
 * next, and before it touches it. So one that was only stopped and goes on touches that block at
 * most, and saves take turns, so that it does not overwrite what is being read.
 *
 *     a rank       save block k;  at = k;     closed?  -> stop;  touch block k
 *     who takes    closed = true; read at;    read blocks, block `at` from its save
 *
 * With accesses in one order for all (seq_cst): either the rank sees that it is closed, or its `at`
 * is seen. No locks, no clock, no memory of its own: the ranks' gradients, and waiting for one
 * another between steps, are the caller's.
 */
#ifndef MLQ_ML_JOINT_H
#define MLQ_ML_JOINT_H

#include <stdbool.h>
#include <stdint.h>

#define JOINT_RANKS_MAX   64u
#define JOINT_VECTORS_MAX 3u
/* Larger ones are no faster. In smaller ones the order of accesses is felt: it waits until what was
 * written to the block before has arrived. Of three vectors, with its save: 96 KiB. */
#define JOINT_BLOCK_FLOATS 4096u

/* Vectors that are stepped together; the first is the longest one. */
struct joint_shape {
    uint32_t ranks;
    uint32_t vectors;
    uint64_t floats[JOINT_VECTORS_MAX];
};

/* Of all vectors, as far as each goes. */
struct joint_part {
    uint64_t begin;
    uint64_t end;
};

struct joint_control;

struct joint {
    struct joint_shape shape;
    uint32_t rank;
    struct joint_control *control;
    float *vectors[JOINT_VECTORS_MAX];
    float *saves; /* of the ranks, two of each */
};

/* For joint_init, which all ranks call with the same zeroed memory, aligned to 64 bytes. */
uint64_t joint_bytes(const struct joint_shape *shape);
void joint_init(struct joint *joint, const struct joint_shape *shape, uint32_t rank, void *memory);

struct joint_part joint_slice(const struct joint *joint, uint32_t rank);

/* This rank's slice of `vectors`, each as long as the shape says and at `step`, into the state.
 * When all have done so, the state can be stepped and taken out. */
void joint_put(struct joint *joint, uint64_t step, float *const vectors[]);

/* Brings the numbers of a part from one step to the next one, where they lie by then: in the state,
 * or where they were taken to. */
typedef void joint_apply_fn(void *context, struct joint_part part);

/* This rank's slice, to `step`, which counts on by one; from now on others may count on it that all
 * gradients of that step are there. False: the state is closed, and the slice may be stepped in
 * part. */
bool joint_step(struct joint *joint, uint64_t step, joint_apply_fn *apply, void *context);

/* From now on nobody steps on. Returns whether anybody has begun with `step`: then that step is to
 * be finished by who takes the state out. */
bool joint_close(struct joint *joint, uint64_t step);

/* The closed state into `vectors`: at `step`, but for the parts of `missing`, which are one step
 * behind. Returns how many they are. `step` is one that somebody has begun, or the last one that
 * all have finished. */
uint32_t joint_take(const struct joint *joint, uint64_t step, float *const vectors[],
                    struct joint_part missing[JOINT_RANKS_MAX]);

#endif
