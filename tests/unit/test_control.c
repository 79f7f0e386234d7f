/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The control socket with clients that speak well, badly, too much and not at all.
 */
#include "tests/unit/cm.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

#include "lib/base/ownership.h"
#include "lib/loop/loop.h"
#include "lib/sys/mem.h"
#include "lib/task/task.h"
#include "worker/exec/control.h"
#include "worker/exec/unixsock.h"

static struct uv_loop_s *loop;
static struct control *control;
static char last[256]; /* what the callbacks heard last */
static bool stop;
static uint64_t record;
static bool is_away;

static int on_metric(void *context, struct mlq_str name, double value, int64_t step,
                     struct mlq_err *err)
{
    (void)context;
    (void)snprintf(last, sizeof last, "%.*s %g %lld", MLQ_STR_ARG(name), value, (long long)step);
    return mlq_str_eq_c(name, "refused") ? mlq_fail(err, MLQ_EFULL, "too\nmany") : MLQ_OK;
}

static int on_progress(void *context, double fraction, struct mlq_str text, struct mlq_err *err)
{
    (void)context;
    (void)err;
    (void)snprintf(last, sizeof last, "%g [%.*s]", fraction, MLQ_STR_ARG(text));
    return MLQ_OK;
}

static int on_checkpoint(void *context, struct mlq_str path, struct mlq_err *err)
{
    (void)context;
    (void)err;
    (void)snprintf(last, sizeof last, "checkpoint %.*s", MLQ_STR_ARG(path));
    return MLQ_OK;
}

static int on_ready(void *context, uint16_t port, uint64_t fingerprint, uint64_t generation,
                    struct mlq_err *err)
{
    (void)context;
    (void)generation;
    (void)err;
    MLQ_ASSERT(port != 0 && fingerprint != 0);
    return MLQ_OK;
}

static bool on_must_stop(void *context)
{
    (void)context;
    return stop;
}

static int on_record(void *context, uint64_t request, struct mlq_err *err)
{
    (void)context;
    record = request;
    return is_away ? mlq_fail(err, MLQ_ECONN, "away") : MLQ_OK;
}

static int setup(void **state)
{
    (void)state;
    const struct control_callbacks callbacks = {.metric = on_metric,
                                                .progress = on_progress,
                                                .checkpoint = on_checkpoint,
                                                .must_stop = on_must_stop,
                                                .ready = on_ready,
                                                .record = on_record};
    stop = false;
    is_away = false;
    record = 0;
    assert_int_equal(loop_create(&loop, NULL), 0);
    assert_int_equal(control_create(loop, "c.sock", &callbacks, &control, NULL), 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    control_close(&control);
    assert_int_equal(loop_destroy(&loop), 0);
    assert_int_equal(access("c.sock", F_OK), -1);
    return 0;
}

static int dial(void)
{
    int fd;
    assert_int_equal(unixsock_connect("c.sock", &fd, NULL), 0);
    return fd;
}

/* Turns the loop until the client has an answer or is hung up on. */
static ssize_t hear(int fd, char *text, size_t room)
{
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    for (int i = 0; i < 30000; i++) {
        (void)uv_run(loop, UV_RUN_NOWAIT);
        if (poll(&wait, 1, 1) == 1) {
            ssize_t got = recv(fd, text, room - 1, 0);
            text[got > 0 ? got : 0] = '\0';
            return got;
        }
    }
    fail_msg("no answer");
    return -1;
}

static void expect(int fd, const char *line, const char *answer)
{
    char text[TASK_LINE_BYTES_MAX];
    assert_int_equal(send(fd, line, strlen(line), MSG_NOSIGNAL), strlen(line));
    assert_true(hear(fd, text, sizeof text) > 0);
    if (strcmp(answer, "error") == 0) {
        assert_memory_equal(text, "error ", 6);
        assert_int_equal(text[strlen(text) - 1], '\n');
        assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1); /* one line */
    } else {
        assert_string_equal(text, answer);
    }
}

static void test_requests(void **state)
{
    (void)state;
    struct stat status;
    assert_int_equal(stat("c.sock", &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    int fd = dial();
    expect(fd, "metric loss 0.5 3\n", "ok go\n");
    assert_string_equal(last, "loss 0.5 3");
    expect(fd, "metric a/b:c@d-e_f.g -inf\n", "ok go\n");
    assert_string_equal(last, "a/b:c@d-e_f.g -inf -9223372036854775808");
    expect(fd, "progress 0.25 half the way\n", "ok go\n");
    assert_string_equal(last, "0.25 [half the way]");
    expect(fd, "checkpoint /a b\n", "ok go\n");
    assert_string_equal(last, "checkpoint /a b");
    stop = true;
    expect(fd, "status\n", "ok stop\n");
    close(fd);
}

static void test_bad_lines(void **state)
{
    (void)state;
    static const char *const bad[] = {"\n",
                                      "metric\n",
                                      "metric loss\n",
                                      "metric loss x\n",
                                      "metric loss 1 1.5\n",
                                      "metric lo,ss 1\n",
                                      "metric loss 1 2 3\n",
                                      "metric loss 1x\n",
                                      "metric  1\n",
                                      "progress\n",
                                      "progress 1.5\n",
                                      "progress nan\n",
                                      "progress -1\n",
                                      "progress 0.5 \xff\n",
                                      "delete everything\n",
                                      "metric refused 1\n",
                                      "STATUS\n"};
    int fd = dial();
    for (size_t i = 0; i < MLQ_COUNT_OF(bad); i++) {
        expect(fd, bad[i], "error");
    }
    expect(fd, "status\n", "ok go\n"); /* the connection is none the worse */
    close(fd);
}

static void test_pieces(void **state)
{
    (void)state;
    int fd = dial();
    const char *line = "metric loss 0.125 9\n";
    for (size_t i = 0; i + 1 < strlen(line); i++) {
        assert_int_equal(send(fd, line + i, 1, 0), 1);
        (void)uv_run(loop, UV_RUN_NOWAIT);
    }
    expect(fd, "\n", "ok go\n");
    assert_string_equal(last, "loss 0.125 9");
    assert_int_equal(send(fd, "status\nstatus\n", 14, 0), 14); /* two at once */
    char text[64];
    size_t used = 0;
    while (used < 12) {
        used += (size_t)hear(fd, text + used, sizeof text - used);
    }
    assert_string_equal(text, "ok go\nok go\n");
    close(fd);
}

static void test_endless_line(void **state)
{
    (void)state;
    int fd = dial();
    char text[TASK_LINE_BYTES_MAX + 1];
    memset(text, 'x', sizeof text);
    assert_int_equal(send(fd, text, TASK_LINE_BYTES_MAX, MSG_NOSIGNAL), TASK_LINE_BYTES_MAX);
    while (hear(fd, text, sizeof text) > 0) {
    }
    close(fd);
}

static void test_never_reads(void **state)
{
    (void)state;
    int fd = dial();
    static char many[7 * 400];
    for (size_t i = 0; i < sizeof many; i += 7) {
        memcpy(many + i, "status\n", 7);
    }
    /* Replies pile up in the kernel, then here, up to a bound: then it is hung up on. */
    bool is_cut = false;
    for (int i = 0; i < 20000 && !is_cut; i++) {
        ssize_t put = send(fd, many, sizeof many, MSG_NOSIGNAL | MSG_DONTWAIT);
        is_cut = put < 0 && errno != EAGAIN;
        (void)uv_run(loop, UV_RUN_NOWAIT);
    }
    assert_true(is_cut);
    close(fd);
}

static void test_many_clients(void **state)
{
    (void)state;
    int fds[CONTROL_CLIENTS_MAX + 1];
    char text[64];
    for (int i = 0; i < CONTROL_CLIENTS_MAX; i++) {
        fds[i] = dial();
        expect(fds[i], "status\n", "ok go\n");
    }
    fds[CONTROL_CLIENTS_MAX] = dial();
    assert_true(hear(fds[CONTROL_CLIENTS_MAX], text, sizeof text) <= 0);
    close(fds[0]);
    (void)uv_run(loop, UV_RUN_NOWAIT);
    (void)uv_run(loop, UV_RUN_NOWAIT);
    int fd = dial();
    expect(fd, "status\n", "ok go\n");
    close(fd);
    for (int i = 1; i <= CONTROL_CLIENTS_MAX; i++) {
        close(fds[i]);
    }
}

static void test_record(void **state)
{
    (void)state;
    char text[64];
    int fd = dial();
    assert_int_equal(send(fd, "record\nstatus\n", 14, 0), 14);
    for (int i = 0; i < 1000 && record == 0; i++) {
        (void)uv_run(loop, UV_RUN_NOWAIT);
    }
    assert_true(record != 0);
    assert_false(control_answer(control, record + 1, MLQ_OK, MLQ_STR("{}")));
    assert_true(control_answer(control, record, MLQ_OK, MLQ_STR("{\"a\":1}")));
    assert_false(control_answer(control, record, MLQ_OK, MLQ_STR("{}"))); /* once */
    size_t used = 0;
    while (used < strlen("data 7\n{\"a\":1}ok go\n")) {
        used += (size_t)hear(fd, text + used, sizeof text - used);
    }
    assert_string_equal(text, "data 7\n{\"a\":1}ok go\n"); /* in order: status had waited */
    is_away = true;
    expect(fd, "record\n", "error away\n");
    is_away = false;
    record = 0;
    assert_int_equal(send(fd, "record\n", 7, 0), 7);
    for (int i = 0; i < 1000 && record == 0; i++) {
        (void)uv_run(loop, UV_RUN_NOWAIT);
    }
    assert_true(control_answer(control, record, MLQ_ENOENT, MLQ_STR("")));
    assert_true(hear(fd, text, sizeof text) > 0);
    assert_memory_equal(text, "error ", 6);
    record = 0;
    assert_int_equal(send(fd, "record\n", 7, 0), 7);
    for (int i = 0; i < 1000 && record == 0; i++) {
        (void)uv_run(loop, UV_RUN_NOWAIT);
    }
    close(fd); /* it does not wait for the answer */
    (void)uv_run(loop, UV_RUN_NOWAIT);
    assert_false(control_answer(control, record, MLQ_OK, MLQ_STR("{}")));
}

static bool is_hung_up(int fd)
{
    char text[8];
    ssize_t got = hear(fd, text, sizeof text);
    close(fd);
    return got <= 0;
}

/* From one task to the next, whose folder has another name: what was said or begun before counts no
 * more. */
static void test_rests(void **state)
{
    (void)state;
    int old = dial();
    expect(old, "metric loss 0.5\n", "ok go\n");
    assert_int_equal(send(old, "members 0\n", 10, MSG_NOSIGNAL), 10);
    control_set_members(control, 7, MLQ_STR("7\n"));
    control_rest(control);
    assert_true(is_hung_up(old));
    assert_true(is_hung_up(dial())); /* it rests */
    int early = dial();              /* the loop has not come to it */
    assert_int_equal(send(early, "metric loss 1\n", 14, MSG_NOSIGNAL), 14);
    assert_int_equal(rename("c.sock", "d.sock"), 0);
    const struct control_callbacks next = {.metric = on_metric, .must_stop = on_must_stop};
    assert_false(control_wake(control, "c.sock", &next));
    assert_true(control_wake(control, "d.sock", &next));
    last[0] = '\0';
    assert_true(is_hung_up(early));
    assert_string_equal(last, "");
    int fd;
    assert_int_equal(unixsock_connect("d.sock", &fd, NULL), 0);
    expect(fd, "metric loss 2\n", "ok go\n");
    assert_string_equal(last, "loss 2 -9223372036854775808");
    assert_int_equal(send(fd, "members 0\n", 10, MSG_NOSIGNAL),
                     10); /* waits: the next task has none yet */
    control_set_members(control, 1, MLQ_STR("1\n"));
    char text[64];
    assert_true(hear(fd, text, sizeof text) > 0);
    assert_string_equal(text, "data 2\n1\n");
    close(fd);
}

/* Somebody put another one in its place. */
static void test_rests_and_is_replaced(void **state)
{
    (void)state;
    int other;
    const struct control_callbacks next = {.metric = on_metric, .must_stop = on_must_stop};
    control_rest(control);
    assert_int_equal(rename("c.sock", "mine.sock"), 0);
    assert_int_equal(unixsock_listen("c.sock", 1, &other, NULL), 0);
    assert_false(control_wake(control, "c.sock", &next));
    close(other);
    assert_int_equal(unlink("mine.sock"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_requests, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bad_lines, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pieces, setup, teardown),
        cmocka_unit_test_setup_teardown(test_endless_line, setup, teardown),
        cmocka_unit_test_setup_teardown(test_never_reads, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many_clients, setup, teardown),
        cmocka_unit_test_setup_teardown(test_record, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rests, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rests_and_is_replaced, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
