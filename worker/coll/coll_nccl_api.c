/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/coll/coll_nccl_api.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#define CUDA_LIBRARY "libcuda.so.1"
#define NCCL_LIBRARY "libnccl.so.2"

/* A function pointer is copied as bytes, since C has no cast from void * to one. */
static int
find(void *library, const char *file, const char *symbol, void *member, struct mlq_err *err)
{
    void *found = dlsym(library, symbol);
    if (found == NULL) {
        return mlq_fail(err, MLQ_ENOTSUP, "%s has no %s: it is too old", file, symbol);
    }
    memcpy(member, &found, sizeof(found));
    return 0;
}

#define FIND(member, symbol, result, arguments)                                                    \
    rc = rc == 0 ? find(library, file, #symbol, &to->member, err) : rc;

static int load_cuda(struct nccl_cuda_api *to, struct mlq_err *err)
{
    const char *file = CUDA_LIBRARY;
    void *library = dlopen(file, RTLD_NOW | RTLD_GLOBAL);
    if (library == NULL) {
        return mlq_fail(err, MLQ_ENOTSUP,
                        "this machine has no NVIDIA driver (%s): run on one that has (resources: "
                        "{gpus: 1}), or choose another way to move bytes",
                        dlerror());
    }
    int rc = 0;
    NCCL_CUDA_FUNCTIONS(FIND)
    return rc;
}

static int load_nccl(struct nccl_api *to, struct mlq_err *err)
{
    const char *file = NCCL_LIBRARY;
    void *library = dlopen(file, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        return mlq_fail(err, MLQ_ENOTSUP,
                        "NCCL is not installed (%s): install libnccl2 from NVIDIA's repository, "
                        "or pip install nvidia-nccl-cu13 and set LD_LIBRARY_PATH to its folder "
                        "nvidia/nccl/lib",
                        dlerror());
    }
    int rc = 0;
    NCCL_ID_FUNCTIONS(FIND)
    NCCL_FUNCTIONS(FIND)
    if (rc == 0 && (to->version(&to->found_version) != NCCL_SUCCESS ||
                    to->found_version < NCCL_VERSION_LEAST)) {
        int v = to->found_version, least = NCCL_VERSION_LEAST;
        rc = mlq_fail(err, MLQ_ENOTSUP,
                      "NCCL is %d.%d.%d, and needs to be %d.%d.%d: older ones get stuck when a "
                      "gang is aborted",
                      v / 10000, v / 100 % 100, v % 100, least / 10000, least / 100 % 100,
                      least % 100);
    }
    return rc;
}

int coll_nccl_api_load(const struct nccl_api **api, struct mlq_err *err)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static struct nccl_api table;
    static bool is_loaded;
    (void)pthread_mutex_lock(&lock);
    int rc = is_loaded ? 0 : load_cuda(&table.cuda, err);
    if (rc == 0 && !is_loaded) {
        rc = load_nccl(&table, err);
    }
    is_loaded = rc == 0;
    (void)pthread_mutex_unlock(&lock);
    *api = rc == 0 ? &table : NULL;
    return rc;
}
