/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/coll/coll_watchdog.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "lib/sys/clock.h"
#include "lib/sys/log.h"
#include "lib/sys/mem.h"
#include "worker/coll/coll.h"

#define LOOK_EVERY_MS 250

struct coll_watchdog {
    pthread_t thread;
    int stop_fd; /* eventfd: readable means leave */
    _Atomic(const char *) what;
    _Atomic int64_t deadline_ns; /* 0: disarmed */
};

static void *watch(void *argument)
{
    struct coll_watchdog *watchdog = argument;
    struct pollfd stop = {.fd = watchdog->stop_fd, .events = POLLIN};
    for (;;) {
        int ready = poll(&stop, 1, LOOK_EVERY_MS);
        if (ready > 0) {
            return NULL;
        }
        int64_t deadline_ns = atomic_load(&watchdog->deadline_ns);
        if (deadline_ns != 0 && mlq_clock_boot_ns() > deadline_ns) {
            log_error("coll.stuck", "call=%s action=\"leave with status %d\"",
                      atomic_load(&watchdog->what), COLL_EXIT_STUCK);
            _exit(COLL_EXIT_STUCK);
        }
    }
}

int coll_watchdog_start(struct coll_watchdog **watchdog, struct mlq_err *err)
{
    *watchdog = NULL;
    int fd = eventfd(0, EFD_CLOEXEC);
    if (fd < 0) {
        return mlq_fail(err, MLQ_EIO, "watchdog: eventfd: %s", strerror(errno));
    }
    struct coll_watchdog *started = mlq_alloc(sizeof(*started));
    started->stop_fd = fd;
    int error = pthread_create(&started->thread, NULL, watch, started);
    if (error != 0) {
        (void)close(fd);
        mlq_free(started);
        return mlq_fail(err, MLQ_EIO, "watchdog: thread: %s", strerror(error));
    }
    *watchdog = started;
    return 0;
}

void coll_watchdog_stop(struct coll_watchdog **watchdog)
{
    if (*watchdog == NULL) {
        return;
    }
    uint64_t one = 1;
    ssize_t written = write((*watchdog)->stop_fd, &one, sizeof(one));
    if (written == (ssize_t)sizeof(one)) {
        (void)pthread_join((*watchdog)->thread, NULL);
    }
    (void)close((*watchdog)->stop_fd);
    mlq_free(*watchdog);
    *watchdog = NULL;
}

void coll_watchdog_arm(struct coll_watchdog *watchdog, const char *what, int64_t timeout_ns)
{
    atomic_store(&watchdog->what, what);
    int64_t deadline_ns = mlq_clock_boot_ns() + timeout_ns + COLL_WATCHDOG_GRACE_NS;
    atomic_store(&watchdog->deadline_ns, deadline_ns);
}

void coll_watchdog_disarm(struct coll_watchdog *watchdog)
{
    atomic_store(&watchdog->deadline_ns, 0);
}

void coll_watchdog_hurry(struct coll_watchdog *watchdog, int64_t after_ns)
{
    int64_t sooner_ns = mlq_clock_boot_ns() + after_ns;
    int64_t deadline_ns = atomic_load(&watchdog->deadline_ns);
    while (deadline_ns > sooner_ns &&
           !atomic_compare_exchange_weak(&watchdog->deadline_ns, &deadline_ns, sooner_ns)) {
    }
}
