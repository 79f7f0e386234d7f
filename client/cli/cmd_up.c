/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * mlq up: a whole cluster on this machine, and again whatever of it does not run. Each step is
 * idempotent and done under the home's lock, so two of them, or one after a power cut, do no harm.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "client/cli/cmd.h"
#include "client/cli/daemon.h"
#include "client/cli/doctor.h"
#include "client/cli/home.h"
#include "client/cli/pg.h"
#include "client/cli/port.h"
#include "lib/net/net.h"
#include "lib/sys/clock.h"
#include "lib/sys/fs.h"
#include "lib/sys/mem.h"
#include "lib/sys/region.h"

#define WORKERS_MAX      64
#define DISK_LEAST_BYTES (UINT64_C(64) << 20) /* a fresh PostgreSQL takes about 40 MiB */
#define SERVE_TIMEOUT_MS 60000
#define WORKER_STOP_MS   10000

const char cmd_up_help[] =
    "  mlq up                      a cluster with two workers in ~/.local/state/mlq\n"
    "  mlq up --home ./c --workers 4 --cpus 2\n"
    "  mlq up --check              only tell, as mlq doctor does; exit code 6 when something of it does not run\n"
    "\n"
    "usage: mlq up [--home DIR] [--workers N] [--cpus N] [--memory SIZE] [--check]\n"
    "\n"
    "Starts a private PostgreSQL, a scheduler and workers, all on loopback with keys made on the "
    "spot.\n"
    "Run it again at any time: what runs is left alone, what does not is started.\n"
    "\n"
    "  --home DIR     where the cluster lives (default: $MLQ_HOME, else ~/.local/state/mlq)\n"
    "  --workers N    how many (default: 2); more may be added later\n"
    "  --cpus N       that each worker offers (default: this machine's, shared evenly, at least "
    "1)\n"
    "  --memory SIZE  that each worker offers, like 4Gi (default: half of this machine's, shared "
    "evenly)\n"
    "  --check        start nothing; exit code 4 when all of it runs and something is wrong with it\n"
    "\n"
    "The GPUs of this machine are offered by the first worker, w1.\n"
    "What --workers, --cpus and --memory said is kept for the next time. More machines: see "
    "README.md.\n";

struct up {
    struct home home;
    const char *home_flag;
    int workers;
    bool only_checks;
    long log_from; /* the scheduler's log, from its last start on */
    const char *cpus;
    const char *memory;
    char *bin_dir;
    int lock;
};

static void step(const char *what)
{
    fprintf(stderr, "  %s\n", what);
}

/* "scheduler: starting", or that it runs already. */
static void step_of(const struct up *up, const char *name)
{
    fprintf(stderr, "  %-10s %s\n", name, daemon_pid(&up->home, name) != 0 ? "runs" : "starting");
}

/* ---- Layout and keys ---- */

static int make_dir(const struct home *home, const char *name, mode_t mode, struct mlq_err *err)
{
    char *path = home_file(home, name);
    int rc = mlq_fs_make_dirs(path, mode, err);
    mlq_free(path);
    return rc;
}

static int make_layout(struct up *up, struct mlq_err *err)
{
    static const struct {
        const char *name;
        mode_t mode;
    } dirs[] = {{"keys", 0700}, {"store", 0755}, {"logs", 0755}, {"pids", 0755}};
    int rc = mlq_fs_make_dirs(up->home.dir, 0755, err);
    for (size_t i = 0; rc == MLQ_OK && i < sizeof dirs / sizeof dirs[0]; i++) {
        rc = make_dir(&up->home, dirs[i].name, dirs[i].mode, err);
    }
    return rc == MLQ_OK ? rc : mlq_wrap(err, rc, "set up %s", up->home.dir);
}

static int lock_home(struct up *up, struct mlq_err *err)
{
    char *path = home_file(&up->home, "lock");
    up->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    int rc = up->lock < 0 ? mlq_fail(err, MLQ_EIO, "open %s: %s", path, strerror(errno)) : MLQ_OK;
    if (rc == MLQ_OK && flock(up->lock, LOCK_EX | LOCK_NB) != 0) {
        step("another mlq up or down is at work here: waiting for it");
        if (flock(up->lock, LOCK_EX) != 0) {
            rc = mlq_fail(err, MLQ_EIO, "lock %s: %s", path, strerror(errno));
        }
    }
    mlq_free(path);
    return rc;
}

/* Makes the pair when there is none. */
static int ensure_key(const struct home *home, const char *name, struct net_keypair *pair,
                      struct mlq_err *err)
{
    char *path = mlq_format("%s/keys/%s.key", home->dir, name);
    int rc = MLQ_OK;
    if (mlq_fs_exists(path)) {
        rc = net_keys_load(path, pair, err);
    } else {
        rc = net_keys_generate(pair, err);
        if (rc == MLQ_OK) {
            rc = net_keys_save(path, pair, err);
        }
    }
    mlq_free(path);
    return rc;
}

static int enroll(const struct home *home, enum net_role role, const char *name,
                  struct mlq_err *err)
{
    struct net_keypair pair;
    int rc = ensure_key(home, name, &pair, err);
    if (rc == MLQ_OK) {
        char *path = home_file(home, "keys/enrolled");
        rc = net_keys_enroll(path, role, name, pair.public_key, err);
        mlq_free(path);
    }
    return rc;
}

static int ensure_keys(struct up *up, struct mlq_err *err)
{
    struct net_keypair server;
    int rc = ensure_key(&up->home, "server", &server, err);
    if (rc == MLQ_OK) {
        mlq_free(up->home.server_key);
        up->home.server_key = mlq_strdup(server.public_key);
        rc = enroll(&up->home, NET_ROLE_CLIENT, "client", err);
    }
    for (int i = 1; rc == MLQ_OK && i <= up->workers; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "w%d", i);
        rc = enroll(&up->home, NET_ROLE_WORKER, name, err);
    }
    return rc;
}

/* The port is kept in cluster.json, so that workers find a restarted scheduler again. When somebody
 * else took it meanwhile, another one is chosen and the workers are started anew (their tasks go
 * on). */
static int choose_endpoint(struct up *up, struct mlq_err *err)
{
    if (up->home.endpoint != NULL) {
        uint16_t port = port_of(up->home.endpoint);
        if (daemon_pid(&up->home, "scheduler") != 0 || port == 0 || port_is_free(port)) {
            return MLQ_OK;
        }
        fprintf(stderr, "  port %u is taken by another program: choosing another\n", port);
        for (int i = 1; i <= up->home.workers; i++) {
            char name[16];
            (void)snprintf(name, sizeof name, "w%d", i);
            (void)daemon_stop(&up->home, name, SIGTERM, WORKER_STOP_MS);
        }
    }
    int found = port_try(0);
    if (found < 0) {
        return mlq_fail(err, MLQ_EIO, "find a free port on 127.0.0.1: %s", strerror(errno));
    }
    mlq_free(up->home.endpoint);
    up->home.endpoint = mlq_format("tcp://127.0.0.1:%d", found);
    return MLQ_OK;
}

/* ---- Processes ---- */

static char *program(const struct up *up, const char *name)
{
    return mlq_fs_join(up->bin_dir, name);
}

static char *find_migrations(const struct up *up)
{
    char *installed = mlq_fs_join(up->bin_dir, "../share/mlq/migrations");
    if (mlq_fs_exists(installed)) {
        return installed;
    }
    mlq_free(installed);
    return mlq_strdup(MLQ_SOURCE_MIGRATIONS);
}

static int start_scheduler(struct up *up, struct mlq_err *err)
{
    up->log_from = daemon_log_bytes(&up->home, "scheduler"); /* what it refused before is of no account now */
    if (daemon_pid(&up->home, "scheduler") != 0) {
        return MLQ_OK;
    }
    char *path = program(up, "mlq-scheduler");
    char *key = home_file(&up->home, "keys/server.key");
    char *enrolled = home_file(&up->home, "keys/enrolled");
    char *serving = home_file(&up->home, "serving");
    char *conninfo = pg_conninfo(&up->home);
    char *migrations = find_migrations(up);
    const char *argv[] = {path,     "--listen",     up->home.endpoint, "--key",
                          key,      "--enrolled",   enrolled,          "--database",
                          conninfo, "--migrations", migrations,        "--endpoint-file",
                          serving,  "--cluster",    up->home.cluster,  NULL};
    (void)unlink(serving); /* of a scheduler that was killed */
    int rc = daemon_start(&up->home, "scheduler", argv, err);
    mlq_free(migrations);
    mlq_free(conninfo);
    mlq_free(serving);
    mlq_free(enrolled);
    mlq_free(key);
    mlq_free(path);
    return rc;
}

static int wait_for_serving(struct up *up, struct mlq_err *err)
{
    char *serving = home_file(&up->home, "serving");
    int64_t deadline = mlq_clock_boot_ns() + SERVE_TIMEOUT_MS * MLQ_NS_PER_MS;
    int rc = MLQ_OK;
    while (rc == MLQ_OK && !mlq_fs_exists(serving)) {
        bool gone = daemon_wait_gone(&up->home, "scheduler", 0);
        char *tail = daemon_log_tail(&up->home, "scheduler", up->log_from);
        /* A database that it refuses (of another version, say) does not get better by waiting. */
        bool refused = strstr(tail, "leader.refused") != NULL;
        if (gone || refused || mlq_clock_boot_ns() > deadline) {
            rc = mlq_fail(err, MLQ_ECONN,
                          "the scheduler %s; its log (%s/logs/scheduler.log) ends with:\n%s",
                          gone ? "stopped at once" : "does not serve", up->home.dir, tail);
        } else {
            (void)poll(NULL, 0, 10);
        }
        mlq_free(tail);
    }
    mlq_free(serving);
    return rc;
}

static int start_worker(struct up *up, int number, struct mlq_err *err)
{
    char name[16];
    char ports[32];
    (void)snprintf(name, sizeof name, "w%d", number);
    step_of(up, name);
    if (daemon_pid(&up->home, name) != 0) {
        return MLQ_OK;
    }
    /* Below the kernel's ephemeral range, apart for each worker, and spread over homes. */
    unsigned first = 10000 + (unsigned)(number - 1) * 200 + ((unsigned)getpid() % 40) * 100;
    (void)snprintf(ports, sizeof ports, "%u-%u", first, first + 199);
    char *path = program(up, "mlq-worker");
    char *key = mlq_format("%s/keys/%s.key", up->home.dir, name);
    const char *argv[24] = {path,
                            "--name",
                            name,
                            "--home",
                            up->home.dir, /* it makes a folder of its name there */
                            "--endpoint",
                            up->home.endpoint,
                            "--server-key",
                            up->home.server_key,
                            "--key",
                            key,
                            "--store",
                            up->home.store,
                            "--ports",
                            ports,
                            "--cpus",
                            up->home.worker_cpus,
                            "--memory",
                            up->home.worker_memory,
                            "--gpus",
                            /* Each GPU is offered once, so by one of the workers of this machine. */
                            number == 1 ? "auto" : "none",
                            NULL};
    int rc = daemon_start(&up->home, name, argv, err);
    mlq_free(key);
    mlq_free(path);
    return rc;
}

/* How many workers the scheduler knows, or -1. */
static int workers_up(struct net_caller *caller)
{
    struct mlq_region *region = mlq_region_create();
    struct msg_request request = {.op = MSG_OP_STATUS};
    struct msg_reply reply;
    int count = -1;
    if (net_caller_call(caller, &request, 5 * MLQ_NS_PER_S, region, &reply, NULL) == MLQ_OK &&
        reply.code == MLQ_OK) {
        const char *at = strstr(mlq_region_strndup(region, reply.blob), "\"workers\":");
        count = at == NULL ? -1 : (int)strtol(at + strlen("\"workers\":"), NULL, 10);
    }
    mlq_region_destroy(&region);
    return count;
}

static int wait_for_workers(struct up *up, struct mlq_err *err)
{
    struct net_keypair keys;
    struct net_caller *caller = NULL;
    char *path = home_file(&up->home, "keys/client.key");
    int rc = net_keys_load(path, &keys, err);
    mlq_free(path);
    if (rc == MLQ_OK) {
        struct net_peer_options options = {
            .endpoint = up->home.endpoint, .server_public_key = up->home.server_key, .keys = &keys};
        rc = net_caller_open(&options, &caller, err);
    }
    int64_t deadline = mlq_clock_boot_ns() + SERVE_TIMEOUT_MS * MLQ_NS_PER_MS;
    while (rc == MLQ_OK && workers_up(caller) < up->workers) {
        if (mlq_clock_boot_ns() > deadline) {
            char *tail = daemon_log_tail(&up->home, "w1", 0);
            rc = mlq_fail(err, MLQ_ETIMEOUT,
                          "the workers did not report; the log of w1 ends with:\n%s", tail);
            mlq_free(tail);
        }
        (void)poll(NULL, 0, 10);
    }
    net_caller_close(&caller);
    return rc;
}

/* ---- The verb ---- */

static char *share(long total, int workers, long least, const char *unit)
{
    long each = total / workers;
    return mlq_format("%ld%s", each < least ? least : each, unit);
}

/* What the flag says, else what it was, else this machine's divided among the workers. */
static void choose_sizes(struct up *up)
{
    struct home *home = &up->home;
    if (up->cpus != NULL || home->worker_cpus == NULL) {
        mlq_free(home->worker_cpus);
        home->worker_cpus = up->cpus != NULL ? mlq_strdup(up->cpus)
                                             : share(sysconf(_SC_NPROCESSORS_ONLN), up->workers, 1, "");
    }
    if (up->memory != NULL || home->worker_memory == NULL) {
        long half_mib = sysconf(_SC_PHYS_PAGES) / 2 / 256 * (sysconf(_SC_PAGESIZE) / 4096);
        mlq_free(home->worker_memory);
        home->worker_memory = up->memory != NULL ? mlq_strdup(up->memory) : share(half_mib, up->workers, 512, "Mi");
    }
}

static int bring_up(struct up *up, struct mlq_err *err)
{
    int rc = make_layout(up, err);
    if (rc == MLQ_OK) {
        rc = lock_home(up, err);
    }
    struct home saved;
    if (rc == MLQ_OK && home_load(up->home.dir, &saved, NULL) == MLQ_OK) {
        home_clear(&up->home);
        up->home = saved;
    }
    if (rc == MLQ_OK) {
        pg_choose_place(&up->home);
        up->home.workers = up->workers > up->home.workers ? up->workers : up->home.workers;
        up->workers = up->home.workers;
        choose_sizes(up);
        rc = ensure_keys(up, err);
    }
    if (rc == MLQ_OK) {
        rc = choose_endpoint(up, err);
    }
    if (rc == MLQ_OK) {
        rc = home_save(&up->home, err);
    }
    if (rc == MLQ_OK) {
        step_of(up, "postgres");
        rc = pg_init(&up->home, err);
    }
    if (rc == MLQ_OK) {
        rc = pg_start(&up->home, err);
    }
    if (rc == MLQ_OK) {
        step_of(up, "scheduler");
        rc = start_scheduler(up, err);
    }
    if (rc == MLQ_OK) {
        rc = wait_for_serving(up, err);
    }
    for (int i = 1; rc == MLQ_OK && i <= up->workers; i++) {
        rc = start_worker(up, i, err);
    }
    return rc == MLQ_OK ? wait_for_workers(up, err) : rc;
}

static int parse(int argc, char **argv, struct up *up)
{
    static const struct option options[] = {
        {"home", required_argument, NULL, 'h'},
        {"workers", required_argument, NULL, 'w'},
        {"cpus", required_argument, NULL, 'c'},
        {"memory", required_argument, NULL, 'm'},
        {"check", no_argument, NULL, 'k'},
        {"help", no_argument, NULL, '?' + 1},
        {0},
    };
    int code;
    while ((code = getopt_long(argc, argv, "", options, NULL)) != -1) {
        uint64_t number;
        if (code == '?' + 1) {
            fputs(cmd_up_help, stdout);
            return 1;
        }
        if (code == 'k') {
            up->only_checks = true;
        } else if (code == 'h') {
            up->home_flag = optarg;
        } else if (code == 'c') {
            up->cpus = optarg;
        } else if (code == 'm') {
            up->memory = optarg;
        } else if (code == 'w' && mlq_str_u64(mlq_str_from(optarg), &number) && number >= 1 &&
                   number <= WORKERS_MAX) {
            up->workers = (int)number;
        } else {
            fprintf(stderr, "mlq up: wrong usage%s (see mlq up --help)\n",
                    code == 'w' ? ": --workers takes a number from 1 to 64" : "");
            return 1 + CMD_USAGE;
        }
    }
    return 0;
}

/* What `mlq doctor` tells of this machine and this home. */
static int check(const struct up *up)
{
    struct home home = {0};
    struct mlq_err err = MLQ_ERR_INIT;
    struct doctor doctor = {.region = mlq_region_create(), .bin_dir = up->bin_dir};
    int rc = home_load(up->home.dir, &home, &err);
    doctor_programs(&doctor);
    bool runs = doctor_home(&doctor, up->home.dir, rc == MLQ_OK ? &home : NULL);
    if (rc == MLQ_OK) {
        doctor_database(&doctor, &home);
    } else if (rc != MLQ_ENOENT) {
        doctor_add(&doctor, DOCTOR_WRONG, "cluster.json", NULL, "%s", err.text);
    }
    doctor_machine(&doctor);
    doctor_print(&doctor, true);
    bool wrong = doctor_count(&doctor, DOCTOR_WRONG) > 0;
    mlq_region_destroy(&doctor.region);
    home_clear(&home);
    return !runs ? CMD_UNREACHABLE : wrong ? CMD_REFUSED : CMD_OK;
}

static int report(const struct up *up, int rc, const struct mlq_err *err)
{
    if (rc == MLQ_OK) {
        fprintf(stderr, "mlq is up at %s with %d workers.\n", up->home.endpoint, up->workers);
        return CMD_OK;
    }
    fprintf(stderr, "mlq up: %s\n", err->text);
    struct statvfs disk;
    if (statvfs(up->home.dir, &disk) == 0 &&
        (uint64_t)disk.f_bavail * disk.f_frsize < DISK_LEAST_BYTES) {
        fprintf(stderr, "  the disk of %s is full: make room and run it again\n", up->home.dir);
        return CMD_REFUSED;
    }
    return rc == MLQ_ECONN || rc == MLQ_ETIMEOUT ? CMD_UNREACHABLE : CMD_REFUSED;
}

int cmd_up(int argc, char **argv)
{
    struct up up = {.workers = 2, .lock = -1};
    struct mlq_err err = MLQ_ERR_INIT;
    int done = parse(argc, argv, &up);
    if (done != 0) {
        return done - 1;
    }
    up.bin_dir = daemon_bin_dir();
    up.home.dir = home_path(up.home_flag);
    if (up.only_checks) {
        int code = check(&up);
        mlq_free(up.bin_dir);
        home_clear(&up.home);
        return code;
    }
    up.home.cluster = mlq_strdup("mlq");
    up.home.store = home_file(&up.home, "store");
    fprintf(stderr, "mlq up: %s\n", up.home.dir);
    int rc = bring_up(&up, &err);
    int code = report(&up, rc, &err);
    if (up.lock >= 0) {
        close(up.lock);
    }
    mlq_free(up.bin_dir);
    home_clear(&up.home);
    return code;
}
