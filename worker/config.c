/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/config.h"

#include <getopt.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/prng.h"
#include "lib/base/str.h"
#include "lib/sys/fs.h"
#include "lib/sys/log.h"
#include "lib/sys/mem.h"

#define KEY_FILE_BYTES_MAX 4096
#define CPU_MILLI_MAX      INT64_C(10000000)
/* Where no range is given, each name gets its own block, so that workers of one machine do not
 * reach for the same ports. Below Linux's ephemeral range, which starts at 32768. */
#define PORT_BLOCK  128
#define PORT_BLOCKS 80
#define PORT_LOWEST 20000

const char config_usage[] =
    "usage: mlq-worker --name NAME --home DIR --endpoint E[,E...] --server-key KEY --key FILE "
    "--store DIR\n"
    "                  [--cpus N] [--memory SIZE] [--gpus auto|none] [--address A] [--ports "
    "FIRST-LAST]\n"
    "                  [--log-level error|warn|info|debug]\n"
    "\n"
    "Offers this machine to a scheduler, and runs and supervises its tasks.\n"
    "\n"
    "examples:\n"
    "  mlq-worker --name w1 --home /var/lib/mlq --endpoint tcp://10.0.0.1:7400,tcp://10.0.0.2:7400 "
    "\\\n"
    "             --server-key /etc/mlq/server.pub --key /etc/mlq/w1.key --store /nfs/mlq\n"
    "  mlq-worker --name w2 --home ~/mlq --endpoint tcp://127.0.0.1:7400 --server-key server.pub "
    "\\\n"
    "             --key w2.key --store ~/mlq/store --cpus 500m --memory 4Gi --gpus none\n"
    "\n"
    "options:\n"
    "  --name NAME        the name that this worker's key is enrolled under\n"
    "  --home DIR         its folders lie in DIR/NAME; two workers never share one\n"
    "  --endpoint E       of the scheduler and its standbys, tried in turn\n"
    "  --server-key KEY   the scheduler's public key: 40 characters, or a file that holds it\n"
    "  --key FILE         this worker's key pair, readable by its owner only\n"
    "  --store DIR        the artifact store that all share\n"
    "  --cpus N           CPUs to offer, such as 2 or 500m (default: all that it may use)\n"
    "  --memory SIZE      memory to offer, such as 4Gi (default: all of it)\n"
    "  --gpus WHICH       auto (default) or none; of several workers on one machine, one may say auto\n"
    "  --address A        where other machines reach the ranks of a gang here (default: "
    "127.0.0.1)\n"
    "  --ports A-B        ports that ranks may listen on (default: a block chosen by the name)\n"
    "  --log-level LEVEL  error, warn, info (default) or debug\n"
    "  --probe            only print what this machine has and how tasks are limited here\n"
    "  --help, --version\n"
    "\n"
    "signals: TERM or INT exit and leave the tasks running under their leases: a worker that is "
    "started\n"
    "again finds them. QUIT stops the tasks, waits for their ends, says goodbye and exits.\n";

enum option_id {
    OPT_NAME = 1000,
    OPT_HOME,
    OPT_ENDPOINT,
    OPT_SERVER_KEY,
    OPT_KEY,
    OPT_STORE,
    OPT_CPUS,
    OPT_MEMORY,
    OPT_GPUS,
    OPT_ADDRESS,
    OPT_PORTS,
    OPT_LOG_LEVEL,
    OPT_HELP,
    OPT_VERSION,
    OPT_PROBE,
};

static const struct option options[] = {
    {"name", required_argument, NULL, OPT_NAME},
    {"home", required_argument, NULL, OPT_HOME},
    {"endpoint", required_argument, NULL, OPT_ENDPOINT},
    {"server-key", required_argument, NULL, OPT_SERVER_KEY},
    {"key", required_argument, NULL, OPT_KEY},
    {"store", required_argument, NULL, OPT_STORE},
    {"cpus", required_argument, NULL, OPT_CPUS},
    {"memory", required_argument, NULL, OPT_MEMORY},
    {"gpus", required_argument, NULL, OPT_GPUS},
    {"address", required_argument, NULL, OPT_ADDRESS},
    {"ports", required_argument, NULL, OPT_PORTS},
    {"log-level", required_argument, NULL, OPT_LOG_LEVEL},
    {"help", no_argument, NULL, OPT_HELP},
    {"version", no_argument, NULL, OPT_VERSION},
    {"probe", no_argument, NULL, OPT_PROBE},
    {NULL, 0, NULL, 0},
};

struct raw { /* what needs others to be known first */
    const char *home;
    const char *key;
};

/* [a-z0-9]([-a-z0-9_.]*[a-z0-9])?, at most NET_NAME_BYTES_MAX: also a safe name of a folder. */
static bool is_name(const char *name)
{
    static const char alnum[] = "abcdefghijklmnopqrstuvwxyz0123456789";
    size_t len = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-_.");
    return len > 0 && name[len] == '\0' && len <= NET_NAME_BYTES_MAX &&
           strchr(alnum, name[0]) != NULL && strchr(alnum, name[len - 1]) != NULL;
}

static int take_endpoints(struct config *config, struct mlq_region *region, const char *text,
                          struct mlq_err *err)
{
    struct mlq_str rest = mlq_str_from(text);
    while (rest.len > 0) {
        struct mlq_str one;
        struct mlq_str tail;
        (void)mlq_str_cut(rest, ',', &one, &tail);
        rest = tail;
        if (one.len == 0 || config->endpoint_count == CONFIG_ENDPOINTS_MAX) {
            return mlq_fail(err, MLQ_EINVAL,
                            "--endpoint %s: expected 1 to %d, such as tcp://HOST:PORT", text,
                            CONFIG_ENDPOINTS_MAX);
        }
        config->endpoints[config->endpoint_count++] = mlq_region_strndup(region, one);
    }
    return MLQ_OK;
}

static int set_server_key(struct config *config, struct mlq_str key, const char *text,
                          struct mlq_err *err)
{
    if (key.len != NET_KEY_TEXT_BYTES - 1) {
        return mlq_fail(
            err, MLQ_EINVAL,
            "--server-key %s: expected a public key of %d characters, or a file with it", text,
            NET_KEY_TEXT_BYTES - 1);
    }
    memcpy(config->server_key, key.ptr, key.len);
    config->server_key[key.len] = '\0';
    return MLQ_OK;
}

/* The key itself, or a file that holds it alone or as "public KEY". */
static int take_server_key(struct config *config, const char *text, struct mlq_err *err)
{
    if (strlen(text) == NET_KEY_TEXT_BYTES - 1 && !mlq_fs_exists(text)) {
        return set_server_key(config, mlq_str_from(text), text, err);
    }
    char *data = NULL;
    size_t len;
    int rc = mlq_fs_read(text, KEY_FILE_BYTES_MAX, &data, &len, err);
    if (rc != MLQ_OK) {
        return mlq_wrap(err, rc, "--server-key");
    }
    struct mlq_str line;
    struct mlq_str tail;
    (void)mlq_str_cut((struct mlq_str){.ptr = data, .len = len}, '\n', &line, &tail);
    line = mlq_str_trim(line);
    if (mlq_str_starts(line, "public ")) {
        (void)mlq_str_cut(line, ' ', &tail, &line);
    }
    rc = set_server_key(config, mlq_str_trim(line), text, err);
    mlq_free(data);
    return rc;
}

static bool parse_cpus(struct mlq_str text, int64_t *milli)
{
    uint64_t number;
    bool is_milli = mlq_str_ends(text, "m");
    text.len -= is_milli ? 1 : 0;
    if (!mlq_str_u64(text, &number) || number == 0 ||
        number > (uint64_t)CPU_MILLI_MAX / (is_milli ? 1 : 1000)) {
        return false;
    }
    *milli = (int64_t)number * (is_milli ? 1 : 1000);
    return true;
}

static bool parse_size(struct mlq_str text, int64_t *bytes)
{
    static const struct {
        const char *suffix;
        int64_t factor;
    } units[] = {{"Ki", INT64_C(1) << 10},
                 {"Mi", INT64_C(1) << 20},
                 {"Gi", INT64_C(1) << 30},
                 {"Ti", INT64_C(1) << 40},
                 {"k", 1000},
                 {"M", 1000000},
                 {"G", 1000000000},
                 {"T", 1000000000000}};
    int64_t factor = 1;
    for (size_t i = 0; i < sizeof units / sizeof units[0] && factor == 1; i++) {
        if (mlq_str_ends(text, units[i].suffix)) {
            factor = units[i].factor;
            text.len -= strlen(units[i].suffix);
        }
    }
    uint64_t number;
    if (!mlq_str_u64(text, &number) || number == 0 || number > (uint64_t)(INT64_MAX / factor)) {
        return false;
    }
    *bytes = (int64_t)number * factor;
    return true;
}

static bool parse_ports(struct mlq_str text, struct config *config)
{
    struct mlq_str first_text;
    struct mlq_str last_text;
    uint64_t first;
    uint64_t last;
    if (!mlq_str_cut(text, '-', &first_text, &last_text) || !mlq_str_u64(first_text, &first) ||
        !mlq_str_u64(last_text, &last) || first < 1024 || last > 65535 || last < first) {
        return false;
    }
    config->port_first = (uint16_t)first;
    config->port_count = (uint16_t)(last - first + 1);
    return true;
}

static bool set_log_level(const char *text)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};
    for (int i = 0; i < 4; i++) {
        if (strcmp(text, names[i]) == 0) {
            mlq_log_set_level((enum mlq_log_level)i);
            return true;
        }
    }
    return false;
}

static int take(struct config *config, struct raw *raw, struct mlq_region *region, int id,
                const char *text, struct mlq_err *err)
{
    switch ((enum option_id)id) {
    case OPT_NAME:
        config->name = text;
        return is_name(text) ? MLQ_OK
                             : mlq_fail(err, MLQ_EINVAL, "--name %s: expected a-z 0-9 - _ .", text);
    case OPT_HOME:
        raw->home = text;
        return MLQ_OK;
    case OPT_ENDPOINT:
        return take_endpoints(config, region, text, err);
    case OPT_SERVER_KEY:
        return take_server_key(config, text, err);
    case OPT_KEY:
        raw->key = text;
        return MLQ_OK;
    case OPT_STORE:
        config->store = text;
        return MLQ_OK;
    case OPT_CPUS:
        return parse_cpus(mlq_str_from(text), &config->cpu_milli)
                   ? MLQ_OK
                   : mlq_fail(err, MLQ_EINVAL, "--cpus %s: expected a number such as 2 or 500m",
                              text);
    case OPT_MEMORY:
        return parse_size(mlq_str_from(text), &config->mem_bytes)
                   ? MLQ_OK
                   : mlq_fail(err, MLQ_EINVAL, "--memory %s: expected a size such as 4Gi", text);
    case OPT_GPUS:
        config->use_gpus = strcmp(text, "auto") == 0;
        return config->use_gpus || strcmp(text, "none") == 0
                   ? MLQ_OK
                   : mlq_fail(err, MLQ_EINVAL, "--gpus %s: expected auto or none", text);
    case OPT_ADDRESS:
        config->address = text;
        return MLQ_OK;
    case OPT_PORTS:
        return parse_ports(mlq_str_from(text), config)
                   ? MLQ_OK
                   : mlq_fail(err, MLQ_EINVAL, "--ports %s: expected FIRST-LAST within 1024-65535",
                              text);
    case OPT_LOG_LEVEL:
        return set_log_level(text)
                   ? MLQ_OK
                   : mlq_fail(err, MLQ_EINVAL,
                              "--log-level %s: expected error, warn, info or debug", text);
    case OPT_HELP:
    case OPT_VERSION:
    case OPT_PROBE:
        break;
    }
    return mlq_fail(err, MLQ_EINVAL, "wrong use: try mlq-worker --help");
}

static const char *absolute(struct mlq_region *region, const char *path)
{
    char cwd[PATH_MAX];
    if (path[0] == '/' || getcwd(cwd, sizeof cwd) == NULL) {
        return mlq_region_strdup(region, path);
    }
    return mlq_region_format(region, "%s/%s", cwd, path);
}

/* Beside this program lie the others. */
static int find_bin_dir(struct config *config, struct mlq_region *region, struct mlq_err *err)
{
    char path[PATH_MAX];
    ssize_t len = readlink("/proc/self/exe", path, sizeof path - 1);
    if (len <= 0) {
        return mlq_fail(err, MLQ_EIO, "cannot read /proc/self/exe: is /proc mounted?");
    }
    path[len] = '\0';
    *strrchr(path, '/') = '\0';
    config->bin_dir = mlq_region_strdup(region, path);
    char *shim = mlq_fs_join(path, "mlq-shim");
    bool there = access(shim, X_OK) == 0;
    mlq_free(shim);
    return there ? MLQ_OK
                 : mlq_fail(err, MLQ_ENOENT, "mlq-shim is missing beside mlq-worker in %s", path);
}

static int complete(struct config *config, const struct raw *raw, struct mlq_region *region,
                    struct mlq_err *err)
{
    const char *missing = config->name == NULL            ? "--name"
                          : raw->home == NULL             ? "--home"
                          : config->endpoint_count == 0   ? "--endpoint"
                          : config->server_key[0] == '\0' ? "--server-key"
                          : raw->key == NULL              ? "--key"
                          : config->store == NULL         ? "--store"
                                                          : NULL;
    if (missing != NULL) {
        return mlq_fail(err, MLQ_EINVAL, "%s is missing: try mlq-worker --help", missing);
    }
    config->base = mlq_region_format(region, "%s/%s", absolute(region, raw->home), config->name);
    config->store = absolute(region, config->store);
    if (config->port_count == 0) {
        uint64_t hash = 0;
        for (const char *at = config->name; *at != '\0'; at++) {
            hash = mlq_hash_u64(hash ^ (uint64_t)(unsigned char)*at);
        }
        config->port_first = (uint16_t)(PORT_LOWEST + hash % PORT_BLOCKS * PORT_BLOCK);
        config->port_count = PORT_BLOCK;
    }
    int rc = find_bin_dir(config, region, err);
    return rc == MLQ_OK ? net_keys_load(raw->key, &config->keys, err) : rc;
}

int config_parse(int argc, char **argv, struct mlq_region *region, struct config *config,
                 enum config_wish *wish, struct mlq_err *err)
{
    struct raw raw = {0};
    *config = (struct config){.use_gpus = true, .address = "127.0.0.1"};
    *wish = CONFIG_RUN;
    opterr = 0;
    optind = 1;
    for (int id = getopt_long(argc, argv, "", options, NULL); id != -1;
         id = getopt_long(argc, argv, "", options, NULL)) {
        if (id == OPT_HELP || id == OPT_VERSION || id == OPT_PROBE) {
            *wish = id == OPT_HELP ? CONFIG_HELP : id == OPT_VERSION ? CONFIG_VERSION : CONFIG_PROBE;
            return MLQ_OK;
        }
        int rc =
            id < OPT_NAME
                ? mlq_fail(err, MLQ_EINVAL,
                           "%s: unknown option, or its value is missing: try mlq-worker --help",
                           argv[optind - 1])
                : take(config, &raw, region, id, optarg, err);
        if (rc != MLQ_OK) {
            return rc;
        }
    }
    if (optind < argc) {
        return mlq_fail(err, MLQ_EINVAL, "%s: not expected here: try mlq-worker --help",
                        argv[optind]);
    }
    return complete(config, &raw, region, err);
}
