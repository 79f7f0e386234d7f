/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "client/cli/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/sys/clock.h"
#include "lib/sys/fs.h"
#include "lib/sys/mem.h"

#define TAIL_BYTES 600
#define POLL_MS    20

extern char **environ;

/* Field 22 of /proc/PID/stat: ticks since boot at which the process began; 0 when it is gone or a
 * zombie. */
static unsigned long long start_time(pid_t pid)
{
    char path[64];
    char *data = NULL;
    size_t len = 0;
    unsigned long long ticks = 0;
    (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    if (mlq_fs_read(path, 4096, &data, &len, NULL) != MLQ_OK) {
        return 0;
    }
    const char *at = strrchr(data, ')'); /* the command's name may hold anything */
    char state = '?';
    if (at == NULL ||
        sscanf(at + 1,
               " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu",
               &state, &ticks) != 2 ||
        state == 'Z') {
        ticks = 0;
    }
    mlq_free(data);
    return ticks;
}

char *daemon_bin_dir(void)
{
    char path[4096];
    ssize_t len = readlink("/proc/self/exe", path, sizeof path - 1);
    path[len < 0 ? 0 : len] = '\0';
    char *slash = strrchr(path, '/');
    if (slash != NULL) {
        *slash = '\0';
    }
    return mlq_strdup(path);
}

static char *pid_path(const struct home *home, const char *name)
{
    return mlq_format("%s/pids/%s", home->dir, name);
}

pid_t daemon_pid(const struct home *home, const char *name)
{
    char *path = pid_path(home, name);
    char *data = NULL;
    size_t len = 0;
    int pid = 0;
    unsigned long long ticks = 0;
    if (mlq_fs_read(path, 256, &data, &len, NULL) == MLQ_OK &&
        (sscanf(data, "%d %llu", &pid, &ticks) != 2 || pid <= 1 || ticks == 0 ||
         start_time(pid) != ticks)) {
        pid = 0;
    }
    mlq_free(data);
    mlq_free(path);
    return pid;
}

static int spawn_error(const char *program, int code, struct mlq_err *err)
{
    return mlq_fail(err, code == ENOENT ? MLQ_ENOENT : MLQ_EIO, "start %s: %s", program,
                    strerror(code));
}

/* posix_spawn with output to the log; *pid is the child. */
static int spawn(const struct home *home, const char *name, const char *const *argv, bool detached,
                 pid_t *pid, struct mlq_err *err)
{
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    char *log = mlq_format("%s/logs/%s.log", home->dir, name);
    sigset_t none;
    sigset_t usual;
    (void)sigemptyset(&none);
    (void)sigfillset(&usual);
    (void)posix_spawn_file_actions_init(&files);
    (void)posix_spawnattr_init(&attributes);
    (void)posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    (void)posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, log,
                                           O_WRONLY | O_CREAT | O_APPEND, 0644);
    (void)posix_spawn_file_actions_adddup2(&files, STDOUT_FILENO, STDERR_FILENO);
    (void)posix_spawn_file_actions_addchdir_np(&files, "/");
    (void)posix_spawn_file_actions_addclosefrom_np(&files, 3);
    (void)posix_spawnattr_setsigmask(&attributes, &none);
    (void)posix_spawnattr_setsigdefault(&attributes, &usual);
    (void)posix_spawnattr_setflags(&attributes,
                                   (short)(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
                                           (detached ? POSIX_SPAWN_SETSID : 0)));
    int code =
        posix_spawnp(pid, argv[0], &files, &attributes, (char *const *)(uintptr_t)argv, environ);
    (void)posix_spawn_file_actions_destroy(&files);
    (void)posix_spawnattr_destroy(&attributes);
    mlq_free(log);
    return code == 0 ? MLQ_OK : spawn_error(argv[0], code, err);
}

int daemon_adopt(const struct home *home, const char *name, pid_t pid, struct mlq_err *err)
{
    char *path = pid_path(home, name);
    char *text = mlq_format("%d %llu\n", (int)pid, start_time(pid));
    int rc = mlq_fs_write_durable(path, mlq_str_from(text), 0644, err);
    mlq_free(text);
    mlq_free(path);
    return rc;
}

int daemon_start(const struct home *home, const char *name, const char *const *argv,
                 struct mlq_err *err)
{
    pid_t pid;
    int rc = spawn(home, name, argv, true, &pid, err);
    return rc == MLQ_OK ? daemon_adopt(home, name, pid, err) : rc;
}

bool daemon_wait_gone(const struct home *home, const char *name, int timeout_ms)
{
    int64_t deadline = mlq_clock_boot_ns() + timeout_ms * MLQ_NS_PER_MS;
    for (;;) {
        pid_t pid = daemon_pid(home, name);
        if (pid == 0) {
            return true;
        }
        (void)waitpid(pid, NULL, WNOHANG); /* when it is our own child */
        if (mlq_clock_boot_ns() > deadline) {
            return false;
        }
        (void)poll(NULL, 0, POLL_MS);
    }
}

bool daemon_stop(const struct home *home, const char *name, int number, int timeout_ms)
{
    pid_t pid = daemon_pid(home, name);
    bool killed = false;
    if (pid != 0) {
        (void)kill(pid, number);
        if (!daemon_wait_gone(home, name, timeout_ms)) {
            (void)kill(pid, SIGKILL);
            (void)daemon_wait_gone(home, name, 5000);
            killed = true;
        }
    }
    char *path = pid_path(home, name);
    (void)unlink(path);
    mlq_free(path);
    return killed;
}

long daemon_log_bytes(const struct home *home, const char *name)
{
    struct stat status;
    char *path = mlq_format("%s/logs/%s.log", home->dir, name);
    long bytes = stat(path, &status) == 0 ? (long)status.st_size : 0;
    mlq_free(path);
    return bytes;
}

char *daemon_log_tail(const struct home *home, const char *name, long from)
{
    char *path = mlq_format("%s/logs/%s.log", home->dir, name);
    char text[TAIL_BYTES + 1] = "";
    bool is_cut = false;
    FILE *file = fopen(path, "re");
    if (file != NULL) {
        (void)fseek(file, 0, SEEK_END);
        long start = ftell(file) - TAIL_BYTES;
        is_cut = start > from;
        (void)fseek(file, is_cut ? start : from, SEEK_SET);
        size_t got = fread(text, 1, TAIL_BYTES, file);
        text[got] = '\0';
        fclose(file);
    }
    mlq_free(path);
    const char *line = is_cut ? strchr(text, '\n') : NULL; /* begin with a whole line */
    return mlq_strdup(line == NULL ? text : line + 1);
}

int daemon_run(const struct home *home, const char *name, const char *const *argv,
               struct mlq_err *err)
{
    pid_t pid;
    int status = 0;
    long before = daemon_log_bytes(home, name);
    int rc = spawn(home, name, argv, false, &pid, err);
    if (rc != MLQ_OK) {
        return rc;
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
        return MLQ_OK;
    }
    char *tail = daemon_log_tail(home, name, before);
    rc = mlq_fail(err, MLQ_EIO, "%s failed:\n%s", name, tail);
    mlq_free(tail);
    return rc;
}
