/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * What a task is given (prepare.h) and what it leaves (collect.h), on the same file system as the
 * store: who gets copies, what is moved, and what a task can do about it.
 */
#include "tests/unit/cm.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/artifact/cas.h"
#include "lib/base/ownership.h"
#include "lib/sys/fs.h"
#include "lib/sys/mem.h"
#include "tests/unit/files.h"
#include "worker/collect.h"
#include "worker/outputs.h"
#include "worker/prepare.h"

#define DIR        "attempt"
#define HUGE_BYTES (128u << 20) /* hashed in some 80 ms */
#define BUSY_TRIES 50

static struct mlq_region *region;
static struct cas *cas;

static int setup(void **state)
{
    (void)state;
    (void)mlq_fs_remove_tree("store", NULL);
    (void)mlq_fs_remove_tree(DIR, NULL);
    (void)mlq_fs_remove_tree("elsewhere", NULL);
    assert_int_equal(cas_open("store", &cas, NULL), MLQ_OK);
    region = mlq_region_create();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    cas_close(&cas);
    mlq_region_destroy(&region);
    return 0;
}

static const char *object_of(const char *digest)
{
    const char *hex = strchr(digest, ':') + 1;
    return mlq_region_format(region, "store/objects/%.2s/%s", hex, hex + 2);
}

static struct stat look(const char *path)
{
    struct stat status;
    assert_int_equal(stat(path, &status), 0);
    return status;
}

static bool is_same(const char *a, const char *b)
{
    return look(a).st_ino == look(b).st_ino;
}

/* ---- Inputs ---- */

static const char *store_text(const char *text)
{
    struct cas_digest digest;
    char digest_text[CAS_DIGEST_TEXT_BYTES];
    assert_int_equal(cas_put_bytes(cas, mlq_str_from(text), &digest, NULL), MLQ_OK);
    cas_digest_format(&digest, digest_text);
    return mlq_region_strdup(region, digest_text);
}

static struct prepare_job prepare(const char *uses, const char *digest)
{
    static struct probe probe;
    static struct cgroup_host cgroups;
    const struct mlq_str argv[] = {MLQ_STR("true")};
    struct msg_input input = {
        .name = MLQ_STR("data"), .file = MLQ_STR("table"), .digest = mlq_str_from(digest)};
    struct msg_assignment assignment = {.member = {.attempt = 7},
                                        .uses = mlq_str_from(uses),
                                        .argv = argv,
                                        .argc = uses[0] == '\0' ? 1 : 0,
                                        .inputs = &input,
                                        .input_count = 1};
    struct prepare_job job = {.dir = DIR,
                              .store = "store",
                              .bin_dir = "/bin",
                              .control = "control.sock",
                              .assignment = &assignment,
                              .probe = &probe,
                              .cgroups = &cgroups,
                              .group = "group",
                              .region = region};
    prepare_run(&job);
    job.assignment = NULL;
    return job;
}

static void an_operator_reads_the_object_itself(void **state)
{
    (void)state;
    const char *digest = store_text("rows");
    assert_int_equal(prepare("data.split", digest).cause, WORKER_CAUSE_NONE);
    assert_file(DIR "/in/data/table", "rows");
    assert_true(is_same(DIR "/in/data/table", object_of(digest)));
}

static void a_command_gets_a_copy(void **state)
{
    (void)state;
    const char *digest = store_text("rows");
    assert_int_equal(prepare("", digest).cause, WORKER_CAUSE_NONE);
    assert_file(DIR "/in/data/table", "rows");
    assert_false(is_same(DIR "/in/data/table", object_of(digest)));
}

static void neither_gets_a_damaged_object(void **state)
{
    (void)state;
    static const char *const uses[] = {"data.split", ""};
    for (size_t i = 0; i < MLQ_COUNT_OF(uses); i++) {
        const char *digest = store_text("rows");
        assert_int_equal(chmod(object_of(digest), 0644), 0);
        write_file(object_of(digest), "r0ws");
        struct prepare_job job = prepare(uses[i], digest);
        assert_int_equal(job.cause, WORKER_CAUSE_INPUT);
        assert_non_null(strstr(job.err.text, "input 'data': "));
        assert_non_null(strstr(job.err.text, "is damaged: its bytes no longer have that digest"));
        assert_false(mlq_fs_exists(DIR "/in/data/table"));
        assert_int_equal(mlq_fs_remove_tree(DIR, NULL), MLQ_OK);
    }
}

/* ---- Outputs ---- */

static void make_out(void)
{
    assert_int_equal(mlq_fs_make_dirs(DIR "/out", 0700, NULL), MLQ_OK);
    assert_int_equal(mlq_fs_make_dirs("elsewhere", 0700, NULL), MLQ_OK);
}

static struct collect_job collect_by(unsigned threads)
{
    static const char *const groups[] = {NULL};
    struct collect_job job = {
        .dir = DIR, .store = "store", .threads = threads, .groups = groups, .region = region};
    collect_run(&job);
    return job;
}

static struct collect_job collect(void)
{
    return collect_by(0);
}

/* The object that an output became; NULL: it became none. */
static const char *find(const struct collect_job *job, const char *name)
{
    for (size_t i = 0; i < job->artifact_count; i++) {
        if (mlq_str_eq_c(job->artifacts[i].name, name)) {
            return object_of(job->artifacts[i].digest.ptr);
        }
    }
    return NULL;
}

static void outputs_move_and_can_be_collected_again(void **state)
{
    (void)state;
    make_out();
    write_file(DIR "/out/model", "weights");
    write_file(DIR "/out/metrics.json", "{\"loss\": 0.5}");
    assert_int_equal(mlq_fs_make_dirs(DIR "/out/tree/in", 0700, NULL), MLQ_OK);
    write_file(DIR "/out/tree/in/part", "part");
    struct collect_job first = collect();
    assert_int_equal(first.cause, WORKER_CAUSE_NONE);
    assert_true(is_same(DIR "/out/model", find(&first, "model")));
    assert_int_equal(look(DIR "/out/tree/in/part").st_nlink, 2);
    /* A worker that died before it could tell collects again. */
    struct collect_job again = collect();
    assert_int_equal(again.cause, WORKER_CAUSE_NONE);
    assert_int_equal(again.metric_count, 1);
    assert_int_equal(again.artifact_count, first.artifact_count);
    for (size_t i = 0; i < first.artifact_count; i++) {
        assert_string_equal(again.artifacts[i].digest.ptr, first.artifacts[i].digest.ptr);
        assert_int_equal(again.artifacts[i].bytes, first.artifacts[i].bytes);
    }
    assert_int_equal(mlq_fs_remove_tree(DIR, NULL), MLQ_OK);
    assert_file(find(&first, "model"), "weights");
}

static void a_file_that_a_task_keeps_a_way_to_is_copied(void **state)
{
    (void)state;
    make_out();
    write_file(DIR "/out/linked", "linked");
    write_file(DIR "/out/open", "open");
    write_file(DIR "/out/twice", "twice");
    assert_int_equal(link(DIR "/out/linked", "elsewhere/linked"), 0);
    assert_int_equal(link(DIR "/out/twice", DIR "/out/twice2"), 0);
    int fd = open(DIR "/out/open", O_RDWR);
    struct collect_job job = collect();
    assert_int_equal(job.cause, WORKER_CAUSE_NONE);
    write_file("elsewhere/linked", "LINKED");
    write_file(DIR "/out/twice", "TWICE");
    assert_int_equal(pwrite(fd, "OPEN", 4, 0), 4);
    close(fd);
    assert_file(find(&job, "linked"), "linked");
    assert_file(find(&job, "open"), "open");
    assert_file(find(&job, "twice"), "twice");
    assert_string_equal(find(&job, "twice"), find(&job, "twice2"));
}

static void links_are_taken_inside_and_refused_outside(void **state)
{
    (void)state;
    make_out();
    write_file(DIR "/out/model", "weights");
    write_file("elsewhere/secret", "secret");
    assert_int_equal(symlink("model", DIR "/out/best"), 0);
    assert_int_equal(symlink("../../elsewhere/secret", DIR "/out/secret"), 0);
    struct collect_job job = collect();
    assert_int_equal(job.cause, WORKER_CAUSE_OUTPUT);
    assert_non_null(strstr(job.err.text, "leads out of the output folder"));
    assert_null(find(&job, "secret"));
    assert_string_equal(find(&job, "best"), find(&job, "model"));
    assert_file(find(&job, "best"), "weights");
    assert_int_equal(look("elsewhere/secret").st_mode & 07777, 0644);
    assert_int_equal(look("elsewhere/secret").st_nlink, 1);
}

/* Of one letter. */
static void write_large(const char *path, char letter, size_t bytes)
{
    char *data = mlq_alloc(bytes);
    memset(data, letter, bytes);
    assert_int_equal(mlq_fs_write_whole(path, (struct mlq_str){data, bytes}, 0644, NULL), MLQ_OK);
    mlq_free(data);
}

static int64_t when_stored(const struct collect_job *job, const char *name)
{
    const char *object = find(job, name);
    assert_non_null(object);
    struct stat status = look(object); /* to be renamed was the last that happened to it */
    return (int64_t)status.st_ctim.tv_sec * 1000000000 + status.st_ctim.tv_nsec;
}

static void assert_artifacts(const struct collect_job *job, const char *const *names, size_t count)
{
    assert_int_equal(job->artifact_count, count);
    for (size_t i = 0; i < count; i++) {
        assert_true(mlq_str_eq_c(job->artifacts[i].name, names[i]));
    }
}

/* Whether one that is done sooner than the largest, which comes first, was not behind it. */
static bool is_put_beside(unsigned threads)
{
    static const char *const names[] = {"a", "b", "huge", "tree", ".log"};
    (void)mlq_fs_remove_tree("store", NULL);
    make_out();
    assert_int_equal(mlq_fs_make_dirs(DIR "/out/tree", 0700, NULL), MLQ_OK);
    write_file(DIR "/out/tree/part", "part");
    write_large(DIR "/out/a", 'a', OUTPUTS_LARGE_BYTES + 1);
    write_large(DIR "/out/b", 'b', OUTPUTS_LARGE_BYTES);
    write_large(DIR "/out/huge", 'h', HUGE_BYTES);
    struct collect_job job = collect_by(threads);
    assert_int_equal(job.cause, WORKER_CAUSE_NONE);
    assert_artifacts(&job, names, MLQ_COUNT_OF(names));
    for (size_t i = 0; i < job.artifact_count; i++) {
        assert_int_equal(job.artifacts[i].is_tree, i == 3);
    }
    assert_int_equal(job.artifacts[0].bytes, OUTPUTS_LARGE_BYTES + 1);
    assert_int_equal(job.artifacts[3].bytes, 4);
    assert_true(is_same(DIR "/out/huge", find(&job, "huge")));
    assert_int_equal(look(find(&job, "huge")).st_nlink, 2);
    bool is_beside = when_stored(&job, "a") < when_stored(&job, "huge");
    assert_int_equal(mlq_fs_remove_tree(DIR, NULL), MLQ_OK);
    return is_beside;
}

/* On a busy machine the second thread may come too late for one time or another. */
static void large_outputs_go_side_by_side(void **state)
{
    (void)state;
    bool is_beside = false;
    for (int i = 0; i < BUSY_TRIES && !is_beside; i++) {
        is_beside = is_put_beside(2);
    }
    assert_true(is_beside);
    assert_false(is_put_beside(1));
}

/* What cannot be an artifact keeps no other from being one, and the first by name is told. */
static void a_failure_leaves_the_others(void **state)
{
    (void)state;
    static const char *const names[] = {"a", "e", ".log"};
    make_out();
    write_large(DIR "/out/a", 'a', OUTPUTS_LARGE_BYTES);
    write_large(DIR "/out/e", 'e', OUTPUTS_LARGE_BYTES);
    assert_int_equal(mlq_fs_make_dirs(DIR "/out/b", 0700, NULL), MLQ_OK);
    assert_int_equal(mkfifo(DIR "/out/b/pipe", 0600), 0);
    assert_int_equal(mkfifo(DIR "/out/c", 0600), 0);
    struct collect_job job = collect_by(4);
    assert_int_equal(job.cause, WORKER_CAUSE_OUTPUT);
    assert_non_null(strstr(job.err.text, "output b"));
    assert_artifacts(&job, names, MLQ_COUNT_OF(names));
}

/* By calls of this process. */
static uint64_t bytes_read(void)
{
    char *text = NULL;
    size_t len = 0;
    uint64_t bytes = 0;
    assert_int_equal(mlq_fs_read("/proc/self/io", 4096, &text, &len, NULL), MLQ_OK);
    assert_int_equal(sscanf(text, "rchar: %" SCNu64, &bytes), 1);
    mlq_free(text);
    return bytes;
}

static void a_file_under_two_names_is_read_once(void **state)
{
    (void)state;
    make_out();
    write_large(DIR "/out/last", 'l', HUGE_BYTES);
    assert_int_equal(symlink("last", DIR "/out/best"), 0);
    uint64_t before = bytes_read();
    struct collect_job job = collect_by(4);
    assert_in_range(bytes_read() - before, HUGE_BYTES, HUGE_BYTES + HUGE_BYTES / 8);
    assert_int_equal(job.cause, WORKER_CAUSE_NONE);
    assert_string_equal(find(&job, "best"), find(&job, "last"));
    assert_int_equal(job.artifacts[0].bytes, HUGE_BYTES);
    assert_int_equal(job.artifacts[1].bytes, HUGE_BYTES);
    assert_true(is_same(DIR "/out/last", find(&job, "last")));
    assert_int_equal(look(DIR "/out/last").st_nlink, 2);
}

/* An operator's input stays in the store when its task's folder is cleared. */
static void clearing_inputs_leaves_the_object(void **state)
{
    (void)state;
    const char *digest = store_text("rows");
    assert_int_equal(prepare("data.split", digest).cause, WORKER_CAUSE_NONE);
    assert_int_equal(collect().cause, WORKER_CAUSE_NONE);
    assert_false(mlq_fs_exists(DIR "/in"));
    assert_file(object_of(digest), "rows");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_operator_reads_the_object_itself),
        TEST(a_command_gets_a_copy),
        TEST(neither_gets_a_damaged_object),
        TEST(outputs_move_and_can_be_collected_again),
        TEST(a_file_that_a_task_keeps_a_way_to_is_copied),
        TEST(links_are_taken_inside_and_refused_outside),
        TEST(large_outputs_go_side_by_side),
        TEST(a_failure_leaves_the_others),
        TEST(a_file_under_two_names_is_read_once),
        TEST(clearing_inputs_leaves_the_object),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
