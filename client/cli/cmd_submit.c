/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * mlq submit: the spec is checked here with its places in the file, its files go into the store,
 * and its canonical form to the scheduler, which checks it again. An idempotency key makes it safe
 * to say it twice, and it is said again when the answer got lost.
 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "client/cli/cmd.h"
#include "client/cli/doc.h"
#include "client/cli/follow.h"
#include "client/cli/session.h"
#include "client/cli/specfile.h"
#include "lib/spec/field.h"

#define TRIES      3
#define LABELS_MAX 64

const char cmd_submit_help[] =
    "  mlq submit pipeline.yaml --follow                 run it and watch it\n"
    "  mlq submit pipeline.yaml --set epochs=50 --wait   exit code 1 when it failed\n"
    "  mlq submit -- python3 train.py --lr 0.1           a command; train.py is taken along\n"
    "  mlq submit --array 100%8 -- ./task.sh             100 tasks ($MLQ_INDEX), 8 at a time\n"
    "  mlq submit --ranks 4 --gpus 1 -- python3 ddp.py   a gang: all start or none does\n"
    "  mlq submit pipeline.yaml --dry-run                check it, print it with every default\n"
    "\n"
    "usage: mlq submit FILE [--set K=V]... [options]\n"
    "       mlq submit [options] -- COMMAND...\n"
    "\n"
    "Prints the job's id. Files that a spec names are relative to it and are stored with the job. "
    "FILE \"-\" is\n"
    "standard input.\n"
    "\n"
    "  --set K=V              a param of the spec\n"
    "  --name NAME, --label K=V, --priority N    over what the spec says\n"
    "  --wait                 until it has ended; --follow also shows bars and a summary\n"
    "  --dry-run              submit nothing\n"
    "  --feasible-only        refuse what is larger than the workers that are connected now\n"
    "  --idempotency-key KEY  saying the same again gives the same job (default: a random one)\n"
    "\n"
    "for a command:\n"
    "  --array N[%P]          N tasks, at most P at a time      --ranks N         processes of a "
    "gang;\n"
    "                                                           MIN..MAX: as many as fit\n"
    "  --cpus N               of each rank: 2, 500m             --memory SIZE     of each rank: "
    "4Gi\n"
    "  --gpus N               of each rank                      --timeout TIME    of each task: "
    "10m\n"
    "  --retry N              tries after a failure             --env K=V         (again and "
    "again)\n"
    "  --max-failures N       of an array, before no more of it is started\n"
    "\n"
    "The tasks of an array are tried one and all; with --max-failures N no more are started once "
    "more "
    "than N\n"
    "have failed for good (0: at the first). `mlq retry JOB` runs those that did not succeed.\n";

struct submit {
    struct session session;
    struct args_list sets;
    struct args_list env;
    struct args_list labels;
    struct spec_command command;
    const char *array;
    const char *key;
    const char *name;
    uint64_t gpus;
    uint64_t retry;
    uint64_t max_failures; /* UINT64_MAX: not said */
    int64_t priority;
    bool wait;
    bool follow;
    bool dry_run;
    bool feasible_only;
    struct specfile file;
};

/* The program's name, as far as it is one. */
static const char *name_of(struct mlq_region *region, const char *program)
{
    const char *slash = strrchr(program, '/');
    char *name = mlq_region_strdup(region, slash == NULL ? program : slash + 1);
    size_t len = 0;
    for (; name[len] != '\0' && len < 63; len++) {
        if (!isalnum((unsigned char)name[len]) && strchr("-_.", name[len]) == NULL) {
            name[len] = '-';
        }
    }
    name[len] = '\0';
    while (len > 0 && !isalnum((unsigned char)name[len - 1])) {
        name[--len] = '\0';
    }
    while (name[0] != '\0' && !isalnum((unsigned char)name[0])) {
        name++;
    }
    return name[0] == '\0' ? "command" : name;
}

static bool read_array(const char *text, uint32_t *count, uint32_t *parallel)
{
    struct mlq_str number;
    struct mlq_str limit;
    uint64_t n = 0;
    uint64_t p = 0;
    bool has_limit = mlq_str_cut(mlq_str_from(text), '%', &number, &limit);
    if (!mlq_str_u64(number, &n) || n == 0 || n > SPEC_ARRAY_MAX ||
        (has_limit && (!mlq_str_u64(limit, &p) || p == 0))) {
        return false;
    }
    *count = (uint32_t)n;
    *parallel = (uint32_t)(p > n ? n : p);
    return true;
}

static int load_command(struct submit *submit)
{
    struct session *session = &submit->session;
    struct spec_command *command = &submit->command;
    struct spec_pair *pairs;
    struct mlq_err err = MLQ_ERR_INIT;
    if (session->args.count > 0 || submit->sets.count > 0) {
        return session_usage(session, "%s: either a FILE with --set, or a command behind --",
                             session->args.count > 0 ? session->args.operands[0] : "--set");
    }
    if (submit->array != NULL &&
        !read_array(submit->array, &command->array_count, &command->array_parallel)) {
        return session_usage(session, "--array takes N or N%%P, with N up to %d, not '%s'",
                             SPEC_ARRAY_MAX, submit->array);
    }
    if (submit->array == NULL && submit->max_failures != UINT64_MAX) {
        return session_usage(session, "--max-failures goes with --array");
    }
    uint32_t least;
    uint32_t most;
    if (command->ranks != NULL && !spec_read_ranks(mlq_str_from(command->ranks), &least, &most)) {
        return session_usage(session,
                             "--ranks takes N, or MIN..MAX with 1 <= MIN <= MAX <= %d, not '%s'",
                             SPEC_RANKS_MAX, command->ranks);
    }
    if (specfile_pairs(&submit->env, "env", session->region, &pairs, &err) != MLQ_OK) {
        return session_usage(session, "%s", err.text);
    }
    command->env = pairs;
    command->env_count = submit->env.count;
    command->argv = (const char *const *)session->args.rest;
    command->argc = session->args.rest_count;
    command->name = name_of(session->region, command->argv[0]);
    command->gpus = (uint32_t)submit->gpus;
    command->retry_limit = (uint32_t)submit->retry;
    command->array_max_failures = submit->max_failures == UINT64_MAX ? NULL : &submit->max_failures;
    return specfile_command(session, command, &submit->file);
}

static int load_file(struct submit *submit)
{
    struct session *session = &submit->session;
    const struct spec_command *command = &submit->command;
    if (session->args.count != 1) {
        return session->args.count == 0
                   ? session_usage(session, "what? A FILE, or a command behind --")
                   : session_usage(session, "one FILE, not also '%s' (a command stands behind --)",
                                   session->args.operands[1]);
    }
    const char *only_command = submit->array != NULL                ? "array"
                               : submit->max_failures != UINT64_MAX ? "max-failures"
                               : command->ranks != NULL             ? "ranks"
                               : submit->gpus > 0                   ? "gpus"
                               : submit->retry > 0                  ? "retry"
                               : command->cpus != NULL              ? "cpus"
                               : command->memory != NULL            ? "memory"
                               : command->timeout != NULL           ? "timeout"
                               : submit->env.count > 0              ? "env"
                                                                    : NULL;
    if (only_command != NULL) {
        return session_usage(session, "--%s is for a command behind --: say it in %s", only_command,
                             session->args.operands[0]);
    }
    return specfile_load(session, session->args.operands[0], &submit->sets, &submit->file);
}

/* --name, --label and --priority outdo what the spec says. */
static int override(struct submit *submit)
{
    struct session *session = &submit->session;
    struct spec *spec = submit->file.spec;
    struct spec_pair *more;
    struct mlq_err err = MLQ_ERR_INIT;
    if (specfile_pairs(&submit->labels, "label", session->region, &more, &err) != MLQ_OK) {
        return session_usage(session, "%s", err.text);
    }
    if (submit->name != NULL) {
        spec->name = mlq_str_from(submit->name);
    }
    if (!field_is_name(spec->name, true)) {
        return session_usage(
            session, "--name '%s' is not a name of 1 to 63 letters, digits, '-', '_' and '.'",
            submit->name);
    }
    if (submit->priority != INT64_MIN) {
        spec->priority = (int32_t)submit->priority;
    }
    struct spec_pair *labels =
        mlq_region_array(session->region, spec->label_count + submit->labels.count, sizeof *labels);
    size_t count = 0;
    for (size_t i = 0; i < spec->label_count + submit->labels.count; i++) {
        struct spec_pair label =
            i < spec->label_count ? spec->labels[i] : more[i - spec->label_count];
        size_t at = 0;
        if (!field_is_name(label.name, true)) {
            return session_usage(
                session,
                "--label '%.*s' is not a name of 1 to 63 letters, digits, '-', '_' and '.'",
                MLQ_STR_ARG(label.name));
        }
        while (at < count && !mlq_str_eq(labels[at].name, label.name)) {
            at++;
        }
        labels[at] = label;
        count = at == count ? count + 1 : count;
    }
    if (count > LABELS_MAX) {
        return session_usage(session, "more than %d labels", LABELS_MAX);
    }
    spec->labels = labels;
    spec->label_count = count;
    return CMD_OK;
}

static int random_key(struct mlq_region *region, const char **key, struct mlq_err *err)
{
    uint64_t bits[2];
    if (getrandom(bits, sizeof bits, 0) != (ssize_t)sizeof bits) {
        return mlq_fail(err, MLQ_EIO, "no random numbers: say --idempotency-key KEY");
    }
    *key = mlq_region_format(region, "%016llx%016llx", (unsigned long long)bits[0],
                             (unsigned long long)bits[1]);
    return MLQ_OK;
}

/* Files into the store, the spec to the scheduler. */
static int send(struct submit *submit, uint64_t *job, struct mlq_err *err)
{
    struct session *session = &submit->session;
    struct mlq_str warning = {0};
    int rc = specfile_store(session, &submit->file, err);
    if (rc == MLQ_OK && submit->key == NULL) {
        rc = random_key(session->region, &submit->key, err);
    }
    if (rc != MLQ_OK) {
        return rc;
    }
    struct mlq_client_submission submission = {
        .spec = spec_canonical(submit->file.spec, session->region),
        .idempotency_key = mlq_str_from(submit->key),
        .feasible_only = submit->feasible_only};
    bool may_exist = false;
    for (int i = 0; i < TRIES; i++) {
        rc = mlq_client_submit(session->client, &submission, job, session->region, &warning, err);
        if (rc != MLQ_EUNKNOWN) {
            break;
        }
        may_exist = true;
    }
    if (may_exist && session_is_passing(rc)) {
        /* That a later try reached nobody does not undo the one that was sent. */
        rc = mlq_wrap(err, MLQ_EUNKNOWN, "was sent, and not answered");
        fprintf(stderr,
                "the job may or may not exist: the same with --idempotency-key %s is safe\n",
                submit->key);
    }
    if (rc == MLQ_OK && warning.len > 0) {
        fprintf(stderr, "mlq submit: %.*s\n", MLQ_STR_ARG(warning));
    }
    return rc;
}

static int run(struct submit *submit)
{
    struct session *session = &submit->session;
    struct mlq_err err = MLQ_ERR_INIT;
    uint64_t job = 0;
    int code = session_open(session);
    if (code != CMD_OK) {
        return code;
    }
    if (send(submit, &job, &err) != MLQ_OK) {
        return session_fail(session, submit->file.file, &err);
    }
    printf(session->json || session->jsonl ? "{\"schema\": \"mlq/v1\", \"id\": \"%llu\"}\n"
                                           : "%llu\n",
           (unsigned long long)job);
    code = session_finish(session, CMD_OK);
    if (code == CMD_OK && (submit->wait || submit->follow)) {
        code = follow_jobs(session, &job, 1, &(struct follow_options){.shows = submit->follow});
    }
    return code;
}

static int load(struct submit *submit)
{
    struct session *session = &submit->session;
    int code = session->args.rest_count > 0 ? load_command(submit) : load_file(submit);
    return code == CMD_OK ? override(submit) : code;
}

int cmd_submit(int argc, char **argv)
{
    struct submit submit = {
        .session = {.verb = "submit"}, .priority = INT64_MIN, .max_failures = UINT64_MAX};
    struct session *session = &submit.session;
    const struct args_option own[] = {
        {.name = "set", .kind = ARGS_LIST, .value = &submit.sets},
        {.name = "env", .kind = ARGS_LIST, .value = &submit.env},
        {.name = "label", .kind = ARGS_LIST, .value = &submit.labels},
        {.name = "name", .kind = ARGS_TEXT, .value = &submit.name},
        {.name = "array", .kind = ARGS_TEXT, .value = &submit.array},
        {.name = "max-failures",
         .kind = ARGS_NUMBER,
         .value = &submit.max_failures,
         .max = SPEC_ARRAY_MAX},
        {.name = "ranks", .kind = ARGS_TEXT, .value = &submit.command.ranks},
        {.name = "gpus", .kind = ARGS_NUMBER, .value = &submit.gpus, .max = 64},
        {.name = "retry", .kind = ARGS_NUMBER, .value = &submit.retry, .max = 1000},
        {.name = "cpus", .kind = ARGS_TEXT, .value = &submit.command.cpus},
        {.name = "memory", .kind = ARGS_TEXT, .value = &submit.command.memory},
        {.name = "timeout", .kind = ARGS_TEXT, .value = &submit.command.timeout},
        {.name = "priority", .kind = ARGS_INTEGER, .value = &submit.priority, .max = 1000000},
        {.name = "idempotency-key", .kind = ARGS_TEXT, .value = &submit.key},
        {.name = "wait", .kind = ARGS_FLAG, .value = &submit.wait},
        {.name = "follow", .letter = 'f', .kind = ARGS_FLAG, .value = &submit.follow},
        {.name = "feasible-only", .kind = ARGS_FLAG, .value = &submit.feasible_only},
        {.name = "dry-run", .kind = ARGS_FLAG, .value = &submit.dry_run},
        {0},
    };
    int code = session_parse(session, own, argc, argv);
    if (code != CMD_OK) {
        return code;
    }
    session->region = mlq_region_create();
    code = load(&submit);
    if (code == CMD_OK && submit.dry_run) {
        if (session->json) {
            doc_print(stdout, spec_canonical(submit.file.spec, session->region));
        } else {
            struct mlq_str text = spec_explain(submit.file.spec, session->region);
            (void)fwrite(text.ptr, 1, text.len, stdout);
        }
    } else if (code == CMD_OK) {
        code = run(&submit);
    }
    code = session_finish(session, code);
    session_close(session);
    return code;
}
