/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Open addressing with linear probing, at most half full. A slot holds a code + 1.
 */
#include "worker/op/dict.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/panic.h"
#include "lib/base/prng.h"
#include "lib/sys/mem.h"

#define SLOTS_MIN 16u
#define ROOM_MIN  8u

struct dict {
    struct mlq_region *region;
    const char **texts; /* by code */
    uint32_t *lengths;
    uint32_t *slots;
    uint32_t mask;
    uint32_t count;
    uint32_t room;
    uint32_t count_max;
    bool sorted;
};

/* Eight bytes at a time through a mixer whose every output bit depends on every input bit. */
static uint64_t hash(struct mlq_str text)
{
    uint64_t sum = text.len;
    size_t i = 0;
    for (; i + 8 <= text.len; i += 8) {
        uint64_t word;
        memcpy(&word, text.ptr + i, 8);
        sum = mlq_hash_u64(sum ^ word);
    }
    uint64_t rest = 0;
    for (; i < text.len; i++) {
        rest = rest << 8 | (unsigned char)text.ptr[i];
    }
    return mlq_hash_u64(sum ^ rest);
}

static uint32_t *find_slot(const struct dict *dict, struct mlq_str text)
{
    for (uint64_t at = hash(text);; at++) {
        uint32_t *slot = &dict->slots[at & dict->mask];
        if (*slot == 0) {
            return slot;
        }
        uint32_t code = *slot - 1;
        if (dict->lengths[code] == text.len &&
            (text.len == 0 || memcmp(dict->texts[code], text.ptr, text.len) == 0)) {
            return slot;
        }
    }
}

static struct mlq_str text_at(const struct dict *dict, uint32_t code)
{
    return (struct mlq_str){dict->texts[code], dict->lengths[code]};
}

static void rebuild_slots(struct dict *dict, uint32_t slots)
{
    mlq_free(dict->slots);
    dict->slots = mlq_alloc_array(slots, sizeof *dict->slots);
    dict->mask = slots - 1;
    for (uint32_t code = 0; code < dict->count; code++) {
        *find_slot(dict, text_at(dict, code)) = code + 1;
    }
}

struct dict *dict_create(struct mlq_region *region, uint32_t count_max)
{
    MLQ_ASSERT(count_max <= 1u << 30);
    struct dict *dict = mlq_alloc(sizeof *dict);
    dict->region = region;
    dict->count_max = count_max;
    rebuild_slots(dict, SLOTS_MIN);
    return dict;
}

void dict_destroy(struct dict **dict)
{
    if (*dict == NULL) {
        return;
    }
    mlq_free((void *)(*dict)->texts);
    mlq_free((*dict)->lengths);
    mlq_free((*dict)->slots);
    mlq_free(*dict);
    *dict = NULL;
}

int32_t dict_add(struct dict *dict, struct mlq_str text)
{
    MLQ_ASSERT(!dict->sorted && text.len <= UINT32_MAX);
    uint32_t *slot = find_slot(dict, text);
    if (*slot != 0) {
        return (int32_t)(*slot - 1);
    }
    if (dict->count == dict->count_max) {
        return DICT_NONE;
    }
    if (dict->count == dict->room) {
        dict->room = dict->room == 0 ? ROOM_MIN : dict->room * 2;
        dict->texts = mlq_realloc_array((void *)dict->texts, dict->room, sizeof *dict->texts);
        dict->lengths = mlq_realloc_array(dict->lengths, dict->room, sizeof *dict->lengths);
    }
    uint32_t code = dict->count++;
    dict->texts[code] = mlq_region_strndup(dict->region, text);
    dict->lengths[code] = (uint32_t)text.len;
    *slot = code + 1;
    if (dict->count > dict->mask / 2) {
        rebuild_slots(dict, (dict->mask + 1) * 2);
    }
    return (int32_t)code;
}

int32_t dict_find(const struct dict *dict, struct mlq_str text)
{
    uint32_t found = *find_slot(dict, text);
    return found == 0 ? DICT_NONE : (int32_t)(found - 1);
}

uint32_t dict_count(const struct dict *dict)
{
    return dict->count;
}

static int compare_texts(const void *a, const void *b)
{
    const char *const *x = a;
    const char *const *y = b;
    return strcmp(*x, *y);
}

void dict_sort(struct dict *dict)
{
    if (dict->count > 0) {
        qsort((void *)dict->texts, dict->count, sizeof *dict->texts, compare_texts);
    }
    for (uint32_t code = 0; code < dict->count; code++) {
        dict->lengths[code] = (uint32_t)strlen(dict->texts[code]); /* no text holds a NUL */
    }
    rebuild_slots(dict, dict->mask + 1);
    dict->sorted = true;
}

const char *const *dict_texts(const struct dict *dict)
{
    return dict->texts;
}
