/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * lib/task against a scripted worker on a real Unix socket.
 */
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "lib/sys/mem.h"
#include "lib/task/task.h"

#define LINES_MAX 64

/* Serves connections one after another; answers each line with `reply`; hangs up after `per_conn`.
 * The first `silent` connections it breaks off without an answer. */
struct server {
    int fd;
    pthread_t thread;
    const char *reply;
    size_t reply_len;
    int per_conn;
    int connections;
    int silent;
    int count;
    char lines[LINES_MAX][TASK_LINE_BYTES_MAX];
};

static void *serve(void *context)
{
    struct server *server = context;
    for (int n = 0; n < server->connections; n++) {
        int fd = accept(server->fd, NULL, NULL);
        FILE *in = fdopen(fd, "r");
        for (int i = 0; i < server->per_conn && server->count < LINES_MAX; i++) {
            if (fgets(server->lines[server->count], TASK_LINE_BYTES_MAX, in) == NULL) {
                break;
            }
            server->count++;
            if (n >= server->silent) {
                (void)!write(fd, server->reply, server->reply_len);
            }
        }
        (void)fclose(in);
    }
    return NULL;
}

static void start_silent(struct server *server, const char *reply, int per_conn, int connections, int silent)
{
    *server = (struct server){.reply = reply,
                              .reply_len = strlen(reply),
                              .per_conn = per_conn,
                              .connections = connections,
                              .silent = silent};
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "control.sock"};
    (void)unlink("control.sock");
    server->fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(server->fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(server->fd, 4), 0);
    char cwd[2048];
    char path[4096];
    assert_non_null(getcwd(cwd, sizeof cwd));
    (void)snprintf(path, sizeof path, "%s/control.sock", cwd);
    setenv("MLQ_CONTROL", path, 1);
    assert_int_equal(pthread_create(&server->thread, NULL, serve, server), 0);
}

static void start(struct server *server, const char *reply, int per_conn, int connections)
{
    start_silent(server, reply, per_conn, connections, 0);
}

static void stop(struct server *server)
{
    pthread_join(server->thread, NULL);
    close(server->fd);
    (void)unlink("control.sock");
    unsetenv("MLQ_CONTROL");
}

static void test_by_hand(void **state)
{
    (void)state;
    unsetenv("MLQ_CONTROL");
    struct task *task;
    struct mlq_err err = MLQ_ERR_INIT;
    bool wish = true;
    char *json = NULL;
    size_t len;
    assert_int_equal(task_open(&task, &err), 0);
    assert_int_equal(task_metric(task, "loss", 1.0, 3, &wish, &err), 0);
    assert_false(wish);
    assert_int_equal(task_progress(task, 0.5, NULL, NULL, &err), 0);
    assert_int_equal(task_record(task, &json, &len, &err), MLQ_ENOENT);
    assert_int_equal(task_metric(task, "a name", 1.0, 3, NULL, &err), MLQ_EINVAL);
    assert_int_equal(task_progress(task, nan(""), NULL, NULL, &err), MLQ_EINVAL);
    assert_int_equal(task_progress(task, 1.5, NULL, NULL, &err), MLQ_EINVAL);
    assert_int_equal(task_checkpoint(task, "a\nb", NULL, &err), MLQ_EINVAL);
    task_close(&task);
    assert_null(task);
}

static void test_lines(void **state)
{
    (void)state;
    struct server server;
    struct task *task;
    struct mlq_err err = MLQ_ERR_INIT;
    bool wish = false;
    char text[1000];
    start(&server, "ok stop\n", LINES_MAX, 1);
    assert_int_equal(task_open(&task, &err), 0);
    assert_int_equal(task_metric(task, "val/loss", 0.1, TASK_NO_STEP, &wish, &err), 0);
    assert_true(wish);
    assert_int_equal(task_metric(task, "x", -nan(""), -7, &wish, &err), 0);
    assert_int_equal(task_metric(task, "x", -INFINITY, 0, NULL, &err), 0);
    assert_int_equal(task_progress(task, 0.25, "epoch\n1", NULL, &err), 0);
    memset(text, 'y', sizeof text);
    text[sizeof text - 1] = '\0';
    assert_int_equal(task_progress(task, 1, text, NULL, &err), 0);
    assert_int_equal(task_checkpoint(task, "/c/1", NULL, &err), 0);
    assert_int_equal(task_status(task, &wish, &err), 0);
    assert_true(wish);
    task_close(&task);
    stop(&server);
    assert_string_equal(server.lines[0], "metric val/loss 0.10000000000000001\n");
    assert_string_equal(server.lines[1], "metric x nan -7\n");
    assert_string_equal(server.lines[2], "metric x -inf 0\n");
    assert_string_equal(server.lines[3], "progress 0.25 epoch 1\n");
    assert_true(strlen(server.lines[4]) < 520);
    assert_string_equal(server.lines[5], "checkpoint /c/1\n");
    assert_string_equal(server.lines[6], "status\n");
    assert_int_equal(server.count, 7);
}

static void test_refusal_and_nonsense(void **state)
{
    (void)state;
    struct server server;
    struct task *task;
    struct mlq_err err = MLQ_ERR_INIT;
    start(&server, "error no such path\n", LINES_MAX, 1);
    assert_int_equal(task_open(&task, &err), 0);
    assert_int_equal(task_checkpoint(task, "/elsewhere", NULL, &err), MLQ_EINVAL);
    assert_non_null(strstr(err.text, "no such path"));
    task_close(&task);
    stop(&server);
    start(&server, "what?\n", LINES_MAX, 1);
    assert_int_equal(task_open(&task, &err), 0);
    assert_int_equal(task_status(task, NULL, &err), MLQ_EPROTO);
    task_close(&task);
    stop(&server);
}

/* The worker was restarted between two reports: the second goes out on a new connection. */
static void test_reconnect(void **state)
{
    (void)state;
    struct server server;
    struct task *task;
    struct mlq_err err = MLQ_ERR_INIT;
    bool wish = false;
    start(&server, "ok stop\n", 1, 3);
    assert_int_equal(task_open(&task, &err), 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(task_metric(task, "m", i, i, &wish, &err), 0);
        assert_true(wish);
    }
    stop(&server);
    setenv("MLQ_CONTROL", "/nonexistent/control.sock", 1);
    assert_int_equal(task_metric(task, "m", 3, 3, &wish, &err), 0); /* away: dropped, no error */
    assert_false(wish);
    task_close(&task);
    assert_int_equal(server.count, 3);
}

static void test_record(void **state)
{
    (void)state;
    struct server server;
    struct task *task;
    struct mlq_err err = MLQ_ERR_INIT;
    char *json = NULL;
    size_t len = 0;
    size_t big = 300000;
    char *reply = mlq_alloc(big + 32);
    int head = snprintf(reply, 32, "data %zu\n", big);
    memset(reply + head, 'j', big);
    start(&server, reply, LINES_MAX, 1);
    assert_int_equal(task_open(&task, &err), 0);
    assert_int_equal(task_record(task, &json, &len, &err), 0);
    assert_int_equal(len, big);
    assert_int_equal(strspn(json, "j"), big);
    mlq_free(json);
    task_close(&task);
    stop(&server);
    mlq_free(reply);
    start(&server, "data 99999999999\n", LINES_MAX, 1);
    assert_int_equal(task_open(&task, &err), 0);
    assert_int_equal(task_record(task, &json, &len, &err), MLQ_EPROTO);
    task_close(&task);
    stop(&server);
}

/* Its worker is restarted while it waits, twice. */
static void test_record_of_a_worker_that_goes(void **state)
{
    (void)state;
    struct server server;
    struct task *task;
    struct mlq_err err = MLQ_ERR_INIT;
    char *json = NULL;
    size_t len = 0;
    start_silent(&server, "data 2\n{}", 1, 3, 2);
    assert_int_equal(task_open(&task, &err), 0);
    assert_int_equal(task_record(task, &json, &len, &err), 0);
    assert_string_equal(json, "{}");
    mlq_free(json);
    task_close(&task);
    stop(&server);
    assert_int_equal(server.count, 3);
    start(&server, "error it is over\n", LINES_MAX, 1); /* an answer: not asked again */
    assert_int_equal(task_open(&task, &err), 0);
    assert_int_equal(task_record(task, &json, &len, &err), MLQ_ENOENT);
    task_close(&task);
    stop(&server);
    assert_int_equal(server.count, 1);
}

static void test_env(void **state)
{
    (void)state;
    setenv("MLQ_INPUT_MY_DATA_V2", "/in/x", 1);
    assert_string_equal(task_input("my-data.v2"), "/in/x");
    assert_null(task_input("other"));
    assert_null(task_env("NO_SUCH_THING"));
    struct task *task = NULL;
    setenv("MLQ_CONTROL", "relative.sock", 1);
    assert_int_equal(task_open(&task, NULL), MLQ_EINVAL);
    unsetenv("MLQ_CONTROL");
}

static void test_long_path(void **state)
{
    (void)state;
    char home[2048];
    char dir[4096];
    assert_non_null(getcwd(home, sizeof home));
    (void)snprintf(dir, sizeof dir, "%s/%0120d", home, 0);
    (void)mkdir(dir, 0700);
    assert_int_equal(chdir(dir), 0);
    struct server server;
    struct task *task;
    bool wish = false;
    start(&server, "ok stop\n", LINES_MAX, 1);
    assert_int_equal(task_open(&task, NULL), 0);
    assert_int_equal(task_status(task, &wish, NULL), 0);
    assert_true(wish);
    task_close(&task);
    stop(&server);
    assert_int_equal(chdir(home), 0);
}

static int tool(const char *arguments)
{
    char command[4096];
    (void)snprintf(command, sizeof command, "\"$MLQ_BIN_DIR\"/mlq-task %s >out.txt 2>&1",
                   arguments);
    int status = system(command);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void test_tool(void **state)
{
    (void)state;
    struct server server;
    assert_int_equal(tool("--help"), 0);
    assert_int_equal(tool(""), 2);
    assert_int_equal(tool("metric"), 2);
    assert_int_equal(tool("metric loss"), 2);
    assert_int_equal(tool("metric loss=0.1x"), 2);
    assert_int_equal(tool("metric loss=1 step=half"), 2);
    assert_int_equal(tool("progress most"), 2);
    assert_int_equal(tool("progress 2"), 1);
    assert_int_equal(tool("metric loss=1"), 0); /* by hand */
    start(&server, "ok stop\n", LINES_MAX, 2);
    assert_int_equal(tool("metric step=5 loss=0.25 acc=0.5"), 3);
    assert_int_equal(tool("status"), 3);
    stop(&server);
    assert_string_equal(server.lines[0], "metric loss 0.25 5\n");
    assert_string_equal(server.lines[1], "metric acc 0.5 5\n");
    start(&server, "data 2\n{}", LINES_MAX, 1);
    assert_int_equal(tool("record"), 0);
    stop(&server);
}

struct asking {
    struct task *task;
    int cancel_fd;
    struct task_members *members;
    int rc;
};

static void *ask_for_members(void *context)
{
    struct asking *asking = context;
    asking->rc = task_members(asking->task, 7, asking->cancel_fd, asking->members, NULL);
    return NULL;
}

static void test_ready(void **state)
{
    (void)state;
    struct server server;
    struct task *task;
    struct mlq_err err = MLQ_ERR_INIT;
    bool wish = false;
    start(&server, "ok stop\n", LINES_MAX, 1);
    assert_int_equal(task_open(&task, &err), 0);
    assert_int_equal(task_ready(task, 65535, 0xabc, 0, &wish, &err), 0);
    assert_true(wish);
    assert_int_equal(task_ready(task, 1, UINT64_MAX, UINT64_MAX, &wish, &err), 0);
    task_close(&task);
    stop(&server);
    assert_string_equal(server.lines[0], "ready 65535 0000000000000abc\n");
    assert_string_equal(server.lines[1], "ready 1 ffffffffffffffff 18446744073709551615\n");
    assert_int_equal(task_open(&task, &err), 0); /* by hand */
    assert_int_equal(task_ready(task, 1, 1, 0, &wish, &err), MLQ_ECONN);
    task_close(&task);
}

/* The worker that was asked first goes without an answer. */
static void test_members(void **state)
{
    (void)state;
    struct server server;
    struct task *task;
    struct mlq_err err = MLQ_ERR_INIT;
    struct task_members members;
    int cancel = eventfd(0, EFD_CLOEXEC);
    start(&server, "", 1, 1);
    assert_int_equal(task_open(&task, &err), 0);
    pthread_t asking;
    struct asking question = {task, cancel, &members, 1};
    assert_int_equal(pthread_create(&asking, NULL, ask_for_members, &question), 0);
    stop(&server);
    assert_string_equal(server.lines[0], "members 7\n");
    start(&server, "data 45\n12345678901\n0 10.0.0.1 1\n255 some.host 65535\n", 1, 1);
    assert_int_equal(pthread_join(asking, NULL), 0);
    assert_int_equal(question.rc, 0);
    stop(&server);
    assert_string_equal(server.lines[0], "members 7\n");
    assert_true(members.generation == 12345678901 && members.count == 2);
    assert_int_equal(members.list[0].number, 0);
    assert_string_equal(members.list[0].address, "10.0.0.1");
    assert_int_equal(members.list[1].number, 255);
    assert_int_equal(members.list[1].port, 65535);
    assert_int_equal(pthread_create(&asking, NULL, ask_for_members, &question), 0);
    assert_int_equal(eventfd_write(cancel, 1), 0); /* while nobody is there */
    assert_int_equal(pthread_join(asking, NULL), 0);
    assert_int_equal(question.rc, MLQ_ECANCELED);
    task_close(&task);
    (void)close(cancel);
}

static void test_members_that_make_no_sense(void **state)
{
    (void)state;
    static const struct {
        const char *reply;
        int rc;
    } cases[] = {
        {"data 3\n10\n", MLQ_OK}, /* nobody: the attempt is over */
        {"data 2\n7\n", MLQ_EPROTO},
        {"data 2\nx\n", MLQ_EPROTO},
        {"data 13\n10\n256 a.b 1\n", MLQ_EPROTO},
        {"data 11\n10\n0 a.b 0\n", MLQ_EPROTO},
        {"data 15\n10\n0 a.b 65536\n", MLQ_EPROTO},
        {"data 9\n10\n0 a.b\n", MLQ_EPROTO},
        {"data 19\n10\n1 a.b 1\n1 a.b 1\n", MLQ_EPROTO},
        {"data 9999999\n", MLQ_EPROTO},
        {"error no elastic stage\n", MLQ_EINVAL},
        {"ok go\n", MLQ_EPROTO},
    };
    int cancel = eventfd(0, EFD_CLOEXEC);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct server server;
        struct task *task;
        struct task_members members;
        start(&server, cases[i].reply, 1, 1);
        assert_int_equal(task_open(&task, NULL), 0);
        assert_int_equal(task_members(task, 7, cancel, &members, NULL), cases[i].rc);
        assert_true(cases[i].rc != MLQ_OK || (members.generation == 10 && members.count == 0));
        task_close(&task);
        stop(&server);
    }
    (void)close(cancel);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_by_hand),   cmocka_unit_test(test_lines),
        cmocka_unit_test(test_reconnect), cmocka_unit_test(test_refusal_and_nonsense),
        cmocka_unit_test(test_record),    cmocka_unit_test(test_env),
        cmocka_unit_test(test_record_of_a_worker_that_goes),
        cmocka_unit_test(test_long_path), cmocka_unit_test(test_tool),
        cmocka_unit_test(test_ready),
        cmocka_unit_test(test_members),
        cmocka_unit_test(test_members_that_make_no_sense),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
