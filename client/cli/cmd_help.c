/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include <stdio.h>

#include "client/cli/cmd.h"
#include "client/cli/verbs.h"

const char cmd_help_help[] = "usage: mlq help [VERB]\n";

int cmd_help(int argc, char **argv)
{
    if (argc < 2) {
        verbs_print_help(stdout);
        return CMD_OK;
    }
    const struct verbs_verb *verb = verbs_find(argv[1]);
    if (verb == NULL) {
        fprintf(stderr, "mlq help: unknown verb '%s' (`mlq --help` lists them)\n", argv[1]);
        return CMD_USAGE;
    }
    fputs(verb->help, stdout);
    return CMD_OK;
}
