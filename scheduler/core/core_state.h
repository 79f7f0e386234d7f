/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The tables behind core.h. Only files of this folder include it.
 *
 * Rows refer to each other by slot number. The intrusive nodes of lists and heaps are the only
 * pointers between rows; tables never move, and a row leaves its lists and heaps before its slot is
 * given back. No decision depends on a slot number or an address: ties break by ids that are in the
 * record, so that a core that was restored decides as the one that it replaces.
 *
 * Who writes what: job.c the states of jobs and stages, attempt.c tasks and members, fleet.c
 * workers, ready.c shapes and the ready queues, deadline.c the deadline heap.
 */
#ifndef MLQ_SCHEDULER_CORE_CORE_STATE_H
#define MLQ_SCHEDULER_CORE_CORE_STATE_H

#include "lib/base/heap.h"
#include "lib/base/list.h"
#include "lib/base/map.h"
#include "lib/base/ownership.h"
#include "lib/base/panic.h"
#include "scheduler/core/core.h"
#include "scheduler/core/slots.h"

/* MLQ_CONTAINER_OF for a pointer to const. */
#define STATE_CONST_OF(pointer, type, member)                                                      \
    ((const type *)(const void *)((const char *)(pointer)-offsetof(type, member)))

/* The most actions that one unit of work emits: a gang of CORE_RANKS_MAX ranks is recorded and
 * assigned, with some to spare. No unit starts with less room than this. */
#define UNIT_ACTIONS_MAX (2 * CORE_RANKS_MAX + 16)

/* Units of work in one event, so that an event without actions is bounded too. */
#define UNITS_PER_EVENT 4096

/* A task remembers so many workers that cannot take part in it; with more it does not grow. */
#define ELASTIC_REFUSED_MAX 4

/* ---- Deadlines ------------------------------------------------------------------------------ */

enum deadline_kind {
    DEADLINE_JOB,    /* the job's own */
    DEADLINE_TASK,   /* end of a back-off: of the task, or of the growth of one that runs */
    DEADLINE_WORKER, /* end of a lease and its margin */
};

struct deadline {
    struct mlq_heap_node node;
    enum deadline_kind kind;
    int64_t at_ns;
    uint64_t major; /* with kind and minor: breaks ties, from ids in the record */
    uint64_t minor;
    uint32_t slot; /* of the row that it is in */
};

/* ---- Jobs and stages ------------------------------------------------------------------------ */

struct job {
    uint64_t id;
    int64_t deadline_ns; /* a duration; 0: none */
    struct deadline deadline;
    struct mlq_list todo;    /* in core.todo_jobs */
    struct mlq_list running; /* tasks with a live attempt that was not told to stop */
    enum core_state state;   /* written by job.c only */
    enum core_cause stop;    /* NONE, or why no new attempts are made: CANCEL or TIMEOUT */
    int32_t priority;
    uint32_t stage_first;
    uint32_t stage_count;
    uint32_t stages_open;         /* have not ended */
    uint32_t stages_unsuccessful; /* ended, but not with success */
    uint32_t retries_ahead;       /* FACT_JOB_RETRIED still to be restored */
};

struct stage {
    enum core_state state; /* written by job.c only */
    uint32_t job;
    uint32_t index; /* in the job */
    uint32_t next_in_job;
    uint32_t shape;
    uint32_t array_count;
    uint32_t array_parallel;
    uint32_t failures_max;
    enum core_resize resize;
    struct core_retry retry;
    int64_t grace_ns;

    uint32_t edge_first_up;   /* edges to the stages that it needs */
    uint32_t edge_first_down; /* edges to the stages that need it */
    uint32_t unmet;           /* needs that have not succeeded */
    uint32_t needs_lost;      /* needs that ended without success */

    /* Its tasks. Indices from `cursor` on were never dispatched. Each below has succeeded, or has a
     * row in `tasks`: it runs, waits for another attempt, or ended for good without success. Rows
     * of the last kind are of use only where a FACT_JOB_RETRIED follows; else they are given back,
     * so that what failed takes no room from what goes on. */
    uint32_t cursor;
    uint32_t dropped; /* tasks that ended for good without success and have no row */
    uint32_t succeeded;
    uint32_t running;
    uint32_t failed;       /* tasks, for good; more than failures_max: nothing is started any more */
    struct mlq_list tasks; /* in the order of their first dispatch */
    struct mlq_list again; /* those of `tasks` that are ready for another attempt, in turn */

    /* Its place in the ready queue of its shape: a pairing heap, by slot numbers (ready.c). */
    bool is_ready;
    uint32_t heap_child;
    uint32_t heap_next;
    uint32_t heap_prev; /* the parent when it is the first child */
    int64_t ready_since_ns;

    struct mlq_list todo;     /* in core.todo_stages */
    struct mlq_list in_again; /* in core.again_stages while it is ready and `again` is not empty */
};

/* "child needs parent" */
struct edge {
    uint32_t parent;
    uint32_t child;
    uint32_t next_up;   /* next need of the child */
    uint32_t next_down; /* next stage that needs the parent */
};

/* What a task asks for. Stages that ask for the same share a row and a queue, so that one question
 * to the fleet answers for all of them. */
struct shape {
    struct mlq_heap_node node; /* in core.shape_heap while its queue is not empty */
    uint64_t key;              /* in core.shape_of; 0: not shared */
    struct rvec per_rank;
    uint32_t ranks;     /* at most, */
    uint32_t ranks_min; /* and at least */
    uint32_t stages;    /* that refer to it */
    uint32_t root;   /* first stage of its queue */
    /* The order of that stage, copied: a heap's comparison sees nothing but nodes. */
    int32_t head_priority;
    uint64_t head_job;
    uint32_t head_stage;
    uint64_t blocked_at;  /* core.room_count when it was found not to fit */
    uint64_t feasible_at; /* core.capacity_count for which is_feasible holds */
    bool is_feasible;
    /* core.room_count, core.elastic_count and its priority when resize.c last found that nothing can be
     * given back to it. */
    uint64_t asked_room;
    uint64_t asked_elastic;
    int32_t asked_priority;
};

/* ---- Tasks and members ---------------------------------------------------------------------- */

enum task_state {
    TASK_RUNNING, /* it has a live attempt */
    TASK_WAITING, /* for the end of its back-off */
    TASK_READY,   /* for resources, in stage.again */
    TASK_OVER,    /* ended without success and is not run again, unless the job is retried */
};

struct task {
    struct mlq_list in_stage;
    struct mlq_list in_job;   /* in job.running */
    struct mlq_list in_again; /* in stage.again */
    struct mlq_list todo;     /* in core.todo_tasks */
    struct deadline due;
    uint32_t stage;
    uint32_t index;
    enum task_state state;
    uint32_t failures; /* that counted against the retry limit */
    uint32_t missed;   /* attempts in a row with a rank that never came to its worker */

    /* The live attempt; meaningless unless it runs. */
    uint64_t attempt;
    uint32_t ranks;
    uint32_t placed; /* ranks that have a member row: all, but while facts are restored */
    uint32_t open;   /* ranks that have not ended */
    uint32_t member_first;
    uint32_t member_last;
    enum core_cause cause; /* the heaviest so far (attempt.c); PEER only when there is no other */
    uint32_t cause_weight;
    enum core_cause stop; /* NONE, or what its ranks were told to stop for */
    bool has_missed;      /* one of its ranks never came */

    /* Of a stage whose attempts may change their size (elastic.c). */
    struct mlq_list in_elastic; /* in core.elastic_tasks while it runs */
    struct mlq_list regroup;    /* in core.todo_regroup: its membership may have changed */
    int64_t began_ns;
    uint64_t generation;  /* of the membership that its members were told; 0: none by this core */
    uint64_t fingerprint; /* what all members must have; 0: none is ready yet */
    uint32_t losses;      /* ranks that ended while the others went on */
    bool is_broken;       /* members that are ready cannot reach others */
    bool is_done;         /* one ended with success: the work is done */
    uint32_t refused[ELASTIC_REFUSED_MAX]; /* ids of workers on which a rank could not take part */
    uint32_t refused_count;
};

/* One rank of a live attempt. It keeps its row until the attempt ends. */
struct member {
    struct mlq_list in_worker; /* in worker.members or worker.orphans until it ends */
    uint32_t task;
    uint32_t worker; /* SLOT_NONE in a job that is restored only to be retried */
    uint32_t rank;
    uint32_t next; /* rank of the same attempt */
    uint64_t gpu_mask;
    bool is_started;
    bool is_ended;
    bool is_charged; /* counted in worker.used */

    /* Of a RESIZE_LIVE stage. */
    bool is_ready;       /* it said where it can be met */
    bool is_leaving;     /* it was told to leave the others */
    uint16_t port;
    uint64_t generation; /* the last one that it was in */
};

/* ---- Workers -------------------------------------------------------------------------------- */

struct worker {
    uint32_t id;
    bool is_known;  /* said hello to this leader, lease not lapsed */
    bool is_lost;   /* its lease lapsed: what became of its members is not known */
    bool is_shrunk; /* what it runs was more than it offers when it said hello */
    uint64_t session;
    struct deadline lease;
    struct mlq_heap_node by_cpu; /* in core.by_cpu[] while it is known */
    struct rvec capacity;
    struct rvec used;
    uint64_t gpus_used;
    struct mlq_list members;
    struct mlq_list orphans; /* members that it lost, or never had: to be ended (attempt_lose) */
    uint32_t member_count;   /* in both lists */
    uint64_t closed_at;      /* core.pass_count in which it was closed to later tasks */
    int64_t gone_ns;         /* when it was lost, for choosing a row to give to another */
    struct mlq_list todo;    /* in core.todo_workers */
};

struct placement {
    uint32_t worker; /* slot */
    uint64_t gpu_mask;
};

struct core {
    struct core_limits limits;
    uint64_t seed;
    uint64_t next_job;
    uint32_t epoch;
    uint32_t attempt_count; /* of this epoch */
    int64_t now_ns;
    bool is_live;      /* EV_RESTORED came */
    uint64_t visitor;  /* a job that ended and is being restored for its EV_RETRY; 0: none */
    bool visitor_full; /* and it did not fit */
    struct core_actions *actions; /* the caller's, during a step only */

    struct slots job_slots;
    struct slots stage_slots;
    struct slots edge_slots;
    struct slots shape_slots;
    struct slots task_slots;
    struct slots member_slots;
    struct slots worker_slots;
    struct job *jobs;
    struct stage *stages;
    struct edge *edges;
    struct shape *shapes;
    struct task *tasks;
    struct member *members;
    struct worker *workers;

    struct mlq_map job_of;     /* job id */
    struct mlq_map stage_of;   /* job id and index, see job_stage_key */
    struct mlq_map task_of;    /* stage slot and index, see attempt_task_key */
    struct mlq_map attempt_of; /* attempt -> task */
    struct mlq_map worker_of;  /* worker id + 1 */
    struct mlq_map shape_of;   /* hash of a shape */

    struct mlq_heap deadlines;
    struct mlq_heap shape_heap;
    struct mlq_heap by_cpu[2]; /* workers without and with GPUs, most free CPU first */

    /* What is to be decided. Drained by settle.c in this and the next events. */
    struct mlq_list todo_workers; /* with orphans */
    struct mlq_list todo_tasks;   /* gangs of which a rank failed */
    struct mlq_list todo_stages;  /* that may have ended */
    struct mlq_list todo_jobs;    /* to be stopped, that may have ended, or to be removed */
    struct mlq_list todo_regroup; /* tasks whose membership may have changed */
    bool dispatch_wanted;
    struct mlq_list again_stages; /* these need no new task row: see dispatch.c */

    uint32_t ready_count;
    uint32_t members_live;
    uint32_t workers_known;
    uint64_t room_count;     /* how often room was gained: what did not fit then may fit now */
    uint64_t capacity_count; /* how often the set of workers or what they offer changed */
    uint64_t pass_count;     /* of dispatch.c */
    uint32_t closed_count;   /* workers closed in this pass */
    struct mlq_list elastic_tasks; /* run, and may change their size */
    uint64_t elastic_count;        /* how often one of them began or grew */
    uint64_t generation_count;     /* of this epoch */
    struct placement placements[CORE_RANKS_MAX]; /* of place_all, */
    uint32_t placed;                             /* so many */
};

#endif
