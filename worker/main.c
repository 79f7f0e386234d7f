/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * mlq-worker: see config.c for its use, worker.h for its parts.
 */
#include <inttypes.h>
#include <stdio.h>

#include "lib/sys/region.h"
#include "worker/config.h"
#include "worker/exec/cgroup.h"
#include "worker/probe.h"
#include "worker/version.h"
#include "worker/worker.h"

#define EXIT_USAGE 2

/* Lines "name value", which `mlq doctor` reads. */
static void print_probe(struct mlq_region *region)
{
    struct probe probe;
    struct cgroup_host host;
    char limits[256];
    probe_machine(&probe, region);
    probe_gpus(&probe, region);
    cgroup_probe(&host);
    cgroup_probe_describe(&host, limits, sizeof limits);
    printf("cpu_milli %" PRId64 "\nmem_bytes %" PRId64 "\ngpus %u\ngpu_source %s\nlimits %s\n", probe.cpu_milli,
           probe.mem_bytes, probe.gpu_count, probe.gpu_source, limits);
}

static int run(int argc, char **argv, struct mlq_region *region)
{
    struct mlq_err err = MLQ_ERR_INIT;
    struct config config;
    enum config_wish wish;
    int rc = config_parse(argc, argv, region, &config, &wish, &err);
    if (rc != MLQ_OK) {
        (void)fprintf(stderr, "mlq-worker: %s\n", err.text);
        return rc == MLQ_EINVAL ? EXIT_USAGE : 1;
    }
    switch (wish) {
    case CONFIG_HELP:
        (void)fputs(config_usage, stdout);
        return 0;
    case CONFIG_VERSION:
        (void)puts("mlq-worker " MLQ_VERSION);
        return 0;
    case CONFIG_PROBE:
        print_probe(region);
        return 0;
    case CONFIG_RUN:
        break;
    }
    return worker_run(&config);
}

int main(int argc, char **argv)
{
    struct mlq_region *region = mlq_region_create();
    int status = run(argc, argv, region);
    mlq_region_destroy(&region);
    return status;
}
