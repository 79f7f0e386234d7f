/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * mlq_cuda.so: what needs a GPU lies in a plugin, which is loaded when somebody asks for it, so that
 * one build serves machines with GPUs and without. It lies beside the program that loads it.
 */
#ifndef MLQ_COLL_COLL_PLUGIN_H
#define MLQ_COLL_COLL_PLUGIN_H

#include <stdint.h>

#include "lib/base/err.h"
#include "worker/coll/coll.h"

#define COLL_PLUGIN_FILE "mlq_cuda.so"
/* Of struct coll_plugin and all that it reaches: a plugin of another build is refused. */
#define COLL_PLUGIN_ABI 4u

struct coll_plugin {
    uint32_t abi; /* COLL_PLUGIN_ABI */
    const struct coll_ops *nccl;
};

/* What the plugin exports. */
#define COLL_PLUGIN_SYMBOL "coll_nccl_plugin"

/* Loads it once and keeps it. `folder` NULL: that of the running program. MLQ_ENOTSUP says what is
 * missing. */
int coll_plugin_load(const char *folder, const struct coll_plugin **plugin, struct mlq_err *err);

#endif
