/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "lib/sys/thread.h"

#include <signal.h>

#include "lib/base/panic.h"

int mlq_thread_start(pthread_t *thread, void *(*run)(void *argument), void *argument)
{
    sigset_t all, before;
    (void)sigfillset(&all);
    MLQ_ASSERT(pthread_sigmask(SIG_BLOCK, &all, &before) == 0); /* the thread inherits it */
    int error = pthread_create(thread, NULL, run, argument);
    MLQ_ASSERT(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
    return error;
}
