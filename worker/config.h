/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * What a worker is told on its command line, checked.
 */
#ifndef MLQ_WORKER_CONFIG_H
#define MLQ_WORKER_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/net/net.h"
#include "lib/sys/region.h"

#define CONFIG_ENDPOINTS_MAX 8

struct config {
    const char *name;
    const char *base; /* <home>/<name>, absolute: this worker's folder */
    const char *endpoints[CONFIG_ENDPOINTS_MAX];
    uint32_t endpoint_count;
    char server_key[NET_KEY_TEXT_BYTES];
    struct net_keypair keys;
    const char *store;   /* absolute */
    const char *bin_dir; /* where mlq-shim, mlq-op and mlq-task lie */
    const char *address; /* where ranks on other machines reach those here */
    int64_t cpu_milli;   /* 0: what the machine has */
    int64_t mem_bytes;   /* 0: what the machine has */
    bool use_gpus;
    uint16_t port_first;
    uint16_t port_count;
};

enum config_wish { CONFIG_RUN, CONFIG_HELP, CONFIG_VERSION, CONFIG_PROBE };

/* Strings live in `region`. MLQ_EINVAL: the text says which option and what was expected. */
int config_parse(int argc,
                 char **argv,
                 struct mlq_region *region,
                 struct config *config,
                 enum config_wish *wish,
                 struct mlq_err *err);

extern const char config_usage[];

#endif
