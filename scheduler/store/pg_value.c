/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Array layout (array_send in the server's arrayfuncs.c), all big-endian: dimensions, flag "has
 * NULLs", element type; per dimension its size and lower bound; per element its length (-1: NULL)
 * and bytes.
 */
#include "scheduler/store/pg_value.h"

#include <string.h>

#include "lib/base/panic.h"
#include "lib/sys/mem.h"

#define HEADER_BYTES  20
#define EMPTY_BYTES   12 /* no dimensions */
#define EPOCH_2000_US INT64_C(946684800000000)

static void put_u32(char *out, uint32_t value)
{
    for (int i = 0; i < 4; i++) {
        out[i] = (char)(unsigned char)(value >> (24 - 8 * i));
    }
}

static void put_u64(char *out, uint64_t value)
{
    put_u32(out, (uint32_t)(value >> 32));
    put_u32(out + 4, (uint32_t)value);
}

static uint32_t get_u32(const char *in)
{
    uint32_t value = 0;
    for (int i = 0; i < 4; i++) {
        value = value << 8 | (unsigned char)in[i];
    }
    return value;
}

static uint64_t get_u64(const char *in)
{
    return (uint64_t)get_u32(in) << 32 | get_u32(in + 4);
}

/* ---- Parameters ------------------------------------------------------------------------------ */

static char *grow(struct pg_array *array, size_t bytes)
{
    if (array->len + bytes > array->capacity) {
        size_t capacity = array->capacity == 0 ? 256 : array->capacity;
        while (capacity < array->len + bytes) {
            capacity *= 2;
        }
        array->data = mlq_realloc_array(array->data, capacity, 1);
        array->capacity = capacity;
    }
    char *place = array->data + array->len;
    array->len += bytes;
    return place;
}

/* The place of an element of `bytes`, its length written. */
static char *element(struct pg_array *array, enum pg_type type, size_t bytes)
{
    MLQ_ASSERT(array->type == type && bytes <= INT32_MAX);
    char *place = grow(array, 4 + bytes);
    put_u32(place, (uint32_t)bytes);
    array->count++;
    array->value_count = array->count;
    array->value_len = array->len;
    return place + 4;
}

void pg_value_array_begin(struct pg_array *array, enum pg_type type)
{
    array->len = 0;
    array->count = 0;
    array->has_null = false;
    array->value_count = 0;
    array->value_len = EMPTY_BYTES;
    array->type = type;
    (void)grow(array, HEADER_BYTES);
}

void pg_value_array_fini(struct pg_array *array)
{
    mlq_free(array->data);
    *array = (struct pg_array){0};
}

void pg_value_add_bool(struct pg_array *array, bool value)
{
    *element(array, PG_BOOL, 1) = value ? 1 : 0;
}

void pg_value_add_i32(struct pg_array *array, int32_t value)
{
    put_u32(element(array, PG_INT4, 4), (uint32_t)value);
}

void pg_value_add_i64(struct pg_array *array, int64_t value)
{
    put_u64(element(array, PG_INT8, 8), (uint64_t)value);
}

void pg_value_add_f64(struct pg_array *array, double value)
{
    uint64_t bits = 0;
    memcpy(&bits, &value, sizeof bits);
    put_u64(element(array, PG_FLOAT8, 8), bits);
}

void pg_value_add_time(struct pg_array *array, int64_t us)
{
    MLQ_ASSERT(us >= 0 && us <= PG_TIME_US_MAX);
    put_u64(element(array, PG_TIMESTAMPTZ, 8), (uint64_t)(us - EPOCH_2000_US));
}

void pg_value_add_text(struct pg_array *array, struct mlq_str value)
{
    char *place = element(array, PG_TEXT, value.len);
    if (value.len > 0) {
        memcpy(place, value.ptr, value.len);
    }
}

void pg_value_add_null(struct pg_array *array)
{
    put_u32(grow(array, 4), UINT32_MAX);
    array->count++;
    array->has_null = true;
}

void pg_value_add_repeated(struct pg_array *array, struct mlq_str value)
{
    const char *first = array->data + HEADER_BYTES;
    bool is_same = array->count > 0 && get_u32(first) == value.len &&
                   (value.len == 0 || memcmp(first + 4, value.ptr, value.len) == 0);
    if (is_same) {
        pg_value_add_null(array);
    } else {
        pg_value_add_text(array, value);
    }
}

struct pg_param pg_value_array(struct pg_array *array)
{
    MLQ_ASSERT(array->len <= INT32_MAX);
    put_u32(array->data, array->value_count > 0 ? 1 : 0);
    put_u32(array->data + 4, array->value_count > 0 && array->has_null ? 1 : 0);
    put_u32(array->data + 8, (uint32_t)array->type);
    put_u32(array->data + 12, (uint32_t)array->value_count);
    put_u32(array->data + 16, 1);
    return (struct pg_param){.data = array->data, .len = (int)array->value_len};
}

struct pg_param pg_value_i32(int32_t value, char room[4])
{
    put_u32(room, (uint32_t)value);
    return (struct pg_param){.data = room, .len = 4};
}

struct pg_param pg_value_i64(int64_t value, char room[8])
{
    put_u64(room, (uint64_t)value);
    return (struct pg_param){.data = room, .len = 8};
}

struct pg_param pg_value_text(struct mlq_str value)
{
    MLQ_ASSERT(value.len <= INT32_MAX);
    return (struct pg_param){.data = value.len == 0 ? "" : value.ptr, .len = (int)value.len};
}

/* ---- Results --------------------------------------------------------------------------------- */

static const char *column_of(const PGresult *result, int row, int column, int bytes)
{
    if (PQgetisnull(result, row, column)) {
        return NULL;
    }
    MLQ_ASSERT(PQgetlength(result, row, column) == bytes);
    return PQgetvalue(result, row, column);
}

bool pg_value_get_bool(const PGresult *result, int row, int column)
{
    const char *bytes = column_of(result, row, column, 1);
    return bytes != NULL && bytes[0] != 0;
}

int32_t pg_value_get_i32(const PGresult *result, int row, int column)
{
    const char *bytes = column_of(result, row, column, 4);
    return bytes == NULL ? 0 : (int32_t)get_u32(bytes);
}

int64_t pg_value_get_i64(const PGresult *result, int row, int column)
{
    const char *bytes = column_of(result, row, column, 8);
    return bytes == NULL ? 0 : (int64_t)get_u64(bytes);
}

double pg_value_get_f64(const PGresult *result, int row, int column)
{
    const char *bytes = column_of(result, row, column, 8);
    uint64_t bits = bytes == NULL ? 0 : get_u64(bytes);
    double value = 0;
    memcpy(&value, &bits, sizeof value);
    return value;
}

int64_t pg_value_get_time(const PGresult *result, int row, int column)
{
    const char *bytes = column_of(result, row, column, 8);
    return bytes == NULL ? 0 : (int64_t)get_u64(bytes) + EPOCH_2000_US;
}

struct mlq_str pg_value_get_text(const PGresult *result, int row, int column)
{
    if (PQgetisnull(result, row, column)) {
        return (struct mlq_str){0};
    }
    return (struct mlq_str){.ptr = PQgetvalue(result, row, column),
                            .len = (size_t)PQgetlength(result, row, column)};
}

int pg_value_get_u16s(const PGresult *result, int row, int column, uint16_t *room, int room_max)
{
    int len = PQgetlength(result, row, column);
    const char *in = PQgetvalue(result, row, column);
    if (PQgetisnull(result, row, column) || len < 12 || get_u32(in) == 0) {
        return 0; /* an empty array has no dimensions */
    }
    MLQ_ASSERT(len >= HEADER_BYTES && get_u32(in + 8) == PG_INT4);
    uint32_t count = get_u32(in + 12);
    if (get_u32(in) != 1 || get_u32(in + 4) != 0 || room_max < 0 || count > (uint32_t)room_max ||
        (size_t)len != HEADER_BYTES + (size_t)count * 8) {
        return -1;
    }
    for (uint32_t i = 0; i < count; i++) {
        uint32_t value = get_u32(in + HEADER_BYTES + (size_t)i * 8 + 4);
        if (value > UINT16_MAX) {
            return -1;
        }
        room[i] = (uint16_t)value;
    }
    return (int)count;
}
