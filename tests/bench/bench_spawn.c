/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The machine's own limit of process tasks: LOOPS processes each start and reap a program, again and
 * again, with nothing around it.
 *     bench_spawn PROGRAM LOOPS SECONDS
 */
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/sys/clock.h"

static long loop(const char *program, int64_t end_ns)
{
    char *argv[] = {(char *)(uintptr_t)program, NULL};
    long count = 0;
    while (mlq_clock_boot_ns() < end_ns) {
        pid_t pid;
        int status = 0;
        if (posix_spawn(&pid, program, NULL, NULL, argv, environ) != 0 ||
            waitpid(pid, &status, 0) != pid || status != 0) {
            return -1;
        }
        count++;
    }
    return count;
}

int main(int argc, char **argv)
{
    long loops = argc == 4 ? strtol(argv[2], NULL, 10) : 0;
    long seconds = argc == 4 ? strtol(argv[3], NULL, 10) : 0;
    int pipes[2];
    if (loops < 1 || seconds < 1 || pipe(pipes) != 0) {
        (void)fputs("usage: bench_spawn PROGRAM LOOPS SECONDS\n", stderr);
        return 2;
    }
    int64_t end_ns = mlq_clock_boot_ns() + seconds * MLQ_NS_PER_S;
    for (long i = 0; i < loops; i++) {
        if (fork() == 0) {
            long count = loop(argv[1], end_ns);
            _exit(write(pipes[1], &count, sizeof count) == (ssize_t)sizeof count ? 0 : 1);
        }
    }
    long total = 0;
    for (long i = 0; i < loops; i++) {
        long count = -1;
        if (read(pipes[0], &count, sizeof count) != (ssize_t)sizeof count || count < 0) {
            (void)fprintf(stderr, "bench_spawn: %s does not run\n", argv[1]);
            return 1;
        }
        total += count;
    }
    while (wait(NULL) > 0) {
    }
    printf("tasks_per_s=%.0f\n", (double)total / (double)seconds);
    return 0;
}
