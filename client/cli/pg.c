/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "client/cli/pg.h"

#include <errno.h>
#include <glob.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/cli/daemon.h"
#include "lib/base/prng.h"
#include "lib/sys/clock.h"
#include "lib/sys/fs.h"
#include "lib/sys/mem.h"

#define SOCKET_DIR_BYTES_MAX 90     /* sun_path has 108, and "/.s.PGSQL.5432.lock" follows */
#define START_TIMEOUT_MS     120000 /* recovery after a crash takes its time */
#define ORPHANS_TIMEOUT_MS   30000
#define STOP_TIMEOUT_MS      30000
#define SERVER_USER          PG_SERVER_USER
#define BUFFERS_MIN_MIB      128 /* what PostgreSQL takes unless told */
#define BUFFERS_MAX_MIB      512 /* more showed no gain: work is at the ends of tables and indexes */

static bool is_root(void)
{
    return geteuid() == 0;
}

/* Whether another user may walk through every part of the path that exists. */
static bool others_can_reach(const char *path)
{
    char *part = mlq_strdup(path);
    bool reachable = true;
    for (char *at = part + 1; reachable; at++) {
        if (*at == '/' || *at == '\0') {
            char end = *at;
            struct stat status;
            *at = '\0';
            reachable = stat(part, &status) != 0 || (status.st_mode & S_IXOTH) != 0;
            *at = end;
            if (end == '\0') {
                break;
            }
        }
    }
    mlq_free(part);
    return reachable;
}

static uint64_t hash_text(const char *text)
{
    uint64_t sum = 0;
    for (; *text != '\0'; text++) {
        sum = mlq_hash_u64(sum ^ (unsigned char)*text);
    }
    return sum;
}

/* A socket's path is short, and stands in PostgreSQL's settings and in libpq's conninfo, both of
 * which are lists in which quotes, commas and spaces mean something. */
static bool may_hold_socket(const char *path)
{
    static const char plain[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+";
    size_t length = strlen(path);
    return length <= SOCKET_DIR_BYTES_MAX && strspn(path, plain) == length;
}

void pg_choose_place(struct home *home)
{
    unsigned long long id = hash_text(home->dir);
    if (home->pg_data == NULL) {
        home->pg_data = is_root() && !others_can_reach(home->dir)
                            ? mlq_format("/var/lib/mlq/%016llx/pg", id)
                            : home_file(home, "pg");
    }
    if (home->pg_socket_dir == NULL) {
        size_t parent = strlen(home->pg_data) - strlen("/pg");
        home->pg_socket_dir = mlq_format("%.*s/run", (int)parent, home->pg_data);
        if (!may_hold_socket(home->pg_socket_dir)) {
            mlq_free(home->pg_socket_dir);
            home->pg_socket_dir = mlq_format("/tmp/mlq-%016llx", id);
        }
    }
}

/* The version that made the data, which no other can read; 0: there are none yet. */
static int data_version(const struct home *home)
{
    char *path = home == NULL || home->pg_data == NULL ? NULL : mlq_fs_join(home->pg_data, "PG_VERSION");
    char *data = NULL;
    size_t len = 0;
    int version = 0;
    if (path != NULL && mlq_fs_read(path, 64, &data, &len, NULL) == MLQ_OK) {
        (void)sscanf(data, "%d", &version);
    }
    mlq_free(data);
    mlq_free(path);
    return version;
}

char *pg_program(const struct home *home, const char *name, struct mlq_err *err)
{
    glob_t found;
    char *pattern = mlq_format("/usr/lib/postgresql/*/bin/%s", name);
    char *path = NULL;
    int wanted = data_version(home);
    int best = -1;
    if (glob(pattern, 0, NULL, &found) == 0) {
        for (size_t i = 0; i < found.gl_pathc; i++) {
            int version = 0;
            (void)sscanf(found.gl_pathv[i], "/usr/lib/postgresql/%d", &version);
            if (wanted == 0 ? version > best : version == wanted) {
                best = version;
                mlq_free(path);
                path = mlq_strdup(found.gl_pathv[i]);
            }
        }
        globfree(&found);
    }
    mlq_free(pattern);
    if (path == NULL && wanted != 0) {
        (void)mlq_fail(err, MLQ_ENOTSUP,
                       "the data in %s are of PostgreSQL %d, whose %s is not installed: apt-get install postgresql-%d",
                       home->pg_data, wanted, name, wanted);
    } else if (path == NULL) {
        (void)mlq_fail(err, MLQ_ENOENT, "PostgreSQL's %s is not installed: apt-get install postgresql", name);
    } else if (best < 15) {
        (void)mlq_fail(err, MLQ_ENOTSUP, "PostgreSQL %d is too old: 15 or newer is needed", best);
        mlq_free_p(&path);
    }
    return path;
}

/* A folder that belongs to the server's user, reachable by nobody else. */
static int make_private_dir(const char *path, struct mlq_err *err)
{
    const struct passwd *user = is_root() ? getpwnam(SERVER_USER) : NULL;
    if (is_root() && user == NULL) {
        return mlq_fail(err, MLQ_ENOENT, "the user '%s' does not exist: apt-get install postgresql",
                        SERVER_USER);
    }
    const char *slash = strrchr(path, '/');
    char *parent = mlq_strndup((struct mlq_str){path, (size_t)(slash - path)});
    int rc = mlq_fs_make_dirs(parent[0] == '\0' ? "/" : parent, 0711, err);
    mlq_free(parent);
    if (rc == MLQ_OK && mkdir(path, 0700) != 0 && errno != EEXIST) {
        rc = mlq_fail(err, MLQ_EIO, "make %s: %s", path, strerror(errno));
    }
    struct stat status;
    if (rc == MLQ_OK && (lstat(path, &status) != 0 || !S_ISDIR(status.st_mode))) {
        rc = mlq_fail(err, MLQ_EEXIST, "%s is not a folder", path);
    }
    if (rc == MLQ_OK && user != NULL && lchown(path, user->pw_uid, user->pw_gid) != 0) {
        rc = mlq_fail(err, MLQ_EPERM, "give %s to %s: %s", path, SERVER_USER, strerror(errno));
    }
    if (rc == MLQ_OK && user == NULL && status.st_uid != geteuid()) {
        rc = mlq_fail(err, MLQ_EPERM, "%s belongs to another user", path);
    }
    return rc;
}

const char *const *pg_as_server_user(const char *const *argv)
{
    return is_root() ? argv : argv + PG_AS_SERVER_USER_WORDS;
}

long pg_buffers_mib(long memory_mib)
{
    long quarter = memory_mib / 4;
    long most = quarter < BUFFERS_MAX_MIB ? quarter : BUFFERS_MAX_MIB;
    return most > BUFFERS_MIN_MIB ? most : BUFFERS_MIN_MIB;
}

static long memory_mib(void)
{
    return sysconf(_SC_PHYS_PAGES) / 256 * (sysconf(_SC_PAGESIZE) / 4096);
}

static int write_settings(const struct home *home, struct mlq_err *err)
{
    const struct passwd *me = getpwuid(geteuid());
    char *conf = mlq_fs_join(home->pg_data, "postgresql.conf");
    char *hba = mlq_fs_join(home->pg_data, "pg_hba.conf");
    char *ident = mlq_fs_join(home->pg_data, "pg_ident.conf");
    char *settings = mlq_format(
        "listen_addresses = ''\nunix_socket_directories = '%s'\nunix_socket_permissions = 0700\n"
        "port = 5432\nmax_connections = 50\nmax_wal_size = 2GB\nlog_checkpoints = off\n"
        "shared_buffers = %ldMB\n",
        home->pg_socket_dir, pg_buffers_mib(memory_mib()));
    char *map =
        mlq_format("mlq %s mlq\nmlq " SERVER_USER " mlq\n", me == NULL ? "root" : me->pw_name);
    int rc = mlq_fs_write_durable(conf, mlq_str_from(settings), 0644, err);
    if (rc == MLQ_OK) {
        rc = mlq_fs_write_durable(hba, MLQ_STR("local all mlq peer map=mlq\n"), 0644, err);
    }
    if (rc == MLQ_OK) {
        rc = mlq_fs_write_durable(ident, mlq_str_from(map), 0644, err);
    }
    mlq_free(map);
    mlq_free(settings);
    mlq_free(ident);
    mlq_free(hba);
    mlq_free(conf);
    return rc;
}

int pg_init(const struct home *home, struct mlq_err *err)
{
    char *done = mlq_fs_join(home->pg_data,
                             "mlq.ready"); /* written last: a half made cluster is made again */
    char *initdb = NULL;
    int rc = MLQ_OK;
    if (mlq_fs_exists(done)) {
        rc = make_private_dir(home->pg_socket_dir, err); /* /tmp may have been emptied */
        goto out;
    }
    initdb = pg_program(NULL, "initdb", err);
    rc = initdb == NULL ? err->code : mlq_fs_remove_tree(home->pg_data, err);
    if (rc == MLQ_OK) {
        rc = make_private_dir(home->pg_data, err);
    }
    if (rc == MLQ_OK) {
        rc = make_private_dir(home->pg_socket_dir, err);
    }
    if (rc == MLQ_OK) {
        const char *argv[] = {PG_AS_SERVER_USER,     initdb,        "--pgdata",        home->pg_data,
                              "--username=mlq",   "--auth=peer", "--encoding=UTF8", "--locale=C",
                              "--data-checksums", NULL};
        rc = daemon_run(home, "initdb", pg_as_server_user(argv), err);
    }
    if (rc == MLQ_OK) {
        rc = write_settings(home, err);
    }
    if (rc == MLQ_OK) {
        rc = mlq_fs_write_durable(done, MLQ_STR("made by mlq up\n"), 0644, err);
    }
out:
    mlq_free(initdb);
    mlq_free(done);
    return rc;
}

/* The last line of postmaster.pid says "ready" once connections are accepted; its first is the pid,
 * so that the file of a server that crashed is not believed. */
static bool is_ready(const struct home *home)
{
    char *path = mlq_fs_join(home->pg_data, "postmaster.pid");
    char *data = NULL;
    size_t len = 0;
    int pid = 0;
    bool ready = mlq_fs_read(path, 4096, &data, &len, NULL) == MLQ_OK &&
                 sscanf(data, "%d", &pid) == 1 && pid == (int)daemon_pid(home, "postgres") &&
                 strstr(data, "\nready") != NULL;
    mlq_free(data);
    mlq_free(path);
    return ready;
}

/* A server that was killed leaves children that let go of its memory and lock file only when they
 * notice. */
static bool blocked_by_orphans(const char *log)
{
    return strstr(log, "shared memory block") != NULL || strstr(log, "lock file") != NULL;
}

/* `from`: where its log stood before this start. MLQ_EAGAIN: it stopped because of such children,
 * so another start may do. */
static int wait_until_ready(const struct home *home, long from, struct mlq_err *err)
{
    int64_t deadline = mlq_clock_boot_ns() + START_TIMEOUT_MS * MLQ_NS_PER_MS;
    while (!is_ready(home)) {
        bool gone = daemon_wait_gone(home, "postgres", 0);
        if (gone || mlq_clock_boot_ns() > deadline) {
            char *tail = daemon_log_tail(home, "postgres", from);
            int code = gone && blocked_by_orphans(tail) ? MLQ_EAGAIN : MLQ_EIO;
            int rc =
                mlq_fail(err, code, "PostgreSQL %s; its log (%s/logs/postgres.log) ends with:\n%s",
                         gone ? "stopped at once" : "is not ready in time", home->dir, tail);
            mlq_free(tail);
            return rc;
        }
        (void)poll(NULL, 0, 20);
    }
    return MLQ_OK;
}

/* postmaster.pid names a process. When that is a server of this folder whose start was not recorded
 * (the one who started it was killed), it is ours; when it is another program that got its number
 * since (after a power cut), the file would keep PostgreSQL from starting. */
static void settle_pid_file(const struct home *home)
{
    char *path = mlq_fs_join(home->pg_data, "postmaster.pid");
    char *data = NULL;
    char cwd[64];
    struct stat its;
    struct stat ours;
    size_t len = 0;
    int pid = 0;
    if (mlq_fs_read(path, 4096, &data, &len, NULL) == MLQ_OK && sscanf(data, "%d", &pid) == 1 &&
        pid > 1) {
        (void)snprintf(cwd, sizeof cwd, "/proc/%d/cwd", pid);
        bool alive = stat(cwd, &its) == 0 &&
                     stat(home->pg_data, &ours) == 0; /* a server works in its folder */
        if (alive && its.st_dev == ours.st_dev && its.st_ino == ours.st_ino) {
            (void)daemon_adopt(home, "postgres", pid, NULL);
        } else if (alive) {
            (void)unlink(path);
        }
    }
    mlq_free(data);
    mlq_free(path);
}

static int start_server(const struct home *home, struct mlq_err *err)
{
    char *postgres = pg_program(home, "postgres", err);
    if (postgres == NULL) {
        return err->code;
    }
    const char *argv[] = {PG_AS_SERVER_USER, postgres, "-D", home->pg_data, NULL};
    int rc = daemon_start(home, "postgres", pg_as_server_user(argv), err);
    mlq_free(postgres);
    return rc;
}

int pg_start(const struct home *home, struct mlq_err *err)
{
    int64_t deadline = mlq_clock_boot_ns() + ORPHANS_TIMEOUT_MS * MLQ_NS_PER_MS;
    int rc = MLQ_EAGAIN;
    while (rc == MLQ_EAGAIN) {
        long from = daemon_log_bytes(home, "postgres");
        if (daemon_pid(home, "postgres") == 0) {
            settle_pid_file(home);
        }
        rc = daemon_pid(home, "postgres") == 0 ? start_server(home, err) : MLQ_OK;
        if (rc == MLQ_OK) {
            rc = wait_until_ready(home, from, err);
        }
        if (rc == MLQ_EAGAIN && mlq_clock_boot_ns() > deadline) {
            return rc;
        }
        if (rc == MLQ_EAGAIN) {
            (void)poll(NULL, 0, 200);
        }
    }
    return rc;
}

void pg_stop(const struct home *home)
{
    (void)daemon_stop(home, "postgres", SIGINT,
                      STOP_TIMEOUT_MS); /* "fast": ends sessions, writes a checkpoint */
}

char *pg_conninfo(const struct home *home)
{
    return mlq_format("host=%s port=5432 user=mlq dbname=postgres", home->pg_socket_dir);
}
