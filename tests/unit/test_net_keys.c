/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/net/enrolled.h"
#include "lib/sys/fs.h"
#include "lib/sys/mem.h"

#define KEY_A "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"
#define KEY_B "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID"

static void put(const char *path, const char *text)
{
    assert_int_equal(mlq_fs_write_durable(path, mlq_str_from(text), 0600, NULL), MLQ_OK);
}

static void test_pair_is_kept(void **state)
{
    (void)state;
    struct net_keypair pair;
    struct net_keypair back;
    struct mlq_err err = MLQ_ERR_INIT;
    struct stat status;
    assert_int_equal(net_keys_generate(&pair, &err), MLQ_OK);
    assert_int_equal(strlen(pair.public_key), NET_KEY_TEXT_BYTES - 1);
    assert_int_equal(net_keys_save("pair", &pair, &err), MLQ_OK);
    assert_int_equal(stat("pair", &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    assert_int_equal(net_keys_load("pair", &back, &err), MLQ_OK);
    assert_memory_equal(&pair, &back, sizeof pair);

    assert_int_equal(chmod("pair", 0640), 0);
    assert_int_equal(net_keys_load("pair", &back, &err), MLQ_EPERM);
    assert_non_null(strstr(err.text, "chmod 600"));
}

static void test_bad_pairs(void **state)
{
    (void)state;
    struct net_keypair pair;
    struct net_keypair other;
    struct mlq_err err = MLQ_ERR_INIT;
    char text[256];
    assert_int_equal(net_keys_generate(&pair, &err), MLQ_OK);
    assert_int_equal(net_keys_generate(&other, &err), MLQ_OK);
    snprintf(text, sizeof text, "public %s\nsecret %s\n", pair.public_key, other.secret_key);
    put("bad", text);
    assert_int_equal(net_keys_load("bad", &pair, &err), MLQ_ECORRUPT);
    assert_null(strstr(err.text, other.secret_key));
    put("bad", "public short\nsecret short\n");
    assert_int_equal(net_keys_load("bad", &pair, &err), MLQ_ECORRUPT);
    put("bad", "");
    assert_int_equal(net_keys_load("bad", &pair, &err), MLQ_ECORRUPT);
    assert_int_equal(net_keys_load("absent", &pair, &err), MLQ_ENOENT);
}

static void test_enroll(void **state)
{
    (void)state;
    struct mlq_err err = MLQ_ERR_INIT;
    (void)unlink("enrolled");
    assert_int_equal(net_keys_enroll("enrolled", NET_ROLE_WORKER, "w1", KEY_A, &err), MLQ_OK);
    assert_int_equal(net_keys_enroll("enrolled", NET_ROLE_WORKER, "w1", KEY_A, &err), MLQ_OK);
    assert_int_equal(net_keys_enroll("enrolled", NET_ROLE_WORKER, "w1", KEY_B, &err), MLQ_EEXIST);
    assert_int_equal(net_keys_enroll("enrolled", NET_ROLE_WORKER, "w2", KEY_A, &err), MLQ_EEXIST);
    assert_int_equal(net_keys_enroll("enrolled", NET_ROLE_CLIENT, "w1", KEY_A, &err), MLQ_EEXIST);
    assert_int_equal(net_keys_enroll("enrolled", NET_ROLE_CLIENT, "me", KEY_B, &err), MLQ_OK);
    const char *bad[] = {"", "-a", "a b", "A", "a/b", "a\nworker b", "."};
    for (size_t i = 0; i < MLQ_COUNT_OF(bad); i++) {
        assert_int_equal(net_keys_enroll("enrolled", NET_ROLE_CLIENT, bad[i], KEY_B, &err),
                         MLQ_EINVAL);
    }
    assert_int_equal(net_keys_enroll("enrolled", NET_ROLE_CLIENT, "x", "short", &err), MLQ_EINVAL);

    struct enrolled *enrolled;
    assert_int_equal(enrolled_create("enrolled", &enrolled, &err), MLQ_OK);
    assert_int_equal(enrolled_count(enrolled), 2);
    const struct enrolled_entry *entry = enrolled_find(enrolled, KEY_A);
    assert_non_null(entry);
    assert_string_equal(entry->name, "w1");
    assert_int_equal(entry->role, NET_ROLE_WORKER);
    assert_null(enrolled_find(enrolled, "nothing"));
    enrolled_destroy(&enrolled);
}

static void test_file_changes(void **state)
{
    (void)state;
    struct mlq_err err = MLQ_ERR_INIT;
    struct enrolled *enrolled;
    assert_int_equal(enrolled_create("not-there", &enrolled, &err), MLQ_ENOENT);
    put("list", "# peers\n\nclient me " KEY_A "\nnonsense\nworker w1 " KEY_B);
    assert_int_equal(enrolled_create("list", &enrolled, &err), MLQ_OK);
    assert_int_equal(enrolled_count(enrolled), 2);

    put("list", "worker w1 " KEY_B "\n");
    enrolled_refresh(enrolled);
    assert_null(enrolled_find(enrolled, KEY_A));
    assert_non_null(enrolled_find(enrolled, KEY_B));

    put("list", "worker w1 " KEY_B "\nclient me " KEY_B "\n");
    enrolled_refresh(enrolled);
    assert_null(enrolled_find(enrolled, KEY_B));

    put("list", "worker w1 " KEY_B "\n");
    enrolled_refresh(enrolled);
    assert_non_null(enrolled_find(enrolled, KEY_B));
    assert_int_equal(unlink("list"), 0);
    enrolled_refresh(enrolled);
    assert_int_equal(enrolled_count(enrolled), 0);
    enrolled_destroy(&enrolled);
}

/* A crash in an append leaves part of a line: it admits nobody and does not spoil the next. */
static void test_torn_line(void **state)
{
    (void)state;
    struct mlq_err err = MLQ_ERR_INIT;
    struct enrolled *enrolled;
    put("torn", "worker w1 rq:rM>}U");
    assert_int_equal(net_keys_enroll("torn", NET_ROLE_WORKER, "w1", KEY_A, &err), MLQ_OK);
    assert_int_equal(enrolled_create("torn", &enrolled, &err), MLQ_OK);
    assert_int_equal(enrolled_count(enrolled), 1);
    assert_non_null(enrolled_find(enrolled, KEY_A));
    enrolled_destroy(&enrolled);
}

static void test_many_enroll_at_once(void **state)
{
    (void)state;
    enum { PROCESSES = 8, EACH = 10 };
    (void)unlink("crowd");
    pid_t pids[PROCESSES];
    for (int p = 0; p < PROCESSES; p++) {
        pids[p] = fork();
        assert_true(pids[p] >= 0);
        if (pids[p] == 0) {
            int bad = 0;
            for (int i = 0; i < EACH; i++) {
                struct net_keypair pair;
                char name[32];
                snprintf(name, sizeof name, "w%d.%d", p, i);
                bad |= net_keys_generate(&pair, NULL) != MLQ_OK;
                bad |= net_keys_enroll("crowd", NET_ROLE_WORKER, name, pair.public_key, NULL) !=
                       MLQ_OK;
            }
            _exit(bad);
        }
    }
    for (int p = 0; p < PROCESSES; p++) {
        int status;
        assert_int_equal(waitpid(pids[p], &status, 0), pids[p]);
        assert_int_equal(status, 0);
    }
    struct enrolled *enrolled;
    assert_int_equal(enrolled_create("crowd", &enrolled, NULL), MLQ_OK);
    assert_int_equal(enrolled_count(enrolled), PROCESSES * EACH);
    enrolled_destroy(&enrolled);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pair_is_kept),
        cmocka_unit_test(test_bad_pairs),
        cmocka_unit_test(test_enroll),
        cmocka_unit_test(test_file_changes),
        cmocka_unit_test(test_torn_line),
        cmocka_unit_test(test_many_enroll_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
