/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Aligned columns. Fitted to the terminal by cutting columns that say they may be cut (never ids);
 * in a pipe nothing is cut. Colours on a terminal only, unless NO_COLOR is set.
 */
#ifndef MLQ_CLI_TABLE_H
#define MLQ_CLI_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "lib/base/str.h"
#include "lib/sys/region.h"

#define TABLE_COLUMNS_MAX 12

struct table_column {
    const char *title;
    bool right;   /* numbers */
    bool may_cut; /* free text */
    bool state;   /* coloured by its word */
};

struct table;

struct table *table_create(struct mlq_region *region, const struct table_column *columns,
                           size_t count);
/* The next cell, row by row; control characters are defused. */
void table_cell(struct table *table, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* width 0: as wide as it gets. */
void table_print(struct table *table, FILE *file, bool header, size_t width, bool colour);

/* Of a file: its terminal's columns, or 0; whether to colour. */
size_t table_width(FILE *file);
size_t table_height(FILE *file);
bool table_colour(FILE *file);

/* The colour of a state's word as an escape sequence, "" for others. */
const char *table_state_colour(struct mlq_str state);
#define TABLE_PLAIN "\033[0m"

#endif
