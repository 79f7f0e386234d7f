/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * What came of a job, in a few lines: how it ended, the figures that matter, and of what failed the
 * cause and the end of its log.
 */
#ifndef MLQ_CLI_SUMMARY_H
#define MLQ_CLI_SUMMARY_H

#include <jansson.h>
#include <stdio.h>

#include "client/cli/session.h"

/* `job` is the "job" of `mlq show`. */
void summary_print(struct session *session, const json_t *job, FILE *file);

/* The failures alone: of each stage that failed the cause and the end of its log, then what to do.
 * Nothing when no stage failed. */
void summary_failures(struct session *session, const json_t *job, FILE *file);

/* "exit 1", "signal 9", "oom", "timeout: …" of an attempt. */
const char *summary_cause(struct mlq_region *region, const json_t *attempt);

#endif
