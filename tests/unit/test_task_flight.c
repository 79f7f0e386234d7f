/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * What a flight recorder's file tells: after its writer was killed, while it writes, and when somebody
 * else wrote into it.
 */
#include "tests/unit/cm.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/sys/mem.h"
#include "lib/task/task_flight.h"

static struct task_flight_log flight_log;
static char path[4096 + 16];

static int enter_task(void **state)
{
    char cwd[4096];
    (void)state;
    assert_non_null(getcwd(cwd, sizeof(cwd)));
    (void)snprintf(path, sizeof(path), "%s/%s", cwd, TASK_FLIGHT_FILE);
    (void)unlink(path);
    (void)setenv("HOME", cwd, 1);
    (void)setenv("MLQ_CONTROL", "/nowhere", 1);
    return 0;
}

/* Notes `count` events, tells through `told`, and goes on until it is killed when it has no end. */
static pid_t start_writer(uint64_t count, bool has_end, int told)
{
    pid_t pid = fork();
    if (pid != 0) {
        return pid;
    }
    struct task_flight *flight = task_flight_open();
    for (uint64_t i = 1; i <= count || !has_end; i++) {
        enum task_flight_phase phase = i % TASK_FLIGHT_PHASES;
        task_flight_note(flight, phase, i, 2 * i, 3 * i);
        if (i == count && write(told, "w", 1) != 1) {
            _exit(1);
        }
    }
    (void)pause(); /* until SIGKILL */
    _exit(0);
}

static void expect_sane(void)
{
    for (size_t i = 0; i < flight_log.count; i++) {
        const struct task_flight_event *event = &flight_log.events[i];
        assert_true(i == 0 || event->number > event[-1].number);
        assert_true(event->phase == event->number % TASK_FLIGHT_PHASES);
        assert_true(event->generation == event->number && event->epoch == 2 * event->number &&
                    event->step == 3 * event->number);
        assert_true(i == 0 || event->at_ns >= event[-1].at_ns);
    }
}

static void it_outlives_its_writer(void **state)
{
    (void)state;
    static const uint64_t counts[] = {1, TASK_FLIGHT_EVENTS, 3 * TASK_FLIGHT_EVENTS + 7};
    for (size_t i = 0; i < MLQ_COUNT_OF(counts); i++) {
        int told[2], status = 0;
        char byte;
        assert_int_equal(pipe(told), 0);
        pid_t pid = start_writer(counts[i], true, told[1]);
        assert_int_equal(read(told[0], &byte, 1), 1);
        assert_int_equal(kill(pid, SIGKILL), 0);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(task_flight_read(path, &flight_log, NULL), 0);
        uint64_t kept = counts[i] < TASK_FLIGHT_EVENTS ? counts[i] : TASK_FLIGHT_EVENTS;
        assert_int_equal(flight_log.pid, pid);
        assert_int_equal(flight_log.count, kept);
        assert_int_equal(flight_log.events[kept - 1].number, counts[i]);
        expect_sane();
        (void)close(told[0]);
        (void)close(told[1]);
    }
}

static void it_is_read_while_it_is_written(void **state)
{
    (void)state;
    int told[2], status = 0;
    char byte;
    uint64_t last = 0;
    assert_int_equal(pipe(told), 0);
    pid_t pid = start_writer(1, false, told[1]);
    assert_int_equal(read(told[0], &byte, 1), 1);
    for (int i = 0; i < 300; i++) {
        assert_int_equal(task_flight_read(path, &flight_log, NULL), 0);
        expect_sane();
        if (flight_log.count > 0) {
            assert_true(flight_log.events[flight_log.count - 1].number >= last);
            last = flight_log.events[flight_log.count - 1].number;
        }
    }
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    (void)close(told[0]);
    (void)close(told[1]);
}

static void write_file(const void *bytes, size_t len)
{
    (void)unlink(path);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    assert_int_equal(write(fd, bytes, len), len);
    (void)close(fd);
}

static void what_others_wrote_is_not_believed(void **state)
{
    (void)state;
    static uint64_t image[3 + 6 * TASK_FLIGHT_EVENTS];
    assert_int_equal(task_flight_read(path, &flight_log, NULL), MLQ_ENOENT);
    write_file("mlqfl1\n", 8); /* cut short */
    assert_int_equal(task_flight_read(path, &flight_log, NULL), MLQ_ECORRUPT);
    write_file(image, sizeof(image));
    assert_int_equal(task_flight_read(path, &flight_log, NULL), MLQ_ECORRUPT);
    memcpy(image, "mlqfl1\n", 8);
    static const uint64_t ends[] = {0, 1, TASK_FLIGHT_EVENTS + 1, UINT64_MAX, UINT64_MAX - 1};
    for (size_t i = 0; i < MLQ_COUNT_OF(ends); i++) {
        image[2] = ends[i];
        image[3] = 1;
        image[5] = TASK_FLIGHT_PHASES; /* an unknown one */
        write_file(image, sizeof(image));
        assert_int_equal(task_flight_read(path, &flight_log, NULL), 0);
        assert_int_equal(flight_log.count, 0);
    }
    (void)unlink(path);
    assert_int_equal(symlink("/etc/passwd", path), 0);
    assert_int_equal(task_flight_read(path, &flight_log, NULL), MLQ_EIO);
    struct task_flight *flight = task_flight_open(); /* and is not written through */
    task_flight_note(flight, TASK_FLIGHT_LOAD, 0, 0, 0);
    task_flight_close(&flight);
    (void)unlink(path);
    assert_int_equal(mkfifo(path, 0644), 0);
    assert_int_equal(task_flight_read(path, &flight_log, NULL), MLQ_ECORRUPT);
    (void)unlink(path);
}

static void by_hand_there_is_none(void **state)
{
    (void)state;
    (void)unsetenv("MLQ_CONTROL");
    struct task_flight *flight = task_flight_open();
    task_flight_note(flight, TASK_FLIGHT_LOAD, 0, 0, 0);
    task_flight_close(&flight);
    assert_null(flight);
    assert_int_equal(task_flight_read(path, &flight_log, NULL), MLQ_ENOENT);
    assert_string_equal(task_flight_phase_text(TASK_FLIGHT_EXCHANGE), "exchange");
    assert_string_equal(task_flight_phase_text(TASK_FLIGHT_PHASES), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(it_outlives_its_writer, enter_task),
        cmocka_unit_test_setup(it_is_read_while_it_is_written, enter_task),
        cmocka_unit_test_setup(what_others_wrote_is_not_believed, enter_task),
        cmocka_unit_test_setup(by_hand_there_is_none, enter_task),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
