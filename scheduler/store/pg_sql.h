/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Every statement that the store sends, by name. Values only ever travel as parameters.
 */
#ifndef MLQ_SCHEDULER_STORE_PG_SQL_H
#define MLQ_SCHEDULER_STORE_PG_SQL_H

#include <stdbool.h>

#define PG_SQL_STATEMENTS(X)                                                                       \
    /* leader.c, pg_migrate.c */                                                                   \
    X(SERVER_CHECK)                                                                                \
    X(MIGRATE_LOCK)                                                                                \
    X(MIGRATE_UNLOCK)                                                                              \
    X(MIGRATE_EXISTS)                                                                              \
    X(MIGRATE_LIST)                                                                                \
    X(MIGRATE_CHECKSUM)                                                                            \
    X(LOCK_TIMEOUT)                                                                                \
    X(HINT_WAIT)                                                                                   \
    X(HINT_TRY)                                                                                    \
    X(HINT_RELEASE)                                                                                \
    X(LEADER_READ)                                                                                 \
    X(FENCE_EXCLUSIVE)                                                                             \
    X(TAKE_OVER)                                                                                   \
    X(END_HOLDER)                                                                                  \
    X(RENEW)                                                                                       \
    X(RESIGN)                                                                                      \
    /* pg_commit.c */                                                                              \
    X(BEGIN)                                                                                       \
    X(COMMIT)                                                                                      \
    X(FENCE_SHARED)                                                                                \
    X(FENCE)                                                                                       \
    X(PARTITIONS)                                                                                  \
    X(EMPTY_INBOX)                                                                                 \
    X(PUT_INBOX)                                                                                   \
    X(CLEAR_INBOX)                                                                                 \
    X(PUT_JOBS)                                                                                    \
    X(PUT_KEYS)                                                                                    \
    X(PUT_STAGES)                                                                                  \
    X(EXPECT_NEW)                                                                                  \
    X(PUT_FACTS)                                                                                   \
    X(PUT_METRICS)                                                                                 \
    X(PUT_ARTIFACTS)                                                                               \
    X(PUT_WORKERS)                                                                                 \
    X(SET_STAGES)                                                                                  \
    X(SET_JOBS)                                                                                    \
    X(SET_RETRIED)                                                                                 \
    /* pg_load.c */                                                                                \
    X(BEGIN_LOAD)                                                                                  \
    X(LOAD_SETTINGS)                                                                                  \
    X(LOAD_HEADER)                                                                                 \
    X(LOAD_WORKERS)                                                                                \
    X(LOAD_KEYS)                                                                                   \
    X(LOAD_JOBS)                                                                                   \
    X(LOAD_FACTS)                                                                                  \
    X(LOAD_ONE_JOB)                                                                                \
    X(LOAD_ONE_FACTS)                                                                              \
    /* pg_view.c */                                                                                \
    X(VIEW_JOB)                                                                                    \
    X(VIEW_RECORD)                                                                                 \
    X(VIEW_LIST)                                                                                   \
    X(VIEW_METRICS)                                                                                \
    X(VIEW_ATTEMPT)                                                                                \
    X(RESOLVE_ID)                                                                                  \
    X(RESOLVE_RANGE)                                                                               \
    X(RESOLVE_LAST)                                                                                \
    X(RESOLVE_NAME)                                                                                \
    X(RESOLVE_LABEL)                                                                               \
    X(RESOLVE_STATE)

enum pg_sql_id {
#define PG_SQL_ENUM(name) PG_SQL_##name,
    PG_SQL_STATEMENTS(PG_SQL_ENUM)
#undef PG_SQL_ENUM
        PG_SQL_COUNT
};

struct pg_sql {
    const char *text;
    bool prepare; /* sent often: prepared once a connection */
    bool binary;  /* results come in binary format */
};

const struct pg_sql *pg_sql_get(enum pg_sql_id id);
const char *pg_sql_name(enum pg_sql_id id);

/* Makes the schema and the table of applied migrations; a script (several statements). */
extern const char *const pg_sql_bootstrap;

#endif
