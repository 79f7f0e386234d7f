/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The worker's shell: what stands between the pure agent (agent/agent.h) and the machine. Its files:
 *
 *     worker.c    the turn: an event goes into the agent, its actions are carried out; start and end
 *     attempt.c   one member's folder, shim, control socket and results
 *     inbound.c   messages become events
 *     outbound.c  actions become messages
 *     logs.c      reading a task's log from afar
 *     records.c   a task reads the record of its job
 */
#ifndef MLQ_WORKER_WORKER_H
#define MLQ_WORKER_WORKER_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "lib/base/err.h"
#include "lib/base/list.h"
#include "lib/base/ownership.h"
#include "lib/loop/loop.h"
#include "lib/net/msg.h"
#include "lib/net/net.h"
#include "lib/sys/region.h"
#include "worker/agent/agent.h"
#include "worker/checkpoint.h"
#include "worker/collect.h"
#include "worker/config.h"
#include "worker/exec/cgpool.h"
#include "worker/exec/cgroup.h"
#include "worker/exec/control.h"
#include "worker/exec/nursery.h"
#include "worker/exec/shimlink.h"
#include "worker/folder.h"
#include "worker/home.h"
#include "worker/notes.h"
#include "worker/prepare.h"
#include "worker/probe.h"
#include "worker/questions.h"

#define WORKER_LOG_WAITERS_MAX 256
#define WORKER_BUCKETS 1024 /* of the index of attempts, a power of two */
#define WORKER_REPORTS_MAX 256 /* that wait to travel as one message */

struct worker;

/* One member: a rank of an attempt. Lives from its assignment (or the start of the worker) until
 * the agent says REMOVE. */
struct attempt {
    struct mlq_list in_worker;
    struct attempt *next; /* of the same bucket */
    struct worker *worker;
    uint64_t attempt;
    uint32_t rank;
    struct mlq_region *region; /* a job on the pool has it for itself meanwhile */
    const char *dir;
    const char *mark; /* in the environment of each of its processes */
    const char *control_path;
    const char *checkpoint;
    uint32_t spare_checkpoint; /* the one that comes or goes; CHECKPOINT_NONE: none */
    enum worker_cause cause;   /* of its end */
    const char *groups[SHIMFILE_CGROUPS_MAX + 1]; /* its control groups, ended by NULL */
    struct msg_assignment assignment; /* only until it is prepared; ranks 0: none (found) */
    struct shimlink *shim;            /* NULL: not started, or ended */
    struct control *control;
    struct notes *notes;
    struct prepare_job prepare;
    struct collect_job collect;
    uv_work_t work;
    char detail[SHIMFILE_DETAIL_BYTES]; /* how it ended, for people */
    bool has_ended;
    bool has_groups; /* there may be control groups of it */
    bool in_agent;  /* completed here: no folder, no process (op_schema.h) */
    bool must_stop; /* what a task hears when it asks */
};

struct worker_log_waiter {
    uint64_t request; /* 0: free */
    uint64_t attempt;
    uint32_t rank;
    uint32_t bytes_max;
    uint64_t offset;
    int64_t deadline_ns;
};

struct worker {
    const struct config *config;
    struct uv_loop_s *loop;
    struct mlq_region *region; /* lives as long as the worker */
    struct home home;
    struct probe probe;
    struct cgroup_host cgroups;
    struct cgpool cgpool;
    struct folder_spares spares;
    struct checkpoint_spares checkpoint_spares;
    struct nursery *nursery;
    struct cas_digest silence; /* the log of a task that writes nothing */
    bool has_silence;          /* it was put into the store: once is enough */
    char software[160];
    struct agent agent;
    struct agent_actions actions;
    struct agent_event *events; /* waiting ones: a ring that grows */
    size_t event_first;
    size_t event_count;
    size_t event_room;
    bool is_in_turn;
    bool is_in_message; /* the turn ends with the message */
    const struct msg_assignment *assigning; /* of the event that the agent sees now */
    const struct msg_membership *membership;
    struct mlq_list attempts;
    struct attempt *buckets[WORKER_BUCKETS]; /* by attempt and rank */
    unsigned jobs; /* on the pool */
    struct net_link *link;
    struct msg_report_item reports[WORKER_REPORTS_MAX];
    size_t report_count;
    size_t report_bytes;
    bool has_urgent_report; /* one that does not wait longer than the turn */
    struct mlq_region *report_region; /* of what they hold that would not last */
    uint32_t endpoint;
    struct loop_timer *tick;
    struct loop_timer *notes_timer;
    struct loop_timer *logs_timer;
    struct loop_timer *records_timer;
    struct loop_timer *starts_timer;
    struct loop_signals *signals;
    uv_signal_t quit_signal;
    struct questions questions; /* of tasks, for the record of their jobs */
    struct worker_log_waiter waiters[WORKER_LOG_WAITERS_MAX];
    bool is_stopping;
    int exit_code;
};

/* ---- worker.c ---- */

/* Runs until it is told to stop. Returns the process's exit status. */
int worker_run(const struct config *config);

/* Hands an event to the agent, now or after the one that is being worked on. */
void worker_feed(struct worker *worker, struct agent_event event);

/* Ends the loop. Tasks go on. */
void worker_stop(struct worker *worker, int exit_code);

/* ---- attempt.c: what the agent asks for ---- */

struct attempt *attempt_find(struct worker *worker, uint64_t attempt, uint32_t rank);
void attempt_prepare(struct worker *worker, const struct agent_action *action);
void attempt_spawn(struct worker *worker, const struct agent_action *action);
void attempt_stop(struct worker *worker, const struct agent_action *action);
void attempt_checkpoint(struct worker *worker, const struct agent_action *action);
void attempt_collect(struct worker *worker, const struct agent_action *action);
void attempt_remove(struct worker *worker, const struct agent_action *action);
void attempt_lease_all(struct worker *worker, int64_t deadline_ns);

/* A folder that was there when the worker started. */
void attempt_adopt(struct worker *worker, uint64_t attempt, uint32_t rank);

/* Hands it who works with it. */
void attempt_membership(struct worker *worker, const struct agent_action *action);

/* Lets go of all of them, without touching what runs. For the end of the worker. */
void attempt_release_all(struct worker *worker);

/* ---- inbound.c, outbound.c ---- */

void inbound_message(struct worker *worker, const struct msg *msg);

void outbound_hello(struct worker *worker, const struct agent_action *action);
void outbound_heartbeat(struct worker *worker, const struct agent_action *action);
void outbound_report(struct worker *worker, const struct agent_action *action);
void outbound_leaving(struct worker *worker);
/* Sends what tasks have reported since; called by a timer while something waits. */
void outbound_notes(void *context);
/* Behind all reports so far. False when it could not even be queued. */
bool outbound_send(struct worker *worker, struct msg *msg);
/* Sends the reports that wait; called before what they name is freed. */
void outbound_flush(struct worker *worker);
/* The same at the end of each turn, but starts alone wait a little: then a timer calls. */
void outbound_turn_end(struct worker *worker);
void outbound_starts(void *context);

/* ---- flights.c ---- */

/* Of the ranks here that write down where they are, at most `room`. Texts are constants. */
size_t flights_gather(struct worker *worker, struct msg_flight *flights, size_t room);

/* ---- logs.c ---- */

void logs_read(struct worker *worker, const struct msg_log_read *read);
/* Answers those that wait and can be answered; called by a timer while one waits. */
void logs_serve(void *context);

/* ---- records.c ---- */

/* A task asks on its control socket; control_answer tells it, within TASK_RECORD_WAIT_S. */
int records_ask(struct attempt *attempt, uint64_t control_request, struct mlq_err *err);
void records_answered(struct worker *worker, const struct msg_record_reply *reply);
/* The agent was welcomed: who may never have heard of the questions is asked. */
void records_welcomed(struct worker *worker);
/* Asks again and gives up; called by a timer while one waits. */
void records_serve(void *context);

#endif
