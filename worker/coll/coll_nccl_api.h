/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The few functions of NCCL and of CUDA's driver that coll_nccl.c calls, declared here so that mlq
 * builds on a machine without CUDA. tests/unit/test_nccl_abi.c holds them against the real headers
 * where those are installed. The driver interface (libcuda) is enough: it comes with the driver, in
 * one version for all programs, where the runtime library (libcudart) comes in one per toolkit.
 *
 * Names and values are NVIDIA's, with our prefix.
 */
#ifndef MLQ_COLL_COLL_NCCL_API_H
#define MLQ_COLL_COLL_NCCL_API_H

#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"

/* ---- CUDA's driver ---- */

struct CUctx_st;
struct CUstream_st;

typedef unsigned nccl_cu_result; /* CUresult */
typedef int nccl_cu_device;
typedef struct CUctx_st *nccl_cu_context;
typedef struct CUstream_st *nccl_cu_stream; /* also cudaStream_t */
typedef unsigned long long nccl_cu_pointer; /* CUdeviceptr */

#define NCCL_CU_SUCCESS       0u
#define NCCL_CU_NOT_READY     600u
#define NCCL_CU_STREAM_NOWAIT 1u /* CU_STREAM_NON_BLOCKING: apart from the legacy default stream */

/* X(member, symbol, result, arguments) */
#define NCCL_CUDA_FUNCTIONS(X)                                                                     \
    X(init, cuInit, nccl_cu_result, (unsigned))                                                    \
    X(error_text, cuGetErrorString, nccl_cu_result, (nccl_cu_result, const char **))               \
    X(device_count, cuDeviceGetCount, nccl_cu_result, (int *))                                     \
    X(device_get, cuDeviceGet, nccl_cu_result, (nccl_cu_device *, int))                            \
    X(context_retain, cuDevicePrimaryCtxRetain, nccl_cu_result,                                    \
      (nccl_cu_context *, nccl_cu_device))                                                         \
    X(context_release, cuDevicePrimaryCtxRelease_v2, nccl_cu_result, (nccl_cu_device))             \
    X(context_set, cuCtxSetCurrent, nccl_cu_result, (nccl_cu_context))                             \
    X(memory_take, cuMemAlloc_v2, nccl_cu_result, (nccl_cu_pointer *, size_t))                     \
    X(memory_give, cuMemFree_v2, nccl_cu_result, (nccl_cu_pointer))                                \
    X(copy_in, cuMemcpyHtoDAsync_v2, nccl_cu_result,                                               \
      (nccl_cu_pointer, const void *, size_t, nccl_cu_stream))                                     \
    X(copy_out, cuMemcpyDtoHAsync_v2, nccl_cu_result,                                              \
      (void *, nccl_cu_pointer, size_t, nccl_cu_stream))                                           \
    X(stream_create, cuStreamCreate, nccl_cu_result, (nccl_cu_stream *, unsigned))                 \
    X(stream_destroy, cuStreamDestroy_v2, nccl_cu_result, (nccl_cu_stream))                        \
    X(stream_query, cuStreamQuery, nccl_cu_result, (nccl_cu_stream))

/* ---- NCCL ---- */

struct ncclComm;

typedef unsigned nccl_result;
typedef unsigned nccl_type;
typedef unsigned nccl_operation; /* ncclRedOp_t */

enum nccl_result_value { NCCL_SUCCESS = 0, NCCL_REMOTE_ERROR = 6, NCCL_IN_PROGRESS = 7 };

#define NCCL_UINT8    1u /* ncclUint8 */
#define NCCL_FLOAT32  7u /* ncclFloat32 */
#define NCCL_SUM      0u /* ncclSum */
#define NCCL_ID_BYTES 128

struct nccl_id {
    char internal[NCCL_ID_BYTES];
};

/* The configuration as it was in 2.14. Newer libraries take it, and fill in what came later by
 * themselves: that is what its size and version are for. */
struct nccl_config {
    size_t size;
    unsigned magic;
    unsigned version;
    int blocking;
};
#define NCCL_CONFIG_MAGIC   0xcafebeefu
#define NCCL_CONFIG_VERSION 21400u

/* The first one that may be aborted from another thread without getting stuck (NVIDIA/nccl#992). */
#define NCCL_VERSION_LEAST 21901

/* Those whose types the header leaves without a name: checked by size and layout. */
#define NCCL_ID_FUNCTIONS(X)                                                                       \
    X(unique_id, ncclGetUniqueId, nccl_result, (struct nccl_id *))                                 \
    X(init, ncclCommInitRankConfig, nccl_result,                                                   \
      (struct ncclComm **, int, struct nccl_id, int, struct nccl_config *))
#define NCCL_FUNCTIONS(X)                                                                          \
    X(version, ncclGetVersion, nccl_result, (int *))                                               \
    X(async_error, ncclCommGetAsyncError, nccl_result, (struct ncclComm *, nccl_result *))         \
    X(last_error, ncclGetLastError, const char *, (struct ncclComm *))                             \
    X(result_text, ncclGetErrorString, const char *, (nccl_result))                                \
    X(finalize, ncclCommFinalize, nccl_result, (struct ncclComm *))                                \
    X(destroy, ncclCommDestroy, nccl_result, (struct ncclComm *))                                  \
    X(abort, ncclCommAbort, nccl_result, (struct ncclComm *))                                      \
    X(group_start, ncclGroupStart, nccl_result, (void))                                            \
    X(group_end, ncclGroupEnd, nccl_result, (void))                                                \
    X(broadcast, ncclBroadcast, nccl_result,                                                       \
      (const void *, void *, size_t, nccl_type, int, struct ncclComm *, nccl_cu_stream))           \
    X(allreduce, ncclAllReduce, nccl_result,                                                       \
      (const void *, void *, size_t, nccl_type, nccl_operation, struct ncclComm *,                 \
       nccl_cu_stream))                                                                            \
    X(send, ncclSend, nccl_result,                                                                 \
      (const void *, size_t, nccl_type, int, struct ncclComm *, nccl_cu_stream))                   \
    X(receive, ncclRecv, nccl_result,                                                              \
      (void *, size_t, nccl_type, int, struct ncclComm *, nccl_cu_stream))

#define NCCL_MEMBER(member, symbol, result, arguments) result(*member) arguments;

struct nccl_cuda_api {
    NCCL_CUDA_FUNCTIONS(NCCL_MEMBER)
};

struct nccl_api {
    struct nccl_cuda_api cuda;
    NCCL_ID_FUNCTIONS(NCCL_MEMBER)
    NCCL_FUNCTIONS(NCCL_MEMBER)
    int found_version; /* 22809: 2.28.9 */
};

/* Finds both libraries, once in a process. MLQ_ENOTSUP says which one is missing or too old, and
 * what to install. Libraries stay loaded: NCCL has threads of its own. */
int coll_nccl_api_load(const struct nccl_api **api, struct mlq_err *err);

#endif
