/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * One pass over a frame of bytes from outside, before protobuf-c sees it. protobuf-c has no limit
 * of depth, counts or memory, merges fields that come twice, and cuts strings at a NUL. After
 * wire_check has said yes, none of that can happen.
 */
#ifndef MLQ_NET_WIRE_H
#define MLQ_NET_WIRE_H

#include <stdint.h>

#include "lib/base/err.h"
#include "lib/base/str.h"

struct ProtobufCMessageDescriptor;

/* Fields that a message of the schema may have: a test holds the schema to it. */
#define WIRE_FIELDS_MAX 40

/* MLQ_OK when `frame` is a well-formed message of `type` within lib/net/limits.h: all lengths lie
 * within the frame and their parents; known fields have their own wire type; no field but a
 * repeated one comes twice and at most one member of a oneof is there; strings are UTF-8 without
 * NUL; no groups, no packed numbers. Else MLQ_ECORRUPT, or MLQ_EFULL over a limit. */
int wire_check(const struct ProtobufCMessageDescriptor *type,
               struct mlq_str frame,
               struct mlq_err *err);

/* The estimate of memory that wire_check holds against LIMIT_MEMORY_BYTES, for a frame that it
 * takes; 0 for one that it does not. */
uint64_t wire_memory_bytes(const struct ProtobufCMessageDescriptor *type, struct mlq_str frame);

/* The number of field 1, a varint that must come first. MLQ_ECORRUPT when it does not. Looks at
 * nothing behind it. */
int wire_version(struct mlq_str frame, uint32_t *version, struct mlq_err *err);

#endif
