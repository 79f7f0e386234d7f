/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Attempts by number, with linear probing; half of the places stay free.
 */
#include "scheduler/points.h"

#include <string.h>

#include "lib/base/panic.h"
#include "lib/base/prng.h"
#include "lib/sys/mem.h"

#define ROOM_MIN 8

/* But for their names; NaN equals NaN. */
static bool is_same(const struct point *a, const struct point *b)
{
    return a->step == b->step && a->at_us == b->at_us && memcmp(&a->value, &b->value, sizeof a->value) == 0;
}

static size_t home_of(uint64_t attempt, size_t room)
{
    return (size_t)mlq_hash_u64(attempt) & (room - 1);
}

/* Where it is, or the free place where it belongs. */
static size_t place_of(const struct points_attempt *table, size_t room, uint64_t attempt)
{
    size_t at = home_of(attempt, room);
    while (table[at].attempt != 0 && table[at].attempt != attempt) {
        at = (at + 1) & (room - 1);
    }
    return at;
}

static void grow(struct points *points)
{
    size_t room = points->attempt_room == 0 ? ROOM_MIN : points->attempt_room * 2;
    struct points_attempt *table = mlq_alloc_array(room, sizeof *table);
    for (size_t i = 0; i < points->attempt_room; i++) {
        const struct points_attempt *old = &points->attempts[i];
        if (old->attempt != 0) {
            table[place_of(table, room, old->attempt)] = *old;
        }
    }
    mlq_free(points->attempts);
    points->attempts = table;
    points->attempt_room = room;
}

static void forget(struct points *points, struct points_attempt *attempt)
{
    points->count -= attempt->count;
    for (size_t i = 0; i < attempt->count; i++) {
        mlq_free((void *)(uintptr_t)attempt->items[i].name.ptr);
    }
    mlq_free(attempt->items);
    *attempt = (struct points_attempt){0};
}

void points_fini(struct points *points)
{
    for (size_t i = 0; i < points->attempt_room; i++) {
        forget(points, &points->attempts[i]);
    }
    mlq_free(points->attempts);
    *points = (struct points){0};
}

static bool put(struct points *points, struct points_attempt *attempt, const struct point *point)
{
    for (size_t i = 0; i < attempt->count; i++) {
        struct point *known = &attempt->items[i];
        if (mlq_str_eq(known->name, point->name)) {
            bool is_new = !is_same(known, point);
            struct mlq_str name = known->name;
            *known = *point;
            known->name = name;
            return is_new;
        }
    }
    if (points->count == POINTS_MAX) {
        return true;
    }
    if (attempt->count == attempt->room) {
        attempt->room = attempt->room == 0 ? 2 : attempt->room * 2;
        attempt->items = mlq_realloc_array(attempt->items, attempt->room, sizeof *attempt->items);
    }
    points->count++;
    struct point *made = &attempt->items[attempt->count++];
    *made = *point;
    made->name.ptr = mlq_strndup(point->name);
    return true;
}

bool points_put(struct points *points, uint64_t attempt, const struct point *point)
{
    MLQ_ASSERT(attempt != 0);
    if ((points->attempt_count + 1) * 2 > points->attempt_room) {
        grow(points);
    }
    struct points_attempt *found = &points->attempts[place_of(points->attempts, points->attempt_room, attempt)];
    if (found->attempt == 0 && points->count == POINTS_MAX) {
        return true;
    }
    points->attempt_count += found->attempt == 0;
    found->attempt = attempt;
    return put(points, found, point);
}

/* What was pushed on by the one that is gone moves up, so that it is found from its home. */
static void close_gap(struct points *points, size_t gap)
{
    struct points_attempt *table = points->attempts;
    size_t mask = points->attempt_room - 1;
    for (size_t at = (gap + 1) & mask; table[at].attempt != 0; at = (at + 1) & mask) {
        size_t from_home = (at - home_of(table[at].attempt, points->attempt_room)) & mask;
        if (from_home >= ((at - gap) & mask)) {
            table[gap] = table[at];
            table[at] = (struct points_attempt){0};
            gap = at;
        }
    }
}

void points_drop(struct points *points, uint64_t attempt)
{
    if (points->attempt_count == 0) {
        return;
    }
    size_t at = place_of(points->attempts, points->attempt_room, attempt);
    if (attempt == 0 || points->attempts[at].attempt == 0) {
        return;
    }
    forget(points, &points->attempts[at]);
    close_gap(points, at);
    if (--points->attempt_count == 0) { /* between two waves of an array nothing is kept */
        points_fini(points);
    }
}
