/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "lib/spec/diag.h"

#include <stdarg.h>
#include <stdio.h>

#include "lib/sys/mem.h"

#define QUOTE_BYTES_MAX 60

void diag_init(struct diag_list *list, struct mlq_region *region, const char *file)
{
    *list = (struct diag_list){.region = region, .file = file};
}

void diag_add(struct diag_list *list, uint32_t line, uint32_t column, const char *fmt, ...)
{
    if (list->count == DIAG_MAX) {
        list->dropped++;
        return;
    }
    va_list args;
    va_start(args, fmt);
    char *text = mlq_vformat(fmt, args);
    va_end(args);
    list->items[list->count++] = (struct diag){
        .line = line,
        .column = column,
        .text = mlq_region_strdup(list->region, text),
    };
    mlq_free(text);
}

const char *diag_quote(struct diag_list *list, struct mlq_str text)
{
    bool cut = text.len > QUOTE_BYTES_MAX;
    struct mlq_str shown = {text.ptr, cut ? QUOTE_BYTES_MAX : text.len};
    char *quoted = mlq_region_format(list->region, "'%.*s%s'", MLQ_STR_ARG(shown), cut ? "..." : "");
    for (char *c = quoted; *c != '\0'; c++) {
        if ((unsigned char)*c < 0x20 || *c == 0x7f) {
            *c = '?';
        }
    }
    return quoted;
}

const char *diag_suggest(struct diag_list *list, struct mlq_str text, const char *const *names)
{
    const char *best = NULL;
    size_t best_distance = SIZE_MAX;
    bool is_shown = list->count < DIAG_MAX;
    for (size_t i = 0; is_shown && names[i] != NULL; i++) {
        struct mlq_str name = mlq_str_from(names[i]);
        size_t distance = mlq_str_distance(text, name);
        size_t tolerated = name.len <= 3 ? 1 : name.len <= 7 ? 2 : 3;
        if (distance <= tolerated && distance < best_distance) {
            best = names[i];
            best_distance = distance;
        }
    }
    return best == NULL ? "" : mlq_region_format(list->region, " (did you mean '%s'?)", best);
}

const char *diag_text(const struct diag_list *list)
{
    const char *all = "";
    for (size_t i = 0; i < list->count; i++) {
        const struct diag *item = &list->items[i];
        if (item->line == 0) {
            all = mlq_region_format(list->region, "%s%s: %s\n", all, list->file, item->text);
        } else {
            all = mlq_region_format(list->region, "%s%s:%u:%u: %s\n", all, list->file, item->line,
                                    item->column, item->text);
        }
    }
    if (list->dropped > 0) {
        all = mlq_region_format(list->region, "%s%s: and %zu more\n", all, list->file,
                                list->dropped);
    }
    return all;
}
