/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * mlq-worker as a program, with real shims and tasks, against a scripted scheduler.
 */
#include "tests/e2e/fake_scheduler.h"
#include "tests/unit/free_port.h"

#include <dirent.h>

#include "worker/exec/cgroup.h"
#include "worker/exec/shimfile.h"

#define NOOPS 20

static struct fake fake;

static void begin(void)
{
    fake_open(&fake);
    fake_start_worker(&fake);
    FAKE_WAIT(&fake, fake.heartbeats >= 1);
}

static struct msg_assignment assignment(uint64_t attempt)
{
    return (struct msg_assignment){
        .member = {.attempt = attempt},
        .job = 12,
        .array_count = 1,
        .ranks = 1,
        .job_name = MLQ_STR("job"),
        .stage_name = MLQ_STR("stage"),
        .cpu_milli = 1500,
        .mem_bytes = 256 << 20,
        .grace_ns = 5 * MLQ_NS_PER_S,
        .local_ranks = 1,
        .group_count = 1,
    };
}

static void assign_shell_as(struct msg_assignment item, const char *script)
{
    const struct mlq_str argv[] = {MLQ_STR("sh"), MLQ_STR("-c"), mlq_str_from(script)};
    item.argv = argv;
    item.argc = 3;
    fake_assign(&fake, &item, 1);
}

static void assign_shell(uint64_t attempt, const char *script)
{
    assign_shell_as(assignment(attempt), script);
}

static const struct heard_end *wait_end(uint64_t attempt)
{
    FAKE_WAIT(&fake, fake_end(&fake, attempt, 0) != NULL);
    return fake_end(&fake, attempt, 0);
}

static void send_kill(uint64_t attempt, int64_t grace_ns)
{
    const struct msg_kill_item item = {
        .member = {.attempt = attempt}, .cause = WORKER_CAUSE_CANCEL, .grace_ns = grace_ns};
    struct msg msg = {.kind = MSG_KILL, .kill = {.items = &item, .count = 1}};
    fake_send(&fake, &msg);
}

static const struct heard_artifact *find_artifact(const struct heard_end *end, const char *name)
{
    for (size_t i = 0; i < end->artifact_count; i++) {
        if (strcmp(end->artifacts[i].name, name) == 0) {
            return &end->artifacts[i];
        }
    }
    fail_msg("no artifact %s", name);
    return NULL;
}

static char *read_artifact(const struct heard_end *end, const char *name)
{
    struct cas *cas;
    struct cas_digest digest;
    char *data;
    size_t len;
    const struct heard_artifact *artifact = find_artifact(end, name);
    assert_true(cas_digest_parse(mlq_str_from(artifact->digest), &digest));
    assert_int_equal(cas_open("store", &cas, NULL), 0);
    assert_int_equal(cas_read(cas, &digest, 1 << 20, &data, &len, NULL), 0);
    cas_close(&cas);
    return data;
}

static void expect_artifact(const struct heard_end *end, const char *name, const char *text)
{
    char *data = read_artifact(end, name);
    assert_string_equal(data, text);
    mlq_free(data);
}

static const struct heard_metric *find_metric(const struct heard_metric *metrics, size_t count,
                                              const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(metrics[i].name, name) == 0) {
            return &metrics[i];
        }
    }
    return NULL;
}

static bool folder_is_empty(const char *path)
{
    DIR *folder = opendir(path);
    int entries = 0;
    while (folder != NULL && readdir(folder) != NULL) {
        entries++;
    }
    if (folder != NULL) {
        closedir(folder);
    }
    return entries <= 2;
}

/* ---- A task's life ---- */

static void test_command(void **state)
{
    (void)state;
    begin();
    assert_non_null(strstr(fake.software, "limits: "));
    assign_shell(
        100, "echo hello; echo there >&2; echo result > $MLQ_OUTPUT/a.txt;"
             "mkdir $MLQ_OUTPUT/dir; echo 1 > $MLQ_OUTPUT/dir/x; ln -s a.txt $MLQ_OUTPUT/b.txt;"
             "echo '{\"accuracy\": 0.5, \"n\": 3, \"text\": \"x\"}' > $MLQ_OUTPUT/metrics.json");
    const struct heard_end *end = wait_end(100);
    assert_int_equal(end->cause, WORKER_CAUSE_NONE);
    assert_int_equal(end->exit_code, 0);
    assert_true(fake.started >= 1); /* a hello that a busy machine makes late brings it again */
    assert_int_equal(end->artifact_count, 5);
    expect_artifact(end, "a.txt", "result\n");
    expect_artifact(end, "b.txt", "result\n");
    expect_artifact(end, ".log", "hello\nthere\n");
    assert_true(find_artifact(end, "dir")->is_tree);
    assert_int_equal(end->metric_count, 2);
    assert_true(find_metric(end->metrics, end->metric_count, "accuracy")->value == 0.5);
    /* Acknowledged: nothing of it is left, and a late repeat of the assignment starts nothing. */
    FAKE_WAIT(&fake, folder_is_empty("home/w1/attempts"));
    unsigned started = fake.started, times = end->times;
    assign_shell(100, "echo again");
    unsigned beats = fake.heartbeats;
    FAKE_WAIT(&fake, fake.heartbeats >= beats + 3);
    assert_int_equal(fake.started, started);
    assert_int_equal(end->times, times);
    fake_close(&fake);
}

/* The empty log is put into the store once; all that write nothing have it, and who writes has his own. */
static void test_silence(void **state)
{
    (void)state;
    begin();
    assign_shell(105, "true");
    expect_artifact(wait_end(105), ".log", "");
    assign_shell(106, "echo > $MLQ_OUTPUT/a.txt");
    expect_artifact(wait_end(106), ".log", "");
    expect_artifact(fake_end(&fake, 106, 0), "a.txt", "\n");
    assign_shell(107, "echo said");
    expect_artifact(wait_end(107), ".log", "said\n");
    assign_shell(108, "true");
    expect_artifact(wait_end(108), ".log", "");
    assert_int_equal(fake_end(&fake, 108, 0)->cause, WORKER_CAUSE_NONE);
    fake_close(&fake);
}

/* Started, ended and acknowledged as any other, and nothing of it on the disk; what one message brings
 * is answered by one. */
static void test_noop(void **state)
{
    (void)state;
    struct msg_assignment items[NOOPS];
    begin();
    for (size_t i = 0; i < NOOPS; i++) {
        items[i] = assignment(100 + i);
        items[i].uses = MLQ_STR("noop");
    }
    fake_assign(&fake, items, NOOPS);
    const struct heard_end *end = wait_end(100 + NOOPS - 1);
    assert_int_equal(end->cause, WORKER_CAUSE_NONE);
    assert_int_equal(end->exit_code, 0);
    assert_int_equal(end->artifact_count, 0);
    assert_true(fake.started >= NOOPS);
    assert_in_range(fake.reports, 1, NOOPS - 1); /* a late acknowledgement makes it say the ends again */
    assert_true(folder_is_empty("home/w1/attempts"));
    fake_close(&fake);
}

static void test_failures(void **state)
{
    (void)state;
    begin();
    assign_shell(101, "echo verdict > $MLQ_OUTPUT/validation.json; exit 9");
    const struct heard_end *end = wait_end(101);
    assert_int_equal(end->cause, WORKER_CAUSE_EXIT);
    assert_int_equal(end->exit_code, 9);
    expect_artifact(end, "validation.json", "verdict\n"); /* outputs of a failure count, too */
    const struct mlq_str argv[] = {MLQ_STR("no-such-program")};
    struct msg_assignment item = assignment(102);
    item.argv = argv;
    item.argc = 1;
    fake_assign(&fake, &item, 1);
    assert_int_equal(wait_end(102)->cause, WORKER_CAUSE_SPAWN);
    assert_non_null(strstr(fake_end(&fake, 102, 0)->detail, "no-such-program"));
    item = assignment(103);
    const struct msg_input input = {
        .name = MLQ_STR("data"),
        .file = MLQ_STR("d.csv"),
        .digest =
            MLQ_STR("sha256:0000000000000000000000000000000000000000000000000000000000000000")};
    item.inputs = &input;
    item.input_count = 1;
    assign_shell_as(item, "exit 0");
    assert_int_equal(wait_end(103)->cause, WORKER_CAUSE_INPUT);
    assert_non_null(strstr(fake_end(&fake, 103, 0)->detail, "data"));
    assign_shell(104, "ln -s /etc/passwd $MLQ_OUTPUT/secret; echo fine > $MLQ_OUTPUT/fine");
    end = wait_end(104);
    assert_int_equal(end->cause, WORKER_CAUSE_OUTPUT);
    assert_non_null(strstr(end->detail, "leads out of"));
    expect_artifact(end, "fine", "fine\n");
    assign_shell(105, "mkfifo $MLQ_OUTPUT/pipe");
    assert_int_equal(wait_end(105)->cause, WORKER_CAUSE_OUTPUT);
    item = assignment(106);
    item.timeout_ns = 100 * MLQ_NS_PER_MS;
    assign_shell_as(item, "sleep 600");
    assert_int_equal(wait_end(106)->cause, WORKER_CAUSE_TIMEOUT);
    item = assignment(107);
    const struct msg_input bad = {
        .name = MLQ_STR(".."), .file = MLQ_STR("x"), .digest = input.digest};
    item.inputs = &bad;
    item.input_count = 1;
    assign_shell_as(item, "exit 0");
    assert_int_equal(wait_end(107)->cause, WORKER_CAUSE_SPAWN);
    fake_close(&fake);
}

static void test_inputs_and_code(void **state)
{
    (void)state;
    begin();
    struct cas *cas;
    struct cas_digest digest;
    char data[CAS_DIGEST_TEXT_BYTES];
    char code[CAS_DIGEST_TEXT_BYTES];
    assert_int_equal(cas_open("store", &cas, NULL), 0);
    assert_int_equal(cas_put_bytes(cas, MLQ_STR("1,2\n"), &digest, NULL), 0);
    cas_digest_format(&digest, data);
    assert_int_equal(mlq_fs_make_dirs("code/lib", 0700, NULL), 0);
    assert_int_equal(mlq_fs_write_durable("code/lib/main.sh",
                                          MLQ_STR("cat \"$MLQ_INPUT_MY_DATA\"\n"), 0600, NULL),
                     0);
    assert_int_equal(cas_put_tree(cas, "code", NULL, NULL, &digest, NULL, NULL), 0);
    cas_digest_format(&digest, code);
    cas_close(&cas);
    struct msg_assignment item = assignment(110);
    const struct msg_input inputs[] = {
        {.name = MLQ_STR("my-data"), .file = MLQ_STR("d.csv"), .digest = mlq_str_from(data)},
        {.name = MLQ_STR("all"),
         .file = MLQ_STR("one"),
         .digest = mlq_str_from(data),
         .in_folder = true},
        {.name = MLQ_STR("all"),
         .file = MLQ_STR("two"),
         .digest = mlq_str_from(data),
         .in_folder = true},
        {.name = MLQ_STR("tree"),
         .file = MLQ_STR("t"),
         .digest = mlq_str_from(code),
         .is_tree = true}};
    item.inputs = inputs;
    item.input_count = 4;
    item.code = mlq_str_from(code);
    assign_shell_as(item, "sh lib/main.sh; ls $MLQ_INPUT_ALL; basename $MLQ_INPUT_MY_DATA;"
                          "cmp lib/main.sh $MLQ_INPUT_TREE/lib/main.sh;"
                          "stat -c %a $MLQ_INPUT_MY_DATA; echo more >> lib/main.sh");
    const struct heard_end *end = wait_end(110);
    assert_int_equal(end->exit_code, 0);
    expect_artifact(end, ".log", "1,2\none\ntwo\nd.csv\n444\n");
    fake_close(&fake);
}

/* ---- The environment ---- */

static void test_environment(void **state)
{
    (void)state;
    begin();
    struct msg_assignment item = assignment(120);
    const struct msg_env env[] = {{.name = MLQ_STR("LANG"), .value = MLQ_STR("de_DE")},
                                  {.name = MLQ_STR("MY"), .value = MLQ_STR("a b=c")},
                                  {.name = MLQ_STR("PATH"), .value = MLQ_STR("/usr/bin:/bin")}};
    const struct mlq_str addresses[] = {MLQ_STR("127.0.0.1:4000"), MLQ_STR("127.0.0.1:4001")};
    item.member.rank = 1;
    item.ranks = 2;
    item.index = 4;
    item.restart_count = 2;
    item.restart_limit = 5;
    item.local_rank = 1;
    item.local_ranks = 2;
    item.master_addr = MLQ_STR("127.0.0.1");
    item.master_port = 4000;
    item.rank_addresses = addresses;
    item.rank_address_count = 2;
    item.env = env;
    item.env_count = 3;
    assign_shell_as(item, "env | sort > $MLQ_OUTPUT/env; command -v mlq-task >/dev/null || exit 3");
    FAKE_WAIT(&fake, fake_end(&fake, 120, 1) != NULL);
    const struct heard_end *end = fake_end(&fake, 120, 1);
    assert_int_equal(end->exit_code, 0);
    char *text = read_artifact(end, "env");
    static const char *const expected[] = {
        "RANK=1",
        "LOCAL_RANK=1",
        "WORLD_SIZE=2",
        "LOCAL_WORLD_SIZE=2",
        "GROUP_RANK=0",
        "GROUP_WORLD_SIZE=1",
        "ROLE_NAME=default",
        "ROLE_RANK=1",
        "ROLE_WORLD_SIZE=2",
        "MASTER_ADDR=127.0.0.1",
        "MASTER_PORT=4000",
        "TORCHELASTIC_RESTART_COUNT=2",
        "TORCHELASTIC_MAX_RESTARTS=5",
        "TORCHELASTIC_RUN_ID=120",
        "TORCHELASTIC_USE_AGENT_STORE=False",
        "TORCH_NCCL_ASYNC_ERROR_HANDLING=1",
        "JAX_COORDINATOR_ADDRESS=127.0.0.1:4000",
        "JAX_NUM_PROCESSES=2",
        "JAX_PROCESS_ID=1",
        "TF_CONFIG={\"cluster\":{\"worker\":[\"127.0.0.1:4000\",\"127.0.0.1:4001\"]},"
        "\"task\":{\"type\":\"worker\",\"index\":1}}",
        "MLQ_JOB=12",
        "MLQ_STAGE=stage",
        "MLQ_INDEX=4",
        "MLQ_ATTEMPT=120",
        "MLQ_FENCE=120",
        "MLQ_RETRY=2",
        "OMP_NUM_THREADS=2",
        "CUDA_VISIBLE_DEVICES=",
        "LANG=de_DE",
        "MY=a b=c"};
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        char line[256];
        (void)snprintf(line, sizeof line, "%s\n", expected[i]);
        if (strstr(text, line) == NULL) {
            fail_msg("no %s in:\n%s", expected[i], text);
        }
    }
    assert_null(strstr(text, "MLQ_DEADLINE"));
    mlq_free(text);
    fake_close(&fake);
}

/* Two ranks of examples/gang find each other and agree on a model. */
static void test_gang(void **state)
{
    (void)state;
    begin();
    struct cas *cas;
    struct cas_digest digest;
    char code[CAS_DIGEST_TEXT_BYTES];
    char *folder = mlq_format("%s/examples/gang", getenv("MLQ_SOURCE_DIR"));
    assert_int_equal(cas_open("store", &cas, NULL), 0);
    assert_int_equal(cas_put_tree(cas, folder, NULL, NULL, &digest, NULL, NULL), 0);
    cas_digest_format(&digest, code);
    cas_close(&cas);
    mlq_free(folder);
    const struct mlq_str argv[] = {MLQ_STR("python3"), MLQ_STR("allreduce.py")};
    uint16_t port = free_port(); /* the workers' own range is the same in every copy of this test */
    struct msg_assignment ranks[2];
    for (uint32_t i = 0; i < 2; i++) {
        ranks[i] = assignment(125);
        ranks[i].member.rank = i;
        ranks[i].ranks = 2;
        ranks[i].local_rank = i;
        ranks[i].local_ranks = 2;
        ranks[i].master_addr = MLQ_STR("127.0.0.1");
        ranks[i].master_port = port;
        ranks[i].argv = argv;
        ranks[i].argc = 2;
        ranks[i].code = mlq_str_from(code);
    }
    fake_assign(&fake, ranks, 2);
    FAKE_WAIT(&fake, fake.end_count == 2);
    const struct heard_end *first = fake_end(&fake, 125, 0);
    assert_int_equal(first->exit_code, 0);
    assert_int_equal(fake_end(&fake, 125, 1)->exit_code, 0);
    assert_true(find_metric(first->metrics, first->metric_count, "ranks")->value == 2);
    assert_true(find_metric(first->metrics, first->metric_count, "loss")->value < 0.001);
    char *log = read_artifact(fake_end(&fake, 125, 1), ".log");
    assert_non_null(strstr(log, "rank 1 of 2: weights "));
    mlq_free(log);
    fake_close(&fake);
}

/* ---- The control socket ---- */

static void test_control(void **state)
{
    (void)state;
    begin();
    /* The leak checker holds a process by SIGSTOP while it looks, and the SIGCONT of a stop lets it
     * go: then both wait for ever. */
    assign_shell(130,
                 "export ASAN_OPTIONS=detect_leaks=0;"
                 "trap '' TERM;" /* it hears of the stop by asking only */
                 "mlq-task metric loss=0.25 acc=0.5 step=7 || exit 11;"
                 "mlq-task metric loss=0.125 step=8 || exit 12;"
                 "mlq-task progress 0.5 'half way' || exit 13;"
                 "mlq-task metric 'a b=1' && exit 14;"
                 "mlq-task checkpoint /etc/passwd && exit 15;"
                 "echo x > $MLQ_CHECKPOINT/c1; mlq-task checkpoint $MLQ_CHECKPOINT/c1 || exit 16;"
                 "mlq-task record > $MLQ_OUTPUT/record || exit 17;"
                 "while mlq-task status; do sleep 0.02; done >/dev/null; exit 75");
    FAKE_WAIT(&fake, fake.record_request != 0);
    struct msg reply = {
        .kind = MSG_RECORD_REPLY,
        .record_reply = {.request = fake.record_request, .json = MLQ_STR("{\"a\":1}")}};
    fake_send(&fake, &reply);
    FAKE_WAIT(&fake, fake.note_count == 3);
    assert_string_equal(fake.notes[0].name, "loss");
    assert_int_equal(fake.notes[0].step, 7);
    assert_true(fake.notes[2].value == 0.125);
    FAKE_WAIT(&fake, fake.progress == 0.5);
    assert_string_equal(fake.progress_text, "half way");
    send_kill(130, 30 * MLQ_NS_PER_S);
    const struct heard_end *end = wait_end(130);
    assert_int_equal(end->cause, WORKER_CAUSE_CANCEL);
    assert_int_equal(end->exit_code, 75);
    expect_artifact(end, "record", "{\"a\":1}\n");
    const struct heard_metric *loss = find_metric(end->metrics, end->metric_count, "loss");
    assert_true(loss->value == 0.125 && loss->step == 8);
    fake_close(&fake);
}

static void refuse_worker(void)
{
    struct msg msg = {.kind = MSG_REFUSED,
                      .refused = {.code = MLQ_EAGAIN, .text = MLQ_STR("say hello first")}};
    unsigned hellos = fake.hellos;
    fake_send(&fake, &msg);
    FAKE_WAIT(&fake, fake.hellos > hellos);
}

static void answer_record(int code, const char *json)
{
    struct msg reply = {
        .kind = MSG_RECORD_REPLY,
        .record_reply = {.request = fake.record_request, .code = code, .json = mlq_str_from(json)}};
    fake_send(&fake, &reply);
}

/* A leader that has the question dies with it; another says "later"; the answer comes twice. */
static void test_record_is_asked_again(void **state)
{
    (void)state;
    begin();
    assign_shell(135, "touch asks; mlq-task record > $MLQ_OUTPUT/one || exit 11;"
                      "mlq-task record > $MLQ_OUTPUT/two || exit 12");
    fake.is_deaf = true; /* nobody leads */
    refuse_worker();
    FAKE_WAIT(&fake, mlq_fs_exists("home/w1/attempts/135-0/work/asks"));
    fake.is_deaf = false;
    FAKE_WAIT(&fake, fake.record_request != 0);
    uint64_t first = fake.record_request;
    fake.record_request = 0;
    refuse_worker();
    unsigned beats = fake.heartbeats;
    FAKE_WAIT(&fake, fake.heartbeats > beats);
    assert_int_equal(fake.record_request, first); /* the welcome brought it, before anything else */
    fake.record_request = 0;
    fake_send(&fake, &(struct msg){.kind = MSG_RECORD_REPLY,
                                   .record_reply = {.request = first, .code = MLQ_EAGAIN}});
    FAKE_WAIT(&fake, fake.record_request == first);
    answer_record(MLQ_OK, "{\"a\":1}");
    answer_record(MLQ_OK, "{\"a\":2}");
    FAKE_WAIT(&fake, fake.record_request > first);
    answer_record(MLQ_OK, "{\"a\":3}");
    const struct heard_end *end = wait_end(135);
    assert_int_equal(end->exit_code, 0);
    expect_artifact(end, "one", "{\"a\":1}\n");
    expect_artifact(end, "two", "{\"a\":3}\n");
    fake_close(&fake);
}

static void test_checkpoint_survives(void **state)
{
    (void)state;
    begin();
    assign_shell(140, "echo one > $MLQ_CHECKPOINT/state; exit 1");
    (void)wait_end(140);
    assign_shell(150, "cat $MLQ_CHECKPOINT/state");
    expect_artifact(wait_end(150), ".log", "one\n");
    assign_shell(145, "cat $MLQ_CHECKPOINT/state"); /* superseded: it may not touch them any more */
    assert_int_equal(wait_end(145)->cause, WORKER_CAUSE_NODE);
    assert_non_null(strstr(fake_end(&fake, 145, 0)->detail, "150"));
    /* What a loss of power leaves of a file that was not synced must not lock the task out. */
    assert_int_equal(truncate("store/checkpoints/12-0-0/.fence", 0), 0);
    assign_shell(155, "cat $MLQ_CHECKPOINT/state");
    expect_artifact(wait_end(155), ".log", "one\n");
    fake_close(&fake);
}

/* ---- Logs ---- */

static bool has_end(const char *dir)
{
    struct shimfile_end end;
    return shimfile_load_end(dir, &end, NULL) == MLQ_OK;
}

static void read_log(uint64_t attempt, uint64_t offset, int64_t wait_ns)
{
    static uint64_t request;
    unsigned before = fake.logs;
    struct msg msg = {.kind = MSG_LOG_READ,
                      .log_read = {.request = ++request,
                                   .member = {.attempt = attempt},
                                   .offset = offset,
                                   .bytes_max = 1000,
                                   .wait_ns = wait_ns}};
    fake_send(&fake, &msg);
    FAKE_WAIT(&fake, fake.logs > before);
    assert_int_equal(fake.log.request, request);
}

static void test_logs(void **state)
{
    (void)state;
    begin();
    fake.acks_ends = false; /* the attempt stays, so its log stays readable here */
    assign_shell(160, "echo one; until [ -e go ]; do sleep 0.01; done; echo two");
    read_log(160, 0, 30 * MLQ_NS_PER_S);
    assert_string_equal(fake.log_bytes, "one\n");
    assert_false(fake.log.end);
    read_log(160, 4, 0); /* nothing there, no wait */
    assert_string_equal(fake.log_bytes, "");
    assert_false(fake.log.end);
    assert_int_equal(
        mlq_fs_write_durable("home/w1/attempts/160-0/work/go", MLQ_STR(""), 0600, NULL), 0);
    read_log(160, 4, 30 * MLQ_NS_PER_S);
    assert_string_equal(fake.log_bytes, "two\n");
    while (!fake.log.end) {
        read_log(160, 8, 30 * MLQ_NS_PER_S);
    }
    read_log(160, 8, 30 * MLQ_NS_PER_S); /* it ended: nobody waits */
    assert_string_equal(fake.log_bytes, "");
    assert_true(fake.log.end);
    read_log(999, 0, 30 * MLQ_NS_PER_S);
    assert_int_equal(fake.log.code, MLQ_ENOENT);
    fake_close(&fake);
}

/* ---- Faults ---- */

static void test_worker_killed(void **state)
{
    (void)state;
    begin();
    assign_shell(170, "echo x >> $MLQ_CHECKPOINT/count; mlq-task metric before=1;"
                      "until [ -e go ]; do sleep 0.01; done; mlq-task metric after=2; exit 5");
    /* They share a checkpoint folder: one that is prepared after a later attempt is fenced. */
    FAKE_WAIT(&fake, shimfile_was_started("home/w1/attempts/170-0"));
    assign_shell(
        171, "echo x >> $MLQ_CHECKPOINT/count; until [ -e go ]; do sleep 0.01; done; echo done");
    /* Not the reports of starts: a hello that a busy machine makes late brings them again. */
    FAKE_WAIT(&fake, fake.note_count == 1 && shimfile_was_started("home/w1/attempts/171-0"));
    assert_int_equal(fake_end_worker(&fake, SIGKILL), -SIGKILL);
    /* One ends while nobody is there, the other goes on. */
    assert_int_equal(
        mlq_fs_write_durable("home/w1/attempts/171-0/work/go", MLQ_STR(""), 0600, NULL), 0);
    FAKE_WAIT(&fake, has_end("home/w1/attempts/171-0"));
    fake_start_worker(&fake);
    unsigned hellos = fake.hellos;
    FAKE_WAIT(&fake, fake.hellos > hellos);
    assert_int_equal(fake.claim_count, 2);
    const struct heard_end *end = wait_end(171);
    assert_int_equal(end->cause, WORKER_CAUSE_NONE);
    expect_artifact(end, ".log", "done\n");
    assert_null(fake_end(&fake, 170, 0));
    assert_int_equal(
        mlq_fs_write_durable("home/w1/attempts/170-0/work/go", MLQ_STR(""), 0600, NULL), 0);
    end = wait_end(170);
    assert_int_equal(end->exit_code, 5);
    assert_true(find_metric(end->metrics, end->metric_count, "before")->value == 1);
    assert_true(find_metric(end->metrics, end->metric_count, "after")->value == 2);
    char *count;
    size_t len;
    assert_int_equal(mlq_fs_read("store/checkpoints/12-0-0/count", 100, &count, &len, NULL), 0);
    assert_int_equal(len, 4); /* each ran once */
    mlq_free(count);
    fake_close(&fake);
}

static void test_lease(void **state)
{
    (void)state;
    fake_open(&fake);
    fake.lease_ns = patience(4 * MLQ_NS_PER_S); /* no machine stands still for so long */
    fake_start_worker(&fake);
    FAKE_WAIT(&fake, fake.heartbeats >= 1);
    assign_shell(180, "trap '' TERM; sleep 600");
    FAKE_WAIT(&fake, fake.started >= 1);
    fake_run_for(&fake, fake.lease_ns + MLQ_NS_PER_S); /* longer than it: heartbeats keep it alive */
    assert_null(fake_end(&fake, 180, 0));
    fake.is_deaf = true;
    FAKE_WAIT(&fake, has_end("home/w1/attempts/180-0"));
    fake.is_deaf = false;
    const struct heard_end *end = wait_end(180);
    assert_int_equal(end->cause, WORKER_CAUSE_LEASE);
    assert_int_equal(end->signal, SIGKILL);
    fake_close(&fake);
}

static void test_not_acknowledged(void **state)
{
    (void)state;
    begin();
    fake.acks_ends = false;
    assign_shell(190, "exit 4");
    FAKE_WAIT(&fake, wait_end(190)->times >= 3); /* again and again */
    assert_int_equal(fake_end_worker(&fake, SIGTERM), 0);
    unsigned times = wait_end(190)->times;
    fake_start_worker(&fake);
    FAKE_WAIT(&fake, wait_end(190)->times > times);
    assert_int_equal(wait_end(190)->exit_code, 4);
    fake.acks_ends = true;
    FAKE_WAIT(&fake, folder_is_empty("home/w1/attempts"));
    fake_close(&fake);
}

static void test_fenced(void **state)
{
    (void)state;
    begin();
    assign_shell(200, "trap '' TERM; touch $MLQ_CHECKPOINT/up; sleep 600");
    FAKE_WAIT(&fake, mlq_fs_exists("store/checkpoints/12-0-0/up"));
    const struct msg_member member = {.attempt = 200};
    struct msg msg = {.kind = MSG_FENCED, .fenced = {.items = &member, .count = 1}};
    fake.epoch = 2; /* an old leader's word */
    fake_send(&fake, &msg);
    unsigned beats = fake.heartbeats;
    fake_run_for(&fake, 3 * HEARTBEAT_NS);
    assert_true(mlq_fs_exists("home/w1/attempts/200-0"));
    fake.epoch = 3;
    FAKE_WAIT(&fake, fake.heartbeats > beats + 1);
    fake_send(&fake, &msg);
    FAKE_WAIT(&fake, folder_is_empty("home/w1/attempts"));
    assert_null(fake_end(&fake, 200, 0)); /* killed, forgotten, nothing reported */
    fake_close(&fake);
}

/* The first control group of a member; "": none is writable here. */
static char *group_of(const char *dir)
{
    struct shimfile_conf conf;
    struct mlq_region *region = mlq_region_create();
    assert_int_equal(shimfile_load_conf(dir, region, &conf, NULL), 0);
    char *group = mlq_strdup(conf.cgroups[0] == NULL ? "" : conf.cgroups[0]);
    mlq_region_destroy(&region);
    return group;
}

/* In the folder of an attempt. */
static char *path_of(uint64_t attempt, const char *name)
{
    return mlq_format("home/w1/attempts/%llu-0/%s", (unsigned long long)attempt, name);
}

static void let_go(uint64_t attempt)
{
    char *go = path_of(attempt, "work/go");
    assert_int_equal(mlq_fs_write_durable(go, MLQ_STR(""), 0600, NULL), 0);
    mlq_free(go);
}

static char *group_of_attempt(uint64_t attempt)
{
    char *dir = path_of(attempt, "");
    char *group = group_of(dir);
    mlq_free(dir);
    return group;
}

/* A task that waits after one that has ended, and the group of both. NULL: memory was charged to the first one's for
 * another moment, so it was not kept, and the second, which has ended then, had one of its own. */
static char *share_group(uint64_t first)
{
    char *begun = path_of(first + 1, "work/pid");
    assign_shell(first, "exit 4");
    (void)wait_end(first);
    assign_shell(first + 1, "echo $$ >pid; until [ -e go ]; do sleep 0.01; done; exit 5");
    FAKE_WAIT(&fake, mlq_fs_exists(begun));
    char *group = group_of_attempt(first), *other = group_of_attempt(first + 1);
    if (strcmp(group, other) != 0) {
        mlq_free(group);
        group = NULL;
        let_go(first + 1);
        (void)wait_end(first + 1);
    }
    mlq_free(other);
    mlq_free(begun);
    return group;
}

/* Control groups serve one task after the other; what is still known of the first does the second no
 * harm, also not to a worker that has just found both. */
static void test_groups_serve_again(void **state)
{
    (void)state;
    uint64_t first = 230;
    begin();
    fake.acks_ends = false; /* so that the first stays known */
    char *group = share_group(first);
    while (group == NULL && first < 244) {
        first += 2;
        group = share_group(first);
    }
    assert_non_null(group);
    unsigned hellos = fake.hellos;
    assert_int_equal(fake_end_worker(&fake, SIGKILL), -SIGKILL);
    fake_start_worker(&fake);
    FAKE_WAIT(&fake, fake.hellos > hellos);
    const struct msg_member member = {.attempt = first};
    struct msg msg = {.kind = MSG_FENCED, .fenced = {.items = &member, .count = 1}};
    char *dir = path_of(first, "");
    fake_send(&fake, &msg);
    FAKE_WAIT(&fake, !mlq_fs_exists(dir));
    assert_true(group[0] == '\0' || !cgroup_is_empty(group)); /* the second is in it */
    let_go(first + 1);
    assert_int_equal(wait_end(first + 1)->exit_code, 5);
    FAKE_WAIT(&fake, group[0] == '\0' || !mlq_fs_exists(group)); /* one that was found is not kept */
    mlq_free(group);
    mlq_free(dir);
    fake_close(&fake);
}

/* Its shim, its folder by two names in it, and that the socket answers. */
#define TELL "echo $PPID $(stat -c %i . $MLQ_CONTROL); mlq-task status >&2 || exit 9;"

static void expect_metric(const struct heard_end *end, const char *name, double value)
{
    const struct heard_metric *metric = find_metric(end->metrics, end->metric_count, name);
    assert_int_equal(end->metric_count, 1);
    assert_true(metric != NULL && metric->value == value);
}

static pid_t shim_of(uint64_t attempt)
{
    char *log = read_artifact(fake_end(&fake, attempt, 0), ".log");
    pid_t pid = (pid_t)strtol(log, NULL, 10);
    mlq_free(log);
    return pid;
}

/* Its folder is spare, and the worker knows it. */
static void wait_spare(ino_t inode)
{
    struct stat status;
    FAKE_WAIT(&fake, folder_is_empty("home/w1/attempts"));
    unsigned beats = fake.heartbeats;
    FAKE_WAIT(&fake, fake.heartbeats >= beats + 5);
    assert_int_equal(stat("home/w1/spare/0", &status), 0);
    assert_int_equal(status.st_ino, inode);
}

static ino_t inode_of(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0 ? status.st_ino : 0;
}

/* Shim, folder and control socket of a task serve the next one, and say nothing of the last. */
static void test_all_serves_again(void **state)
{
    (void)state;
    begin();
    assign_shell(235, TELL "until [ -e $TMPDIR/go ]; do sleep 0.01; done; rm $TMPDIR/go");
    FAKE_WAIT(&fake, fake.started >= 1);
    ino_t inode = inode_of("home/w1/attempts/235-0");
    assert_true(inode != 0);
    assert_int_equal(mlq_fs_write_whole("home/w1/attempts/235-0/tmp/go", MLQ_STR(""), 0600, NULL),
                     0);
    char *first = read_artifact(wait_end(235), ".log");
    wait_spare(inode);
    assign_shell(236, TELL "mlq-task metric b=2");
    expect_artifact(wait_end(236), ".log", first);
    expect_metric(fake_end(&fake, 236, 0), "b", 2);
    assert_int_equal(shim_of(236), shim_of(235));
    mlq_free(first);
    fake_close(&fake);
}

/* A shim that rested outlives the worker as any other, and ends with the task under which it lost
 * it. */
static void test_shim_rests_and_loses_worker(void **state)
{
    (void)state;
    begin();
    assign_shell(240, TELL);
    (void)wait_end(240);
    FAKE_WAIT(&fake, folder_is_empty("home/w1/attempts"));
    assign_shell(241,
                 TELL "touch begun; until [ -e go ]; do sleep 0.01; done; mlq-task metric c=3");
    FAKE_WAIT(&fake, mlq_fs_exists("home/w1/attempts/241-0/work/begun"));
    unsigned hellos = fake.hellos;
    assert_int_equal(fake_end_worker(&fake, SIGKILL), -SIGKILL);
    fake_start_worker(&fake);
    FAKE_WAIT(&fake, fake.hellos > hellos);
    assert_int_equal(fake.claim_count, 1);
    assert_int_equal(
        mlq_fs_write_durable("home/w1/attempts/241-0/work/go", MLQ_STR(""), 0600, NULL), 0);
    expect_metric(wait_end(241), "c", 3);
    assert_int_equal(shim_of(241), shim_of(240));
    FAKE_WAIT(&fake, kill(shim_of(241), 0) != 0);
    assign_shell(242, TELL "mlq-task metric d=4");
    expect_metric(wait_end(242), "d", 4);
    assert_int_not_equal(shim_of(242), shim_of(241));
    fake_close(&fake);
}

static bool has_kept_epoch(const char *text)
{
    char *data = NULL;
    size_t len = 0;
    bool is_it = mlq_fs_read("home/w1/epoch", 100, &data, &len, NULL) == MLQ_OK &&
                 strncmp(data, text, strlen(text)) == 0;
    mlq_free(data);
    return is_it;
}

static void test_epoch_is_kept(void **state)
{
    (void)state;
    begin();
    fake.epoch = 9;
    unsigned hellos = fake.hellos;
    FAKE_WAIT(&fake, fake.hellos > hellos); /* a new leader: it introduces itself again */
    FAKE_WAIT(&fake, has_kept_epoch("9"));  /* the hello may have been for a late acknowledgement */
    assert_int_equal(fake_end_worker(&fake, SIGKILL), -SIGKILL);
    fake.epoch = 8;
    fake_start_worker(&fake);
    hellos = fake.hellos;
    unsigned beats = fake.heartbeats;
    FAKE_WAIT(&fake, fake.hellos >= hellos + 2); /* its welcome is not believed */
    assert_int_equal(fake.heartbeats, beats);
    fake.epoch = 9;
    FAKE_WAIT(&fake, fake.heartbeats > beats);
    fake_close(&fake);
}

static void test_quit(void **state)
{
    (void)state;
    begin();
    assign_shell(210, "trap 'exit 75' TERM; while :; do sleep 0.01; done");
    FAKE_WAIT(&fake, fake.started >= 1);
    assert_int_equal(fake_end_worker(&fake, SIGQUIT), 0);
    const struct heard_end *end = wait_end(210);
    assert_int_equal(end->cause, WORKER_CAUSE_REQUEUE);
    FAKE_WAIT(&fake, fake.leavings == 1);
    fake_close(&fake);
}

/* The first of its endpoints is dead: it tries the next. */
static void test_standby(void **state)
{
    (void)state;
    fake_open(&fake);
    char *both = mlq_format("tcp://127.0.0.1:9,%s", fake.endpoint);
    (void)snprintf(fake.endpoint, sizeof fake.endpoint, "%s", both);
    mlq_free(both);
    fake_start_worker(&fake);
    FAKE_WAIT(&fake, fake.heartbeats >= 1);
    /* And when the scheduler does not answer any more, it goes on looking. */
    unsigned hellos = fake.hellos;
    fake.is_deaf = true;
    FAKE_WAIT(&fake, fake.hellos > hellos);
    fake.is_deaf = false;
    unsigned beats = fake.heartbeats;
    FAKE_WAIT(&fake, fake.heartbeats > beats);
    fake_close(&fake);
}

static void test_single_instance(void **state)
{
    (void)state;
    begin();
    pid_t first = fake.worker;
    int status;
    fake_start_worker(&fake);
    FAKE_WAIT(&fake, waitpid(fake.worker, &status, WNOHANG) == fake.worker);
    assert_int_equal(WEXITSTATUS(status), 1);
    fake.worker = first;
    fake_close(&fake);
}

static void test_shim_killed(void **state)
{
    (void)state;
    begin();
    assign_shell(220, "(setsid sleep 600 &) ; echo $PPID > shim; mv shim shim.pid; sleep 600");
    FAKE_WAIT(&fake, mlq_fs_exists("home/w1/attempts/220-0/work/shim.pid"));
    char *text;
    size_t len;
    assert_int_equal(mlq_fs_read("home/w1/attempts/220-0/work/shim.pid", 20, &text, &len, NULL), 0);
    assert_int_equal(kill((pid_t)strtol(text, NULL, 10), SIGKILL), 0);
    mlq_free(text);
    const struct heard_end *end = wait_end(220);
    assert_int_equal(end->cause, WORKER_CAUSE_NODE);
    assert_string_equal(end->detail, "its shim was killed");
    fake_close(&fake);
}

/* A test that failed leaves nothing running. */
static int clean(void **state)
{
    (void)state;
    if (fake.worker != 0) {
        (void)kill(fake.worker, SIGKILL);
        (void)waitpid(fake.worker, NULL, 0);
    }
    fake.worker = 0;
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_command, clean),
        cmocka_unit_test_teardown(test_silence, clean),
        cmocka_unit_test_teardown(test_noop, clean),
        cmocka_unit_test_teardown(test_failures, clean),
        cmocka_unit_test_teardown(test_inputs_and_code, clean),
        cmocka_unit_test_teardown(test_environment, clean),
        cmocka_unit_test_teardown(test_gang, clean),
        cmocka_unit_test_teardown(test_control, clean),
        cmocka_unit_test_teardown(test_record_is_asked_again, clean),
        cmocka_unit_test_teardown(test_checkpoint_survives, clean),
        cmocka_unit_test_teardown(test_logs, clean),
        cmocka_unit_test_teardown(test_worker_killed, clean),
        cmocka_unit_test_teardown(test_lease, clean),
        cmocka_unit_test_teardown(test_not_acknowledged, clean),
        cmocka_unit_test_teardown(test_fenced, clean),
        cmocka_unit_test_teardown(test_groups_serve_again, clean),
        cmocka_unit_test_teardown(test_all_serves_again, clean),
        cmocka_unit_test_teardown(test_shim_rests_and_loses_worker, clean),
        cmocka_unit_test_teardown(test_epoch_is_kept, clean),
        cmocka_unit_test_teardown(test_quit, clean),
        cmocka_unit_test_teardown(test_standby, clean),
        cmocka_unit_test_teardown(test_single_instance, clean),
        cmocka_unit_test_teardown(test_shim_killed, clean),
    };
    (void)unlink("worker.log");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
