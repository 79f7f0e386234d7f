/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "tests/support/pg_cluster.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <libpq-fe.h>
#include <pwd.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/sys/fs.h"
#include "lib/sys/mem.h"

#define ARGUMENTS_MAX 30
#define DATABASES_MAX 64
#define START_TRIES   6000 /* of 20 ms */

struct pg_cluster {
    char dir[200];
    char bin[200];
    char *conninfos[DATABASES_MAX];
    unsigned database_count;
    uid_t uid;
    gid_t gid;
    pid_t pid; /* of the server; 0: does not run */
};

static void die(const char *what, const char *detail)
{
    (void)fprintf(stderr, "pg_cluster: %s: %s\n", what, detail);
    abort();
}

/* The newest /usr/lib/postgresql/N/bin, or $MLQ_PG_BIN. */
static bool find_bin(struct pg_cluster *cluster)
{
    const char *given = getenv("MLQ_PG_BIN");
    if (given != NULL) {
        (void)snprintf(cluster->bin, sizeof cluster->bin, "%s", given);
        return true;
    }
    glob_t found = {0};
    long newest = 0;
    if (glob("/usr/lib/postgresql/*/bin", 0, NULL, &found) == 0) {
        for (size_t i = 0; i < found.gl_pathc; i++) {
            long version = strtol(found.gl_pathv[i] + strlen("/usr/lib/postgresql/"), NULL, 10);
            if (version > newest) {
                newest = version;
                (void)snprintf(cluster->bin, sizeof cluster->bin, "%s", found.gl_pathv[i]);
            }
        }
    }
    globfree(&found);
    return newest >= 15;
}

/* Start bin/argv[0] as the server's user, its output in log.txt. */
static pid_t spawn(struct pg_cluster *cluster, const char *const argv[])
{
    char path[260];
    char log[260];
    (void)snprintf(path, sizeof path, "%s/%s", cluster->bin, argv[0]);
    (void)snprintf(log, sizeof log, "%s/log.txt", cluster->dir);
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid != 0) {
        return pid;
    }
    if (geteuid() == 0 && (setgid(cluster->gid) != 0 || setuid(cluster->uid) != 0)) {
        _exit(126);
    }
    /* A fast shutdown when the test dies; asked for after setuid, which forgets it. */
    (void)prctl(PR_SET_PDEATHSIG, SIGQUIT);
    if (getppid() != parent) {
        _exit(126);
    }
    int out = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    int in = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (out < 0 || in < 0 || dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0 ||
        chdir(cluster->dir) != 0 || setpgid(0, 0) != 0) {
        _exit(126);
    }
    /* PostgreSQL looks for its other programs beside argv[0], or in PATH, where Debian has none of
     * them: so the path is said in full. */
    const char *arguments[ARGUMENTS_MAX + 1] = {path};
    for (size_t i = 1; argv[i] != NULL && i < ARGUMENTS_MAX; i++) {
        arguments[i] = argv[i];
    }
    (void)execv(path, (char *const *)(uintptr_t)arguments); /* execv does not write to them */
    _exit(127);
}

static bool has_succeeded(pid_t pid)
{
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void show_log(const struct pg_cluster *cluster)
{
    char path[260];
    char line[512];
    (void)snprintf(path, sizeof path, "%s/log.txt", cluster->dir);
    FILE *file = fopen(path, "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        (void)fprintf(stderr, "pg_cluster: %s", line);
    }
    if (file != NULL) {
        (void)fclose(file);
    }
}

static bool wait_ready(struct pg_cluster *cluster)
{
    char conninfo[320];
    (void)snprintf(conninfo, sizeof conninfo, "host=%s user=mlq dbname=postgres", cluster->dir);
    for (int i = 0; i < START_TRIES; i++) {
        if (PQping(conninfo) == PQPING_OK) {
            return true;
        }
        int status = 0;
        if (waitpid(cluster->pid, &status, WNOHANG) == cluster->pid) {
            cluster->pid = 0;
            return false;
        }
        (void)nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    }
    return false;
}

static bool start_server(struct pg_cluster *cluster)
{
    char data[260];
    char socket_dir[260];
    (void)snprintf(data, sizeof data, "%s/data", cluster->dir);
    (void)snprintf(socket_dir, sizeof socket_dir, "%s", cluster->dir);
    const char *argv[] = {"postgres",
                          "-D",
                          data,
                          "-k",
                          socket_dir,
                          "-c",
                          "listen_addresses=",
                          "-c",
                          "max_connections=50",
                          "-c",
                          "shared_buffers=32MB",
                          NULL};
    cluster->pid = spawn(cluster, argv);
    return cluster->pid > 0 && wait_ready(cluster);
}

struct pg_cluster *pg_cluster_start(void)
{
    const char *tmp = getenv("TMPDIR");
    struct pg_cluster *cluster = calloc(1, sizeof *cluster);
    const struct passwd *user = geteuid() == 0 ? getpwnam("postgres") : getpwuid(geteuid());
    (void)snprintf(cluster->dir, sizeof cluster->dir, "%s/mlq-pg-XXXXXX",
                   tmp == NULL ? "/tmp" : tmp);
    if (user == NULL || !find_bin(cluster) || mkdtemp(cluster->dir) == NULL) {
        (void)fprintf(stderr,
                      "pg_cluster: PostgreSQL 15 or newer, its user postgres or a folder to "
                      "write in is missing: apt-get install postgresql\n");
        free(cluster);
        return NULL;
    }
    cluster->uid = user->pw_uid;
    cluster->gid = user->pw_gid;
    if (geteuid() == 0 && chown(cluster->dir, cluster->uid, cluster->gid) != 0) {
        die("chown", strerror(errno));
    }
    char data[260];
    (void)snprintf(data, sizeof data, "%s/data", cluster->dir);
    const char *argv[] = {"initdb",
                          "-D",
                          data,
                          "-U",
                          "mlq",
                          "-A",
                          "trust",
                          "-E",
                          "UTF8",
                          "--locale=C",
                          "--data-checksums",
                          "--no-sync",
                          NULL};
    if (!has_succeeded(spawn(cluster, argv)) || !start_server(cluster)) {
        /* It is installed and does not start: a failure. Only what is absent is skipped. */
        show_log(cluster);
        pg_cluster_stop(&cluster);
        die("PostgreSQL does not start", "its log is above");
    }
    return cluster;
}

static void end_server(struct pg_cluster *cluster, int signal)
{
    int status = 0;
    if (cluster->pid > 0) {
        (void)kill(cluster->pid, signal);
        while (waitpid(cluster->pid, &status, 0) < 0 && errno == EINTR) {
        }
        cluster->pid = 0;
    }
}

void pg_cluster_stop(struct pg_cluster **cluster)
{
    if (*cluster != NULL) {
        end_server(*cluster, SIGQUIT);
        (void)mlq_fs_remove_tree((*cluster)->dir, NULL);
        for (unsigned i = 0; i < (*cluster)->database_count; i++) {
            mlq_free((*cluster)->conninfos[i]);
        }
        free(*cluster);
        *cluster = NULL;
    }
}

void pg_cluster_kill(struct pg_cluster *cluster)
{
    end_server(cluster, SIGKILL);
}

bool pg_cluster_restart(struct pg_cluster *cluster)
{
    /* The old server's children notice its death by and by, and until then hold its memory. */
    for (int i = 0; i < START_TRIES / 10; i++) {
        if (start_server(cluster)) {
            return true;
        }
        (void)nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    }
    show_log(cluster);
    return false;
}

const char *pg_cluster_database(struct pg_cluster *cluster)
{
    if (cluster->database_count == DATABASES_MAX) {
        die("too many databases", cluster->dir);
    }
    char admin[320];
    char sql[100];
    unsigned number = cluster->database_count++;
    (void)snprintf(admin, sizeof admin, "host=%s user=mlq dbname=postgres", cluster->dir);
    (void)snprintf(sql, sizeof sql, "CREATE DATABASE mlq%u", number);
    free(pg_cluster_query(admin, sql));
    cluster->conninfos[number] = mlq_format("host=%s user=mlq dbname=mlq%u", cluster->dir, number);
    return cluster->conninfos[number];
}

static char *run(const char *conninfo, const char *sql, char sqlstate[6])
{
    PGconn *conn = PQconnectdb(conninfo);
    if (PQstatus(conn) != CONNECTION_OK) {
        die("connect", PQerrorMessage(conn));
    }
    PGresult *result = PQexec(conn, sql);
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    char *value = NULL;
    sqlstate[0] = '\0';
    if (state != NULL) {
        (void)snprintf(sqlstate, 6, "%s", state);
        (void)fprintf(stderr, "pg_cluster: %s", PQerrorMessage(conn));
    } else if (PQntuples(result) > 0) {
        value = strdup(PQgetvalue(result, 0, 0));
    }
    PQclear(result);
    PQfinish(conn);
    return value;
}

char *pg_cluster_query(const char *conninfo, const char *sql)
{
    char sqlstate[6];
    char *value = run(conninfo, sql, sqlstate);
    if (sqlstate[0] != '\0') {
        die(sqlstate, sql);
    }
    return value;
}

const char *pg_cluster_try(const char *conninfo, const char *sql)
{
    static char sqlstate[6];
    free(run(conninfo, sql, sqlstate));
    return sqlstate;
}
