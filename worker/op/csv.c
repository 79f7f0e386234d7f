/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * A window of the file lies in one buffer. A record is split in place: when its end is not in the
 * window yet, more is read behind it and it is split again. Doubled quotes are closed up in place
 * only once the end is known, because a second attempt must see the original bytes.
 */
#include "worker/op/csv.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include "lib/artifact/io.h"
#include "lib/base/panic.h"
#include "lib/sys/mem.h"

#define BLOCK_BYTES   (1u << 20)
#define RAW_BYTES_MAX 120u /* of a bad record, quoted in messages */

struct csv {
    int fd;
    char *path;
    char delimiter;
    bool at_end;       /* no more bytes in the file */
    bool special[256]; /* bytes that end an unquoted field */
    char *buffer;
    size_t room;
    size_t begin; /* of the next record in the buffer */
    size_t end;   /* of the bytes in the buffer */
    uint64_t bytes;
    uint64_t base; /* offset in the file of buffer[0] */
    uint64_t line;
    uint64_t index;
    struct mlq_str *fields;
    size_t field_room;
    size_t *escaped; /* fields of the record that hold doubled quotes */
    size_t escaped_room;
    char raw[RAW_BYTES_MAX]; /* of a record that was given up */
};

const char *csv_problem_text(enum csv_problem problem)
{
    switch (problem) {
    case CSV_FINE:
        return "fine";
    case CSV_RECORD_TOO_LONG:
        return "the row is longer than 16 MiB";
    case CSV_FIELD_TOO_LONG:
        return "a field is longer than 1 MiB";
    case CSV_TOO_MANY_FIELDS:
        return "more than 65536 fields";
    case CSV_QUOTE_OPEN:
        return "a quoted field does not end";
    case CSV_QUOTE_AFTER:
        return "text after a closing quote";
    case CSV_NUL:
        return "a NUL byte";
    case CSV_NOT_UTF8:
        return "bytes that are not UTF-8";
    }
    MLQ_UNREACHABLE("csv problem");
}

int csv_read_more(struct csv *csv, struct mlq_err *err)
{
    if (csv->begin > 0) {
        memmove(csv->buffer, csv->buffer + csv->begin, csv->end - csv->begin);
        csv->base += csv->begin;
        csv->end -= csv->begin;
        csv->begin = 0;
    }
    if (csv->room - csv->end < BLOCK_BYTES / 4) {
        /* At most twice the longest record and a block: csv_next gives up before. */
        csv->room = csv->room * 2 + BLOCK_BYTES;
        csv->buffer = mlq_realloc_array(csv->buffer, csv->room, 1);
    }
    ssize_t got;
    do {
        got = read(csv->fd, csv->buffer + csv->end, csv->room - csv->end);
    } while (got < 0 && errno == EINTR);
    if (got < 0) {
        return io_fail(err, "read", csv->path);
    }
    csv->at_end = got == 0;
    csv->end += (size_t)got;
    return MLQ_OK;
}

struct csv *csv_create(char delimiter)
{
    struct csv *csv = mlq_alloc(sizeof *csv);
    csv->fd = -1;
    csv->delimiter = delimiter;
    csv->special[(unsigned char)delimiter] = true;
    csv->special['\n'] = true;
    csv->line = 1;
    csv->field_room = 64;
    csv->fields = mlq_alloc_array(csv->field_room, sizeof *csv->fields);
    return csv;
}

void csv_set_text(struct csv *csv, char *text, size_t len)
{
    MLQ_ASSERT(csv->fd < 0);
    csv->buffer = text;
    csv->begin = 0;
    csv->end = len;
    csv->bytes = len;
    csv->line = 1;
    csv->index = 0;
    csv->at_end = true;
}

int csv_open(const char *path, char delimiter, struct csv **out, struct mlq_err *err)
{
    int fd;
    uint64_t bytes;
    int rc = io_open_regular(AT_FDCWD, path, true, &fd, &bytes, err);
    if (rc != MLQ_OK) {
        return rc;
    }
    struct csv *csv = csv_create(delimiter);
    csv->fd = fd;
    csv->path = mlq_strdup(path);
    csv->bytes = bytes;
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    rc = csv_read_more(csv, err);
    if (rc != MLQ_OK) {
        csv_close(&csv);
        return rc;
    }
    if (csv->end >= 3 && memcmp(csv->buffer, "\xef\xbb\xbf", 3) == 0) {
        csv->begin = 3;
    }
    *out = csv;
    return MLQ_OK;
}

void csv_close(struct csv **csv)
{
    if (*csv == NULL) {
        return;
    }
    if ((*csv)->fd >= 0) {
        close((*csv)->fd);
        mlq_free((*csv)->buffer);
    }
    mlq_free((*csv)->path);
    mlq_free((*csv)->fields);
    mlq_free((*csv)->escaped);
    mlq_free(*csv);
    *csv = NULL;
}

/* ---- Splitting a record ---- */

struct split {
    const char *at;
    const char *end; /* of the window */
    size_t count;
    size_t escaped_count;
    const char *seen; /* of the 64 bytes before it, those that are special and not passed yet: */
    uint64_t specials;
    uint64_t newlines; /* inside quotes */
    enum csv_problem problem;
    size_t problem_field;
    bool more; /* the window ends before the record does */
};

/* The first problem of a record is the one that is told. */
static void note(struct split *split, enum csv_problem problem, size_t field)
{
    if (split->problem == CSV_FINE) {
        split->problem = problem;
        split->problem_field = field;
    }
}

/* Slow half of add_field: nearly all fields find room and are short. */
static bool prepare_field(struct csv *csv, struct split *split, size_t len)
{
    if (split->count == CSV_FIELDS_MAX) {
        note(split, CSV_TOO_MANY_FIELDS, split->count);
        return false;
    }
    if (len > CSV_FIELD_BYTES_MAX) {
        note(split, CSV_FIELD_TOO_LONG, split->count);
    }
    if (split->count == csv->field_room) {
        csv->field_room *= 2;
        csv->fields = mlq_realloc_array(csv->fields, csv->field_room, sizeof *csv->fields);
    }
    return true;
}

static inline bool add_field(struct csv *csv, struct split *split, const char *begin, size_t len)
{
    if ((split->count == csv->field_room || len > CSV_FIELD_BYTES_MAX) &&
        !prepare_field(csv, split, len)) {
        return false;
    }
    csv->fields[split->count++] = (struct mlq_str){begin, len};
    return true;
}

/* The last field that was added holds doubled quotes. */
static void note_escaped(struct csv *csv, struct split *split)
{
    if (split->escaped_count == csv->escaped_room) {
        csv->escaped_room = csv->escaped_room * 2 + 16;
        csv->escaped = mlq_realloc_array(csv->escaped, csv->escaped_room, sizeof *csv->escaped);
    }
    csv->escaped[split->escaped_count++] = split->count - 1;
}

/* split->at is behind the opening quote; afterwards behind the closing one. */
static void split_quoted(struct csv *csv, struct split *split)
{
    const char *begin = split->at;
    bool escaped = false;
    for (;;) {
        const char *quote = memchr(split->at, '"', (size_t)(split->end - split->at));
        if (quote == NULL || (quote + 1 == split->end && !csv->at_end)) {
            split->more = !csv->at_end;
            note(split, CSV_QUOTE_OPEN, split->count);
            split->at = split->end;
            return;
        }
        split->at = quote + 1;
        if (split->at == split->end || *split->at != '"') {
            break;
        }
        escaped = true;
        split->at++;
    }
    const char *close = split->at - 1;
    for (const char *newline = begin; newline < close; newline++) {
        newline = memchr(newline, '\n', (size_t)(close - newline));
        if (newline == NULL) {
            break;
        }
        split->newlines++;
    }
    if (add_field(csv, split, begin, (size_t)(close - begin)) && escaped) {
        note_escaped(csv, split);
    }
    if (split->at < split->end && *split->at == '\r' && split->at + 1 < split->end &&
        split->at[1] == '\n') {
        split->at++;
    }
    if (split->at < split->end && !csv->special[(unsigned char)*split->at] &&
        !(*split->at == '\r' && split->at + 1 == split->end)) {
        note(split, CSV_QUOTE_AFTER, split->count - 1);
        while (split->at < split->end && !csv->special[(unsigned char)*split->at]) {
            split->at++;
        }
    } else if (split->at < split->end && *split->at == '\r') {
        split->at++;
    }
}

#if defined(__SSE2__)

/* Which of 64 bytes are special: the first is the lowest bit. */
static inline uint64_t find_specials(const struct csv *csv, const char *at)
{
    const __m128i delimiter = _mm_set1_epi8(csv->delimiter);
    const __m128i newline = _mm_set1_epi8('\n');
    uint64_t specials = 0;
#pragma GCC unroll 4
    for (unsigned i = 0; i < 64; i += 16) {
        __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)(at + i));
        __m128i found =
            _mm_or_si128(_mm_cmpeq_epi8(bytes, delimiter), _mm_cmpeq_epi8(bytes, newline));
        specials |= (uint64_t)(uint32_t)_mm_movemask_epi8(found) << i;
    }
    return specials;
}

#else

static inline uint64_t find_specials(const struct csv *csv, const char *at)
{
    uint64_t specials = 0;
    for (unsigned i = 0; i < 64; i++) {
        specials |= (uint64_t)csv->special[(unsigned char)at[i]] << i;
    }
    return specials;
}

#endif

/* The next special byte, or the end: 64 bytes are looked at together, since a field has few and
 * each search of its own would end in a branch that nobody can guess. */
static inline const char *next_special(const struct csv *csv, struct split *split)
{
    while (split->specials == 0) {
        if (split->end - split->seen < 64) {
            const char *at = split->at > split->seen ? split->at : split->seen;
            while (at < split->end && !csv->special[(unsigned char)*at]) {
                at++;
            }
            return at;
        }
        split->specials = find_specials(csv, split->seen);
        split->seen += 64;
    }
    const char *found = split->seen - 64 + __builtin_ctzll(split->specials);
    split->specials &= split->specials - 1;
    return found;
}

static void split_plain(struct csv *csv, struct split *split)
{
    const char *begin = split->at;
    const char *end = split->end;
    const char *at = next_special(csv, split);
    split->at = at;
    size_t len = (size_t)(at - begin);
    if ((at == end || *at == '\n') && len > 0 && begin[len - 1] == '\r') {
        len--;
    }
    (void)add_field(csv, split, begin, len);
}

/* As split_plain, of all fields that end at a delimiter among the specials at hand, which nearly
 * all do: what is looked at for each stays in registers. Stops before a newline, a quote, and what
 * needs more room. */
static inline void split_at_hand(struct csv *csv, struct split *split)
{
    const char *block = split->seen - 64;
    const char *at = split->at;
    uint64_t specials = split->specials;
    struct mlq_str *field = csv->fields + split->count;
    const struct mlq_str *end = csv->fields + csv->field_room;
    while (specials != 0 && *at != '"' && field < end) {
        const char *stop = block + __builtin_ctzll(specials);
        size_t len = (size_t)(stop - at);
        if (*stop == '\n' || len > CSV_FIELD_BYTES_MAX) {
            break;
        }
        *field++ = (struct mlq_str){at, len};
        at = stop + 1;
        specials &= specials - 1;
    }
    split->at = at;
    split->specials = specials;
    split->count = (size_t)(field - csv->fields);
}

/* Splits the record at csv->begin; split->at ends behind it, newline included. */
static void split_record(struct csv *csv, struct split *split)
{
    *split = (struct split){.at = csv->buffer + csv->begin,
                            .end = csv->buffer + csv->end,
                            .seen = csv->buffer + csv->begin};
    for (;;) {
        if (split->specials != 0) {
            split_at_hand(csv, split);
        }
        bool is_quoted = split->at < split->end && *split->at == '"';
        if (is_quoted) {
            split->at++;
            split_quoted(csv, split);
        } else {
            split_plain(csv, split);
        }
        if (split->at == split->end) {
            split->more = !csv->at_end;
            return;
        }
        char stop = *split->at++;
        if (stop == '\n') {
            return;
        }
        if (is_quoted) { /* which moved on by itself */
            split->seen = split->at;
            split->specials = 0;
        }
    }
}

static size_t close_up(char *text, size_t len)
{
    size_t used = 0;
    for (size_t i = 0; i < len; i++) {
        text[used++] = text[i];
        i += text[i] == '"' ? 1 : 0; /* inside quotes they come in pairs */
    }
    return used;
}

/* ---- Records that cannot be used ---- */

/* No byte of 128 and over, and no NUL: sixteen at a time. */
static bool is_plain(struct mlq_str text)
{
    typedef signed char lanes __attribute__((vector_size(16)));
    lanes plain = ~(lanes){0};
    size_t i = 0;
    for (; i + sizeof(lanes) <= text.len; i += sizeof(lanes)) {
        lanes bytes;
        memcpy(&bytes, text.ptr + i, sizeof bytes);
        plain &= bytes > 0;
    }
    bool rest = true;
    for (; i < text.len; i++) {
        rest = rest && (signed char)text.ptr[i] > 0;
    }
    uint64_t halves[2];
    memcpy(halves, &plain, sizeof halves);
    return rest && (halves[0] & halves[1]) == UINT64_MAX;
}

static void check_bytes(const struct csv *csv, struct split *split, struct mlq_str raw)
{
    if (split->problem != CSV_FINE || is_plain(raw)) {
        return;
    }
    for (size_t i = 0; i < split->count; i++) {
        struct mlq_str field = csv->fields[i];
        bool nul = field.len > 0 && memchr(field.ptr, '\0', field.len) != NULL;
        if (nul || !mlq_str_is_utf8(field)) {
            split->problem = nul ? CSV_NUL : CSV_NOT_UTF8;
            split->problem_field = i;
            return;
        }
    }
}

/* Behind the next newline, wherever it is; what lies between is dropped block by block. */
static int skip_line(struct csv *csv, struct mlq_err *err)
{
    for (;;) {
        const char *newline = csv->end == csv->begin
                                  ? NULL
                                  : memchr(csv->buffer + csv->begin, '\n', csv->end - csv->begin);
        if (newline != NULL) {
            csv->begin = (size_t)(newline - csv->buffer) + 1;
            csv->line++;
            return MLQ_OK;
        }
        csv->begin = csv->end;
        if (csv->at_end) {
            return MLQ_OK;
        }
        int rc = csv_read_more(csv, err);
        if (rc != MLQ_OK) {
            return rc;
        }
    }
}

/* The record at csv->begin is too long, or its quote never closes. Only its first line is given up:
 * what follows may be sound. */
static int give_up_record(struct csv *csv, struct csv_record *record, struct mlq_err *err)
{
    size_t have = csv->end - csv->begin;
    size_t len = have < RAW_BYTES_MAX ? have : RAW_BYTES_MAX;
    memcpy(csv->raw, csv->buffer + csv->begin, len); /* the window moves on */
    const char *newline = memchr(csv->raw, '\n', len);
    record->raw = (struct mlq_str){csv->raw, newline == NULL ? len : (size_t)(newline - csv->raw)};
    int rc = skip_line(csv, err);
    return rc == MLQ_OK ? 1 : rc;
}

static int finish_record(struct csv *csv, struct split *split, struct csv_record *record)
{
    char *begin = csv->buffer + csv->begin;
    size_t len = (size_t)(split->at - begin);
    if (len > CSV_RECORD_BYTES_MAX) { /* all of it happens to lie in the window */
        split->problem = CSV_RECORD_TOO_LONG;
        split->problem_field = 0;
    }
    check_bytes(csv, split, (struct mlq_str){begin, len});
    size_t shown = len;
    while (shown > 0 && (begin[shown - 1] == '\n' || begin[shown - 1] == '\r')) {
        shown--;
    }
    record->raw = (struct mlq_str){begin, shown < RAW_BYTES_MAX ? shown : RAW_BYTES_MAX};
    for (size_t i = 0; i < split->escaped_count; i++) {
        struct mlq_str *field = &csv->fields[csv->escaped[i]];
        field->len = close_up(csv->buffer + (field->ptr - csv->buffer), field->len);
    }
    record->fields = csv->fields;
    record->count = split->count;
    record->problem = split->problem;
    record->problem_field = split->problem_field;
    csv->line += split->newlines + 1;
    csv->begin += len;
    return 1;
}

static void skip_empty_lines(struct csv *csv)
{
    while (csv->begin < csv->end) {
        const char *at = csv->buffer + csv->begin;
        size_t left = csv->end - csv->begin;
        size_t len = at[0] == '\n' ? 1 : left > 1 && at[0] == '\r' && at[1] == '\n' ? 2 : 0;
        if (len == 0) {
            return;
        }
        csv->begin += len;
        csv->line++;
    }
}

int csv_next(struct csv *csv, struct csv_record *record, struct mlq_err *err)
{
    for (;;) {
        skip_empty_lines(csv);
        if (csv->begin == csv->end && csv->at_end) {
            return 0;
        }
        struct split split;
        split_record(csv, &split);
        if (!split.more) {
            *record = (struct csv_record){.line = csv->line, .index = csv->index++};
            if (split.problem == CSV_QUOTE_OPEN) {
                record->problem = split.problem;
                record->problem_field = split.problem_field;
                return give_up_record(csv, record, err);
            }
            return finish_record(csv, &split, record);
        }
        if (csv->end - csv->begin > CSV_RECORD_BYTES_MAX) {
            bool open = split.problem == CSV_QUOTE_OPEN;
            *record = (struct csv_record){.line = csv->line,
                                          .index = csv->index++,
                                          .problem = open ? CSV_QUOTE_OPEN : CSV_RECORD_TOO_LONG,
                                          .problem_field = open ? split.problem_field : 0};
            return give_up_record(csv, record, err);
        }
        int rc = csv_read_more(csv, err);
        if (rc != MLQ_OK) {
            return rc;
        }
    }
}

uint64_t csv_bytes(const struct csv *csv)
{
    return csv->bytes;
}

uint64_t csv_bytes_done(const struct csv *csv)
{
    return csv->base + csv->begin;
}

uint64_t csv_lines_done(const struct csv *csv)
{
    return csv->line - 1;
}

struct mlq_str csv_ahead(const struct csv *csv, bool *is_last)
{
    *is_last = csv->at_end;
    return (struct mlq_str){csv->buffer + csv->begin, csv->end - csv->begin};
}

void csv_pass_over(struct csv *csv, size_t bytes)
{
    MLQ_ASSERT(bytes <= csv->end - csv->begin);
    csv->begin += bytes;
}

char csv_delimiter(const struct csv *csv)
{
    return csv->delimiter;
}
