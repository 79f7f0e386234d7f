/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The specs of the live jobs, each parsed and kept once however many jobs were submitted with it. A
 * spec is known by its canonical text, byte for byte. A few that no job has any more are kept for the
 * next one.
 */
#ifndef MLQ_SCHEDULER_SPECBOOK_H
#define MLQ_SCHEDULER_SPECBOOK_H

#include "lib/base/err.h"
#include "lib/base/ownership.h"
#include "lib/spec/spec.h"
#include "scheduler/core/core.h"

/* Read-only, from take to give. */
struct specbook_spec {
    struct mlq_str text; /* canonical JSON */
    struct spec *spec;
    struct core_job_desc desc; /* for the core; without the job's retries */
};

struct specbook;

MLQ_OWNED_RETURN struct specbook *specbook_create(void);
void specbook_destroy(struct specbook **book); /* all must have been given back */

/* The spec of this text. NULL: `err` holds the diagnostics. */
const struct specbook_spec *specbook_take(struct specbook *book, struct mlq_str text, struct mlq_err *err);
void specbook_give(struct specbook *book, const struct specbook_spec *spec);

#endif
