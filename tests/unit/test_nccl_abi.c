/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Our own declarations of NCCL and CUDA (worker/coll/coll_nccl_api.h) beside the real headers, where
 * those are installed: a difference does not compile.
 */
#include <stddef.h>
#include <stdio.h>

#include "worker/coll/coll_nccl_api.h"

#if __has_include(<nccl.h>) && __has_include(<cuda.h>)
/* nccl.h asks for the half-precision types and needs none of them; they in turn want a C++ library. */
#define __CUDA_FP16_H__
#define __CUDA_BF16_H__
#include <cuda.h>
#include <nccl.h>

#define SAME_FUNCTION(table, member, symbol)                                                       \
    _Static_assert(                                                                                \
        __builtin_types_compatible_p(__typeof__(&symbol), __typeof__(((table *)0)->member)),       \
        #symbol " has other arguments");
#define SAME_CUDA(member, symbol, result, arguments)                                               \
    SAME_FUNCTION(struct nccl_cuda_api, member, symbol)
#define SAME_NCCL(member, symbol, result, arguments)                                               \
    SAME_FUNCTION(struct nccl_api, member, symbol)
NCCL_CUDA_FUNCTIONS(SAME_CUDA)
NCCL_FUNCTIONS(SAME_NCCL)

/* An id goes by value, a configuration by pointer: what counts is their size and layout. */
_Static_assert(sizeof(struct nccl_id) == sizeof(ncclUniqueId), "ncclUniqueId");
_Static_assert(_Alignof(struct nccl_id) == _Alignof(ncclUniqueId), "ncclUniqueId");
_Static_assert(offsetof(struct nccl_config, size) == offsetof(ncclConfig_t, size), "size");
_Static_assert(offsetof(struct nccl_config, magic) == offsetof(ncclConfig_t, magic), "magic");
_Static_assert(offsetof(struct nccl_config, version) == offsetof(ncclConfig_t, version), "version");
_Static_assert(offsetof(struct nccl_config, blocking) == offsetof(ncclConfig_t, blocking),
               "blocking");
_Static_assert(sizeof(struct nccl_config) <= sizeof(ncclConfig_t), "ncclConfig_t");

static int compare(void)
{
    ncclResult_t (*unique_id)(ncclUniqueId *) = ncclGetUniqueId;
    ncclResult_t (*init)(ncclComm_t *, int, ncclUniqueId, int, ncclConfig_t *) =
        ncclCommInitRankConfig;
    const ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    const struct {
        const char *name;
        unsigned long long ours, theirs;
    } values[] = {
        {"ncclSuccess", NCCL_SUCCESS, ncclSuccess},
        {"ncclRemoteError", NCCL_REMOTE_ERROR, ncclRemoteError},
        {"ncclInProgress", NCCL_IN_PROGRESS, ncclInProgress},
        {"ncclUint8", NCCL_UINT8, ncclUint8},
        {"ncclFloat32", NCCL_FLOAT32, ncclFloat32},
        {"ncclSum", NCCL_SUM, ncclSum},
        {"magic", NCCL_CONFIG_MAGIC, config.magic},
        {"version", NCCL_CONFIG_VERSION, NCCL_VERSION(2, 14, 0)},
        {"least version", NCCL_VERSION_LEAST, NCCL_VERSION(2, 19, 1)},
        {"CUDA_SUCCESS", NCCL_CU_SUCCESS, CUDA_SUCCESS},
        {"CUDA_ERROR_NOT_READY", NCCL_CU_NOT_READY, CUDA_ERROR_NOT_READY},
        {"CU_STREAM_NON_BLOCKING", NCCL_CU_STREAM_NOWAIT, CU_STREAM_NON_BLOCKING},
    };
    int different = 0;
    (void)unique_id, (void)init; /* that they have these types is what is checked */
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        if (values[i].ours != values[i].theirs) {
            (void)fprintf(stderr, "%s: ours is %llu, theirs %llu\n", values[i].name, values[i].ours,
                          values[i].theirs);
            different = 1;
        }
    }
    (void)printf("compared with NCCL %d.%d.%d and CUDA %d\n", NCCL_MAJOR, NCCL_MINOR, NCCL_PATCH,
                 CUDA_VERSION);
    return different;
}

/* Only their addresses are looked at; nothing is linked. */
#pragma weak ncclGetUniqueId
#pragma weak ncclCommInitRankConfig

#else

static int compare(void)
{
    (void)fprintf(stderr, "skipped: nccl.h and cuda.h are not installed here (libnccl-dev and "
                          "cuda-cudart-dev of NVIDIA's repository)\n");
    return 77;
}

#endif

int main(void)
{
    return compare();
}
