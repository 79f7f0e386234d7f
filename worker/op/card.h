/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The model card: README.md with Hugging Face's front matter (its model card template and `model-index`), then what
 * is known about the model. Everything in it is generated from facts; what only a person can say stands
 * there as NOT PROVIDED. Pure.
 */
#ifndef MLQ_OP_CARD_H
#define MLQ_OP_CARD_H

#include <jansson.h>
#include <stdbool.h>

#include "lib/sys/region.h"
#include "worker/ml/model.h"
#include "worker/op/html.h"

struct card_inputs {
    const struct model *model;
    const char *name;        /* NULL: the job's */
    const char *license;     /* NULL: "unknown" */
    const char *description; /* NULL: NOT PROVIDED */
    const json_t *record;    /* may be NULL, as those below */
    const json_t *metrics;   /* metrics.json */
    const json_t *profile;   /* profile.json */
    const char *own_stage;
};

/* Adds the card to `out`; false when it grew over HTML_BYTES_MAX. */
bool card_write(const struct card_inputs *inputs, struct mlq_region *region, struct html *out);

#endif
