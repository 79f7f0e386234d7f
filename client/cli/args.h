/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * A verb's arguments, by a table of its options. Options and operands come in any order; "--" ends
 * the options, and what follows is kept apart (the command of `mlq submit`).
 */
#ifndef MLQ_CLI_ARGS_H
#define MLQ_CLI_ARGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"

#define ARGS_OPERANDS_MAX 1024
#define ARGS_LIST_MAX     256

enum args_kind {
    ARGS_FLAG,     /* bool */
    ARGS_TEXT,     /* const char * */
    ARGS_NUMBER,   /* uint64_t, at most max */
    ARGS_INTEGER,  /* int64_t, in [-max, max] */
    ARGS_DURATION, /* int64_t, nanoseconds: "90s", "1h30m", or plain seconds */
    ARGS_LIST,     /* struct args_list: may be given again and again */
};

struct args_list {
    const char *items[ARGS_LIST_MAX];
    size_t count;
};

struct args_option {
    const char *name; /* without the dashes */
    char letter;      /* 0: none */
    enum args_kind kind;
    void *value; /* of the type above; untouched unless given */
    uint64_t max;
};

struct args {
    const struct args_option
        *options[2]; /* the verb's own, and those that all have; each ends with {0} */
    const char *operands[ARGS_OPERANDS_MAX];
    size_t count;
    char **rest; /* behind "--" */
    size_t rest_count;
};

/* argv[0] is the verb. MLQ_EINVAL with a text that names the word and, where one is near, what was
 * meant. The texts point into argv. */
int args_parse(struct args *args, int argc, char **argv, struct mlq_err *err);

/* "90s", "1h30m", "2d", or plain seconds ("0.5"); false for anything else. */
bool args_duration(const char *text, int64_t *ns);

#endif
