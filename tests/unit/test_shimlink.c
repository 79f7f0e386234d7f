/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The worker's hold on a shim, against one that the test plays: it holds the lock, listens, and hangs
 * up at the moments that matter.
 */
#include "tests/unit/cm.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

#include "lib/loop/loop.h"
#include "lib/sys/clock.h"
#include "lib/sys/fs.h"
#include "worker/exec/shimfile.h"
#include "worker/exec/shimlink.h"
#include "worker/exec/unixsock.h"

#define DIR_NAME "member"
#define WAIT_NS  (20 * MLQ_NS_PER_S)

struct scene {
    uv_loop_t *loop;
    struct shimlink *link;
    int lock;
    int listener;
    int line; /* the shim's end */
    unsigned started;
    unsigned ended;
    struct shimfile_end end;
};

static void on_started(void *context)
{
    struct scene *scene = context;
    scene->started++;
    assert_int_equal(scene->ended, 0);
}

static void on_ended(void *context, const struct shimfile_end *end)
{
    struct scene *scene = context;
    scene->ended++;
    scene->end = *end;
    shimlink_close(&scene->link);
}

static bool run_until(struct scene *scene, const unsigned *count)
{
    int64_t deadline = mlq_clock_boot_ns() + WAIT_NS;
    while (*count == 0 && mlq_clock_boot_ns() < deadline) {
        (void)uv_run(scene->loop, UV_RUN_NOWAIT);
        uv_sleep(1);
    }
    return *count == 1;
}

/* A shim lives, and the worker has found it and sent its first lines. */
static void begin(struct scene *scene)
{
    static const char *const words[] = {"true", NULL};
    static const char *const none[] = {NULL};
    const struct shimfile_conf conf = {.workdir = "/w",
                                       .argv = (const char **)(uintptr_t)words,
                                       .env = (const char **)(uintptr_t)none,
                                       .log_tail_bytes = 1};
    const struct shimlink_callbacks callbacks = {
        .context = scene, .started = on_started, .ended = on_ended};
    const struct shimlink_options options = {.dir = DIR_NAME, .mark = "MLQ_OUTPUT=/no/such/task"};
    *scene = (struct scene){.line = -1};
    assert_int_equal(mlq_fs_remove_tree(DIR_NAME, NULL), 0);
    assert_int_equal(mkdir(DIR_NAME, 0700), 0);
    assert_int_equal(shimfile_save_conf(DIR_NAME, &conf, NULL), 0);
    assert_int_equal(shimfile_lock(DIR_NAME, &scene->lock, NULL), 0);
    assert_int_equal(unixsock_listen(DIR_NAME "/shim.sock", 4, &scene->listener, NULL), 0);
    assert_int_equal(loop_create(&scene->loop, NULL), 0);
    assert_int_equal(shimlink_create(scene->loop, &options, &callbacks, &scene->link, NULL), 0);
    shimlink_lease(scene->link, mlq_clock_boot_ns() + WAIT_NS);
    for (int i = 0; i < 20000 && scene->line < 0; i++) {
        (void)uv_run(scene->loop, UV_RUN_NOWAIT);
        scene->line = accept(scene->listener, NULL, NULL);
        uv_sleep(scene->line < 0 ? 1 : 0);
    }
    assert_true(scene->line >= 0);
}

static void say(const struct scene *scene, const char *text)
{
    assert_int_equal(send(scene->line, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* All that the worker has said so far. */
static void read_lines(const struct scene *scene)
{
    char text[512];
    assert_true(recv(scene->line, text, sizeof text, 0) > 0);
}

static void save_end(int exit_code)
{
    const struct shimfile_end end = {.cause = WORKER_CAUSE_EXIT, .exit_code = exit_code};
    assert_int_equal(shimfile_save_end(DIR_NAME, &end, NULL), 0);
}

static void die(const struct scene *scene)
{
    close(scene->line);
    close(scene->listener);
    close(scene->lock);
}

static void finish(struct scene *scene)
{
    shimlink_close(&scene->link);
    assert_int_equal(loop_destroy(&scene->loop), 0);
}

static void test_starts_and_ends(void **state)
{
    (void)state;
    struct scene scene;
    begin(&scene);
    read_lines(&scene);
    say(&scene, "started 7\n");
    assert_true(run_until(&scene, &scene.started));
    save_end(4);
    die(&scene);
    assert_true(run_until(&scene, &scene.ended));
    assert_int_equal(scene.end.exit_code, 4);
    finish(&scene);
}

/* It was over before the worker looked, with its last words unread on one side and a lease on the
 * other: then there are bytes, an error and a hang-up at once. */
static void test_all_at_once(void **state)
{
    (void)state;
    struct scene scene;
    begin(&scene);
    say(&scene, "started 7\n");
    save_end(5);
    die(&scene);
    assert_true(run_until(&scene, &scene.ended));
    assert_int_equal(scene.started, 1);
    assert_int_equal(scene.end.exit_code, 5);
    finish(&scene);
}

/* Killed: no end on file, and its lock is free. */
static void test_is_killed(void **state)
{
    (void)state;
    struct scene scene;
    begin(&scene);
    say(&scene, "started 7\n");
    die(&scene);
    assert_true(run_until(&scene, &scene.ended));
    assert_int_equal(scene.end.cause, WORKER_CAUSE_NODE);
    finish(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_starts_and_ends),
        cmocka_unit_test(test_all_at_once),
        cmocka_unit_test(test_is_killed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
