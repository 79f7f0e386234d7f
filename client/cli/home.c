/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "client/cli/home.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/sys/fs.h"
#include "lib/sys/mem.h"

#define CLUSTER_BYTES_MAX 65536

char *home_path(const char *flag)
{
    const char *path = flag != NULL ? flag : getenv("MLQ_HOME");
    if (path == NULL || path[0] == '\0') {
        const char *user = getenv("HOME");
        return mlq_fs_join(user == NULL || user[0] == '\0' ? "/tmp" : user, ".local/state/mlq");
    }
    if (path[0] == '/') {
        return mlq_strdup(path);
    }
    char *here = getcwd(NULL, 0);
    char *absolute = mlq_fs_join(here == NULL ? "/" : here, path);
    mlq_free(here);
    return absolute;
}

char *home_file(const struct home *home, const char *name)
{
    return mlq_fs_join(home->dir, name);
}

static char *text_of(json_t *document, const char *key)
{
    return mlq_strdup(json_string_value(json_object_get(document, key)));
}

int home_load(const char *dir, struct home *home, struct mlq_err *err)
{
    char *path = mlq_fs_join(dir, "cluster.json");
    char *data = NULL;
    size_t len = 0;
    int rc = mlq_fs_read(path, CLUSTER_BYTES_MAX, &data, &len, err);
    if (rc == MLQ_ENOENT) {
        rc = mlq_fail(err, MLQ_ENOENT,
                      "no cluster in %s: start one with `mlq up`, or say --home DIR", dir);
    }
    json_t *document = rc == MLQ_OK ? json_loadb(data, len, 0, NULL) : NULL;
    if (rc == MLQ_OK && document == NULL) {
        rc = mlq_fail(err, MLQ_ECORRUPT,
                      "%s is not valid JSON: restore it, or remove it and run `mlq up`", path);
    }
    if (rc == MLQ_OK) {
        *home = (struct home){
            .dir = mlq_strdup(dir),
            .cluster = text_of(document, "cluster"),
            .endpoint = text_of(document, "endpoint"),
            .server_key = text_of(document, "server_key"),
            .store = text_of(document, "store"),
            .pg_data = text_of(document, "pg_data"),
            .pg_socket_dir = text_of(document, "pg_socket_dir"),
            .workers = (int)json_integer_value(json_object_get(document, "workers")),
            .worker_cpus = text_of(document, "worker_cpus"),
            .worker_memory = text_of(document, "worker_memory"),
        };
        if (home->endpoint == NULL || home->server_key == NULL || home->store == NULL) {
            home_clear(home);
            rc = mlq_fail(err, MLQ_ECORRUPT, "%s lacks endpoint, server_key or store", path);
        }
    }
    json_decref(document);
    mlq_free(data);
    mlq_free(path);
    return rc;
}

static void set_text(json_t *document, const char *key, const char *value)
{
    if (value != NULL) {
        (void)json_object_set_new(document, key, json_string(value));
    }
}

int home_save(const struct home *home, struct mlq_err *err)
{
    json_t *document = json_object();
    set_text(document, "schema", "mlq/v1");
    set_text(document, "cluster", home->cluster);
    set_text(document, "endpoint", home->endpoint);
    set_text(document, "server_key", home->server_key);
    set_text(document, "store", home->store);
    set_text(document, "pg_data", home->pg_data);
    set_text(document, "pg_socket_dir", home->pg_socket_dir);
    set_text(document, "worker_cpus", home->worker_cpus);
    set_text(document, "worker_memory", home->worker_memory);
    (void)json_object_set_new(document, "workers", json_integer(home->workers));
    char *text = json_dumps(document, JSON_INDENT(2));
    char *path = home_file(home, "cluster.json");
    int rc = mlq_fs_write_durable(path, mlq_str_from(text), 0644, err);
    mlq_free(path);
    mlq_free(text);
    json_decref(document);
    return rc;
}

void home_clear(struct home *home)
{
    mlq_free(home->dir);
    mlq_free(home->cluster);
    mlq_free(home->endpoint);
    mlq_free(home->server_key);
    mlq_free(home->store);
    mlq_free(home->pg_data);
    mlq_free(home->pg_socket_dir);
    mlq_free(home->worker_cpus);
    mlq_free(home->worker_memory);
    *home = (struct home){0};
}
