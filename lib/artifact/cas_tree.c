/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Both directions go from descriptor to descriptor with O_NOFOLLOW and never by a whole path, so a
 * folder that is swapped for a symlink meanwhile is an error, not a way out. A manifest comes from
 * the store, which anybody with access can write to: it is hostile until checked.
 *
 * Why a link may have ".." only in front: in "b/.." the folder b may itself be a link to somewhere
 * less deep, and the ".." then climbs further than the text says. With ".." only in front, counted
 * against real folders, each link stays inside, so every chain of them does.
 */
#include "lib/artifact/cas_tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jansson.h>

#include "lib/artifact/io.h"
#include "lib/base/panic.h"
#include "lib/sys/fs.h"
#include "lib/sys/mem.h"

#define TREE_VERSION    1
#define JSON_DEPTH_MAX  8u
#define JSON_VALUES_MAX (CAS_TREE_ENTRIES_MAX * 8u)

struct entry {
    char *path;
    char *link; /* NULL: a file */
    struct cas_digest digest;
    uint64_t bytes;
    bool executable;
};

struct frame {
    DIR *dir;
    char *path; /* inner, "" for the top */
};

struct walk {
    const struct cas_tree_store *store;
    cas_skip_fn skip;
    void *context;
    struct frame frames[CAS_TREE_DEPTH_MAX];
    uint32_t depth;
    struct entry *entries;
    size_t count;
    size_t room;
    uint64_t bytes;
};

static bool is_tree_path(struct mlq_str path)
{
    return path.len <= CAS_TREE_PATH_BYTES_MAX && mlq_fs_is_inner_path(path) &&
           mlq_str_is_utf8(path);
}

static uint32_t count_char(const char *text, char wanted)
{
    uint32_t count = 0;
    for (; *text != '\0'; text++) {
        count += *text == wanted ? 1 : 0;
    }
    return count;
}

/* See the top of this file. */
static bool is_inner_link(const char *path, const char *target)
{
    uint32_t depth = count_char(path, '/');
    struct mlq_str rest = mlq_str_from(target);
    bool climbed = false;
    while (mlq_str_starts(rest, "../") || mlq_str_eq_c(rest, "..")) {
        if (depth == 0) {
            return false;
        }
        depth--;
        climbed = true;
        size_t step = rest.len > 2 ? 3 : 2;
        rest = (struct mlq_str){rest.ptr + step, rest.len - step};
    }
    return rest.len == 0 ? climbed : is_tree_path(rest);
}

/* For messages: a name may hold anything. Cuts in place. */
static const char *printable(char *name)
{
    for (char *at = name; *at != '\0'; at++) {
        if ((unsigned char)*at < 0x20 || (unsigned char)*at >= 0x7f) {
            *at = '?';
        }
    }
    return name;
}

/* ---- Putting ---- */

static void entries_free(struct entry *entries, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        mlq_free(entries[i].path);
        mlq_free(entries[i].link);
    }
    mlq_free(entries);
}

static struct entry *add_entry(struct walk *walk, const char *path)
{
    if (walk->count == walk->room) {
        walk->room = walk->room == 0 ? 64 : walk->room * 2;
        walk->entries = mlq_realloc_array(walk->entries, walk->room, sizeof *walk->entries);
    }
    struct entry *entry = &walk->entries[walk->count++];
    *entry = (struct entry){.path = mlq_strdup(path)};
    return entry;
}

static int enter(struct walk *walk, int parent_fd, const char *name, const char *path,
                 struct mlq_err *err)
{
    if (walk->depth == CAS_TREE_DEPTH_MAX) {
        return mlq_fail(err, MLQ_EFULL, "'%s' is more than %u folders deep", path,
                        CAS_TREE_DEPTH_MAX);
    }
    /* The top itself may be reached through a symlink; nothing below it. */
    int nofollow = walk->depth == 0 ? 0 : O_NOFOLLOW;
    int fd = openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | nofollow);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (dir == NULL) {
        int rc = io_fail(err, "open folder", name);
        if (fd >= 0) {
            close(fd);
        }
        return rc;
    }
    walk->frames[walk->depth] = (struct frame){.dir = dir, .path = mlq_strdup(path)};
    walk->depth++;
    return MLQ_OK;
}

static void leave(struct walk *walk)
{
    walk->depth--;
    (void)closedir(walk->frames[walk->depth].dir);
    mlq_free(walk->frames[walk->depth].path);
}

static int put_link(struct walk *walk, int dir_fd, const char *name, const char *path,
                    struct mlq_err *err)
{
    char target[CAS_TREE_PATH_BYTES_MAX + 1];
    ssize_t len = readlinkat(dir_fd, name, target, sizeof target - 1);
    if (len < 0) {
        return io_fail(err, "read link", path);
    }
    target[len] = '\0';
    if (!is_inner_link(path, target)) {
        return mlq_fail(
            err, MLQ_EINVAL,
            "'%s' is a symbolic link that may lead outside (to '%.200s'): leave it out, or "
            "make it relative with '..' only in front",
            path, printable(target));
    }
    add_entry(walk, path)->link = mlq_strdup(target);
    return MLQ_OK;
}

static int put_file(struct walk *walk, int dir_fd, const char *name, const char *path,
                    const struct stat *status, struct mlq_err *err)
{
    int fd;
    uint64_t bytes;
    int rc = io_open_regular(dir_fd, name, false, &fd, &bytes, err);
    if (rc != MLQ_OK) {
        return rc;
    }
    struct cas_digest digest;
    rc = walk->store->put(walk->store->cas, fd, path, &digest, &bytes, err);
    close(fd);
    if (rc != MLQ_OK) {
        return rc;
    }
    struct entry *entry = add_entry(walk, path);
    entry->digest = digest;
    entry->bytes = bytes;
    entry->executable = (status->st_mode & S_IXUSR) != 0;
    walk->bytes += bytes;
    return MLQ_OK;
}

static int put_child(struct walk *walk, int dir_fd, const char *name, const char *path,
                     struct mlq_err *err)
{
    struct stat status;
    if (fstatat(dir_fd, name, &status, AT_SYMLINK_NOFOLLOW) != 0) {
        return io_fail(err, "stat", path);
    }
    if (walk->skip != NULL && walk->skip(walk->context, path, S_ISDIR(status.st_mode))) {
        return MLQ_OK;
    }
    if (S_ISDIR(status.st_mode)) {
        return enter(walk, dir_fd, name, path, err);
    }
    if (walk->count == CAS_TREE_ENTRIES_MAX) {
        return mlq_fail(err, MLQ_EFULL, "more than %u files", CAS_TREE_ENTRIES_MAX);
    }
    if (S_ISLNK(status.st_mode)) {
        return put_link(walk, dir_fd, name, path, err);
    }
    if (!S_ISREG(status.st_mode)) {
        return mlq_fail(
            err, MLQ_EINVAL,
            "'%s' is a device, pipe or socket: only files, folders and links can be kept", path);
    }
    return put_file(walk, dir_fd, name, path, &status, err);
}

/* One entry of the innermost folder. */
static int step(struct walk *walk, struct mlq_err *err)
{
    struct frame *frame = &walk->frames[walk->depth - 1];
    errno = 0;
    struct dirent *entry = readdir(frame->dir);
    if (entry == NULL) {
        int rc = errno == 0 ? MLQ_OK : io_fail(err, "read folder", frame->path);
        leave(walk);
        return rc;
    }
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) {
        return MLQ_OK;
    }
    char *path = frame->path[0] == '\0' ? mlq_strdup(entry->d_name)
                                        : mlq_format("%s/%s", frame->path, entry->d_name);
    int rc = is_tree_path(mlq_str_from(path))
                 ? put_child(walk, dirfd(frame->dir), entry->d_name, path, err)
                 : mlq_fail(err, MLQ_EINVAL,
                            "'%.200s': a name must be UTF-8 without control characters, a path at "
                            "most %u bytes",
                            printable(path), CAS_TREE_PATH_BYTES_MAX);
    mlq_free(path);
    return rc;
}

static int compare_paths(const void *a, const void *b)
{
    const struct entry *x = a;
    const struct entry *y = b;
    return strcmp(x->path, y->path);
}

static json_t *describe(const struct entry *entry)
{
    if (entry->link != NULL) {
        return json_pack("{s:s, s:s}", "path", entry->path, "link", entry->link);
    }
    char digest[CAS_DIGEST_TEXT_BYTES];
    cas_digest_format(&entry->digest, digest);
    return json_pack("{s:s, s:s, s:s, s:I}", "path", entry->path, "mode",
                     entry->executable ? "0755" : "0644", "digest", digest, "bytes",
                     (json_int_t)entry->bytes);
}

static int write_manifest(struct walk *walk, char **manifest, struct mlq_err *err)
{
    if (walk->count > 0) {
        qsort(walk->entries, walk->count, sizeof *walk->entries, compare_paths);
    }
    json_t *list = json_array();
    for (size_t i = 0; i < walk->count; i++) {
        MLQ_ASSERT(json_array_append_new(list, describe(&walk->entries[i])) == 0);
    }
    json_t *root = json_pack("{s:i, s:o}", "mlq.tree", TREE_VERSION, "entries", list);
    char *text = json_dumps(root, JSON_COMPACT);
    json_decref(root);
    MLQ_ASSERT(text != NULL);
    int rc = MLQ_OK;
    if (strlen(text) > CAS_TREE_MANIFEST_BYTES_MAX) {
        rc = mlq_fail(err, MLQ_EFULL, "its list of files is over the limit of %u bytes",
                      CAS_TREE_MANIFEST_BYTES_MAX);
    } else {
        *manifest = mlq_strdup(text);
    }
    mlq_free(text); /* jansson's, which comes from malloc as ours does */
    return rc;
}

int cas_tree_put(const struct cas_tree_store *store, const char *dir, cas_skip_fn skip,
                 void *context, char **manifest, uint64_t *bytes, struct mlq_err *err)
{
    struct walk *walk = mlq_alloc(sizeof *walk);
    walk->store = store;
    walk->skip = skip;
    walk->context = context;
    int rc = enter(walk, AT_FDCWD, dir, "", err);
    while (rc == MLQ_OK && walk->depth > 0) {
        rc = step(walk, err);
    }
    while (walk->depth > 0) {
        leave(walk);
    }
    if (rc == MLQ_OK) {
        rc = write_manifest(walk, manifest, err);
        *bytes = walk->bytes;
    }
    entries_free(walk->entries, walk->count);
    mlq_free(walk);
    return rc;
}

/* ---- Fetching ---- */

/* One item of the manifest; the texts of *entry are borrowed from `item`. */
static int read_entry(const json_t *item, struct entry *entry, struct mlq_err *err)
{
    const char *path = json_string_value(json_object_get(item, "path"));
    if (path == NULL || !is_tree_path(mlq_str_from(path))) {
        return mlq_fail(err, MLQ_ECORRUPT, "manifest: '%.200s' is not a path inside the folder",
                        path == NULL ? "" : path);
    }
    uint32_t depth = count_char(path, '/');
    if (depth >= CAS_TREE_DEPTH_MAX) {
        return mlq_fail(err, MLQ_ECORRUPT, "manifest: '%.200s' is more than %u folders deep", path,
                        CAS_TREE_DEPTH_MAX);
    }
    *entry = (struct entry){.path = (char *)(uintptr_t)path};
    const json_t *link = json_object_get(item, "link");
    if (link != NULL) {
        entry->link = (char *)(uintptr_t)json_string_value(link);
        return entry->link != NULL && is_inner_link(path, entry->link)
                   ? MLQ_OK
                   : mlq_fail(err, MLQ_ECORRUPT, "manifest: the link '%.200s' may lead outside",
                              path);
    }
    const char *mode = json_string_value(json_object_get(item, "mode"));
    const char *digest = json_string_value(json_object_get(item, "digest"));
    const json_t *bytes = json_object_get(item, "bytes");
    if (mode == NULL || (strcmp(mode, "0644") != 0 && strcmp(mode, "0755") != 0) ||
        digest == NULL || !cas_digest_parse(mlq_str_from(digest), &entry->digest) ||
        !json_is_integer(bytes) || json_integer_value(bytes) < 0) {
        return mlq_fail(err, MLQ_ECORRUPT, "manifest: '%.200s' lacks mode, digest or bytes", path);
    }
    entry->executable = strcmp(mode, "0755") == 0;
    entry->bytes = (uint64_t)json_integer_value(bytes);
    return MLQ_OK;
}

/* Opens the folder that holds `path`, making what is missing. *name is the last part. */
static int open_parent(int top_fd, const char *path, int *fd, const char **name,
                       struct mlq_err *err)
{
    int at = fcntl(top_fd, F_DUPFD_CLOEXEC, 0);
    if (at < 0) {
        return io_fail(err, "open folder of", path);
    }
    struct mlq_str part;
    struct mlq_str rest = mlq_str_from(path);
    while (mlq_str_cut(rest, '/', &part, &rest)) {
        char *folder = mlq_strndup(part);
        int next = -1;
        if (mkdirat(at, folder, 0755) == 0 || errno == EEXIST) {
            next = openat(at, folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        }
        int rc = next < 0 ? io_fail(err, "make folder of", path) : MLQ_OK;
        mlq_free(folder);
        close(at);
        if (rc != MLQ_OK) {
            return rc;
        }
        at = next;
    }
    *fd = at;
    *name = part.ptr; /* the last part ends where the path does */
    return MLQ_OK;
}

static int fetch_entry(const struct cas_tree_store *store, int top_fd, const struct entry *entry,
                       bool writable, struct mlq_err *err)
{
    int dir_fd = -1;
    const char *name = NULL;
    int rc = open_parent(top_fd, entry->path, &dir_fd, &name, err);
    if (rc != MLQ_OK) {
        return rc;
    }
    if (entry->link != NULL) {
        rc = symlinkat(entry->link, dir_fd, name) == 0 ? MLQ_OK
                                                       : io_fail(err, "make link", entry->path);
    } else {
        mode_t mode = writable ? 0644 : 0444;
        mode |= entry->executable ? 0111 : 0;
        rc = store->fetch(store->cas, &entry->digest, dir_fd, name, mode, err);
    }
    close(dir_fd);
    return rc;
}

/* Files first, links last: no file can be written through a link of the same manifest. */
static int fetch_entries(const struct cas_tree_store *store, const json_t *list, int top_fd,
                         bool writable, struct mlq_err *err)
{
    for (int links = 0; links < 2; links++) {
        for (size_t i = 0; i < json_array_size(list); i++) {
            struct entry entry;
            int rc = read_entry(json_array_get(list, i), &entry, err);
            if (rc == MLQ_OK && (entry.link != NULL) == (links == 1)) {
                rc = fetch_entry(store, top_fd, &entry, writable, err);
            }
            if (rc != MLQ_OK) {
                return rc;
            }
        }
    }
    return MLQ_OK;
}

/* All of the manifest is checked before the first file is made. */
static int check_manifest(const json_t *root, struct mlq_err *err)
{
    const json_t *list = json_object_get(root, "entries");
    if (json_integer_value(json_object_get(root, "mlq.tree")) != TREE_VERSION ||
        !json_is_array(list)) {
        return mlq_fail(err, MLQ_ECORRUPT, "the artifact is not a folder");
    }
    if (json_array_size(list) > CAS_TREE_ENTRIES_MAX) {
        return mlq_fail(err, MLQ_EFULL, "more than %u files", CAS_TREE_ENTRIES_MAX);
    }
    const char *previous = NULL;
    for (size_t i = 0; i < json_array_size(list); i++) {
        struct entry entry;
        int rc = read_entry(json_array_get(list, i), &entry, err);
        if (rc != MLQ_OK) {
            return rc;
        }
        if (previous != NULL && strcmp(previous, entry.path) >= 0) {
            return mlq_fail(err, MLQ_ECORRUPT, "manifest: '%.200s' is out of order or given twice",
                            entry.path);
        }
        previous = entry.path;
    }
    return MLQ_OK;
}

int cas_tree_fetch(const struct cas_tree_store *store, struct mlq_str manifest, const char *dir,
                   bool writable, struct mlq_err *err)
{
    json_t *root = NULL;
    int rc = io_json_parse(manifest, (struct io_json_limits){JSON_DEPTH_MAX, JSON_VALUES_MAX},
                           &root, err);
    if (rc != MLQ_OK) {
        return mlq_wrap(err, MLQ_ECORRUPT, "the artifact is not a folder: manifest");
    }
    rc = check_manifest(root, err);
    if (rc == MLQ_OK) {
        rc = mlq_fs_make_dirs(dir, 0755, err);
    }
    int top_fd = -1;
    if (rc == MLQ_OK) {
        top_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        rc = top_fd < 0
                 ? io_fail(err, "open folder", dir)
                 : fetch_entries(store, json_object_get(root, "entries"), top_fd, writable, err);
    }
    if (top_fd >= 0) {
        close(top_fd);
    }
    json_decref(root);
    return rc;
}
