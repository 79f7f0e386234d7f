/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * What a batch may hold, and the texts of the core's enums in the record. Used by both stores, so
 * that they refuse the same.
 */
#ifndef MLQ_SCHEDULER_STORE_STORE_CHECK_H
#define MLQ_SCHEDULER_STORE_STORE_CHECK_H

#include "scheduler/store/store.h"

#define STORE_CHECK_DETAIL_BYTES_MAX 1024

/* MLQ_EINVAL and the place of the first value that the record cannot hold. */
int store_check_batch(const struct store_batch *batch, struct mlq_err *err);

/* A detail comes from a task: it is cut to 1 KiB and what is not UTF-8 becomes '?', never refused.
 */
struct mlq_str store_check_detail(struct mlq_str detail, char room[STORE_CHECK_DETAIL_BYTES_MAX]);

const char *store_check_kind_text(enum core_fact_kind kind);
const char *store_check_cause_text(enum core_cause cause);
const char *store_check_resize_text(enum core_resize resize);
const char *store_check_state_text(enum core_state state);
/* False for a text that this binary does not know. */
bool store_check_kind(struct mlq_str text, enum core_fact_kind *kind);
bool store_check_cause(struct mlq_str text, enum core_cause *cause);
bool store_check_state(struct mlq_str text, enum core_state *state);

#endif
