/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Walks a frame along the schema's descriptors with a stack of its own; allocates nothing. The
 * encoding: protobuf.dev/programming-guides/encoding.
 */
#include "lib/net/wire.h"

#include <protobuf-c/protobuf-c.h>
#include <string.h>

#include "lib/net/limits.h"

#define VARINT_BYTES_MAX 10
#define TAG_BYTES_MAX 5
#define FIELD_NUMBER_MAX ((UINT32_C(1) << 29) - 1)

/* What protobuf-c 1.4 and the codec take for each thing, rounded up. A field: ScannedMember (32
 * bytes) in slabs that double, so up to three times. A message: itself, its plain struct, which is
 * never twice as large, and a pointer. */
#define FIELD_COST 96
#define STRING_COST 48
#define MESSAGE_COST 64
#define UNKNOWN_COST 32

enum wire_type { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

struct level {
    const ProtobufCMessageDescriptor *type;
    const uint8_t *end;
    uint32_t oneof_members;
    uint32_t counts[WIRE_FIELDS_MAX];
};

struct scan {
    const uint8_t *at;
    uint64_t memory_bytes;
    uint32_t unknown_fields;
    uint32_t depth;
    struct level levels[LIMIT_DEPTH];
    struct mlq_err *err;
};

/* Bytes taken, or 0 when the number is cut off or longer than `bytes_max`. */
static size_t read_varint(const uint8_t *at, const uint8_t *end, size_t bytes_max, uint64_t *value)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < bytes_max && at + i < end; i++) {
        uint64_t bits = at[i] & 0x7f;
        if (i == VARINT_BYTES_MAX - 1 && bits > 1) {
            return 0;
        }
        sum |= bits << (7 * i);
        if (at[i] < 0x80) {
            *value = sum;
            return i + 1;
        }
    }
    return 0;
}

static int push_level(struct scan *scan, const ProtobufCMessageDescriptor *type, const uint8_t *end)
{
    if (scan->depth == LIMIT_DEPTH) {
        return mlq_fail(scan->err, MLQ_EFULL, "%s: messages nest more than %d deep", type->name,
                        LIMIT_DEPTH);
    }
    if (type->n_fields > WIRE_FIELDS_MAX) {
        return mlq_fail(scan->err, MLQ_ENOTSUP, "%s has more than %d fields: raise WIRE_FIELDS_MAX",
                        type->name, WIRE_FIELDS_MAX);
    }
    struct level *level = &scan->levels[scan->depth++];
    *level = (struct level){.type = type, .end = end};
    scan->memory_bytes += 3 * type->sizeof_message + MESSAGE_COST;
    return MLQ_OK;
}

static bool wire_type_fits(ProtobufCType type, uint32_t wire)
{
    switch (type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_BOOL:
    case PROTOBUF_C_TYPE_ENUM:
        return wire == WIRE_VARINT;
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_FLOAT:
        return wire == WIRE_32;
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return wire == WIRE_64;
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_BYTES:
    case PROTOBUF_C_TYPE_MESSAGE:
        return wire == WIRE_BYTES;
    }
    return false;
}

static uint32_t repeated_max(const ProtobufCFieldDescriptor *field)
{
    static const char *const large[] = {
        "mlq.v1.Assignment", "mlq.v1.ReportItem", "mlq.v1.Metric",
        "mlq.v1.Member",     "mlq.v1.KillItem",   "mlq.v1.Progress",
    };
    if (field->type != PROTOBUF_C_TYPE_MESSAGE) {
        return LIMIT_REPEATED;
    }
    const ProtobufCMessageDescriptor *type = field->descriptor;
    for (size_t i = 0; i < sizeof large / sizeof large[0]; i++) {
        if (strcmp(type->name, large[i]) == 0) {
            return LIMIT_REPEATED_LARGE;
        }
    }
    return LIMIT_REPEATED;
}

/* How often may this field come, and did it come more often? */
static int count_field(struct scan *scan, const ProtobufCFieldDescriptor *field)
{
    struct level *level = &scan->levels[scan->depth - 1];
    uint32_t count = ++level->counts[field - level->type->fields];
    if (field->label == PROTOBUF_C_LABEL_REPEATED) {
        uint32_t limit = repeated_max(field);
        return count <= limit ? MLQ_OK
                              : mlq_fail(scan->err, MLQ_EFULL, "%s.%s: more than %u elements",
                                         level->type->name, field->name, limit);
    }
    bool in_oneof = (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0;
    if (count > 1 || (in_oneof && ++level->oneof_members > 1)) {
        return mlq_fail(scan->err, MLQ_ECORRUPT, "%s.%s: comes twice, or beside another body",
                        level->type->name, field->name);
    }
    return MLQ_OK;
}

static int check_text(struct scan *scan, const ProtobufCFieldDescriptor *field, struct mlq_str text)
{
    const char *message = scan->levels[scan->depth - 1].type->name;
    if (text.len > LIMIT_STRING_BYTES) {
        return mlq_fail(scan->err, MLQ_EFULL, "%s.%s: text of %zu bytes, the limit is %u", message,
                        field->name, text.len, LIMIT_STRING_BYTES);
    }
    if (!mlq_str_is_utf8(text) || (text.len > 0 && memchr(text.ptr, 0, text.len) != NULL)) {
        return mlq_fail(scan->err, MLQ_ECORRUPT, "%s.%s: not UTF-8, or with a NUL", message,
                        field->name);
    }
    return MLQ_OK;
}

/* A field with a length. A message is entered, anything else skipped. */
static int scan_bytes(struct scan *scan, const ProtobufCFieldDescriptor *field)
{
    struct level *level = &scan->levels[scan->depth - 1];
    uint64_t len;
    size_t taken = read_varint(scan->at, level->end, VARINT_BYTES_MAX, &len);
    if (taken == 0 || len > (uint64_t)(level->end - scan->at) - taken) {
        return mlq_fail(scan->err, MLQ_ECORRUPT, "%s: a length leads out of the message",
                        level->type->name);
    }
    scan->at += taken;
    struct mlq_str content = {.ptr = (const char *)scan->at, .len = (size_t)len};
    if (field != NULL && field->type == PROTOBUF_C_TYPE_MESSAGE) {
        return push_level(scan, field->descriptor, scan->at + len);
    }
    scan->at += len;
    scan->memory_bytes += len + STRING_COST;
    if (field != NULL && field->type == PROTOBUF_C_TYPE_STRING) {
        return check_text(scan, field, content);
    }
    return MLQ_OK;
}

static int scan_value(struct scan *scan, const ProtobufCFieldDescriptor *field, uint32_t wire)
{
    struct level *level = &scan->levels[scan->depth - 1];
    size_t taken = 0;
    if (wire == WIRE_BYTES) {
        return scan_bytes(scan, field);
    }
    if (wire == WIRE_VARINT) {
        uint64_t ignored;
        taken = read_varint(scan->at, level->end, VARINT_BYTES_MAX, &ignored);
    } else if (wire == WIRE_64 || wire == WIRE_32) {
        size_t width = wire == WIRE_64 ? 8 : 4;
        taken = (size_t)(level->end - scan->at) >= width ? width : 0;
    }
    if (taken == 0) {
        return mlq_fail(scan->err, MLQ_ECORRUPT, "%s: a value is cut off or of no known kind",
                        level->type->name);
    }
    scan->at += taken;
    return MLQ_OK;
}

static int scan_field(struct scan *scan)
{
    struct level *level = &scan->levels[scan->depth - 1];
    uint64_t tag;
    size_t taken = read_varint(scan->at, level->end, TAG_BYTES_MAX, &tag);
    if (taken == 0 || (tag >> 3) == 0 || (tag >> 3) > FIELD_NUMBER_MAX) {
        return mlq_fail(scan->err, MLQ_ECORRUPT, "%s: a field has no valid number",
                        level->type->name);
    }
    scan->at += taken;
    uint32_t wire = (uint32_t)(tag & 7);
    const ProtobufCFieldDescriptor *field =
        protobuf_c_message_descriptor_get_field(level->type, (unsigned)(tag >> 3));
    scan->memory_bytes += FIELD_COST;
    int rc = MLQ_OK;
    if (field == NULL) {
        scan->memory_bytes += UNKNOWN_COST;
        if (++scan->unknown_fields > LIMIT_UNKNOWN_FIELDS) {
            rc = mlq_fail(scan->err, MLQ_EFULL, "%s: more than %d unknown fields",
                          level->type->name, LIMIT_UNKNOWN_FIELDS);
        }
    } else if (!wire_type_fits(field->type, wire)) {
        rc = mlq_fail(scan->err, MLQ_ECORRUPT, "%s.%s: wire type %u does not fit",
                      level->type->name, field->name, wire);
    } else {
        rc = count_field(scan, field);
    }
    if (rc == MLQ_OK) {
        rc = scan_value(scan, field, wire);
    }
    if (rc == MLQ_OK && scan->memory_bytes > LIMIT_MEMORY_BYTES) {
        rc = mlq_fail(scan->err, MLQ_EFULL, "the message would take more than %u MiB of memory",
                      (unsigned)(LIMIT_MEMORY_BYTES >> 20));
    }
    return rc;
}

static int scan_frame(struct scan *scan, const ProtobufCMessageDescriptor *type,
                      struct mlq_str frame)
{
    static const uint8_t nothing[1];
    scan->at = frame.len == 0 ? nothing : (const uint8_t *)frame.ptr;
    int rc = push_level(scan, type, scan->at + frame.len);
    while (rc == MLQ_OK && scan->depth > 0) {
        if (scan->at == scan->levels[scan->depth - 1].end) {
            scan->depth--;
        } else {
            rc = scan_field(scan);
        }
    }
    return rc;
}

int wire_check(const ProtobufCMessageDescriptor *type, struct mlq_str frame, struct mlq_err *err)
{
    struct scan scan = {.err = err};
    return scan_frame(&scan, type, frame);
}

uint64_t wire_memory_bytes(const ProtobufCMessageDescriptor *type, struct mlq_str frame)
{
    struct scan scan = {.err = NULL};
    return scan_frame(&scan, type, frame) == MLQ_OK ? scan.memory_bytes : 0;
}

int wire_version(struct mlq_str frame, uint32_t *version, struct mlq_err *err)
{
    const uint8_t *at = (const uint8_t *)frame.ptr;
    uint64_t value;
    if (frame.len < 2 || at[0] != ((1 << 3) | WIRE_VARINT) ||
        read_varint(at + 1, at + frame.len, VARINT_BYTES_MAX, &value) == 0 || value > UINT32_MAX) {
        return mlq_fail(err, MLQ_ECORRUPT, "the frame does not begin with a protocol version");
    }
    *version = (uint32_t)value;
    return MLQ_OK;
}
