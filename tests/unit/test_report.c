/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The page, judged by a small reader of our own that accepts well-formed XML only and collects what
 * a page must not have. tests/golden/report/check_report.py judges the operator's page with two
 * independent parsers.
 */
#include "worker/op/report.h"

#include <ctype.h>
#include <math.h>
#include <string.h>

#include "tests/unit/cm.h"
#include "worker/op/jget.h"

#define DEPTH_MAX 64

struct page {
    struct html html;
    size_t elements;
    size_t figures; /* svg elements */
    size_t boxes;   /* of the stage graph */
    size_t rows;    /* tr */
    size_t cells;   /* of the confusion matrix */
    size_t rules;   /* text of class "note": the best epoch */
};

static json_t *load(const char *set, const char *name)
{
    char path[512];
    (void)snprintf(path, sizeof(path), "%s/tests/golden/report/%s.%s.json",
                   getenv("MLQ_SOURCE_DIR"), set, name);
    json_t *document = NULL;
    struct mlq_err err = MLQ_ERR_INIT;
    if (jget_file(path, &document, &err) != 0) {
        fail_msg("%s", err.text);
    }
    return document;
}

static void count_element(struct page *page, const char *tag, size_t len)
{
    page->elements++;
    page->figures += len > 3 && strncmp(tag, "svg ", 4) == 0;
    page->boxes += strncmp(tag, "g class=\"stage ", 15) == 0;
    page->rows += strncmp(tag, "tr", 2) == 0 && (tag[2] == ' ' || tag[2] == '>');
    page->cells +=
        strncmp(tag, "rect class=\"hit\"", 16) == 0 || strncmp(tag, "rect class=\"miss\"", 17) == 0;
    page->rules += strncmp(tag, "text class=\"note", 16) == 0;
}

static void check_tag(const char *tag, size_t len)
{
    static const char *const banned[] = {"script", "link", "img",  "iframe",       "object",
                                         "embed",  "base", "form", "foreignObject"};
    for (size_t i = 0; i < sizeof(banned) / sizeof(banned[0]); i++) {
        size_t n = strlen(banned[i]);
        if (len >= n && strncmp(tag, banned[i], n) == 0 && !isalnum((unsigned char)tag[n])) {
            fail_msg("the page has a <%s>", banned[i]);
        }
    }
    bool quoted = false;
    for (size_t i = 0; i < len; i++) {
        quoted = quoted != (tag[i] == '"');
        if (!quoted && tag[i] == '=') {
            assert_int_equal(tag[i + 1], '"');
        }
        bool on = !quoted && tag[i] == ' ' && i + 3 < len && tag[i + 1] == 'o' && tag[i + 2] == 'n';
        assert_false(on); /* onload=... */
        assert_false(!quoted && tag[i] == ' ' && strncmp(tag + i, " src=", 5) == 0);
        assert_false(!quoted && strncmp(tag + i, " href=\"", 7) == 0 && tag[i + 7] != '#');
    }
    assert_false(quoted);
}

/* Every tag closed in order, every "&" the start of one of our escapes. */
static void read_page(struct page *page)
{
    const char *open[DEPTH_MAX];
    size_t lens[DEPTH_MAX];
    size_t depth = 0;
    const char *p = page->html.bytes;
    assert_int_equal(strncmp(p, "<!DOCTYPE html>\n", 16), 0);
    for (p += 16; *p != '\0'; p++) {
        if (*p == '&') {
            assert_true(strncmp(p, "&lt;", 4) == 0 || strncmp(p, "&gt;", 4) == 0 ||
                        strncmp(p, "&amp;", 5) == 0 || strncmp(p, "&#34;", 5) == 0 ||
                        strncmp(p, "&#39;", 5) == 0);
        }
        if (*p != '<') {
            continue;
        }
        const char *tag = p + 1;
        const char *end = strchr(tag, '>');
        assert_non_null(end);
        size_t len = (size_t)(end - tag);
        size_t name = strcspn(tag, " />");
        if (tag[0] == '/') {
            assert_true(depth > 0);
            depth--;
            assert_int_equal(strcspn(tag + 1, ">"), lens[depth]);
            assert_memory_equal(tag + 1, open[depth], lens[depth]);
        } else {
            check_tag(tag, len);
            count_element(page, tag, len);
            if (end[-1] != '/') {
                assert_true(depth < DEPTH_MAX);
                open[depth] = tag;
                lens[depth++] = name;
            }
        }
        p = end;
    }
    assert_int_equal(depth, 0);
    assert_null(strstr(page->html.bytes, "@import"));
    assert_null(strstr(page->html.bytes, "expression("));
}

static struct page write_page(const struct report_inputs *inputs)
{
    struct page page = {.elements = 0};
    assert_true(report_write(inputs, &page.html));
    read_page(&page);
    return page;
}

static bool has(const struct page *page, const char *text)
{
    return strstr(page->html.bytes, text) != NULL;
}

static struct page write_set(const char *set)
{
    json_t *d[] = {load(set, "record"),     load(set, "metrics"), load(set, "history"),
                   load(set, "validation"), load(set, "profile"), load(set, "verdict")};
    struct page page = write_page(&(struct report_inputs){.own_stage = "report",
                                                          .record = d[0],
                                                          .metrics = d[1],
                                                          .history = d[2],
                                                          .validation = d[3],
                                                          .profile = d[4],
                                                          .verdict = d[5]});
    for (size_t i = 0; i < sizeof(d) / sizeof(d[0]); i++) {
        json_decref(d[i]);
    }
    return page;
}

static void test_a_whole_job(void **state)
{
    (void)state;
    struct page page = write_set("digits");
    assert_int_equal(page.figures, 4); /* graph, two panels, confusion matrix */
    assert_int_equal(page.boxes, 7);
    assert_int_equal(page.rules, 2);
    assert_int_equal(page.cells, 16);             /* the diagonal and six kinds of mistakes */
    assert_true(has(&page, ">succeeded</span>")); /* though its own stage still runs */
    assert_true(has(&page, "<dt>Accuracy</dt><dd>0.9751</dd>"));
    assert_true(has(&page, "best: epoch "));
    assert_true(has(&page, "4 of 4 checks passed"));
    assert_true(has(&page, "accuracy &gt;= 0.95"));
    assert_true(has(&page, "retried: node"));
    assert_true(has(&page, "model.safetensors"));
    assert_true(has(&page, "prefers-color-scheme:dark"));
    html_fini(&page.html);
}

static void test_a_gang_is_one_attempt(void **state)
{
    (void)state;
    json_t *record = json_pack(
        "{s:{s:s, s:s, s:[{s:s, s:s, s:{s:i, s:i}, s:[{s:s, s:i}, {s:s, s:i},"
        " {s:s, s:i}, {s:s, s:i}]}]}}",
        "job", "id", "1", "state", "succeeded", "stages", "name", "train", "state", "succeeded",
        "tasks", "total", 1, "succeeded", 1, "attempts", "attempt", "7", "rank", 0, "attempt", "7",
        "rank", 1, "attempt", "8", "rank", 0, "attempt", "8", "rank", 1);
    assert_non_null(record);
    struct page page = write_page(&(struct report_inputs){.record = record});
    assert_true(has(&page, "<td class=\"n\">1</td><td class=\"n\">2</td>"));
    html_fini(&page.html);
    json_decref(record);
}

static void test_hostile_names(void **state)
{
    (void)state;
    struct page page = write_set("hostile"); /* read_page is the test */
    assert_true(has(&page, "&lt;script&gt;"));
    assert_false(has(&page, "\xe2\x80\xae"));
    assert_true(page.html.len < 400000);
    html_fini(&page.html);
}

static void test_whatever_is_absent(void **state)
{
    (void)state;
    static const char *const names[] = {"record",     "metrics", "history",
                                        "validation", "profile", "verdict"};
    json_t *d[6];
    for (size_t i = 0; i < 6; i++) {
        d[i] = load("digits", names[i]);
    }
    for (unsigned mask = 0; mask < 64; mask++) {
        struct page page = write_page(&(struct report_inputs){.title = "T",
                                                              .record = mask & 1 ? d[0] : NULL,
                                                              .metrics = mask & 2 ? d[1] : NULL,
                                                              .history = mask & 4 ? d[2] : NULL,
                                                              .validation = mask & 8 ? d[3] : NULL,
                                                              .profile = mask & 16 ? d[4] : NULL,
                                                              .verdict = mask & 32 ? d[5] : NULL});
        assert_int_equal(has(&page, "There is nothing to report yet"), mask == 0);
        assert_int_equal(has(&page, "id=\"learning\""),
                         (mask & 5) != 0); /* curves from the record, too */
        html_fini(&page.html);
    }
    for (size_t i = 0; i < 6; i++) {
        json_decref(d[i]);
    }
}

/* Documents of the wrong shape: each given in the place of each other. */
static void test_documents_in_the_wrong_place(void **state)
{
    (void)state;
    static const char *const names[] = {"record",     "metrics", "history",
                                        "validation", "profile", "verdict"};
    json_t *numbers = json_pack("[i, f, n, [], {}, s]", 1, 2.5, "x");
    for (size_t i = 0; i < 7; i++) {
        json_t *d = i < 6 ? load("digits", names[i]) : numbers;
        struct page page = write_page(&(struct report_inputs){
            .record = d, .metrics = d, .history = d, .validation = d, .profile = d, .verdict = d});
        html_fini(&page.html);
        json_decref(d);
    }
}

static json_t *many_stages(size_t count, size_t fan)
{
    json_t *stages = json_array();
    for (size_t i = 0; i < count; i++) {
        char name[64];
        json_t *needs = json_array();
        for (size_t k = 1; k <= fan && k * k <= i; k++) {
            (void)snprintf(name, sizeof(name), "stage-%zu", i - k * k);
            json_array_append_new(needs, json_string(name));
        }
        (void)snprintf(name, sizeof(name), "stage-%zu", i);
        json_array_append_new(stages, json_pack("{s:s, s:s, s:s, s:o, s:s, s:s}", "name", name,
                                                "uses", "run", "state", "succeeded", "needs", needs,
                                                "started", "2026-11-23T09:00:00.000Z", "ended",
                                                "2026-11-23T09:00:01.500Z"));
    }
    return json_pack("{s:{s:s, s:s, s:o}}", "job", "id", "1", "name", "many", "stages", stages);
}

static void test_many_stages(void **state)
{
    (void)state;
    static const struct {
        size_t count;
        size_t fan;
        size_t shown;
    } cases[] = {{200, 1, 200}, {200, 3, 200}, {200, 14, 200}, {1500, 5, REPORT_STAGES_MAX}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        json_t *record = many_stages(cases[i].count, cases[i].fan);
        struct page page = write_page(&(struct report_inputs){.record = record});
        assert_int_equal(page.boxes, cases[i].shown);
        assert_int_equal(has(&page, "more stages are not shown"),
                         cases[i].count > REPORT_STAGES_MAX);
        html_fini(&page.html);
        json_decref(record);
    }
}

static void test_many_epochs(void **state)
{
    (void)state;
    json_t *epochs = json_array();
    for (int i = 1; i <= 20000; i++) {
        double value = i == 777 ? 50.0 : 1.0 / i;
        json_array_append_new(epochs, json_pack("{s:i, s:f, s:f}", "epoch", i, "train_loss", value,
                                                "val_loss", 2.0 / i + i * 1e-4));
    }
    struct page page = write_page(&(struct report_inputs){.history = epochs});
    assert_true(page.html.len < 40000);
    assert_true(has(&page, "best: epoch 141, "));
    assert_true(has(&page, ",44.0L") ||
                has(&page, ",44.0\"")); /* the one peak is not lost: it reaches the top */
    html_fini(&page.html);
    json_decref(epochs);
}

/* A training whose sums have no order says so beside its curves; one that says nothing is not judged. */
static void test_levels(void **state)
{
    (void)state;
    static const struct {
        const char *said;
        const char *shown;
    } cases[] = {
        {"{\"level\": \"fast\", \"same_bits\": false}", "<bdi>fast</bdi>: gradients were added in no"},
        {"{\"level\": \"elastic\", \"same_bits\": true}", "<bdi>elastic</bdi>: any number of ranks"},
        {"{\"level\": \"<b>\", \"same_bits\": true}", "<bdi>&lt;b&gt;</bdi>: any number"},
        {"{\"level\": \"fast\", \"same_bits\": 1}", NULL},
        {"{\"level\": 7, \"same_bits\": true}", NULL},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        json_t *history = json_loads("{\"epochs\": [{\"epoch\": 1, \"train_loss\": 0.9},"
                                     "{\"epoch\": 2, \"train_loss\": 0.2}]}",
                                     0, NULL);
        json_t *said = json_loads(cases[i].said, 0, NULL);
        assert_int_equal(json_object_update(history, said), 0);
        struct page page = write_page(&(struct report_inputs){.history = history});
        assert_true(has(&page, "<figure>"));
        assert_int_equal(has(&page, "Trained at level"), cases[i].shown != NULL);
        assert_true(cases[i].shown == NULL || has(&page, cases[i].shown));
        html_fini(&page.html);
        json_decref(said);
        json_decref(history);
    }
}

/* A range test is drawn over the logarithm of its rates; what is no point is passed over. */
static void test_learning_rates(void **state)
{
    (void)state;
    static const char *const hostile[] = {
        "7", "{}", "{\"points\": 1}", "{\"points\": [{\"rate\": -1, \"loss\": 1, \"smoothed\": 1}]}",
        "{\"points\": [{\"rate\": 1, \"loss\": 1, \"smoothed\": 1}]}",
        "{\"points\": [{\"rate\": 1, \"loss\": \"nan\", \"smoothed\": 1}, [], null]}"};
    json_t *points = json_array();
    for (int i = 0; i <= 60; i++) {
        json_array_append_new(points, json_pack("{s:f, s:f, s:f}", "rate", pow(10, i / 10.0 - 5),
                                                "loss", i == 30 ? 1e9 : 1.0, "smoothed",
                                                2.0 - i / 60.0));
    }
    json_array_append_new(points, json_pack("{s:s, s:i, s:i}", "rate", "inf", "loss", 1, "smoothed", 1));
    json_t *test = json_pack("{s:s, s:o, s:{s:{s:f}, s:{s:s}}}", "end", "rose", "points", points,
                             "suggestions", "steepest", "rate", 1e-3, "minimum_10", "rate", "<b>");
    struct page page = write_page(&(struct report_inputs){.range_test = test});
    assert_true(has(&page, "Learning-rate range test") && has(&page, "61 steps in which"));
    assert_true(has(&page, "over four times its least"));
    assert_true(has(&page, ">1e-5</text>") && has(&page, ">1e1</text>"));
    assert_true(has(&page, ">steepest: 0.001</text>"));
    assert_false(has(&page, ">minimum / 10"));
    html_fini(&page.html);
    json_decref(test);
    for (size_t i = 0; i < sizeof(hostile) / sizeof(hostile[0]); i++) {
        test = json_loads(hostile[i], JSON_DECODE_ANY, NULL);
        assert_non_null(test);
        page = write_page(&(struct report_inputs){.range_test = test});
        assert_false(has(&page, "range test"));
        html_fini(&page.html);
        json_decref(test);
    }
}

/* What a training tells of itself beside its curves; and the same, hostile. */
static void test_gap_time_and_gains(void **state)
{
    (void)state;
    json_t *history = json_loads(
        "{\"unit\": \"round\", \"best_epoch\": 2, \"epochs\": ["
        "{\"epoch\": 1, \"train_loss\": 0.9, \"val_loss\": 1.0, \"val_accuracy\": 0.5},"
        "{\"epoch\": 2, \"train_loss\": 0.2, \"val_loss\": 0.5, \"val_accuracy\": 0.7},"
        "{\"epoch\": 3, \"train_loss\": 0.1, \"val_loss\": 0.6, \"val_accuracy\": 0.6}],"
        "\"phases\": {\"load\": 1, \"grow\": 2.5, \"<b>\": 0.5, \"none\": 0, \"bad\": -7, "
        "\"word\": \"x\"},"
        "\"importance\": [{\"feature\": \"<i>age</i>\", \"gain\": 0.75, \"splits\": 12},"
        "{\"feature\": \"size\", \"gain\": 0.25, \"splits\": 3}, {\"gain\": \"nan\"}, 7]}",
        0, NULL);
    assert_non_null(history);
    struct page page = write_page(&(struct report_inputs){.history = history});
    assert_true(has(&page, "<path class=\"gap\" d=\"M"));
    assert_true(has(&page, "Gap at round 2: validation 0.5000, training 0.2000, +0.3000"));
    assert_true(has(&page, "best: round 2, ") && has(&page, ">round</text>"));
    assert_true(has(&page, "growing trees</td>"));
    assert_true(has(&page, ">2.5\xc2\xa0s<"));
    assert_true(has(&page, ">1.0\xc2\xa0s<"));
    assert_true(has(&page, "&lt;b&gt;"));
    assert_false(has(&page, ">none<") || has(&page, ">bad<") || has(&page, ">word<"));
    assert_true(has(&page, "&lt;i&gt;age&lt;/i&gt;") && has(&page, "width:33.3%"));
    html_fini(&page.html);
    json_decref(history);
}

static void test_many_classes(void **state)
{
    (void)state;
    static const size_t counts[] = {2, 24, 25, 100, 201, 1000};
    for (size_t c = 0; c < sizeof(counts) / sizeof(counts[0]); c++) {
        json_t *labels = json_array();
        json_t *matrix = json_array();
        for (size_t i = 0; i < counts[c]; i++) {
            char name[64];
            json_t *row = json_array();
            (void)snprintf(name, sizeof(name), "class number %zu", i);
            json_array_append_new(labels, json_string(name));
            for (size_t k = 0; k < counts[c]; k++) {
                json_array_append_new(row, json_integer(i == k                     ? 90
                                                        : (i + 1) % counts[c] == k ? 7
                                                                                   : 0));
            }
            json_array_append_new(matrix, row);
        }
        json_t *metrics =
            json_pack("{s:{s:o, s:o}}", "confusion", "labels", labels, "matrix", matrix);
        struct page page = write_page(&(struct report_inputs){.metrics = metrics});
        size_t shown = counts[c] > REPORT_CLASSES_MAX ? REPORT_CLASSES_MAX : counts[c];
        assert_true(page.cells >= shown * 2 - 1 && page.cells <= shown * 2);
        assert_true(page.html.len < 250000);
        html_fini(&page.html);
        json_decref(metrics);
    }
}

static void test_two_classes(void **state)
{
    (void)state;
    json_t *fpr = json_array();
    json_t *tpr = json_array();
    for (int i = 0; i <= 50000; i++) {
        json_array_append_new(fpr, json_real(i / 50000.0));
        json_array_append_new(tpr, json_real(sqrt(i / 50000.0)));
    }
    json_t *bins = json_pack("[{s:f, s:f, s:i}, {s:f, s:f, s:i}]", "predicted", 0.2, "observed",
                             0.1, "count", 10, "predicted", 0.8, "observed", 0.9, "count", 40);
    json_t *metrics =
        json_pack("{s:f, s:{s:s, s:o, s:o}, s:{s:o}}", "roc_auc", 0.6666, "roc", "positive",
                  "<yes>", "fpr", fpr, "tpr", tpr, "calibration", "bins", bins);
    struct page page = write_page(&(struct report_inputs){.metrics = metrics});
    assert_int_equal(page.figures, 2);
    assert_true(has(&page, "area 0.6666"));
    assert_true(has(&page, "predicted 0.200, observed 0.100, 10 rows"));
    assert_true(has(&page, "&lt;yes&gt;"));
    assert_true(page.html.len < 40000); /* 50000 points are 1000 on the page */
    html_fini(&page.html);
    json_decref(metrics);
}

static void test_times(void **state)
{
    (void)state;
    assert_int_equal(report_model_time_ms("1970-01-01T00:00:00Z"), 0);
    assert_int_equal(report_model_time_ms("2026-11-23T09:00:00.123Z"), INT64_C(1795424400123));
    assert_int_equal(report_model_time_ms("2024-02-29T23:59:59.5Z"), INT64_C(1709251199500));
    static const char *const bad[] = {"",
                                      "never",
                                      "2026-13-01T00:00:00Z",
                                      "2026-11-23",
                                      "2026-11-23T25:00:00Z",
                                      "-026-11-23T09:00:00Z"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(report_model_time_ms(bad[i]), REPORT_NO_TIME);
    }
    assert_int_equal(report_model_time_ms(NULL), REPORT_NO_TIME);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_whole_job),
        cmocka_unit_test(test_a_gang_is_one_attempt),
        cmocka_unit_test(test_hostile_names),
        cmocka_unit_test(test_whatever_is_absent),
        cmocka_unit_test(test_documents_in_the_wrong_place),
        cmocka_unit_test(test_many_stages),
        cmocka_unit_test(test_many_epochs),
        cmocka_unit_test(test_levels),
        cmocka_unit_test(test_learning_rates),
        cmocka_unit_test(test_gap_time_and_gains),
        cmocka_unit_test(test_many_classes),
        cmocka_unit_test(test_two_classes),
        cmocka_unit_test(test_times),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
