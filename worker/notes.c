/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/notes.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/sys/fs.h"
#include "lib/sys/log.h"
#include "lib/sys/mem.h"
#include "lib/sys/region.h"

#define FILE_NAME      "metrics"
#define FILE_BYTES_MAX (256u << 20)
#define LINE_BYTES_MAX 512

struct notes {
    struct mlq_region *names; /* what the slices below point into */
    char *path;               /* of its file, which the first metric makes */
    int fd;                   /* -1: it was not made, or could not be */
    struct msg_metric *latest; /* owned */
    size_t latest_count;
    size_t latest_room;
    struct msg_metric *pending; /* owned */
    size_t pending_count;
    size_t pending_room;
    double fraction;
    bool has_progress;
    char text[NOTES_TEXT_BYTES_MAX];
};

/* Room for one more. */
static struct msg_metric *grown(struct msg_metric *items, size_t count, size_t *room)
{
    if (count < *room) {
        return items;
    }
    *room = *room == 0 ? 16 : *room * 2;
    return mlq_realloc_array(items, *room, sizeof *items);
}

/* The entry of a name, made when it is new; NULL when there are too many. */
static struct msg_metric *find(struct notes *notes, struct mlq_str name)
{
    for (size_t i = 0; i < notes->latest_count; i++) {
        if (mlq_str_eq(notes->latest[i].name, name)) {
            return &notes->latest[i];
        }
    }
    if (notes->latest_count == NOTES_NAMES_MAX) {
        return NULL;
    }
    notes->latest = grown(notes->latest, notes->latest_count, &notes->latest_room);
    struct msg_metric *entry = &notes->latest[notes->latest_count++];
    *entry = (struct msg_metric){.name = mlq_region_copy(notes->names, name)};
    return entry;
}

static bool take_line(struct notes *notes, struct mlq_str line)
{
    struct mlq_str name;
    struct mlq_str number;
    struct mlq_str step_text;
    struct mlq_str at_text;
    struct mlq_str rest;
    char copy[64];
    int64_t step;
    int64_t at_us;
    if (!mlq_str_cut(line, ' ', &name, &rest) || !mlq_str_cut(rest, ' ', &number, &rest) ||
        !mlq_str_cut(rest, ' ', &step_text, &at_text) || !mlq_str_i64(step_text, &step) ||
        !mlq_str_i64(at_text, &at_us) || number.len >= sizeof copy) {
        return false;
    }
    (void)snprintf(copy, sizeof copy, "%.*s", MLQ_STR_ARG(number));
    struct msg_metric *entry = find(notes, name);
    if (entry != NULL) {
        entry->value = strtod(copy, NULL);
        entry->step = step;
        entry->at_us = at_us;
    }
    return true;
}

static void load(struct notes *notes, const char *path)
{
    char *data = NULL;
    size_t len;
    if (mlq_fs_read(path, FILE_BYTES_MAX, &data, &len, NULL) != MLQ_OK) {
        return;
    }
    struct mlq_str rest = {.ptr = data, .len = len};
    struct mlq_str line;
    struct mlq_str tail;
    while (mlq_str_cut(rest, '\n', &line, &tail)) { /* a last line without an end was cut short */
        rest = tail;
        if (!take_line(notes, line)) {
            log_warn("metrics.damaged", "path=\"%s\"", path);
            break;
        }
    }
    mlq_free(data);
}

struct notes *notes_create(const char *dir)
{
    struct notes *notes = mlq_alloc(sizeof *notes);
    notes->path = mlq_fs_join(dir, FILE_NAME);
    notes->names = mlq_region_create();
    notes->fd = -1;
    load(notes, notes->path);
    return notes;
}

void notes_destroy(struct notes **notes)
{
    if (*notes == NULL) {
        return;
    }
    if ((*notes)->fd >= 0) {
        close((*notes)->fd);
    }
    mlq_region_destroy(&(*notes)->names);
    mlq_free((*notes)->path);
    mlq_free((*notes)->pending);
    mlq_free((*notes)->latest);
    mlq_free(*notes);
    *notes = NULL;
}

static void write_line(struct notes *notes, const struct msg_metric *metric)
{
    char line[LINE_BYTES_MAX];
    int len = snprintf(line, sizeof line, "%.*s %.17g %lld %lld\n", MLQ_STR_ARG(metric->name),
                       metric->value, (long long)metric->step, (long long)metric->at_us);
    /* One write per line; a full disk costs what a restart would need, not the task. */
    if (notes->fd < 0) {
        notes->fd = open(notes->path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    }
    if (notes->fd >= 0 && len > 0 && (size_t)len < sizeof line) {
        (void)!write(notes->fd, line, (size_t)len);
    }
}

int notes_add_metric(struct notes *notes, struct mlq_str name, double value, int64_t step,
                     int64_t at_us, struct mlq_err *err)
{
    if (notes->pending_count == NOTES_PENDING_MAX) {
        return mlq_fail(err, MLQ_EFULL, "the scheduler is away and %d values wait for it already",
                        NOTES_PENDING_MAX);
    }
    struct msg_metric *entry = find(notes, name);
    if (entry == NULL) {
        return mlq_fail(err, MLQ_EFULL, "an attempt may report at most %d different metrics",
                        NOTES_NAMES_MAX);
    }
    entry->value = value;
    entry->step = step;
    entry->at_us = at_us;
    notes->pending = grown(notes->pending, notes->pending_count, &notes->pending_room);
    notes->pending[notes->pending_count++] = *entry;
    write_line(notes, entry);
    return MLQ_OK;
}

void notes_set_progress(struct notes *notes, double fraction, struct mlq_str text)
{
    size_t len = text.len < sizeof notes->text ? text.len : sizeof notes->text - 1;
    while (len > 0 && !mlq_str_is_utf8((struct mlq_str){.ptr = text.ptr, .len = len})) {
        len--; /* not in the middle of a character */
    }
    if (len > 0) {
        memcpy(notes->text, text.ptr, len);
    }
    notes->text[len] = '\0';
    notes->fraction = fraction;
    notes->has_progress = true;
}

size_t notes_pending(const struct notes *notes, const struct msg_metric **metrics)
{
    *metrics = notes->pending;
    return notes->pending_count;
}

void notes_sent(struct notes *notes, size_t count)
{
    notes->pending_count -= count;
    if (notes->pending_count > 0) {
        memmove(notes->pending, notes->pending + count,
                notes->pending_count * sizeof *notes->pending);
    }
}

size_t notes_latest(const struct notes *notes, const struct msg_metric **metrics)
{
    *metrics = notes->latest;
    return notes->latest_count;
}

bool notes_take_progress(struct notes *notes, double *fraction, struct mlq_str *text)
{
    bool has = notes->has_progress;
    *fraction = notes->fraction;
    *text = mlq_str_from(notes->text);
    notes->has_progress = false;
    return has;
}
