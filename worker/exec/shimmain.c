/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * mlq-shim DIR: runs a task. mlq-shim --nursery ATTEMPTS ROOM: becomes shims (shimfork.h).
 */
#include <stdio.h>
#include <string.h>

#include "lib/sys/mem.h"
#include "worker/exec/shim.h"
#include "worker/exec/shimfork.h"

static int usage(FILE *to, int status)
{
    (void)fputs("usage: mlq-shim DIR\nRuns the task of an attempt's folder. mlq-worker starts it.\n",
                to);
    return status;
}

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], SHIMFORK_FLAG) == 0) {
        char *attempts = mlq_strdup(argv[2]); /* a title is written over it */
        const struct shim_title title = {.text = argv[0],
                                         .room = (size_t)(argv[3] - argv[0]) + strlen(argv[3]) + 1,
                                         .attempts = attempts};
        int status = shimfork_serve(&title);
        mlq_free(attempts);
        return status;
    }
    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        return usage(stdout, 0);
    }
    return argc == 2 && argv[1][0] != '-' ? shim_run(argv[1]) : usage(stderr, 2);
}
