/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The shim as a call: one process, one task (shim.c).
 */
#ifndef MLQ_WORKER_EXEC_SHIM_H
#define MLQ_WORKER_EXEC_SHIM_H

/* Runs the task of the member's folder `dir`, in this process, which does nothing else before or
 * after. Descriptor 3 is its first client, if it is a socket; all above are closed. Returns the exit
 * status of the process: 0 when the end of the task is in its file. */
int shim_run(const char *dir);

#endif
