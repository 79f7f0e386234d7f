/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "client/cli/verbs.h"

#include <string.h>

#include "client/cli/cmd.h"
#include "lib/base/str.h"

const struct verbs_verb verbs_all[] = {
    {"up", "cluster", "start a cluster on this machine, or what of it does not run", cmd_up_help,
     cmd_up},
    {"down", "cluster", "stop it; the record stays", cmd_down_help, cmd_down},
    {"status", "cluster", "is it up, and what does it do", cmd_status_help, cmd_status},
    {"doctor", "cluster", "what is wrong here, and the command that mends it", cmd_doctor_help, cmd_doctor},
    {"nodes", "cluster", "the workers and what they have free", cmd_nodes_help, cmd_nodes},
    {"submit", "jobs", "run a pipeline, or a command", cmd_submit_help, cmd_submit},
    {"wait", "jobs", "until jobs have ended; --follow shows bars", cmd_wait_help, cmd_wait},
    {"cancel", "jobs", "stop jobs", cmd_cancel_help, cmd_cancel},
    {"checkpoint", "jobs", "ask running tasks to save their state", cmd_checkpoint_help,
     cmd_checkpoint},
    {"retry", "jobs", "run what failed of a job again", cmd_retry_help, cmd_retry},
    {"ls", "looking", "jobs, newest first", cmd_ls_help, cmd_ls},
    {"show", "looking", "one job: stages, metrics, artifacts, failures", cmd_show_help, cmd_show},
    {"logs", "looking", "what a task wrote", cmd_logs_help, cmd_logs},
    {"metrics", "looking", "what a job measured", cmd_metrics_help, cmd_metrics},
    {"artifacts", "looking", "list, fetch and store files", cmd_artifacts_help, cmd_artifacts},
    {"explain", "writing", "operators, and a spec with every default", cmd_explain_help,
     cmd_explain},
    {"completion", "other", "for bash, zsh and fish", cmd_completion_help, cmd_completion},
    {"version", "other", "which mlq this is", cmd_version_help, cmd_version},
    {"help", "other", "this, or the help of a verb", cmd_help_help, cmd_help},
};

size_t verbs_count(void)
{
    return sizeof verbs_all / sizeof verbs_all[0];
}

const struct verbs_verb *verbs_find(const char *name)
{
    for (size_t i = 0; i < verbs_count(); i++) {
        if (strcmp(verbs_all[i].name, name) == 0) {
            return &verbs_all[i];
        }
    }
    return NULL;
}

const struct verbs_verb *verbs_nearest(const char *name)
{
    const struct verbs_verb *nearest = NULL;
    size_t least = 3;
    for (size_t i = 0; i < verbs_count(); i++) {
        size_t distance = mlq_str_distance(mlq_str_from(name), mlq_str_from(verbs_all[i].name));
        if (distance < least) {
            least = distance;
            nearest = &verbs_all[i];
        }
    }
    return nearest;
}

void verbs_print_help(FILE *file)
{
    fputs("mlq runs the life of a machine-learning model as durable jobs on a cluster.\n"
          "\n"
          "  mlq up                                        a cluster on this machine\n"
          "  mlq submit pipeline.yaml --follow             run a pipeline and watch it\n"
          "  mlq submit --gpus 1 -- python3 train.py       run a command\n"
          "  mlq ls;  mlq show last;  mlq logs last -f     look\n",
          file);
    const char *group = "";
    for (size_t i = 0; i < verbs_count(); i++) {
        const struct verbs_verb *verb = &verbs_all[i];
        if (strcmp(group, verb->group) != 0) {
            group = verb->group;
            fprintf(file, "\n%s\n", group);
        }
        fprintf(file, "  %-12s%s\n", verb->name, verb->summary);
    }
    fputs("\n"
          "A JOB is an id (12), a range (12-40), last, @name, a label (team=vision) or state=failed.\n"
          "Which cluster: --home DIR or MLQ_HOME; for one elsewhere --endpoint URL --server-key KEY "
          "--key FILE --store DIR, or\n"
          "MLQ_ENDPOINT, MLQ_SERVER_KEY, MLQ_KEY and MLQ_STORE.\n"
          "Output: a table; --json one document, --jsonl lines, -q ids only, --no-header.\n"
          "Exit codes: 0 ok, 1 a job failed, 2 usage, 3 not found, 4 refused, 5 invalid, 6 "
          "unreachable (nothing was sent),\n"
          "7 outcome unknown (safe to repeat), 124 the wait timed out, 130 interrupted.\n"
          "`mlq VERB --help` tells more, examples first.\n",
          file);
}

int verbs_wants_help(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            return 1;
        }
    }
    return 0;
}
