/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * mlq-shim --nursery ATTEMPTS ROOM: a process that becomes shims for the members' folders in
 * ATTEMPTS. Its worker sends it, on descriptor 3, the descriptor of a shim's first client; it
 * forks, and the child is a shim as if it had been executed, under the same name in the process
 * list. It holds nothing that a shim needs: a shim outlives it, as it outlives the worker, and when
 * the worker hangs up it ends.
 *
 * What this saves is the exec: a fork of a few pages costs a third of it.
 */
#ifndef MLQ_WORKER_EXEC_SHIMFORK_H
#define MLQ_WORKER_EXEC_SHIMFORK_H

#include "worker/exec/shim.h"

#define SHIMFORK_FLAG "--nursery"
#define SHIMFORK_FD   3

/* Until the worker hangs up. Returns an exit status: that of the nursery, or of a shim that it
 * became. */
int shimfork_serve(const struct shim_title *title);

#endif
