/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "client/cli/progress.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/cli/text.h"
#include "lib/sys/clock.h"
#include "lib/sys/mem.h"

#define REDRAW_NS (100 * MLQ_NS_PER_MS)

static bool is_utf8(void)
{
    static const char *const variables[] = {"LC_ALL", "LC_CTYPE", "LANG"};
    for (size_t i = 0; i < sizeof variables / sizeof variables[0]; i++) {
        const char *value = getenv(variables[i]);
        if (value != NULL && value[0] != '\0') {
            return strstr(value, "UTF-8") != NULL || strstr(value, "utf8") != NULL;
        }
    }
    return false;
}

const char *progress_bar(double fraction, size_t width, char text[PROGRESS_BAR_BYTES])
{
    const char *full = is_utf8() ? "█" : "#";
    const char *empty = is_utf8() ? "░" : ".";
    double part = fraction >= 0 ? fraction <= 1 ? fraction : 1 : 0;
    size_t columns = width > 40 ? 40 : width; /* 40 columns of 3 bytes fit */
    size_t filled = (size_t)(part * (double)columns);
    size_t at = 0;
    for (size_t i = 0; i < columns; i++) {
        const char *piece = i < filled ? full : empty;
        memcpy(text + at, piece, strlen(piece));
        at += strlen(piece);
    }
    text[at] = '\0';
    return text;
}

void progress_init(struct progress *progress)
{
    const char *terminal = getenv("TERM");
    *progress = (struct progress){
        .is_terminal = isatty(STDERR_FILENO) && (terminal == NULL || strcmp(terminal, "dumb") != 0),
    };
}

FILE *progress_begin(struct progress *progress)
{
    progress->frame = NULL;
    progress->out = open_memstream(&progress->frame, &progress->frame_bytes);
    return progress->out;
}

static void go_up(const struct progress *progress)
{
    if (progress->lines > 0) {
        fprintf(stderr, "\033[%zuA\r\033[J", progress->lines);
    }
}

void progress_end(struct progress *progress)
{
    (void)fclose(progress->out);
    progress->out = NULL;
    if (progress->is_terminal) {
        go_up(progress);
        progress->lines = 0;
        for (size_t i = 0; i < progress->frame_bytes; i++) {
            progress->lines += progress->frame[i] == '\n' ? 1 : 0;
        }
        (void)fwrite(progress->frame, 1, progress->frame_bytes, stderr);
        (void)fflush(stderr);
    }
    mlq_free(progress->frame);
    progress->frame = NULL;
}

void progress_clear(struct progress *progress)
{
    if (progress->is_terminal) {
        go_up(progress);
    }
    progress->lines = 0;
}

void progress_on_upload(void *context, uint64_t done_bytes, uint64_t total_bytes)
{
    struct progress_upload *upload = context;
    int64_t now_ns = mlq_clock_boot_ns();
    char bar[PROGRESS_BAR_BYTES];
    char done[TEXT_BYTES];
    char total[TEXT_BYTES];
    upload->began_ns = upload->began_ns == 0 ? now_ns : upload->began_ns;
    if (now_ns - upload->began_ns < MLQ_NS_PER_S || now_ns - upload->drawn_ns < REDRAW_NS) {
        return;
    }
    if (!isatty(STDERR_FILENO)) {
        if (!upload->is_shown) {
            fprintf(stderr, "storing %s (%s)\n", upload->name, text_bytes(total_bytes, total));
        }
        upload->is_shown = true;
        return;
    }
    double fraction = total_bytes == 0 ? 1 : (double)done_bytes / (double)total_bytes;
    fprintf(stderr, "\r\033[Kstoring %s %s %s of %s", upload->name, progress_bar(fraction, 24, bar),
            text_bytes(done_bytes, done), text_bytes(total_bytes, total));
    (void)fflush(stderr);
    upload->drawn_ns = now_ns;
    upload->is_shown = true;
}

void progress_upload_done(struct progress_upload *upload)
{
    if (upload->is_shown && isatty(STDERR_FILENO)) {
        fputs("\r\033[K", stderr);
    }
    upload->is_shown = false;
}
