/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Specs of tests are written as YAML, as users write them; what a scheduler is given is canonical.
 */
#ifndef MLQ_TESTS_SPEC_TEXT_H
#define MLQ_TESTS_SPEC_TEXT_H

#include "lib/base/panic.h"
#include "lib/spec/spec.h"
#include "lib/sys/region.h"

/* Lives until the program ends. */
static inline struct mlq_str spec_text_canonical(const char *yaml)
{
    static struct mlq_region *region;
    struct diag_list diags;
    region = region == NULL ? mlq_region_create() : region;
    diag_init(&diags, region, "test");
    const struct spec *spec = spec_parse(mlq_str_from(yaml), NULL, region, &diags);
    MLQ_ASSERT(spec != NULL);
    return spec_canonical(spec, region);
}

#endif
