/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Numbers that another core reads next, stored past the caches.
 *
 * A line of memory that another core has read is in its cache, too, and who writes it waits until it
 * is gone from there. Where both cores hang on one cache that is soon; where they do not (chiplets,
 * sockets, a virtual machine's processors that its host has put there) 1 MiB took 430 us, and 85 us on the
 * same machine when they did. Stores past the caches ("non-temporal": Intel's Software Developer's
 * Manual, volume 1, 10.4.6.2) do not wait for it: 40 to 70 us, wherever the cores are. But then who
 * reads the numbers, the one that has written them as well, reads from memory: 30 to 50 us for 1 MiB instead of 17.
 * (tests/bench/README.md)
 *
 * So it is measured which way is the better one. Nothing but the time depends on it.
 */
#ifndef MLQ_ML_STREAM_H
#define MLQ_ML_STREAM_H

#include <stdbool.h>
#include <stdint.h>

/* Copies past the caches. They may be seen by others in any order, until stream_fence. */
void stream_copy(float *restrict to, const float *restrict from, uint64_t count);

/* What was stored before is seen by others before what is stored from here on. */
void stream_fence(void);

/* Which way is the better one here and now. A step is some blocks of numbers; of each step the first two, of one length, are
 * copied to where they belong, one each way. The others are, if streaming is better, and are else to be made in
 * place. For one thread. */
struct stream_choice {
    bool is_fixed;
    bool streams;   /* what the last measurement said */
    uint32_t block; /* the next one of this step */
    uint64_t plain_count;
    int64_t plain_ns;
};

/* `way` is "always" or "never"; anything else, and NULL: as measured. */
void stream_choice_init(struct stream_choice *choice, const char *way);
void stream_choice_begin(struct stream_choice *choice); /* a step */

/* Whether the next block is to be made elsewhere, for stream_choice_put. */
bool stream_choice_next(struct stream_choice *choice);
/* Others see it before what is stored behind it. */
void stream_choice_put(struct stream_choice *choice, float *restrict to, const float *restrict from,
                       uint64_t count);

#endif
