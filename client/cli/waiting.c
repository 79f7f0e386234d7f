/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "client/cli/waiting.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/cli/doc.h"

/* Whether all that it needs is there, and still nothing of it has started. */
static bool is_waiting(const json_t *stages, const json_t *stage)
{
    const json_t *needs = json_object_get(stage, "needs");
    size_t met = 0;
    for (size_t i = 0; i < json_array_size(stages); i++) {
        const json_t *other = json_array_get(stages, i);
        bool done = strcmp(doc_text(other, "state"), "succeeded") == 0;
        for (size_t n = 0; done && n < json_array_size(needs); n++) {
            const char *need = json_string_value(json_array_get(needs, n));
            met += need != NULL && strcmp(need, doc_text(other, "name")) == 0;
        }
    }
    return strcmp(doc_text(stage, "state"), "pending") == 0 && met == json_array_size(needs) &&
           doc_int(stage, "attempts_total") == 0;
}

struct amounts {
    double cpus;
    int64_t memory;
    int64_t gpus;
};

static struct amounts amounts_of(const json_t *object)
{
    return (struct amounts){.cpus = doc_real(object, "cpus"),
                            .memory = doc_int(object, "memory"),
                            .gpus = doc_int(object, "gpus")};
}

static const char *amounts_text(struct session *session, struct amounts amounts)
{
    return mlq_region_format(session->region, "%g CPUs, %lld MiB, %lld GPUs", amounts.cpus,
                             (long long)(amounts.memory >> 20), (long long)amounts.gpus);
}

/* How many of `want` fit into `have`, at most `limit`. */
static int64_t times(struct amounts have, struct amounts want, int64_t limit)
{
    int64_t count = limit;
    double by_cpus = want.cpus > 0 ? have.cpus / want.cpus + 1e-9 : (double)limit;
    count = by_cpus < (double)count ? (int64_t)by_cpus : count;
    count = want.memory > 0 && have.memory / want.memory < count ? have.memory / want.memory : count;
    count = want.gpus > 0 && have.gpus / want.gpus < count ? have.gpus / want.gpus : count;
    return count;
}

/* Why there is no room: none is free, or nobody is that large. */
static const char *reason(struct session *session, const json_t *nodes, struct amounts want, int64_t ranks)
{
    const json_t *largest = NULL;
    struct amounts most = {0};
    int64_t fitting = 0;
    for (size_t i = 0; i < json_array_size(nodes); i++) {
        const json_t *node = json_array_get(nodes, i);
        struct amounts have = amounts_of(json_object_get(node, "capacity"));
        if (strcmp(doc_text(node, "state"), "up") != 0) {
            continue;
        }
        fitting += times(have, want, ranks);
        bool larger = have.gpus != most.gpus ? have.gpus > most.gpus
                      : have.cpus > most.cpus || (have.cpus >= most.cpus && have.memory > most.memory);
        if (largest == NULL || larger) {
            largest = node;
            most = have;
        }
    }
    if (largest == NULL) {
        return "no worker is connected";
    }
    return fitting >= ranks
               ? "`mlq nodes` shows what is free"
               : mlq_region_format(session->region,
                                   "more than the workers that are connected have (the largest, %s, has %s)",
                                   doc_text(largest, "name"), amounts_text(session, most));
}

/* The document's array, parsed into *document; NULL when the scheduler does not say (the job has ended meanwhile). */
static const json_t *ask(struct session *session, const char *job, bool about_nodes, json_t **document)
{
    struct mlq_str json = {0};
    bool ended = false;
    int rc = about_nodes ? mlq_client_nodes(session->client, session->region, &json, NULL)
                         : mlq_client_watch(session->client, strtoull(job, NULL, 10), 0, 0, session->region, &json,
                                            &ended, NULL);
    if (rc != MLQ_OK || ended || doc_parse(json, document, NULL) != MLQ_OK) {
        return NULL;
    }
    return about_nodes ? json_object_get(*document, "nodes")
                       : json_object_get(json_object_get(*document, "job"), "stages");
}

static const json_t *find_named(const json_t *all, const char *name)
{
    for (size_t i = 0; i < json_array_size(all); i++) {
        if (strcmp(doc_text(json_array_get(all, i), "name"), name) == 0) {
            return json_array_get(all, i);
        }
    }
    return NULL;
}

static const char *worker_of(const json_t *stage, const char *attempt, int64_t rank)
{
    const json_t *attempts = json_object_get(stage, "attempts");
    for (size_t i = 0; i < json_array_size(attempts); i++) {
        const json_t *one = json_array_get(attempts, i);
        if (strcmp(doc_text(one, "attempt"), attempt) == 0 && doc_int(one, "rank") == rank) {
            return doc_text(one, "worker");
        }
    }
    return "a worker";
}

/* Nobody of a training moves: the rank that the others wait for. */
static void print_stalled(const char *job, const json_t *stage, const json_t *stalled)
{
    int64_t rank = doc_int(stalled, "rank");
    const char *name = doc_text(stage, "name");
    const char *phase = doc_text(stalled, "phase");
    bool stopped = strcmp(phase, "stopped") == 0;
    printf("\n  %s has not moved for %.0f s: the others wait for rank %lld on %s, which is %s%s%s epoch %lld, "
           "step %lld\n  look: `mlq logs %s --stage %s --rank %lld`\n",
           name, json_number_value(json_object_get(stalled, "seconds")), (long long)rank,
           worker_of(stage, doc_text(stalled, "attempt"), rank), stopped ? "" : "at '", phase,
           stopped ? " (by a signal, or a debugger) in" : "' of",
           (long long)doc_int(stalled, "epoch") + 1, (long long)doc_int(stalled, "step"), job, name, (long long)rank);
}

static bool is_running_gang(const json_t *stage)
{
    return doc_int(stage, "ranks") > 1 && strcmp(doc_text(stage, "state"), "running") == 0;
}

void waiting_print(struct session *session, const json_t *job)
{
    const json_t *stages = json_object_get(job, "stages");
    json_t *live_document = NULL;
    json_t *nodes_document = NULL;
    const json_t *live = NULL;
    const json_t *nodes = NULL;
    for (size_t i = 0; doc_text(job, "ended")[0] == '\0' && i < json_array_size(stages); i++) {
        const json_t *stage = json_array_get(stages, i);
        const char *name = doc_text(stage, "name");
        if (!is_waiting(stages, stage) && !is_running_gang(stage)) {
            continue;
        }
        if (live_document == NULL && nodes_document == NULL) {
            live = ask(session, doc_text(job, "id"), false, &live_document);
            nodes = ask(session, NULL, true, &nodes_document);
        }
        const json_t *stalled = json_object_get(find_named(live, name), "stalled");
        if (stalled != NULL) {
            print_stalled(doc_text(job, "id"), stage, stalled);
        }
        if (!is_waiting(stages, stage)) {
            continue;
        }
        const json_t *wants = json_object_get(find_named(live, name), "wants");
        struct amounts want = amounts_of(wants);
        if (wants != NULL && nodes != NULL) {
            printf("\n  %s waits for workers with room for %lld x (%s): %s\n", name,
                   (long long)doc_int(wants, "ranks"), amounts_text(session, want),
                   reason(session, nodes, want, doc_int(wants, "ranks")));
        }
    }
    json_decref(live_document);
    json_decref(nodes_document);
}
