/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Standard error goes into a pipe while a line is logged, so what is compared is what was written.
 */
#include "tests/unit/cm.h"

#include <errno.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/ownership.h"
#include "lib/base/panic.h"
#include "lib/sys/log.h"

static char seen[8192];

static int pipe_fds[2];
static int real_stderr;

static void capture_begin(void)
{
    assert_int_equal(pipe(pipe_fds), 0);
    real_stderr = dup(STDERR_FILENO);
    assert_true(dup2(pipe_fds[1], STDERR_FILENO) == STDERR_FILENO);
    close(pipe_fds[1]);
}

static size_t capture_end(void)
{
    assert_true(dup2(real_stderr, STDERR_FILENO) == STDERR_FILENO); /* closes the last writer */
    close(real_stderr);
    size_t used = 0;
    ssize_t got;
    while ((got = read(pipe_fds[0], seen + used, sizeof seen - 1 - used)) > 0) {
        used += (size_t)got;
    }
    assert_true(got == 0);
    close(pipe_fds[0]);
    seen[used] = '\0';
    return used;
}

static void a_line_has_time_level_event_and_pairs(void **state)
{
    (void)state;
    capture_begin();
    log_info("worker.lost", "worker=%d name=\"%s\"", 3, "w1");
    (void)capture_end();
    assert_int_equal(seen[10], 'T');
    assert_int_equal(seen[23], 'Z');
    assert_string_equal(seen + 24, " info worker.lost worker=3 name=\"w1\"\n");
}

static void what_strangers_cause_is_said_once_a_minute(void **state)
{
    (void)state;
    struct mlq_log_pace pace = {0};
    const int64_t second = INT64_C(1000000000);
    int64_t now = 5 * second;
    uint64_t times = 0;
    assert_true(mlq_log_paced(&pace, now, &times));
    assert_int_equal(times, 1);
    for (int i = 0; i < 1000; i++) {
        assert_false(mlq_log_paced(&pace, now + i, &times));
    }
    assert_false(mlq_log_pace_rest(&pace, now + 59 * second, &times));
    assert_true(mlq_log_pace_rest(&pace, now + 60 * second, &times)); /* the others, though nothing more came */
    assert_int_equal(times, 1000);
    assert_false(mlq_log_pace_rest(&pace, now + 200 * second, &times));
    assert_true(mlq_log_paced(&pace, now + 200 * second, &times));
    assert_int_equal(times, 1);
}

static void levels_select(void **state)
{
    (void)state;
    capture_begin();
    log_debug("hidden", "%s", "x");
    mlq_log_set_level(MLQ_LOG_WARN);
    log_info("hidden", "%s", "x");
    log_warn("shown.warn", "%s", "x");
    mlq_log_set_level(MLQ_LOG_DEBUG);
    log_debug("shown.debug", "%s", "x");
    mlq_log_set_level(MLQ_LOG_INFO);
    (void)capture_end();
    assert_null(strstr(seen, "hidden"));
    assert_non_null(strstr(seen, " warn shown.warn x\n"));
    assert_non_null(strstr(seen, " debug shown.debug x\n"));
}

static void a_value_cannot_forge_a_line(void **state)
{
    (void)state;
    capture_begin();
    log_info("event", "text=\"%s\"", "a\n2026 error forged\r\t\x1b[2J\x7f\xc2\x9b z\xc3\xa9");
    size_t used = capture_end();
    assert_ptr_equal(strchr(seen, '\n'), seen + used - 1);
    for (size_t i = 0; i + 1 < used; i++) {
        assert_true((unsigned char)seen[i] >= 0x20 && seen[i] != 0x7f);
    }
    assert_null(strstr(seen, "\xc2\x9b"));
    assert_non_null(strstr(seen, "z\xc3\xa9\""));
}

static void long_lines_are_cut_to_one_line(void **state)
{
    (void)state;
    char text[6000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    capture_begin();
    log_info("event", "%s", text);
    size_t used = capture_end();
    assert_in_range(used, 2000, 2048);
    assert_ptr_equal(strchr(seen, '\n'), seen + used - 1);
    capture_begin();
    log_info(text, "%s", text);
    used = capture_end();
    assert_in_range(used, 2000, 2048);
    assert_ptr_equal(strchr(seen, '\n'), seen + used - 1);
}

static void errno_is_kept(void **state)
{
    (void)state;
    capture_begin();
    close(STDERR_FILENO); /* the write fails: EBADF must not reach the caller */
    errno = ENOSPC;
    log_info("event", "%s", "x");
    assert_int_equal(errno, ENOSPC);
    assert_int_equal(capture_end(), 0);
}

static void panic_says_where_and_aborts(void **state)
{
    (void)state;
    capture_begin();
    pid_t child = fork();
    if (child == 0) {
        mlq_panic("some/file.c", 17, "count > 0");
    }
    int status = 0;
    assert_true(waitpid(child, &status, 0) == child);
    (void)capture_end();
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    assert_non_null(strstr(seen, " error panic at=some/file.c:17 assertion=\"count > 0\"\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_has_time_level_event_and_pairs),
        cmocka_unit_test(what_strangers_cause_is_said_once_a_minute),
        cmocka_unit_test(levels_select),
        cmocka_unit_test(a_value_cannot_forge_a_line),
        cmocka_unit_test(long_lines_are_cut_to_one_line),
        cmocka_unit_test(errno_is_kept),
        cmocka_unit_test(panic_says_where_and_aborts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
