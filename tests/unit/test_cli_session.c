/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Which cluster is meant, exit codes, the table of verbs, which log one wants, and what of a folder
 * is code.
 */
#include "tests/unit/cm.h"

#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/cli/cmd.h"
#include "client/cli/doc.h"
#include "client/cli/gitfiles.h"
#include "client/cli/home.h"
#include "client/cli/logread.h"
#include "client/cli/pg.h"
#include "client/cli/session.h"
#include "client/cli/specfile.h"
#include "client/cli/verbs.h"
#include "lib/sys/fs.h"
#include "lib/sys/mem.h"

/* A word of an argv, which nobody writes to. */
#define W(text) ((char *)(uintptr_t)(text))

static void every_code_has_the_exit_that_the_readme_promises(void **state)
{
    (void)state;
    assert_int_equal(session_exit(MLQ_OK), 0);
    assert_int_equal(session_exit(MLQ_ENOENT), 3);
    assert_int_equal(session_exit(MLQ_EPERM), 4);
    assert_int_equal(session_exit(MLQ_EFULL), 4);
    assert_int_equal(session_exit(MLQ_EINVAL), 5);
    assert_int_equal(session_exit(MLQ_ECONN), 6);
    assert_int_equal(session_exit(MLQ_EPROTO), 6); /* a scheduler of another version */
    assert_int_equal(session_exit(MLQ_EUNKNOWN), 7);
    assert_int_equal(session_exit(MLQ_ECANCELED), 130);
    assert_int_equal(session_exit(-1000), 4);
    assert_true(session_is_passing(MLQ_ECONN));
    assert_false(session_is_passing(MLQ_ENOENT));
}

static int open_session(struct session *session, int argc, char **argv)
{
    *session = (struct session){.verb = "show"};
    int code = session_parse(session, NULL, argc, argv);
    return code == CMD_OK ? session_open(session) : code;
}

static void a_remote_cluster_must_be_said_whole(void **state)
{
    struct session session;
    (void)state;
    (void)unsetenv("MLQ_ENDPOINT");
    (void)unsetenv("MLQ_SERVER_KEY");
    (void)unsetenv("MLQ_KEY");
    char *argv[] = {W("show"),         W("--endpoint"), W("tcp://127.0.0.1:1"),
                    W("--server-key"), W("x"),          NULL};
    assert_int_equal(open_session(&session, 3, argv), CMD_USAGE); /* no server key */
    session_close(&session);
    assert_int_equal(open_session(&session, 5, argv), CMD_USAGE); /* no own key */
    session_close(&session);
    char *wrong[] = {W("show"), W("--endpiont"), W("x"), NULL};
    assert_int_equal(open_session(&session, 3, wrong), CMD_USAGE);
    session_close(&session);
}

static void without_a_cluster_nothing_is_sent(void **state)
{
    struct session session;
    (void)state;
    char *argv[] = {W("show"), W("--home"), W("no-such-home"), NULL};
    assert_int_equal(setenv("MLQ_ENDPOINT", "tcp://127.0.0.1:1", 1), 0); /* outdone by --home */
    assert_int_equal(open_session(&session, 3, argv), CMD_UNREACHABLE);
    session_close(&session);
    assert_int_equal(unsetenv("MLQ_ENDPOINT"), 0);
}

static void a_home_is_written_and_read(void **state)
{
    (void)state;
    char *here = getcwd(NULL, 0);
    char *dir = mlq_fs_join(here, "home");
    mlq_free(here);
    struct mlq_err err = MLQ_ERR_INIT;
    struct home read = {0};
    assert_int_equal(mlq_fs_remove_tree(dir, &err), MLQ_OK);
    assert_int_equal(home_load(dir, &read, &err), MLQ_ENOENT);
    assert_non_null(strstr(err.text, "mlq up"));
    assert_int_equal(mlq_fs_make_dirs(dir, 0755, &err), MLQ_OK);
    struct home home = {.dir = dir,
                        .cluster = W("c"),
                        .endpoint = W("tcp://127.0.0.1:1234"),
                        .server_key = W("key"),
                        .store = W("/s"),
                        .workers = 3};
    assert_int_equal(home_save(&home, &err), MLQ_OK);
    assert_int_equal(home_load(dir, &read, &err), MLQ_OK);
    assert_string_equal(read.endpoint, home.endpoint);
    assert_int_equal(read.workers, 3);
    home_clear(&read);
    char *path = mlq_fs_join(dir, "cluster.json");
    assert_int_equal(mlq_fs_write_durable(path, MLQ_STR("{"), 0644, &err), MLQ_OK);
    assert_int_equal(home_load(dir, &read, &err), MLQ_ECORRUPT);
    assert_int_equal(mlq_fs_write_durable(path, MLQ_STR("{\"workers\": 1}"), 0644, &err), MLQ_OK);
    assert_int_equal(home_load(dir, &read, &err), MLQ_ECORRUPT);
    mlq_free(path);
    mlq_free(dir);
}

static void verbs_are_found_and_guessed(void **state)
{
    (void)state;
    assert_ptr_equal(verbs_find("show"), &verbs_all[verbs_find("show") - verbs_all]);
    assert_null(verbs_find("shwo"));
    assert_string_equal(verbs_nearest("shwo")->name, "show");
    assert_string_equal(verbs_nearest("sumbit")->name, "submit");
    assert_null(verbs_nearest("frobnicate"));
    char *asked[] = {W("submit"), W("x.yaml"), W("--help"), NULL};
    char *meant_for_another[] = {W("submit"), W("--"), W("prog"), W("--help"), NULL};
    assert_true(verbs_wants_help(3, asked));
    assert_false(verbs_wants_help(4, meant_for_another));
    for (size_t i = 0; i < verbs_count(); i++) {
        assert_non_null(strstr(verbs_all[i].help, "usage: mlq"));
        assert_non_null(strstr(verbs_all[i].help, verbs_all[i].name));
        assert_int_equal(verbs_all[i].help[strlen(verbs_all[i].help) - 1], '\n');
    }
}

static json_t *parse(const char *text)
{
    json_t *document = NULL;
    assert_int_equal(doc_parse(mlq_str_from(text), &document, NULL), MLQ_OK);
    return document;
}

static void the_log_that_one_wants(void **state)
{
    (void)state;
    json_t *job = parse("{\"stages\": ["
                        "{\"name\": \"a\", \"state\": \"succeeded\", \"started\": "
                        "\"2026-01-01T00:00:00.000Z\", \"attempts\": [{\"attempt\": \"1\"}]},"
                        "{\"name\": \"b\", \"state\": \"succeeded\", \"started\": "
                        "\"2026-01-01T00:00:02.000Z\", \"attempts\": [{\"attempt\": \"2\"}]},"
                        "{\"name\": \"c\", \"state\": \"pending\", \"attempts\": []}]}");
    assert_string_equal(doc_text(logread_pick_stage(job), "name"), "b"); /* ran last */
    json_t *stage = json_array_get(json_object_get(job, "stages"), 0);
    (void)json_object_set_new(stage, "state", json_string("failed"));
    assert_string_equal(doc_text(logread_pick_stage(job), "name"), "a");
    json_decref(job);
    job = parse("{\"stages\": [{\"name\": \"c\", \"attempts\": []}]}");
    assert_null(logread_pick_stage(job));
    json_decref(job);
}

static void the_rank_that_failed_first_not_its_victims(void **state)
{
    (void)state;
    json_t *stage =
        parse("{\"state\": \"failed\", \"attempts\": ["
              "{\"attempt\": \"5\", \"index\": 0, \"rank\": 0, \"state\": \"failed\", \"cause\": "
              "\"peer\"},"
              "{\"attempt\": \"5\", \"index\": 0, \"rank\": 1, \"state\": \"failed\", \"cause\": "
              "\"exit\"},"
              "{\"attempt\": \"5\", \"index\": 0, \"rank\": 2, \"state\": \"failed\", \"cause\": "
              "\"peer\"},"
              "{\"attempt\": \"7\", \"index\": 1, \"rank\": 0, \"state\": \"succeeded\"}]}");
    assert_int_equal(doc_int(logread_pick_attempt(stage, -1, -1), "rank"), 1);
    assert_int_equal(doc_int(logread_pick_attempt(stage, 0, 2), "rank"), 2);
    assert_string_equal(doc_text(logread_pick_attempt(stage, 1, -1), "attempt"), "7");
    assert_null(logread_pick_attempt(stage, 9, -1));
    (void)json_object_set_new(stage, "state", json_string("running"));
    assert_string_equal(doc_text(logread_pick_attempt(stage, -1, -1), "attempt"),
                        "7"); /* the newest */
    json_decref(stage);
}

static void write_file(const char *path, const char *text)
{
    struct mlq_err err;
    assert_int_equal(mlq_fs_write_durable(path, mlq_str_from(text), 0644, &err), MLQ_OK);
}

static void a_spec_takes_its_scripts_along(void **state)
{
    struct session session = {.verb = "submit"};
    struct specfile file;
    struct args_list sets = {0};
    struct mlq_err err = MLQ_ERR_INIT;
    (void)state;
    session.region = mlq_region_create();
    session.store = mlq_strdup("store");
    assert_int_equal(mlq_fs_make_dirs("spec/tools", 0755, &err), MLQ_OK);
    write_file("spec/tools/run.py", "print(1)\n");
    write_file("spec/secret", "not to be taken\n");
    write_file("spec/job.yaml", "apiVersion: mlq/v1\nkind: Job\nmetadata: {name: j}\nspec: {run: "
                                "[python3, ./tools/run.py]}\n");
    assert_int_equal(specfile_load(&session, "spec/job.yaml", &sets, &file), CMD_OK);
    assert_int_equal(file.spec->file_count, 1);
    assert_int_equal(specfile_store(&session, &file, &err), MLQ_OK);
    assert_int_equal(file.spec->files[0].bytes, strlen("print(1)\n"));
    struct cas_digest digest;
    assert_true(cas_digest_parse(file.spec->files[0].digest, &digest));
    assert_int_equal(mlq_fs_remove_tree("out", &err), MLQ_OK);
    assert_int_equal(cas_fetch_tree(session.cas, &digest, "out", true, &err), MLQ_OK);
    assert_true(mlq_fs_exists("out/tools/run.py"));
    assert_false(mlq_fs_exists("out/secret"));
    session_close(&session);
}

static void a_missing_file_is_invalid_before_anything_is_sent(void **state)
{
    struct session session = {.verb = "submit"};
    struct specfile file;
    struct args_list sets = {0};
    struct mlq_err err = MLQ_ERR_INIT;
    (void)state;
    session.region = mlq_region_create();
    assert_int_equal(mlq_fs_make_dirs("spec", 0755, &err), MLQ_OK);
    write_file("spec/bad.yaml", "apiVersion: mlq/v1\nkind: Job\nmetadata: {name: j}\nspec: {uses: "
                                "data.import, with: {path: nowhere.csv}}\n");
    assert_int_equal(specfile_load(&session, "spec/bad.yaml", &sets, &file), CMD_INVALID);
    assert_int_equal(specfile_load(&session, "spec/none.yaml", &sets, &file), CMD_NOT_FOUND);
    sets.items[sets.count++] = "without-equals";
    assert_int_equal(specfile_load(&session, "spec/bad.yaml", &sets, &file), CMD_USAGE);
    session_close(&session);
}

static void outside_a_repository_only_the_obvious_is_left_out(void **state)
{
    struct mlq_region *region = mlq_region_create();
    struct gitfiles *files = NULL;
    struct mlq_err err = MLQ_ERR_INIT;
    char dir[] = "/tmp/mlq-gitfiles-XXXXXX";
    (void)state;
    assert_non_null(mkdtemp(dir));
    assert_int_equal(gitfiles_open(dir, region, &files, &err), MLQ_OK);
    assert_false(gitfiles_skip(files, "a.py", false));
    assert_false(gitfiles_skip(files, "sub", true));
    assert_true(gitfiles_skip(files, "sub/__pycache__", true));
    assert_true(gitfiles_skip(files, ".git", true));
    assert_null(gitfiles_commit(dir, region));
    assert_int_equal(rmdir(dir), 0);
    mlq_region_destroy(&region);
}

static void a_database_gets_a_quarter_within_bounds(void **state)
{
    (void)state;
    assert_int_equal(pg_buffers_mib(0), 128);
    assert_int_equal(pg_buffers_mib(512), 128);
    assert_int_equal(pg_buffers_mib(1000), 250);
    assert_int_equal(pg_buffers_mib(2048), 512);
    assert_int_equal(pg_buffers_mib(1L << 24), 512);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_has_the_exit_that_the_readme_promises),
        cmocka_unit_test(a_remote_cluster_must_be_said_whole),
        cmocka_unit_test(without_a_cluster_nothing_is_sent),
        cmocka_unit_test(a_home_is_written_and_read),
        cmocka_unit_test(verbs_are_found_and_guessed),
        cmocka_unit_test(the_log_that_one_wants),
        cmocka_unit_test(the_rank_that_failed_first_not_its_victims),
        cmocka_unit_test(a_spec_takes_its_scripts_along),
        cmocka_unit_test(a_missing_file_is_invalid_before_anything_is_sent),
        cmocka_unit_test(outside_a_repository_only_the_obvious_is_left_out),
        cmocka_unit_test(a_database_gets_a_quarter_within_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
