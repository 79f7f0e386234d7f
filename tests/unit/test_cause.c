/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * What scheduler and worker each write down, because neither may include the other: the numbers of
 * causes, and how many ranks a worker holds.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "lib/base/ownership.h"
#include "scheduler/core/core.h"
#include "worker/agent/agent.h"
#include "worker/agent/cause.h"

/* What the core places fits, what is being killed meanwhile fits beside it, and a hello holds all. */
_Static_assert(AGENT_MEMBERS_MAX >= 2 * CORE_MEMBERS_PER_WORKER_MAX, "the worker is full too early");
_Static_assert(AGENT_MEMBERS_MAX <= CORE_CLAIMS_MAX, "a hello cannot claim all that is here");

struct entry {
    const char *name;
    const char *text;
    int number;
};

#define CORE_ENTRY(name, text)   {#name, text, CAUSE_##name},
#define WORKER_ENTRY(name, text) {#name, text, WORKER_CAUSE_##name},

static void test_same(void **state)
{
    (void)state;
    static const struct entry core[] = {CORE_CAUSES(CORE_ENTRY)};
    static const struct entry worker[] = {WORKER_CAUSES(WORKER_ENTRY)};
    assert_int_equal(MLQ_COUNT_OF(core), MLQ_COUNT_OF(worker));
    assert_int_equal((int)CAUSE_COUNT, (int)WORKER_CAUSE_COUNT);
    for (size_t i = 0; i < MLQ_COUNT_OF(core); i++) {
        assert_string_equal(core[i].name, worker[i].name);
        assert_string_equal(core[i].text, worker[i].text);
        assert_int_equal(core[i].number, worker[i].number);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_same)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
