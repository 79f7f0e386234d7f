/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The verbs. Each lies in a file of its own, cmd_<verb>.c, gets the arguments from its own name on, and
 * returns the exit code of the program.
 */
#ifndef MLQ_CLI_CMD_H
#define MLQ_CLI_CMD_H

/* Exit codes (README, "Exit codes"). */
enum cmd_exit {
    CMD_OK = 0,
    CMD_JOB_FAILED = 1,
    CMD_USAGE = 2,
    CMD_NOT_FOUND = 3,
    CMD_REFUSED = 4,
    CMD_INVALID = 5,
    CMD_UNREACHABLE = 6,
    CMD_UNKNOWN = 7,
    CMD_TIMEOUT = 124,
    CMD_INTERRUPTED = 130,
};

int cmd_up(int argc, char **argv);
int cmd_down(int argc, char **argv);

#endif
