/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#ifndef MLQ_SYS_THREAD_H
#define MLQ_SYS_THREAD_H

#include <pthread.h>

/* A thread that signals pass by: they go to those that were there before. The caller joins it. 0 or an errno. */
int mlq_thread_start(pthread_t *thread, void *(*run)(void *argument), void *argument);

#endif
