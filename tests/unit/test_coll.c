/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Collectives among real processes on loopback, and among threads: what they move, and what happens
 * when a rank does not come, belongs to another gang or generation, dies, stands still, or is told
 * to give up.
 */
#include "tests/unit/cm.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>

#include "lib/base/ownership.h"
#include "tests/unit/coll_ranks.h"
#include "worker/coll/coll_plugin.h"
#include "worker/coll/coll_store.h"
#include "worker/coll/coll_watchdog.h"

static struct coll_gang gloo_gang(uint32_t rank, uint32_t size, uint16_t port)
{
    return gang_of(COLL_AUTO, rank, size, port);
}

/* ---- What is moved ---- */

static void bytes_of_all_ranks_arrive_in_order(void **state)
{
    (void)state;
    check_bytes_of_all_ranks(COLL_AUTO, RANKS_MAX); /* self, then gloo */
}

static void bytes_arrive_by_the_network_alone(void **state)
{
    (void)state;
    check_bytes_of_all_ranks(COLL_GLOO, RANKS_MAX);
}

static void bytes_of_all_threads_arrive_in_order(void **state)
{
    (void)state;
    check_bytes_of_all_ranks(COLL_LOOP, RANKS_MAX);
}

/* ---- Ranks that do not come ---- */

static void a_missing_rank_is_named_in_time(void **state)
{
    (void)state;
    struct mlq_err err = MLQ_ERR_INIT;
    struct coll *coll = NULL;
    struct coll_gang gang = gloo_gang(0, 3, free_port());
    int64_t start_ns = mlq_clock_boot_ns();
    assert_int_equal(coll_open(&gang, SHORT_NS, &coll, &err), MLQ_ETIMEOUT);
    assert_true(mlq_clock_boot_ns() - start_ns < SOON_NS);
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
    struct meeting meeting = {.gang = gloo_gang(0, 2, free_port())};
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
    struct coll_gang others[] = {meeting.gang, meeting.gang, meeting.gang, meeting.gang};
    static const char *const texts[] = {"another gang", "another gang", "older generation of",
                                        "still in an older generation"};
    static const int codes[] = {MLQ_EPERM, MLQ_EPERM, MLQ_EFENCED, MLQ_ETIMEOUT};
    others[0].name = "test/2";
    others[1].size = 3;
    others[2].generation = 0;
    others[3].generation = 1 + (UINT64_C(1) << 32); /* which asks again until its time is over */
    for (size_t i = 0; i < MLQ_COUNT_OF(others); i++) {
        struct coll_store_client *client = NULL;
        struct mlq_err err = MLQ_ERR_INIT;
        char local[COLL_STORE_ADDRESS_BYTES];
        int64_t limit_ns = codes[i] == MLQ_ETIMEOUT ? SHORT_NS : LIMIT_NS; /* for an answer */
        int rc = coll_store_client_open(&others[i], mlq_clock_boot_ns() + limit_ns, &client, local,
                                        &err);
        assert_int_equal(rc, codes[i]);
        assert_non_null(strstr(err.text, texts[i]));
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
        assert_int_equal(poll(&waiting, 1, (int)(LIMIT_NS / MLQ_NS_PER_MS)), 1);
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
    static const uint8_t long_name[] = "mlqkv2\n\0\0\0\0\0\2\0\0\0\0\0\0\0\0\0\0\0\xff\xff\xff\xff";
    /* A good hello, and then a request with an unknown verb, and one with a huge value. */
    static const uint8_t bad_verb[] = "mlqkv2\n\0\0\0\0\0\2\0\0\0\1\0\0\0\0\0\0\0\6\0\0\0test/1";
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

#define CALL_NS patience(4 * MLQ_NS_PER_S)

static int rounds_fd[2]; /* each rank writes a byte when its rounds run */

/* Rounds without end: 10 when a call failed in time, 11 when it took too long to. */
static int go_round(struct coll_gang gang)
{
    struct coll *coll = NULL;
    uint64_t bytes[RANKS_MAX] = {8, 8, 8, 8}, value = gang.rank, all[RANKS_MAX];
    float floats[1000] = {0};
    if (coll_open(&gang, LIMIT_NS, &coll, NULL) != 0) {
        return 1;
    }
    for (int round = 0;; round++) {
        if (round == 50 && write(rounds_fd[1], "r", 1) != 1) {
            return 1;
        }
        int64_t start_ns = mlq_clock_boot_ns();
        int rc = coll_allgather(coll, &value, all, bytes, CALL_NS, NULL);
        if (rc == 0) {
            start_ns = mlq_clock_boot_ns();
            struct coll_floats data = {.values = floats, .count = MLQ_COUNT_OF(floats)};
            rc = coll_allreduce(coll, data, CALL_NS, NULL);
        }
        if (rc != 0) {
            bool late = mlq_clock_boot_ns() - start_ns > 2 * CALL_NS;
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
static void lose_rank(enum coll_kind kind, int with_signal)
{
    struct ranks ranks;
    assert_int_equal(pipe(rounds_fd), 0);
    start_ranks(&ranks, kind, 3, go_round);
    for (int running = 0; running < 3; running++) {
        char byte;
        assert_int_equal(read(rounds_fd[0], &byte, 1), 1);
    }
    (void)close(rounds_fd[0]);
    (void)close(rounds_fd[1]);
    assert_int_equal(kill(ranks.pids[1], with_signal), 0);
    int first = end_of(&ranks, 0), last = end_of(&ranks, 2);
    (void)kill(ranks.pids[1], SIGKILL);
    (void)end_of(&ranks, 1);
    if ((first != 10 && first != COLL_EXIT_STUCK) || (last != 10 && last != COLL_EXIT_STUCK)) {
        fail_msg("the survivors left with %d and %d", first, last);
    }
}

/* ---- Survivors ---- */

#define SURVIVORS_SIZE 4u
#define KILLS          20 /* MLQ_COLL_KILLS asks for more */

static int door_fd;                    /* rank 0's, which all of its generations use */
static int news_fds[SURVIVORS_SIZE][2]; /* a byte for rank r: somebody died, and who */

static int open_door(uint16_t *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, len), 0);
    assert_int_equal(listen(fd, 8), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    *port = ntohs(address.sin_port);
    return fd;
}

struct watch {
    struct coll *coll;
    int fd;
    char victim;
};

static void *abort_at_news(void *argument)
{
    struct watch *watch = argument;
    if (read(watch->fd, &watch->victim, 1) == 1) {
        coll_abort(watch->coll);
    }
    return NULL;
}

/* Says what took a survivor over a second: the longest of many kills is to be explained. */
static int64_t say_if_long(const char *what, uint32_t rank, int64_t since_ns)
{
    int64_t now_ns = mlq_clock_boot_ns();
    if (now_ns - since_ns > MLQ_NS_PER_S) {
        (void)fprintf(stderr, "rank %u: %s took %lld ms\n", rank, what,
                      (long long)((now_ns - since_ns) / MLQ_NS_PER_MS));
    }
    return now_ns;
}

/* Moves large messages until somebody dies in the middle of one, and goes on with the others. */
static int survive(struct coll_gang gang)
{
    struct watch watch = {.fd = news_fds[gang.rank][0]};
    uint64_t bytes[SURVIVORS_SIZE] = {1 << 20, 1 << 20, 1 << 20, 1 << 20};
    uint8_t *receive = mlq_alloc(SURVIVORS_SIZE << 20);
    pthread_t thread;
    gang.listen_fd = gang.rank == 0 ? door_fd : 0;
    CHECK(open_or_say(&gang, &watch.coll) == 0);
    const uint8_t *send = coll_memory(watch.coll, 1 << 20); /* others read it, or it is sent */
    CHECK(pthread_create(&thread, NULL, abort_at_news, &watch) == 0);
    int rc = 0;
    int64_t since_ns = 0;
    for (int round = 0; rc == 0; round++) {
        since_ns = mlq_clock_boot_ns();
        rc = coll_allgather(watch.coll, send, receive, bytes, LIMIT_NS, NULL);
        CHECK(round != 2 || write(rounds_fd[1], "r", 1) == 1);
    }
    since_ns = say_if_long("the last call", gang.rank, since_ns);
    CHECK(rc == MLQ_ECONN || rc == MLQ_ECANCELED);
    CHECK(pthread_join(thread, NULL) == 0);
    since_ns = say_if_long("the news", gang.rank, since_ns);
    coll_close(&watch.coll);
    since_ns = say_if_long("to close", gang.rank, since_ns);
    gang.rank -= gang.rank > (uint32_t)watch.victim;
    gang.size--;
    gang.generation++;
    CHECK(open_or_say(&gang, &watch.coll) == 0);
    (void)say_if_long("to open", gang.rank, since_ns);
    CHECK(check_allgather(gang, watch.coll, 0, 1000) == 0);
    coll_close(&watch.coll);
    mlq_free(receive);
    return 10;
}

/* How long it took the others to go on. */
static int64_t kill_one(enum coll_kind kind, uint32_t victim)
{
    struct ranks ranks = {.size = SURVIVORS_SIZE};
    uint16_t port = 0;
    door_fd = open_door(&port);
    assert_int_equal(pipe(rounds_fd), 0);
    for (uint32_t rank = 0; rank < SURVIVORS_SIZE; rank++) {
        assert_int_equal(pipe(news_fds[rank]), 0);
    }
    for (uint32_t rank = 0; rank < SURVIVORS_SIZE; rank++) {
        ranks.pids[rank] = fork();
        if (ranks.pids[rank] == 0) {
            _exit(survive(gang_of(kind, rank, SURVIVORS_SIZE, port)));
        }
    }
    char byte = (char)victim;
    for (uint32_t running = 0; running < SURVIVORS_SIZE; running++) {
        assert_int_equal(read(rounds_fd[0], &byte, 1), 1);
    }
    assert_int_equal(kill(ranks.pids[victim], SIGKILL), 0);
    int64_t start_ns = mlq_clock_boot_ns();
    assert_int_equal(end_of(&ranks, victim), 128 + SIGKILL);
    byte = (char)victim;
    for (uint32_t rank = 0; rank < SURVIVORS_SIZE; rank++) {
        assert_int_equal(write(news_fds[rank][1], &byte, 1), 1);
    }
    for (uint32_t rank = 0; rank < SURVIVORS_SIZE; rank++) {
        assert_int_equal(rank == victim ? 10 : end_of(&ranks, rank), 10);
        (void)close(news_fds[rank][0]);
        (void)close(news_fds[rank][1]);
    }
    (void)close(door_fd);
    (void)close(rounds_fd[0]);
    (void)close(rounds_fd[1]);
    return mlq_clock_boot_ns() - start_ns;
}

static void survivors_of_a_killed_rank_go_on_as_a_new_gang(void **state)
{
    (void)state;
    const char *asked = getenv("MLQ_COLL_KILLS");
    int kills = asked == NULL ? KILLS : (int)strtol(asked, NULL, 10);
    int64_t longest_ns = 0, all_ns = 0;
    for (int i = 0; i < kills; i++) {
        enum coll_kind kind = i % 2 == 0 ? COLL_AUTO : COLL_GLOO;
        int64_t took_ns = kill_one(kind, 1 + (uint32_t)(i / 2) % (SURVIVORS_SIZE - 1));
        longest_ns = took_ns > longest_ns ? took_ns : longest_ns;
        all_ns += took_ns;
    }
    print_message("%d kills, from the kill to the end of the new gang's first call: %lld ms on "
                  "average, %lld at most\n",
                  kills, (long long)(all_ns / kills / MLQ_NS_PER_MS),
                  (long long)(longest_ns / MLQ_NS_PER_MS));
    assert_in_range(longest_ns, 0, SOON_NS);
}

static void a_killed_rank_ends_the_calls_of_the_others(void **state)
{
    (void)state;
    lose_rank(COLL_AUTO, SIGKILL);
    lose_rank(COLL_GLOO, SIGKILL);
}

static void a_rank_that_stands_still_does_not_hold_the_others(void **state)
{
    (void)state;
    lose_rank(COLL_AUTO, SIGSTOP);
    lose_rank(COLL_GLOO, SIGSTOP);
}

static void an_aborted_call_ends_soon(void **state)
{
    (void)state;
    int64_t took_ns;
    assert_int_equal(abort_rank_0(COLL_LOOP, 3, wait_and_be_aborted, &took_ns), 10);
    assert_in_range(took_ns, 0, SOON_NS);
    for (int i = 0; i < 5; i++) {
        enum coll_kind kind = i % 2 == 0 ? COLL_AUTO : COLL_GLOO;
        assert_int_equal(abort_rank_0(kind, 3, wait_and_be_aborted, &took_ns), 10);
        assert_in_range(took_ns, 0, SOON_NS);
    }
}

static void *meet_in_thread(void *argument)
{
    struct coll *coll = argument;
    return (void *)(intptr_t)coll_meet(coll, LIMIT_NS, NULL);
}

/* Of a rank whose peers do not come, and of one that has not begun yet. */
static void an_aborted_meeting_ends_soon(void **state)
{
    (void)state;
    uint16_t port = free_port();
    for (uint32_t rank = 0; rank < 2; rank++) {
        struct coll_gang gang = gloo_gang(rank, 2, port);
        struct coll_progress progress = {.call = NULL};
        struct coll *coll = NULL;
        pthread_t thread;
        void *result = NULL;
        assert_int_equal(coll_create(&gang, &coll, NULL), 0);
        assert_int_equal(pthread_create(&thread, NULL, meet_in_thread, coll), 0);
        while (progress.call == NULL) {
            (void)sched_yield();
            coll_progress(coll, &progress);
        }
        int64_t start_ns = mlq_clock_boot_ns();
        coll_abort(coll);
        assert_int_equal(pthread_join(thread, &result), 0);
        assert_int_equal((intptr_t)result, MLQ_ECANCELED);
        assert_in_range(mlq_clock_boot_ns() - start_ns, 0, SOON_NS);
        coll_close(&coll);
        assert_int_equal(coll_create(&gang, &coll, NULL), 0);
        coll_abort(coll);
        assert_int_equal(coll_meet(coll, LIMIT_NS, NULL), MLQ_ECANCELED);
        coll_close(&coll);
    }
}

/* ---- Generation after generation on one port ---- */

/* Nobody waits for anybody between two generations: each finds itself ahead or behind. */
static int meet_again(struct coll_gang gang)
{
    gang.listen_fd = gang.rank == 0 ? door_fd : 0;
    for (gang.generation = 1; gang.generation <= 20; gang.generation++) {
        struct coll *coll = NULL;
        CHECK(open_or_say(&gang, &coll) == 0);
        CHECK(check_allgather(gang, coll, 0, 1000) == 0);
        coll_close(&coll);
    }
    return 0;
}

static void start_at_door(uint32_t size, rank_fn body)
{
    struct ranks ranks = {.size = size};
    uint16_t port = 0;
    door_fd = open_door(&port);
    for (uint32_t rank = 0; rank < size; rank++) {
        ranks.pids[rank] = fork();
        if (ranks.pids[rank] == 0) {
            _exit(body(gloo_gang(rank, size, port)));
        }
    }
    (void)close(door_fd);
    for (uint32_t rank = 0; rank < size; rank++) {
        assert_int_equal(end_of(&ranks, rank), 0);
    }
}

static void one_door_serves_generation_after_generation(void **state)
{
    (void)state;
    start_at_door(3, meet_again);
}

/* ---- Meetings that are aborted ---- */

#define CHURNS 60

static void *abort_soon(void *argument)
{
    struct coll *coll = argument;
    struct coll_progress progress;
    coll_progress(coll, &progress);
    /* Some turns later: before the others come, while pairs are connected, or behind all that. */
    for (int64_t turns = progress.since_ns / 100 % 1500; turns > 0; turns--) {
        (void)sched_yield();
    }
    coll_abort(coll);
    return NULL;
}

/* Generations that end in the middle of their meeting, at a time of each rank's own. */
static int churn(struct coll_gang gang)
{
    struct coll *coll = NULL;
    gang.listen_fd = gang.rank == 0 ? door_fd : 0;
    for (gang.generation = 1; gang.generation <= CHURNS; gang.generation++) {
        pthread_t thread;
        CHECK(coll_create(&gang, &coll, NULL) == 0);
        CHECK(pthread_create(&thread, NULL, abort_soon, coll) == 0);
        int rc = coll_meet(coll, LIMIT_NS, NULL);
        CHECK(rc == 0 || rc == MLQ_ECANCELED || rc == MLQ_ECONN || rc == MLQ_EFENCED);
        CHECK(pthread_join(thread, NULL) == 0);
        coll_close(&coll);
    }
    CHECK(open_or_say(&gang, &coll) == 0);
    CHECK(check_allgather(gang, coll, 0, 1000) == 0);
    coll_close(&coll);
    return 0;
}

static void a_meeting_may_be_aborted_at_any_time(void **state)
{
    (void)state;
    start_at_door(3, churn);
}

/* ---- Threads ---- */

/* Opens rank 0 of two in this thread alone. */
static int open_alone(uint64_t generation, int64_t timeout_ns, struct mlq_err *err)
{
    struct coll_gang gang = gang_of(COLL_LOOP, 0, 2, 1);
    struct coll *coll = NULL;
    gang.generation = generation;
    int rc = coll_open(&gang, timeout_ns, &coll, err);
    coll_close(&coll);
    return rc;
}

/* Rank 0 waits in generation 1; then rank 1 opens generation 2, until there is a third. */
static int stay_behind(struct coll_gang gang)
{
    struct mlq_err err = MLQ_ERR_INIT;
    struct coll *coll = NULL;
    char byte = 'b';
    if (gang.rank == 1) {
        CHECK(read(rounds_fd[0], &byte, 1) == 1);
        gang.generation = 2;
        CHECK(coll_open(&gang, LIMIT_NS, &coll, &err) == MLQ_ECONN);
        CHECK(strstr(err.text, "newer generation") != NULL);
        return 0;
    }
    CHECK(write(rounds_fd[1], &byte, 1) == 1);
    int rc = coll_open(&gang, LIMIT_NS, &coll, &err);
    /* Refused when rank 1 was faster than this thread. */
    CHECK(rc == MLQ_ECONN ? strstr(err.text, "newer generation") != NULL : rc == MLQ_EFENCED);
    return 0;
}

static void a_new_generation_ends_the_old_one(void **state)
{
    (void)state;
    struct mlq_err err = MLQ_ERR_INIT;
    struct ranks ranks;
    assert_int_equal(pipe(rounds_fd), 0);
    start_ranks(&ranks, COLL_LOOP, 2, stay_behind);
    assert_int_equal(end_of(&ranks, 0), 0);
    assert_int_equal(open_alone(1, SHORT_NS, &err), MLQ_EFENCED); /* rank 1 waits in generation 2 */
    assert_non_null(strstr(err.text, "generation 1, the gang is at 2"));
    assert_int_equal(open_alone(3, SHORT_NS / 10, &err), MLQ_ETIMEOUT);
    assert_non_null(strstr(err.text, "did not come: 1"));
    assert_int_equal(end_of(&ranks, 1), 0);
    (void)close(rounds_fd[0]);
    (void)close(rounds_fd[1]);
}

/* Rank 1 of three calls something else in the third round. */
static int call_something_else(struct coll_gang gang)
{
    struct mlq_err err = MLQ_ERR_INIT;
    struct coll *coll = NULL;
    uint64_t bytes[RANKS_MAX] = {8, 8, 8, 8}, value = 1, all[RANKS_MAX];
    if (open_or_say(&gang, &coll) != 0) {
        return 1;
    }
    int rc = 0;
    for (int round = 0; round < 3 && rc == 0; round++) {
        rc = round == 2 && gang.rank == 1
                 ? coll_barrier(coll, LIMIT_NS, &err)
                 : coll_allgather(coll, &value, all, bytes, LIMIT_NS, &err);
    }
    coll_close(&coll);
    CHECK(rc == MLQ_EPROTO);
    CHECK(strstr(err.text, "barrier") != NULL && strstr(err.text, "allgather") != NULL);
    return 0;
}

static void calls_that_differ_are_named(void **state)
{
    (void)state;
    struct ranks ranks;
    start_ranks(&ranks, COLL_LOOP, 3, call_something_else);
    for (uint32_t rank = 0; rank < 3; rank++) {
        assert_int_equal(end_of(&ranks, rank), 0);
    }
}

/* Rank 1 leaves; the others know at once, though their limit is long. */
static int leave_early(struct coll_gang gang)
{
    struct mlq_err err = MLQ_ERR_INIT;
    struct coll *coll = NULL;
    if (open_or_say(&gang, &coll) != 0) {
        return 1;
    }
    int64_t start_ns = mlq_clock_boot_ns();
    int rc = gang.rank == 1 ? MLQ_ECONN : coll_barrier(coll, LIMIT_NS, &err);
    coll_close(&coll);
    CHECK(rc == MLQ_ECONN && mlq_clock_boot_ns() - start_ns < SOON_NS);
    return 0;
}

static void a_thread_that_leaves_takes_the_gang_along(void **state)
{
    (void)state;
    struct ranks ranks;
    start_ranks(&ranks, COLL_LOOP, 3, leave_early);
    for (uint32_t rank = 0; rank < 3; rank++) {
        assert_int_equal(end_of(&ranks, rank), 0);
    }
}

/* ---- The plugin ---- */

static void a_missing_plugin_is_named(void **state)
{
    (void)state;
    struct mlq_err err = MLQ_ERR_INIT;
    const struct coll_plugin *plugin = NULL;
    assert_int_equal(coll_plugin_load("/nowhere", &plugin, &err), MLQ_ENOTSUP);
    assert_non_null(strstr(err.text, "/nowhere/mlq_cuda.so"));
    assert_null(plugin);
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
        cmocka_unit_test(bytes_arrive_by_the_network_alone),
        cmocka_unit_test(bytes_of_all_threads_arrive_in_order),
        cmocka_unit_test(a_missing_rank_is_named_in_time),
        cmocka_unit_test(gangs_that_make_no_sense_are_refused),
        cmocka_unit_test(values_are_set_once_and_waited_for),
        cmocka_unit_test(keys_and_values_over_the_limits_are_refused),
        cmocka_unit_test(a_rank_of_another_gang_is_refused),
        cmocka_unit_test(strangers_are_turned_away),
        cmocka_unit_test(a_taken_port_is_an_error_with_its_name),
        cmocka_unit_test(a_killed_rank_ends_the_calls_of_the_others),
        cmocka_unit_test(survivors_of_a_killed_rank_go_on_as_a_new_gang),
        cmocka_unit_test(a_rank_that_stands_still_does_not_hold_the_others),
        cmocka_unit_test(an_aborted_call_ends_soon),
        cmocka_unit_test(an_aborted_meeting_ends_soon),
        cmocka_unit_test(one_door_serves_generation_after_generation),
        cmocka_unit_test(a_meeting_may_be_aborted_at_any_time),
        cmocka_unit_test(a_new_generation_ends_the_old_one),
        cmocka_unit_test(calls_that_differ_are_named),
        cmocka_unit_test(a_thread_that_leaves_takes_the_gang_along),
        cmocka_unit_test(a_missing_plugin_is_named),
        cmocka_unit_test(the_watchdog_ends_a_stuck_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
