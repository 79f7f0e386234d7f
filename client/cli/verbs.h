/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The table of verbs: one serves the dispatch, the help and the completion of shells.
 */
#ifndef MLQ_CLI_VERBS_H
#define MLQ_CLI_VERBS_H

#include <stddef.h>
#include <stdio.h>

struct verbs_verb {
    const char *name;
    const char *group;
    const char *summary;
    const char *help; /* examples first */
    int (*run)(int argc, char **argv);
};

extern const struct verbs_verb verbs_all[];
size_t verbs_count(void);

const struct verbs_verb *verbs_find(const char *name);    /* or NULL */
const struct verbs_verb *verbs_nearest(const char *name); /* or NULL: nothing is like it */
void verbs_print_help(FILE *file);

/* Whether the verb's help is asked for: --help or -h before "--". */
int verbs_wants_help(int argc, char **argv);

#endif
