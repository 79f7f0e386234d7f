/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "lib/artifact/cas.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/sys/fs.h"
#include "lib/sys/mem.h"
#include "tests/unit/cas_store.h"
#include "tests/unit/files.h"

/* FIPS 180-2, appendix B.1, and the digest of nothing. */
#define ABC_DIGEST "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
#define ABC_OBJECT "store/objects/ba/7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
#define EMPTY_DIGEST "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

static struct cas_digest put_text(const char *text)
{
    struct cas_digest digest;
    assert_int_equal(cas_put_bytes(cas, mlq_str_from(text), &digest, NULL), MLQ_OK);
    return digest;
}

static unsigned count_entries(const char *shell_glob_dir)
{
    char command[256];
    (void)snprintf(command, sizeof command, "find %s -type f | wc -l", shell_glob_dir);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    unsigned count = 0;
    assert_int_equal(fscanf(pipe, "%u", &count), 1);
    assert_int_equal(pclose(pipe), 0);
    return count;
}

static void test_digest_text(void **state)
{
    (void)state;
    struct cas_digest digest;
    char text[CAS_DIGEST_TEXT_BYTES];
    assert_true(cas_digest_parse(MLQ_STR(ABC_DIGEST), &digest));
    cas_digest_format(&digest, text);
    assert_string_equal(text, ABC_DIGEST);
    assert_false(cas_digest_parse(MLQ_STR("sha256:ba78"), &digest));
    assert_false(cas_digest_parse(MLQ_STR(""), &digest));
    assert_false(cas_digest_parse(MLQ_STR(ABC_DIGEST "0"), &digest));
    assert_false(cas_digest_parse(
        MLQ_STR("sha256:BA7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"), &digest));
    assert_false(cas_digest_parse(
        MLQ_STR("sha256:../816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"), &digest));
    assert_false(cas_digest_parse(
        MLQ_STR("sha512:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"), &digest));
}

static void test_the_same_bytes_are_kept_once(void **state)
{
    (void)state;
    write_file("work/a", "abc");
    write_file("work/b", "abc");
    struct cas_digest a;
    struct cas_digest b;
    uint64_t bytes = 0;
    assert_int_equal(cas_put_file(cas, "work/a", &a, &bytes, NULL, NULL, NULL), MLQ_OK);
    assert_int_equal(bytes, 3);
    struct stat first;
    assert_int_equal(stat(ABC_OBJECT, &first), 0);
    assert_int_equal(first.st_mode & 07777, 0444);
    assert_int_equal(cas_put_file(cas, "work/b", &b, NULL, NULL, NULL, NULL), MLQ_OK);
    struct cas_digest c = put_text("abc");
    assert_true(cas_digest_eq(&a, &b) && cas_digest_eq(&a, &c));
    struct stat again;
    assert_int_equal(stat(ABC_OBJECT, &again), 0);
    assert_int_equal(first.st_ino, again.st_ino); /* not even written again */
    assert_int_equal(count_entries("store/objects"), 1);
    assert_int_equal(count_entries("store/tmp"), 0);
    char text[CAS_DIGEST_TEXT_BYTES];
    cas_digest_format(&a, text);
    assert_string_equal(text, ABC_DIGEST);
    assert_true(cas_has(cas, &a, &bytes));
    assert_int_equal(bytes, 3);
}

static void test_nothing_is_an_object_too(void **state)
{
    (void)state;
    struct cas_digest digest = put_text("");
    char text[CAS_DIGEST_TEXT_BYTES];
    cas_digest_format(&digest, text);
    assert_string_equal(text, EMPTY_DIGEST);
    char *data = NULL;
    size_t len = 1;
    assert_int_equal(cas_read(cas, &digest, 0, &data, &len, NULL), MLQ_OK);
    assert_int_equal(len, 0);
    mlq_free(data);
    assert_int_equal(cas_fetch(cas, &digest, "work/empty", NULL), MLQ_OK);
    assert_file("work/empty", "");
}

static void count_progress(void *context, uint64_t done, uint64_t total)
{
    uint64_t *last = context;
    assert_true(done > *last && done <= total);
    *last = done;
}

static void test_large_files_report_progress(void **state)
{
    (void)state;
    size_t size = (3u << 20) + 17;
    char *big = mlq_alloc(size);
    for (size_t i = 0; i < size; i++) {
        big[i] = (char)(i * 2654435761u >> 13);
    }
    FILE *file = fopen("work/big", "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(big, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
    struct cas_digest digest;
    uint64_t seen = 0;
    uint64_t bytes = 0;
    assert_int_equal(cas_put_file(cas, "work/big", &digest, &bytes, count_progress, &seen, NULL), 0);
    assert_int_equal(seen, size);
    assert_int_equal(bytes, size);
    char *data = NULL;
    size_t len = 0;
    assert_int_equal(cas_read(cas, &digest, size - 1, &data, &len, NULL), MLQ_EFULL);
    assert_int_equal(cas_read(cas, &digest, size, &data, &len, NULL), MLQ_OK);
    assert_memory_equal(data, big, size);
    struct cas_digest direct;
    assert_int_equal(cas_digest_file("work/big", &direct, &bytes, NULL), MLQ_OK);
    assert_true(cas_digest_eq(&digest, &direct));
    mlq_free(data);
    mlq_free(big);
}

static void test_what_is_fetched_is_not_the_object(void **state)
{
    (void)state;
    struct cas_digest digest = put_text("abc");
    assert_int_equal(cas_fetch(cas, &digest, "work/copy", NULL), MLQ_OK);
    struct stat copy;
    struct stat object;
    assert_int_equal(stat("work/copy", &copy), 0);
    assert_int_equal(stat(ABC_OBJECT, &object), 0);
    assert_int_equal(copy.st_mode & 07777, 0444);
    assert_true(copy.st_ino != object.st_ino);
    assert_int_equal(chmod("work/copy", 0644), 0);
    write_file("work/copy", "ABC");
    assert_file(ABC_OBJECT, "abc");
    /* Nothing is replaced, and nothing is left behind. */
    assert_int_equal(cas_fetch(cas, &digest, "work/copy", NULL), MLQ_EEXIST);
    assert_file("work/copy", "ABC");
    assert_int_equal(count_entries("work"), 1);
    struct mlq_err err = MLQ_ERR_INIT;
    struct cas_digest absent = {{1}};
    assert_int_equal(cas_fetch(cas, &absent, "work/absent", &err), MLQ_ENOENT);
    assert_int_equal(count_entries("work"), 1);
}

static void damage(const char *text)
{
    assert_int_equal(chmod(ABC_OBJECT, 0644), 0);
    write_file(ABC_OBJECT, text);
}

static void test_a_damaged_object_is_refused_and_mended(void **state)
{
    (void)state;
    const char *damages[] = {"abd", "ab", "", "abcd"};
    for (size_t i = 0; i < 4; i++) {
        struct cas_digest digest = put_text("abc");
        damage(damages[i]);
        struct mlq_err err = MLQ_ERR_INIT;
        char *data = NULL;
        size_t len = 0;
        assert_int_equal(cas_read(cas, &digest, 100, &data, &len, &err), MLQ_ECORRUPT);
        assert_null(data);
        assert_non_null(strstr(err.text, "damaged"));
        assert_int_equal(cas_fetch(cas, &digest, "work/x", &err), MLQ_ECORRUPT);
        assert_false(mlq_fs_exists("work/x"));
        assert_int_equal(count_entries("work"), 0);
        digest = put_text("abc");
        assert_file(ABC_OBJECT, "abc");
    }
    damage("xyz");
    write_file("work/a", "abc");
    struct cas_digest digest;
    assert_int_equal(cas_put_file(cas, "work/a", &digest, NULL, NULL, NULL, NULL), MLQ_OK);
    assert_file(ABC_OBJECT, "abc");
}

static void test_only_regular_files_go_in(void **state)
{
    (void)state;
    write_file("work/a", "abc");
    assert_int_equal(symlink("a", "work/link"), 0);
    assert_int_equal(mkfifo("work/pipe", 0644), 0);
    struct cas_digest digest;
    assert_int_equal(cas_put_file(cas, "work/link", &digest, NULL, NULL, NULL, NULL), MLQ_EINVAL);
    assert_int_equal(cas_put_file(cas, "work/pipe", &digest, NULL, NULL, NULL, NULL), MLQ_EINVAL);
    assert_int_equal(cas_put_file(cas, "work", &digest, NULL, NULL, NULL, NULL), MLQ_EINVAL);
    assert_int_equal(cas_put_file(cas, "/dev/zero", &digest, NULL, NULL, NULL, NULL), MLQ_EINVAL);
    assert_int_equal(cas_put_file(cas, "work/absent", &digest, NULL, NULL, NULL, NULL), MLQ_ENOENT);
    assert_int_equal(count_entries("store"), 0);
}

static void test_an_object_that_is_a_symlink_is_refused(void **state)
{
    (void)state;
    struct cas_digest digest = put_text("abc");
    write_file("work/a", "abc");
    assert_int_equal(unlink(ABC_OBJECT), 0);
    assert_int_equal(symlink("../../../work/a", ABC_OBJECT), 0);
    char *data = NULL;
    size_t len = 0;
    assert_int_equal(cas_read(cas, &digest, 100, &data, &len, NULL), MLQ_EINVAL);
    assert_false(cas_has(cas, &digest, NULL));
    put_text("abc"); /* replaces the link itself */
    assert_file("work/a", "abc");
    assert_int_equal(cas_read(cas, &digest, 100, &data, &len, NULL), MLQ_OK);
    mlq_free(data);
}

static void test_old_leftovers_are_removed_at_open(void **state)
{
    (void)state;
    write_file("store/tmp/put-1-0123", "half");
    write_file("store/tmp/put-2-0123", "young");
    write_file("store/tmp/known-of-a-boot-0", "old");
    write_file("store/tmp/other", "not ours");
    struct timespec old[2] = {{.tv_sec = 1000000}, {.tv_sec = 1000000}};
    assert_int_equal(utimensat(AT_FDCWD, "store/tmp/put-1-0123", old, 0), 0);
    assert_int_equal(utimensat(AT_FDCWD, "store/tmp/known-of-a-boot-0", old, 0), 0);
    assert_int_equal(utimensat(AT_FDCWD, "store/tmp/other", old, 0), 0);
    struct cas *second = NULL;
    assert_int_equal(cas_open("store", &second, NULL), MLQ_OK);
    cas_close(&second);
    assert_false(mlq_fs_exists("store/tmp/put-1-0123"));
    assert_false(mlq_fs_exists("store/tmp/known-of-a-boot-0"));
    assert_true(mlq_fs_exists("store/tmp/put-2-0123"));
    assert_true(mlq_fs_exists("store/tmp/other"));
}

static void test_a_store_that_cannot_be_made_says_where(void **state)
{
    (void)state;
    write_file("work/file", "x");
    struct cas *none = NULL;
    struct mlq_err err = MLQ_ERR_INIT;
    assert_true(cas_open("work/file/store", &none, &err) < 0);
    assert_null(none);
    assert_non_null(strstr(err.text, "work/file/store"));
}

/* Processes that put the same and different bytes at once all end with whole objects. */
static void test_many_processes_put_at_once(void **state)
{
    (void)state;
    pid_t children[4];
    for (int child = 0; child < 4; child++) {
        children[child] = fork();
        assert_true(children[child] >= 0);
        if (children[child] == 0) {
            struct cas *own = NULL;
            int rc = cas_open("store", &own, NULL);
            for (int i = 0; rc == MLQ_OK && i < 40; i++) {
                char text[32];
                struct cas_digest digest;
                (void)snprintf(text, sizeof text, "object %d", i);
                rc = cas_put_bytes(own, mlq_str_from(text), &digest, NULL);
                char *data = NULL;
                size_t len = 0;
                if (rc == MLQ_OK) {
                    rc = cas_read(own, &digest, 100, &data, &len, NULL);
                }
                mlq_free(data);
            }
            cas_close(&own);
            _exit(rc == MLQ_OK ? 0 : 1);
        }
    }
    for (int child = 0; child < 4; child++) {
        int status = -1;
        assert_int_equal(waitpid(children[child], &status, 0), children[child]);
        assert_int_equal(status, 0);
    }
    assert_int_equal(count_entries("store/objects"), 40);
    assert_int_equal(count_entries("store/tmp"), 0);
}

/* ---- Folders ---- */

static void make_tree(void)
{
    assert_int_equal(mlq_fs_make_dirs("work/in/data/deep", 0755, NULL), MLQ_OK);
    assert_int_equal(mlq_fs_make_dirs("work/in/.git", 0755, NULL), MLQ_OK);
    write_file("work/in/run.sh", "#!/bin/sh\n");
    assert_int_equal(chmod("work/in/run.sh", 0755), 0);
    write_file("work/in/data/a.csv", "abc");
    write_file("work/in/data/deep/caf\xc3\xa9 (1).txt", "abc");
    write_file("work/in/.git/HEAD", "x");
    assert_int_equal(symlink("../a.csv", "work/in/data/deep/up"), 0);
    assert_int_equal(symlink("data", "work/in/latest"), 0);
}

static bool skip_git(void *context, const char *inner_path, bool is_dir)
{
    (void)context;
    return is_dir && strcmp(inner_path, ".git") == 0;
}

static void test_a_folder_comes_back_as_it_was(void **state)
{
    (void)state;
    make_tree();
    struct cas_digest digest;
    uint64_t bytes = 0;
    struct mlq_err err = MLQ_ERR_INIT;
    assert_int_equal(cas_put_tree(cas, "work/in", skip_git, NULL, &digest, &bytes, &err), MLQ_OK);
    assert_int_equal(bytes, 10 + 3 + 3);
    assert_int_equal(cas_fetch_tree(cas, &digest, "work/out/x", false, &err), MLQ_OK);
    assert_file("work/out/x/data/a.csv", "abc");
    assert_file("work/out/x/data/deep/caf\xc3\xa9 (1).txt", "abc");
    assert_file("work/out/x/data/deep/up", "abc");
    assert_file("work/out/x/latest/a.csv", "abc");
    assert_false(mlq_fs_exists("work/out/x/.git"));
    struct stat status;
    assert_int_equal(stat("work/out/x/run.sh", &status), 0);
    assert_int_equal(status.st_mode & 0777, 0555);
    assert_int_equal(cas_fetch_tree(cas, &digest, "work/out/y", true, &err), MLQ_OK);
    assert_int_equal(stat("work/out/y/run.sh", &status), 0);
    assert_int_equal(status.st_mode & 0777, 0755);
    /* The same content, made again elsewhere, has the same digest. */
    struct cas_digest again;
    assert_int_equal(cas_put_tree(cas, "work/out/y", NULL, NULL, &again, NULL, &err), MLQ_OK);
    assert_true(cas_digest_eq(&digest, &again));
    assert_int_equal(cas_fetch_tree(cas, &digest, "work/out/y", true, &err), MLQ_EEXIST);
}

static void test_an_empty_folder_is_a_tree(void **state)
{
    (void)state;
    assert_int_equal(mlq_fs_make_dirs("work/in/empty", 0755, NULL), MLQ_OK);
    struct cas_digest digest;
    uint64_t bytes = 9;
    assert_int_equal(cas_put_tree(cas, "work/in", NULL, NULL, &digest, &bytes, NULL), MLQ_OK);
    assert_int_equal(bytes, 0);
    assert_int_equal(cas_fetch_tree(cas, &digest, "work/out", false, NULL), MLQ_OK);
    assert_true(mlq_fs_exists("work/out"));
}

static void assert_put_refused(const char *why)
{
    struct cas_digest digest;
    struct mlq_err err = MLQ_ERR_INIT;
    int rc = cas_put_tree(cas, "work/in", NULL, NULL, &digest, NULL, &err);
    if (rc != MLQ_EINVAL || strstr(err.text, why) == NULL) {
        fail_msg("rc %d: '%s' lacks '%s'", rc, err.text, why);
    }
    assert_int_equal(mlq_fs_remove_tree("work/in", NULL), MLQ_OK);
    assert_int_equal(mlq_fs_make_dirs("work/in/d", 0755, NULL), MLQ_OK);
}

static void test_what_leads_outside_is_not_put(void **state)
{
    (void)state;
    assert_int_equal(mlq_fs_make_dirs("work/in/d", 0755, NULL), MLQ_OK);
    const char *targets[] = {"/etc/passwd", "../../secret", "..", "d/../../x", "d/..", ".", "d//x",
                             "../in"};
    for (size_t i = 0; i < sizeof targets / sizeof targets[0]; i++) {
        assert_int_equal(symlink(targets[i], "work/in/l"), 0);
        assert_put_refused("'l' is a symbolic link");
    }
    assert_int_equal(symlink("../../x", "work/in/d/l"), 0);
    assert_put_refused("'d/l' is a symbolic link");
    assert_int_equal(mkfifo("work/in/d/p", 0644), 0);
    assert_put_refused("'d/p' is a device");
    write_file("work/in/d/bad\xff", "x");
    assert_put_refused("'d/bad?'");
    write_file("work/in/d/new\nline", "x");
    assert_put_refused("'d/new?line'");
}

static void assert_fetch_refused(const char *manifest)
{
    (void)mlq_fs_remove_tree("work/out", NULL);
    struct cas_digest digest = put_text(manifest);
    struct mlq_err err = MLQ_ERR_INIT;
    int rc = cas_fetch_tree(cas, &digest, "work/out", false, &err);
    if (rc >= 0) {
        fail_msg("accepted: %s", manifest);
    }
    assert_true(err.text[0] != '\0');
    assert_false(mlq_fs_exists("work/evil"));
    assert_false(mlq_fs_exists("evil"));
}

#define FILE_AT(path)                                                                              \
    "{\"path\":\"" path "\",\"mode\":\"0644\",\"digest\":\"" ABC_DIGEST "\",\"bytes\":3}"
#define LINK_AT(path, target) "{\"path\":\"" path "\",\"link\":\"" target "\"}"
#define TREE(entries) "{\"mlq.tree\":1,\"entries\":[" entries "]}"

static void test_hostile_manifests_stay_inside(void **state)
{
    (void)state;
    put_text("abc");
    const char *bad[] = {
        TREE(FILE_AT("../evil")),
        TREE(FILE_AT("a/../../evil")),
        TREE(FILE_AT("/tmp/evil")),
        TREE(FILE_AT("a//b")),
        TREE(FILE_AT("./a")),
        TREE(FILE_AT("")),
        TREE(FILE_AT("a/")),
        TREE(FILE_AT("a\\nb")),
        TREE(FILE_AT("a\\u0000b")),
        TREE(FILE_AT("b") "," FILE_AT("a")),
        TREE(FILE_AT("a") "," FILE_AT("a")),
        TREE(FILE_AT("a") "," FILE_AT("a/b")),
        TREE(LINK_AT("a", "..")),
        TREE(LINK_AT("a", "/etc")),
        TREE(LINK_AT("a", "b/../../..")),
        TREE(LINK_AT("a", "")),
        TREE(LINK_AT("d/a", "../../x")),
        TREE(LINK_AT("a", "d") "," FILE_AT("a/evil")),
        TREE("{\"path\":\"a\",\"mode\":\"4755\",\"digest\":\"" ABC_DIGEST "\",\"bytes\":3}"),
        TREE("{\"path\":\"a\",\"mode\":\"0644\",\"digest\":\"sha256:..\",\"bytes\":3}"),
        TREE("{\"path\":\"a\",\"mode\":\"0644\",\"digest\":\"" ABC_DIGEST "\",\"bytes\":-3}"),
        TREE("{\"path\":\"a\",\"mode\":\"0644\",\"digest\":\"" EMPTY_DIGEST "\",\"bytes\":0}"),
        TREE("{\"path\":7}"),
        TREE("7"),
        "{\"mlq.tree\":2,\"entries\":[]}",
        "{\"entries\":[]}",
        "{\"mlq.tree\":1,\"entries\":{}}",
        "[[[[[[[[[[[[[[]]]]]]]]]]]]]]",
        "abc",
        "",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_fetch_refused(bad[i]);
    }
}

static void test_a_planted_symlink_is_not_walked_through(void **state)
{
    (void)state;
    put_text("abc");
    assert_int_equal(mlq_fs_make_dirs("work/target", 0755, NULL), MLQ_OK);
    assert_int_equal(mlq_fs_make_dirs("work/out", 0755, NULL), MLQ_OK);
    assert_int_equal(symlink("../target", "work/out/d"), 0);
    struct cas_digest digest = put_text(TREE(FILE_AT("d/evil")));
    assert_true(cas_fetch_tree(cas, &digest, "work/out", false, NULL) < 0);
    assert_int_equal(count_entries("work/target"), 0);
    assert_int_equal(symlink("../target/evil", "work/out/f"), 0);
    digest = put_text(TREE(FILE_AT("f")));
    assert_int_equal(cas_fetch_tree(cas, &digest, "work/out", false, NULL), MLQ_EEXIST);
    assert_int_equal(count_entries("work/target"), 0);
}

static void test_folders_too_deep_are_refused_both_ways(void **state)
{
    (void)state;
    char deep[2 * (CAS_TREE_DEPTH_MAX + 1) + 1] = ""; /* "d/d/…/" */
    for (size_t i = 0; i + 1 < sizeof deep; i++) {
        deep[i] = i % 2 == 0 ? 'd' : '/';
    }
    char path[1024];
    (void)snprintf(path, sizeof path, "work/in/%s", deep);
    assert_int_equal(mlq_fs_make_dirs(path, 0755, NULL), MLQ_OK);
    struct cas_digest digest;
    struct mlq_err err = MLQ_ERR_INIT;
    assert_int_equal(cas_put_tree(cas, "work/in", NULL, NULL, &digest, NULL, &err), MLQ_EFULL);
    assert_non_null(strstr(err.text, "folders deep"));
    char manifest[1024];
    (void)snprintf(manifest, sizeof manifest,
                   "{\"mlq.tree\":1,\"entries\":[{\"path\":\"%sf\",\"mode\":\"0644\","
                   "\"digest\":\"" ABC_DIGEST "\",\"bytes\":3}]}",
                   deep);
    put_text("abc");
    digest = put_text(manifest);
    assert_int_equal(cas_fetch_tree(cas, &digest, "work/out", false, NULL), MLQ_ECORRUPT);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_digest_text),
        TEST(test_the_same_bytes_are_kept_once),
        TEST(test_nothing_is_an_object_too),
        TEST(test_large_files_report_progress),
        TEST(test_what_is_fetched_is_not_the_object),
        TEST(test_a_damaged_object_is_refused_and_mended),
        TEST(test_only_regular_files_go_in),
        TEST(test_an_object_that_is_a_symlink_is_refused),
        TEST(test_old_leftovers_are_removed_at_open),
        TEST(test_a_store_that_cannot_be_made_says_where),
        TEST(test_many_processes_put_at_once),
        TEST(test_a_folder_comes_back_as_it_was),
        TEST(test_an_empty_folder_is_a_tree),
        TEST(test_what_leads_outside_is_not_put),
        TEST(test_hostile_manifests_stay_inside),
        TEST(test_a_planted_symlink_is_not_walked_through),
        TEST(test_folders_too_deep_are_refused_both_ways),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
