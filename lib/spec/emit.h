/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * JSON as YAML for people: block style, quotes only where YAML needs them, short lists on one line.
 */
#ifndef MLQ_SPEC_EMIT_H
#define MLQ_SPEC_EMIT_H

#include <jansson.h>

#include "lib/base/str.h"
#include "lib/sys/region.h"

struct mlq_str emit_yaml(json_t *document, struct mlq_region *region);

#endif
