/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * mlq: the command line. Finds the verb; everything else lies in cmd_<verb>.c.
 */
#include <stdio.h>
#include <string.h>

#include "client/cli/cmd.h"
#include "client/cli/verbs.h"

int main(int argc, char **argv)
{
    if (argc < 2) {
        verbs_print_help(stderr);
        return CMD_USAGE;
    }
    const char *name = argv[1];
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) {
        name = "help";
    } else if (strcmp(name, "--version") == 0) {
        name = "version";
    }
    const struct verbs_verb *verb = verbs_find(name);
    if (verb == NULL) {
        const struct verbs_verb *nearest = verbs_nearest(name);
        fprintf(stderr, "mlq: unknown verb '%s'%s%s%s (`mlq --help` lists them)\n", name,
                nearest == NULL ? "" : ": did you mean '", nearest == NULL ? "" : nearest->name,
                nearest == NULL ? "" : "'?");
        return CMD_USAGE;
    }
    if (verbs_wants_help(argc - 1, argv + 1)) {
        fputs(verb->help, stdout);
        return CMD_OK;
    }
    return verb->run(argc - 1, argv + 1);
}
