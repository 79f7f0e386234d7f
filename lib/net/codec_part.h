/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Between codec.c and codec_worker.c only: how single fields are converted. The first thing that
 * does not fit is kept in `code`; conversion goes on and its result is thrown away at the end, so
 * that the code for a message is a plain list of its fields.
 */
#ifndef MLQ_NET_CODEC_PART_H
#define MLQ_NET_CODEC_PART_H

#include <protobuf-c/protobuf-c.h>

#include "lib/base/err.h"
#include "lib/net/msg.h"
#include "lib/sys/region.h"
#include "mlq/v1/envelope.pb-c.h"

struct codec_part {
    struct mlq_region *region;
    struct mlq_err *err;
    int code;
};

/* A message is described once, as a list of its fields; the list is expanded for each direction.
 * N: the same number on both sides. T: text. P: text for people. B: bytes. */
#define CODEC_GET_N(field) to->field = from->field;
#define CODEC_GET_T(field) to->field = mlq_str_from(from->field);
#define CODEC_GET_P(field) to->field = mlq_str_from(from->field);
#define CODEC_GET_B(field) to->field = codec_get_bytes(from->field);
#define CODEC_PUT_N(field) to->field = from->field;
#define CODEC_PUT_T(field) to->field = codec_put_text(part, from->field, #field);
#define CODEC_PUT_P(field) to->field = codec_put_prose(part, from->field);
#define CODEC_PUT_B(field) to->field = codec_put_bytes(from->field);
#define CODEC_GET(fields) fields(CODEC_GET_N, CODEC_GET_T, CODEC_GET_P, CODEC_GET_B)
#define CODEC_PUT(fields) fields(CODEC_PUT_N, CODEC_PUT_T, CODEC_PUT_P, CODEC_PUT_B)

/* A repeated message: an array of structs on our side, an array of pointers on protobuf-c's. */
#define CODEC_GET_LIST(field, count, name)                                                         \
    do {                                                                                           \
        struct msg_##name *all_ = mlq_region_array(part->region, from->n_##field, sizeof *all_);   \
        for (size_t i_ = 0; i_ < from->n_##field; i_++) {                                          \
            name##_get(part, &all_[i_], from->field[i_]);                                          \
        }                                                                                          \
        to->field = all_;                                                                          \
        to->count = from->n_##field;                                                               \
    } while (0)

#define CODEC_PUT_LIST(field, count, name, Type, init)                                             \
    do {                                                                                           \
        Type *all_ = mlq_region_array(part->region, from->count, sizeof *all_);                    \
        to->field = mlq_region_array(part->region, from->count, sizeof(Type *));                   \
        to->n_##field = from->count;                                                               \
        for (size_t i_ = 0; i_ < from->count; i_++) {                                              \
            init(&all_[i_]);                                                                       \
            name##_put(part, &all_[i_], &from->field[i_]);                                         \
            to->field[i_] = &all_[i_];                                                             \
        }                                                                                          \
    } while (0)

void codec_bad(struct codec_part *part, int code, const char *field, const char *why);

struct mlq_str codec_get_bytes(ProtobufCBinaryData data);
const struct mlq_str *codec_get_texts(struct codec_part *part, char **texts, size_t count);
uint16_t codec_get_port(struct codec_part *part, uint32_t port);
/* Checks that bytes which the schema cannot type are UTF-8 of at most LIMIT_DOCUMENT_BYTES; json of
 * a record may be as large as a frame (bytes_max). */
void codec_check_document(struct codec_part *part,
                          struct mlq_str document,
                          size_t bytes_max,
                          const char *field);

ProtobufCBinaryData codec_put_bytes(struct mlq_str bytes);
char *codec_put_text(struct codec_part *part, struct mlq_str text, const char *field);
char *codec_put_prose(struct codec_part *part, struct mlq_str text);
char **codec_put_texts(struct codec_part *part,
                       const struct mlq_str *texts,
                       size_t count,
                       const char *field);

/* codec_worker.c: all bodies of worker.proto. False when msg->kind is not one of them. */
bool codec_worker_put(struct codec_part *part, Mlq__V1__Envelope *to, const struct msg *msg);
bool codec_worker_get(struct codec_part *part, struct msg *to, const Mlq__V1__Envelope *from);

#endif
