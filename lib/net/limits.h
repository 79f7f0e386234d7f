/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * What one frame may hold. The codec checks these on the way in, before protobuf-c allocates, and
 * on the way out, so that a sender learns at once that its message is too large (MLQ_EFULL).
 */
#ifndef MLQ_NET_LIMITS_H
#define MLQ_NET_LIMITS_H

#include <stdint.h>

/* Bytes of a frame. The scheduler answers with whole records, so it may send more than it takes. */
#define LIMIT_FRAME_TO_SERVER_BYTES (UINT32_C(4) << 20)
#define LIMIT_FRAME_TO_PEER_BYTES (UINT32_C(20) << 20)

/* Messages within messages, the envelope being the first. */
#define LIMIT_DEPTH 8

/* Elements of one repeated field: those that a busy machine fills, and all others. */
#define LIMIT_REPEATED_LARGE 100000 /* assignments, report items, metrics, members, progress */
#define LIMIT_REPEATED 10000

/* Fields that the schema does not know, in one frame: a newer peer may add some. */
#define LIMIT_UNKNOWN_FIELDS 1000

#define LIMIT_STRING_BYTES (UINT32_C(64) << 10)
#define LIMIT_DOCUMENT_BYTES (UINT32_C(2) << 20) /* a spec, or the JSON of a stage's parameters */

/* Memory that decoding one frame may take, as estimated before. The frame's size alone does not
 * bound it: an empty message is two bytes on the wire and hundreds in memory. */
#define LIMIT_MEMORY_BYTES (UINT64_C(128) << 20)

/* A peer's address: libzmq gives five bytes. */
#define LIMIT_ADDRESS_BYTES 16

/* Messages in a socket's queue for one connection. What comes in waits behind a loop that takes 256
 * at a time, so few are enough, and they may be large; TCP holds back the rest. */
#define LIMIT_QUEUE_IN_MESSAGES 1000
#define LIMIT_QUEUE_OUT_MESSAGES 10000

/* Messages taken from a socket in one iteration of the loop. */
#define LIMIT_BURST_MESSAGES 256

/* The file of enrolled keys. */
#define LIMIT_ENROLLED_BYTES (UINT32_C(16) << 20)
#define LIMIT_ENROLLED_LINE_BYTES 256

#endif
