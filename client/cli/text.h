/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Words for people: times, sizes, and texts of strangers made harmless for a terminal.
 */
#ifndef MLQ_CLI_TEXT_H
#define MLQ_CLI_TEXT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "lib/base/str.h"
#include "lib/sys/region.h"

#define TEXT_BYTES 32

const char *text_bytes(uint64_t bytes, char text[TEXT_BYTES]); /* "812 B", "1.2 MiB" */
const char *text_duration(double seconds,
                          char text[TEXT_BYTES]); /* "0.3s", "14.2s", "3m05s", "2h10m", "3d04h" */

/* Seconds since 1970 of "2026-11-23T09:00:00.123Z"; negative when it is not one. */
double text_time(const char *iso);
/* From `from` to `to`, or to now when that is empty; "" when it has not begun. */
const char *text_span(const char *from, const char *to, char text[TEXT_BYTES]);
/* "12s ago". */
const char *text_ago(const char *iso, char text[TEXT_BYTES]);

/* Control characters (escape sequences of a hostile text among them) as '?', in the region.
 * Newlines and tabs stay when `lines`. */
struct mlq_str text_safe(struct mlq_region *region, struct mlq_str text, bool lines);

/* Columns that a text takes, counting code points. */
size_t text_width(struct mlq_str text);
/* At most `width` code points, "…" as the last one when something is left out. */
struct mlq_str text_cut(struct mlq_region *region, struct mlq_str text, size_t width);

#endif
