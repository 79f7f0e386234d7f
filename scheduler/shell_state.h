/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * What the files of the shell share; not for others. One thread, one loop, no locks.
 *
 *   shell.c     the turn: events in, one transaction, actions out
 *   restore.c   from the record to a core (at election, and for the retry of an ended job)
 *   inbound.c   what workers say
 *   clients.c   what clients ask
 *   journal.c   facts and reports as rows
 *   outbound.c  actions as messages
 *   assign.c    a placed rank as the message that starts it
 *   watch.c     clients that wait for a job to change
 *   checkpoint.c  what runs of a job is asked to save its state
 *   relay.c     logs and records on their way between workers and clients
 *   record.c    a job's record, completed with what its spec says
 *   status.c    JSON about the cluster
 */
#ifndef MLQ_SCHEDULER_SHELL_STATE_H
#define MLQ_SCHEDULER_SHELL_STATE_H

#include <uv.h>

#include "lib/base/list.h"
#include "lib/net/net.h"
#include "lib/sys/log.h"
#include "scheduler/catalog.h"
#include "scheduler/core/core.h"
#include "scheduler/keybook.h"
#include "scheduler/relay.h"
#include "scheduler/roster.h"
#include "scheduler/shell.h"
#include "scheduler/store/store.h"
#include "scheduler/turn.h"
#include "scheduler/watch.h"

#define SHELL_SPARES 2 /* turns: one is open, one commits while another is being released */

enum shell_phase {
    SHELL_STANDBY,  /* campaigning */
    SHELL_LOADING,  /* elected, reading the record */
    SHELL_SERVING,
    SHELL_STOPPING,
};

/* What a store's callback carries. A store that is closed answers nothing more, so each is known to the shell,
 * which drops what is left. Embedded first in the struct that it is. */
struct shell_errand {
    struct mlq_list node;
    void (*drop)(struct shell_errand *errand);
};

struct parcel;

struct shell {
    uv_loop_t *loop;
    struct shell_options options;
    enum shell_phase phase;
    uint32_t epoch;
    struct store *store;
    struct net_server *server; /* only while serving */
    bool server_closing;       /* an earlier one is not closed yet */
    uv_timer_t tick;           /* the core's next deadline */
    uv_timer_t campaign;       /* the pause before the next campaign; at a stop, its patience */
    uint64_t pause_ms;         /* before the next campaign */
    char last_failure[480];    /* why leadership was given up: said once */
    char *endpoint;            /* where it serves, or served last; NULL: nowhere yet */
    bool is_published;         /* the endpoint file is ours */
    struct mlq_list errands;   /* struct shell_errand */
    struct keybook *old_keys;  /* of jobs older than those whose keys are loaded: learnt when a commit failed */
    size_t old_key_count;
    struct parcel *parcel;     /* outbound.c */
    struct specbook *specs;    /* of the catalog's jobs, and of those that are being restored */
    /* The state of this leadership, dropped as a whole: */
    void *core_memory;
    struct core *core;
    struct core_actions actions;
    struct catalog *catalog;
    struct roster *roster;
    struct keybook *keys;
    struct watch *watch;
    struct relay *relay;
    struct turn *open;       /* collects */
    struct turn *committing; /* on its way to the disk, or NULL */
    struct turn *spares[SHELL_SPARES];
    unsigned spare_count;
    struct catalog_job *submitting;  /* the job of the EV_SUBMIT being stepped */
    const struct msg_request *request; /* and the request that brought it */
    struct mlq_str submitter;
    struct net_address asker;
    uint64_t commits;
    uint64_t untrue;     /* things that workers said of themselves or of attempts and that cannot be so */
    struct mlq_log_pace untrue_pace;
    uint64_t notes_lost; /* points of metrics that came while the open turn was full */
    int64_t serving_us;
    int64_t wall_ahead_us; /* wall clock and core's line of time, at the last step */
    void (*stopped)(void *context);
    void *stopped_context;
    int closing; /* parts still to close at stop; 0: not closing */
};

int64_t shell_now_ns(void);
int64_t shell_wall_us(const struct shell *shell, int64_t at_ns); /* from the core's line of time, as of the last step */
int64_t shell_line_ns(int64_t wall_us);                           /* and to it */

/* Step the core with one event and take its actions into the open turn. */
void shell_step(struct shell *shell, struct core_event *event);
/* End of a group of messages: commit or release what was collected, arm the timer. */
void shell_turn_end(struct shell *shell);
/* Leadership can be trusted right now. */
bool shell_is_trusted(const struct shell *shell);
/* Called by restore.c. */
void shell_serve(struct shell *shell);
void shell_give_up(struct shell *shell, const struct mlq_err *err);

void shell_errand_begin(struct shell *shell, struct shell_errand *errand, void (*drop)(struct shell_errand *errand));
void shell_errand_end(struct shell_errand *errand); /* answered: the caller's again */

/* restore.c */
void restore_begin(struct shell *shell, uint32_t epoch);
void restore_job(struct shell *shell, uint64_t job, const struct net_address *to, uint64_t request_id);
/* inbound.c */
void inbound_worker(struct shell *shell, const struct net_peer *peer, const struct msg *msg);
/* clients.c */
void clients_request(struct shell *shell, const struct net_peer *peer, const struct msg_request *request);
void clients_on_reply(struct shell *shell, const struct core_action *action);
/* checkpoint.c */
void checkpoint_ask(struct shell *shell, const struct net_address *to, const struct msg_request *request);
/* journal.c */
/* ACT_PERSIST and ACT_RECORD. */
void journal_fact(struct shell *shell, const struct core_action *action);
void journal_note(struct shell *shell, const struct core_action *action);
/* outbound.c */
MLQ_OWNED_RETURN struct parcel *outbound_create(struct shell *shell);
void outbound_destroy(struct parcel **parcel); /* takes NULL */
void outbound_release(struct shell *shell, const struct turn *turn);
void outbound_reply(struct shell *shell, const struct net_address *to, const struct msg_reply *reply);
void outbound_worker(struct shell *shell, struct roster_worker *worker, const struct msg *msg);
/* assign.c */
int assign_compose(struct shell *shell, const struct core_fact *fact, struct mlq_region *region,
                   struct msg_assignment *assignment, struct mlq_err *err);
/* For the rank of an ACT_MEMBERS. MLQ_ENOENT: it has ended or left since, or a member's worker is not known. */
int assign_membership(struct shell *shell, const struct core_action *action, struct mlq_region *region,
                      struct msg_membership *membership);
/* About what it takes in a message. */
size_t assign_bytes(const struct msg_assignment *assignment);
/* status.c */
struct mlq_str status_cluster(struct shell *shell, struct mlq_region *region);
struct mlq_str status_nodes(struct shell *shell, struct mlq_region *region);

#endif
