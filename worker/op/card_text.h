/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Names and values from outside, made safe for the three languages of a model card: YAML (its front
 * matter), Markdown and Python (its example).
 */
#ifndef MLQ_OP_CARD_TEXT_H
#define MLQ_OP_CARD_TEXT_H

#include <jansson.h>

#include "worker/op/html.h"

#define CARD_TEXT_CHARS_MAX 400u /* of one name; an ellipsis stands for the rest */

/* A JSON string: also a double-quoted scalar of YAML, and a literal of Python. Not cut. */
void card_text_quoted(struct html *h, const char *text);

/* Text in Markdown, fit for a table's cell: one line, no markup of its own. */
void card_text_markdown(struct html *h, const char *text);

/* Between backquotes. */
void card_text_code(struct html *h, const char *text);

/* The shortest decimal that gives the same double again; the value must be finite. */
void card_text_exact(struct html *h, double value);

/* "| a.b.c | value |"; b and c may be NULL. */
void card_text_row(struct html *h, const char *a, const char *b, const char *c, const json_t *value);

#endif
