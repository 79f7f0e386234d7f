/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * CURVE key pairs and the file of enrolled keys. A secret is written nowhere but into its own file
 * and never into a log or an error.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zmq.h>

#include "lib/net/enrolled.h"
#include "lib/net/limits.h"
#include "lib/net/net.h"
#include "lib/sys/fs.h"
#include "lib/sys/mem.h"

#define KEY_FILE_BYTES_MAX 4096

int net_keys_generate(struct net_keypair *pair, struct mlq_err *err)
{
    *pair = (struct net_keypair){.public_key = ""};
    if (zmq_curve_keypair(pair->public_key, pair->secret_key) != 0) {
        return mlq_fail(err, MLQ_ENOTSUP, "make a key pair: %s (libzmq must be built with CURVE)",
                        zmq_strerror(errno));
    }
    return MLQ_OK;
}

int net_keys_save(const char *path, const struct net_keypair *pair, struct mlq_err *err)
{
    char text[256];
    int len = snprintf(text, sizeof text, "public %s\nsecret %s\n", pair->public_key,
                       pair->secret_key);
    return mlq_fs_write_durable(path, (struct mlq_str){.ptr = text, .len = (size_t)len}, 0600, err);
}

static bool take_key(struct mlq_str *text, const char *label, char *key)
{
    struct mlq_str line;
    struct mlq_str word;
    struct mlq_str value;
    (void)mlq_str_cut(*text, '\n', &line, text);
    if (!mlq_str_cut(mlq_str_trim(line), ' ', &word, &value) || !mlq_str_eq_c(word, label)) {
        return false;
    }
    value = mlq_str_trim(value);
    if (value.len != NET_KEY_TEXT_BYTES - 1) {
        return false;
    }
    memcpy(key, value.ptr, value.len);
    key[value.len] = '\0';
    return true;
}

int net_keys_load(const char *path, struct net_keypair *pair, struct mlq_err *err)
{
    struct stat status;
    char *data = NULL;
    size_t len = 0;
    *pair = (struct net_keypair){.public_key = ""};
    if (stat(path, &status) == 0 && (status.st_mode & 077) != 0) {
        return mlq_fail(err, MLQ_EPERM,
                        "%s holds a secret key and others may read or write it: chmod 600 %s", path,
                        path);
    }
    int rc = mlq_fs_read(path, KEY_FILE_BYTES_MAX, &data, &len, err);
    if (rc != MLQ_OK) {
        return mlq_wrap(err, rc, "load the key pair");
    }
    struct mlq_str text = {.ptr = data, .len = len};
    char derived[NET_KEY_TEXT_BYTES];
    if (!take_key(&text, "public", pair->public_key) ||
        !take_key(&text, "secret", pair->secret_key) ||
        zmq_curve_public(derived, pair->secret_key) != 0 ||
        strcmp(derived, pair->public_key) != 0) {
        *pair = (struct net_keypair){.public_key = ""};
        rc = mlq_fail(err, MLQ_ECORRUPT,
                      "%s is no key pair: expected 'public KEY', 'secret KEY', one line each, that "
                      "belong together",
                      path);
    }
    explicit_bzero(data, len);
    mlq_free(data);
    return rc;
}

/* MLQ_OK: not there; 1: there already, the same; MLQ_EEXIST: a name or key is taken. */
static int find_clash(const char *path, struct mlq_str text, const struct enrolled_entry *wanted,
                      struct mlq_err *err)
{
    while (text.len > 0) {
        struct mlq_str line;
        struct enrolled_entry entry;
        (void)mlq_str_cut(text, '\n', &line, &text);
        if (enrolled_parse_line(line, &entry, NULL) != MLQ_OK) {
            continue;
        }
        bool same_name = strcmp(entry.name, wanted->name) == 0 && entry.role == wanted->role;
        bool same_key = strcmp(entry.public_key, wanted->public_key) == 0;
        if (same_name && same_key) {
            return 1;
        }
        if (same_name || same_key) {
            return mlq_fail(err, MLQ_EEXIST,
                            "%s: %s '%s' is enrolled with another %s: remove its line first", path,
                            entry.role == NET_ROLE_WORKER ? "worker" : "client", entry.name,
                            same_key ? "name or role" : "key");
        }
    }
    return MLQ_OK;
}

/* With the file open and locked. A crash in here leaves at most a line that is cut off, which
 * admits nobody; the next append begins a new line. */
static int append(int fd, const char *path, const struct enrolled_entry *entry, struct mlq_err *err)
{
    char *data = NULL;
    size_t len = 0;
    int rc = mlq_fs_read(path, LIMIT_ENROLLED_BYTES - LIMIT_ENROLLED_LINE_BYTES, &data, &len, err);
    if (rc == MLQ_OK) {
        rc = find_clash(path, (struct mlq_str){.ptr = data, .len = len}, entry, err);
    }
    if (rc == MLQ_OK) {
        char line[LIMIT_ENROLLED_LINE_BYTES];
        int used = snprintf(line, sizeof line, "%s%s %s %s\n",
                            len > 0 && data[len - 1] != '\n' ? "\n" : "",
                            entry->role == NET_ROLE_WORKER ? "worker" : "client", entry->name,
                            entry->public_key);
        rc = mlq_fs_write_all(fd, (struct mlq_str){.ptr = line, .len = (size_t)used}, err);
        if (rc == MLQ_OK && fsync(fd) != 0) {
            rc = mlq_fail(err, MLQ_EIO, "sync %s: %s", path, strerror(errno));
        }
    }
    mlq_free(data);
    return rc == 1 ? MLQ_OK : rc;
}

static int sync_parent(const char *path, struct mlq_err *err)
{
    const char *slash = strrchr(path, '/');
    char *dir = slash == NULL ? mlq_strdup(".")
                              : mlq_strndup((struct mlq_str){path, (size_t)(slash - path) + 1});
    int rc = mlq_fs_sync_dir(dir, err);
    mlq_free(dir);
    return rc;
}

int net_keys_enroll(const char *path, enum net_role role, const char *name, const char *public_key,
                    struct mlq_err *err)
{
    char text[LIMIT_ENROLLED_LINE_BYTES];
    struct enrolled_entry entry;
    int used = snprintf(text, sizeof text, "%s %s %s",
                        role == NET_ROLE_WORKER ? "worker" : "client", name, public_key);
    if (used < 0 || (size_t)used >= sizeof text) {
        return mlq_fail(err, MLQ_EINVAL, "enroll: name or key is too long");
    }
    int rc = enrolled_parse_line((struct mlq_str){.ptr = text, .len = (size_t)used}, &entry, err);
    if (rc != MLQ_OK) {
        return mlq_wrap(err, rc, "enroll");
    }
    if (strcmp(entry.name, name) != 0) {
        return mlq_fail(err, MLQ_EINVAL, "enroll: '%s' is no name", name);
    }
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) {
        return mlq_fail(err, errno == EACCES ? MLQ_EPERM : MLQ_EIO, "open %s: %s", path,
                        strerror(errno));
    }
    if (flock(fd, LOCK_EX) != 0) {
        rc = mlq_fail(err, MLQ_EIO, "lock %s: %s", path, strerror(errno));
    }
    rc = rc == MLQ_OK ? append(fd, path, &entry, err) : rc;
    close(fd);
    return rc == MLQ_OK ? sync_parent(path, err) : rc;
}
