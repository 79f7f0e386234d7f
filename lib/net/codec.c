/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The envelope, the bodies of client.proto, and the conversion of single fields. The bodies of
 * worker.proto are in codec_worker.c.
 */
#include "lib/net/codec.h"

#include <string.h>

#include "lib/base/panic.h"
#include "lib/net/codec_part.h"
#include "lib/net/limits.h"
#include "lib/net/wire.h"

/* ---- Fields ---------------------------------------------------------------------------------- */

void codec_bad(struct codec_part *part, int code, const char *field, const char *why)
{
    if (part->code == MLQ_OK) {
        part->code = mlq_fail(part->err, code, "%s: %s", field, why);
    }
}

struct mlq_str codec_get_bytes(ProtobufCBinaryData data)
{
    return (struct mlq_str){.ptr = (const char *)data.data, .len = data.len};
}

const struct mlq_str *codec_get_texts(struct codec_part *part, char **texts, size_t count)
{
    struct mlq_str *all = mlq_region_array(part->region, count, sizeof *all);
    for (size_t i = 0; i < count; i++) {
        all[i] = mlq_str_from(texts[i]);
    }
    return all;
}

uint16_t codec_get_port(struct codec_part *part, uint32_t port)
{
    if (port > UINT16_MAX) {
        codec_bad(part, MLQ_ECORRUPT, "port", "larger than 65535");
    }
    return (uint16_t)port;
}

void codec_check_document(struct codec_part *part, struct mlq_str document, size_t bytes_max,
                          const char *field)
{
    if (document.len > bytes_max) {
        codec_bad(part, MLQ_EFULL, field, "larger than its limit");
    } else if (!mlq_str_is_utf8(document)) {
        codec_bad(part, MLQ_ECORRUPT, field, "not UTF-8");
    }
}

ProtobufCBinaryData codec_put_bytes(struct mlq_str bytes)
{
    /* protobuf-c has no const here, and packing only reads. */
    return (ProtobufCBinaryData){.len = bytes.len, .data = (uint8_t *)(uintptr_t)bytes.ptr};
}

char *codec_put_text(struct codec_part *part, struct mlq_str text, const char *field)
{
    if (text.len > LIMIT_STRING_BYTES) {
        codec_bad(part, MLQ_EFULL, field, "text over 64 KiB");
        return mlq_region_strdup(part->region, "");
    }
    if (!mlq_str_is_utf8(text) || (text.len > 0 && memchr(text.ptr, 0, text.len) != NULL)) {
        codec_bad(part, MLQ_EINVAL, field, "not UTF-8, or with a NUL");
    }
    return mlq_region_strndup(part->region, text);
}

/* Bytes of the well-formed character at the head of `text`, or 0. */
static size_t character_bytes(struct mlq_str text)
{
    for (size_t bytes = 1; bytes <= 4 && bytes <= text.len; bytes++) {
        if (text.ptr[0] != '\0' && mlq_str_is_utf8((struct mlq_str){text.ptr, bytes})) {
            return bytes;
        }
    }
    return 0;
}

char *codec_put_prose(struct codec_part *part, struct mlq_str text)
{
    size_t room = text.len < LIMIT_STRING_BYTES ? text.len : LIMIT_STRING_BYTES;
    char *copy = mlq_region_alloc(part->region, room + 1);
    size_t used = 0;
    while (text.len > 0) {
        size_t bytes = character_bytes(text);
        size_t taken = bytes == 0 ? 1 : bytes;
        if (used + taken > room) {
            break;
        }
        memcpy(copy + used, bytes == 0 ? "?" : text.ptr, taken);
        used += taken;
        text = (struct mlq_str){text.ptr + taken, text.len - taken};
    }
    return copy;
}

char **codec_put_texts(struct codec_part *part, const struct mlq_str *texts, size_t count,
                       const char *field)
{
    char **all = mlq_region_array(part->region, count, sizeof *all);
    for (size_t i = 0; i < count; i++) {
        all[i] = codec_put_text(part, texts[i], field);
    }
    return all;
}

/* ---- Bodies of client.proto and of the envelope ---------------------------------------------- */

#define REFUSED_FIELDS(N, T, P, B) N(code) P(text) N(version_theirs) N(version_ours)
#define REQUEST_FIELDS(N, T, P, B)                                                                 \
    N(id) T(key) B(spec) N(job) T(selector) T(stage) T(name) P(text) N(index) N(rank) N(limit)     \
    N(bytes_max) N(before) N(offset) N(version) N(wait_ns) N(feasible_only)
#define REPLY_FIELDS(N, T, P, B) N(id) N(code) P(text) B(blob) N(job) N(offset) N(end)

_Static_assert((int)MSG_OP_STATUS == MLQ__V1__OP__STATUS && (int)MSG_OP_CHECKPOINT == MLQ__V1__OP__CHECKPOINT,
               "enum msg_op and mlq.v1.Op have the same numbers");

static Mlq__V1__Refused *refused_put(struct codec_part *part, const struct msg_refused *from)
{
    Mlq__V1__Refused *to = mlq_region_alloc(part->region, sizeof *to);
    mlq__v1__refused__init(to);
    CODEC_PUT(REFUSED_FIELDS)
    return to;
}

static void refused_get(struct msg_refused *to, const Mlq__V1__Refused *from)
{
    CODEC_GET(REFUSED_FIELDS)
}

static Mlq__V1__Request *request_put(struct codec_part *part, const struct msg_request *from)
{
    Mlq__V1__Request *to = mlq_region_alloc(part->region, sizeof *to);
    mlq__v1__request__init(to);
    CODEC_PUT(REQUEST_FIELDS)
    to->op = (Mlq__V1__Op)from->op;
    codec_check_document(part, from->spec, LIMIT_DOCUMENT_BYTES, "spec");
    return to;
}

static void request_get(struct codec_part *part, struct msg_request *to,
                        const Mlq__V1__Request *from)
{
    CODEC_GET(REQUEST_FIELDS)
    if ((int)from->op < (int)MSG_OP_STATUS || (int)from->op > (int)MSG_OP_CHECKPOINT) {
        codec_bad(part, MLQ_ECORRUPT, "op", "no such operation");
        return;
    }
    to->op = (enum msg_op)from->op;
    codec_check_document(part, to->spec, LIMIT_DOCUMENT_BYTES, "spec");
}

static Mlq__V1__Reply *reply_put(struct codec_part *part, const struct msg_reply *from)
{
    Mlq__V1__Reply *to = mlq_region_alloc(part->region, sizeof *to);
    mlq__v1__reply__init(to);
    CODEC_PUT(REPLY_FIELDS)
    return to;
}

static void reply_get(struct msg_reply *to, const Mlq__V1__Reply *from)
{
    CODEC_GET(REPLY_FIELDS)
}

/* False when the kind belongs to worker.proto. */
static bool client_put(struct codec_part *part, Mlq__V1__Envelope *to, const struct msg *msg)
{
    if (msg->kind == MSG_REFUSED) {
        to->body_case = MLQ__V1__ENVELOPE__BODY_REFUSED;
        to->refused = refused_put(part, &msg->refused);
    } else if (msg->kind == MSG_REQUEST) {
        to->body_case = MLQ__V1__ENVELOPE__BODY_REQUEST;
        to->request = request_put(part, &msg->request);
    } else if (msg->kind == MSG_REPLY) {
        to->body_case = MLQ__V1__ENVELOPE__BODY_REPLY;
        to->reply = reply_put(part, &msg->reply);
    } else {
        return false;
    }
    return true;
}

static bool client_get(struct codec_part *part, struct msg *to, const Mlq__V1__Envelope *from)
{
    if (from->body_case == MLQ__V1__ENVELOPE__BODY_REFUSED) {
        to->kind = MSG_REFUSED;
        refused_get(&to->refused, from->refused);
    } else if (from->body_case == MLQ__V1__ENVELOPE__BODY_REQUEST) {
        to->kind = MSG_REQUEST;
        request_get(part, &to->request, from->request);
    } else if (from->body_case == MLQ__V1__ENVELOPE__BODY_REPLY) {
        to->kind = MSG_REPLY;
        reply_get(&to->reply, from->reply);
    } else {
        return false;
    }
    return true;
}

/* ---- Frames ---------------------------------------------------------------------------------- */

int codec_prepare(const struct msg *msg, size_t frame_max, struct mlq_region *region,
                  struct codec_packing *packing, struct mlq_err *err)
{
    struct codec_part part = {.region = region, .err = err, .code = MLQ_OK};
    Mlq__V1__Envelope *envelope = mlq_region_alloc(region, sizeof *envelope);
    mlq__v1__envelope__init(envelope);
    envelope->version = MSG_PROTOCOL_VERSION;
    envelope->epoch = msg->epoch;
    MLQ_ASSERT(client_put(&part, envelope, msg) || codec_worker_put(&part, envelope, msg));
    if (part.code != MLQ_OK) {
        return mlq_wrap(err, part.code, "encode %s", codec_kind_text(msg->kind));
    }
    packing->envelope = envelope;
    packing->bytes = mlq__v1__envelope__get_packed_size(envelope);
    if (packing->bytes > frame_max) {
        return mlq_fail(err, MLQ_EFULL, "encode %s: %zu bytes, the limit of a message is %zu",
                        codec_kind_text(msg->kind), packing->bytes, frame_max);
    }
    return MLQ_OK;
}

int codec_pack(const struct codec_packing *packing, uint8_t *frame, struct mlq_err *err)
{
    size_t bytes = mlq__v1__envelope__pack(packing->envelope, frame);
    MLQ_ASSERT(bytes == packing->bytes);
    return wire_check(&mlq__v1__envelope__descriptor,
                      (struct mlq_str){.ptr = (const char *)frame, .len = bytes}, err);
}

static void *region_allocate(void *region, size_t bytes)
{
    return mlq_region_alloc(region, bytes);
}

static void region_release(void *region, void *memory)
{
    (void)region; /* dies with the region */
    (void)memory;
}

int codec_decode(struct mlq_str frame, size_t frame_max, struct mlq_region *region,
                 struct msg *msg, uint32_t *version, struct mlq_err *err)
{
    *version = 0;
    if (frame.len > frame_max) {
        return mlq_fail(err, MLQ_EFULL, "a frame of %zu bytes, the limit is %zu", frame.len,
                        frame_max);
    }
    int rc = wire_version(frame, version, err);
    if (rc != MLQ_OK) {
        return rc;
    }
    if (*version != MSG_PROTOCOL_VERSION) {
        return mlq_fail(err, MLQ_EPROTO,
                        "the peer speaks protocol version %u, this program speaks %d: use the same "
                        "release of mlq on both sides",
                        *version, MSG_PROTOCOL_VERSION);
    }
    rc = wire_check(&mlq__v1__envelope__descriptor, frame, err);
    if (rc != MLQ_OK) {
        return rc;
    }
    ProtobufCAllocator allocator = {
        .alloc = region_allocate, .free = region_release, .allocator_data = region};
    const Mlq__V1__Envelope *envelope =
        mlq__v1__envelope__unpack(&allocator, frame.len, (const uint8_t *)frame.ptr);
    if (envelope == NULL) {
        return mlq_fail(err, MLQ_ECORRUPT, "the frame is no message of this protocol");
    }
    struct codec_part part = {.region = region, .err = err, .code = MLQ_OK};
    *msg = (struct msg){.epoch = envelope->epoch};
    if (!client_get(&part, msg, envelope) && !codec_worker_get(&part, msg, envelope)) {
        return mlq_fail(err, MLQ_ECORRUPT, "the frame holds no body that is known here");
    }
    return part.code;
}

const char *codec_kind_text(enum msg_kind kind)
{
    static const char *const texts[] = {
        [MSG_NONE] = "none",
        [MSG_HELLO] = "hello",
        [MSG_HEARTBEAT] = "heartbeat",
        [MSG_REPORT] = "report",
        [MSG_LOG_DATA] = "log data",
        [MSG_RECORD_REQUEST] = "record request",
        [MSG_LEAVING] = "leaving",
        [MSG_WELCOME] = "welcome",
        [MSG_HEARTBEAT_ACK] = "heartbeat acknowledgement",
        [MSG_ASSIGN] = "assignments",
        [MSG_KILL] = "kill",
        [MSG_FENCED] = "fenced",
        [MSG_ACK] = "acknowledgement",
        [MSG_CHECKPOINT] = "checkpoint",
        [MSG_MEMBERSHIPS] = "memberships",
        [MSG_LOG_READ] = "log read",
        [MSG_RECORD_REPLY] = "record reply",
        [MSG_REFUSED] = "refused",
        [MSG_REQUEST] = "request",
        [MSG_REPLY] = "reply",
    };
    size_t place = (size_t)kind;
    return place < sizeof texts / sizeof texts[0] && texts[place] != NULL ? texts[place] : "?";
}
