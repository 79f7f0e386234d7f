/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * What the drawings of a page share: the opening tag with its title and description for those who
 * do not see it, and axes with round numbers.
 */
#ifndef MLQ_OP_SVG_H
#define MLQ_OP_SVG_H

#include <stddef.h>

#include "worker/op/html.h"

struct svg_head {
    const char *id;    /* unique in the page, ours */
    double width;      /* of the view box, in pixels at scale 1 */
    double height;
    const char *title; /* escaped here */
    const char *desc;  /* escaped here */
};

/* The drawing shrinks with the page and never grows over its own size. */
void svg_open(struct html *h, const struct svg_head *head);
void svg_close(struct html *h);

/* Round steps of 1, 2 or 5 times a power of ten that cover low..high in about `wanted` steps. */
#define SVG_TICKS_MAX 16
struct svg_ticks {
    double step;
    double first;
    size_t count;
    int decimals; /* that the labels need */
};
struct svg_ticks svg_ticks_make(double low, double high, size_t wanted);

#endif
