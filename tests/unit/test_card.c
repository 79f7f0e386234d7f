/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The model card's words. That its front matter is YAML and its example runs is shown in
 * tests/golden/onnx.
 */
#include "worker/op/card.h"

#include <string.h>

#include "lib/sys/mem.h"
#include "tests/unit/cm.h"
#include "worker/ml/layout.h"
#include "worker/op/card_text.h"
#include "worker/op/jget.h"

static struct html h;

static const char *written(void)
{
    static char text[65536];
    (void)snprintf(text, sizeof(text), "%s", h.bytes == NULL ? "" : h.bytes);
    html_fini(&h);
    return text;
}

static struct model *make(void)
{
    struct model *model = model_create();
    struct mlq_err err = MLQ_ERR_INIT;
    model->task = MODEL_BINARY;
    model->target = mlq_strdup("spam|\n# and");
    model->feature_count = 1;
    model->features = mlq_alloc(sizeof(*model->features));
    model->features[0] = (struct model_feature){
        .name = mlq_strdup("a`b"), .kind = MODEL_NUMBER, .width = 1, .fill = 0.1, .scale = 1};
    model->input_count = 1;
    model->class_count = 2;
    model->classes = mlq_alloc_array(2, sizeof(char *));
    model->classes[0] = mlq_strdup("no");
    model->classes[1] = mlq_strdup("yes");
    assert_int_equal(layout_mlp(model, &(struct layout_mlp){.hidden_count = 0}, &err), 0);
    return model;
}

static json_t *load(const char *name)
{
    char path[512];
    (void)snprintf(path, sizeof(path), "%s/tests/golden/report/%s.json", getenv("MLQ_SOURCE_DIR"),
                   name);
    json_t *document = NULL;
    struct mlq_err err = MLQ_ERR_INIT;
    assert_int_equal(jget_file(path, &document, &err), 0);
    return document;
}

static void test_texts(void **state)
{
    (void)state;
    card_text_markdown(&h, "a|b\n*c* <d> `e` [f](g) h_i");
    assert_string_equal(written(), "a\\|b \\*c\\* &lt;d&gt; \\`e\\` \\[f\\](g) h_i");
    card_text_quoted(&h, "a\"b\\c\n\x7f");
    assert_string_equal(written(), "\"a\\\"b\\\\c\\u000a\\u007f\"");
    card_text_code(&h, "a`b|c");
    assert_string_equal(written(), "a'b'c");
    card_text_exact(&h, 0.1);
    assert_string_equal(written(), "0.1");
    card_text_exact(&h, 1.0 / 3.0);
    assert_string_equal(written(), "0.3333333333333333");
}

static void test_facts_and_their_absence(void **state)
{
    (void)state;
    struct model *model = make();
    struct mlq_region *region = mlq_region_create();
    assert_true(card_write(&(struct card_inputs){.model = model}, region, &h));
    const char *text = written();
    assert_non_null(strstr(text, "No metrics were at hand"));
    assert_non_null(strstr(text, "Nothing is known here about how well it predicts"));
    assert_non_null(strstr(text, "license: \"unknown\""));
    assert_null(strstr(text, "model-index"));
    assert_non_null(strstr(text, "**spam\\| # and**"));

    json_t *record = load("digits.record");
    json_t *metrics = load("digits.metrics");
    assert_true(card_write(
        &(struct card_inputs){.model = model, .record = record, .metrics = metrics}, region, &h));
    text = written();
    assert_non_null(strstr(text, "# digits\n"));
    assert_non_null(strstr(text, "job 12"));
    assert_non_null(strstr(
        text,
        "Weakest classes by F1: 8 (0.9275, 35 rows), 9 (0.9444, 36 rows), 1 (0.9474, 37 rows)."));
    assert_non_null(strstr(text, "The accuracy of 0.9751 comes from 361 rows: with 95 % confidence "
                                 "it lies between 0.9533 and 0.9868."));
    assert_non_null(strstr(text, "| model.safetensors | train | `sha256:"));
    assert_non_null(strstr(text, "- type: \"accuracy\"\n      value: 0.9750692520775623\n"));

    assert_true(card_write(&(struct card_inputs){.model = model, .record = record}, region,
                           &h)); /* from the record */
    assert_non_null(strstr(written(), "Measured by `eval.metrics` in stage `eval`."));
    json_decref(record);
    json_decref(metrics);
    mlq_region_destroy(&region);
    model_destroy(&model);
}

static void test_hostile_documents(void **state)
{
    (void)state;
    struct model *model = make();
    struct mlq_region *region = mlq_region_create();
    json_t *record = load("hostile.record");
    json_t *metrics = load("hostile.metrics");
    json_t *profile = load("hostile.profile");
    assert_true(card_write(&(struct card_inputs){.model = model,
                                                 .name = "<script>\n---\n",
                                                 .description = "```\n<script>",
                                                 .license = "a: b\nc",
                                                 .record = record,
                                                 .metrics = metrics,
                                                 .profile = profile},
                           region, &h));
    const char *text = written();
    assert_null(strstr(text + 8, "<script>alert(1)</script> |"));
    assert_non_null(strstr(text, "license: \"a: b\\u000ac\"\n"));
    assert_non_null(strstr(text, "# &lt;script&gt; --- \n"));
    assert_non_null(strstr(text, "\\`\\`\\` &lt;script&gt;"));
    json_decref(record);
    json_decref(metrics);
    json_decref(profile);
    mlq_region_destroy(&region);
    model_destroy(&model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_facts_and_their_absence),
        cmocka_unit_test(test_hostile_documents),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
