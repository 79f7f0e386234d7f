/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "scheduler/specbook.h"

#include <string.h>

#include "lib/base/list.h"
#include "lib/base/panic.h"
#include "lib/base/prng.h"
#include "lib/sys/mem.h"
#include "lib/sys/region.h"

#define ROOM_MIN       1024
#define IDLE_MAX       256        /* specs that no job has */
#define IDLE_BYTES_MAX (4u << 20) /* of their texts */

struct entry {
    struct specbook_spec shared; /* first: what is given out is the entry */
    struct entry *next;          /* of the same place in the table */
    struct mlq_list idle;        /* in specbook.idle while no job has it */
    uint64_t hash;
    size_t users;
};

struct specbook {
    struct entry **places;
    size_t room; /* a power of two */
    size_t count;
    struct mlq_list idle; /* oldest first */
    size_t idle_count;
    size_t idle_bytes;
};

struct specbook *specbook_create(void)
{
    struct specbook *book = mlq_alloc(sizeof *book);
    book->room = ROOM_MIN;
    book->places = mlq_alloc_array(book->room, sizeof(struct entry *));
    mlq_list_init(&book->idle);
    return book;
}

/* Eight bytes a step. */
static uint64_t hash_text(struct mlq_str text)
{
    uint64_t sum = text.len;
    for (size_t at = 0; at < text.len; at += sizeof(uint64_t)) {
        uint64_t word = 0;
        size_t left = text.len - at;
        memcpy(&word, text.ptr + at, left < sizeof word ? left : sizeof word);
        sum = mlq_hash_u64(sum ^ word);
    }
    return sum;
}

static struct entry **place_of(const struct specbook *book, uint64_t hash)
{
    return &book->places[hash & (book->room - 1)];
}

static struct entry *find(const struct specbook *book, struct mlq_str text, uint64_t hash)
{
    struct entry *entry = *place_of(book, hash);
    while (entry != NULL && (entry->hash != hash || !mlq_str_eq(entry->shared.text, text))) {
        entry = entry->next;
    }
    return entry;
}

static void link_entry(struct specbook *book, struct entry *entry)
{
    struct entry **place = place_of(book, entry->hash);
    entry->next = *place;
    *place = entry;
}

static void grow(struct specbook *book)
{
    struct entry **old = book->places;
    size_t old_room = book->room;
    book->room *= 2;
    book->places = mlq_alloc_array(book->room, sizeof(struct entry *));
    for (size_t i = 0; i < old_room; i++) {
        for (struct entry *entry = old[i], *next; entry != NULL; entry = next) {
            next = entry->next;
            link_entry(book, entry);
        }
    }
    mlq_free(old);
}

/* ---- Entries --------------------------------------------------------------------------------- */

static uint32_t cause_mask(const struct spec_retry *retry)
{
    uint32_t mask = 0;
    for (size_t i = 0; i < retry->on_count; i++) {
        for (uint32_t cause = 0; cause < CAUSE_COUNT; cause++) {
            if (mlq_str_eq_c(retry->on[i], core_cause_text((enum core_cause)cause))) {
                mask |= UINT32_C(1) << cause;
            }
        }
    }
    return mask;
}

static enum core_resize resize_of(const struct spec_stage *stage)
{
    if (stage->is_live_resize) {
        return RESIZE_LIVE;
    }
    return stage->ranks_min < stage->ranks ? RESIZE_RESTART : RESIZE_NEVER;
}

static struct core_stage_desc describe(const struct spec_stage *stage)
{
    return (struct core_stage_desc){
        .array_count = stage->array_count,
        .array_parallel = stage->array_parallel,
        .failures_max = stage->array_max_failures,
        .ranks = stage->ranks,
        .ranks_min = stage->ranks_min,
        .resize = resize_of(stage),
        .per_rank = {.cpu_milli = stage->cpu_milli, .mem_bytes = stage->mem_bytes, .gpus = stage->gpus},
        .retry = {.limit = stage->retry.limit,
                  .cause_mask = cause_mask(&stage->retry),
                  .backoff_ns = stage->retry.backoff_ns,
                  .backoff_max_ns = stage->retry.backoff_max_ns},
        .grace_ns = stage->grace_ns,
        .needs = stage->needs,
        .needs_count = stage->needs_count,
    };
}

static struct entry *entry_create(const struct spec *spec, struct mlq_str text)
{
    struct entry *entry = mlq_alloc(sizeof *entry);
    struct core_stage_desc *stages = mlq_alloc_array(spec->stage_count, sizeof *stages);
    struct spec *kept = spec_pack(spec);
    for (uint16_t i = 0; i < kept->stage_count; i++) {
        stages[i] = describe(&kept->stages[i]);
    }
    *entry = (struct entry){
        .shared = {.text = {.ptr = mlq_strndup(text), .len = text.len},
                   .spec = kept,
                   .desc = {.priority = kept->priority,
                            .deadline_ns = kept->deadline_ns,
                            .stage_count = kept->stage_count,
                            .stages = stages}},
        .hash = hash_text(text),
    };
    mlq_list_init(&entry->idle);
    return entry;
}

static void entry_destroy(struct specbook *book, struct entry *entry)
{
    struct entry **place = place_of(book, entry->hash);
    while (*place != entry) {
        MLQ_ASSERT(*place != NULL);
        place = &(*place)->next;
    }
    *place = entry->next;
    book->count--;
    mlq_free((void *)(uintptr_t)entry->shared.text.ptr);
    mlq_free((void *)(uintptr_t)entry->shared.desc.stages);
    mlq_free(entry->shared.spec);
    mlq_free(entry);
}

static void drop_idle(struct specbook *book)
{
    struct entry *oldest = MLQ_CONTAINER_OF(book->idle.next, struct entry, idle);
    mlq_list_remove(&oldest->idle);
    book->idle_count--;
    book->idle_bytes -= oldest->shared.text.len;
    entry_destroy(book, oldest);
}

void specbook_destroy(struct specbook **book)
{
    if (*book == NULL) {
        return;
    }
    while ((*book)->idle_count > 0) {
        drop_idle(*book);
    }
    MLQ_ASSERT((*book)->count == 0);
    mlq_free((*book)->places);
    mlq_free(*book);
    *book = NULL;
}

/* ---- Take and give --------------------------------------------------------------------------- */

static const struct specbook_spec *use(struct specbook *book, struct entry *entry)
{
    if (entry->users++ == 0 && !mlq_list_empty(&entry->idle)) {
        mlq_list_remove(&entry->idle);
        book->idle_count--;
        book->idle_bytes -= entry->shared.text.len;
    }
    return &entry->shared;
}

/* It is parsed into memory of its own, which goes at once: a tree is many times as large as what it says. */
static struct entry *parse(struct specbook *book, struct mlq_str text, struct mlq_err *err)
{
    struct mlq_region *region = mlq_region_create();
    struct diag_list diags;
    struct entry *entry = NULL;
    diag_init(&diags, region, "spec");
    const struct spec *spec = spec_parse(text, &(struct spec_options){.canonical = true}, region, &diags);
    if (spec == NULL) {
        (void)mlq_fail(err, MLQ_EINVAL, "%.400s", diag_text(&diags));
    } else {
        struct mlq_str canonical = spec_canonical(spec, region);
        entry = find(book, canonical, hash_text(canonical)); /* said in other words */
        if (entry == NULL) {
            entry = entry_create(spec, canonical);
            book->count++;
            if (book->count > book->room) {
                grow(book);
            }
            link_entry(book, entry);
        }
    }
    mlq_region_destroy(&region);
    return entry;
}

const struct specbook_spec *specbook_take(struct specbook *book, struct mlq_str text, struct mlq_err *err)
{
    struct entry *entry = find(book, text, hash_text(text));
    if (entry == NULL) {
        entry = parse(book, text, err);
    }
    return entry == NULL ? NULL : use(book, entry);
}

void specbook_give(struct specbook *book, const struct specbook_spec *spec)
{
    struct entry *entry = (struct entry *)(uintptr_t)spec;
    MLQ_ASSERT(entry->users > 0);
    if (--entry->users > 0) {
        return;
    }
    mlq_list_push_back(&book->idle, &entry->idle);
    book->idle_count++;
    book->idle_bytes += entry->shared.text.len;
    while (book->idle_count > IDLE_MAX || book->idle_bytes > IDLE_BYTES_MAX) {
        drop_idle(book);
    }
}
