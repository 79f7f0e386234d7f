/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/probe.h"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/sys/fs.h"
#include "lib/sys/mem.h"
#include "worker/exec/cgroup.h"

#define TEXT_BYTES_MAX (256u << 10)
#define GPU_FOLDER     "/proc/driver/nvidia/gpus"

void probe_machine(struct probe *probe, struct mlq_region *region)
{
    (void)region;
    *probe = (struct probe){.gpu_source = "none found"};
    cpu_set_t set;
    int64_t cpus = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set)
                                                               : sysconf(_SC_NPROCESSORS_ONLN);
    int64_t quota = cgroup_probe_cpu_milli();
    probe->cpu_milli = cpus * 1000 < quota ? cpus * 1000 : quota;
    int64_t physical = (int64_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);
    int64_t limit = cgroup_probe_mem_bytes();
    probe->mem_bytes = physical < limit ? physical : limit;
    if (gethostname(probe->host, sizeof probe->host - 1) != 0) {
        (void)snprintf(probe->host, sizeof probe->host, "localhost");
    }
}

static void add_gpu(struct probe *probe, struct mlq_str uuid, struct msg_gpu gpu,
                    struct mlq_region *region)
{
    if (mlq_str_starts(uuid, "GPU-") && uuid.len < 64 && probe->gpu_count < PROBE_GPUS_MAX) {
        gpu.model = mlq_region_copy(region, gpu.model);
        probe->gpus[probe->gpu_count] = gpu;
        probe->gpu_uuids[probe->gpu_count++] = mlq_region_copy(region, uuid);
    }
}

void probe_parse_smi(struct probe *probe, struct mlq_str text, struct mlq_region *region)
{
    while (text.len > 0) {
        struct mlq_str line, uuid, mebibytes, model;
        (void)mlq_str_cut(text, '\n', &line, &text);
        (void)mlq_str_cut(line, ',', &uuid, &line);
        (void)mlq_str_cut(line, ',', &mebibytes, &model);
        int64_t mib = 0; /* "[N/A]" where GPU and machine share their memory */
        if (!mlq_str_i64(mlq_str_trim(mebibytes), &mib) || mib < 0 || mib > INT32_MAX) {
            mib = 0;
        }
        struct msg_gpu gpu = {.model = mlq_str_trim(model), .mem_bytes = mib << 20};
        add_gpu(probe, mlq_str_trim(uuid), gpu, region);
    }
}

/* The value of "Key: \t value" among a file's lines, or nothing. */
static struct mlq_str value_of(const char *data, const char *key)
{
    const char *at = strstr(data, key);
    at = at == NULL ? "" : at + strlen(key);
    return mlq_str_trim((struct mlq_str){.ptr = at, .len = strcspn(at, "\n")});
}

/* The driver's own folder, one per GPU, where nvidia-smi is not installed. */
static void read_driver(struct probe *probe, struct mlq_region *region)
{
    DIR *folder = opendir(GPU_FOLDER);
    for (struct dirent *entry = folder == NULL ? NULL : readdir(folder); entry != NULL;
         entry = readdir(folder)) {
        char *path = mlq_format(GPU_FOLDER "/%s/information", entry->d_name);
        char *data = NULL;
        size_t len = 0;
        if (mlq_fs_read(path, TEXT_BYTES_MAX, &data, &len, NULL) == MLQ_OK) {
            struct msg_gpu gpu = {.model = value_of(data, "Model:")};
            add_gpu(probe, value_of(data, "GPU UUID:"), gpu, region);
        }
        mlq_free(data);
        mlq_free(path);
    }
    if (folder != NULL) {
        closedir(folder);
    }
}

/* What nvidia-smi prints, or nothing when it is absent or fails. It hangs on a broken driver, hence
 * timeout(1). */
static size_t run_smi(char *text, size_t room)
{
    const char *argv[] = {"timeout",
                          "20",
                          "nvidia-smi",
                          "--query-gpu=uuid,memory.total,name",
                          "--format=csv,noheader,nounits",
                          NULL};
    posix_spawn_file_actions_t actions;
    int ends[2];
    pid_t pid;
    int status = 1;
    size_t used = 0;
    if (pipe2(ends, O_CLOEXEC) != 0) {
        return 0;
    }
    bool good = posix_spawn_file_actions_init(&actions) == 0;
    if (good) {
        (void)posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
        (void)posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
        good = posix_spawnp(&pid, argv[0], &actions, NULL, (char **)(uintptr_t)argv, environ) == 0;
        (void)posix_spawn_file_actions_destroy(&actions);
    }
    close(ends[1]);
    for (ssize_t got = 1; good && got > 0 && used<room; used += got> 0 ? (size_t)got : 0) {
        got = read(ends[0], text + used, room - used);
    }
    close(ends[0]);
    good = good && waitpid(pid, &status, 0) == pid && status == 0;
    return good ? used : 0;
}

void probe_gpus(struct probe *probe, struct mlq_region *region)
{
    char text[8192];
    size_t len = run_smi(text, sizeof text);
    probe_parse_smi(probe, (struct mlq_str){.ptr = text, .len = len}, region);
    if (probe->gpu_count > 0) {
        probe->gpu_source = "nvidia-smi";
        return;
    }
    read_driver(probe, region);
    if (probe->gpu_count > 0) {
        probe->gpu_source = GPU_FOLDER;
    }
}
