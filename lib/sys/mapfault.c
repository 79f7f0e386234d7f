/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The handler may interrupt anything, so it reads what is published by one atomic word and calls
 * nothing that is not async-signal-safe.
 */
#include "lib/sys/mapfault.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#define WATCHED_MAX 64
#define PATH_BYTES  256

/* Free (0), being written (BUSY), or watched: the address of the mapping. */
#define BUSY ((uintptr_t)1)

struct watched {
    _Atomic uintptr_t map;
    size_t bytes;
    char path[PATH_BYTES];
};

static struct watched watched[WATCHED_MAX];

void mlq_mapfault_watch(const void *map, size_t bytes, const char *path)
{
    size_t len = strlen(path);
    for (int i = 0; i < WATCHED_MAX; i++) {
        struct watched *w = &watched[i];
        uintptr_t empty = 0;
        if (!atomic_compare_exchange_strong(&w->map, &empty, BUSY)) {
            continue;
        }
        w->bytes = bytes;
        size_t skipped = len < PATH_BYTES ? 0 : len - (PATH_BYTES - 1);
        memcpy(w->path, path + skipped, len - skipped + 1);
        atomic_store(&w->map, (uintptr_t)map);
        return;
    }
}

void mlq_mapfault_forget(const void *map)
{
    for (int i = 0; map != NULL && i < WATCHED_MAX; i++) {
        uintptr_t wanted = (uintptr_t)map;
        if (atomic_compare_exchange_strong(&watched[i].map, &wanted, 0)) {
            return;
        }
    }
}

/* ---- The handler ---- */

static void say(const char *text)
{
    if (write(STDERR_FILENO, text, strlen(text)) < 0) {
        return; /* nobody is there to be told */
    }
}

static void say_number(uint64_t number)
{
    char digits[21];
    size_t at = sizeof(digits) - 1;
    digits[at] = '\0';
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    say(digits + at);
}

static void on_fault(int number, siginfo_t *info, void *context)
{
    (void)context;
    uintptr_t at = (uintptr_t)info->si_addr;
    for (int i = 0; i < WATCHED_MAX; i++) {
        const struct watched *w = &watched[i];
        uintptr_t map = atomic_load(&w->map);
        if (map > BUSY && at >= map && at - map < w->bytes) {
            say(w->path);
            say(": byte ");
            say_number(at - map);
            say(" cannot be read: the file was cut short while it was in use, or its disk fails\n");
            _exit(1);
        }
    }
    (void)signal(number, SIG_DFL);
    (void)raise(number);
}

void mlq_mapfault_install(void)
{
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
    (void)sigaction(SIGBUS, &action, NULL);
}
