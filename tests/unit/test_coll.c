/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Collectives among real processes on loopback: what they move, and what happens when a rank does
 * not come, belongs to another gang, dies, or stands still.
 */
#include "tests/unit/cm.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/ownership.h"
#include "lib/sys/clock.h"
#include "lib/sys/mem.h"
#include "worker/coll/coll.h"
#include "worker/coll/coll_store.h"
#include "worker/coll/coll_watchdog.h"

#define LIMIT_NS  (20 * MLQ_NS_PER_S)
#define SHORT_NS  (1 * MLQ_NS_PER_S)
#define RANKS_MAX 4u

/* A port that was free a moment ago. */
static uint16_t free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, len), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    (void)close(fd);
    return ntohs(address.sin_port);
}

static struct coll_gang gang_of(uint32_t rank, uint32_t size, uint16_t port)
{
    return (struct coll_gang){
        .rank = rank, .size = size, .address = "127.0.0.1", .port = port, .name = "test/1"};
}

/* Runs `body` once per rank, each in a process of its own; the exit statuses are the bodies'
 * results. */
typedef int (*rank_fn)(struct coll_gang gang);

static void run_ranks(rank_fn body, uint32_t size, pid_t pids[RANKS_MAX])
{
    uint16_t port = free_port();
    for (uint32_t rank = 0; rank < size; rank++) {
        pids[rank] = fork();
        assert_true(pids[rank] >= 0);
        if (pids[rank] == 0) {
            _exit(body(gang_of(rank, size, port)));
        }
    }
}

static int status_of(pid_t pid)
{
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* ---- What is moved ---- */

#define CHECK(condition)                                                                           \
    if (!(condition)) {                                                                            \
        (void)fprintf(stderr, "rank %u, line %d: %s\n", gang.rank, __LINE__, #condition);          \
        return 1;                                                                                  \
    }

static int move_bytes(struct coll_gang gang)
{
    struct mlq_err err = MLQ_ERR_INIT;
    struct coll *coll = NULL;
    int rc = coll_open(&gang, LIMIT_NS, &coll, &err);
    if (rc != 0) {
        (void)fprintf(stderr, "open: %s\n", err.text);
        return 1;
    }
    CHECK(coll_rank(coll) == gang.rank && coll_size(coll) == gang.size);
    for (uint32_t round = 0; round < 20; round++) {
        /* Rank r sends r + 1 blocks of 1000 bytes of its own; rank 1 sends nothing at all. */
        uint64_t bytes[RANKS_MAX], total = 0;
        for (uint32_t r = 0; r < gang.size; r++) {
            bytes[r] = r == 1 ? 0 : (r + 1) * 1000;
            total += bytes[r];
        }
        uint8_t *send = mlq_alloc(bytes[gang.rank]), *receive = mlq_alloc(total);
        memset(send, (int)(round + gang.rank), bytes[gang.rank]);
        CHECK(coll_allgather(coll, send, receive, bytes, LIMIT_NS, &err) == 0);
        uint64_t at = 0;
        for (uint32_t r = 0; r < gang.size; r++) {
            for (uint64_t i = 0; i < bytes[r]; i++) {
                CHECK(receive[at++] == (uint8_t)(round + r));
            }
        }
        uint32_t root = round % gang.size, word = gang.rank == root ? 1000 + round : 0;
        CHECK(coll_broadcast(coll, &word, sizeof(word), root, LIMIT_NS, &err) == 0);
        CHECK(word == 1000 + round);
        mlq_free(send);
        mlq_free(receive);
    }
    CHECK(coll_barrier(coll, LIMIT_NS, &err) == 0);
    coll_close(&coll);
    CHECK(coll == NULL);
    return 0;
}

static void bytes_of_all_ranks_arrive_in_order(void **state)
{
    (void)state;
    for (uint32_t size = 1; size <= RANKS_MAX; size++) {
        pid_t pids[RANKS_MAX];
        run_ranks(move_bytes, size, pids);
        for (uint32_t rank = 0; rank < size; rank++) {
            assert_int_equal(status_of(pids[rank]), 0);
        }
    }
}

/* ---- Ranks that do not come ---- */

static void a_missing_rank_is_named_in_time(void **state)
{
    (void)state;
    struct mlq_err err = MLQ_ERR_INIT;
    struct coll *coll = NULL;
    struct coll_gang gang = gang_of(0, 3, free_port());
    int64_t start_ns = mlq_clock_boot_ns();
    assert_int_equal(coll_open(&gang, SHORT_NS, &coll, &err), MLQ_ETIMEOUT);
    assert_true(mlq_clock_boot_ns() - start_ns < 5 * MLQ_NS_PER_S);
    assert_non_null(strstr(err.text, "ranks that did not come: 1, 2"));
    gang.rank = 1; /* nobody listens now */
    assert_int_equal(coll_open(&gang, SHORT_NS / 5, &coll, &err), MLQ_ETIMEOUT);
    assert_non_null(strstr(err.text, "rank 0 is not there"));
}

static void gangs_that_make_no_sense_are_refused(void **state)
{
    (void)state;
    static const struct coll_gang gangs[] = {
        {.rank = 0, .size = 0},
        {.rank = 2, .size = 2, .address = "127.0.0.1", .port = 1, .name = "a"},
        {.rank = 0, .size = COLL_RANKS_MAX + 1, .address = "127.0.0.1", .port = 1, .name = "a"},
        {.rank = 0, .size = 2, .address = NULL, .port = 1, .name = "a"},
        {.rank = 0, .size = 2, .address = "127.0.0.1", .port = 0, .name = "a"},
        {.rank = 0, .size = 2, .address = "127.0.0.1", .port = 1, .name = NULL},
        {.rank = 0, .size = 2, .address = "not an address", .port = 1, .name = "a"},
    };
    for (size_t i = 0; i < MLQ_COUNT_OF(gangs); i++) {
        struct coll *coll = NULL;
        assert_int_equal(coll_open(&gangs[i], SHORT_NS, &coll, NULL), MLQ_EINVAL);
        assert_null(coll);
    }
}

/* ---- The meeting point ---- */

struct meeting {
    struct coll_gang gang;
    struct coll_store_server *server;
};

static struct meeting start_meeting(void)
{
    struct meeting meeting = {.gang = gang_of(0, 2, free_port())};
    assert_int_equal(coll_store_serve(&meeting.gang, &meeting.server, NULL), 0);
    return meeting;
}

static struct coll_store_client *join(const struct coll_gang *gang)
{
    struct coll_store_client *client = NULL;
    char local[COLL_STORE_ADDRESS_BYTES];
    assert_int_equal(
        coll_store_client_open(gang, mlq_clock_boot_ns() + LIMIT_NS, &client, local, NULL), 0);
    assert_string_equal(local, "127.0.0.1");
    return client;
}

static void values_are_set_once_and_waited_for(void **state)
{
    (void)state;
    struct meeting meeting = start_meeting();
    struct coll_gang other = meeting.gang;
    other.rank = 1;
    struct coll_store_client *a = join(&meeting.gang), *b = join(&other);
    assert_int_equal(coll_store_present(meeting.server), 3);
    int64_t deadline_ns = mlq_clock_boot_ns() + LIMIT_NS;
    pid_t waiter = fork(); /* asks before the value is there */
    if (waiter == 0) {
        static char value[COLL_STORE_VALUE_BYTES_MAX];
        size_t len = 0;
        int rc = coll_store_client_get(b, "key", value, &len, deadline_ns, NULL);
        _exit(rc == 0 && len == 5 && memcmp(value, "v\0lue", 5) == 0 ? 0 : 1);
    }
    assert_int_equal(coll_store_client_set(a, "other", "", 0, deadline_ns, NULL), 0);
    assert_int_equal(coll_store_client_set(a, "key", "v\0lue", 5, deadline_ns, NULL), 0);
    assert_int_equal(status_of(waiter), 0);
    static char value[COLL_STORE_VALUE_BYTES_MAX];
    size_t len = 1;
    assert_int_equal(coll_store_client_get(a, "other", value, &len, deadline_ns, NULL), 0);
    assert_int_equal(len, 0);
    assert_int_equal(
        coll_store_client_get(a, "never", value, &len, mlq_clock_boot_ns() + SHORT_NS / 10, NULL),
        MLQ_ETIMEOUT);
    struct mlq_err err = MLQ_ERR_INIT;
    struct coll_store_client *again = join(&meeting.gang);
    assert_int_equal(coll_store_client_set(again, "key", "x", 1, deadline_ns, &err), MLQ_EPERM);
    assert_non_null(strstr(err.text, "set already"));
    coll_store_client_close(&again);
    coll_store_client_close(&a);
    coll_store_client_close(&b);
    coll_store_stop(&meeting.server);
}

static void keys_and_values_over_the_limits_are_refused(void **state)
{
    (void)state;
    struct meeting meeting = start_meeting();
    struct coll_store_client *client = join(&meeting.gang);
    int64_t deadline_ns = mlq_clock_boot_ns() + LIMIT_NS;
    char key[COLL_STORE_KEY_BYTES_MAX + 2];
    memset(key, 'k', sizeof(key));
    key[sizeof(key) - 1] = '\0';
    assert_int_equal(coll_store_client_set(client, key, "v", 1, deadline_ns, NULL), MLQ_EFULL);
    int rc = 0;
    for (uint32_t i = 0; i < COLL_STORE_KEYS_MAX + 1 && rc == 0; i++) {
        (void)snprintf(key, sizeof(key), "%u", i);
        rc = coll_store_client_set(client, key, "v", 1, deadline_ns, NULL);
    }
    assert_int_equal(rc, MLQ_EPERM);
    coll_store_client_close(&client);
    coll_store_stop(&meeting.server);
}

static void a_rank_of_another_gang_is_refused(void **state)
{
    (void)state;
    struct meeting meeting = start_meeting();
    struct coll_gang others[] = {meeting.gang, meeting.gang};
    others[0].name = "test/2";
    others[1].size = 3;
    for (size_t i = 0; i < MLQ_COUNT_OF(others); i++) {
        struct coll_store_client *client = NULL;
        struct mlq_err err = MLQ_ERR_INIT;
        char local[COLL_STORE_ADDRESS_BYTES];
        int rc = coll_store_client_open(&others[i], mlq_clock_boot_ns() + LIMIT_NS, &client, local,
                                        &err);
        assert_int_equal(rc, MLQ_EPERM);
        assert_non_null(strstr(err.text, "another gang"));
    }
    assert_int_equal(coll_store_present(meeting.server), 0);
    coll_store_stop(&meeting.server);
}

/* Sends bytes and waits until the server has closed the connection. */
static void expect_closed_after(uint16_t port, const void *bytes, size_t len)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(send(fd, bytes, len, MSG_NOSIGNAL), len);
    char buffer[256];
    for (;;) {
        struct pollfd waiting = {.fd = fd, .events = POLLIN};
        assert_int_equal(poll(&waiting, 1, 5000), 1);
        ssize_t got = recv(fd, buffer, sizeof(buffer), 0);
        if (got <= 0) {
            break;
        }
    }
    (void)close(fd);
}

static void strangers_are_turned_away(void **state)
{
    (void)state;
    struct meeting meeting = start_meeting();
    static const char http[] = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    static const uint8_t long_name[] = "mlqkv1\n\0\0\0\0\0\2\0\0\0\xff\xff\xff\xff";
    /* A good hello, and then a request with an unknown verb, and one with a huge value. */
    static const uint8_t bad_verb[] = "mlqkv1\n\0\0\0\0\0\2\0\0\0\6\0\0\0test/1";
    static const uint8_t requests[][12] = {{9, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0},
                                           {1, 0, 0, 0, 1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff},
                                           {2, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0}};
    expect_closed_after(meeting.gang.port, http, sizeof(http) - 1);
    expect_closed_after(meeting.gang.port, long_name, sizeof(long_name) - 1);
    for (size_t i = 0; i < MLQ_COUNT_OF(requests); i++) {
        struct sockaddr_in address = {.sin_family = AF_INET,
                                      .sin_port = htons(meeting.gang.port),
                                      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        uint8_t reply[8];
        assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
        assert_int_equal(send(fd, bad_verb, sizeof(bad_verb) - 1, 0), sizeof(bad_verb) - 1);
        assert_int_equal(recv(fd, reply, sizeof(reply), MSG_WAITALL), sizeof(reply));
        assert_int_equal(reply[0], 0);
        assert_int_equal(send(fd, requests[i], sizeof(requests[i]), 0), sizeof(requests[i]));
        assert_int_equal(recv(fd, reply, sizeof(reply), MSG_WAITALL), sizeof(reply));
        assert_int_equal(reply[0], 1);
        assert_int_equal(recv(fd, reply, sizeof(reply), 0), 0);
        (void)close(fd);
    }
    struct coll_store_client *client = join(&meeting.gang); /* and it still serves */
    coll_store_client_close(&client);
    coll_store_stop(&meeting.server);
}

static void a_taken_port_is_an_error_with_its_name(void **state)
{
    (void)state;
    struct meeting meeting = start_meeting();
    struct coll_store_server *second = NULL;
    struct mlq_err err = MLQ_ERR_INIT;
    assert_int_equal(coll_store_serve(&meeting.gang, &second, &err), MLQ_ECONN);
    assert_non_null(strstr(err.text, "MASTER_PORT"));
    assert_null(second);
    coll_store_stop(&meeting.server);
}

/* ---- Death and silence ---- */

static int rounds_fd[2]; /* each rank writes a byte when its rounds run */

/* Rounds without end: 10 when a call failed in time, 11 when it took too long to. */
static int go_round(struct coll_gang gang)
{
    struct coll *coll = NULL;
    uint64_t bytes[RANKS_MAX] = {8, 8, 8, 8}, value = gang.rank, all[RANKS_MAX];
    if (coll_open(&gang, LIMIT_NS, &coll, NULL) != 0) {
        return 1;
    }
    for (int round = 0;; round++) {
        if (round == 50 && write(rounds_fd[1], "r", 1) != 1) {
            return 1;
        }
        int64_t start_ns = mlq_clock_boot_ns();
        int rc = coll_allgather(coll, &value, all, bytes, 2 * MLQ_NS_PER_S, NULL);
        if (rc != 0) {
            bool late = mlq_clock_boot_ns() - start_ns > 3 * MLQ_NS_PER_S;
            coll_close(&coll);
            return late ? 11 : 10;
        }
    }
}

static void pause_ms(int ms)
{
    (void)poll(NULL, 0, ms);
}

/* A killed or a stopped rank: the others fail within the call's limit, or the watchdog ends
 * them. */
static void lose_rank(int with_signal)
{
    pid_t pids[RANKS_MAX];
    assert_int_equal(pipe(rounds_fd), 0);
    run_ranks(go_round, 3, pids);
    for (int running = 0; running < 3; running++) {
        char byte;
        assert_int_equal(read(rounds_fd[0], &byte, 1), 1);
    }
    (void)close(rounds_fd[0]);
    (void)close(rounds_fd[1]);
    assert_int_equal(kill(pids[1], with_signal), 0);
    int first = status_of(pids[0]), last = status_of(pids[2]);
    (void)kill(pids[1], SIGKILL);
    (void)status_of(pids[1]);
    if ((first != 10 && first != COLL_EXIT_STUCK) || (last != 10 && last != COLL_EXIT_STUCK)) {
        fail_msg("the survivors left with %d and %d", first, last);
    }
}

static void survivors_of_a_killed_rank_go_on_in_time(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        lose_rank(SIGKILL);
    }
}

static void a_rank_that_stands_still_does_not_hold_the_others(void **state)
{
    (void)state;
    lose_rank(SIGSTOP);
}

static void the_watchdog_ends_a_stuck_process(void **state)
{
    (void)state;
    pid_t stuck = fork();
    if (stuck == 0) {
        struct coll_watchdog *watchdog = NULL;
        if (coll_watchdog_start(&watchdog, NULL) != 0) {
            _exit(1);
        }
        coll_watchdog_arm(watchdog, "disarmed", -COLL_WATCHDOG_GRACE_NS + MLQ_NS_PER_S / 2);
        coll_watchdog_disarm(watchdog);
        pause_ms(1200); /* nothing may happen */
        coll_watchdog_arm(watchdog, "stuck", -COLL_WATCHDOG_GRACE_NS);
        pause_ms(20000);
        _exit(2);
    }
    assert_int_equal(status_of(stuck), COLL_EXIT_STUCK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_of_all_ranks_arrive_in_order),
        cmocka_unit_test(a_missing_rank_is_named_in_time),
        cmocka_unit_test(gangs_that_make_no_sense_are_refused),
        cmocka_unit_test(values_are_set_once_and_waited_for),
        cmocka_unit_test(keys_and_values_over_the_limits_are_refused),
        cmocka_unit_test(a_rank_of_another_gang_is_refused),
        cmocka_unit_test(strangers_are_turned_away),
        cmocka_unit_test(a_taken_port_is_an_error_with_its_name),
        cmocka_unit_test(survivors_of_a_killed_rank_go_on_in_time),
        cmocka_unit_test(a_rank_that_stands_still_does_not_hold_the_others),
        cmocka_unit_test(the_watchdog_ends_a_stuck_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
