/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "tests/conformance/store_suite.h"

static struct store_mem_record *record;

static void fresh(void)
{
    store_mem_record_destroy(&record);
    record = store_mem_record_create();
}

static struct store *create(struct uv_loop_s *loop, int64_t lease_ns,
                            const struct store_callbacks *callbacks)
{
    store_mem_record_set_lease_ns(record, lease_ns);
    return store_mem_create(loop, record, callbacks);
}

int main(void)
{
    static const struct suite_backend backend = {.fresh = fresh, .create = create};
    int failed = suite_run(&backend, "store_mem");
    store_mem_record_destroy(&record);
    return failed;
}
