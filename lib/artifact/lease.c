/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "lib/artifact/lease.h"

#include <fcntl.h>
#include <signal.h>

bool lease_take(int fd)
{
    /* The holder of a lease that is broken gets a signal. SIGIO would end the process; SIGURG is ignored
     * unless asked for. */
    return fcntl(fd, F_SETSIG, SIGURG) == 0 && fcntl(fd, F_SETLEASE, F_RDLCK) == 0;
}

bool lease_holds(int fd)
{
    return fcntl(fd, F_GETLEASE) == F_RDLCK;
}

void lease_yield(int fd)
{
    if (!lease_holds(fd)) {
        (void)fcntl(fd, F_SETLEASE, F_UNLCK); /* fails where there was none, which is fine */
    }
}
