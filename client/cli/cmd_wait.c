/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "client/cli/cmd.h"
#include "client/cli/follow.h"
#include "client/cli/session.h"

const char cmd_wait_help[] =
    "  mlq wait 12                     until it has ended; exit code 1 when it failed\n"
    "  mlq wait last --follow          with a bar per stage and a summary\n"
    "  mlq wait 12-40 --timeout 1h     exit code 124 when the time is over; the jobs go on\n"
    "\n"
    "usage: mlq wait JOB... [--follow] [--timeout DURATION] [--json] [-q]\n"
    "\n"
    "Prints the id of each job and how it ended. A scheduler that restarts meanwhile does not end "
    "the wait.\n"
    "\n"
    "  --follow, -f        bars on stderr, then a summary\n"
    "  --timeout DURATION  90s, 10m, 1h30m\n"
    "  --json              what `mlq show` prints, once each has ended\n"
    "  -q, --quiet         nothing on stdout: only the exit code\n";

int cmd_wait(int argc, char **argv)
{
    struct session session = {.verb = "wait"};
    struct follow_options options = {.prints = true, .timeout_ns = -1};
    const struct args_option own[] = {
        {.name = "follow", .letter = 'f', .kind = ARGS_FLAG, .value = &options.shows},
        {.name = "timeout", .kind = ARGS_DURATION, .value = &options.timeout_ns},
        {0},
    };
    uint64_t *jobs;
    size_t count;
    int code = session_parse(&session, own, argc, argv);
    if (code != CMD_OK) {
        return code;
    }
    options.has_timeout = options.timeout_ns >= 0;
    options.prints = !options.shows || session.json;
    code = session_open(&session);
    if (code == CMD_OK) {
        code = session_jobs(&session, 0, &jobs, &count);
    }
    if (code == CMD_OK) {
        code = session_finish(&session, follow_jobs(&session, jobs, count, &options));
    }
    session_close(&session);
    return code;
}
