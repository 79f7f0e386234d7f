/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "client/cli/capture.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/sys/mem.h"

#define READ_BYTES 65536

extern char **environ;

static bool start(const char *const *argv, bool errors_too, pid_t *pid, int *output)
{
    posix_spawn_file_actions_t files;
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
        return false;
    }
    (void)posix_spawn_file_actions_init(&files);
    (void)posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    (void)posix_spawn_file_actions_adddup2(&files, ends[1], STDOUT_FILENO);
    if (errors_too) {
        (void)posix_spawn_file_actions_adddup2(&files, ends[1], STDERR_FILENO);
    } else {
        (void)posix_spawn_file_actions_addopen(&files, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    }
    int failed = posix_spawnp(pid, argv[0], &files, NULL, (char *const *)(uintptr_t)argv, environ);
    (void)posix_spawn_file_actions_destroy(&files);
    close(ends[1]);
    *output = ends[0];
    if (failed != 0) {
        close(ends[0]);
    }
    return failed == 0;
}

struct capture capture_run(const char *const *argv, size_t bytes_max, bool errors_too)
{
    struct capture capture = {.text = mlq_strdup(""), .status = -1};
    pid_t pid;
    int output;
    if (!start(argv, errors_too, &pid, &output)) {
        return capture;
    }
    bool more = true;
    while (more && capture.len <= bytes_max) {
        capture.text = mlq_realloc_array(capture.text, capture.len + READ_BYTES + 1, 1);
        ssize_t got = read(output, capture.text + capture.len, READ_BYTES);
        capture.len += got > 0 ? (size_t)got : 0;
        more = got > 0 || (got < 0 && errno == EINTR);
    }
    capture.text[capture.len] = '\0';
    close(output); /* what prints without end is cut, and ended by that */
    int status = 1;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (WIFEXITED(status) && capture.len <= bytes_max) {
        capture.status = WEXITSTATUS(status);
    }
    return capture;
}

void capture_clear(struct capture *capture)
{
    mlq_free_p(&capture->text);
}
