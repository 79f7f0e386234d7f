/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "client/cli/gitfiles.h"

#include <stdlib.h>
#include <string.h>

#include "client/cli/capture.h"
#include "lib/base/str.h"
#include "lib/sys/mem.h"

#define LIST_BYTES_MAX (64u << 20)

struct gitfiles {
    bool is_repository;
    char **paths; /* sorted by bytes */
    size_t count;
};

/* Everything that `git ARGS` in `dir` prints; MLQ_ENOENT when it fails or there is no git. */
static int run_git(const char *dir, const char *const *words, char **output, size_t *len)
{
    const char *argv[12] = {"git", "-C", dir};
    size_t count = 3;
    while (*words != NULL && count < 11) {
        argv[count++] = *words++;
    }
    struct capture said = capture_run(argv, LIST_BYTES_MAX, false);
    if (said.status != 0) {
        int rc = said.len > LIST_BYTES_MAX ? MLQ_EFULL : MLQ_ENOENT;
        capture_clear(&said);
        return rc;
    }
    *output = said.text;
    *len = said.len;
    return MLQ_OK;
}

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

int gitfiles_open(const char *dir, struct mlq_region *region, struct gitfiles **files,
                  struct mlq_err *err)
{
    static const char *const words[] = {"ls-files",           "-z", "--cached", "--others",
                                        "--exclude-standard", NULL};
    char *output = NULL;
    size_t len = 0;
    *files = mlq_region_alloc(region, sizeof **files);
    int rc = run_git(dir, words, &output, &len);
    if (rc == MLQ_EFULL) {
        return mlq_fail(err, rc, "%s: git lists too many files", dir);
    }
    if (rc != MLQ_OK) {
        return MLQ_OK; /* no repository */
    }
    size_t count = 0;
    for (size_t i = 0; i < len; i++) {
        count += output[i] == '\0' ? 1 : 0;
    }
    (*files)->is_repository = true;
    (*files)->paths = mlq_region_array(region, count + 1, sizeof(char *));
    for (size_t at = 0; at < len; at += strlen(output + at) + 1) {
        (*files)->paths[(*files)->count++] = mlq_region_strdup(region, output + at);
    }
    mlq_free(output);
    qsort((*files)->paths, (*files)->count, sizeof(char *), by_bytes);
    return MLQ_OK;
}

/* The first path that is not below `text` in the order of bytes. */
static size_t lower_bound(const struct gitfiles *files, const char *text)
{
    size_t low = 0;
    size_t high = files->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (strcmp(files->paths[middle], text) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

bool gitfiles_skip(void *context, const char *inner_path, bool is_dir)
{
    const struct gitfiles *files = context;
    const char *slash = strrchr(inner_path, '/');
    const char *name = slash == NULL ? inner_path : slash + 1;
    if (strcmp(name, ".git") == 0) {
        return true;
    }
    if (!files->is_repository) {
        return is_dir && strcmp(name, "__pycache__") == 0;
    }
    char *wanted = mlq_format(is_dir ? "%s/" : "%s", inner_path);
    size_t at = lower_bound(files, wanted);
    bool found =
        at < files->count && (is_dir ? strncmp(files->paths[at], wanted, strlen(wanted)) == 0
                                     : strcmp(files->paths[at], wanted) == 0);
    mlq_free(wanted);
    return !found;
}

const char *gitfiles_commit(const char *dir, struct mlq_region *region)
{
    static const char *const head[] = {"rev-parse", "HEAD", NULL};
    static const char *const changes[] = {"status", "--porcelain", "--", ".", NULL};
    char *commit = NULL;
    char *dirty = NULL;
    size_t len = 0;
    size_t dirty_len = 0;
    const char *text = NULL;
    if (run_git(dir, head, &commit, &len) == MLQ_OK && len > 0) {
        struct mlq_str id = mlq_str_trim((struct mlq_str){commit, len});
        bool is_dirty = run_git(dir, changes, &dirty, &dirty_len) == MLQ_OK && dirty_len > 0;
        text = mlq_region_format(region, "%.*s%s", MLQ_STR_ARG(id), is_dirty ? "-dirty" : "");
    }
    mlq_free(dirty);
    mlq_free(commit);
    return text;
}
