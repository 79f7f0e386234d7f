/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include <jansson.h>
#include <stdio.h>

#include "client/cli/cmd.h"
#include "client/cli/eachjob.h"

const char cmd_checkpoint_help[] =
    "  mlq checkpoint last\n"
    "  mlq checkpoint 12 --stage train\n"
    "\n"
    "usage: mlq checkpoint JOB... [--stage NAME]\n"
    "\n"
    "Asks what runs of a job to save its state and go on: each process that has a handler for "
    "SIGUSR1 gets\n"
    "that signal. Others are left alone, and the task's log says so. train.native saves by itself, "
    "too.\n"
    "\n"
    "  --stage NAME  only this stage\n";

/* What the scheduler answered, for people. */
static void print(const struct session *session, const char *id, struct mlq_str json)
{
    json_t *document = json_loadb(json.ptr, json.len, 0, NULL);
    json_int_t asked = json_integer_value(json_object_get(document, "asked"));
    if (session->json) {
        printf("%.*s\n", MLQ_STR_ARG(json));
    } else if (session->quiet) {
        printf("%s\n", id);
    } else if (asked == 0) {
        printf("job %s: nothing of it runs at this moment\n", id);
    } else {
        printf("job %s: asked %lld running %s to save\n", id, (long long)asked,
               asked == 1 ? "process" : "processes");
    }
    json_decref(document);
}

static int ask(struct session *session, const void *context, uint64_t job, struct mlq_str *answer,
               struct mlq_err *err)
{
    const char *const *stage = context;
    return mlq_client_checkpoint(session->client, job, mlq_str_from(*stage), session->region,
                                 answer, err);
}

int cmd_checkpoint(int argc, char **argv)
{
    const char *stage = "";
    const struct args_option own[] = {
        {.name = "stage", .kind = ARGS_TEXT, .value = &stage},
        {0},
    };
    const struct eachjob verb = {
        .verb = "checkpoint", .own = own, .context = &stage, .ask = ask, .print = print};
    return eachjob_run(&verb, argc, argv);
}
