/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "client/cli/args.h"

#include <string.h>

#include "lib/base/str.h"
#include "lib/spec/field.h"
#include "lib/sys/clock.h"

static const struct {
    const char *name;
    int64_t ns;
} units[] = {
    {"ms", MLQ_NS_PER_MS},           {"s", MLQ_NS_PER_S},
    {"m", 60 * MLQ_NS_PER_S},        {"h", 3600 * MLQ_NS_PER_S},
    {"d", 24 * 3600 * MLQ_NS_PER_S},
};

#define DURATION_S_MAX (366.0 * 24 * 3600)

/* A number, then its unit's letters; *text is moved behind them. */
static bool duration_part(struct mlq_str *text, double *seconds)
{
    size_t digits = 0;
    while (digits < text->len && strchr("0123456789.", text->ptr[digits]) != NULL) {
        digits++;
    }
    size_t letters = 0;
    while (digits + letters < text->len &&
           strchr("0123456789.", text->ptr[digits + letters]) == NULL) {
        letters++;
    }
    struct mlq_str unit = {text->ptr + digits, letters};
    double number;
    if (!field_parse_number((struct mlq_str){text->ptr, digits}, &number)) {
        return false;
    }
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (mlq_str_eq_c(unit, units[i].name)) {
            *seconds += number * ((double)units[i].ns / 1e9);
            *text = (struct mlq_str){unit.ptr + letters, text->len - digits - letters};
            return true;
        }
    }
    return false;
}

bool args_duration(const char *text, int64_t *ns)
{
    struct mlq_str left = mlq_str_from(text);
    double seconds = 0;
    if (left.len == 0) {
        return false;
    }
    if (!field_parse_number(left, &seconds)) {
        while (left.len > 0) {
            if (!duration_part(&left, &seconds)) {
                return false;
            }
        }
    }
    if (!(seconds >= 0 && seconds <= DURATION_S_MAX)) {
        return false;
    }
    *ns = (int64_t)(seconds * 1e9);
    return true;
}

static const struct args_option *find_long(const struct args *args, struct mlq_str name)
{
    for (size_t table = 0; table < 2; table++) {
        for (const struct args_option *o = args->options[table]; o != NULL && o->name != NULL;
             o++) {
            if (mlq_str_eq_c(name, o->name)) {
                return o;
            }
        }
    }
    return NULL;
}

static const struct args_option *find_letter(const struct args *args, char letter)
{
    for (size_t table = 0; table < 2; table++) {
        for (const struct args_option *o = args->options[table]; o != NULL && o->name != NULL;
             o++) {
            if (letter != 0 && o->letter == letter) {
                return o;
            }
        }
    }
    return NULL;
}

static int unknown_option(const struct args *args, struct mlq_str name, struct mlq_err *err)
{
    const char *nearest = NULL;
    size_t least = 3;
    for (size_t table = 0; table < 2; table++) {
        for (const struct args_option *o = args->options[table]; o != NULL && o->name != NULL;
             o++) {
            size_t distance = mlq_str_distance(name, mlq_str_from(o->name));
            if (distance < least) {
                least = distance;
                nearest = o->name;
            }
        }
    }
    return nearest == NULL ? mlq_fail(err, MLQ_EINVAL, "unknown option --%.*s", MLQ_STR_ARG(name))
                           : mlq_fail(err, MLQ_EINVAL, "unknown option --%.*s (did you mean --%s?)",
                                      MLQ_STR_ARG(name), nearest);
}

static int set_option(const struct args_option *option, const char *value, struct mlq_err *err)
{
    struct mlq_str text = mlq_str_from(value);
    switch (option->kind) {
    case ARGS_FLAG:
        *(bool *)option->value = true;
        return MLQ_OK;
    case ARGS_TEXT:
        *(const char **)option->value = value;
        return MLQ_OK;
    case ARGS_NUMBER:
        if (!mlq_str_u64(text, option->value) || *(uint64_t *)option->value > option->max) {
            return mlq_fail(err, MLQ_EINVAL, "--%s takes a number from 0 to %llu, not '%s'",
                            option->name, (unsigned long long)option->max, value);
        }
        return MLQ_OK;
    case ARGS_INTEGER:
        if (!mlq_str_i64(text, option->value) || *(int64_t *)option->value > (int64_t)option->max ||
            *(int64_t *)option->value < -(int64_t)option->max) {
            return mlq_fail(err, MLQ_EINVAL, "--%s takes a number from -%llu to %llu, not '%s'",
                            option->name, (unsigned long long)option->max,
                            (unsigned long long)option->max, value);
        }
        return MLQ_OK;
    case ARGS_DURATION:
        if (!args_duration(value, option->value)) {
            return mlq_fail(err, MLQ_EINVAL,
                            "--%s takes a duration like 90s, 10m or 1h30m, not '%s'", option->name,
                            value);
        }
        return MLQ_OK;
    case ARGS_LIST: {
        struct args_list *list = option->value;
        if (list->count == ARGS_LIST_MAX) {
            return mlq_fail(err, MLQ_EINVAL, "--%s is given more than %d times", option->name,
                            ARGS_LIST_MAX);
        }
        list->items[list->count++] = value;
        return MLQ_OK;
    }
    }
    return MLQ_OK;
}

/* "--name", "--name=value" or "--name value"; *used counts the words. */
static int take_long(struct args *args, int left, char **argv, int *used, struct mlq_err *err)
{
    struct mlq_str name = mlq_str_from(argv[0] + 2);
    struct mlq_str value = {0};
    bool joined = mlq_str_cut(name, '=', &name, &value);
    const struct args_option *option = find_long(args, name);
    *used = 1;
    if (option == NULL) {
        return unknown_option(args, name, err);
    }
    if (option->kind == ARGS_FLAG) {
        return joined ? mlq_fail(err, MLQ_EINVAL, "--%s takes no value", option->name)
                      : set_option(option, NULL, err);
    }
    if (joined) {
        return set_option(option, value.ptr == NULL ? "" : value.ptr,
                          err); /* up to the word's NUL */
    }
    if (left < 2) {
        return mlq_fail(err, MLQ_EINVAL, "--%s needs a value", option->name);
    }
    *used = 2;
    return set_option(option, argv[1], err);
}

/* "-q", "-qf", "-oVALUE" or "-o VALUE". */
static int take_letters(struct args *args, int left, char **argv, int *used, struct mlq_err *err)
{
    *used = 1;
    for (const char *at = argv[0] + 1; *at != '\0'; at++) {
        const struct args_option *option = find_letter(args, *at);
        if (option == NULL) {
            return mlq_fail(err, MLQ_EINVAL, "unknown option '%s'", argv[0]);
        }
        if (option->kind != ARGS_FLAG) {
            if (at[1] != '\0') {
                return set_option(option, at + 1, err);
            }
            if (left < 2) {
                return mlq_fail(err, MLQ_EINVAL, "-%c needs a value", *at);
            }
            *used = 2;
            return set_option(option, argv[1], err);
        }
        int rc = set_option(option, NULL, err);
        if (rc != MLQ_OK) {
            return rc;
        }
    }
    return MLQ_OK;
}

int args_parse(struct args *args, int argc, char **argv, struct mlq_err *err)
{
    int used = 1;
    for (int i = 1; i < argc; i += used) {
        const char *word = argv[i];
        int rc = MLQ_OK;
        used = 1;
        if (strcmp(word, "--") == 0) {
            args->rest = argv + i + 1;
            args->rest_count = (size_t)(argc - i - 1);
            return MLQ_OK;
        }
        if (word[0] == '-' && word[1] == '-') {
            rc = take_long(args, argc - i, argv + i, &used, err);
        } else if (word[0] == '-' && word[1] != '\0') {
            rc = take_letters(args, argc - i, argv + i, &used, err);
        } else if (args->count == ARGS_OPERANDS_MAX) {
            rc = mlq_fail(err, MLQ_EINVAL, "more than %d operands", ARGS_OPERANDS_MAX);
        } else {
            args->operands[args->count++] = word;
        }
        if (rc != MLQ_OK) {
            return rc;
        }
    }
    return MLQ_OK;
}
