/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Text that grows, and JSON in it as jansson would dump it compactly: what a scheduler writes for each job that is
 * submitted need not be built as a tree first. The caller opens and closes what belongs together.
 */
#ifndef MLQ_SPEC_OUT_H
#define MLQ_SPEC_OUT_H

#include <stddef.h>
#include <stdint.h>

#include "lib/base/str.h"
#include "lib/sys/region.h"

/* Zero is a valid empty state. */
struct out {
    char *text; /* ends with a NUL, unless nothing was added */
    size_t len;
    size_t room;
};

void out_add(struct out *out, struct mlq_str text);
void out_add_c(struct out *out, const char *text);
/* A copy in the region; the memory of the text goes. */
struct mlq_str out_take(struct out *out, struct mlq_region *region);

/* ---- JSON: a comma goes before what is not the first in its container --------------------------- */

void out_open(struct out *out, char bracket); /* '{' or '[' */
void out_close(struct out *out, char bracket);
void out_key(struct out *out, struct mlq_str key);
void out_text(struct out *out, struct mlq_str text); /* UTF-8 */
void out_number(struct out *out, int64_t number);
void out_json(struct out *out, struct mlq_str json); /* as it is */

#endif
