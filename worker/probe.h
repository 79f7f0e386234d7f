/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * What this machine has and this process may use.
 */
#ifndef MLQ_WORKER_PROBE_H
#define MLQ_WORKER_PROBE_H

#include <stdint.h>

#include "lib/base/str.h"
#include "lib/sys/region.h"

#define PROBE_GPUS_MAX 64

struct probe {
    int64_t cpu_milli; /* by affinity and cgroup quota */
    int64_t mem_bytes; /* by the machine and cgroup limit */
    uint32_t gpu_count;
    struct mlq_str gpu_uuids[PROBE_GPUS_MAX]; /* number = place; in the region */
    const char *gpu_source; /* "nvidia-smi", "/proc/driver/nvidia", "none found" */
    char host[256];
};

void probe_machine(struct probe *probe, struct mlq_region *region);

/* The GPUs. Apart from the rest because it may run nvidia-smi (a second or so). */
void probe_gpus(struct probe *probe, struct mlq_region *region);

/* The lines of `nvidia-smi -L`: "GPU 0: NVIDIA H200 (UUID: GPU-5e1f...)". For probe_gpus and tests. */
void probe_parse_smi(struct probe *probe, struct mlq_str text, struct mlq_region *region);

#endif
