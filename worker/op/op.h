/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * What a native operator is, and what it is given. `mlq-op NAME` (op_main.c) reads the task's
 * environment into a context, runs the operator that op_table.c lists under NAME, and turns its
 * result into an exit status:
 *
 *     0            0    done
 *     OP_STOPPED   75   asked to stop, and everything is saved: run me again, not a failure
 *     MLQ_E...     1    failed; the error's text is printed as one line on stderr
 *
 * Beside the contract of lib/task/task.h the environment holds MLQ_WITH, the path of a JSON object: the
 * stage's `with:` with every default filled in and checked by lib/spec. An operator still checks
 * what it reads, since a task may be started by hand; that is what the getters below are for.
 *
 * Each file op_x.c exports op_x_run and nothing else that is not op_x_...
 */
#ifndef MLQ_OP_OP_H
#define MLQ_OP_OP_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "lib/artifact/cas.h"
#include "lib/base/err.h"
#include "lib/base/ownership.h"
#include "lib/sys/region.h"

#define OP_STOPPED 1 /* the only positive result of `run` */
#define OP_NO_STEP INT64_MIN

struct op_context;
struct task; /* lib/task/task.h */

struct op {
    const char *name; /* as in `uses:` */
    int (*run)(struct op_context *ctx, struct mlq_err *err);
};

/* ---- For op_main.c and tests ---- */

/* Reads the environment (MLQ_WITH, MLQ_OUTPUT, RANK ...), holds the parameters to the rules of the
 * operator's schema (lib/spec/op_rules.h), connects to MLQ_CONTROL, and catches SIGTERM
 * and SIGUSR1. One context per process. */
int op_open(const char *name, MLQ_OWNED_RETURN struct op_context **ctx, struct mlq_err *err);
void op_close(struct op_context **ctx); /* takes NULL, frees, nulls */

/* ---- Parameters: `with:`. A name may be a path: "optimizer.adamw.lr" ---- */

/* NULL when absent or null. Borrowed, valid until op_close. */
const json_t *op_with(const struct op_context *ctx, const char *name);

/* Absent or null gives `fallback`, which may be NULL for texts. A wrong type or a value out of
 * min..max is MLQ_EINVAL, with a text that names the parameter, the value and what was expected. A
 * number is always finite. */
int op_get_text(const struct op_context *ctx,
                const char *name,
                const char *fallback,
                const char **value,
                struct mlq_err *err);
int op_get_bool(const struct op_context *ctx,
                const char *name,
                bool fallback,
                bool *value,
                struct mlq_err *err);

/* The place of a text among `names`; *choice is the fallback's before. */
int op_get_choice(const struct op_context *ctx,
                  const char *name,
                  const char *const *names,
                  size_t count,
                  size_t *choice,
                  struct mlq_err *err);

/* The same for a mapping with exactly one member, such as {mlp: {hidden: [..]}}, or just its name.
 */
int op_get_one_of(const struct op_context *ctx,
                  const char *name,
                  const char *const *names,
                  size_t count,
                  size_t *choice,
                  struct mlq_err *err);

struct op_int_range {
    int64_t fallback;
    int64_t min;
    int64_t max;
};
int op_get_int(const struct op_context *ctx,
               const char *name,
               struct op_int_range range,
               int64_t *value,
               struct mlq_err *err);

struct op_number_range {
    double fallback;
    double min;
    double max;
};
int op_get_number(const struct op_context *ctx,
                  const char *name,
                  struct op_number_range range,
                  double *value,
                  struct mlq_err *err);

/* ---- CPUs ---- */

/* Of this task, which OMP_NUM_THREADS tells; by hand all that are there. At least 1. */
uint32_t op_cpus(void);

/* ---- Files ---- */

/* The last part of a path: what people are shown, and what may be recorded, of a file whose folder is this
 * attempt's alone. Into `path`. */
const char *op_file_name(const char *path);

/* Path of an input, NULL when the stage has none of that name. Names as task_input. */
const char *op_input(const struct op_context *ctx, const char *name);
/* The same, where it must be there: MLQ_ENOENT names the input and how to wire it. */
int op_need_input(const struct op_context *ctx,
                  const char *name,
                  const char **path,
                  struct mlq_err *err);

/* Its digest, which the worker has just verified; false when nobody has said it. */
bool op_input_digest(const char *name, struct cas_digest *digest);

/* Path of an output artifact to be written, in MLQ_OUTPUT (the current folder when run by hand). */
const char *op_output(struct op_context *ctx, const char *name);
/* A JSON output, indented; whole or not there, but not durable: the store syncs it. Borrows `json`. */
int op_write_json(struct op_context *ctx, const char *name, const json_t *json, struct mlq_err *err);

/* MLQ_CHECKPOINT, or NULL when checkpoints are not kept. */
const char *op_checkpoint_dir(const struct op_context *ctx);

/* ---- Reports. None of them fails: a task outlives its worker ---- */

/* `step` OP_NO_STEP for a final value, which is also a line on stderr. */
void op_metric(struct op_context *ctx, const char *name, double value, int64_t step);
/* 0..1; sent at most ten times a second, so it may be called in a loop. `text` may be NULL. */
void op_progress(struct op_context *ctx, double fraction, const char *text);
/* The checkpoint at `path`, inside op_checkpoint_dir, is complete and durable. */
void op_checkpointed(struct op_context *ctx, const char *path);

/* True once SIGTERM came or the worker asked: save, then return OP_STOPPED. Cheap: it asks the worker
 * at most five times a second. */
bool op_should_stop(struct op_context *ctx);
/* True once per SIGUSR1: write a checkpoint and go on. */
bool op_should_checkpoint(struct op_context *ctx);

/* ---- The rest ---- */
const char *op_name(const struct op_context *ctx);
uint32_t op_rank(const struct op_context *ctx);       /* RANK, 0 outside a gang */
uint32_t op_world_size(const struct op_context *ctx); /* WORLD_SIZE, 1 outside a gang */
bool op_is_elastic(const struct op_context *ctx);     /* RANK is a member's number (MLQ_ELASTIC) */
struct mlq_region *op_region(struct op_context *ctx); /* lives until op_close */
struct task *op_task(struct op_context *ctx);         /* for task_record */

#endif
