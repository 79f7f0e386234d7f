/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The scheduler's command line.
 */
#ifndef MLQ_SCHEDULER_CONFIG_H
#define MLQ_SCHEDULER_CONFIG_H

#include "scheduler/shell.h"

/* 0: *options is filled (its texts point into argv). Otherwise the exit code + 1 of a program that has nothing
 * more to do: help was printed (1), or the usage was wrong (3). */
int config_parse(int argc, char **argv, struct shell_options *options);

#endif
