/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Bars on stderr: a block of lines that is drawn again in place on a terminal. Elsewhere nothing is
 * drawn: the caller prints lines instead.
 */
#ifndef MLQ_CLI_PROGRESS_H
#define MLQ_CLI_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define PROGRESS_BAR_BYTES 128

/* `width` columns, filled to `fraction`; ASCII unless the locale is UTF-8. */
const char *progress_bar(double fraction, size_t width, char text[PROGRESS_BAR_BYTES]);

struct progress {
    bool is_terminal;
    size_t lines; /* on the screen now */
    char *frame;  /* being built */
    size_t frame_bytes;
    FILE *out;
};

void progress_init(struct progress *progress);
/* A new frame: print whole lines, none wider than the terminal, to the file that is returned. */
FILE *progress_begin(struct progress *progress);
void progress_end(struct progress *progress);
/* Removes the block, for a final text. */
void progress_clear(struct progress *progress);

/* Uploads, as the store's callback: silent for the first second. */
struct progress_upload {
    const char *name;
    int64_t began_ns;
    int64_t drawn_ns;
    bool is_shown;
};
void progress_on_upload(void *upload, uint64_t done_bytes, uint64_t total_bytes);
void progress_upload_done(struct progress_upload *upload);

#endif
