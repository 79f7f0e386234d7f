/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/op/op_memory.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/str.h"
#include "lib/sys/fs.h"
#include "lib/sys/mem.h"
#include "lib/task/task.h"

#define FILE_BYTES_MAX (1u << 20)

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Empty when it cannot be read. */
static char *read_file(const char *path)
{
    char *data = NULL;
    size_t len = 0;
    return mlq_fs_read(path, FILE_BYTES_MAX, &data, &len, NULL) == 0 ? data : mlq_strdup("");
}

/* The number that a file holds; no limit when it holds none ("max"), or is not there. */
static uint64_t limit_in(const char *folder, struct mlq_str group, const char *file)
{
    char *path = mlq_format("%s%.*s/%s", folder, MLQ_STR_ARG(group), file), *text = read_file(path);
    uint64_t bytes = UINT64_MAX;
    bool is_number = mlq_str_u64(mlq_str_trim(mlq_str_from(text)), &bytes);
    mlq_free(path);
    mlq_free(text);
    return is_number ? bytes : UINT64_MAX;
}

/* Of a group and of those that it is in. Inside a container its own group may be the root. */
static uint64_t limit_of_group(const char *folder, struct mlq_str group, const char *file)
{
    uint64_t bytes = limit_in(folder, mlq_str_from(""), file);
    while (group.len > 1) {
        bytes = least(bytes, limit_in(folder, group, file));
        while (group.len > 0 && group.ptr[--group.len] != '/') {
        }
    }
    return bytes;
}

/* /proc/self/cgroup: lines NUMBER:CONTROLLERS:GROUP. */
static uint64_t limit_of_groups(void)
{
    char *text = read_file("/proc/self/cgroup");
    struct mlq_str rest = mlq_str_from(text), line, controllers;
    uint64_t bytes = UINT64_MAX;
    while (rest.len > 0) {
        (void)mlq_str_cut(rest, '\n', &line, &rest);
        (void)mlq_str_cut(line, ':', &controllers, &line);
        (void)mlq_str_cut(line, ':', &controllers, &line);
        if (controllers.len == 0) {
            bytes = least(bytes, limit_of_group("/sys/fs/cgroup", line, "memory.max"));
        } else if (mlq_str_eq_c(controllers, "memory")) {
            bytes = least(bytes,
                          limit_of_group("/sys/fs/cgroup/memory", line, "memory.limit_in_bytes"));
        }
    }
    mlq_free(text);
    return bytes;
}

/* What can be had without swapping; it is there for all ranks of this machine. */
static uint64_t left_here(void)
{
    char *text = read_file("/proc/meminfo");
    const char *line = strstr(text, "MemAvailable:"), *ranks_text = getenv("LOCAL_WORLD_SIZE");
    unsigned long long kib = 0;
    uint64_t ranks = 1;
    bool is_known = line != NULL && sscanf(line, "MemAvailable: %llu kB", &kib) == 1;
    mlq_free(text);
    if (ranks_text != NULL && (!mlq_str_u64(mlq_str_from(ranks_text), &ranks) || ranks == 0)) {
        ranks = 1;
    }
    return is_known ? kib * 1024 / ranks : UINT64_MAX;
}

uint64_t op_memory_bytes(void)
{
    const char *text = task_env("MEMORY");
    uint64_t given = UINT64_MAX;
    if (text != NULL && !mlq_str_u64(mlq_str_from(text), &given)) {
        given = UINT64_MAX;
    }
    return least(given, least(limit_of_groups(), left_here()));
}
