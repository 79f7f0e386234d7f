/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * A spec from a file, from standard input or from a command, and the files that it names, stored.
 */
#ifndef MLQ_CLI_SPECFILE_H
#define MLQ_CLI_SPECFILE_H

#include "client/cli/args.h"
#include "client/cli/session.h"
#include "lib/spec/spec.h"

struct specfile {
    const char *file; /* as messages name it */
    const char *dir;  /* what the paths in it are relative to */
    struct spec *spec;
};

/* "k=v" pairs; MLQ_EINVAL names the one without "=". */
int specfile_pairs(const struct args_list *list, const char *option, struct mlq_region *region,
                   struct spec_pair **pairs, struct mlq_err *err);

/* Reads, parses, and looks whether every file that it names is there. CMD_OK, or an exit code after
 * all that is wrong was said. path "-": standard input. */
int specfile_load(struct session *session, const char *path, const struct args_list *sets,
                  struct specfile *spec);
int specfile_command(struct session *session, const struct spec_command *command,
                     struct specfile *spec);

/* Puts the files into the store and their digests into the spec. */
int specfile_store(struct session *session, struct specfile *spec, struct mlq_err *err);

#endif
