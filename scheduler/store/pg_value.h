/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Values in PostgreSQL's binary format: parameters out, result columns in. No escaping, no
 * rounding. Times are microseconds since 1970 here and since 2000 on the wire.
 */
#ifndef MLQ_SCHEDULER_STORE_PG_VALUE_H
#define MLQ_SCHEDULER_STORE_PG_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/str.h"
#include "scheduler/store/pg_conn.h"

/* Element types, from the server's catalog (pg_type.dat); they never change. */
enum pg_type {
    PG_BOOL = 16,
    PG_INT8 = 20,
    PG_INT4 = 23,
    PG_TEXT = 25,
    PG_FLOAT8 = 701,
    PG_TIMESTAMPTZ = 1184,
};

/* What the database can hold: the years 1970 to 9999. */
#define PG_TIME_US_MAX INT64_C(253402300799999999)

/* A one-dimensional array that grows. Zero is a valid empty state; begin keeps the memory. */
struct pg_array {
    char *data;
    size_t len;
    size_t capacity;
    int32_t count;
    bool has_null;
    /* Of what stands before the NULLs at its end. */
    int32_t value_count;
    size_t value_len;
    enum pg_type type;
};

void pg_value_array_begin(struct pg_array *array, enum pg_type type);
void pg_value_array_fini(struct pg_array *array);
void pg_value_add_bool(struct pg_array *array, bool value);
void pg_value_add_i32(struct pg_array *array, int32_t value);
void pg_value_add_i64(struct pg_array *array, int64_t value);
void pg_value_add_f64(struct pg_array *array, double value);
void pg_value_add_time(struct pg_array *array, int64_t us);
void pg_value_add_text(struct pg_array *array, struct mlq_str value);
void pg_value_add_null(struct pg_array *array);
/* NULL where it is what the first element is, which the statement puts there again (or a view:
 * 0004_whole.up.sql). */
void pg_value_add_repeated(struct pg_array *array, struct mlq_str value);
/* Valid until the next call on the array. NULLs at its end are not sent: beside longer ones, unnest fills it up
 * with them. */
struct pg_param pg_value_array(struct pg_array *array);

/* Scalars. `room` is the caller's, kept until the statement is sent. */
struct pg_param pg_value_i32(int32_t value, char room[4]);
struct pg_param pg_value_i64(int64_t value, char room[8]);
struct pg_param pg_value_text(struct mlq_str value);

/* Columns of a binary result; a NULL gives 0, or the empty slice. Asserts the width. */
bool pg_value_get_bool(const PGresult *result, int row, int column);
int32_t pg_value_get_i32(const PGresult *result, int row, int column);
int64_t pg_value_get_i64(const PGresult *result, int row, int column);
double pg_value_get_f64(const PGresult *result, int row, int column);
int64_t pg_value_get_time(const PGresult *result, int row, int column);
struct mlq_str pg_value_get_text(const PGresult *result, int row, int column);
/* An int4 array into `room` (of `room_max`); the count, or -1 when it does not fit u16 or the room.
 */
int pg_value_get_u16s(const PGresult *result, int row, int column, uint16_t *room, int room_max);

#endif
