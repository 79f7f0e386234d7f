/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/exec/cgpool.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/prng.h"
#include "lib/sys/fs.h"
#include "lib/sys/mem.h"

void cgpool_init(struct cgpool *pool, const struct cgroup_host *host, const char *home)
{
    uint64_t hash = 0;
    for (const char *at = home; *at != '\0'; at++) {
        hash = mlq_hash_u64(hash ^ (uint64_t)(unsigned char)*at);
    }
    *pool = (struct cgpool){.host = host};
    (void)snprintf(pool->prefix, sizeof pool->prefix, "mlq-%016llx-", (unsigned long long)hash);
}

static bool is_same(const struct cgroup_bounds *a, const struct cgroup_bounds *b)
{
    return a->mem_bytes == b->mem_bytes && a->cpu_milli == b->cpu_milli &&
           a->pids_max == b->pids_max;
}

const char *cgpool_take(struct cgpool *pool, const struct cgroup_bounds *bounds, uint64_t attempt,
                        uint32_t rank, struct mlq_region *region)
{
    for (unsigned i = pool->count; i > 0; i--) {
        const struct cgpool_entry *entry = &pool->entries[i - 1];
        if (is_same(&entry->bounds, bounds)) {
            const char *name = mlq_region_strdup(region, entry->name);
            pool->entries[i - 1] = pool->entries[--pool->count];
            return name;
        }
    }
    return mlq_region_format(region, "%s%llu-%u", pool->prefix, (unsigned long long)attempt, rank);
}

static void remove_all(const struct cgroup_host *host, const char *name)
{
    for (int i = 0; i < CGROUP_CONTROLLERS; i++) {
        if (host->parents[i][0] != '\0') {
            char *path = mlq_fs_join(host->parents[i], name);
            (void)cgroup_remove(path);
            mlq_free(path);
        }
    }
}

bool cgpool_give(struct cgpool *pool, const char *name, const struct cgroup_bounds *bounds)
{
    if (pool->count == CGPOOL_MAX) {
        remove_all(pool->host, name);
        return false;
    }
    struct cgpool_entry *entry = &pool->entries[pool->count++];
    (void)snprintf(entry->name, sizeof entry->name, "%s", name);
    entry->bounds = *bounds;
    return true;
}

void cgpool_fini(struct cgpool *pool)
{
    while (pool->count > 0) {
        remove_all(pool->host, pool->entries[--pool->count].name);
    }
}

void cgpool_sweep(struct cgpool *pool, bool (*is_used)(void *context, const char *path), void *context)
{
    for (int i = 0; i < CGROUP_CONTROLLERS; i++) {
        const char *parent = pool->host->parents[i];
        DIR *folder = parent[0] == '\0' ? NULL : opendir(parent);
        for (struct dirent *entry = folder == NULL ? NULL : readdir(folder); entry != NULL;
             entry = readdir(folder)) {
            char *path = mlq_fs_join(parent, entry->d_name);
            if (strncmp(entry->d_name, pool->prefix, strlen(pool->prefix)) == 0 &&
                !is_used(context, path)) {
                (void)cgroup_remove(path); /* not while processes are in it */
            }
            mlq_free(path);
        }
        if (folder != NULL) {
            closedir(folder);
        }
    }
}
