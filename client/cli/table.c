/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "client/cli/table.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "client/cli/text.h"
#include "lib/base/panic.h"
#include "lib/sys/mem.h"

#define GAP           2
#define CUT_WIDTH_MIN 8

struct table {
    struct mlq_region *region;
    struct table_column columns[TABLE_COLUMNS_MAX];
    size_t column_count;
    struct mlq_str *cells;
    size_t count;
    size_t room;
    size_t widths[TABLE_COLUMNS_MAX];
};

struct table *table_create(struct mlq_region *region, const struct table_column *columns,
                           size_t count)
{
    struct table *table = mlq_region_alloc(region, sizeof *table);
    MLQ_ASSERT(count > 0 && count <= TABLE_COLUMNS_MAX);
    table->region = region;
    table->column_count = count;
    memcpy(table->columns, columns, count * sizeof *columns);
    return table;
}

void table_cell(struct table *table, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    char *text = mlq_vformat(fmt, args);
    va_end(args);
    if (table->count == table->room) {
        size_t room = table->room == 0 ? 64 : table->room * 2;
        struct mlq_str *cells = mlq_region_array(table->region, room, sizeof *cells);
        if (table->count > 0) {
            memcpy(cells, table->cells, table->count * sizeof *cells);
        }
        table->cells = cells;
        table->room = room;
    }
    struct mlq_str cell = text_safe(table->region, mlq_str_from(text), false);
    size_t width = text_width(cell);
    size_t column = table->count % table->column_count;
    table->widths[column] = width > table->widths[column] ? width : table->widths[column];
    table->cells[table->count++] = cell;
    mlq_free(text);
}

static size_t total_width(const struct table *table)
{
    size_t total = GAP * (table->column_count - 1);
    for (size_t i = 0; i < table->column_count; i++) {
        total += table->widths[i];
    }
    return total;
}

/* Takes from the widest of those that may be cut, one column of the terminal at a time. */
static void fit(struct table *table, size_t width)
{
    while (width > 0 && total_width(table) > width) {
        size_t widest = table->column_count;
        for (size_t i = 0; i < table->column_count; i++) {
            if (table->columns[i].may_cut && table->widths[i] > CUT_WIDTH_MIN &&
                (widest == table->column_count || table->widths[i] > table->widths[widest])) {
                widest = i;
            }
        }
        if (widest == table->column_count) {
            return;
        }
        table->widths[widest]--;
    }
}

static void pad(FILE *file, size_t count)
{
    (void)fprintf(file, "%*s", (int)count, "");
}

static void print_cell(const struct table *table, FILE *file, size_t column, struct mlq_str text,
                       bool colour)
{
    const struct table_column *said = &table->columns[column];
    struct mlq_str shown =
        said->may_cut ? text_cut(table->region, text, table->widths[column]) : text;
    size_t width = text_width(shown);
    size_t space = table->widths[column] > width ? table->widths[column] - width : 0;
    const char *begin = colour && said->state ? table_state_colour(text) : "";
    if (said->right) {
        pad(file, space);
    }
    fprintf(file, "%s%.*s%s", begin, MLQ_STR_ARG(shown), begin[0] == '\0' ? "" : TABLE_PLAIN);
    if (column + 1 < table->column_count) {
        pad(file, (said->right ? 0 : space) + GAP);
    }
}

void table_print(struct table *table, FILE *file, bool header, size_t width, bool colour)
{
    MLQ_ASSERT(table->count % table->column_count == 0);
    for (size_t i = 0; header && i < table->column_count; i++) {
        size_t title = strlen(table->columns[i].title);
        table->widths[i] = title > table->widths[i] ? title : table->widths[i];
    }
    fit(table, width);
    for (size_t i = 0; header && i < table->column_count; i++) {
        fputs(colour && i == 0 ? "\033[1m" : "", file);
        print_cell(table, file, i, mlq_str_from(table->columns[i].title), false);
        fputs(i + 1 < table->column_count ? "" : colour ? TABLE_PLAIN "\n" : "\n", file);
    }
    for (size_t i = 0; i < table->count; i++) {
        print_cell(table, file, i % table->column_count, table->cells[i], colour);
        fputs((i + 1) % table->column_count == 0 ? "\n" : "", file);
    }
}

static bool terminal_size(FILE *file, struct winsize *size)
{
    return isatty(fileno(file)) && ioctl(fileno(file), TIOCGWINSZ, size) == 0;
}

size_t table_width(FILE *file)
{
    struct winsize size;
    return terminal_size(file, &size) ? size.ws_col : 0;
}

size_t table_height(FILE *file)
{
    struct winsize size;
    return terminal_size(file, &size) ? size.ws_row : 0;
}

bool table_colour(FILE *file)
{
    const char *no = getenv("NO_COLOR");
    const char *terminal = getenv("TERM");
    return isatty(fileno(file)) && (no == NULL || no[0] == '\0') && terminal != NULL &&
           strcmp(terminal, "dumb") != 0;
}

const char *table_state_colour(struct mlq_str state)
{
    static const struct {
        const char *word;
        const char *colour;
    } colours[] = {
        {"succeeded", "\033[32m"}, {"pass", "\033[32m"},         {"up", "\033[32m"},
        {"running", "\033[36m"},   {"failed", "\033[31m"},       {"fail", "\033[31m"},
        {"down", "\033[31m"},      {"cancelled", "\033[33m"},    {"skipped", "\033[2m"},
        {"pending", "\033[2m"},    {"inconclusive", "\033[33m"},
    };
    for (size_t i = 0; i < sizeof colours / sizeof colours[0]; i++) {
        if (mlq_str_eq_c(state, colours[i].word)) {
            return colours[i].colour;
        }
    }
    return "";
}
