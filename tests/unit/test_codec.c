/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "lib/net/codec.h"
#include "lib/net/limits.h"
#include "lib/net/wire.h"
#include "lib/sys/mem.h"
#include "mlq/v1/envelope.pb-c.h"
#include "tests/unit/net_samples.h"

static int setup(void **state)
{
    *state = mlq_region_create();
    return 0;
}

static int teardown(void **state)
{
    struct mlq_region *region = *state;
    mlq_region_destroy(&region);
    return 0;
}

static struct mlq_str encode(struct mlq_region *region, const struct msg *msg)
{
    struct codec_packing packing;
    struct mlq_err err = MLQ_ERR_INIT;
    if (codec_prepare(msg, LIMIT_FRAME_TO_PEER_BYTES, region, &packing, &err) != MLQ_OK) {
        fail_msg("%s", err.text);
    }
    uint8_t *frame = mlq_region_alloc(region, packing.bytes);
    if (codec_pack(&packing, frame, &err) != MLQ_OK) {
        fail_msg("%s", err.text);
    }
    return (struct mlq_str){.ptr = (char *)frame, .len = packing.bytes};
}

static int decode(struct mlq_region *region, struct mlq_str frame, struct msg *msg)
{
    uint32_t version;
    return codec_decode(frame, LIMIT_FRAME_TO_PEER_BYTES, region, msg, &version, NULL);
}

/* Every field of the message and of the first element of what it holds is set: else the sample
 * would prove nothing about that field. */
static void assert_all_set(const ProtobufCMessage *root)
{
    const ProtobufCMessage *todo[32] = {root};
    size_t count = 1;
    while (count > 0) {
        const ProtobufCMessage *message = todo[--count];
        for (unsigned i = 0; i < message->descriptor->n_fields; i++) {
            const ProtobufCFieldDescriptor *field = &message->descriptor->fields[i];
            const char *at = (const char *)message + field->offset;
            if ((field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0) {
                const uint32_t *chosen = (const void *)((const char *)message +
                                                        field->quantifier_offset);
                if (*chosen == field->id) {
                    todo[count++] = *(const ProtobufCMessage *const *)(const void *)at;
                }
                continue;
            }
            static const char zeros[16];
            size_t width = field->type == PROTOBUF_C_TYPE_BYTES ? sizeof(size_t) : 4;
            const char *value = at;
            if (field->label == PROTOBUF_C_LABEL_REPEATED) {
                value = (const char *)message + field->quantifier_offset;
            } else if (field->type == PROTOBUF_C_TYPE_STRING) {
                value = *(const char *const *)(const void *)at;
                width = 1;
            } else if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
                width = sizeof(void *);
            } else if (field->type == PROTOBUF_C_TYPE_INT64 ||
                       field->type == PROTOBUF_C_TYPE_UINT64 ||
                       field->type == PROTOBUF_C_TYPE_SINT64 ||
                       field->type == PROTOBUF_C_TYPE_FIXED64 ||
                       field->type == PROTOBUF_C_TYPE_DOUBLE) {
                width = 8;
            }
            if (memcmp(value, zeros, width) == 0) {
                fail_msg("%s.%s is not set in the sample", message->descriptor->name, field->name);
            }
            if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
                const void *inner = *(const void *const *)(const void *)at;
                bool many = field->label == PROTOBUF_C_LABEL_REPEATED;
                todo[count++] = many ? ((const ProtobufCMessage *const *)inner)[0] : inner;
            }
        }
    }
}

static void test_every_kind_goes_around(void **state)
{
    struct mlq_region *region = *state;
    for (int kind = MSG_NONE + 1; kind < SAMPLE_KINDS; kind++) {
        struct msg sample = sample_of((enum msg_kind)kind);
        struct mlq_str frame = encode(region, &sample);
        Mlq__V1__Envelope *envelope =
            mlq__v1__envelope__unpack(NULL, frame.len, (const uint8_t *)frame.ptr);
        assert_non_null(envelope);
        assert_all_set(&envelope->base);
        mlq__v1__envelope__free_unpacked(envelope, NULL);

        struct msg back;
        uint32_t version;
        struct mlq_err err = MLQ_ERR_INIT;
        if (codec_decode(frame, LIMIT_FRAME_TO_PEER_BYTES, region, &back, &version, &err) != 0) {
            fail_msg("%s: %s", codec_kind_text((enum msg_kind)kind), err.text);
        }
        assert_int_equal(back.kind, kind);
        assert_int_equal(back.epoch, UINT32_MAX);
        assert_int_equal(version, MSG_PROTOCOL_VERSION);
        struct mlq_str again = encode(region, &back);
        assert_true(mlq_str_eq(frame, again));
    }
}

static void test_every_kind_goes_around_empty(void **state)
{
    struct mlq_region *region = *state;
    for (int kind = MSG_NONE + 1; kind < SAMPLE_KINDS; kind++) {
        struct msg empty = {.kind = (enum msg_kind)kind};
        struct msg back;
        struct mlq_str frame = encode(region, &empty);
        assert_int_equal(decode(region, frame, &back), MLQ_OK);
        assert_int_equal(back.kind, kind);
        assert_true(mlq_str_eq(frame, encode(region, &back)));
    }
}

static void test_values_arrive_as_they_were(void **state)
{
    struct mlq_region *region = *state;
    struct msg sent = sample_of(MSG_REPORT);
    struct msg got;
    assert_int_equal(decode(region, encode(region, &sent), &got), MLQ_OK);
    const struct msg_report_item *item = &got.report.items[0];
    assert_int_equal(got.report.count, 3);
    assert_int_equal(item->exit_code, INT32_MIN);
    assert_true(item->member.attempt == UINT64_MAX && item->member.rank == UINT32_MAX);
    assert_int_equal(item->metric_count, 5);
    for (size_t i = 0; i < 5; i++) {
        const struct msg_metric *a = &sent.report.items[0].metrics[i];
        assert_memory_equal(&a->value, &item->metrics[i].value, sizeof(double));
        assert_true(a->step == item->metrics[i].step && a->at_us == item->metrics[i].at_us);
        assert_true(mlq_str_eq(a->name, item->metrics[i].name));
    }
    assert_true(item->artifacts[0].is_tree && item->artifacts[0].bytes == UINT64_MAX);

    sent = sample_of(MSG_HELLO);
    assert_int_equal(decode(region, encode(region, &sent), &got), MLQ_OK);
    assert_int_equal(got.hello.gpu_count, 2);
    assert_true(mlq_str_eq_c(got.hello.gpus[0].model, "NVIDIA H200"));
    assert_true(got.hello.gpus[0].mem_bytes == INT64_MAX);
    assert_true(mlq_str_eq(got.hello.host, sent.hello.host));
    assert_int_equal(got.hello.port_first, 65535);

    sent = sample_of(MSG_REPLY);
    assert_int_equal(decode(region, encode(region, &sent), &got), MLQ_OK);
    assert_true(mlq_str_eq(got.reply.blob, MLQ_STR("\0\xff not text")));
}

static void test_sender_refuses_what_would_be_refused(void **state)
{
    struct mlq_region *region = *state;
    struct codec_packing packing;
    struct mlq_err err = MLQ_ERR_INIT;
    char *large = mlq_region_alloc(region, LIMIT_FRAME_TO_SERVER_BYTES + 1);
    memset(large, 'x', LIMIT_FRAME_TO_SERVER_BYTES);

    struct msg msg = {.kind = MSG_REQUEST, .request.name = {large, LIMIT_STRING_BYTES}};
    (void)encode(region, &msg);
    msg.request.name.len++;
    assert_int_equal(codec_prepare(&msg, 1 << 22, region, &packing, &err), MLQ_EFULL);
    assert_non_null(strstr(err.text, "name"));

    msg = (struct msg){.kind = MSG_REQUEST, .request.spec = {large, LIMIT_DOCUMENT_BYTES}};
    (void)encode(region, &msg);
    msg.request.spec.len++;
    assert_int_equal(codec_prepare(&msg, 1 << 22, region, &packing, &err), MLQ_EFULL);

    msg = (struct msg){.kind = MSG_LOG_DATA,
                       .log_data.bytes = {large, LIMIT_FRAME_TO_SERVER_BYTES}};
    assert_int_equal(codec_prepare(&msg, LIMIT_FRAME_TO_SERVER_BYTES, region, &packing, &err),
                     MLQ_EFULL);

    msg = (struct msg){.kind = MSG_REQUEST, .request.name = MLQ_STR("a\xff")};
    assert_int_equal(codec_prepare(&msg, 1 << 22, region, &packing, &err), MLQ_EINVAL);
    msg.request.name = MLQ_STR("a\0b");
    assert_int_equal(codec_prepare(&msg, 1 << 22, region, &packing, &err), MLQ_EINVAL);
}

static void test_text_for_people_is_repaired(void **state)
{
    struct mlq_region *region = *state;
    struct msg_report_item item = {.kind = MSG_REPORT_ENDED,
                                   .detail = MLQ_STR("a\xff\0b\xc3\xa9\xc3")};
    struct msg msg = {.kind = MSG_REPORT, .report = {&item, 1}};
    struct msg got;
    assert_int_equal(decode(region, encode(region, &msg), &got), MLQ_OK);
    assert_true(mlq_str_eq(got.report.items[0].detail, MLQ_STR("a??b\xc3\xa9?")));

    size_t len = LIMIT_STRING_BYTES + 10;
    char *large = mlq_region_alloc(region, len);
    memset(large, 'x', len);
    memcpy(large + LIMIT_STRING_BYTES - 1, "\xc3\xa9", 2); /* lies across the limit */
    item.detail = (struct mlq_str){large, len};
    assert_int_equal(decode(region, encode(region, &msg), &got), MLQ_OK);
    assert_int_equal(got.report.items[0].detail.len, LIMIT_STRING_BYTES - 1);
}

static void test_counts(void **state)
{
    struct mlq_region *region = *state;
    struct msg_member *members =
        mlq_region_array(region, LIMIT_REPEATED_LARGE + 1, sizeof *members);
    struct msg msg = {.kind = MSG_HELLO,
                      .hello = {.claims = members, .claim_count = LIMIT_REPEATED_LARGE}};
    struct msg got;
    assert_int_equal(decode(region, encode(region, &msg), &got), MLQ_OK);
    assert_int_equal(got.hello.claim_count, LIMIT_REPEATED_LARGE);

    struct codec_packing packing;
    struct mlq_err err = MLQ_ERR_INIT;
    msg.hello.claim_count++;
    assert_int_equal(codec_prepare(&msg, 1 << 22, region, &packing, &err), MLQ_OK);
    uint8_t *frame = mlq_region_alloc(region, packing.bytes);
    assert_int_equal(codec_pack(&packing, frame, &err), MLQ_EFULL);
    assert_int_equal(decode(region, (struct mlq_str){(char *)frame, packing.bytes}, &got),
                     MLQ_EFULL);

    struct mlq_str *words = mlq_region_array(region, LIMIT_REPEATED + 1, sizeof *words);
    struct msg_assignment one = {.argv = words, .argc = LIMIT_REPEATED};
    msg = (struct msg){.kind = MSG_ASSIGN, .assign = {.items = &one, .count = 1}};
    assert_int_equal(decode(region, encode(region, &msg), &got), MLQ_OK);
    one.argc++;
    assert_int_equal(codec_prepare(&msg, 1 << 22, region, &packing, &err), MLQ_OK);
    frame = mlq_region_alloc(region, packing.bytes);
    assert_int_equal(codec_pack(&packing, frame, &err), MLQ_EFULL);
}

struct bad_frame {
    const char *why;
    struct mlq_str frame;
    int code;
};

#define V "\x08\x01" /* version 1 */

static void test_malformed_frames(void **state)
{
    const struct bad_frame all[] = {
        {"nothing", MLQ_STR(""), MLQ_ECORRUPT},
        {"one byte", MLQ_STR("\x08"), MLQ_ECORRUPT},
        {"no version first", MLQ_STR("\x10\x01\x08\x01"), MLQ_ECORRUPT},
        {"version without end", MLQ_STR("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
         MLQ_ECORRUPT},
        {"version over 32 bits", MLQ_STR("\x08\xff\xff\xff\xff\xff\x01"), MLQ_ECORRUPT},
        {"no body", MLQ_STR(V), MLQ_ECORRUPT},
        {"unknown body", MLQ_STR(V "\xa2\x06\x00"), MLQ_ECORRUPT},
        {"version twice", MLQ_STR(V V "\xaa\x01\x00"), MLQ_ECORRUPT},
        {"two bodies", MLQ_STR(V "\xaa\x01\x00\x9a\x02\x00"), MLQ_ECORRUPT},
        {"the same body twice", MLQ_STR(V "\xaa\x01\x00\xaa\x01\x00"), MLQ_ECORRUPT},
        {"length out of the frame", MLQ_STR(V "\xaa\x01\x05"), MLQ_ECORRUPT},
        {"length of 2^63", MLQ_STR(V "\xaa\x01\xff\xff\xff\xff\xff\xff\xff\xff\x7f"),
         MLQ_ECORRUPT},
        {"inner length out of its parent", MLQ_STR(V "\x82\x01\x02\x12\x05" "aaaaa"),
         MLQ_ECORRUPT},
        {"field number 0", MLQ_STR(V "\x00\x01"), MLQ_ECORRUPT},
        {"group", MLQ_STR(V "\xab\x01\xac\x01"), MLQ_ECORRUPT},
        {"wire type 7", MLQ_STR(V "\xaf\x01"), MLQ_ECORRUPT},
        {"number where text belongs", MLQ_STR(V "\x82\x01\x02\x10\x01"), MLQ_ECORRUPT},
        {"text not UTF-8", MLQ_STR(V "\x82\x01\x03\x12\x01\xff"), MLQ_ECORRUPT},
        {"text with NUL", MLQ_STR(V "\x82\x01\x03\x12\x01\x00"), MLQ_ECORRUPT},
        {"claim cut off", MLQ_STR(V "\x82\x01\x03\x52\x01\x08"), MLQ_ECORRUPT},
        {"port 65536", MLQ_STR(V "\x82\x01\x04\x40\x80\x80\x04"), MLQ_ECORRUPT},
        {"operation 99", MLQ_STR(V "\x82\x04\x02\x10\x63"), MLQ_ECORRUPT},
        {"operation -1", MLQ_STR(V "\x82\x04\x0b\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
         MLQ_ECORRUPT},
        {"report kind 4", MLQ_STR(V "\x92\x01\x06\x0a\x04\x08\x04\x12\x00"), MLQ_ECORRUPT},
        {"report without member", MLQ_STR(V "\x92\x01\x04\x0a\x02\x08\x02"), MLQ_ECORRUPT},
        {"spec not UTF-8", MLQ_STR(V "\x82\x04\x03\x22\x01\xff"), MLQ_ECORRUPT},
        {"another version", MLQ_STR("\x08\x02\xff\xff\xff"), MLQ_EPROTO},
        {"version 0", MLQ_STR("\x08\x00\xaa\x01\x00"), MLQ_EPROTO},
    };
    for (size_t i = 0; i < MLQ_COUNT_OF(all); i++) {
        struct msg msg;
        int rc = decode(*state, all[i].frame, &msg);
        if (rc != all[i].code) {
            fail_msg("%s: %s, expected %s", all[i].why, mlq_code_text(rc),
                     mlq_code_text(all[i].code));
        }
    }
}

static void test_unknown_fields_are_skipped(void **state)
{
    struct msg msg;
    /* Leaving, with fields 1 (text), 2 (number), 3 (64 bits), 4 (32 bits) that a newer peer sends. */
    struct mlq_str frame = MLQ_STR(V "\xaa\x01\x13\x0a\x01\xff\x10\x7f\x19"
                                     "12345678"
                                     "\x25"
                                     "1234");
    assert_int_equal(decode(*state, frame, &msg), MLQ_OK);
    assert_int_equal(msg.kind, MSG_LEAVING);

    char many[4 + 3 + 2 * (LIMIT_UNKNOWN_FIELDS + 1)];
    size_t used = 0;
    size_t inner = 2 * (LIMIT_UNKNOWN_FIELDS + 1);
    memcpy(many, V "\xaa\x01", 4);
    used = 4;
    many[used++] = (char)(0x80 | (inner & 0x7f));
    many[used++] = (char)(inner >> 7);
    for (int i = 0; i <= LIMIT_UNKNOWN_FIELDS; i++) {
        many[used++] = '\x10';
        many[used++] = 1;
    }
    assert_int_equal(decode(*state, (struct mlq_str){many, used}, &msg), MLQ_EFULL);
}

/* Two bytes for an assignment on the wire, hundreds in memory. */
static void test_memory_is_bounded(void **state)
{
    struct mlq_region *region = *state;
    size_t items = 2000000;
    char *frame = mlq_region_alloc(region, 16 + 2 * items);
    size_t used = 0;
    memcpy(frame, V "\x92\x02", 4);
    used = 4;
    for (size_t left = 2 * items; left > 0; left >>= 7) {
        frame[used++] = (char)((left & 0x7f) | (left > 0x7f ? 0x80 : 0));
    }
    for (size_t i = 0; i < items; i++) {
        frame[used++] = '\x12';
        frame[used++] = 0;
    }
    struct msg msg;
    size_t before = mlq_region_bytes(region);
    assert_int_equal(decode(region, (struct mlq_str){frame, used}, &msg), MLQ_EFULL);
    assert_int_equal(mlq_region_bytes(region), before);
}

/* Within the limits, the estimate is never less than what decoding takes. */
static void test_memory_estimate_holds(void **state)
{
    struct mlq_region *region = *state;
    (void)state;
    for (int kind = MSG_NONE + 1; kind < SAMPLE_KINDS; kind++) {
        struct msg sample = sample_of((enum msg_kind)kind);
        struct mlq_str frame = encode(region, &sample);
        struct mlq_region *own = mlq_region_create();
        struct msg msg;
        assert_int_equal(decode(own, frame, &msg), MLQ_OK);
        assert_true(mlq_region_bytes(own) <= wire_memory_bytes(&mlq__v1__envelope__descriptor, frame));
        mlq_region_destroy(&own);
    }
}

static void test_schema_fits_the_scan(void **state)
{
    (void)state;
    const ProtobufCMessageDescriptor *todo[64] = {&mlq__v1__envelope__descriptor};
    unsigned depth[64] = {1};
    size_t count = 1;
    unsigned steps = 0;
    while (count > 0) {
        assert_true(++steps < 1000); /* a message within itself would never end */
        const ProtobufCMessageDescriptor *type = todo[--count];
        unsigned own_depth = depth[count];
        assert_true(own_depth <= LIMIT_DEPTH);
        assert_true(type->n_fields <= WIRE_FIELDS_MAX);
        for (unsigned i = 0; i < type->n_fields; i++) {
            const ProtobufCFieldDescriptor *field = &type->fields[i];
            bool many = field->label == PROTOBUF_C_LABEL_REPEATED;
            assert_true(!many || field->type == PROTOBUF_C_TYPE_MESSAGE ||
                        field->type == PROTOBUF_C_TYPE_STRING);
            if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
                todo[count] = field->descriptor;
                depth[count++] = own_depth + 1;
            }
        }
    }
}

static void test_versions_are_both_named(void **state)
{
    struct msg msg;
    uint32_t version;
    struct mlq_err err = MLQ_ERR_INIT;
    struct mlq_str frame = MLQ_STR("\x08\xe7\x07 whatever comes then");
    assert_int_equal(codec_decode(frame, 1 << 22, *state, &msg, &version, &err), MLQ_EPROTO);
    assert_int_equal(version, 999);
    assert_non_null(strstr(err.text, "999"));
    assert_non_null(strstr(err.text, "speaks 1"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_every_kind_goes_around, setup, teardown),
        cmocka_unit_test_setup_teardown(test_every_kind_goes_around_empty, setup, teardown),
        cmocka_unit_test_setup_teardown(test_values_arrive_as_they_were, setup, teardown),
        cmocka_unit_test_setup_teardown(test_sender_refuses_what_would_be_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_text_for_people_is_repaired, setup, teardown),
        cmocka_unit_test_setup_teardown(test_counts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_malformed_frames, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unknown_fields_are_skipped, setup, teardown),
        cmocka_unit_test_setup_teardown(test_memory_is_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(test_memory_estimate_holds, setup, teardown),
        cmocka_unit_test_setup_teardown(test_schema_fits_the_scan, setup, teardown),
        cmocka_unit_test_setup_teardown(test_versions_are_both_named, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
