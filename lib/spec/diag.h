/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * What is wrong with a spec, with its place: "pipeline.yaml:12:9: unknown key 'neds' in stage
 * 'check' (did you mean 'needs'?)". All that can be found in one reading are collected, up to
 * DIAG_MAX.
 */
#ifndef MLQ_SPEC_DIAG_H
#define MLQ_SPEC_DIAG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/str.h"
#include "lib/sys/region.h"

#define DIAG_MAX 20

struct diag {
    uint32_t line; /* 0: concerns the whole file */
    uint32_t column;
    const char *text;
};

struct diag_list {
    struct mlq_region *region; /* holds the texts */
    const char *file;          /* name to print */
    struct diag items[DIAG_MAX];
    size_t count;
    size_t dropped; /* beyond DIAG_MAX */
};

void diag_init(struct diag_list *list, struct mlq_region *region, const char *file);

/* Add one. Text that came from the file must be passed through diag_quote or %.*s of checked names. */
void diag_add(struct diag_list *list, uint32_t line, uint32_t column, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* The text in single quotes, cut at 60 bytes, control characters as '?'. */
const char *diag_quote(struct diag_list *list, struct mlq_str text);

/* " (did you mean 'needs'?)" for the nearest of `names`, or "" when none is near. NULL-terminated list. */
const char *diag_suggest(struct diag_list *list, struct mlq_str text, const char *const *names);

/* All of them, one a line, "file:line:column: text\n". */
const char *diag_text(const struct diag_list *list);

#endif
