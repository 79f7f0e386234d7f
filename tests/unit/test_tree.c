/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The processes of this test, as those of a task.
 */
#include "tests/unit/cm.h"

#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/sys/clock.h"
#include "tests/support/patience.h"
#include "worker/exec/tree.h"

#define TRIES_MAX 20

static void on_signal(int number)
{
    (void)number;
}

/* A child that has this process's handler: a copy, or a shell that waits with one of its own. */
static pid_t start(bool with_exec)
{
    pid_t pid = fork();
    if (pid == 0) {
        if (with_exec) {
            (void)execl("/bin/sh", "sh", "-c", "trap : USR1; while :; do sleep 600 & wait; kill $!; done", NULL);
            _exit(127);
        }
        for (;;) {
            (void)pause();
        }
    }
    assert_true(pid > 0);
    return pid;
}

static void finish(pid_t pid)
{
    int status = 0;
    assert_int_equal(waitpid(pid, &status, WNOHANG), 0); /* it lives, whatever it was told */
    while (tree_signal(SIGKILL) > 0) { /* and what a shell has started meanwhile */
        (void)waitpid(-1, &status, 0);
    }
}

static int await_told(void)
{
    int64_t limit_ns = mlq_clock_boot_ns() + patience(60 * MLQ_NS_PER_S);
    int told = 0;
    while (told == 0 && mlq_clock_boot_ns() < limit_ns) {
        told = tree_signal_handlers(SIGUSR1);
        (void)poll(NULL, 0, 10);
    }
    return told;
}

/* It might be about to become another program, which has no handler. */
static void a_new_copy_of_a_process_is_left_alone_for_a_while(void **state)
{
    (void)state;
    int told = 1;
    for (int tries = 0; told != 0 && tries < TRIES_MAX; tries++) { /* a busy machine may take a second here */
        pid_t pid = start(false);
        told = tree_signal_handlers(SIGUSR1);
        finish(pid);
    }
    assert_int_equal(told, 0);
    pid_t pid = start(false);
    int64_t begun_ns = mlq_clock_boot_ns();
    assert_int_equal(await_told(), 1);
    assert_true(mlq_clock_boot_ns() - begun_ns > TREE_SETTLED_NS / 2);
    finish(pid);
}

static void a_program_with_a_handler_is_told_at_once(void **state)
{
    (void)state;
    pid_t pid = start(true);
    assert_int_equal(await_told(), 1); /* the shell alone: what it has started dies of no signal */
    finish(pid);
}

static int setup(void **state)
{
    (void)state;
    struct sigaction action = {.sa_handler = on_signal};
    return prctl(PR_SET_CHILD_SUBREAPER, 1) == 0 ? sigaction(SIGUSR1, &action, NULL) : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_copy_of_a_process_is_left_alone_for_a_while),
        cmocka_unit_test(a_program_with_a_handler_is_told_at_once),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
