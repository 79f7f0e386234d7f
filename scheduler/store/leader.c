/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The contract is in leader.h. The states and what leads from one to the next:
 *
 *     IDLE -campaign-> CONNECTING -both up-> CHECKING -safe-> MIGRATING -> WAITING (on the hint)
 *     WAITING -hint or timeout-> READING -lapsed-> TAKING -one row-> LEADING -> IDLE
 *
 * A lost connection leads from any of CHECKING to TAKING back to CONNECTING.
 */
#include "scheduler/store/leader.h"

#include <inttypes.h>
#include <string.h>

#include "lib/base/panic.h"
#include "lib/sys/clock.h"
#include "lib/sys/log.h"
#include "lib/sys/mem.h"
#include "scheduler/store/pg_migrate.h"
#include "scheduler/store/pg_value.h"

/* How long a takeover waits for the old leader's commit before it ends the old leader's sessions.
 */
#define FENCE_WAIT_TEXT "500ms"
#define RETRY_NS        (50 * MLQ_NS_PER_MS)

enum leader_state {
    LEADER_IDLE,
    LEADER_CONNECTING,
    LEADER_CHECKING,
    LEADER_MIGRATING,
    LEADER_WAITING,
    LEADER_READING,
    LEADER_TAKING,
    LEADER_LEADING,
    LEADER_RESIGNING,
};

struct leader {
    struct pg_conn *lease;
    struct pg_conn *journal;
    struct leader_events events;
    int64_t lease_ns;
    bool allow_unsafe;
    enum leader_state state;
    char *holder;
    struct pg_migrate *migrate;
    struct pg_timer *timer;
    struct pg_array pids;
    bool has_hint;
    bool is_renewing;
    int64_t sent_ns;    /* when the takeover or renewal in flight was sent */
    int64_t trusted_ns; /* 0: not */
    int64_t remaining_ns;
    int32_t journal_pid; /* that the row knows */
    uint32_t epoch;
    int check_rc;
    struct mlq_err check_err;
};

static void wait_for_hint(struct leader *leader);
static void read_row(struct leader *leader);

static void become_idle(struct leader *leader)
{
    leader->state = LEADER_IDLE;
    leader->trusted_ns = 0;
    leader->is_renewing = false;
    pg_conn_timer_stop(leader->timer);
}

static void end(struct leader *leader, const struct mlq_err *err)
{
    become_idle(leader);
    leader->events.ended(leader->events.context, err);
}

/* A refusal to lead: it stays until somebody mends it, so no further attempt. */
static void refuse(struct leader *leader, const struct mlq_err *err)
{
    struct mlq_err copy = *err;
    pg_conn_close(leader->lease);
    leader->has_hint = false;
    log_error("leader.refused", "reason=\"%s\"", copy.text);
    end(leader, &copy);
}

static struct pg_param lease_us(const struct leader *leader, char room[8])
{
    return pg_value_i64(leader->lease_ns / 1000, room);
}

static struct pg_param backend_pids(struct leader *leader)
{
    pg_value_array_begin(&leader->pids, PG_INT4);
    pg_value_add_i32(&leader->pids, pg_conn_backend_pid(leader->lease));
    pg_value_add_i32(&leader->pids, leader->journal_pid);
    return pg_value_array(&leader->pids);
}

static void trust(struct leader *leader)
{
    leader->trusted_ns = leader->sent_ns + leader->lease_ns - leader->lease_ns / 6;
}

/* ---- Leading --------------------------------------------------------------------------------- */

static void on_row_cleared(void *context, int rc, const char *sqlstate, const struct mlq_err *err)
{
    (void)context;
    (void)sqlstate;
    if (rc != MLQ_OK) {
        log_warn("leader.row_not_cleared", "reason=\"%s\"", err->text);
    }
}

/* Two transactions: a lock is released at once, and who waits for it must find the row as it will be. */
static void clear_row(struct leader *leader, const struct pg_answer *answer)
{
    char epoch[8];
    struct pg_param mine = pg_value_i64(leader->epoch, epoch);
    struct pg_answer first = {.context = leader, .end = on_row_cleared};
    if (!pg_conn_begin(leader->lease, leader->has_hint ? &first : answer, false)) {
        return;
    }
    pg_conn_statement(leader->lease, PG_SQL_RESIGN, &mine, 1);
    pg_conn_end(leader->lease);
    if (leader->has_hint && pg_conn_begin(leader->lease, answer, false)) {
        pg_conn_statement(leader->lease, PG_SQL_HINT_RELEASE, NULL, 0);
        pg_conn_end(leader->lease);
        leader->has_hint = false;
    }
}

static void on_renew_result(void *context, unsigned statement, const PGresult *result)
{
    struct leader *leader = context;
    if (leader->state != LEADER_LEADING) {
        return;
    }
    if (statement == 1) {
        leader->has_hint = pg_value_get_bool(result, 0, 0);
    } else if (PQntuples(result) == 1) {
        trust(leader);
    } else {
        leader->check_rc = MLQ_EFENCED;
    }
}

static void on_renewed(void *context, int rc, const char *sqlstate, const struct mlq_err *err)
{
    struct leader *leader = context;
    leader->is_renewing = false;
    if (leader->state != LEADER_LEADING) {
        return;
    }
    if (leader->check_rc == MLQ_EFENCED) {
        struct mlq_err fenced = MLQ_ERR_INIT;
        (void)mlq_fail(&fenced, MLQ_EFENCED, "epoch %" PRIu32 " was superseded by another leader",
                       leader->epoch);
        pg_conn_close(leader->lease); /* gives the hint back, whoever holds it */
        leader->has_hint = false;
        end(leader, &fenced);
    } else if (rc == MLQ_EDB) {
        log_warn("leader.renewal_failed", "sqlstate=%s reason=\"%s\"", sqlstate, err->text);
    }
}

static void renew(struct leader *leader)
{
    char epoch[8];
    char duration[8];
    struct pg_answer answer = {.context = leader, .result = on_renew_result, .end = on_renewed};
    if (leader->is_renewing || !pg_conn_begin(leader->lease, &answer, false)) {
        return;
    }
    leader->is_renewing = true;
    leader->check_rc = MLQ_OK;
    leader->sent_ns = mlq_clock_boot_ns();
    struct pg_param params[] = {pg_value_i64(leader->epoch, epoch), lease_us(leader, duration),
                                backend_pids(leader)};
    pg_conn_statement(leader->lease, PG_SQL_RENEW, params, 3);
    if (!leader->has_hint) {
        pg_conn_statement(leader->lease, PG_SQL_HINT_TRY, NULL, 0);
    }
    pg_conn_end(leader->lease);
}

static void tick_leading(struct leader *leader)
{
    if (mlq_clock_boot_ns() > leader->trusted_ns + leader->lease_ns + leader->lease_ns / 6 &&
        leader->is_renewing) {
        struct mlq_err err = MLQ_ERR_INIT;
        (void)mlq_fail(&err, MLQ_ETIMEOUT, "no renewal was answered for two leases");
        leader_give_up(leader, &err);
        return;
    }
    renew(leader);
    pg_conn_timer_set(leader->timer, leader->lease_ns / 3);
}

/* ---- Taking over ----------------------------------------------------------------------------- */

static void on_holder_ended(void *context, int rc, const char *sqlstate, const struct mlq_err *err)
{
    (void)sqlstate;
    (void)err;
    struct leader *leader = context;
    if (leader->state == LEADER_TAKING && rc != MLQ_ECONN) {
        leader->state = LEADER_READING;
        pg_conn_timer_set(leader->timer, RETRY_NS);
    }
}

/* The old leader sits in a transaction with the fence lock: end its sessions. */
static void end_holder(struct leader *leader)
{
    struct pg_answer answer = {.context = leader, .end = on_holder_ended};
    struct pg_param ours = backend_pids(leader);
    log_warn("leader.ending_old_holder", "holder=\"%s\"", leader->holder);
    if (pg_conn_begin(leader->lease, &answer, false)) {
        pg_conn_statement(leader->lease, PG_SQL_END_HOLDER, &ours, 1);
        pg_conn_end(leader->lease);
    }
}

static void on_take_result(void *context, unsigned statement, const PGresult *result)
{
    struct leader *leader = context;
    if (statement == 2 && PQntuples(result) == 1) {
        leader->epoch = (uint32_t)pg_value_get_i64(result, 0, 0);
    }
}

static void on_taken(void *context, int rc, const char *sqlstate, const struct mlq_err *err)
{
    struct leader *leader = context;
    if (leader->state != LEADER_TAKING || rc == MLQ_ECONN) {
        return;
    }
    if (rc != MLQ_OK && strcmp(sqlstate, "55P03") == 0) {
        end_holder(leader);
        return;
    }
    if (rc != MLQ_OK || leader->epoch == 0) {
        if (rc != MLQ_OK) {
            log_warn("leader.takeover_failed", "sqlstate=%s reason=\"%s\"", sqlstate, err->text);
        }
        leader->state = LEADER_READING;
        pg_conn_timer_set(leader->timer, rc == MLQ_OK ? RETRY_NS : leader->lease_ns / 3);
        return;
    }
    if (pg_conn_backend_pid(leader->journal) != leader->journal_pid) {
        /* The row names a session that is gone: make way and try again. */
        clear_row(leader, &(struct pg_answer){.context = leader, .end = on_holder_ended});
        return;
    }
    leader->state = LEADER_LEADING;
    trust(leader);
    pg_conn_timer_set(leader->timer, leader->lease_ns / 3);
    renew(leader); /* takes the hint too, if a standby that polls does not have it: see read_row */
    log_info("leader.elected", "epoch=%" PRIu32 " holder=\"%s\"", leader->epoch, leader->holder);
    leader->events.elected(leader->events.context, leader->epoch);
}

/* One implicit transaction: the lock, then the update with a snapshot that is newer than the lock.
 */
static void take(struct leader *leader)
{
    char duration[8];
    struct pg_answer answer = {.context = leader, .result = on_take_result, .end = on_taken};
    leader->epoch = 0;
    leader->journal_pid = pg_conn_backend_pid(leader->journal);
    if (leader->journal_pid == 0 || !pg_conn_begin(leader->lease, &answer, false)) {
        leader->state = LEADER_CONNECTING;
        return;
    }
    leader->state = LEADER_TAKING;
    leader->sent_ns = mlq_clock_boot_ns();
    struct pg_param wait = pg_value_text(MLQ_STR(FENCE_WAIT_TEXT));
    struct pg_param params[] = {pg_value_text(mlq_str_from(leader->holder)), backend_pids(leader),
                                lease_us(leader, duration)};
    pg_conn_statement(leader->lease, PG_SQL_LOCK_TIMEOUT, &wait, 1);
    pg_conn_statement(leader->lease, PG_SQL_FENCE_EXCLUSIVE, NULL, 0);
    pg_conn_statement(leader->lease, PG_SQL_TAKE_OVER, params, 3);
    pg_conn_end(leader->lease);
}

static void on_row(void *context, unsigned statement, const PGresult *result)
{
    (void)statement;
    struct leader *leader = context;
    leader->remaining_ns = PQntuples(result) == 1 ? pg_value_get_i64(result, 0, 0) : INT64_MAX;
}

static void on_read(void *context, int rc, const char *sqlstate, const struct mlq_err *err)
{
    struct leader *leader = context;
    if (leader->state != LEADER_READING || rc == MLQ_ECONN) {
        return;
    }
    int64_t pause_ns = leader->lease_ns / 3;
    if (rc != MLQ_OK) {
        log_warn("leader.read_failed", "sqlstate=%s reason=\"%s\"", sqlstate, err->text);
        pg_conn_timer_set(leader->timer, pause_ns);
    } else if (leader->remaining_ns <= 0) {
        take(leader);
    } else if (leader->has_hint) {
        /* The holder is gone, its lease is not: it may still trust itself. */
        int64_t left_ns = leader->remaining_ns + 5 * MLQ_NS_PER_MS;
        pg_conn_timer_set(leader->timer, left_ns < pause_ns ? left_ns : pause_ns);
    } else {
        wait_for_hint(leader);
    }
}

static void read_row(struct leader *leader)
{
    struct pg_answer answer = {.context = leader, .result = on_row, .end = on_read};
    leader->state = LEADER_READING;
    if (pg_conn_begin(leader->lease, &answer, false)) {
        pg_conn_statement(leader->lease, PG_SQL_LEADER_READ, NULL, 0);
        pg_conn_end(leader->lease);
    }
}

static void on_hint(void *context, int rc, const char *sqlstate, const struct mlq_err *err)
{
    (void)err;
    struct leader *leader = context;
    if (leader->state != LEADER_WAITING || rc == MLQ_ECONN) {
        return;
    }
    if (rc != MLQ_OK && strcmp(sqlstate, "55P03") != 0) {
        log_warn("leader.hint_failed", "sqlstate=%s reason=\"%s\"", sqlstate, err->text);
        leader->state = LEADER_READING;
        pg_conn_timer_set(leader->timer, leader->lease_ns / 3);
        return;
    }
    leader->has_hint = rc == MLQ_OK;
    read_row(leader);
}

static void wait_for_hint(struct leader *leader)
{
    struct pg_answer answer = {.context = leader, .end = on_hint};
    if (!pg_conn_begin(leader->lease, &answer, false)) {
        return;
    }
    leader->state = LEADER_WAITING;
    char *wait = mlq_format("%" PRId64 "ms", leader->lease_ns / 3 / MLQ_NS_PER_MS + 1);
    struct pg_param param = pg_value_text(mlq_str_from(wait));
    pg_conn_statement(leader->lease, PG_SQL_LOCK_TIMEOUT, &param, 1);
    pg_conn_statement(leader->lease, PG_SQL_HINT_WAIT, NULL, 0);
    pg_conn_end(leader->lease);
    mlq_free(wait);
}

/* ---- Before the first contest of a connection -------------------------------------------------
 */

static void on_migrated(void *context, int rc, const struct mlq_err *err)
{
    struct leader *leader = context;
    if (leader->state != LEADER_MIGRATING || rc == MLQ_ECONN) {
        return;
    }
    if (rc != MLQ_OK) {
        refuse(leader, err);
        return;
    }
    read_row(leader);
}

static int check_setting(const PGresult *result, int column, const char *name, struct mlq_err *err)
{
    if (mlq_str_eq_c(pg_value_get_text(result, 0, column), "off")) {
        return mlq_fail(err, MLQ_EPERM,
                        "PostgreSQL runs with %s = off: an accepted job could be lost. Set %s = on "
                        "(ALTER SYSTEM SET %s = on; SELECT pg_reload_conf())",
                        name, name, name);
    }
    return MLQ_OK;
}

static void on_check_result(void *context, unsigned statement, const PGresult *result)
{
    (void)statement;
    struct leader *leader = context;
    struct mlq_err *err = &leader->check_err;
    int rc = leader->allow_unsafe ? MLQ_OK : check_setting(result, 0, "fsync", err);
    if (rc == MLQ_OK && !leader->allow_unsafe) {
        rc = check_setting(result, 1, "full_page_writes", err);
    }
    if (rc == MLQ_OK && !leader->allow_unsafe) {
        rc = check_setting(result, 2, "synchronous_commit", err);
    }
    if (rc == MLQ_OK && !mlq_str_eq_c(pg_value_get_text(result, 0, 3), "UTF8")) {
        rc = mlq_fail(err, MLQ_ENOTSUP,
                      "the database's encoding is not UTF8: create it with "
                      "CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0");
    }
    if (rc == MLQ_OK && pg_value_get_i32(result, 0, 4) < 150000) {
        rc = mlq_fail(err, MLQ_ENOTSUP, "PostgreSQL %d is too old: 15 or newer is needed",
                      pg_value_get_i32(result, 0, 4) / 10000);
    }
    /* A pooler answers the connection itself, with a process number of its own. */
    if (rc == MLQ_OK && pg_value_get_i32(result, 0, 5) != pg_conn_backend_pid(leader->lease)) {
        rc = mlq_fail(err, MLQ_ENOTSUP,
                      "a pooler stands between the scheduler and PostgreSQL, which "
                      "breaks session locks: connect to the server itself");
    }
    if (rc == MLQ_OK && pg_value_get_bool(result, 0, 6)) {
        rc = mlq_fail(err, MLQ_ENOTSUP,
                      "this PostgreSQL is a read-only replica: connect to the "
                      "primary (target_session_attrs=read-write)");
    }
    leader->check_rc = rc;
}

static void on_checked(void *context, int rc, const char *sqlstate, const struct mlq_err *err)
{
    (void)sqlstate;
    struct leader *leader = context;
    if (leader->state != LEADER_CHECKING || rc == MLQ_ECONN) {
        return;
    }
    struct mlq_err reason = MLQ_ERR_INIT;
    if (rc != MLQ_OK || leader->check_rc != MLQ_OK) {
        refuse(leader, rc != MLQ_OK ? err : &leader->check_err);
        return;
    }
    leader->state = LEADER_MIGRATING;
    if (!pg_migrate_start(leader->migrate, leader->lease, &reason)) {
        refuse(leader, &reason);
    }
}

static void begin_contest(struct leader *leader)
{
    struct pg_answer answer = {.context = leader, .result = on_check_result, .end = on_checked};
    leader->check_rc = MLQ_OK;
    if (pg_conn_backend_pid(leader->journal) != 0 && pg_conn_begin(leader->lease, &answer, false)) {
        leader->state = LEADER_CHECKING;
        pg_conn_statement(leader->lease, PG_SQL_SERVER_CHECK, NULL, 0);
        pg_conn_end(leader->lease);
    }
}

/* ---- The interface --------------------------------------------------------------------------- */

static void on_resigned(void *context, int rc, const char *sqlstate, const struct mlq_err *err)
{
    (void)rc;
    (void)sqlstate;
    (void)err;
    struct leader *leader = context;
    if (leader->state == LEADER_RESIGNING) {
        struct mlq_err reason = MLQ_ERR_INIT;
        (void)mlq_fail(&reason, MLQ_ECANCELED, "resigned");
        end(leader, &reason);
    }
}

static void on_timer(void *context)
{
    struct leader *leader = context;
    switch (leader->state) {
    case LEADER_READING:
        if (leader->has_hint) {
            read_row(leader);
        } else {
            wait_for_hint(leader);
        }
        break;
    case LEADER_LEADING:
        tick_leading(leader);
        break;
    case LEADER_IDLE:
    case LEADER_CONNECTING:
    case LEADER_CHECKING:
    case LEADER_MIGRATING:
    case LEADER_WAITING:
    case LEADER_TAKING:
        break;
    case LEADER_RESIGNING:
        on_resigned(leader, MLQ_ETIMEOUT, "", NULL);
        break;
    }
}

struct leader *leader_create(struct uv_loop_s *loop, struct pg_conn *lease, struct pg_conn *journal,
                             const struct leader_options *options,
                             const struct leader_events *events)
{
    struct leader *leader = mlq_alloc(sizeof *leader);
    leader->lease = lease;
    leader->journal = journal;
    leader->events = *events;
    leader->lease_ns = options->lease_ns;
    leader->allow_unsafe = options->allow_unsafe;
    leader->migrate = pg_migrate_create(options->migrations_dir, on_migrated, leader);
    leader->timer = pg_conn_timer_create(loop, on_timer, leader);
    return leader;
}

void leader_destroy(struct leader *leader, void (*closed)(void *context), void *context)
{
    struct pg_timer *timer = leader->timer;
    pg_migrate_destroy(&leader->migrate);
    pg_value_array_fini(&leader->pids);
    mlq_free(leader->holder);
    mlq_free(leader);
    pg_conn_timer_destroy(timer, closed, context);
}

void leader_campaign(struct leader *leader, const char *holder)
{
    MLQ_ASSERT(leader->state == LEADER_IDLE);
    mlq_free(leader->holder);
    leader->holder = mlq_strdup(holder);
    leader->state = LEADER_CONNECTING;
    pg_conn_open(leader->lease);
    pg_conn_open(leader->journal);
    begin_contest(leader);
}

void leader_resign(struct leader *leader)
{
    bool was_leading = leader->state == LEADER_LEADING;
    become_idle(leader);
    leader->state = LEADER_RESIGNING;
    pg_conn_timer_set(leader->timer, was_leading ? leader->lease_ns / 3 : 0);
    if (was_leading) {
        clear_row(leader, &(struct pg_answer){.context = leader, .end = on_resigned});
    } else {
        /* A candidate may sleep on the hint: leave with the connection. */
        pg_conn_close(leader->lease);
        leader->has_hint = false;
    }
}

void leader_give_up(struct leader *leader, const struct mlq_err *err)
{
    struct mlq_err copy = *err;
    if (leader->state == LEADER_LEADING && err->code != MLQ_EFENCED) {
        clear_row(leader, &(struct pg_answer){.context = leader, .end = on_row_cleared});
    }
    end(leader, &copy);
}

void leader_conn_up(struct leader *leader)
{
    switch (leader->state) {
    case LEADER_CONNECTING:
        begin_contest(leader);
        break;
    case LEADER_LEADING:
        renew(leader);
        break;
    case LEADER_IDLE:
    case LEADER_CHECKING:
    case LEADER_MIGRATING:
    case LEADER_WAITING:
    case LEADER_READING:
    case LEADER_TAKING:
    case LEADER_RESIGNING:
        break;
    }
}

void leader_conn_down(struct leader *leader, const struct pg_conn *which, const struct mlq_err *err)
{
    if (which == leader->lease) {
        leader->has_hint = false;
        leader->is_renewing = false;
    }
    switch (leader->state) {
    case LEADER_CHECKING:
    case LEADER_MIGRATING:
    case LEADER_WAITING:
    case LEADER_READING:
    case LEADER_TAKING:
        if (which == leader->lease) {
            pg_conn_timer_stop(leader->timer);
            leader->state = LEADER_CONNECTING;
        }
        break;
    case LEADER_LEADING:
        if (which == leader->journal) {
            leader_give_up(leader, err);
        }
        break;
    case LEADER_RESIGNING:
        on_resigned(leader, MLQ_ECONN, "", err);
        break;
    case LEADER_IDLE:
    case LEADER_CONNECTING:
        log_warn("leader.unreachable", "reason=\"%s\"", err->text);
        break;
    }
}

int64_t leader_trusted_until_ns(const struct leader *leader)
{
    return leader->trusted_ns;
}

bool leader_is_leading(const struct leader *leader)
{
    return leader->state == LEADER_LEADING;
}
