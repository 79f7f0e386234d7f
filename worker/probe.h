/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * What this machine has and this process may use.
 */
#ifndef MLQ_WORKER_PROBE_H
#define MLQ_WORKER_PROBE_H

#include <stdint.h>

#include "lib/base/str.h"
#include "lib/net/msg.h"
#include "lib/sys/region.h"

#define PROBE_GPUS_MAX 64

struct probe {
    int64_t cpu_milli; /* by affinity and cgroup quota */
    int64_t mem_bytes; /* by the machine and cgroup limit */
    uint32_t gpu_count;
    struct mlq_str gpu_uuids[PROBE_GPUS_MAX]; /* number = place; in the region */
    struct msg_gpu gpus[PROBE_GPUS_MAX];      /* what they are */
    const char *gpu_source; /* "nvidia-smi", "/proc/driver/nvidia", "none found" */
    char host[256];
};

void probe_machine(struct probe *probe, struct mlq_region *region);

/* The GPUs. Apart from the rest because it may run nvidia-smi (a second or so). */
void probe_gpus(struct probe *probe, struct mlq_region *region);

/* The lines of nvidia-smi's query for uuid, memory.total (MiB) and name, as CSV:
 * "GPU-5e1f..., 143771, NVIDIA H200". For probe_gpus and tests. */
void probe_parse_smi(struct probe *probe, struct mlq_str text, struct mlq_region *region);

#endif
