/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/op/card_text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker/op/jget.h"

void card_text_quoted(struct html *h, const char *text)
{
    html_add(h, "\"");
    for (const char *p = text; *p != '\0'; p++) {
        unsigned char c = (unsigned char)*p;
        char byte[2] = {*p, '\0'};
        if (c == '"' || c == '\\') {
            html_addf(h, "\\%c", c);
        } else if (c < 0x20 || c == 0x7f) {
            html_addf(h, "\\u%04x", (unsigned)c);
        } else {
            html_add(h, byte);
        }
    }
    html_add(h, "\"");
}

/* html_cut's rules for bytes and length, then Markdown's marks are taken away their meaning. What
 * HTML escapes stays escaped, because Markdown may hold HTML. */
static void add_marked(struct html *h, const char *text, const char *marks, bool escape)
{
    struct html plain = {.full = false};
    html_cut(&plain, text, CARD_TEXT_CHARS_MAX);
    for (const char *p = plain.bytes; p != NULL && *p != '\0'; p++) {
        char byte[2] = {*p, '\0'};
        if (*p == '\n' || *p == '\t') {
            html_add(h, " ");
        } else if (strchr(marks, *p) != NULL) {
            html_add(h, escape ? "\\" : "");
            html_add(h, escape ? byte : "'");
        } else {
            html_add(h, byte);
        }
    }
    html_fini(&plain);
}

void card_text_markdown(struct html *h, const char *text)
{
    /* "_" within a word and "#" of our own escapes mean nothing to Markdown. */
    add_marked(h, text, "\\`*[]|~", true);
}

void card_text_code(struct html *h, const char *text)
{
    add_marked(h, text, "`|", false);
}

void card_text_exact(struct html *h, double value)
{
    char text[40] = "";
    for (int digits = 6; digits <= 17; digits++) {
        (void)snprintf(text, sizeof(text), "%.*g", digits, value);
        if (strtod(text, NULL) == value) {
            break;
        }
    }
    html_add(h, text);
}

void card_text_row(struct html *h, const char *a, const char *b, const char *c, const json_t *value)
{
    char text[256];
    double number = 0.0;
    html_add(h, "| ");
    card_text_markdown(h, a);
    html_add(h, b != NULL ? "." : "");
    card_text_markdown(h, b != NULL ? b : "");
    html_add(h, c != NULL ? "." : "");
    card_text_markdown(h, c != NULL ? c : "");
    html_add(h, " | ");
    if (json_is_string(value)) {
        card_text_markdown(h, json_string_value(value));
    } else if (jget_value_number(value, &number)) {
        html_addf(h, "%.6g", number);
    } else {
        size_t len = json_dumpb(value, text, sizeof(text) - 1,
                                JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(6));
        text[len < sizeof(text) ? len : 0] = '\0';
        card_text_markdown(h, text);
    }
    html_add(h, " |\n");
}
