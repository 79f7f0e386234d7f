/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The parts of libcuda and libnccl that mlq calls, played on the CPU for one rank, so that what no
 * healthy library does can be tested: an init that never ends, an abort that gets stuck, a version
 * that is too old. PLAYED_NCCL says which. It proves nothing about NVIDIA's libraries: that is
 * tests/unit/test_nccl_gpu.c.
 */
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "worker/coll/coll_nccl_api.h"

#define NO_DEVICE      100u
#define SYSTEM_ERROR   2u
#define PLAYED_VERSION 22809
#define SENDS_MAX      8

static bool plays(const char *what)
{
    const char *play = getenv("PLAYED_NCCL");
    return play != NULL && strcmp(play, what) == 0;
}

/* ---- CUDA: device memory is memory ---- */

#define PLAY_CUDA(name, arguments)                                                                 \
    nccl_cu_result name arguments;                                                                 \
    nccl_cu_result name arguments

PLAY_CUDA(cuInit, (unsigned flags))
{
    const char *visible = getenv("CUDA_VISIBLE_DEVICES");
    return flags != 0 || (visible != NULL && visible[0] == '\0') ? NO_DEVICE : NCCL_CU_SUCCESS;
}

PLAY_CUDA(cuGetErrorString, (nccl_cu_result result, const char **text))
{
    *text = result == NCCL_CU_SUCCESS ? "no error" : "played error";
    return NCCL_CU_SUCCESS;
}

PLAY_CUDA(cuDeviceGetCount, (int *count))
{
    *count = 1;
    return NCCL_CU_SUCCESS;
}

PLAY_CUDA(cuDeviceGet, (nccl_cu_device * device, int ordinal))
{
    *device = ordinal;
    return NCCL_CU_SUCCESS;
}

PLAY_CUDA(cuDevicePrimaryCtxRetain, (nccl_cu_context * context, nccl_cu_device device))
{
    *context = NULL;
    return device == 0 ? NCCL_CU_SUCCESS : NO_DEVICE;
}

PLAY_CUDA(cuDevicePrimaryCtxRelease_v2, (nccl_cu_device device))
{
    return device == 0 ? NCCL_CU_SUCCESS : NO_DEVICE;
}

PLAY_CUDA(cuCtxSetCurrent, (nccl_cu_context context))
{
    return context == NULL ? NCCL_CU_SUCCESS : NO_DEVICE;
}

PLAY_CUDA(cuMemAlloc_v2, (nccl_cu_pointer * pointer, size_t bytes))
{
    if (plays("no-memory")) {
        return 2; /* CUDA_ERROR_OUT_OF_MEMORY */
    }
    *pointer = (nccl_cu_pointer)(uintptr_t)calloc(1, bytes);
    return NCCL_CU_SUCCESS;
}

PLAY_CUDA(cuMemFree_v2, (nccl_cu_pointer pointer))
{
    free((void *)(uintptr_t)pointer);
    return NCCL_CU_SUCCESS;
}

PLAY_CUDA(cuMemcpyHtoDAsync_v2,
          (nccl_cu_pointer to, const void *from, size_t bytes, nccl_cu_stream stream))
{
    (void)stream;
    memcpy((void *)(uintptr_t)to, from, bytes);
    return NCCL_CU_SUCCESS;
}

PLAY_CUDA(cuMemcpyDtoHAsync_v2,
          (void *to, nccl_cu_pointer from, size_t bytes, nccl_cu_stream stream))
{
    (void)stream;
    memcpy(to, (const void *)(uintptr_t)from, bytes);
    return NCCL_CU_SUCCESS;
}

PLAY_CUDA(cuStreamCreate, (nccl_cu_stream * stream, unsigned flags))
{
    *stream = flags == NCCL_CU_STREAM_NOWAIT ? malloc(1) : NULL;
    return *stream == NULL ? 1 : NCCL_CU_SUCCESS;
}

PLAY_CUDA(cuStreamDestroy_v2, (nccl_cu_stream stream))
{
    free(stream);
    return NCCL_CU_SUCCESS;
}

/* "hangs": a kernel that waits for a peer for ever. */
PLAY_CUDA(cuStreamQuery, (nccl_cu_stream stream))
{
    return stream == NULL || plays("hangs") ? NCCL_CU_NOT_READY : NCCL_CU_SUCCESS;
}

/* ---- NCCL: one rank ---- */

#define PLAY_NCCL(name, arguments)                                                                 \
    nccl_result name arguments;                                                                    \
    nccl_result name arguments

struct ncclComm {
    int looks; /* of async_error since the start */
};

static struct played_send {
    const void *data;
    size_t bytes;
} sends[SENDS_MAX];
static int send_count;

PLAY_NCCL(ncclGetVersion, (int *version))
{
    *version = plays("old") ? 21800 : PLAYED_VERSION;
    return NCCL_SUCCESS;
}

PLAY_NCCL(ncclGetUniqueId, (struct nccl_id * id))
{
    memset(id, 7, sizeof(*id));
    return NCCL_SUCCESS;
}

PLAY_NCCL(ncclCommInitRankConfig, (struct ncclComm * *comm, int size, struct nccl_id id, int rank,
                                   struct nccl_config *config))
{
    if (config->magic != NCCL_CONFIG_MAGIC || config->blocking != 0 || size != 1 || rank != 0 ||
        id.internal[0] != 7 || id.internal[NCCL_ID_BYTES - 1] != 7) {
        return 4; /* ncclInvalidArgument */
    }
    *comm = calloc(1, sizeof(**comm));
    return NCCL_IN_PROGRESS;
}

PLAY_NCCL(ncclCommGetAsyncError, (struct ncclComm * comm, nccl_result *state))
{
    bool is_ready = ++comm->looks > 3 && !plays("never") && !plays("stuck");
    *state = plays("fails") ? SYSTEM_ERROR : is_ready ? NCCL_SUCCESS : NCCL_IN_PROGRESS;
    return NCCL_SUCCESS;
}

const char *ncclGetLastError(struct ncclComm *comm);
const char *ncclGetLastError(struct ncclComm *comm)
{
    return comm != NULL && plays("fails") ? "the played wire is cut" : "";
}

const char *ncclGetErrorString(nccl_result result);
const char *ncclGetErrorString(nccl_result result)
{
    return result == SYSTEM_ERROR ? "unhandled system error" : "played error";
}

PLAY_NCCL(ncclCommFinalize, (struct ncclComm * comm))
{
    comm->looks = 0;
    return NCCL_IN_PROGRESS;
}

PLAY_NCCL(ncclCommDestroy, (struct ncclComm * comm))
{
    free(comm);
    return NCCL_SUCCESS;
}

PLAY_NCCL(ncclCommAbort, (struct ncclComm * comm))
{
    while (plays("stuck")) {
        (void)poll(NULL, 0, 1000);
    }
    free(comm);
    return NCCL_SUCCESS;
}

PLAY_NCCL(ncclGroupStart, (void))
{
    send_count = 0;
    return NCCL_SUCCESS;
}

PLAY_NCCL(ncclGroupEnd, (void))
{
    return NCCL_IN_PROGRESS;
}

PLAY_NCCL(ncclBroadcast, (const void *from, void *to, size_t count, nccl_type type, int root,
                          struct ncclComm *comm, nccl_cu_stream stream))
{
    (void)comm, (void)stream;
    if (type != NCCL_UINT8 || root != 0) {
        return 4;
    }
    memmove(to, from, count);
    return NCCL_SUCCESS;
}

PLAY_NCCL(ncclAllReduce, (const void *from, void *to, size_t count, nccl_type type,
                          nccl_operation operation, struct ncclComm *comm, nccl_cu_stream stream))
{
    (void)comm, (void)stream;
    if (type != NCCL_FLOAT32 || operation != NCCL_SUM) {
        return 4;
    }
    memmove(to, from, count * sizeof(float));
    return NCCL_SUCCESS;
}

PLAY_NCCL(ncclSend, (const void *from, size_t count, nccl_type type, int peer,
                     struct ncclComm *comm, nccl_cu_stream stream))
{
    (void)comm, (void)stream;
    if (type != NCCL_UINT8 || peer != 0 || send_count == SENDS_MAX) {
        return 4;
    }
    sends[send_count++] = (struct played_send){from, count};
    return NCCL_SUCCESS;
}

PLAY_NCCL(ncclRecv, (void *to, size_t count, nccl_type type, int peer, struct ncclComm *comm,
                     nccl_cu_stream stream))
{
    (void)comm, (void)stream;
    if (type != NCCL_UINT8 || peer != 0 || send_count == 0 || sends[0].bytes != count) {
        return 4;
    }
    memcpy(to, sends[0].data, count);
    return NCCL_SUCCESS;
}
