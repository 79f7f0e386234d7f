/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * How much memory this task may use: the least of MLQ_MEMORY (what the spec gives it), the limits
 * of its control groups, and what the machine has left now, shared by the ranks that run on it.
 */
#ifndef MLQ_OP_OP_MEMORY_H
#define MLQ_OP_OP_MEMORY_H

#include <stdint.h>

uint64_t op_memory_bytes(void);

#endif
