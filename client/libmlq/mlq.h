/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * libmlq: a cluster's client in C. Blocking, one thread per client. What comes back lives in the
 * region that the caller gives; JSON documents are those of `mlq … --json` (schema "mlq/v1").
 *
 * Every function returns 0 or a negative MLQ_E* with a text that says what to do:
 *   MLQ_ECONN     nothing was sent: no scheduler there, or this key is not enrolled
 *   MLQ_EUNKNOWN  sent, but not answered: the same call with the same idempotency key is safe
 *   others        the scheduler's refusal
 */
#ifndef MLQ_LIBMLQ_MLQ_H
#define MLQ_LIBMLQ_MLQ_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/base/ownership.h"
#include "lib/base/str.h"
#include "lib/sys/region.h"

struct mlq_client;

struct mlq_client_options {
    const char *endpoint;   /* tcp://HOST:PORT */
    const char *server_key; /* the scheduler's public key, Z85 */
    const char *key_path;   /* file of the client's own key pair */
    int64_t timeout_ns;     /* of one call; 0: 10 s */
};

int mlq_client_open(const struct mlq_client_options *options,
                    MLQ_OWNED_RETURN struct mlq_client **client, struct mlq_err *err);
void mlq_client_close(struct mlq_client **client);

struct mlq_client_submission {
    struct mlq_str spec;            /* canonical JSON (spec_canonical); its files are in the store */
    struct mlq_str idempotency_key; /* empty: no protection against doubling */
    bool feasible_only;             /* MLQ_EINVAL rather than a warning when no worker is that large */
};
/* *warning (may be NULL) is set to a text or to the empty slice. */
int mlq_client_submit(struct mlq_client *client, const struct mlq_client_submission *submission,
                      uint64_t *job, struct mlq_region *region, struct mlq_str *warning,
                      struct mlq_err *err);
int mlq_client_cancel(struct mlq_client *client, uint64_t job, struct mlq_str reason,
                      struct mlq_err *err);
/* Asks what runs of the job, or of one stage of it (empty: all), to save its state and go on
 * (SIGUSR1). *json: {"schema", "id", "asked": how many processes}. */
int mlq_client_checkpoint(struct mlq_client *client, uint64_t job, struct mlq_str stage,
                          struct mlq_region *region, struct mlq_str *json, struct mlq_err *err);
int mlq_client_retry(struct mlq_client *client, uint64_t job, struct mlq_err *err);

/* JSON documents. */
int mlq_client_status(struct mlq_client *client, struct mlq_region *region, struct mlq_str *json,
                      struct mlq_err *err);
int mlq_client_nodes(struct mlq_client *client, struct mlq_region *region, struct mlq_str *json,
                     struct mlq_err *err);
int mlq_client_show(struct mlq_client *client, uint64_t job, struct mlq_region *region,
                    struct mlq_str *json, struct mlq_err *err);
int mlq_client_metrics(struct mlq_client *client, uint64_t job, struct mlq_str stage,
                       struct mlq_str name, struct mlq_region *region, struct mlq_str *json,
                       struct mlq_err *err);

struct mlq_client_list {
    struct mlq_str state; /* "" or one of pending, running, succeeded, failed, cancelled */
    struct mlq_str name;
    uint32_t limit;  /* 0: 100 */
    uint64_t before; /* only ids below; 0: newest */
};
int mlq_client_list(struct mlq_client *client, const struct mlq_client_list *filter,
                    struct mlq_region *region, struct mlq_str *json, struct mlq_err *err);

/* "12", "12-40", "last", "@name", "state=failed" or a label such as "team=vision" to ids, ascending. */
int mlq_client_resolve(struct mlq_client *client, struct mlq_str selector,
                       struct mlq_region *region, uint64_t **jobs, size_t *count,
                       struct mlq_err *err);

/* Waits until the job's state is newer than `version` (begin with 0) or wait_ns is over. *json is
 * the document of MSG_OP_WATCH (it holds the next version), or empty with *ended set when the job
 * has ended: see mlq_client_show then. */
int mlq_client_watch(struct mlq_client *client, uint64_t job, uint64_t version, int64_t wait_ns,
                     struct mlq_region *region, struct mlq_str *json, bool *ended,
                     struct mlq_err *err);

struct mlq_client_log {
    uint64_t job;
    struct mlq_str stage;
    uint32_t index;
    uint32_t rank;
    uint64_t offset;
    int64_t wait_ns; /* for more to be written */
};
/* Bytes from *offset on, which is moved behind them (and past what was dropped from the middle).
 * When the log is complete and stored, *digest is set and *end is true: read it from the store. */
int mlq_client_log(struct mlq_client *client, struct mlq_client_log *where,
                   struct mlq_region *region, struct mlq_str *bytes, struct mlq_str *digest,
                   bool *end, struct mlq_err *err);

#endif
