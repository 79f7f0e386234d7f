/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The files that worker and shim hand each other: "key=value" records, each ended by a NUL. A
 * command line and an environment may hold any byte but NUL, so nothing needs quoting.
 */
#ifndef MLQ_WORKER_EXEC_KV_H
#define MLQ_WORKER_EXEC_KV_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/str.h"

struct kv {
    char *data; /* owned */
    size_t len;
    size_t room;
};

/* `value` must not contain NUL (asserted): what comes from messages is checked before. */
void kv_put(struct kv *kv, const char *key, struct mlq_str value);
void kv_put_i64(struct kv *kv, const char *key, int64_t value);
void kv_fini(struct kv *kv);

/* Cuts the next record off `rest`. False at the end, or when what follows is no record: then *rest
 * is not empty. Values are terminated, since each is followed by its NUL. */
bool kv_next(struct mlq_str *rest, struct mlq_str *key, struct mlq_str *value);

#endif
