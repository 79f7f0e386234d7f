/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "client/cli/gitfiles.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/str.h"
#include "lib/sys/mem.h"

#define LIST_BYTES_MAX (64u << 20)
#define READ_BYTES     65536

extern char **environ;

struct gitfiles {
    bool is_repository;
    char **paths; /* sorted by bytes */
    size_t count;
};

/* Everything that `git ARGS` in `dir` prints; MLQ_ENOENT when it fails or there is no git. */
static int run_git(const char *dir, const char *const *words, char **output, size_t *len)
{
    const char *argv[12] = {"git", "-C", dir};
    int ends[2];
    pid_t pid;
    posix_spawn_file_actions_t files;
    size_t count = 3;
    while (*words != NULL && count < 11) {
        argv[count++] = *words++;
    }
    if (pipe2(ends, O_CLOEXEC) != 0) {
        return MLQ_EIO;
    }
    (void)posix_spawn_file_actions_init(&files);
    (void)posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    (void)posix_spawn_file_actions_addopen(&files, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    (void)posix_spawn_file_actions_adddup2(&files, ends[1], STDOUT_FILENO);
    int failed = posix_spawnp(&pid, "git", &files, NULL, (char *const *)(uintptr_t)argv, environ);
    (void)posix_spawn_file_actions_destroy(&files);
    close(ends[1]);
    char *data = NULL;
    size_t used = 0;
    bool more = failed == 0;
    while (more && used < LIST_BYTES_MAX) {
        data = mlq_realloc_array(data, used + READ_BYTES + 1, 1);
        ssize_t got = read(ends[0], data + used, READ_BYTES);
        used += got > 0 ? (size_t)got : 0;
        more = got > 0 || (got < 0 && errno == EINTR);
    }
    close(ends[0]); /* a list without end is cut, and git with it */
    int status = 1;
    while (failed == 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (failed != 0 || status != 0 || used >= LIST_BYTES_MAX) {
        mlq_free(data);
        return used >= LIST_BYTES_MAX ? MLQ_EFULL : MLQ_ENOENT;
    }
    data[used] = '\0';
    *output = data;
    *len = used;
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
