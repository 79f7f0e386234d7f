/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * A process that reads a mapped file which was cut short says so and ends; one that dies of another
 * SIGBUS dies as ever.
 */
#include "tests/unit/cm.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/ownership.h"
#include "lib/sys/mapfault.h"
#include "lib/sys/thread.h"

#define PAGE      4096
#define MAP_BYTES (4 * PAGE)

static void *byte_of(void *place)
{
    return *(volatile const char *)place == 0 ? NULL : place;
}

/* On the first thread, or on another one. */
static bool is_zero(void *place, bool on_thread)
{
    pthread_t thread;
    void *got = NULL;
    if (!on_thread) {
        return byte_of(place) == NULL;
    }
    return mlq_thread_start(&thread, byte_of, place) == 0 && pthread_join(thread, &got) == 0 && got == NULL;
}

/* What a child says that reads byte `at` of a file of which one page is left; its status as wait
 * has it. */
static int read_cut_file(bool is_watched, size_t at, bool on_thread, char text[512])
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)dup2(ends[1], STDERR_FILENO);
        int fd = open("cut.bin", O_RDWR | O_CREAT | O_TRUNC, 0644);
        if (ftruncate(fd, MAP_BYTES) != 0) {
            _exit(2);
        }
        char *map = mmap(NULL, MAP_BYTES, PROT_READ, MAP_SHARED, fd, 0);
        mlq_mapfault_install();
        mlq_mapfault_watch(map, MAP_BYTES, "cut.bin");
        if (!is_watched) {
            mlq_mapfault_forget(map);
        }
        if (ftruncate(fd, PAGE) != 0) {
            _exit(2);
        }
        _exit(is_zero(map + at, on_thread) ? 0 : 3);
    }
    (void)close(ends[1]);
    size_t used = 0;
    ssize_t got;
    while ((got = read(ends[0], text + used, 511 - used)) > 0) {
        used += (size_t)got;
    }
    text[used] = '\0';
    (void)close(ends[0]);
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(unlink("cut.bin"), 0);
    return status;
}

static void a_cut_file_is_named_with_the_place(void **state)
{
    (void)state;
    char text[512];
    for (int on_thread = 0; on_thread < 2; on_thread++) {
        int status = read_cut_file(true, 2 * PAGE + 17, on_thread == 1, text);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 1);
        assert_non_null(strstr(text, "cut.bin: byte 8209 cannot be read: the file was cut short"));
    }
}

static void what_is_left_of_it_is_read(void **state)
{
    (void)state;
    char text[512];
    int status = read_cut_file(true, 17, false, text);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_string_equal(text, "");
}

static void another_fault_kills_as_ever(void **state)
{
    (void)state;
    char text[512];
    int status = read_cut_file(false, 2 * PAGE, false, text);
    assert_true(!WIFEXITED(status) || WEXITSTATUS(status) != 0); /* a sanitizer may report it */
    assert_null(strstr(text, "cut.bin"));
}

/* More mappings than are watched: the surplus is not, and nothing else suffers. */
static void places_are_given_back(void **state)
{
    (void)state;
    static char maps[200];
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < MLQ_COUNT_OF(maps); i++) {
            mlq_mapfault_watch(&maps[i], 1, "some.bin");
        }
        for (size_t i = 0; i < MLQ_COUNT_OF(maps); i++) {
            mlq_mapfault_forget(&maps[i]);
        }
    }
    char text[512];
    (void)read_cut_file(true, 3 * PAGE, false, text);
    assert_non_null(strstr(text, "cut.bin: byte 12288"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_cut_file_is_named_with_the_place),
        cmocka_unit_test(what_is_left_of_it_is_read),
        cmocka_unit_test(another_fault_kills_as_ever),
        cmocka_unit_test(places_are_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
