/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * fuzz_envelope_corpus FOLDER: one frame of each kind, for fuzz_envelope to start from.
 */
#include <stdio.h>

#include "lib/net/codec.h"
#include "lib/net/limits.h"
#include "lib/sys/fs.h"
#include "lib/sys/mem.h"
#include "tests/unit/net_samples.h"

int main(int argc, char **argv)
{
    if (argc != 2 || mlq_fs_make_dirs(argv[1], 0755, NULL) != MLQ_OK) {
        fprintf(stderr, "usage: fuzz_envelope_corpus FOLDER\n");
        return 2;
    }
    struct mlq_region *region = mlq_region_create();
    int rc = MLQ_OK;
    for (int kind = MSG_NONE + 1; kind < SAMPLE_KINDS && rc == MLQ_OK; kind++) {
        struct msg msg = sample_of((enum msg_kind)kind);
        struct codec_packing packing;
        struct mlq_err err = MLQ_ERR_INIT;
        char *path = mlq_format("%s/kind-%d", argv[1], kind);
        rc = codec_prepare(&msg, LIMIT_FRAME_TO_PEER_BYTES, region, &packing, &err);
        if (rc == MLQ_OK) {
            uint8_t *frame = mlq_region_alloc(region, packing.bytes);
            (void)codec_pack(&packing, frame, &err);
            rc = mlq_fs_write_durable(path, (struct mlq_str){(char *)frame, packing.bytes}, 0644,
                                      &err);
        }
        if (rc != MLQ_OK) {
            fprintf(stderr, "fuzz_envelope_corpus: %s\n", err.text);
        }
        mlq_free(path);
    }
    mlq_region_destroy(&region);
    return rc == MLQ_OK ? 0 : 1;
}
