/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Control groups that serve one task after the other. The pool's book needs none; the rest is skipped
 * where none is writable.
 */
#include "tests/unit/cm.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/sys/fs.h"
#include "lib/sys/mem.h"
#include "worker/exec/cgpool.h"

#define WAIT_MS 60000

static struct cgroup_host host;
static struct mlq_region *region;

static const struct cgroup_bounds small = {.mem_bytes = 64 << 20, .cpu_milli = 500, .pids_max = 50};
static const struct cgroup_bounds large = {.mem_bytes = 256 << 20, .cpu_milli = 500, .pids_max = 50};

static bool is_never_used(void *context, const char *path)
{
    (void)context;
    (void)path;
    return false;
}

static bool is_that(void *context, const char *path)
{
    return strcmp(context, path) == 0;
}

static void test_book(void **state)
{
    (void)state;
    const struct cgroup_host none = {0};
    struct cgpool pool;
    struct cgpool other;
    cgpool_init(&pool, &none, "/home/w1");
    cgpool_init(&other, &none, "/home/w2");
    assert_string_not_equal(pool.prefix, other.prefix);
    const char *first = cgpool_take(&pool, &small, 7, 0, region);
    const char *second = cgpool_take(&pool, &small, 7, 1, region);
    assert_string_not_equal(first, second);
    assert_memory_equal(first, pool.prefix, strlen(pool.prefix));
    assert_true(cgpool_give(&pool, first, &small));
    assert_true(cgpool_give(&pool, second, &large));
    assert_string_equal(cgpool_take(&pool, &large, 8, 0, region), second);
    assert_string_equal(cgpool_take(&pool, &small, 8, 0, region), first);
    assert_string_not_equal(cgpool_take(&pool, &small, 8, 0, region), first);
    for (unsigned i = 0; i < CGPOOL_MAX; i++) {
        assert_true(cgpool_give(&pool, first, &small));
    }
    assert_false(cgpool_give(&pool, first, &small));
    cgpool_fini(&pool);
    assert_int_equal(pool.count, 0);
}

static void need_groups(void)
{
    if (host.version == 0) {
        print_message("no cgroup is writable here\n");
        skip();
    }
}

/* Of this process alone: the same test may run in another build on this machine. */
static const char *name_of(const char *what)
{
    return mlq_region_format(region, "mlq-test-%s-%d", what, (int)getpid());
}

/* What has died may be charged to them for another moment. */
static void wait_fresh(const char **paths)
{
    for (int i = 0; i < WAIT_MS && !cgroup_is_fresh(&host, paths); i++) {
        (void)poll(NULL, 0, 1);
    }
    assert_true(cgroup_is_fresh(&host, paths));
}

static void wait_removed(const char **paths)
{
    for (int i = 0; paths[i] != NULL; i++) {
        for (int tries = 0; tries < WAIT_MS && !cgroup_remove(paths[i]); tries++) {
            (void)poll(NULL, 0, 1);
        }
        assert_false(mlq_fs_exists(paths[i]));
    }
}

static const char **make(const char *name, const struct cgroup_bounds *bounds)
{
    bool bounded;
    const char **paths = mlq_region_array(region, CGROUP_CONTROLLERS + 1, sizeof *paths);
    cgroup_make(&host, name, bounds, region, paths, &bounded);
    assert_non_null(paths[0]);
    return paths;
}

/* A process of ours that waits in the groups. */
static pid_t enter(const char **paths)
{
    int ready[2];
    char byte;
    assert_int_equal(pipe(ready), 0);
    pid_t pid = fork();
    if (pid == 0) {
        for (int i = 0; paths[i] != NULL; i++) {
            (void)cgroup_join(paths[i], getpid());
        }
        (void)!write(ready[1], "x", 1);
        (void)pause();
        _exit(0);
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    close(ready[1]);
    return pid;
}

static void test_fresh(void **state)
{
    (void)state;
    need_groups();
    struct cgpool pool;
    cgpool_init(&pool, &host, "test_fresh");
    const char *name = cgpool_take(&pool, &small, (uint64_t)getpid(), 0, region);
    const char **paths = make(name, &small);
    assert_true(cgroup_is_fresh(&host, paths));
    pid_t pid = enter(paths);
    assert_false(cgroup_is_fresh(&host, paths)); /* somebody is in them */
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    wait_fresh(paths);
    const char *gone[] = {"/sys/fs/cgroup/mlq-no-such-group", NULL};
    assert_false(cgroup_is_fresh(&host, gone));
    assert_true(cgpool_give(&pool, name, &small));
    cgpool_fini(&pool);
    assert_false(mlq_fs_exists(paths[0]));
}

/* What a task leaves in a tmpfs stays charged to its group, and would be taken from the next one's. */
static void test_left_behind(void **state)
{
    (void)state;
    if (host.parents[CGROUP_MEMORY][0] == '\0') {
        print_message("no cgroup that limits memory is writable here\n");
        skip();
    }
    char file[64];
    (void)snprintf(file, sizeof file, "/dev/shm/mlq-test-%d", (int)getpid());
    const char **paths = make(name_of("left-behind"), &small);
    pid_t pid = fork();
    if (pid == 0) {
        for (int i = 0; paths[i] != NULL; i++) {
            (void)cgroup_join(paths[i], getpid());
        }
        execlp("dd", "dd", "if=/dev/zero", "of=/dev/null", "bs=8M", "count=1", "status=none", (char *)NULL);
        _exit(127);
    }
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    wait_fresh(paths);
    pid = fork();
    if (pid == 0) {
        for (int i = 0; paths[i] != NULL; i++) {
            (void)cgroup_join(paths[i], getpid());
        }
        execlp("dd", "dd", "if=/dev/zero", "bs=1M", "count=8", "status=none",
               mlq_format("of=%s", file), (char *)NULL);
        _exit(127);
    }
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_false(cgroup_is_fresh(&host, paths));
    (void)unlink(file);
    wait_removed(paths);
}

static void test_sweep(void **state)
{
    (void)state;
    need_groups();
    struct cgpool pool;
    char home[64];
    (void)snprintf(home, sizeof home, "test_sweep-%d", (int)getpid());
    cgpool_init(&pool, &host, home);
    const char **idle = make(cgpool_take(&pool, &small, 1, 0, region), &small);
    const char **busy = make(cgpool_take(&pool, &small, 2, 0, region), &small);
    const char **soon = make(cgpool_take(&pool, &small, 3, 0, region), &small);
    const char **strange = make(name_of("strange"), &small);
    pid_t pid = enter(busy);
    cgpool_sweep(&pool, is_that, (void *)(uintptr_t)soon[0]);
    assert_false(mlq_fs_exists(idle[0]));
    assert_true(mlq_fs_exists(busy[0]));
    assert_true(mlq_fs_exists(soon[0]));
    assert_true(mlq_fs_exists(strange[0]));
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    for (int i = 0; i < WAIT_MS && mlq_fs_exists(busy[0]); i++) {
        cgpool_sweep(&pool, is_never_used, NULL);
        (void)poll(NULL, 0, 1);
    }
    assert_false(mlq_fs_exists(busy[0]));
    assert_false(mlq_fs_exists(soon[0]));
    wait_removed(strange);
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
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_book),
        cmocka_unit_test(test_fresh),
        cmocka_unit_test(test_left_behind),
        cmocka_unit_test(test_sweep),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
