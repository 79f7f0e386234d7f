/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#ifndef MLQ_SYS_THREAD_H
#define MLQ_SYS_THREAD_H

#include <pthread.h>
#include <stddef.h>

#include "lib/base/err.h"

/* A thread that signals pass by: they go to those that were there before. Only its own faults stay with it, since a
 * blocked one ends the process without a word (mapfault.h has one). The caller joins it. 0 or an errno. */
int mlq_thread_start(pthread_t *thread, void *(*run)(void *argument), void *argument);

#define MLQ_THREADS_MAX 64u

typedef int (*mlq_thread_fn)(void *context, size_t i, struct mlq_err *err);

/* run(context, i, ..) for each i below `count`, on at most `threads` threads (and MLQ_THREADS_MAX), the caller's
 * included: each takes the next that nobody has, and none does any more when one has failed. Where a thread cannot be
 * started, the others do its work. Returns when all threads are done: MLQ_OK, or what the lowest i that fails gives. */
int mlq_thread_each(unsigned threads, size_t count, mlq_thread_fn run, void *context, struct mlq_err *err);

#endif
