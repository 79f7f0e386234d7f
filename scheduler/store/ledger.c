/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "scheduler/store/ledger.h"

#include <string.h>

#include "lib/base/list.h"
#include "lib/base/panic.h"
#include "lib/base/prng.h"
#include "lib/sys/mem.h"

#define ROOM_MIN  1024
#define WORD_BITS 64
#define IDLE_MAX  4096 /* ended jobs that were loaded: to be retried, mostly */

/* A chained hash table of nodes that hold their key. */
struct node {
    struct node *next;
    uint64_t key;
};

struct table {
    struct node **places;
    size_t room; /* a power of two */
    size_t count;
};

enum { SAID_ASSIGNED = 1, SAID_STARTED = 2, SAID_ENDED = 4 };

/* An attempt of which not all ranks that were assigned have ended. */
struct attempt {
    struct node node;     /* by number; first */
    struct attempt *next; /* of the same job */
    struct attempt *before;
    uint64_t job;
    uint32_t stage;
    uint32_t open; /* ranks that were assigned and have not ended */
    uint32_t room;
    uint8_t said[]; /* by rank: SAID_* */
};

enum knowledge { KNOWN, LEARNING, UNKNOWN };

struct stage {
    uint32_t array_count;
    uint32_t ranks;
    uint64_t *succeeded; /* a bit for each task; NULL: none has */
};

struct job {
    struct node node;     /* by id; first */
    struct mlq_list list; /* in ledger.learning, ended or idle, or in none */
    enum knowledge knowledge;
    bool has_ended;
    bool is_idle;
    uint32_t round;
    uint64_t newest; /* attempt that was assigned */
    struct attempt *attempts;
    uint16_t stage_count;
    struct stage stages[];
};

struct ledger {
    struct table jobs;
    struct table attempts;
    struct mlq_list learning;
    struct mlq_list ended; /* by what was sent */
    struct mlq_list idle;  /* ended when they were loaded; oldest first */
    uint32_t idle_count;
};

/* ---- Tables ---------------------------------------------------------------------------------- */

static struct node **place_of(const struct table *table, uint64_t key)
{
    return &table->places[mlq_hash_in_runs(key) & (table->room - 1)];
}

static void *find(const struct table *table, uint64_t key)
{
    struct node *node = *place_of(table, key);
    while (node != NULL && node->key != key) {
        node = node->next;
    }
    return node;
}

static void link_node(struct table *table, struct node *node)
{
    struct node **place = place_of(table, node->key);
    node->next = *place;
    *place = node;
}

static void insert(struct table *table, struct node *node, uint64_t key)
{
    node->key = key;
    if (table->count == table->room) {
        struct table larger = {.room = table->room * 2, .count = table->count};
        larger.places = mlq_alloc_array(larger.room, sizeof(struct node *));
        for (size_t i = 0; i < table->room; i++) {
            for (struct node *old = table->places[i], *next; old != NULL; old = next) {
                next = old->next;
                link_node(&larger, old);
            }
        }
        mlq_free(table->places);
        *table = larger;
    }
    link_node(table, node);
    table->count++;
}

static void take_out(struct table *table, const struct node *node)
{
    struct node **place = place_of(table, node->key);
    while (*place != node) {
        MLQ_ASSERT(*place != NULL);
        place = &(*place)->next;
    }
    *place = node->next;
    table->count--;
}

/* ---- Attempts -------------------------------------------------------------------------------- */

static void drop_attempt(struct ledger *ledger, struct job *job, struct attempt *attempt)
{
    if (attempt->before == NULL) {
        job->attempts = attempt->next;
    } else {
        attempt->before->next = attempt->next;
    }
    if (attempt->next != NULL) {
        attempt->next->before = attempt->before;
    }
    take_out(&ledger->attempts, &attempt->node);
    mlq_free(attempt);
}

static void hang_in(struct job *job, struct attempt *attempt)
{
    attempt->before = NULL;
    attempt->next = job->attempts;
    if (job->attempts != NULL) {
        job->attempts->before = attempt;
    }
    job->attempts = attempt;
}

static struct attempt *find_attempt(const struct ledger *ledger, uint64_t job, uint64_t number)
{
    struct node *node = *place_of(&ledger->attempts, number);
    while (node != NULL && (node->key != number || ((struct attempt *)(void *)node)->job != job)) {
        node = node->next;
    }
    return (struct attempt *)(void *)node;
}

static struct attempt *create_attempt(struct ledger *ledger, struct job *job,
                                      const struct core_fact *fact)
{
    uint32_t room = fact->ranks > fact->rank ? fact->ranks : fact->rank + 1;
    struct attempt *attempt = mlq_alloc(sizeof *attempt + room);
    attempt->job = fact->job;
    attempt->stage = fact->stage;
    attempt->room = room;
    hang_in(job, attempt);
    insert(&ledger->attempts, &attempt->node, fact->attempt);
    return attempt;
}

/* With room for the fact's rank: gangs may grow. */
static struct attempt *with_room(struct ledger *ledger, struct job *job, struct attempt *attempt,
                                 uint32_t rank)
{
    if (rank < attempt->room) {
        return attempt;
    }
    uint32_t room = rank + 1;
    struct attempt *larger = mlq_alloc(sizeof *larger + room);
    memcpy(larger, attempt, sizeof *attempt + attempt->room);
    larger->room = room;
    uint64_t number = attempt->node.key;
    drop_attempt(ledger, job, attempt);
    hang_in(job, larger);
    insert(&ledger->attempts, &larger->node, number);
    return larger;
}

static uint8_t said_by(enum core_fact_kind kind)
{
    return kind == FACT_ASSIGNED ? SAID_ASSIGNED : kind == FACT_STARTED ? SAID_STARTED : SAID_ENDED;
}

static enum ledger_verdict put_attempt(struct ledger *ledger, struct job *job,
                                       const struct core_fact *fact)
{
    struct attempt *attempt = find_attempt(ledger, fact->job, fact->attempt);
    if (attempt != NULL && attempt->stage != fact->stage) {
        return LEDGER_REPEATED; /* a number is given once */
    }
    if (attempt == NULL && fact->attempt <= job->newest) {
        return LEDGER_REPEATED;
    }
    attempt = attempt == NULL ? create_attempt(ledger, job, fact)
                              : with_room(ledger, job, attempt, fact->rank);
    uint8_t *said = &attempt->said[fact->rank];
    if ((*said & said_by(fact->kind)) != 0) {
        return LEDGER_REPEATED;
    }
    *said |= said_by(fact->kind);
    if (fact->kind == FACT_ASSIGNED) {
        job->newest = fact->attempt > job->newest ? fact->attempt : job->newest;
        attempt->open += (*said & SAID_ENDED) == 0 ? 1 : 0;
    }
    if (fact->kind == FACT_ENDED && (*said & SAID_ASSIGNED) != 0 && --attempt->open == 0) {
        drop_attempt(ledger, job, attempt);
    }
    return LEDGER_NEW;
}

static enum ledger_verdict put_success(struct job *job, const struct core_fact *fact)
{
    struct stage *stage = &job->stages[fact->stage];
    if (stage->ranks != 1) {
        return LEDGER_NEW;
    }
    if (stage->succeeded == NULL) {
        stage->succeeded = mlq_alloc_array((stage->array_count + WORD_BITS - 1) / WORD_BITS,
                                           sizeof *stage->succeeded);
    }
    uint64_t *word = &stage->succeeded[fact->index / WORD_BITS];
    uint64_t bit = UINT64_C(1) << fact->index % WORD_BITS;
    bool is_repeated = (*word & bit) != 0;
    *word |= bit;
    return is_repeated ? LEDGER_REPEATED : LEDGER_NEW;
}

/* ---- Jobs ------------------------------------------------------------------------------------ */

static void clear_successes(struct job *job)
{
    for (uint16_t i = 0; i < job->stage_count; i++) {
        mlq_free(job->stages[i].succeeded);
        job->stages[i].succeeded = NULL;
    }
}

static void move_to(struct ledger *ledger, struct job *job, struct mlq_list *list)
{
    ledger->idle_count -= job->is_idle ? 1 : 0;
    job->is_idle = list == &ledger->idle;
    ledger->idle_count += job->is_idle ? 1 : 0;
    mlq_list_remove(&job->list);
    if (list != NULL) {
        mlq_list_push_back(list, &job->list);
    }
}

static void drop_job(struct ledger *ledger, struct job *job)
{
    move_to(ledger, job, NULL);
    while (job->attempts != NULL) {
        drop_attempt(ledger, job, job->attempts);
    }
    clear_successes(job);
    take_out(&ledger->jobs, &job->node);
    mlq_free(job);
}

static struct job *create_job(struct ledger *ledger, uint64_t id, const struct store_job *row,
                              enum knowledge knowledge)
{
    uint16_t stage_count = row == NULL ? 0 : row->stage_count;
    struct job *job = mlq_alloc(sizeof *job + stage_count * sizeof job->stages[0]);
    mlq_list_init(&job->list);
    job->knowledge = knowledge;
    job->stage_count = stage_count;
    for (uint16_t i = 0; i < stage_count; i++) {
        job->stages[i] = (struct stage){.array_count = row->stages[i].array_count,
                                        .ranks = row->stages[i].ranks};
    }
    insert(&ledger->jobs, &job->node, id);
    return job;
}

static enum ledger_verdict put_fact(struct ledger *ledger, struct job *job,
                                    const struct core_fact *fact)
{
    switch (fact->kind) {
    case FACT_ASSIGNED:
    case FACT_STARTED:
        return put_attempt(ledger, job, fact);
    case FACT_ENDED: {
        enum ledger_verdict verdict = put_attempt(ledger, job, fact);
        return verdict == LEDGER_NEW && fact->cause == CAUSE_NONE ? put_success(job, fact)
                                                                  : verdict;
    }
    case FACT_JOB_RETRIED:
        job->round++;
        job->has_ended = false;
        clear_successes(job);
        return LEDGER_NEW;
    case FACT_JOB_ENDED:
        job->has_ended = true;
        return LEDGER_NEW;
    case FACT_JOB_SUBMITTED:
    case FACT_JOB_CANCELLED:
    case FACT_STAGE_ENDED:
        return LEDGER_NEW;
    }
    MLQ_UNREACHABLE("a fact of an unknown kind");
}

void ledger_put_job(struct ledger *ledger, const struct store_job *row)
{
    /* If there is one already, the server says so. */
    if (find(&ledger->jobs, row->id) == NULL) {
        (void)create_job(ledger, row->id, row, KNOWN);
    }
}

/* Places that its row does not have. */
static bool is_outside(const struct job *job, const struct core_fact *fact)
{
    return fact->stage >= job->stage_count ||
           (fact->attempt > 0 && fact->index >= job->stages[fact->stage].array_count);
}

enum ledger_verdict ledger_put_fact(struct ledger *ledger, const struct core_fact *fact,
                                    uint32_t *round)
{
    struct job *job = find(&ledger->jobs, fact->job);
    if (job == NULL) {
        job = create_job(ledger, fact->job, NULL, UNKNOWN);
    }
    if (job->knowledge != KNOWN || is_outside(job, fact)) {
        job->knowledge = UNKNOWN;
        return LEDGER_ASK;
    }
    bool had_ended = job->has_ended;
    enum ledger_verdict verdict = put_fact(ledger, job, fact);
    if (job->has_ended != had_ended) {
        move_to(ledger, job, job->has_ended ? &ledger->ended : NULL);
    }
    *round = job->round;
    return verdict;
}

void ledger_load_job(struct ledger *ledger, const struct store_job *row)
{
    if (find(&ledger->jobs, row->id) == NULL) {
        struct job *job = create_job(ledger, row->id, row, LEARNING);
        mlq_list_push_back(&ledger->learning, &job->list);
    }
}

void ledger_load_fact(struct ledger *ledger, const struct core_fact *fact)
{
    struct job *job = find(&ledger->jobs, fact->job);
    if (job == NULL || job->knowledge != LEARNING) {
        return;
    }
    if (is_outside(job, fact) || put_fact(ledger, job, fact) == LEDGER_REPEATED) {
        job->knowledge = UNKNOWN;
    }
}

void ledger_loaded(struct ledger *ledger, bool is_whole)
{
    for (struct mlq_list *node; (node = mlq_list_pop_front(&ledger->learning)) != NULL;) {
        struct job *job = MLQ_CONTAINER_OF(node, struct job, list);
        if (!is_whole) {
            drop_job(ledger, job);
            continue;
        }
        job->knowledge = job->knowledge == LEARNING ? KNOWN : UNKNOWN;
        if (job->has_ended) {
            move_to(ledger, job, &ledger->idle);
        }
    }
    while (ledger->idle_count > IDLE_MAX) {
        drop_job(ledger, MLQ_CONTAINER_OF(ledger->idle.next, struct job, list));
    }
}

void ledger_forget_ended(struct ledger *ledger)
{
    while (!mlq_list_empty(&ledger->ended)) {
        drop_job(ledger, MLQ_CONTAINER_OF(ledger->ended.next, struct job, list));
    }
}

/* ---- Life ------------------------------------------------------------------------------------ */

static void table_init(struct table *table)
{
    table->room = ROOM_MIN;
    table->places = mlq_alloc_array(table->room, sizeof(struct node *));
}

struct ledger *ledger_create(void)
{
    struct ledger *ledger = mlq_alloc(sizeof *ledger);
    table_init(&ledger->jobs);
    table_init(&ledger->attempts);
    mlq_list_init(&ledger->learning);
    mlq_list_init(&ledger->ended);
    mlq_list_init(&ledger->idle);
    return ledger;
}

void ledger_clear(struct ledger *ledger)
{
    for (size_t i = 0; i < ledger->jobs.room; i++) {
        while (ledger->jobs.places[i] != NULL) {
            drop_job(ledger, (struct job *)(void *)ledger->jobs.places[i]);
        }
    }
}

void ledger_destroy(struct ledger **ledger)
{
    if (*ledger == NULL) {
        return;
    }
    ledger_clear(*ledger);
    mlq_free((*ledger)->jobs.places);
    mlq_free((*ledger)->attempts.places);
    mlq_free(*ledger);
    *ledger = NULL;
}
