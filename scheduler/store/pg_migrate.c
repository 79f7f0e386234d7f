/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The steps, each an exchange: lock and look · make the table of migrations · read it and have the
 * checksums made · one script per new file · unlock.
 */
#include "scheduler/store/pg_migrate.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/panic.h"
#include "lib/sys/fs.h"
#include "lib/sys/log.h"
#include "lib/sys/mem.h"
#include "scheduler/store/pg_value.h"

#define FILES_MAX      1000
#define FILE_BYTES_MAX (4u << 20)
#define SUFFIX         ".up.sql"
#define SHA256_HEX     64

struct file {
    int32_t version;
    char *name; /* "0001_init" */
    char *sql;
    size_t len;
    char checksum[SHA256_HEX + 1];
};

struct pg_migrate {
    char *dir;
    void (*done)(void *context, int rc, const struct mlq_err *err);
    void *context;
    struct pg_conn *conn;
    struct file *files;
    size_t file_count;
    size_t applied;
    bool has_table;
    int rc; /* what the results showed */
    struct mlq_err err;
};

/* ---- The folder ------------------------------------------------------------------------------ */

static void free_files(struct pg_migrate *migrate)
{
    for (size_t i = 0; i < migrate->file_count; i++) {
        mlq_free(migrate->files[i].name);
        mlq_free(migrate->files[i].sql);
    }
    mlq_free(migrate->files);
    migrate->files = NULL;
    migrate->file_count = 0;
}

static int by_version(const void *a, const void *b)
{
    const struct file *x = a;
    const struct file *y = b;
    return (x->version > y->version) - (x->version < y->version);
}

static int add_file(struct pg_migrate *migrate, struct mlq_str entry, struct mlq_err *err)
{
    struct mlq_str number = {.ptr = entry.ptr, .len = 4};
    uint64_t version = 0;
    if (entry.len < 6 + strlen(SUFFIX) || !mlq_str_u64(number, &version) || entry.ptr[4] != '_') {
        return mlq_fail(err, MLQ_EINVAL, "%s/%.*s: expected NNNN_name%s", migrate->dir,
                        MLQ_STR_ARG(entry), SUFFIX);
    }
    if (migrate->file_count >= FILES_MAX) {
        return mlq_fail(err, MLQ_EFULL, "%s: more than %d migrations", migrate->dir, FILES_MAX);
    }
    char *text = mlq_strndup(entry);
    char *path = mlq_fs_join(migrate->dir, text);
    mlq_free(text);
    struct file file = {.version = (int32_t)version};
    int rc = mlq_fs_read(path, FILE_BYTES_MAX, &file.sql, &file.len, err);
    mlq_free(path);
    if (rc != MLQ_OK) {
        return rc;
    }
    file.name = mlq_strndup((struct mlq_str){.ptr = entry.ptr, .len = entry.len - strlen(SUFFIX)});
    migrate->files[migrate->file_count++] = file;
    return MLQ_OK;
}

static int read_files(struct pg_migrate *migrate, struct mlq_err *err)
{
    free_files(migrate);
    migrate->files = mlq_alloc_array(FILES_MAX, sizeof *migrate->files);
    DIR *dir = opendir(migrate->dir);
    if (dir == NULL) {
        return mlq_fail(err, errno == ENOENT ? MLQ_ENOENT : MLQ_EIO, "migrations folder %s: %s",
                        migrate->dir, strerror(errno));
    }
    int rc = MLQ_OK;
    for (struct dirent *entry; rc == MLQ_OK && (entry = readdir(dir)) != NULL;) {
        struct mlq_str name = mlq_str_from(entry->d_name);
        if (mlq_str_ends(name, SUFFIX)) {
            rc = add_file(migrate, name, err);
        }
    }
    (void)closedir(dir);
    if (rc != MLQ_OK) {
        return rc;
    }
    qsort(migrate->files, migrate->file_count, sizeof *migrate->files, by_version);
    for (size_t i = 0; i < migrate->file_count; i++) {
        if (migrate->files[i].version != (int32_t)i + 1) {
            return mlq_fail(err, MLQ_ECORRUPT, "%s: migration %zu is missing or there twice",
                            migrate->dir, i + 1);
        }
    }
    if (migrate->file_count == 0) {
        return mlq_fail(err, MLQ_ENOENT, "%s: no migrations (NNNN_name%s)", migrate->dir, SUFFIX);
    }
    return MLQ_OK;
}

/* ---- The steps ------------------------------------------------------------------------------- */

static void apply_next(struct pg_migrate *migrate);

static void finish(struct pg_migrate *migrate, int rc, const struct mlq_err *err)
{
    migrate->done(migrate->context, rc, err);
}

static void on_unlocked(void *context, int rc, const char *sqlstate, const struct mlq_err *err)
{
    (void)sqlstate;
    finish(context, rc, err);
}

static void on_applied(void *context, int rc, const char *sqlstate, const struct mlq_err *err)
{
    (void)sqlstate;
    struct pg_migrate *migrate = context;
    const struct file *file = &migrate->files[migrate->applied];
    if (rc != MLQ_OK) {
        struct mlq_err wrapped = *err;
        (void)mlq_wrap(&wrapped, rc, "migration %s", file->name);
        finish(migrate, rc, &wrapped);
        return;
    }
    log_info("store.migrated", "migration=%s", file->name);
    migrate->applied++;
    apply_next(migrate);
}

/* A script is one transaction: its statements and the row that says so. Version, name and checksum
 * are digits and the characters of a file name that add_file let through. */
static void apply_next(struct pg_migrate *migrate)
{
    if (migrate->applied == migrate->file_count) {
        struct pg_answer answer = {.context = migrate, .end = on_unlocked};
        if (pg_conn_begin(migrate->conn, &answer, false)) {
            pg_conn_statement(migrate->conn, PG_SQL_MIGRATE_UNLOCK, NULL, 0);
            pg_conn_end(migrate->conn);
        }
        return;
    }
    const struct file *file = &migrate->files[migrate->applied];
    char *script = mlq_format("%s\n;INSERT INTO mlq.migration (version, name, checksum)"
                              " VALUES (%d, '%s', '%s')",
                              file->sql, file->version, file->name, file->checksum);
    struct pg_answer answer = {.context = migrate, .end = on_applied};
    (void)pg_conn_script(migrate->conn, script, &answer);
    mlq_free(script);
}

/* One row of mlq.migration against the file of its version. */
static void compare(struct pg_migrate *migrate, const PGresult *result, int row)
{
    int32_t version = pg_value_get_i32(result, row, 0);
    struct mlq_str name = pg_value_get_text(result, row, 1);
    struct mlq_str checksum = pg_value_get_text(result, row, 2);
    if (migrate->rc != MLQ_OK) {
        return;
    }
    if (version > (int32_t)migrate->file_count) {
        migrate->rc = mlq_fail(&migrate->err, MLQ_ENOTSUP,
                               "the database has migration %.*s, this binary knows up to %s: "
                               "install the newer mlq",
                               MLQ_STR_ARG(name), migrate->files[migrate->file_count - 1].name);
        return;
    }
    const struct file *file = &migrate->files[version - 1];
    if (version != (int32_t)migrate->applied + 1 || !mlq_str_eq_c(checksum, file->checksum)) {
        migrate->rc = mlq_fail(&migrate->err, MLQ_ECORRUPT,
                               "%s/%s%s is not what was applied to the database as migration %d: "
                               "restore the file; changes go into a new one",
                               migrate->dir, file->name, SUFFIX, version);
        return;
    }
    migrate->applied++;
}

/* Statements 0 to file_count - 1 are the checksums, then the list. */
static void on_compare(void *context, unsigned statement, const PGresult *result)
{
    struct pg_migrate *migrate = context;
    if (statement < migrate->file_count) {
        struct mlq_str hex = pg_value_get_text(result, 0, 0);
        MLQ_ASSERT(hex.len == SHA256_HEX);
        memcpy(migrate->files[statement].checksum, hex.ptr, SHA256_HEX);
        return;
    }
    for (int row = 0; row < PQntuples(result); row++) {
        compare(migrate, result, row);
    }
}

static void on_compared(void *context, int rc, const char *sqlstate, const struct mlq_err *err)
{
    (void)sqlstate;
    struct pg_migrate *migrate = context;
    if (rc != MLQ_OK || migrate->rc != MLQ_OK) {
        finish(migrate, rc != MLQ_OK ? rc : migrate->rc, rc != MLQ_OK ? err : &migrate->err);
        return;
    }
    apply_next(migrate);
}

static void on_table(void *context, int rc, const char *sqlstate, const struct mlq_err *err)
{
    (void)sqlstate;
    struct pg_migrate *migrate = context;
    struct pg_answer answer = {.context = migrate, .result = on_compare, .end = on_compared};
    if (rc != MLQ_OK) {
        finish(migrate, rc, err);
    } else if (pg_conn_begin(migrate->conn, &answer, false)) {
        for (size_t i = 0; i < migrate->file_count; i++) {
            struct pg_param sql = pg_value_text(
                (struct mlq_str){.ptr = migrate->files[i].sql, .len = migrate->files[i].len});
            pg_conn_statement(migrate->conn, PG_SQL_MIGRATE_CHECKSUM, &sql, 1);
        }
        pg_conn_statement(migrate->conn, PG_SQL_MIGRATE_LIST, NULL, 0);
        pg_conn_end(migrate->conn);
    }
}

static void on_look(void *context, unsigned statement, const PGresult *result)
{
    struct pg_migrate *migrate = context;
    if (statement == 1) {
        migrate->has_table = pg_value_get_bool(result, 0, 0);
    }
}

static void on_locked(void *context, int rc, const char *sqlstate, const struct mlq_err *err)
{
    struct pg_migrate *migrate = context;
    struct pg_answer answer = {.context = migrate, .end = on_table};
    if (rc != MLQ_OK || migrate->has_table) {
        on_table(migrate, rc, sqlstate, err);
    } else {
        (void)pg_conn_script(migrate->conn, pg_sql_bootstrap, &answer);
    }
}

struct pg_migrate *pg_migrate_create(const char *dir,
                                     void (*done)(void *context, int rc, const struct mlq_err *err),
                                     void *context)
{
    struct pg_migrate *migrate = mlq_alloc(sizeof *migrate);
    migrate->dir = mlq_strdup(dir);
    migrate->done = done;
    migrate->context = context;
    return migrate;
}

void pg_migrate_destroy(struct pg_migrate **migrate)
{
    if (*migrate != NULL) {
        free_files(*migrate);
        mlq_free((*migrate)->dir);
        mlq_free(*migrate);
        *migrate = NULL;
    }
}

bool pg_migrate_start(struct pg_migrate *migrate, struct pg_conn *conn, struct mlq_err *err)
{
    migrate->conn = conn;
    migrate->applied = 0;
    migrate->rc = MLQ_OK;
    if (read_files(migrate, err) != MLQ_OK) {
        return false;
    }
    struct pg_answer answer = {.context = migrate, .result = on_look, .end = on_locked};
    if (!pg_conn_begin(conn, &answer, false)) {
        return mlq_fail(err, MLQ_ECONN, "the connection to PostgreSQL is down") == MLQ_OK;
    }
    pg_conn_statement(conn, PG_SQL_MIGRATE_LOCK, NULL, 0);
    pg_conn_statement(conn, PG_SQL_MIGRATE_EXISTS, NULL, 0);
    pg_conn_end(conn);
    return true;
}
