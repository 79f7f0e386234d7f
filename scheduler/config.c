/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "scheduler/config.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/ownership.h"
#include "lib/base/str.h"
#include "lib/sys/clock.h"
#include "lib/sys/log.h"

static const char help[] =
    "usage: mlq-scheduler --listen ENDPOINT --key FILE --enrolled FILE --database CONNINFO [options]\n"
    "\n"
    "  mlq-scheduler --listen tcp://127.0.0.1:7070 --key server.key --enrolled enrolled \\\n"
    "                --database 'host=/run/postgresql dbname=mlq'\n"
    "\n"
    "Start as many as you like on one database: one leads, the others wait and take over.\n"
    "`mlq up` starts a whole cluster on this machine.\n"
    "\n"
    "  --listen ENDPOINT      where workers and clients connect (port 0: any free one)\n"
    "  --key FILE             the server's key pair\n"
    "  --enrolled FILE        the keys that may enter\n"
    "  --database CONNINFO    PostgreSQL, as libpq takes it; not through a pooler\n"
    "  --migrations DIR       folder of the schema's migrations (default: those it was built with)\n"
    "  --endpoint-file FILE   written when serving, removed when not\n"
    "  --cluster NAME         told to workers and clients (default: mlq)\n"
    "  --lease SECONDS        how long tasks outlive a lost scheduler (default: 60)\n"
    "  --heartbeat SECONDS    how often workers report (default: 5)\n"
    "  --leader-lease SECONDS how long a standby waits for a leader that hangs (default: 6)\n"
    "  --jobs-max N           live jobs that the scheduler holds (default: 131072)\n"
    "  --log-level LEVEL      error, warn, info (default) or debug\n"
    "  --help, --version\n";

enum option_code {
    OPT_LISTEN = 1,
    OPT_KEY,
    OPT_ENROLLED,
    OPT_DATABASE,
    OPT_MIGRATIONS,
    OPT_ENDPOINT_FILE,
    OPT_CLUSTER,
    OPT_LEASE,
    OPT_HEARTBEAT,
    OPT_LEADER_LEASE,
    OPT_JOBS_MAX,
    OPT_LOG_LEVEL,
    OPT_HELP,
    OPT_VERSION,
};

static const struct option long_options[] = {
    {"listen", required_argument, NULL, OPT_LISTEN},
    {"key", required_argument, NULL, OPT_KEY},
    {"enrolled", required_argument, NULL, OPT_ENROLLED},
    {"database", required_argument, NULL, OPT_DATABASE},
    {"migrations", required_argument, NULL, OPT_MIGRATIONS},
    {"endpoint-file", required_argument, NULL, OPT_ENDPOINT_FILE},
    {"cluster", required_argument, NULL, OPT_CLUSTER},
    {"lease", required_argument, NULL, OPT_LEASE},
    {"heartbeat", required_argument, NULL, OPT_HEARTBEAT},
    {"leader-lease", required_argument, NULL, OPT_LEADER_LEASE},
    {"jobs-max", required_argument, NULL, OPT_JOBS_MAX},
    {"log-level", required_argument, NULL, OPT_LOG_LEVEL},
    {"help", no_argument, NULL, OPT_HELP},
    {"version", no_argument, NULL, OPT_VERSION},
    {0},
};

static bool wrong(const char *option, const char *expected)
{
    fprintf(stderr, "mlq-scheduler: --%s: expected %s (see --help)\n", option, expected);
    return false;
}

/* "5" or "5s" or "500ms", as seconds. */
static bool seconds(const char *option, const char *text, int64_t *ns)
{
    struct mlq_str s = mlq_str_from(text);
    int64_t unit = MLQ_NS_PER_S;
    uint64_t number;
    if (mlq_str_ends(s, "ms")) {
        unit = MLQ_NS_PER_MS;
        s.len -= 2;
    } else if (mlq_str_ends(s, "s")) {
        s.len -= 1;
    }
    if (!mlq_str_u64(s, &number) || number == 0 || number > 86400 * 1000) {
        return wrong(option, "a number of seconds, or like 500ms");
    }
    *ns = (int64_t)number * unit;
    return true;
}

static bool log_level(const char *text)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};
    for (size_t i = 0; i < MLQ_COUNT_OF(names); i++) {
        if (strcmp(text, names[i]) == 0) {
            mlq_log_set_level((enum mlq_log_level)i);
            return true;
        }
    }
    return wrong("log-level", "error, warn, info or debug");
}

static bool jobs_max(const char *text, struct core_limits *limits)
{
    uint64_t number;
    if (!mlq_str_u64(mlq_str_from(text), &number) || number < 1 || number > 10000000) {
        return wrong("jobs-max", "a number from 1 to 10000000");
    }
    limits->jobs_max = (uint32_t)number;
    limits->stages_max = (uint32_t)number * 2 + CORE_STAGES_PER_JOB_MAX;
    limits->needs_max = (uint32_t)number * 2 + CORE_STAGES_PER_JOB_MAX;
    return true;
}

static bool set_text(int code, char *text, struct shell_options *options)
{
    const char **place = code == OPT_LISTEN          ? &options->listen
                         : code == OPT_KEY           ? &options->key_path
                         : code == OPT_ENROLLED      ? &options->enrolled_path
                         : code == OPT_DATABASE      ? &options->conninfo
                         : code == OPT_MIGRATIONS    ? &options->migrations_dir
                         : code == OPT_ENDPOINT_FILE ? &options->endpoint_file
                         : code == OPT_CLUSTER       ? &options->cluster
                                                     : NULL;
    if (place == NULL) {
        return false;
    }
    *place = text;
    return true;
}

static bool set_option(int code, char *text, struct shell_options *options)
{
    if (set_text(code, text, options)) {
        return true;
    }
    if (code == OPT_LEASE) {
        return seconds("lease", text, &options->limits.lease_ns);
    }
    if (code == OPT_HEARTBEAT) {
        return seconds("heartbeat", text, &options->heartbeat_ns);
    }
    if (code == OPT_LEADER_LEASE) {
        return seconds("leader-lease", text, &options->leader_lease_ns);
    }
    if (code == OPT_JOBS_MAX) {
        return jobs_max(text, &options->limits);
    }
    return code == OPT_LOG_LEVEL && log_level(text);
}

static bool is_complete(const struct shell_options *options)
{
    if (options->listen == NULL || options->key_path == NULL || options->enrolled_path == NULL ||
        options->conninfo == NULL) {
        fputs("mlq-scheduler: --listen, --key, --enrolled and --database are needed (see --help)\n", stderr);
        return false;
    }
    if (options->heartbeat_ns * 2 > options->limits.lease_ns) {
        return wrong("lease", "at least twice --heartbeat");
    }
    return true;
}

int config_parse(int argc, char **argv, struct shell_options *options)
{
    *options = (struct shell_options){
        .migrations_dir = MLQ_SOURCE_MIGRATIONS,
        .cluster = "mlq",
        .heartbeat_ns = 5 * MLQ_NS_PER_S,
        .leader_lease_ns = 6 * MLQ_NS_PER_S,
        .limits = core_limits_default(),
    };
    options->limits.lease_ns = 60 * MLQ_NS_PER_S;
    int code;
    while ((code = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        if (code == OPT_HELP || code == OPT_VERSION) {
            fputs(code == OPT_HELP ? help : "mlq-scheduler " MLQ_VERSION "\n", stdout);
            return 1;
        }
        if (code == '?' || !set_option(code, optarg, options)) {
            return 3;
        }
    }
    if (optind < argc) {
        fprintf(stderr, "mlq-scheduler: unexpected argument '%s' (see --help)\n", argv[optind]);
        return 3;
    }
    /* As in core_limits_default, for this lease: kill grace, and 1 s + 1 % for clocks. */
    options->limits.lease_margin_ns = 6 * MLQ_NS_PER_S + options->limits.lease_ns / 100;
    return is_complete(options) ? 0 : 3;
}
