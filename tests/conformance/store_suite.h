/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * What every store must do, run on each implementation (test_store_mem.c, test_store_pg.c), and the
 * client that those tests drive: a store on a loop of its own, so that a test can let one of two
 * stores stand still as if its process were stopped.
 */
#ifndef MLQ_TESTS_CONFORMANCE_STORE_SUITE_H
#define MLQ_TESTS_CONFORMANCE_STORE_SUITE_H

#include <stdbool.h>
#include <uv.h>

#include "scheduler/store/store.h"

#define SUITE_COMMITS_MAX 128

struct suite_backend {
    /* A new, empty record for the next test; what suite_open then connects to. */
    void (*fresh)(void);
    struct store *(*create)(struct uv_loop_s *loop, int64_t lease_ns,
                            const struct store_callbacks *callbacks);
};

struct suite_client {
    uv_loop_t loop;
    struct store *store;
    uint32_t epoch; /* of the last election; 0: not leader */
    int elections;
    int depositions;
    int deposed_code;
    int commit_calls;
    int commit_answers; /* answers come in order: the i-th is of the i-th call */
    int commit_rc[SUITE_COMMITS_MAX];
    bool commit_in_call; /* set during a call of a verb, to catch answers from inside it */
    bool is_loading;
    int load_rc;
    char *dump; /* what the last load said, a line per callback */
    size_t dump_len;
    int views;
    int view_rc;
    char *json;
    bool is_closed;
};

void suite_open(struct suite_client *client, const struct suite_backend *backend, int64_t lease_ns);
void suite_close(struct suite_client *client);
/* Run the loops of `clients` (up to a NULL) until `*counter` is at least `want`; fails after 30 s.
 */
void suite_until(const int *counter, int want, struct suite_client *first,
                 struct suite_client *second);
void suite_elect(struct suite_client *client, const char *holder);
int suite_commit_async(struct suite_client *client,
                       const struct store_batch *batch); /* its number */
int suite_commit(struct suite_client *client, const struct store_batch *batch);
const char *suite_load(struct suite_client *client, uint64_t job);
int suite_view(struct suite_client *client, const struct store_query *query);

/* A job of one stage "main" and its first fact; `key` may be NULL. The result is static. */
const struct store_batch *suite_job(uint64_t id, const char *key);
/* A fact of stage 0, index 0, rank 0 of 1, worker 1. */
struct store_fact suite_fact(enum core_fact_kind kind, uint64_t job, uint64_t attempt);
int suite_commit_facts(struct suite_client *client, const struct store_fact *facts, size_t count);

int suite_run(const struct suite_backend *backend, const char *name);

#endif
