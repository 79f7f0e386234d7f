/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Frames. What the decoder takes must be sendable again, and what was sent again must be the same.
 */
#include "lib/net/codec.h"
#include "lib/net/limits.h"
#include "tests/fuzz/fuzz.h"

static struct mlq_str encode(struct mlq_region *region, const struct msg *msg)
{
    struct codec_packing packing;
    MLQ_ASSERT(codec_prepare(msg, SIZE_MAX, region, &packing, NULL) == MLQ_OK);
    uint8_t *frame = mlq_region_alloc(region, packing.bytes);
    MLQ_ASSERT(codec_pack(&packing, frame, NULL) == MLQ_OK);
    return (struct mlq_str){.ptr = (const char *)frame, .len = packing.bytes};
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mlq_region *region = mlq_region_create();
    struct mlq_str frame = fuzz_text(data, size);
    struct msg msg;
    uint32_t version;
    if (codec_decode(frame, LIMIT_FRAME_TO_PEER_BYTES, region, &msg, &version, NULL) == MLQ_OK) {
        struct mlq_str once = encode(region, &msg);
        MLQ_ASSERT(codec_decode(once, SIZE_MAX, region, &msg, &version, NULL) == MLQ_OK);
        MLQ_ASSERT(mlq_str_eq(once, encode(region, &msg)));
    }
    mlq_region_destroy(&region);
    return 0;
}
