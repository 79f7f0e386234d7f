/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The verbs. Each lies in a file of its own, cmd_<verb>.c, gets the arguments from its own name on,
 * and returns the exit code of the program. main.c prints the help before it is called.
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

int cmd_artifacts(int argc, char **argv);
int cmd_cancel(int argc, char **argv);
int cmd_checkpoint(int argc, char **argv);
int cmd_completion(int argc, char **argv);
int cmd_doctor(int argc, char **argv);
int cmd_down(int argc, char **argv);
int cmd_explain(int argc, char **argv);
int cmd_help(int argc, char **argv);
int cmd_logs(int argc, char **argv);
int cmd_ls(int argc, char **argv);
int cmd_metrics(int argc, char **argv);
int cmd_nodes(int argc, char **argv);
int cmd_retry(int argc, char **argv);
int cmd_show(int argc, char **argv);
int cmd_status(int argc, char **argv);
int cmd_submit(int argc, char **argv);
int cmd_up(int argc, char **argv);
int cmd_version(int argc, char **argv);
int cmd_wait(int argc, char **argv);

extern const char cmd_artifacts_help[];
extern const char cmd_cancel_help[];
extern const char cmd_checkpoint_help[];
extern const char cmd_completion_help[];
extern const char cmd_doctor_help[];
extern const char cmd_down_help[];
extern const char cmd_explain_help[];
extern const char cmd_help_help[];
extern const char cmd_logs_help[];
extern const char cmd_ls_help[];
extern const char cmd_metrics_help[];
extern const char cmd_nodes_help[];
extern const char cmd_retry_help[];
extern const char cmd_show_help[];
extern const char cmd_status_help[];
extern const char cmd_submit_help[];
extern const char cmd_up_help[];
extern const char cmd_version_help[];
extern const char cmd_wait_help[];

#endif
