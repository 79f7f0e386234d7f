/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Frames and struct msg, both ways. protobuf-c is seen behind this header only.
 */
#ifndef MLQ_NET_CODEC_H
#define MLQ_NET_CODEC_H

#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/net/msg.h"
#include "lib/sys/region.h"

/* A message made ready to be packed; lives in the region it was made in, and points into the
 * message it was made from. */
struct codec_packing {
    const void *envelope;
    size_t bytes; /* of the frame */
};

/* MLQ_EFULL: larger than `frame_max` or than another limit of lib/net/limits.h. MLQ_EINVAL: text
 * that is not UTF-8 or holds a NUL. Text for people only (detail, text) is repaired and cut
 * instead: an attempt's end must not be lost because its last words were strange. */
int codec_prepare(const struct msg *msg,
                  size_t frame_max,
                  struct mlq_region *region,
                  struct codec_packing *packing,
                  struct mlq_err *err);

/* Write packing->bytes to `frame`, then check them as the receiver will. */
int codec_pack(const struct codec_packing *packing, uint8_t *frame, struct mlq_err *err);

/* What the frame says, in `region`. `version` (never NULL) is what the sender speaks, or 0 when not
 * even that can be read.
 *   MLQ_EPROTO    another version than ours: nothing else was looked at; the text names both
 *   MLQ_ECORRUPT  malformed, or an enum out of range
 *   MLQ_EFULL     over a limit */
int codec_decode(struct mlq_str frame,
                 size_t frame_max,
                 struct mlq_region *region,
                 struct msg *msg,
                 uint32_t *version,
                 struct mlq_err *err);

/* "hello", "request"... for logs. */
const char *codec_kind_text(enum msg_kind kind);

#endif
