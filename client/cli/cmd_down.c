/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * mlq down: stops the cluster of a home, from the workers to the database, and leaves nothing
 * running. Data stays; --purge removes them too.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "client/cli/cmd.h"
#include "client/cli/daemon.h"
#include "client/cli/home.h"
#include "client/cli/pg.h"
#include "lib/sys/fs.h"
#include "lib/sys/mem.h"

#define WORKER_TIMEOUT_MS    75000 /* tasks have 60 s of grace */
#define SCHEDULER_TIMEOUT_MS 20000

const char cmd_down_help[] =
    "usage: mlq down [--home DIR] [--purge] [-y]\n"
    "\n"
    "Stops the cluster that `mlq up` started: workers (their tasks get SIGTERM and 10 seconds), "
    "scheduler,\n"
    "PostgreSQL. What was running counts as lost with its machine (cause node): by default it is "
    "queued again, and\n"
    "runs after the next `mlq up`, from its checkpoint if it made one.\n"
    "\n"
    "  --home DIR  which cluster (default: $MLQ_HOME, else ~/.local/state/mlq)\n"
    "  --purge     also remove its data: every job, model and log\n"
    "  -y          do not ask\n";

static void stop_all(const struct home *home)
{
    for (int i = 1; i <= home->workers; i++) { /* all at once, so that their graces overlap */
        char name[16];
        (void)snprintf(name, sizeof name, "w%d", i);
        pid_t pid = daemon_pid(home, name);
        if (pid != 0) {
            (void)kill(pid, SIGQUIT);
        }
    }
    for (int i = 1; i <= home->workers; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "w%d", i);
        (void)daemon_wait_gone(home, name, WORKER_TIMEOUT_MS);
        (void)daemon_stop(home, name, SIGKILL, 1000);
    }
    if (daemon_stop(home, "scheduler", SIGTERM, SCHEDULER_TIMEOUT_MS)) {
        fputs("  the scheduler did not stop in time and was killed; its record is intact\n",
              stderr);
    }
    pg_stop(home);
}

static int purge(const struct home *home)
{
    struct mlq_err err = MLQ_ERR_INIT;
    int rc = mlq_fs_remove_tree(home->pg_data, &err);
    if (rc == MLQ_OK) {
        rc = mlq_fs_remove_tree(home->pg_socket_dir, &err);
    }
    if (rc == MLQ_OK) {
        rc = mlq_fs_remove_tree(home->dir, &err);
    }
    if (rc != MLQ_OK) {
        fprintf(stderr, "mlq down: %s\n", err.text);
    }
    return rc;
}

static bool is_sure(const struct home *home)
{
    char answer[16] = "";
    if (!isatty(STDIN_FILENO)) {
        fputs("mlq down: --purge without a terminal needs -y\n", stderr);
        return false;
    }
    fprintf(stderr, "Remove %s with every job, model and log in it? [y/N] ", home->dir);
    return fgets(answer, sizeof answer, stdin) != NULL && (answer[0] == 'y' || answer[0] == 'Y');
}

int cmd_down(int argc, char **argv)
{
    static const struct option options[] = {
        {"home", required_argument, NULL, 'h'},
        {"purge", no_argument, NULL, 'p'},
        {"yes", no_argument, NULL, 'y'},
        {"help", no_argument, NULL, '?' + 1},
        {0},
    };
    const char *home_flag = NULL;
    bool wants_purge = false;
    bool sure = false;
    int code;
    while ((code = getopt_long(argc, argv, "y", options, NULL)) != -1) {
        if (code == '?' + 1) {
            fputs(cmd_down_help, stdout);
            return CMD_OK;
        }
        if (code == '?') {
            return CMD_USAGE;
        }
        home_flag = code == 'h' ? optarg : home_flag;
        wants_purge = wants_purge || code == 'p';
        sure = sure || code == 'y';
    }
    char *dir = home_path(home_flag);
    struct home home = {0};
    struct mlq_err err = MLQ_ERR_INIT;
    int rc = home_load(dir, &home, &err);
    mlq_free(dir);
    if (rc != MLQ_OK) {
        fprintf(stderr, "mlq down: %s\n", err.text);
        return rc == MLQ_ENOENT ? CMD_NOT_FOUND : CMD_REFUSED;
    }
    if (wants_purge && !sure && !is_sure(&home)) {
        home_clear(&home);
        return CMD_REFUSED;
    }
    char *lock_path = home_file(&home, "lock");
    int lock = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    mlq_free(lock_path);
    if (lock >= 0) {
        (void)flock(lock, LOCK_EX);
    }
    fprintf(stderr, "mlq down: %s\n", home.dir);
    stop_all(&home);
    rc = wants_purge ? purge(&home) : MLQ_OK;
    if (lock >= 0) {
        close(lock);
    }
    fputs(rc == MLQ_OK ? "mlq is down.\n" : "mlq is down, but its data could not be removed.\n",
          stderr);
    home_clear(&home);
    return rc == MLQ_OK ? CMD_OK : CMD_REFUSED;
}
