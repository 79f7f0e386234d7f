/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * JSON documents for clients, over a connection of their own that may only read. It is opened at
 * the first question; questions wait for it, a bounded number of them.
 */
#ifndef MLQ_SCHEDULER_STORE_PG_VIEW_H
#define MLQ_SCHEDULER_STORE_PG_VIEW_H

#include "scheduler/store/pg_conn.h"
#include "scheduler/store/store.h"

struct pg_view;

MLQ_OWNED_RETURN struct pg_view *pg_view_create(struct uv_loop_s *loop, const char *conninfo);
void pg_view_destroy(MLQ_TAKES struct pg_view *view, void (*closed)(void *context), void *context);

/* 0: `cb` will answer. Otherwise no answer comes: MLQ_EINVAL (a bad selector or filter), MLQ_EFULL.
 */
int pg_view_ask(struct pg_view *view, const struct store_query *query, store_view_cb cb,
                void *context, struct mlq_err *err);

#endif
