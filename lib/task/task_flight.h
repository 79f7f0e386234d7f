/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The flight recorder of a task: a small file, $HOME/.flight, that a rank of a training maps and writes
 * its last few hundred phases into. What is written outlives the process however it ends, and may be read
 * while it runs: who has not begun call n while the others wait in it is to blame for a hang.
 *
 * The file, all numbers of 8 bytes in the machine's order, one writer:
 *     0      "mlqfl1\n\0"
 *     8      the writer's process id
 *     16     events so far
 *     24     TASK_FLIGHT_EVENTS events of 6 numbers: number (1, 2, ...), at_ns (mlq_clock_boot_ns),
 *            phase, generation, epoch, step. Event n lies in place (n - 1) % TASK_FLIGHT_EVENTS; its
 *            number is 0 while it is written.
 * A task may write into its file what it likes: task_flight_read believes nothing.
 */
#ifndef MLQ_TASK_TASK_FLIGHT_H
#define MLQ_TASK_TASK_FLIGHT_H

#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/base/ownership.h"

#define TASK_FLIGHT_FILE   ".flight" /* in the task's HOME */
#define TASK_FLIGHT_EVENTS 512u

enum task_flight_phase {
    TASK_FLIGHT_LOAD,       /* parameters and rows */
    TASK_FLIGHT_WAIT,       /* for a membership of an elastic gang */
    TASK_FLIGHT_MEET,       /* the other ranks */
    TASK_FLIGHT_SHARE,      /* the common state */
    TASK_FLIGHT_COMPUTE,    /* gradients */
    TASK_FLIGHT_EXCHANGE,   /* them: waiting for the slowest */
    TASK_FLIGHT_APPLY,      /* their sum */
    TASK_FLIGHT_VALIDATE,
    TASK_FLIGHT_CHECKPOINT, /* writing one */
    TASK_FLIGHT_OUTPUT,     /* writing the outputs */
    TASK_FLIGHT_END,
    TASK_FLIGHT_PHASES, /* how many */
};

const char *task_flight_phase_text(enum task_flight_phase phase);

struct task_flight_event {
    uint64_t number;
    int64_t at_ns;
    enum task_flight_phase phase; /* that began */
    uint64_t generation;
    uint64_t epoch;
    uint64_t step;
};

/* ---- The task ---- */

struct task_flight;

/* Outside a task, or when the file cannot be made, what is noted goes nowhere. */
struct task_flight *task_flight_open(void);
void task_flight_close(struct task_flight **flight); /* takes NULL, frees, nulls; the file stays */

void task_flight_note(struct task_flight *flight,
                      enum task_flight_phase phase,
                      uint64_t generation,
                      uint64_t epoch,
                      uint64_t step);

/* ---- Whoever looks into it ---- */

struct task_flight_log {
    uint64_t pid;
    size_t count;
    struct task_flight_event events[TASK_FLIGHT_EVENTS]; /* the oldest first, none half written */
};

/* MLQ_ENOENT: there is none. MLQ_ECORRUPT: it is no such file. */
int task_flight_read(const char *path, struct task_flight_log *log, struct mlq_err *err);

#endif
