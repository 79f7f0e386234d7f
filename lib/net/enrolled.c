/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "lib/net/enrolled.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/net/limits.h"
#include "lib/sys/fs.h"
#include "lib/sys/log.h"
#include "lib/sys/mem.h"

struct enrolled {
    char *path;
    struct enrolled_entry *entries; /* sorted by key */
    size_t count;
    struct stat seen; /* of the file when it was read; st_ino 0: not read */
};

static bool is_name(struct mlq_str s)
{
    if (s.len == 0 || s.len > NET_NAME_BYTES_MAX) {
        return false;
    }
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        bool alnum = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
        bool inner = i > 0 && i + 1 < s.len && (c == '-' || c == '_' || c == '.');
        if (!alnum && !inner) {
            return false;
        }
    }
    return true;
}

/* The alphabet of Z85 (rfc.zeromq.org/spec/32). */
static bool is_key(struct mlq_str s)
{
    static const char alphabet[] = "0123456789abcdefghijklmnopqrstuvwxyz"
                                   "ABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";
    if (s.len != NET_KEY_TEXT_BYTES - 1) {
        return false;
    }
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] == '\0' || strchr(alphabet, s.ptr[i]) == NULL) {
            return false;
        }
    }
    return true;
}

int enrolled_parse_line(struct mlq_str line, struct enrolled_entry *entry, struct mlq_err *err)
{
    struct mlq_str role;
    struct mlq_str name;
    struct mlq_str key;
    line = mlq_str_trim(line);
    if (line.len == 0 || line.ptr[0] == '#') {
        return mlq_fail(err, MLQ_ENOENT, "no entry in this line");
    }
    if (line.len > LIMIT_ENROLLED_LINE_BYTES) {
        return mlq_fail(err, MLQ_EINVAL, "the line is longer than %d bytes",
                        LIMIT_ENROLLED_LINE_BYTES);
    }
    (void)mlq_str_cut(line, ' ', &role, &line);
    (void)mlq_str_cut(mlq_str_trim(line), ' ', &name, &line);
    key = mlq_str_trim(line);
    *entry = (struct enrolled_entry){.role = NET_ROLE_CLIENT};
    if (mlq_str_eq_c(role, "worker")) {
        entry->role = NET_ROLE_WORKER;
    } else if (!mlq_str_eq_c(role, "client")) {
        return mlq_fail(err, MLQ_EINVAL, "expected 'client' or 'worker' first, not '%.*s'",
                        MLQ_STR_ARG(role));
    }
    if (!is_name(name)) {
        return mlq_fail(err, MLQ_EINVAL,
                        "'%.*s' is no name: 1 to %d of a-z, 0-9 and inner '-', '_', '.'",
                        MLQ_STR_ARG(name), NET_NAME_BYTES_MAX);
    }
    if (!is_key(key)) {
        return mlq_fail(err, MLQ_EINVAL, "the key of '%.*s' is not %d characters of Z85",
                        MLQ_STR_ARG(name), NET_KEY_TEXT_BYTES - 1);
    }
    memcpy(entry->name, name.ptr, name.len);
    memcpy(entry->public_key, key.ptr, key.len);
    return MLQ_OK;
}

static int compare_entries(const void *a, const void *b)
{
    const struct enrolled_entry *left = a;
    const struct enrolled_entry *right = b;
    return strcmp(left->public_key, right->public_key);
}

/* A key that stands in two lines with different content is nobody's: both are taken out. */
static void drop_contradictions(struct enrolled *enrolled)
{
    size_t kept = 0;
    for (size_t i = 0; i < enrolled->count;) {
        size_t next = i + 1;
        bool clash = false;
        while (next < enrolled->count &&
               compare_entries(&enrolled->entries[i], &enrolled->entries[next]) == 0) {
            clash = clash || enrolled->entries[i].role != enrolled->entries[next].role ||
                    strcmp(enrolled->entries[i].name, enrolled->entries[next].name) != 0;
            next++;
        }
        if (clash) {
            log_error("net.enrolled", "path=\"%s\" name=%s problem=\"one key in two lines\"",
                      enrolled->path, enrolled->entries[i].name);
        } else {
            enrolled->entries[kept++] = enrolled->entries[i];
        }
        i = next;
    }
    enrolled->count = kept;
}

static void parse(struct enrolled *enrolled, struct mlq_str text)
{
    size_t room = 1;
    for (size_t i = 0; i < text.len; i++) {
        room += text.ptr[i] == '\n';
    }
    enrolled->entries = mlq_alloc_array(room, sizeof *enrolled->entries);
    enrolled->count = 0;
    for (unsigned number = 1; text.len > 0; number++) {
        struct mlq_str line;
        struct mlq_err err = MLQ_ERR_INIT;
        (void)mlq_str_cut(text, '\n', &line, &text);
        int rc = enrolled_parse_line(line, &enrolled->entries[enrolled->count], &err);
        if (rc == MLQ_OK) {
            enrolled->count++;
        } else if (rc != MLQ_ENOENT) {
            log_error("net.enrolled", "path=\"%s\" line=%u problem=\"%s\"", enrolled->path, number,
                      err.text);
        }
    }
    qsort(enrolled->entries, enrolled->count, sizeof *enrolled->entries, compare_entries);
    drop_contradictions(enrolled);
}

static int load(struct enrolled *enrolled, struct mlq_err *err)
{
    char *text = NULL;
    size_t len = 0;
    struct stat status = {0};
    mlq_free(enrolled->entries);
    enrolled->entries = NULL;
    enrolled->count = 0;
    /* The status is taken before the content: a change in between is seen by the next refresh. */
    bool known = stat(enrolled->path, &status) == 0;
    enrolled->seen = known ? status : (struct stat){0};
    int rc = mlq_fs_read(enrolled->path, LIMIT_ENROLLED_BYTES, &text, &len, err);
    if (rc == MLQ_OK) {
        parse(enrolled, (struct mlq_str){.ptr = text, .len = len});
    } else {
        enrolled->seen = (struct stat){0};
    }
    mlq_free(text);
    return rc;
}

int enrolled_create(const char *path, struct enrolled **enrolled, struct mlq_err *err)
{
    struct enrolled *made = mlq_alloc(sizeof *made);
    made->path = mlq_strdup(path);
    int rc = load(made, err);
    if (rc != MLQ_OK) {
        enrolled_destroy(&made);
        return mlq_wrap(err, rc, "read the enrolled keys");
    }
    *enrolled = made;
    return MLQ_OK;
}

void enrolled_destroy(struct enrolled **enrolled)
{
    if (*enrolled == NULL) {
        return;
    }
    mlq_free((*enrolled)->entries);
    mlq_free((*enrolled)->path);
    mlq_free(*enrolled);
    *enrolled = NULL;
}

void enrolled_refresh(struct enrolled *enrolled)
{
    struct stat now = {0};
    const struct stat *seen = &enrolled->seen;
    if (stat(enrolled->path, &now) == 0 && now.st_ino == seen->st_ino &&
        now.st_dev == seen->st_dev && now.st_size == seen->st_size &&
        now.st_mtim.tv_sec == seen->st_mtim.tv_sec &&
        now.st_mtim.tv_nsec == seen->st_mtim.tv_nsec) {
        return;
    }
    bool was_readable = seen->st_ino != 0;
    struct mlq_err err = MLQ_ERR_INIT;
    if (load(enrolled, &err) == MLQ_OK) {
        log_info("net.enrolled", "path=\"%s\" keys=%zu", enrolled->path, enrolled->count);
    } else if (was_readable) {
        log_error("net.enrolled", "path=\"%s\" problem=\"%s: nobody may connect\"", enrolled->path,
                  err.text);
    }
}

const struct enrolled_entry *enrolled_find(const struct enrolled *enrolled, const char *public_key)
{
    struct enrolled_entry wanted = {.role = NET_ROLE_CLIENT};
    if (enrolled->count == 0 || strlen(public_key) != NET_KEY_TEXT_BYTES - 1) {
        return NULL;
    }
    memcpy(wanted.public_key, public_key, NET_KEY_TEXT_BYTES);
    return bsearch(&wanted, enrolled->entries, enrolled->count, sizeof wanted, compare_entries);
}

size_t enrolled_count(const struct enrolled *enrolled)
{
    return enrolled->count;
}
