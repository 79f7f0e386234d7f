/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Judges conditions on what is known. Pure.
 *
 * A metric is looked for, in this order: at the top level of the metrics files; in the record's stages
 * that this one needs; in the record's other stages; as STAGE.METRIC in the record. Where several stages
 * have the metric with different values, nobody can tell which is meant: inconclusive, and the
 * reason says how to write it.
 */
#ifndef MLQ_OP_GATE_JUDGE_H
#define MLQ_OP_GATE_JUDGE_H

#include <jansson.h>
#include <stddef.h>

#include "lib/base/ownership.h"
#include "lib/spec/gate_condition.h"

#define GATE_FILES_MAX 64u

/* A condition is inconclusive when its metric is missing or not a number; a gate fails when any
 * condition fails, else it is inconclusive when any is. */
enum gate_verdict { GATE_PASS, GATE_FAIL, GATE_INCONCLUSIVE };

struct gate_evidence {
    const json_t *files[GATE_FILES_MAX]; /* metrics.json documents */
    size_t file_count;
    const json_t *record;    /* may be NULL */
    const char *own_stage;   /* may be NULL */
    const char *record_lack; /* why there is no record; may be NULL */
};

const char *gate_judge_text(enum gate_verdict verdict);

/* verdict.json: {"verdict", "conditions": [{"text", "metric", "value" or null, "op", "limit", "verdict",
 * "source" or "reason"}, ...]}. */
enum gate_verdict gate_judge_all(const struct gate_condition *conditions,
                             size_t count,
                             const struct gate_evidence *evidence,
                             MLQ_OWNED_RETURN json_t **document);

#endif
