/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include <stdio.h>

#include "client/cli/cmd.h"
#include "client/cli/session.h"

const char cmd_version_help[] = "usage: mlq version [--json]\n";

int cmd_version(int argc, char **argv)
{
    struct session session = {.verb = "version"};
    int code = session_parse(&session, NULL, argc, argv);
    if (code == CMD_OK) {
        printf(session.json ? "{\"schema\": \"mlq/v1\", \"version\": \"%s\"}\n" : "mlq %s\n",
               MLQ_VERSION);
        code = session_finish(&session, code);
    }
    return code;
}
