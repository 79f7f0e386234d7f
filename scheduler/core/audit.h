/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Every invariant over all tables.
 */
#ifndef MLQ_SCHEDULER_CORE_AUDIT_H
#define MLQ_SCHEDULER_CORE_AUDIT_H

#include "scheduler/core/core_state.h"

/* Asserts. Legal between events, not inside one. */
void audit_all(const struct core *core);

#endif
