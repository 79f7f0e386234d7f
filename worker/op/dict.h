/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The distinct texts of a column, numbered; bounded in count.
 */
#ifndef MLQ_OP_DICT_H
#define MLQ_OP_DICT_H

#include <stdint.h>

#include "lib/base/ownership.h"
#include "lib/base/str.h"
#include "lib/sys/region.h"

#define DICT_NONE (-1)

struct dict;

/* Texts lie in `region`, which several dictionaries may share and which must outlive them. */
MLQ_OWNED_RETURN struct dict *dict_create(MLQ_BORROWS struct mlq_region *region, uint32_t count_max);
void dict_destroy(struct dict **dict); /* takes NULL */

/* The code of `text`, which is copied when new; DICT_NONE when it is new and the dictionary full. Not
 * after dict_sort. */
int32_t dict_add(struct dict *dict, struct mlq_str text);
/* DICT_NONE when absent. */
int32_t dict_find(const struct dict *dict, struct mlq_str text);

uint32_t dict_count(const struct dict *dict);

/* Codes become the places of the texts in the order of their bytes. */
void dict_sort(struct dict *dict);
/* By code; terminated texts; the list lives as long as the dictionary. After dict_sort: sorted. */
const char *const *dict_texts(const struct dict *dict);

#endif
