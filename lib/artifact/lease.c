/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "lib/artifact/lease.h"

#include <fcntl.h>
#include <signal.h>

bool lease_take(int fd)
{
    /* Who breaks a lease waits until its holder, who is sent a signal, gives it up or closes the file.
     * We do that soon anyway, and SIGIO would end the process: SIGURG is ignored unless asked for. */
    return fcntl(fd, F_SETSIG, SIGURG) == 0 && fcntl(fd, F_SETLEASE, F_RDLCK) == 0;
}

bool lease_holds(int fd)
{
    return fcntl(fd, F_GETLEASE) == F_RDLCK;
}
