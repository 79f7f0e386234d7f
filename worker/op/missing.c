/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/op/missing.h"

#include "worker/op/number.h"

void missing_init(struct missing *missing, const char *const *texts, size_t count)
{
    *missing = (struct missing){.texts = texts, .count = count};
    for (size_t i = 0; i < count; i++) {
        struct mlq_str text = mlq_str_from(texts[i]);
        double value;
        missing->len_max = text.len > missing->len_max ? text.len : missing->len_max;
        missing->empty = missing->empty || text.len == 0;
        missing->looks_numeric =
            missing->looks_numeric || number_parse(text, &value) == NUMBER_FINITE;
        if (text.len > 0) {
            missing->first[(unsigned char)text.ptr[0]] = true;
        }
    }
}

bool missing_has(const struct missing *missing, struct mlq_str cell)
{
    if (cell.len == 0) {
        return missing->empty;
    }
    if (cell.len > missing->len_max || !missing->first[(unsigned char)cell.ptr[0]]) {
        return false;
    }
    for (size_t i = 0; i < missing->count; i++) {
        if (mlq_str_eq_c(cell, missing->texts[i])) {
            return true;
        }
    }
    return false;
}
