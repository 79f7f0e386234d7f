/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Expressions and the conditions of gates.
 */
#include <math.h>

#include "lib/spec/gate_condition.h"
#include "lib/spec/spec.h"
#include "tests/fuzz/fuzz.h"

static bool resolve(void *context, struct mlq_str expression, struct mlq_region *region,
                    struct mlq_str *value, struct mlq_err *err)
{
    (void)context;
    (void)region;
    (void)err;
    *value = expression.len % 2 == 0 ? MLQ_STR("0.5") : MLQ_STR("${{ again }}\"\\");
    return expression.len % 7 != 3;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mlq_region *region = mlq_region_create();
    struct gate_condition *all = mlq_region_array(region, GATE_CONDITIONS_MAX, sizeof *all);
    size_t count = 0;
    struct mlq_str text = fuzz_text(data, size);
    struct mlq_str expanded;
    for (int times = 0; times < 3; times++) { /* appended to those before */
        size_t before = count;
        MLQ_ASSERT(gate_condition_parse(text, all, &count, NULL) == MLQ_OK || count == before);
    }
    for (size_t i = 0; i < count; i++) {
        MLQ_ASSERT(isfinite(all[i].limit) && all[i].metric[0] != '\0');
        (void)gate_condition_holds(&all[i], 0.5);
    }
    (void)spec_expand(text, resolve, NULL, region, &expanded, NULL);
    (void)spec_expand_json(text, resolve, NULL, region, &expanded, NULL);
    mlq_region_destroy(&region);
    return 0;
}
