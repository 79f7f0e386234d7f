/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "client/cli/session.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "client/cli/home.h"
#include "lib/base/ownership.h"
#include "lib/sys/fs.h"
#include "lib/sys/mem.h"

int session_parse(struct session *session, const struct args_option *own, int argc, char **argv)
{
    const struct args_option common[] = {
        {.name = "home", .kind = ARGS_TEXT, .value = &session->home_flag},
        {.name = "endpoint", .kind = ARGS_TEXT, .value = &session->endpoint_flag},
        {.name = "server-key", .kind = ARGS_TEXT, .value = &session->server_key_flag},
        {.name = "key", .kind = ARGS_TEXT, .value = &session->key_flag},
        {.name = "store", .kind = ARGS_TEXT, .value = &session->store_flag},
        {.name = "json", .kind = ARGS_FLAG, .value = &session->json},
        {.name = "jsonl", .kind = ARGS_FLAG, .value = &session->jsonl},
        {.name = "quiet", .letter = 'q', .kind = ARGS_FLAG, .value = &session->quiet},
        {.name = "no-header", .kind = ARGS_FLAG, .value = &session->no_header},
        {0},
    };
    struct mlq_err err = MLQ_ERR_INIT;
    memcpy(session->common, common, sizeof common);
    session->args.options[0] = own;
    session->args.options[1] = session->common;
    if (args_parse(&session->args, argc, argv, &err) != MLQ_OK) {
        return session_usage(session, "%s", err.text);
    }
    return CMD_OK;
}

static const char *first_of(const char *flag, const char *variable)
{
    const char *text = flag != NULL ? flag : getenv(variable);
    return text == NULL || text[0] == '\0' ? NULL : text;
}

/* A cluster elsewhere: everything is said. */
static int remote_options(struct session *session, struct mlq_client_options *options, char **key,
                          struct mlq_err *err)
{
    const char *store = first_of(session->store_flag, "MLQ_STORE");
    const char *key_path = first_of(session->key_flag, "MLQ_KEY");
    options->server_key = first_of(session->server_key_flag, "MLQ_SERVER_KEY");
    session->store = mlq_strdup(store);
    if (options->server_key == NULL) {
        return mlq_fail(
            err, MLQ_EINVAL,
            "%s: --server-key (or MLQ_SERVER_KEY) is missing: the scheduler's public key",
            options->endpoint);
    }
    if (key_path == NULL) {
        return mlq_fail(err, MLQ_EINVAL,
                        "%s: --key (or MLQ_KEY) is missing: the file of your own key pair",
                        options->endpoint);
    }
    *key = mlq_strdup(key_path);
    return MLQ_OK;
}

static int home_options(struct session *session, struct home *home,
                        struct mlq_client_options *options, char **key, struct mlq_err *err)
{
    session->home = home_path(session->home_flag);
    int rc = home_load(session->home, home, err);
    if (rc == MLQ_OK) {
        options->endpoint = home->endpoint;
        options->server_key = home->server_key;
        session->store =
            mlq_strdup(session->store_flag != NULL ? session->store_flag : home->store);
        *key = session->key_flag != NULL ? mlq_strdup(session->key_flag)
                                         : home_file(home, "keys/client.key");
    }
    return rc;
}

int session_open(struct session *session)
{
    struct mlq_client_options options = {.timeout_ns = session->timeout_ns};
    struct home home = {0};
    struct mlq_err err = MLQ_ERR_INIT;
    char *key = NULL;
    session->region = session->region == NULL ? mlq_region_create() : session->region;
    options.endpoint = session->endpoint_flag != NULL || session->home_flag == NULL
                           ? first_of(session->endpoint_flag, "MLQ_ENDPOINT")
                           : NULL; /* --home outdoes the environment */
    int rc = options.endpoint != NULL ? remote_options(session, &options, &key, &err)
                                      : home_options(session, &home, &options, &key, &err);
    if (rc == MLQ_EINVAL) {
        rc = session_usage(session, "%s", err.text);
    } else if (rc == MLQ_OK) {
        options.key_path = key;
        rc = mlq_client_open(&options, &session->client, &err);
        rc = rc == MLQ_OK ? CMD_OK : session_fail(session, NULL, &err);
    } else {
        /* No cluster there: nothing was sent to anybody. */
        fprintf(stderr, "mlq %s: %s\n", session->verb, err.text);
        rc = CMD_UNREACHABLE;
    }
    home_clear(&home);
    mlq_free(key);
    return rc;
}

void session_close(struct session *session)
{
    mlq_client_close(&session->client);
    if (session->cas != NULL) {
        cas_close(&session->cas);
    }
    mlq_region_destroy(&session->region);
    mlq_free_p(&session->store);
    mlq_free_p(&session->home);
}

int session_store(struct session *session, struct mlq_err *err)
{
    if (session->cas != NULL) {
        return MLQ_OK;
    }
    if (session->store == NULL) {
        return mlq_fail(
            err, MLQ_ENOENT,
            "the cluster's artifact store is not known here: say --store DIR (or MLQ_STORE), "
            "the folder that the cluster shares");
    }
    return cas_open(session->store, &session->cas, err);
}

int session_jobs(struct session *session, size_t at, uint64_t **jobs, size_t *count)
{
    struct mlq_err err = MLQ_ERR_INIT;
    if (session->args.count <= at) {
        return session_usage(
            session, "which job? An id, a range (12-40), last, @name, a label (team=vision) or state=failed");
    }
    *jobs = NULL;
    *count = 0;
    for (size_t i = at; i < session->args.count; i++) {
        const char *selector = session->args.operands[i];
        uint64_t *found = NULL;
        size_t more = 0;
        int rc = mlq_client_resolve(session->client, mlq_str_from(selector), session->region,
                                    &found, &more, &err);
        if (rc == MLQ_OK && more == 0) {
            rc = mlq_fail(&err, MLQ_ENOENT, "no such job (mlq ls lists them)");
        }
        if (rc != MLQ_OK) {
            int code = session_fail(session, selector, &err);
            *count = 0;
            return rc == MLQ_EINVAL ? CMD_USAGE : code;
        }
        uint64_t *all = mlq_region_array(session->region, *count + more, sizeof *all);
        if (*count > 0) {
            memcpy(all, *jobs, *count * sizeof *all);
        }
        memcpy(all + *count, found, more * sizeof *all);
        *jobs = all;
        *count += more;
    }
    return CMD_OK;
}

int session_job(struct session *session, size_t at, uint64_t *job)
{
    uint64_t *jobs;
    size_t count;
    size_t operands = session->args.count;
    session->args.count = operands > at + 1 ? at + 1 : operands;
    int code = session_jobs(session, at, &jobs, &count);
    session->args.count = operands;
    if (code != CMD_OK) {
        return code;
    }
    if (count != 1) {
        return session_usage(session, "%s: selects %zu jobs, one is needed",
                             session->args.operands[at], count);
    }
    *job = jobs[0];
    return CMD_OK;
}

enum cmd_exit session_exit(int code)
{
    switch ((enum mlq_code)code) {
    case MLQ_OK:
        return CMD_OK;
    case MLQ_EINVAL:
        return CMD_INVALID;
    case MLQ_ENOENT:
        return CMD_NOT_FOUND;
    case MLQ_ECONN:
    case MLQ_EPROTO:
        return CMD_UNREACHABLE;
    case MLQ_ETIMEOUT:
    case MLQ_EUNKNOWN:
    case MLQ_EFENCED:
        return CMD_UNKNOWN;
    case MLQ_ECANCELED:
        return CMD_INTERRUPTED;
    case MLQ_EEXIST:
    case MLQ_EFULL:
    case MLQ_EIO:
    case MLQ_ECORRUPT:
    case MLQ_EPERM:
    case MLQ_ENOTSUP:
    case MLQ_EDB:
    case MLQ_EAGAIN:
        return CMD_REFUSED;
    }
    return CMD_REFUSED; /* a code of a newer scheduler */
}

bool session_is_passing(int code)
{
    return code == MLQ_ECONN || code == MLQ_EUNKNOWN || code == MLQ_EAGAIN ||
           code == MLQ_ETIMEOUT || code == MLQ_EFENCED || code == MLQ_EDB;
}

int session_fail(const struct session *session, const char *thing, const struct mlq_err *err)
{
    fprintf(stderr, "mlq %s: %s%s%s\n", session->verb, thing == NULL ? "" : thing,
            thing == NULL ? "" : ": ", err->text);
    bool is_silent = err->code == MLQ_ECONN || err->code == MLQ_EUNKNOWN;
    if (is_silent && session->home != NULL) {
        fprintf(stderr, "  is the cluster up? `mlq status` tells, `mlq up --home %s` starts it\n",
                session->home);
    }
    return session_exit(err->code);
}

int session_usage(const struct session *session, const char *fmt, ...)
{
    va_list args;
    fprintf(stderr, "mlq %s: ", session->verb);
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fprintf(stderr, " (see `mlq %s --help`)\n", session->verb);
    return CMD_USAGE;
}

int session_finish(const struct session *session, int code)
{
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "mlq %s: standard output: %s\n", session->verb, strerror(errno));
        return code == CMD_OK ? CMD_REFUSED : code;
    }
    return code;
}
