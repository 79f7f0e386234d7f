/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * What a job waits for: the stages that could run and have no room, what they want, and the largest
 * worker there is.
 */
#ifndef MLQ_CLI_WAITING_H
#define MLQ_CLI_WAITING_H

#include <jansson.h>

#include "client/cli/session.h"

/* `job` is the "job" of `mlq show`. Nothing for one that waits for nothing. */
void waiting_print(struct session *session, const json_t *job);

#endif
