/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * mlq-shim --nursery ROOM: a process that becomes shims. Its worker sends it, on descriptor 3, for
 * each the folder and the descriptor of its first client; it forks, and the child is a shim as if it
 * had been executed, under the same name in the process list. It holds nothing that a shim needs: a
 * shim outlives it, as it outlives the worker, and when the worker hangs up it ends.
 *
 * What this saves is the exec: a fork of a few pages costs a third of it.
 */
#ifndef MLQ_WORKER_EXEC_SHIMFORK_H
#define MLQ_WORKER_EXEC_SHIMFORK_H

#include <stddef.h>

#define SHIMFORK_FLAG "--nursery"
#define SHIMFORK_FD   3

/* Of its arguments: what a shim's own, "mlq-shim DIR", may take of the process list. */
struct shimfork_title {
    char *text;
    size_t room;
};

/* Until the worker hangs up. Returns an exit status: that of the nursery, or of a shim that it
 * became. */
int shimfork_serve(const struct shimfork_title *title);

#endif
