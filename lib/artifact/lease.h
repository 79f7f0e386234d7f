/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Whether a file has a writer, as the kernel knows it. A read lease (fcntl(2), F_SETLEASE) is granted
 * only while no descriptor and no shared mapping of any process of this machine can write to the file,
 * and whoever opens it to write afterwards, or truncates it, breaks the lease first. For cas_put.c and io.c.
 */
#ifndef MLQ_ARTIFACT_LEASE_H
#define MLQ_ARTIFACT_LEASE_H

#include <stdbool.h>

/* On a descriptor that was opened to read. False also where leases are not to be had, as on NFS, and of
 * files of other users. It ends when the descriptor is closed. */
bool lease_take(int fd);

/* True as long as nobody has asked to write since. */
bool lease_holds(int fd);

/* Who has asked waits, for 45 s unless told otherwise (/proc/sys/fs/lease-break-time). Called now and then
 * during long work, it lets them go on. */
void lease_yield(int fd);

#endif
