/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The digest is the same in whatever pieces the bytes come, and whether a second thread computes it
 * or not.
 */
#include "tests/unit/cm.h"

#include <grp.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/artifact/sha256.h"
#include "lib/base/ownership.h"
#include "lib/base/prng.h"
#include "lib/sys/mem.h"

#define NOBODY 65534

/* FIPS 180-2, appendix B.1. */
static const uint8_t of_abc[] = {0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40,
                                 0xde, 0x5d, 0xae, 0x22, 0x23, 0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17,
                                 0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad};

static char *make_bytes(size_t count)
{
    struct mlq_prng prng;
    char *bytes = mlq_alloc(count + 1);
    mlq_prng_seed(&prng, count);
    for (size_t i = 0; i < count; i += 512) {
        bytes[i] = (char)mlq_prng_next(&prng);
    }
    return bytes;
}

/* In pieces of at most `most`. */
static struct cas_digest add_all(const char *bytes, size_t count, size_t most)
{
    struct cas_digest digest;
    struct sha256 *sha256 = sha256_start(count);
    for (size_t done = 0; done < count;) {
        size_t part = count - done < most ? count - done : most;
        char *room = sha256_room(sha256);
        memcpy(room, bytes + done, part);
        sha256_add(sha256, part);
        assert_memory_equal(room, bytes + done, part); /* it is still there to be read */
        done += part;
    }
    sha256_end(sha256, &digest);
    return digest;
}

static void test_the_standard(void **state)
{
    (void)state;
    struct cas_digest digest;
    sha256_of("abc", 3, &digest);
    assert_memory_equal(digest.sha256, of_abc, sizeof of_abc);
    digest = add_all("abc", 3, 1);
    assert_memory_equal(digest.sha256, of_abc, sizeof of_abc);
}

static void test_pieces_do_not_matter(void **state)
{
    (void)state;
    const size_t counts[] = {
        0,
        1,
        SHA256_PIECE_BYTES,
        SHA256_LONG_BYTES - 1,
        SHA256_LONG_BYTES,
        SHA256_LONG_BYTES + 1,
        70 * SHA256_PIECE_BYTES + 17,
    };
    const size_t most[] = {SHA256_PIECE_BYTES, SHA256_PIECE_BYTES - 1, 4097};
    for (size_t i = 0; i < MLQ_COUNT_OF(counts); i++) {
        struct cas_digest whole;
        char *bytes = make_bytes(counts[i]);
        sha256_of(bytes, counts[i], &whole);
        for (size_t k = 0; k < MLQ_COUNT_OF(most); k++) {
            struct cas_digest digest = add_all(bytes, counts[i], most[k]);
            assert_true(cas_digest_eq(&whole, &digest));
        }
        mlq_free(bytes);
    }
}

/* What was expected to be long ends at once, and what was not goes on. */
static void test_a_guess_may_be_wrong(void **state)
{
    (void)state;
    struct cas_digest digest;
    struct cas_digest whole;
    struct sha256 *sha256 = sha256_start(UINT64_MAX);
    memcpy(sha256_room(sha256), "abc", 3);
    sha256_add(sha256, 3);
    sha256_end(sha256, &digest);
    assert_memory_equal(digest.sha256, of_abc, sizeof of_abc);
    char *bytes = make_bytes(3 * SHA256_PIECE_BYTES);
    sha256_of(bytes, 3 * SHA256_PIECE_BYTES, &whole);
    sha256 = sha256_start(0);
    for (size_t i = 0; i < 3; i++) {
        memcpy(sha256_room(sha256), bytes + i * SHA256_PIECE_BYTES, SHA256_PIECE_BYTES);
        sha256_add(sha256, SHA256_PIECE_BYTES);
    }
    sha256_end(sha256, &digest);
    assert_true(cas_digest_eq(&whole, &digest));
    mlq_free(bytes);
}

/* For a user who may have no further one, which the superuser always may. */
static void test_it_goes_without_a_thread(void **state)
{
    (void)state;
    size_t count = 2 * SHA256_LONG_BYTES;
    struct cas_digest whole;
    char *bytes = make_bytes(count);
    sha256_of(bytes, count, &whole);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        const struct rlimit none = {0, 0};
        bool is_nobody =
            geteuid() != 0 || (setgroups(0, NULL) == 0 && setresgid(NOBODY, NOBODY, NOBODY) == 0 &&
                               setresuid(NOBODY, NOBODY, NOBODY) == 0);
        if (!is_nobody || setrlimit(RLIMIT_NPROC, &none) != 0) {
            _exit(2);
        }
        struct cas_digest digest = add_all(bytes, count, SHA256_PIECE_BYTES);
        _exit(cas_digest_eq(&whole, &digest) ? 0 : 1);
    }
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    mlq_free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_standard),
        cmocka_unit_test(test_pieces_do_not_matter),
        cmocka_unit_test(test_a_guess_may_be_wrong),
        cmocka_unit_test(test_it_goes_without_a_thread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
