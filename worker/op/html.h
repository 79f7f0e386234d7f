/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * A growing text of HTML, written so that it is also well-formed XML: tags closed, attributes quoted,
 * no named entities. Everything that came from outside (names, messages, versions) goes through
 * html_text or html_cut; html_add and html_addf are for our own markup and for numbers.
 */
#ifndef MLQ_OP_HTML_H
#define MLQ_OP_HTML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HTML_BYTES_MAX ((size_t)64 << 20)

struct html {
    char *bytes; /* terminated; NULL while empty */
    size_t len;
    size_t room;
    bool full; /* more than HTML_BYTES_MAX was asked for; what came after is missing */
};

void html_fini(struct html *h);

void html_add(struct html *h, const char *markup);
/* Only for numbers and our own words: a %s is not escaped. */
void html_addf(struct html *h, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Escaped for content and for quoted attributes alike. What is not UTF-8, control characters and
 * the characters that reorder text (U+202A..202E, U+2066..2069, U+200E, U+200F) become U+FFFD, so
 * that a name cannot pretend to be another. NULL adds nothing. */
void html_text(struct html *h, const char *text);
/* The same, at most `chars_max` code points; an ellipsis stands for the rest. */
void html_cut(struct html *h, const char *text, size_t chars_max);

/* Numbers for people: 0.9774, 1.2e-05, 1,797; "-" when it is not finite. */
void html_number(struct html *h, double value);
void html_count(struct html *h, uint64_t value);       /* 1,797 */
void html_size(struct html *h, uint64_t bytes);        /* 812 B, 34.1 KiB */
void html_duration(struct html *h, int64_t ms);        /* 840 ms, 12.4 s, 3 min 20 s, 2 h 5 min */
void html_share(struct html *h, double fraction);      /* 12.5 % */

#endif
