/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The scheduler's heart: events in, actions out. No clock, no chance, no allocation after
 * core_init, no I/O, no globals. It knows numbers only; names, specs and bytes stay with the shell.
 *
 * What survives a crash is a list of facts. A live event makes the core *decide* facts; each is
 * applied to the tables by core_restore's own function and emitted as ACT_PERSIST. After a crash
 * the shell feeds the recorded facts back through core_restore in their order. So the live path
 * and the recovery path are one function.
 *
 * The shell must hold every action of a turn until the facts that were emitted before it are
 * durable. If they cannot be made durable, drop this core and reload: memory is ahead of the disk.
 *
 * Time is one line of nanoseconds that the shell gives with each event and that never goes back.
 * For facts from before this process the shell maps recorded wall time to this line; such a time
 * may be negative.
 */
#ifndef MLQ_SCHEDULER_CORE_CORE_H
#define MLQ_SCHEDULER_CORE_CORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CORE_RANKS_MAX              256
#define CORE_STAGES_PER_JOB_MAX     1024
#define CORE_NEEDS_PER_STAGE_MAX    64
#define CORE_ARRAY_MAX              1000000
#define CORE_GPUS_PER_WORKER_MAX    64
#define CORE_MEMBERS_PER_WORKER_MAX 1024
#define CORE_CLAIMS_MAX             2048               /* in one hello; one with more is ignored */
#define CORE_DURATION_NS_MAX        (INT64_C(1) << 60) /* 36 years */

/* All tables are carved from one block of core_memory_need(limits) bytes. */
struct core_limits {
    uint32_t jobs_max;    /* live (not ended) jobs */
    uint32_t stages_max;  /* stages of live jobs */
    uint32_t needs_max;   /* edges between stages of live jobs */
    uint32_t tasks_max;   /* tasks that are running or wait for a retry; the others cost nothing */
    uint32_t members_max; /* ranks that are placed on a worker */
    uint32_t workers_max;
    int64_t lease_ns; /* a worker kills its tasks this long after it sent its last acknowledged
                         heartbeat */
    int64_t lease_margin_ns; /* the core gives up a worker this much later: kill grace and clock
                                drift */
    int64_t starve_ns;       /* a ready task that has waited longer is not overtaken any more */
};

struct core_limits core_limits_default(void);

/* Resources as integers: thousandths of a CPU, bytes, whole GPUs. */
struct rvec {
    int64_t cpu_milli;
    int64_t mem_bytes;
    int32_t gpus;
};

/* Why a rank ended, and of these why its attempt did (attempt.c), told apart because retry policies name
 * causes. The texts are what users write in `retry: {on: [...]}` and read in `mlq show`. */
#define CORE_CAUSES(X)                                                                             \
    X(NONE, "none")       /* it succeeded */                                                       \
    X(EXIT, "exit")       /* the command returned non-zero */                                      \
    X(SIGNAL, "signal")   /* it died by a signal that we did not send */                           \
    X(OOM, "oom")         /* killed for memory */                                                  \
    X(TIMEOUT, "timeout") /* its own time limit, or the job's deadline */                          \
    X(NODE, "node")       /* the worker was lost, or lost the attempt */                           \
    X(LEASE, "lease")     /* the worker was cut off and killed it at lease end */                  \
    X(CANCEL, "cancel")   /* a user asked */                                                       \
    X(PEER, "peer")       /* another rank of the gang failed */                                    \
    X(SPAWN, "spawn")     /* the command could not be started */                                   \
    X(INPUT, "input")     /* an input was missing or corrupt */                                    \
    X(OUTPUT, "output")   /* an output could not be stored */                                      \
    X(REQUEUE, "requeue") /* exit 75: saved, run me again; not a failure */

enum core_cause {
#define CORE_CAUSE_ENUM(name, text) CAUSE_##name,
    CORE_CAUSES(CORE_CAUSE_ENUM)
#undef CORE_CAUSE_ENUM
        CAUSE_COUNT
};

const char *core_cause_text(enum core_cause cause);

/* States of a job and of a stage; a stage is PENDING until its needs have succeeded and something
 * of it runs. Texts as in `mlq show --json`. */
#define CORE_STATES(X)                                                                             \
    X(PENDING, "pending")                                                                          \
    X(RUNNING, "running")                                                                          \
    X(SUCCEEDED, "succeeded")                                                                      \
    X(FAILED, "failed")                                                                            \
    X(CANCELLED, "cancelled")                                                                      \
    X(SKIPPED, "skipped") /* a stage whose needs did not succeed */

enum core_state {
#define CORE_STATE_ENUM(name, text) STATE_##name,
    CORE_STATES(CORE_STATE_ENUM)
#undef CORE_STATE_ENUM
        STATE_COUNT
};

const char *core_state_text(enum core_state state);

/* ---- What a job is, to the core ------------------------------------------------------------- */

struct core_retry {
    uint32_t limit;         /* how often a failure may be followed by another attempt */
    uint32_t cause_mask;    /* bits 1 << CAUSE_x that are retried */
    int64_t backoff_ns;     /* first wait; doubles each time, with jitter keyed by the attempt */
    int64_t backoff_max_ns; /* 0: one hour */
};

/* What may happen to the number of ranks of an attempt that runs. */
#define CORE_RESIZES(X)                                                                            \
    X(NEVER, "never")     /* a gang: as many as it started with, or none */                        \
    X(RESTART, "restart") /* another number is another attempt */                                  \
    X(LIVE, "live")       /* ranks go and come while the others run on */

enum core_resize {
#define CORE_RESIZE_ENUM(name, text) RESIZE_##name,
    CORE_RESIZES(CORE_RESIZE_ENUM)
#undef CORE_RESIZE_ENUM
        RESIZE_COUNT
};

struct core_stage_desc {
    uint32_t array_count;    /* tasks, 1..CORE_ARRAY_MAX */
    uint32_t array_parallel; /* at most so many at once; 0: no limit */
    uint32_t failures_max;   /* tasks that may fail for good; after one more nothing is started */
    uint32_t ranks;          /* processes of one task, at most; 1..CORE_RANKS_MAX */
    uint32_t ranks_min;      /* what it takes to start; 0: all of them */
    enum core_resize resize;
    struct rvec per_rank;
    struct core_retry retry;
    int64_t grace_ns;      /* from SIGTERM to SIGKILL */
    const uint16_t *needs; /* indices of other stages of the job, each once */
    uint16_t needs_count;
};

struct core_job_desc {
    int32_t priority;     /* higher goes first */
    int64_t deadline_ns;  /* a duration since submission after which the job is stopped; 0: none */
    uint16_t stage_count; /* 1..CORE_STAGES_PER_JOB_MAX */
    const struct core_stage_desc *stages;
    /* For core_restore only: how many FACT_JOB_RETRIED of the job follow. Until the last of them the
     * core keeps a row for each task that failed, since a retry has to know which they were. */
    uint32_t retries;
};

/* Checks all ranges and that the needs form no cycle. NULL when valid, else a fixed text. */
const char *core_job_desc_check(const struct core_job_desc *desc);

/* ---- Facts: what is recorded ---------------------------------------------------------------- */

enum core_fact_kind {
    FACT_JOB_SUBMITTED, /* job; the shell records the spec with it */
    FACT_JOB_CANCELLED, /* job, cause (CANCEL or TIMEOUT): no new attempts, running ones are stopped
                         */
    FACT_JOB_RETRIED,   /* job: stages that did not succeed start anew */
    FACT_ASSIGNED,      /* job, stage, index, attempt, rank, ranks, worker, gpu_mask; of a rank that joins
                           an attempt which runs, `ranks` is rank + 1 */
    FACT_STARTED,       /* job, stage, index, attempt, rank, worker */
    FACT_ENDED,         /* the same and cause, exit_code, signal */
    FACT_STAGE_ENDED,   /* job, stage, state */
    FACT_JOB_ENDED,     /* job, state */
};

/* An attempt number grows for ever: the leader's epoch in the high 32 bits, a counter in the low.
 * All ranks of a gang share it. Tasks see it as MLQ_FENCE. */
struct core_fact {
    enum core_fact_kind kind;
    int64_t at_ns;
    uint64_t job;
    uint64_t attempt;
    uint64_t gpu_mask; /* the worker's GPUs by number that this rank owns */
    uint32_t stage;
    uint32_t index; /* in the array */
    uint32_t rank;
    uint32_t ranks;
    uint32_t worker;
    enum core_cause cause;
    enum core_state state;
    int32_t exit_code; /* -1: none */
    int32_t signal;    /* 0: none */
};

/* ---- Events --------------------------------------------------------------------------------- */

enum core_event_kind {
    EV_TICK,         /* time passed: core_next_deadline_ns was reached */
    EV_RESTORED,     /* all recorded facts were fed: begin to act */
    EV_SUBMIT,       /* request, desc, payload */
    EV_CANCEL,       /* request, job */
    EV_RETRY,        /* request, job: must be in the tables (restored if it had ended) */
    EV_WORKER_HELLO, /* worker, session (> 0), capacity, claims: all that it runs or has finished
                        and that was not acknowledged. Ignored, without ACT_WELCOME: a session that
                        is not greater than the last, more than CORE_CLAIMS_MAX claims, a full
                        worker table */
    EV_WORKER_HEARTBEAT, /* worker, session */
    EV_WORKER_LEAVING,   /* worker, session (0: whichever): it stops; its tasks were killed */
    EV_STARTED,          /* worker, attempt, rank, payload (its time by the worker's clock) */
    EV_ENDED, /* worker, attempt, rank, cause, exit_code, signal, payload (its results) */
    EV_NOTE,  /* worker, attempt, rank, payload: metrics or progress to record if live */
    EV_READY, /* worker, attempt, rank, port, fingerprint, generation: see elastic.h */
};

struct core_claim {
    uint64_t attempt;
    uint32_t rank;
};

struct core_event {
    enum core_event_kind kind;
    int64_t now_ns;
    uint64_t request; /* the shell's handle, given back in the reply */
    uint64_t job;
    uint64_t attempt;
    uint32_t rank;
    uint32_t worker;  /* a number that the shell keeps for a worker's key, for ever */
    uint64_t session; /* grows with each hello of a worker; stale ones are ignored */
    struct rvec capacity;
    const struct core_claim *claims;
    uint32_t claim_count;
    const struct core_job_desc *desc;
    enum core_cause cause; /* NONE: success */
    int32_t exit_code;
    int32_t signal;
    uint32_t payload; /* the shell's handle of bytes to record with the fact; 0: none */
    uint64_t generation;  /* EV_READY: of the membership that broke; 0: none did */
    uint64_t fingerprint; /* EV_READY: of the rank's engine and data; not 0 */
    uint16_t port;        /* EV_READY: where the rank can be met on its worker */
};

/* What the shell owes the core about messages to a worker: within one session they arrive in order
 * and none is skipped. If one could not be delivered the session is over: the worker has to say
 * hello again, with a new session and all its claims, and has to refuse an ACT_ASSIGN of another
 * session. Then nothing needs to be sent twice: what it does not claim is ended, with cause NODE
 * when it had started there and REQUEUE when it never came, and what it is to stop it is told again.
 * A worker that refuses an assignment for another reason (its lease lapsed) reports the end of that
 * rank. */

/* ---- Actions -------------------------------------------------------------------------------- */

enum core_reply {
    REPLY_OK,
    REPLY_FULL,      /* a table is full: limits named by the shell */
    REPLY_INVALID,   /* core_job_desc_check failed */
    REPLY_NOT_FOUND, /* no such live job */
    REPLY_ENDED,     /* cancel of a job that ended, retry of one that has not or has succeeded */
};

enum core_action_kind {
    ACT_PERSIST, /* fact, payload */
    ACT_REPLY,   /* request, reply, job */
    ACT_WELCOME, /* worker, session: answer to its hello */
    ACT_ASSIGN,  /* worker, session, fact (kind FACT_ASSIGNED): start this rank */
    ACT_KILL,    /* worker, attempt, rank, cause, grace_ns: stop it and report its end */
    ACT_ACK,     /* worker, attempt, rank: its end is recorded (or was before): forget it */
    ACT_FENCED,  /* worker, attempt, rank: not live: kill at once, forget, report nothing */
    ACT_RECORD,  /* fact.job/stage/index/attempt/rank of a live note, payload: record these bytes */
    ACT_MEMBERS, /* worker, session, attempt, rank: tell it the core_membership of the attempt */
};

struct core_action {
    enum core_action_kind kind;
    enum core_reply reply;
    enum core_cause cause;
    uint32_t worker;
    uint32_t rank;
    uint32_t payload;
    bool speaks; /* ACT_PERSIST of FACT_ENDED, ACT_RECORD: what the rank reports is the task's own */
    uint64_t request;
    uint64_t session;
    uint64_t job;
    uint64_t attempt;
    int64_t grace_ns;
    struct core_fact fact;
};

/* Where core_step puts its actions. One event emits at most CORE_ACTIONS_PER_EVENT (asserted): what
 * is more waits on to-do lists for the next EV_TICK, which core_next_deadline_ns makes immediate.
 */
#define CORE_ACTIONS_PER_EVENT 4096

struct core_actions {
    struct core_action *items; /* room for CORE_ACTIONS_PER_EVENT, the caller's */
    uint32_t count;            /* set to 0 by core_step */
};

/* ---- The machine ---------------------------------------------------------------------------- */

struct core;

size_t core_memory_need(const struct core_limits *limits);

/* `memory` is zeroed, aligned for max_align_t, at least core_memory_need bytes and outlives the
 * core. `epoch` is that of this leadership; `first_job` is one more than the highest job recorded;
 * `seed` feeds the jitter of back-offs. */
struct core *core_init(const struct core_limits *limits, void *memory, size_t size, uint32_t epoch,
                       uint64_t first_job, uint64_t seed);

/* Feed a recorded fact, in recorded order, before EV_RESTORED, or (all facts of one ended job)
 * just before its EV_RETRY. `desc` goes with FACT_JOB_SUBMITTED and is NULL otherwise. False when a
 * table is full.
 *
 * Before EV_RESTORED feed the jobs that have not ended, each with all its facts (earlier ends that
 * a retry followed included). Ended jobs do no harm, but take room until EV_RESTORED. Facts of one
 * transaction are fed together or not at all.
 *
 * Before EV_RETRY: the next event after the last fact is that EV_RETRY; any other event forgets the
 * job again. After false send EV_RETRY all the same: its reply is REPLY_FULL. */
bool core_restore(struct core *core, const struct core_fact *fact,
                  const struct core_job_desc *desc);

void core_step(struct core *core, const struct core_event *event, struct core_actions *actions);

/* When the next EV_TICK is due; INT64_MAX: never. At or before now: at once. */
int64_t core_next_deadline_ns(const struct core *core);

/* Every invariant over all tables; asserts. For tests and the simulator: cost grows with the
 * tables. */
void core_audit(const struct core *core);

/* ---- Read-only questions, for the shell ----------------------------------------------------- */

bool core_job_is_live(const struct core *core, uint64_t job);

/* True when (attempt, rank) is placed on `worker` and has not ended. */
bool core_is_live(const struct core *core, uint64_t attempt, uint32_t rank, uint32_t worker);

/* Worker of each rank of a live attempt, in rank order: at most `room`. Returns the number of
 * ranks, 0 when the attempt is not live. */
uint32_t core_attempt_workers(const struct core *core, uint64_t attempt, uint32_t *workers,
                              uint32_t room);

/* One rank whose process runs. */
struct core_rank_view {
    uint64_t attempt;
    uint32_t rank;
    uint32_t worker;
};

/* The ranks that run of a live job, or of one stage of it (UINT32_MAX: all): the first `room` of
 * them. Returns how many there are. */
uint32_t core_job_ranks(const struct core *core, uint64_t job, uint32_t stage,
                        struct core_rank_view *ranks, uint32_t room);

/* Who of a live attempt of a RESIZE_LIVE stage works together: see elastic.h. */
struct core_membership {
    uint64_t generation; /* grows with each change, across epochs too; 0: none yet */
    uint32_t count;      /* of members; 0 with a generation: the work is done, leave */
};
struct core_member_view {
    uint32_t rank;
    uint32_t worker;
    uint16_t port;
};
/* The first `room` members by rank. A generation of 0 when the attempt is not live. */
struct core_membership core_attempt_members(const struct core *core, uint64_t attempt,
                                            struct core_member_view *members, uint32_t room);

/* The job of a live attempt; 0 when it is not live. And the number of its stage. */
uint64_t core_attempt_job(const struct core *core, uint64_t attempt);
uint32_t core_attempt_stage(const struct core *core, uint64_t attempt);

/* When the first rank of a live attempt was assigned. False when it is not live. */
bool core_attempt_began(const struct core *core, uint64_t attempt, int64_t *at_ns);

struct core_worker_view {
    bool known; /* said hello to this leader, lease not lapsed */
    struct rvec capacity;
    struct rvec free;
    uint32_t members; /* ranks placed on it */
};
bool core_worker(const struct core *core, uint32_t worker, struct core_worker_view *view);

struct core_counts {
    uint32_t jobs;
    uint32_t stages_ready; /* with tasks that wait for resources */
    uint32_t members;
    uint32_t workers; /* known ones */
};
struct core_counts core_count(const struct core *core);

/* True when the workers known now could ever start one task of this stage. */
bool core_is_feasible(const struct core *core, const struct core_stage_desc *stage);

#endif
