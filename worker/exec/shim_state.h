/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * What the parts of the shim share: shim.c runs tasks, shimtalk.c speaks with workers (the words
 * are in shim.c).
 */
#ifndef MLQ_WORKER_EXEC_SHIM_STATE_H
#define MLQ_WORKER_EXEC_SHIM_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/sys/region.h"
#include "worker/exec/joblog.h"
#include "worker/exec/shimchild.h"
#include "worker/exec/shimfile.h"

#define SHIM_CLIENTS_MAX    4
#define SHIM_LINE_BYTES_MAX 128
#define SHIM_ORDER_BYTES    64
#define SHIM_NEVER          INT64_MAX

struct shim_client {
    int fd; /* -1: free */
    size_t used;
    char line[SHIM_LINE_BYTES_MAX];
};

/* Of one task, forgotten when it is over. */
struct shim_task {
    struct shimfile_conf conf;
    struct mlq_region *region; /* of its texts */
    struct joblog log;
    struct shimchild child;
    struct shimfile_end end;
    int lock_fd;
    int64_t lease_deadline_ns;
    int64_t timeout_deadline_ns;  /* SHIM_NEVER: none */
    int64_t kill_deadline_ns;     /* end of the grace; SHIM_NEVER: not stopping */
    int64_t watch_deadline_ns;    /* next look at the memory; SHIM_NEVER: a cgroup does it */
    int64_t listen_deadline_ns;   /* next try to listen; SHIM_NEVER: no need */
    enum worker_cause stop_cause; /* why we stop or killed it; NONE: we did not */
    bool is_child_gone;
    bool must_kill;
    int wait_status;
};

struct shim {
    struct shim_task task;
    struct shim_client clients[SHIM_CLIENTS_MAX];
    int listen_fd; /* -1: nobody but the worker that started it needs to find it yet */
    int signal_fd;
    int timer_fd;
    bool has_worker; /* its first client is who started it, and may have another task for it */
    bool is_resting; /* there is no task */
    bool has_order;  /* but there is the next one's, */
    char order[SHIM_ORDER_BYTES]; /* its folder's name */
    int64_t order_lease_ns;
};

/* ---- shim.c: what a worker may ask for ---- */

/* The first reason stands, but a grace of 0 makes an end at once. */
void shim_stop(struct shim *shim, enum worker_cause cause, int64_t grace_ns);
void shim_checkpoint(struct shim *shim);
void shim_renew(struct shim *shim, int64_t deadline_ns);

/* ---- shimtalk.c ---- */

/* Descriptor 3 becomes the first client, if it is a socket; all above are closed. */
void shimtalk_begin(struct shim *shim);

/* Reads what a client has said and obeys, or drops it. */
void shimtalk_serve(struct shim *shim, struct shim_client *client);

/* Obeys what was read before. What follows an order is for its task, which begins first. */
void shimtalk_take_lines(struct shim *shim, struct shim_client *client);

/* A client that does not read is not waited for. */
void shimtalk_say(const struct shim_client *client, const char *text);
void shimtalk_say_all(const struct shim *shim, const char *text);
bool shimtalk_has_client(const struct shim *shim);

/* Its worker is gone: the next one looks for it in the folder. A disk may be full just now, then it
 * tries again. */
void shimtalk_listen(struct shim *shim, int64_t now_ns);
void shimtalk_accept(struct shim *shim);

#endif
