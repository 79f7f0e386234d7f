/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * A whole cluster in one process, under virtual time. The scheduler's core and the worker's agent
 * are the shipped objects; what surrounds them (the shells, the record, the network, the machines
 * and their clocks, the users) is modelled small. All chance comes from one seed, so a run can be
 * replayed exactly.
 *
 *   sim.c         the clock, the heap of events, the run
 *   sim_plan.c    which faults strike: by chance, or those that a file names
 *   sim_shrink.c  a failing run made short
 *   sim_say.c     what is printed
 *   sim_net.c     connections between workers and schedulers
 *   sim_record.c  the record: facts and the leader's row; held against PostgreSQL
 *   sim_store.c   the database in front of it: late, refusing, breaking off
 *   sim_shell.c   the scheduler's shell: turns, commits, leadership
 *   sim_worker.c  the worker's shell around the agent
 *   sim_shim.c    shims and the tasks that they run
 *   sim_member.c  ranks that go and come: what they say and hear of each other
 *   sim_client.c  users, and their journal of what was acknowledged
 *   sim_fault.c   what goes wrong, and when
 *   check.c       the invariants over the record and the users' journals
 *   check_decided.c  the invariants over what a core decides, when it does
 *   check_machine.c  the invariants over what really runs
 *
 * World time is nanoseconds since the run began. Each host has its own CLOCK_BOOTTIME, which drifts
 * from it (sim_local_ns). A process is an actor: events that are meant for it die with it, and wait
 * while it is frozen.
 */
#ifndef MLQ_TESTS_SIM_SIM_H
#define MLQ_TESTS_SIM_SIM_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/heap.h"
#include "lib/base/prng.h"
#include "scheduler/core/core.h"
#include "tests/sim/sim_record.h"
#include "worker/agent/agent.h"

#define SIM_MILLI  INT64_C(1000000)
#define SIM_SECOND INT64_C(1000000000)

#define SIM_SCHEDS_MAX   2
#define SIM_WORKERS_MAX  5
#define SIM_ARRAY_MAX    6
#define SIM_RANKS_MAX    4
#define SIM_NUMBERS_MAX  CORE_RANKS_MAX /* of the ranks of an attempt: those that went count */
#define SIM_GROUPS_MAX   32768          /* memberships that are remembered */
#define SIM_FOLDERS_MAX  128
#define SIM_CLAIMS_MAX   128
#define SIM_EVENTS_MAX   65536
#define SIM_TRACE_EVENTS 30
#define SIM_LATE_MAX     4 /* messages of a past connection that may come again */
#define SIM_STRIKES_MAX  8192

#define SIM_LEASE_NS       (5 * SIM_SECOND) /* of a worker */
#define SIM_MARGIN_NS      (3 * SIM_SECOND / 2)
#define SIM_HEARTBEAT_NS   SIM_SECOND
#define SIM_LEAD_LEASE_NS  (4 * SIM_SECOND)
#define SIM_LEAD_MARGIN_NS (SIM_SECOND / 2)
#define SIM_KILL_LATE_NS   SIM_SECOND          /* a shim acts on its clock at most this late */
#define SIM_QUIET_NS       (1200 * SIM_SECOND) /* without faults everything ends within this */
#define SIM_QUIET_EVENTS   400000

struct sim;
struct sim_event;
typedef void (*sim_event_fn)(struct sim *sim, struct sim_event *event);

/* ---- Faults: each run has a random subset of them (swarm testing) ---------------------------- */

#define SIM_FAULTS(X)                                                                              \
    X(DELAY, "delay")             /* messages take up to seconds */                                \
    X(DROP, "drop")               /* a message is lost, and its connection with it */              \
    X(HALF_OPEN, "half-open")     /* a connection is dead, and nobody says so */                   \
    X(PARTITION, "partition")     /* one direction between two hosts is dead for a while */        \
    X(DUPLICATE, "duplicate")     /* a message comes again on its connection, later */             \
    X(REORDER, "reorder")         /* those behind it overtake a message to a scheduler */          \
    X(LATE, "late")               /* what an old connection carried comes again on the new */      \
    X(LIAR, "liar")               /* a worker reports the end of what runs elsewhere */            \
    X(AGENT_CRASH, "agent-crash") /* the tasks go on */                                            \
    X(AGENT_QUIT, "agent-quit")   /* stops its tasks, leaves, comes back */                        \
    X(SHIM_CRASH, "shim-crash")   /* with its task */                                              \
    X(REBOOT, "reboot")           /* a worker's host, with all that runs on it */                  \
    X(SCHED_CRASH, "scheduler-crash")                                                              \
    X(STANDBY, "standby") /* there is a second scheduler */                                        \
    X(COMMIT_REFUSED, "commit-refused")                                                            \
    X(COMMIT_SLOW, "commit-slow")                                                                  \
    X(COMMIT_UNKNOWN, "commit-unknown") /* done or not, nobody says */                             \
    X(STORE_CUT, "store-cut")       /* a scheduler cannot reach the database, but its workers */   \
    X(FREEZE_AGENT, "freeze-agent") /* stops stepping, and goes on later */                        \
    X(FREEZE_SCHED, "freeze-scheduler")                                                            \
    X(FREEZE_HOST, "freeze-host") /* a worker's machine, tasks included */                         \
    X(DRIFT, "drift")             /* CLOCK_BOOTTIME is off by up to 500 ppm */                     \
    X(WALL_STEP, "wall-step")     /* a scheduler's wall clock is set */                            \
    X(TASKS, "tasks")             /* fail, hang, ask to be run again */                            \
    X(CANCEL, "cancel")           /* users cancel what they submitted */                           \
    X(RETRY, "retry")             /* and run again what has ended */                               \
    X(NOTES, "notes")             /* tasks note metrics */                                         \
    X(TABLES, "small-tables")     /* of the core: they are full, and users are refused */          \
    X(HURRY, "hurry")             /* what waits is not overtaken after a few seconds */

enum sim_fault {
#define SIM_FAULT_ENUM(name, text) SIM_FAULT_##name,
    SIM_FAULTS(SIM_FAULT_ENUM)
#undef SIM_FAULT_ENUM
        SIM_FAULT_COUNT
};

/* The n-th time that this fault could have struck. */
struct sim_strike {
    enum sim_fault fault;
    uint32_t call;
};

/* All that a run follows from. */
struct sim_plan {
    uint64_t seed;
    uint64_t steps; /* with faults, before all must end */
    bool is_elastic; /* some jobs have attempts that change their size */
    bool is_exact;  /* only these strikes; else chance decides */
    uint32_t strike_count;
    struct sim_strike strikes[SIM_STRIKES_MAX];
    bool is_without[SIM_FAULT_COUNT];
    bool is_skipped[SIM_CLIENTS_MAX][SIM_SUBMITS_MAX]; /* is not submitted */
};

#define SIM_FAILURE_BYTES 512

/* How a run failed, and from what. */
struct sim_failure {
    char text[SIM_FAILURE_BYTES];
    uint32_t struck_count;
    struct sim_strike struck[SIM_STRIKES_MAX];
};

/* ---- Events ---------------------------------------------------------------------------------- */

/* A process, or a host. */
struct sim_actor {
    bool is_up;
    uint32_t life; /* events for an earlier one are void */
    int64_t frozen_until_ns;
};

enum sim_message_kind {
    SIM_HELLO,
    SIM_HEARTBEAT,
    SIM_STARTED,
    SIM_ENDED,
    SIM_NOTE,
    SIM_READY,
    SIM_LEAVING, /* to a scheduler */
    SIM_WELCOME,
    SIM_HEARTBEAT_ACK,
    SIM_ASSIGN,
    SIM_KILL,
    SIM_FENCED,
    SIM_ACK,
    SIM_MEMBERSHIP,
    SIM_REFUSED,
};

/* Ranks of one attempt, a bit for each. */
struct sim_ranks {
    uint64_t words[SIM_NUMBERS_MAX / 64];
};

struct sim_message {
    enum sim_message_kind kind;
    uint32_t worker;
    uint32_t epoch;
    uint32_t rank;
    uint64_t session;
    uint64_t attempt;
    int64_t sent_ns; /* of a heartbeat, by the worker's clock */
    int64_t grace_ns;
    uint32_t cause;
    int32_t exit_code;
    int32_t signal;
    uint32_t note; /* SIM_NOTE: from 1, of each rank of an attempt */
    bool is_late;           /* of an earlier connection: only the fault "late" brings it */
    uint16_t port;          /* SIM_READY */
    uint64_t fingerprint;   /* SIM_READY */
    uint64_t generation;    /* SIM_READY, SIM_MEMBERSHIP */
    struct sim_ranks ranks; /* SIM_MEMBERSHIP */
    uint32_t claim_count;
    struct core_fact fact; /* SIM_ASSIGN */
    struct core_claim claims[SIM_CLAIMS_MAX];
};

struct sim_event {
    struct mlq_heap_node node;
    int64_t at_ns;
    uint64_t seq;
    sim_event_fn run;
    const char *name;
    struct sim_actor *actor; /* NULL: the world itself */
    uint32_t life;
    uint32_t index; /* of the worker, scheduler or client */
    uint64_t a;
    uint64_t b;
    void *data; /* owned: freed after the event ran or was void */
};

/* ---- The network ----------------------------------------------------------------------------- */

enum sim_way { SIM_TO_SCHED, SIM_TO_WORKER };

/* A worker's connection. In each direction messages keep their order; after a lost one the
 * direction carries nothing more, and some time later both ends hear that it broke. */
struct sim_link {
    uint32_t sched;  /* the endpoint */
    uint64_t number; /* of this connection; grows */
    uint64_t token;  /* of the last attempt to connect */
    uint32_t server; /* the server's incarnation that accepted it */
    bool is_up;
    bool is_dead[2];
    int64_t last_due_ns[2];
    struct sim_message sent[2][SIM_LATE_MAX]; /* the last ones of this connection, a ring */
    uint32_t sent_count[2];
    struct sim_message past[2][SIM_LATE_MAX]; /* and of the one before it */
    uint32_t past_count[2];
};

/* ---- Machines -------------------------------------------------------------------------------- */

struct sim_clock {
    int64_t born_ns; /* world time when it showed 0 */
    int64_t offset_ns;
    int64_t ppm;
};

enum sim_shim_state { SIM_SHIM_NONE, SIM_SHIM_STARTING, SIM_SHIM_LIVE, SIM_SHIM_ENDED };

/* The folder of a member: it outlives the agent. */
struct sim_folder {
    bool is_used;
    enum sim_shim_state state;
    struct core_fact fact; /* of its assignment */
    int64_t lease_ns;      /* by the host's clock */
    bool is_stubborn;      /* ignores SIGTERM */
    bool is_failing;       /* will end badly */
    bool lacks_input;      /* its preparation failed */
    bool must_kill;
    uint32_t notes;    /* that its task has made */
    /* Of a rank that may go and come. */
    bool is_ready;
    int64_t told_ns;        /* when it was first told with whom it works; 0: not yet */
    uint64_t generation;    /* in which it works; 0: none */
    struct sim_ranks ranks; /* and with whom */
    bool is_collected; /* its outputs were stored once: that can be repeated, and gives the same */
    enum worker_cause cause; /* why it was stopped, and then: why it ended */
    int32_t exit_code;
    int32_t signal;
};

struct sim_worker {
    struct sim_actor agent_actor;
    struct sim_actor host; /* shims and tasks; never down, but may be frozen or rebooted */
    struct sim_clock clock;
    struct rvec capacity;
    struct agent agent;
    struct agent_actions actions;
    const struct sim_message *assigning;
    struct sim_link link;
    struct sim_folder folders[SIM_FOLDERS_MAX];
    uint64_t session_kept;
    uint32_t epoch_kept;
    uint32_t epoch_heard; /* the highest of any message that came */
    int64_t lease_ns;     /* the last that this agent gave to its shims */
    uint64_t tick_token;
    bool is_cut[SIM_SCHEDS_MAX][2]; /* partitioned, by direction */
};

/* ---- Schedulers ------------------------------------------------------------------------------ */

enum sim_held_kind { SIM_HELD_ACTION, SIM_HELD_REPLY };

struct sim_held {
    enum sim_held_kind kind;
    struct core_action action;
    uint64_t generation; /* of ACT_MEMBERS, and */
    struct sim_ranks ranks;
    uint32_t client;
    uint64_t request;
    enum core_reply reply;
    uint64_t job;
};

struct sim_turn {
    struct sim_row *rows;
    uint32_t row_count, row_room;
    struct sim_held *held;
    uint32_t held_count, held_room;
    bool has_worker; /* a worker's row is written too */
};

enum sim_phase { SIM_STANDBY, SIM_LOADING, SIM_SERVING };

struct sim_peer { /* what the shell knows of a worker */
    uint64_t connection;
    uint64_t session;
    bool is_connected;
};

struct sim_sched {
    struct sim_actor actor;
    struct sim_clock clock;
    int64_t wall_offset_ns;
    int64_t cut_until_ns; /* from the database; what it sent waits */
    enum sim_phase phase;
    uint32_t epoch;
    uint32_t server;          /* incarnation of its listening socket */
    int64_t trusted_until_ns; /* by its clock */
    void *memory;
    struct core *core;
    struct core_actions actions;
    struct sim_peer peers[SIM_WORKERS_MAX];
    uint64_t job_of_key[SIM_JOBS_MAX];
    bool in_catalog[SIM_JOBS_MAX + 1];
    struct sim_turn *open;
    struct sim_turn *committing;
    uint64_t tick_token;
    /* the request that is being stepped */
    uint32_t client;
    uint64_t request;
    uint64_t key;
    const struct core_job_desc *desc; /* EV_SUBMIT; else NULL */
};

/* ---- Users ----------------------------------------------------------------------------------- */

struct sim_text {
    struct core_job_desc desc;
    struct core_stage_desc stages[SIM_STAGES_MAX];
    uint16_t needs[SIM_STAGES_MAX][SIM_STAGES_MAX];
};

struct sim_client {
    struct mlq_prng prng;
    uint32_t submits_wanted;
    uint32_t submits; /* begun */
    struct sim_text texts[SIM_SUBMITS_MAX];
    uint64_t acked_job[SIM_SUBMITS_MAX]; /* 0: not acknowledged */
    uint64_t request;                    /* the number of the one that is out; 0: none */
    enum core_event_kind asked;
    uint64_t asked_job;
    uint32_t retries_before; /* of that job, on the record */
};

/* ---- What the checker knows (check.c) -------------------------------------------------------- */

struct check_task {
    uint64_t attempt; /* the newest */
    uint32_t placed;
    uint32_t open;
    uint32_t founders; /* ranks with which it began */
    bool is_done;      /* of an elastic one: a rank has succeeded */
    uint32_t worker[SIM_NUMBERS_MAX];
    bool is_started[SIM_NUMBERS_MAX];
    bool is_ended[SIM_NUMBERS_MAX];
    uint64_t begun[SIM_NUMBERS_MAX]; /* the last attempt that ran on a machine */
    enum core_cause cause;         /* of the newest attempt's end so far */
    uint32_t depth;                /* of that cause */
    uint32_t failures;    /* that count against the limit, since the last retry of the job */
    uint32_t again_epoch; /* not before again_ns, by the clock of this leader */
    int64_t again_ns;
    bool has_succeeded;
    bool is_over; /* failed for good, by its own policy */
};

/* A membership that somebody was told: every other one who is told of it is told the same. */
struct check_group {
    uint64_t generation; /* 0: a free place */
    uint64_t attempt;
    struct sim_ranks ranks;
};

struct check_job {
    const struct core_job_desc *desc; /* NULL: not recorded */
    uint64_t key;
    bool is_cancel_wanted, is_retry_wanted; /* a user asked */
    bool has_ended;
    uint32_t retries;
    enum core_cause stop; /* NONE, or why it was stopped */
    enum core_state end_state;
    uint32_t since_epoch; /* of its deadline: it began at since_ns by the clock of this leader */
    int64_t since_ns;
    enum core_state stage_state[SIM_STAGES_MAX]; /* PENDING until it has ended */
    uint32_t ready_epoch[SIM_STAGES_MAX]; /* of ready_ns: when all that it needs had succeeded, */
    int64_t ready_ns[SIM_STAGES_MAX];     /* by the clock of this leader */
    struct check_task tasks[SIM_STAGES_MAX][SIM_ARRAY_MAX];
};

struct sim {
    const struct sim_plan *plan;
    bool is_verbose;
    bool is_quiet;
    struct mlq_prng prng; /* of the network and the machines */
    struct mlq_prng swarm;
    struct mlq_prng fate; /* of the fault that struck last: drops of it change no other draw */
    uint64_t hash;        /* over the actions of all cores and agents */
    int64_t now_ns;
    uint64_t step;
    uint64_t seq;
    struct mlq_heap events;
    struct mlq_heap_node *event_nodes[SIM_EVENTS_MAX];
    struct {
        int64_t at_ns;
        const char *name;
        uint32_t index;
        uint64_t a, b;
    } trace[SIM_TRACE_EVENTS];
    bool has_fault[SIM_FAULT_COUNT];
    uint32_t strike_per_mille; /* how often fate does something to processes and machines */
    uint32_t fault_calls[SIM_FAULT_COUNT]; /* how often it could have struck */
    uint32_t fault_count[SIM_FAULT_COUNT]; /* and did */
    struct sim_strike *struck;
    uint32_t struck_count;
    uint32_t sched_count, worker_count, client_count;
    struct sim_sched scheds[SIM_SCHEDS_MAX];
    struct sim_worker workers[SIM_WORKERS_MAX];
    struct sim_client clients[SIM_CLIENTS_MAX];
    struct sim_record record;
    struct check_job check[SIM_JOBS_MAX + 1];
    uint64_t check_jobs;   /* the highest recorded */
    uint32_t check_epoch;  /* of the last row, */
    int64_t check_fact_ns; /* and its time by that leader's clock */
    struct core_limits limits;
    uint64_t connections;
    struct check_group groups[SIM_GROUPS_MAX]; /* by generation */
    uint64_t tasks_ran, elections, commits_failed, groups_made, joins;
};

/* sim.c */
void sim_run(struct sim *sim);
/* `plan` is borrowed. */
struct sim *sim_create(const struct sim_plan *plan, bool is_verbose);
void sim_destroy(struct sim *sim);
struct sim_event *sim_post(struct sim *sim, int64_t delay_ns, struct sim_actor *actor,
                           const char *name, sim_event_fn run);
uint64_t sim_below(struct sim *sim, uint64_t bound);
bool sim_chance(struct sim *sim, uint32_t percent);
int64_t sim_between(struct sim *sim, int64_t low_ns, int64_t high_ns);
void sim_mix(struct sim *sim, const uint64_t *words, uint32_t count);
int64_t sim_local_ns(const struct sim *sim, const struct sim_clock *clock);
/* How long until the clock shows it; 0: it has. */
int64_t sim_wait_ns(const struct sim *sim, const struct sim_clock *clock, int64_t local_ns);
bool sim_is_frozen(const struct sim *sim, const struct sim_actor *actor);

/* sim_plan.c */
/* True with `per_mille`, while there are faults, if this run has this one; or as the plan says. */
bool sim_buggify(struct sim *sim, enum sim_fault fault, uint32_t per_mille);
/* What the fault that struck last is like. */
uint64_t sim_fate_below(struct sim *sim, uint64_t bound);
int64_t sim_fate_between(struct sim *sim, int64_t low_ns, int64_t high_ns);
void sim_plan_by_chance(struct sim_plan *plan, uint64_t seed, uint64_t steps);
void sim_plan_print(const struct sim_plan *plan, const char *about);
/* False when the file cannot be read or understood: says why. */
bool sim_plan_read(struct sim_plan *plan, const char *path);
const char *sim_fault_text(enum sim_fault fault);

/* sim_shrink.c */
/* Runs `plan`; when it fails, prints a short plan that fails in the same way. 1: it did. */
int sim_shrink(struct sim_plan *plan);

/* sim_say.c */
void sim_say_of(const struct sim *sim);
void sim_say_summary(const struct sim *sim);
void sim_say(const struct sim *sim, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* In a child of sim_shrink.c a failure goes to this descriptor as a struct sim_failure. */
void sim_say_failures_to(int fd);
/* An invariant is broken: prints seed, step, time, the last events and how to replay; exits 1. */
_Noreturn void sim_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* sim_net.c */
void sim_net_connect(struct sim *sim, uint32_t worker, int64_t delay_ns);
void sim_net_close(struct sim *sim, uint32_t worker);
void sim_net_send_to_sched(struct sim *sim, uint32_t worker, const struct sim_message *message);
void sim_net_send_to_worker(struct sim *sim, uint32_t sched, uint32_t worker, uint64_t connection,
                            const struct sim_message *message);
bool sim_net_is_open(const struct sim *sim, uint32_t sched, uint32_t worker, uint64_t connection);
void sim_net_server_closed(struct sim *sim, uint32_t sched);
void sim_net_late(struct sim *sim, uint32_t worker, enum sim_way way);

/* sim_store.c */
void sim_store_commit(struct sim *sim, uint32_t sched, const struct sim_turn *turn);
void sim_store_campaign(struct sim *sim, uint32_t sched);
void sim_store_renew(struct sim *sim, uint32_t sched);

/* sim_shell.c */
void sim_shell_start(struct sim *sim, uint32_t sched);
void sim_shell_crash(struct sim *sim, uint32_t sched);
void sim_shell_message(struct sim *sim, uint32_t sched, uint64_t connection,
                       const struct sim_message *message);
void sim_shell_request(struct sim *sim, uint32_t sched, uint32_t client, uint64_t request,
                       enum core_event_kind kind, uint64_t key, uint64_t job);
void sim_shell_committed(struct sim *sim, uint32_t sched, bool is_ok);
void sim_shell_elected(struct sim *sim, uint32_t sched, uint32_t epoch, int64_t sent_ns);
void sim_shell_renewed(struct sim *sim, uint32_t sched, bool is_ours, int64_t sent_ns);

/* sim_worker.c */
void sim_worker_start(struct sim *sim, uint32_t worker);
void sim_worker_crash(struct sim *sim, uint32_t worker);
void sim_worker_feed(struct sim *sim, uint32_t worker, struct agent_event event);
/* The task of a folder has made another note: it is sent if there is a leader, and else lost. */
void sim_worker_note(struct sim *sim, uint32_t worker, const struct sim_folder *folder);
void sim_worker_message(struct sim *sim, uint32_t worker, const struct sim_message *message);

/* sim_shim.c */
struct sim_folder *sim_shim_find(struct sim_worker *worker, uint64_t attempt, uint32_t rank);
void sim_shim_spawn(struct sim *sim, uint32_t worker, struct sim_folder *folder, int64_t lease_ns);
void sim_shim_stop(struct sim *sim, uint32_t worker, struct sim_folder *folder,
                   enum worker_cause cause, int64_t grace_ns);
void sim_shim_crash(struct sim *sim, uint32_t worker, struct sim_folder *folder);
void sim_shim_report(struct sim *sim, uint32_t worker, const struct sim_folder *folder);
/* Its process leaves by itself. */
void sim_shim_end(struct sim *sim, uint32_t worker, struct sim_folder *folder, enum worker_cause cause);

/* sim_member.c */
bool sim_member_is_elastic(const struct sim *sim, const struct core_fact *fact);
/* Its process runs. */
void sim_member_begin(struct sim *sim, uint32_t worker, struct sim_folder *folder);
/* The agent of its machine came back. */
void sim_member_greet(struct sim *sim, uint32_t worker, struct sim_folder *folder);
void sim_member_told(struct sim *sim, uint32_t worker, struct sim_folder *folder,
                     const struct sim_message *membership);
bool sim_ranks_has(const struct sim_ranks *ranks, uint32_t rank);
/* What a machine computes with. */
uint64_t sim_member_engine(const struct sim *sim, uint32_t worker);

/* sim_client.c */
void sim_client_start(struct sim *sim, uint32_t client);
void sim_client_reply(struct sim *sim, uint32_t client, uint64_t request, enum core_reply reply,
                      uint64_t job);
bool sim_client_is_done(const struct sim_client *client);
const struct sim_text *sim_client_text(const struct sim *sim, uint64_t key);

/* sim_fault.c */
void sim_fault_draw(struct sim *sim);
void sim_fault_start(struct sim *sim);

/* check.c: the record and the users */
void check_row(struct sim *sim, uint32_t epoch, const struct sim_row *row);
void check_batch(struct sim *sim, const struct sim_row *rows, uint32_t count);
void check_note(struct sim *sim, const struct sim_row *row);
/* Rows of a core's tables. */
struct check_load {
    uint32_t jobs, stages, needs;
    uint32_t members; /* ranks that have not ended */
};
/* Of a job of which nothing runs. */
struct check_load check_load_of(const struct core_job_desc *desc);
void check_ack(struct sim *sim, uint32_t client, uint64_t key, uint64_t job);
/* A rank is about to be told with whom it works. */
void check_membership(struct sim *sim, const struct sim_message *membership);
/* A cancellation or a retry was acknowledged. */
void check_asked(struct sim *sim, const struct sim_client *client, uint64_t job);
void check_end(struct sim *sim);
bool check_is_over(const struct sim *sim);

/* check_decided.c: before it is on the record */
void check_refused_full(const struct sim *sim, const struct sim_sched *sched,
                        const struct core_job_desc *desc);
void check_overtaking(const struct sim *sim, const struct sim_sched *sched,
                      const struct core_fact *assigned);
/* What a core made of a note: recorded, or its sender is to stop. */
void check_noted(const struct sim_sched *sched, const struct sim_message *note);

/* check.c: what asks for the same is started in this order. */
bool check_asks_alike(const struct core_stage_desc *a, const struct core_stage_desc *b);
bool check_is_before(const struct sim *sim, uint64_t job, uint32_t stage,
                     const struct core_fact *fact);
/* What it takes to start. */
uint32_t check_least_ranks(const struct core_stage_desc *stage);
/* All its needs have succeeded and nothing of it was tried. */
bool check_is_untried(const struct check_job *job, uint32_t stage);

/* check_machine.c: what runs */
bool check_machine_is_excused(const struct sim *sim, const struct sim_worker *worker);
bool check_machine_runs(const struct sim_folder *folder);
void check_machine_begins(struct sim *sim, uint32_t worker, const struct sim_folder *folder);
/* An action of the agent, before it is done; `folder`: of its member, or NULL. */
void check_machine_action(struct sim *sim, uint32_t worker, const struct agent_action *action,
                          const struct sim_folder *folder);
/* The order to kill it at once was heard. */
void check_machine_fenced(struct sim *sim, uint32_t worker, uint64_t attempt, uint32_t rank);
void check_machine_step(struct sim *sim);

#endif
