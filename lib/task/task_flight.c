/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "lib/task/task_flight.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/sys/clock.h"
#include "lib/sys/fs.h"
#include "lib/sys/mem.h"

#define MAGIC "mlqfl1\n"

struct place {
    _Atomic uint64_t number;
    _Atomic uint64_t words[5]; /* at_ns, phase, generation, epoch, step */
};

struct image {
    char magic[sizeof(MAGIC)];
    _Atomic uint64_t pid;
    _Atomic uint64_t count;
    struct place places[TASK_FLIGHT_EVENTS];
};

_Static_assert(sizeof(struct image) == 24 + TASK_FLIGHT_EVENTS * 48, "as the header says");

struct task_flight {
    struct image *image; /* NULL: nowhere */
};

const char *task_flight_phase_text(enum task_flight_phase phase)
{
    switch (phase) {
    case TASK_FLIGHT_LOAD:
        return "load";
    case TASK_FLIGHT_WAIT:
        return "wait";
    case TASK_FLIGHT_MEET:
        return "meet";
    case TASK_FLIGHT_SHARE:
        return "share";
    case TASK_FLIGHT_COMPUTE:
        return "compute";
    case TASK_FLIGHT_EXCHANGE:
        return "exchange";
    case TASK_FLIGHT_APPLY:
        return "apply";
    case TASK_FLIGHT_VALIDATE:
        return "validate";
    case TASK_FLIGHT_CHECKPOINT:
        return "checkpoint";
    case TASK_FLIGHT_OUTPUT:
        return "output";
    case TASK_FLIGHT_END:
        return "end";
    case TASK_FLIGHT_PHASES:
        break;
    }
    return "unknown";
}

/* ---- The task ---- */

/* The blocks are taken before: a disk that fills up later must not end the process with SIGBUS. */
static struct image *map_file(const char *path)
{
    void *memory = MAP_FAILED;
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fd < 0) {
        return NULL;
    }
    if (posix_fallocate(fd, 0, (off_t)sizeof(struct image)) == 0) {
        memory = mmap(NULL, sizeof(struct image), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    }
    (void)close(fd);
    return memory == MAP_FAILED ? NULL : memory;
}

struct task_flight *task_flight_open(void)
{
    const char *home = getenv("HOME"), *control = getenv("MLQ_CONTROL");
    struct task_flight *flight = mlq_alloc(sizeof(*flight));
    if (home == NULL || home[0] != '/' || control == NULL || control[0] == '\0') {
        return flight;
    }
    char *path = mlq_fs_join(home, TASK_FLIGHT_FILE);
    flight->image = map_file(path);
    mlq_free(path);
    if (flight->image != NULL) {
        atomic_store(&flight->image->pid, (uint64_t)getpid());
        memcpy(flight->image->magic, MAGIC, sizeof(MAGIC));
    }
    return flight;
}

void task_flight_close(struct task_flight **flight)
{
    if (*flight == NULL) {
        return;
    }
    if ((*flight)->image != NULL) {
        (void)munmap((*flight)->image, sizeof(struct image));
    }
    mlq_free(*flight);
    *flight = NULL;
}

void task_flight_note(struct task_flight *flight,
                      enum task_flight_phase phase,
                      uint64_t generation,
                      uint64_t epoch,
                      uint64_t step)
{
    struct image *image = flight->image;
    if (image == NULL) {
        return;
    }
    uint64_t count = atomic_load_explicit(&image->count, memory_order_relaxed);
    struct place *place = &image->places[count % TASK_FLIGHT_EVENTS];
    const uint64_t words[] = {(uint64_t)mlq_clock_boot_ns(), (uint64_t)phase, generation, epoch, step};
    /* An exchange: no store that follows is seen before this one. */
    (void)atomic_exchange_explicit(&place->number, 0, memory_order_acq_rel);
    for (size_t i = 0; i < MLQ_COUNT_OF(words); i++) {
        atomic_store_explicit(&place->words[i], words[i], memory_order_relaxed);
    }
    atomic_store_explicit(&place->number, count + 1, memory_order_release);
    atomic_store_explicit(&image->count, count + 1, memory_order_release);
}

/* ---- Whoever looks into it ---- */

static bool read_image(int fd, uint64_t *words, size_t bytes)
{
    size_t have = 0;
    while (have < bytes) {
        ssize_t got = pread(fd, (char *)words + have, bytes - have, (off_t)have);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            return false;
        }
        have += (size_t)got;
    }
    return true;
}

static const uint64_t *place_at(const uint64_t *words, uint64_t number)
{
    return words + 3 + (number - 1) % TASK_FLIGHT_EVENTS * 6;
}

/* From two readings of the file: what has changed in between was being written. */
static void take_events(const uint64_t *before, const uint64_t *after, struct task_flight_log *log)
{
    uint64_t end = before[2];
    uint64_t first = end > TASK_FLIGHT_EVENTS ? end - TASK_FLIGHT_EVENTS : 0;
    for (uint64_t number = first + 1; number != 0 && number <= end; number++) {
        const uint64_t *event = place_at(before, number), *again = place_at(after, number);
        if (event[0] != number || memcmp(event, again, 6 * sizeof(*event)) != 0 ||
            event[2] >= TASK_FLIGHT_PHASES) {
            continue;
        }
        log->events[log->count++] =
            (struct task_flight_event){.number = number,
                                       .at_ns = (int64_t)event[1],
                                       .phase = (enum task_flight_phase)event[2],
                                       .generation = event[3],
                                       .epoch = event[4],
                                       .step = event[5]};
    }
}

int task_flight_read(const char *path, struct task_flight_log *log, struct mlq_err *err)
{
    struct stat status;
    *log = (struct task_flight_log){.count = 0};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) {
        return mlq_fail(err, errno == ENOENT ? MLQ_ENOENT : MLQ_EIO, "flight recorder %s: %s", path,
                        strerror(errno));
    }
    uint64_t *before = mlq_alloc(sizeof(struct image)), *after = mlq_alloc(sizeof(struct image));
    bool is_whole = fstat(fd, &status) == 0 && S_ISREG(status.st_mode) &&
                    read_image(fd, before, sizeof(struct image)) &&
                    read_image(fd, after, sizeof(struct image)) &&
                    memcmp(before, MAGIC, sizeof(MAGIC)) == 0;
    if (is_whole) {
        log->pid = before[1];
        take_events(before, after, log);
    }
    (void)close(fd);
    mlq_free(before);
    mlq_free(after);
    return is_whole ? 0 : mlq_fail(err, MLQ_ECORRUPT, "%s is not a flight recorder's file", path);
}
