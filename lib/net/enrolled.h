/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The keys that may connect, as the file of net_keys_enroll says. The table is read again when the
 * file changes; a line that cannot be read admits nobody and is logged.
 */
#ifndef MLQ_NET_ENROLLED_H
#define MLQ_NET_ENROLLED_H

#include <stddef.h>

#include "lib/base/err.h"
#include "lib/base/ownership.h"
#include "lib/net/net.h"

struct enrolled_entry {
    char public_key[NET_KEY_TEXT_BYTES];
    char name[NET_NAME_BYTES_MAX + 1];
    enum net_role role;
};

struct enrolled;

/* MLQ_ENOENT when the file is not there: an empty one says that nobody is enrolled yet. */
int enrolled_create(const char *path,
                    MLQ_OWNED_RETURN struct enrolled **enrolled,
                    struct mlq_err *err);
void enrolled_destroy(struct enrolled **enrolled);

/* Read the file if it changed since it was last read. A file that cannot be read empties the
 * table: who may enter is then unknown, so nobody may. */
void enrolled_refresh(struct enrolled *enrolled);

/* NULL when the key is not enrolled. The entry lives until the next refresh. */
const struct enrolled_entry *enrolled_find(const struct enrolled *enrolled, const char *public_key);

size_t enrolled_count(const struct enrolled *enrolled);

/* One line of the file. MLQ_ENOENT for an empty line or a comment. */
int enrolled_parse_line(struct mlq_str line, struct enrolled_entry *entry, struct mlq_err *err);

#endif
