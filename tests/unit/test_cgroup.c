/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * What a process in a bounded group learns of its bounds. Skipped where no group is writable.
 */
#include "tests/unit/cm.h"

#include <poll.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/sys/fs.h"
#include "worker/exec/cgroup.h"

#define BYTES INT64_C(67108864)
#define MILLI 250
#define WAIT_MS 60000

static struct cgroup_host host;
static struct mlq_region *region;

/* Runs `sees` in the groups; its exit status. */
static int in_groups(const char *name, const struct cgroup_bounds *bounds, int (*sees)(void))
{
    const char *paths[CGROUP_CONTROLLERS + 1];
    bool is_mem_bounded;
    int status = 0;
    cgroup_make(&host, name, bounds, region, paths, &is_mem_bounded);
    assert_true(is_mem_bounded);
    pid_t pid = fork();
    if (pid == 0) {
        for (int i = 0; paths[i] != NULL; i++) {
            (void)cgroup_join(paths[i], getpid());
        }
        _exit(sees());
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    for (int i = 0; paths[i] != NULL; i++) {
        for (int tries = 0; tries < WAIT_MS && !cgroup_remove(paths[i]); tries++) {
            (void)poll(NULL, 0, 1); /* the kernel may take another moment to forget who was in it */
        }
        assert_false(mlq_fs_exists(paths[i]));
    }
    return WEXITSTATUS(status);
}

static int sees_bounds(void)
{
    return cgroup_probe_mem_bytes() == BYTES ? cgroup_probe_cpu_milli() == MILLI ? 0 : 2 : 1;
}

static void test_own_bounds(void **state)
{
    (void)state;
    if (host.parents[CGROUP_MEMORY][0] == '\0' || host.parents[CGROUP_CPU][0] == '\0') {
        print_message("no cgroup that limits memory and CPUs is writable here\n");
        skip();
    }
    const struct cgroup_bounds bounds = {.mem_bytes = BYTES, .cpu_milli = MILLI, .pids_max = 50};
    assert_int_equal(in_groups(mlq_region_format(region, "mlq-test-bounds-%d", (int)getpid()), &bounds, sees_bounds), 0);
}

static int setup(void **state)
{
    (void)state;
    region = mlq_region_create();
    cgroup_probe(&host);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    mlq_region_destroy(&region);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_own_bounds)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
