/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The record of a job as its own tasks read it: VIEW_RECORD of the store, and of each stage what the
 * spec says and the store does not know.
 */
#ifndef MLQ_SCHEDULER_RECORD_H
#define MLQ_SCHEDULER_RECORD_H

#include "lib/base/str.h"
#include "lib/sys/region.h"
#include "scheduler/catalog.h"

/* `json` with, for each stage of the job: "with", the operator's parameters with their defaults as they
 * were written (`${{ }}` of other stages are not replaced); "run", the words of a user's command; and
 * "inputs", {name: "stage.output"} where "stage.*" is all outputs. In the region; the same text when it
 * is not a document that is known. */
struct mlq_str record_complete(const struct catalog_job *job, struct mlq_str json, struct mlq_region *region);

#endif
