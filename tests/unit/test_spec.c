/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The spec language: what it accepts, what it fills in, and the exact words of its refusals.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "lib/base/ownership.h"
#include "lib/spec/spec.h"
#include "lib/spec/yaml.h"
#include "lib/spec/yaml_json.h"
#include "lib/sys/mem.h"

static struct mlq_region *region;
static struct diag_list diags;

static int setup(void **state)
{
    (void)state;
    region = mlq_region_create();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    mlq_region_destroy(&region);
    return 0;
}

static struct spec *parse_with(const char *text, const struct spec_options *options)
{
    diag_init(&diags, region, "t.yaml");
    return spec_parse(mlq_str_from(text), options, region, &diags);
}

static struct spec *parse(const char *text)
{
    struct spec *spec = parse_with(text, NULL);
    if (spec == NULL) {
        print_message("%s", diag_text(&diags));
    }
    return spec;
}

#define HEAD "apiVersion: mlq/v1\nkind: Pipeline\nmetadata: {name: t}\nspec:\n"

static const char digits[] =
    HEAD "  stages:\n"
         "    data:     {uses: data.import, with: {path: digits.csv, target: label}}\n"
         "    check:    {uses: data.validate, needs: [data], with: {suite: digits.expect.json}}\n"
         "    split:    {uses: data.split, needs: [check], with: {test: 0.2, validation: 0.1, stratify: label, seed: 7}}\n"
         "    train:\n"
         "      uses: train.native\n"
         "      needs: [split]\n"
         "      ranks: 2\n"
         "      resources: {cpus: 1, memory: 512Mi}\n"
         "      with: {model: {mlp: {hidden: [128, 64]}}, epochs: 20, batch: 64, shards: 8, optimizer: {adamw: {lr: 1e-3}}, seed: 1}\n"
         "    eval:     {uses: eval.metrics, needs: [train, split]}\n"
         "    mine:     {run: [python3, my_eval.py], needs: [train, split], retry: {limit: 2, on: [node, oom]}, timeout: 10m}\n"
         "    package:  {uses: package.onnx, needs: [train]}\n"
         "    gate:     {uses: gate, needs: [eval], with: {require: [\"accuracy >= 0.95\"]}}\n";

static const struct spec_input *input_of(const struct spec *spec, const char *stage, const char *name)
{
    for (uint16_t i = 0; i < spec->stage_count; i++) {
        for (size_t k = 0; mlq_str_eq_c(spec->stages[i].name, stage) && k < spec->stages[i].input_count; k++) {
            if (mlq_str_eq_c(spec->stages[i].inputs[k].name, name)) {
                return &spec->stages[i].inputs[k];
            }
        }
    }
    return NULL;
}

static void assert_wired(const struct spec *spec, const char *stage, const char *name, const char *from,
                         const char *output)
{
    const struct spec_input *input = input_of(spec, stage, name);
    assert_non_null(input);
    assert_true(mlq_str_eq_c(spec->stages[input->stage].name, from));
    assert_true(mlq_str_eq_c(input->output, output));
}

static void the_design_example_is_wired(void **state)
{
    (void)state;
    struct spec *spec = parse(digits);
    assert_non_null(spec);
    assert_int_equal(spec->stage_count, 8);
    assert_wired(spec, "check", "data", "data", "table.safetensors");
    assert_wired(spec, "split", "data", "data", "table.safetensors"); /* past check */
    assert_wired(spec, "train", "train", "split", "train.safetensors");
    assert_wired(spec, "train", "validation", "split", "validation.safetensors");
    assert_wired(spec, "eval", "model", "train", "model.safetensors");
    assert_wired(spec, "eval", "data", "split", "test.safetensors");
    assert_wired(spec, "mine", "train", "train", "*");
    assert_wired(spec, "mine", "split", "split", "*");
    assert_wired(spec, "gate", "metrics", "eval", "metrics.json");
    assert_int_equal(spec->stages[3].ranks, 2);
    assert_int_equal(spec->stages[3].mem_bytes, 512 << 20);
    assert_int_equal(spec->stages[5].timeout_ns, INT64_C(600000000000));
    assert_int_equal(spec->stages[5].retry.limit, 2);
    assert_int_equal(spec->file_count, 2);
}

/* A range test makes no model, and a training no rates: neither feeds what wants the other. */
static void a_mode_changes_what_a_stage_makes(void **state)
{
    (void)state;
    static const char stages[] =
        "apiVersion: mlq/v1\nkind: Pipeline\nmetadata: {name: rates}\nspec:\n  stages:\n"
        "    data: {uses: data.import, with: {path: digits.csv, target: label}}\n"
        "    split: {uses: data.split, needs: [data]}\n"
        "    rates: {uses: train.native, needs: [split], with: {range_test: {}}}\n"
        "    train: {uses: train.native, needs: [split]}\n"
        "    eval: {uses: eval.metrics, needs: [rates, train, split]}\n"
        "    report: {uses: report, needs: [eval, rates]}\n"
        "    other: {uses: report, needs: [train]}\n";
    struct spec *spec = parse(stages);
    assert_non_null(spec);
    assert_wired(spec, "eval", "model", "train", "model.safetensors");
    assert_wired(spec, "report", "range_test", "rates", "range_test.json");
    assert_wired(spec, "report", "history", "train", "history.json");
    for (uint16_t i = 0; i < spec->stage_count; i++) {
        const struct spec_stage *stage = &spec->stages[i];
        for (uint16_t k = 0; mlq_str_eq_c(stage->name, "other") && k < stage->input_count; k++) {
            assert_false(mlq_str_eq_c(stage->inputs[k].name, "range_test"));
        }
    }
}

static void defaults_are_filled_in(void **state)
{
    (void)state;
    struct spec *spec = parse(digits);
    assert_non_null(spec);
    assert_string_equal(spec->stages[3].with.ptr,
                        "{\"accumulate\":1,\"balance\":false,\"batch\":64,\"clip_norm\":0.0,\"collectives\":\"auto\",\"epochs\":20,\"l2\":0.0,\"level\":\"elastic\","
                        "\"loss\":{\"auto\":{}},\"mixup\":0.0,\"model\":{\"mlp\":{\"activation\":\"relu\",\"dropout\":0.0,\"embedding\":0,\"hidden\":[128,64]}},"
                        "\"optimizer\":{\"adamw\":{\"beta1\":0.9,\"beta2\":0.999,\"lr\":0.001,\"weight_decay\":0.01}},"
                        "\"rows\":\"auto\",\"schedule\":{\"constant\":{}},\"seed\":1,\"shards\":8,\"task\":\"auto\",\"warmup\":0.0}");
    assert_int_equal(spec->stages[0].retry.limit, 3);
    assert_int_equal(spec->stages[0].grace_ns, INT64_C(60000000000));
    assert_int_equal(spec->stages[0].cpu_milli, 1000);
}

static void canonical_form_is_a_fixed_point(void **state)
{
    (void)state;
    struct spec *spec = parse(digits);
    assert_non_null(spec);
    for (size_t i = 0; i < spec->file_count; i++) {
        spec->files[i].digest = MLQ_STR("sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef");
        spec->files[i].bytes = 7;
    }
    struct mlq_str first = spec_canonical(spec, region);
    struct spec *again = parse_with(first.ptr, &(struct spec_options){.canonical = true});
    if (again == NULL) {
        print_message("%s", diag_text(&diags));
    }
    assert_non_null(again);
    struct mlq_str second = spec_canonical(again, region);
    for (size_t i = 0; i < first.len; i++) {
        if (first.ptr[i] != second.ptr[i]) {
            fail_msg("differs at %zu: %.80s", i, second.ptr + (i < 40 ? 0 : i - 40));
        }
    }
    assert_int_equal(first.len, second.len);
    assert_int_equal(again->file_count, 2);
}

/* It is written without jansson, and is JSON as jansson would write it. */
static void canonical_form_is_compact_json(void **state)
{
    (void)state;
    static const char *const texts[] = {"", "plain", "a \\\"word\\\"", "back\\\\slash", "/", "two\\nlines", "\\ttab",
                                        "\xc3\xbc \xf0\x9f\x98\x80", "{[,:"};
    for (size_t i = 0; i < MLQ_COUNT_OF(texts); i++) {
        char *text = mlq_region_format(region,
                                       "apiVersion: mlq/v1\nkind: Job\nmetadata: {name: a, labels: {l: \"%s\", m: x}}\n"
                                       "spec: {run: [\"%s\", x], env: {E: \"%s\"}, ranks: 1..4, timeout: 90s}\n",
                                       texts[i], texts[i], texts[i]);
        const struct spec *spec = parse(text);
        assert_non_null(spec);
        struct mlq_str canonical = spec_canonical(spec, region);
        json_t *document = json_loadb(canonical.ptr, canonical.len, 0, NULL);
        assert_non_null(document);
        char *again = json_dumps(document, JSON_COMPACT);
        assert_string_equal(again, canonical.ptr);
        mlq_free(again);
        json_decref(document);
    }
}

/* Or the canonical form, which has every default, would say what may not be said. */
static void what_a_parameter_takes_away_has_no_default(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"level: fast", NULL},
        {"level: fast, shards: null", NULL},
        {"level: repeat", "\"shards\":8"},
        {"level: '${{ params.level }}'", NULL},
        {"level: '${{ stages.data.metrics.x }}'", NULL},
        {"level: '${{ stages.data.metrics.x }}', shards: 4", "\"shards\":4"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *text = mlq_region_format(region,
                                       HEAD "  params: {level: fast}\n  stages:\n"
                                            "    data: {run: [x]}\n"
                                            "    train: {uses: train.native, needs: data, with: {%s}, "
                                            "inputs: {train: data.x}}\n",
                                       cases[i][0]);
        const struct spec *spec = parse(text);
        assert_non_null(spec);
        struct mlq_str first = spec_canonical(spec, region);
        const char *found = strstr(first.ptr, "\"shards\"");
        assert_true((found == NULL) == (cases[i][1] == NULL));
        assert_true(found == NULL || mlq_str_starts(mlq_str_from(found), cases[i][1]));
        spec = parse_with(first.ptr, &(struct spec_options){.canonical = true});
        assert_non_null(spec);
        assert_true(mlq_str_eq(spec_canonical(spec, region), first));
    }
}

static void what_is_submitted_must_be_json(void **state)
{
    (void)state;
    const char *const texts[] = {"{", "{\"a\":[", "[1,", "", "kind: Job", "{\"a\":1,}", "[1,,2]", "[1 2]", "{'a':1}", "{a:1}",
                                 "{\"a\" 1}", "{\"a\":1}}", "{\"a\":1} x", "# a\n{}", "[01]", "[1.]", "[.5]", "[+1]", "[-]", "[1e]",
                                 "[NaN]", "[True]", "[nul]", "[\"a]", "[\"\\x\"]", "[\"\\u12g4\"]", "[\"\\ud800\"]", "[\"\\udc00\"]",
                                 "[\"\\ud800\\u0041\"]", "[\"\\u0000\"]", "[\"a\tb\"]", "[\"a\nb\"]", "[\"\\", "[\"\\u", "{\"a\":}",
                                 "{,}", "[,]", "{\"a\"}", "{1:2}", "{[]:1}", "]", "}", ","};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        assert_null(parse_with(texts[i], &(struct spec_options){.canonical = true}));
        assert_non_null(strstr(diag_text(&diags), "t.yaml:"));
        assert_non_null(strstr(diag_text(&diags), "not valid JSON"));
    }
    assert_null(parse_with("{\"a\":1,\n \"a\":2}", &(struct spec_options){.canonical = true}));
    assert_string_equal(diag_text(&diags), "t.yaml:2:2: key 'a' appears twice (first on line 1)\n");
}

static bool is_same(const struct yaml_node *a, const struct yaml_node *b)
{
    return a->kind == b->kind && a->quoted == b->quoted && a->line == b->line && a->column == b->column &&
           mlq_str_eq(a->text, b->text) && mlq_str_eq(a->key, b->key) && a->key_line == b->key_line && a->count == b->count;
}

/* The next node of a tree in the order of its text. */
static const struct yaml_node *following(const struct yaml_node *node)
{
    if (node->first != NULL) {
        return node->first;
    }
    while (node != NULL && node->next == NULL) {
        node = node->parent;
    }
    return node == NULL ? NULL : node->next;
}

static void both_readers_give_the_same_tree(void **state)
{
    (void)state;
    const char *const texts[] = {
        "{}", "[]", " [ ] ", "\"a\"", "12", "true", "[null, true, false, 0, -0, 1.50, -12e+3, 1E5, 0.1e-2]",
        "{\"a\": {\"b\": [1, [2, {}], {\"c\": \"d\"}]}, \"e\": []}", "{\n  \"a\": 1,\n  \"b\":\n    [\n1,\n\"x\"]\n}\n",
        "[\"\\\"\\\\\\/\\n\\t\", \"\\u00e9\\u20ac\\u0041\", \"é€𝄞\", \"\"]", "{\"\": 1, \"a b\": \": # {\"}"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        diag_init(&diags, region, "t.yaml");
        const struct yaml_node *a = yaml_parse(mlq_str_from(texts[i]), region, &diags);
        const struct yaml_node *b = yaml_json_parse(mlq_str_from(texts[i]), region, &diags);
        assert_true(a != NULL && b != NULL);
        for (; a != NULL && b != NULL; a = following(a), b = following(b)) {
            if (!is_same(a, b)) {
                fail_msg("%s: '%.*s' at %u:%u, '%.*s' at %u:%u", texts[i], MLQ_STR_ARG(a->text), a->line, a->column,
                         MLQ_STR_ARG(b->text), b->line, b->column);
            }
        }
        assert_true(a == NULL && b == NULL);
    }
    const struct yaml_node *pair = yaml_json_parse(MLQ_STR("\"\\ud834\\uDD1E\""), region, &diags); /* libfyaml cannot */
    assert_true(mlq_str_eq_c(pair->text, "𝄞"));
}

/* libfyaml 0.7.12 misreads them. What is expected is PyYAML's. */
static void quotes_in_a_row(void **state)
{
    (void)state;
    static const struct {
        const char *source;
        const char *text;
    } cases[] = {
        {"''", ""},
        {"''''", "'"},
        {"''''''", "''"},
        {"'a''b'", "a'b"},
        {"'a''''b'", "a''b"},
        {"'''''a'", "''a"},
        {"'a'''''", "a''"},
        {"'a''''''''''''''b'", "a'''''''b"},
        {"'a\"''''\"b'", "a\"''\"b"},
        {"'é''''€'", "é''€"},
        {"'  a''''b  '", "  a''b  "},
        {"'a''''b \t\n   c'", "a''b c"},
        {"'a''''b\n\n\n  c''''\r\n  d'", "a''b\n\nc'' d"},
        {"\"a\\\"\\\"\\\"b''''\"", "a\"\"\"b''''"},
    };
    for (size_t i = 0; i < MLQ_COUNT_OF(cases); i++) {
        const char *alone = cases[i].source;
        const char *within = mlq_region_format(region, "# é\né: [\"'\", %s, 'x''''']\n", alone);
        diag_init(&diags, region, "t.yaml");
        const struct yaml_node *root = yaml_parse(mlq_str_from(alone), region, &diags);
        const struct yaml_node *list = yaml_get(yaml_parse(mlq_str_from(within), region, &diags), "é");
        if (root == NULL || list == NULL || !mlq_str_eq_c(root->text, cases[i].text) ||
            !mlq_str_eq_c(list->first->next->text, cases[i].text)) {
            fail_msg("%s: '%.*s'", alone, MLQ_STR_ARG(root == NULL ? MLQ_STR("nothing") : root->text));
        }
        assert_true(mlq_str_eq_c(list->first->next->next->text, "x''"));
    }
}

static void params_are_typed_and_set(void **state)
{
    (void)state;
    const char *text = HEAD "  params: {lr: 0.01, rows: d.csv}\n"
                            "  stages:\n"
                            "    data: {uses: data.import, with: {path: \"${{ params.rows }}\"}}\n"
                            "    train: {uses: train.native, needs: data, with: {optimizer: {sgd: {lr: \"${{ params.lr }}\"}}}}\n";
    struct spec_pair sets[] = {{MLQ_STR("lr"), MLQ_STR("0.25")}};
    struct spec *spec = parse_with(text, &(struct spec_options){.sets = sets, .set_count = 1});
    assert_non_null(spec);
    assert_non_null(strstr(spec->stages[1].with.ptr, "\"lr\":0.25"));
    assert_true(mlq_str_eq_c(spec->files[0].path, "d.csv"));
    struct spec_pair wrong[] = {{MLQ_STR("l"), MLQ_STR("1")}};
    assert_null(parse_with(text, &(struct spec_options){.sets = wrong, .set_count = 1}));
    assert_string_equal(diag_text(&diags), "t.yaml: --set 'l': the spec has no such param (did you mean 'lr'?)\n");
}

static void refuses(const char *text, const char *expected)
{
    assert_null(parse_with(text, NULL));
    assert_string_equal(diag_text(&diags), expected);
}

static void mistakes_are_answered_with_their_place(void **state)
{
    (void)state;
    refuses("", "t.yaml:1:1: the file is empty\n");
    refuses(HEAD "  stages:\n    a: {run: [x], neds: [b]}\n",
            "t.yaml:6:19: unknown key 'neds' in stage 'a' (did you mean 'needs'?)\n");
    refuses(HEAD "  stages:\n    a: {run: [x], needs: [b]}\n    bb: {run: [y]}\n",
            "t.yaml:6:27: needs: there is no stage 'b' (did you mean 'a'?)\n");
    refuses(HEAD "  stages:\n    a: {run: [x], needs: [b]}\n    b: {run: [y], needs: [a]}\n",
            "t.yaml:6:5: stages need each other in a circle: a, b\n");
    refuses(HEAD "  stages:\n    a: {uses: data.imprt}\n",
            "t.yaml:6:15: unknown operator 'data.imprt' (did you mean 'data.import'?)\n");
    refuses(HEAD "  stages:\n    a: {uses: eval.metrics}\n",
            "t.yaml:6:5: stage 'a': nothing upstream feeds its input 'model' (what is judged): add the stage that makes "
            "model.safetensors to its needs, or say inputs: {model: STAGE.OUTPUT}\n"
            "t.yaml:6:5: stage 'a': nothing upstream feeds its input 'data' (on these rows): add the stage that makes "
            "test.safetensors or table.safetensors to its needs, or say inputs: {data: STAGE.OUTPUT}\n");
    refuses(HEAD "  stages:\n    a: {run: [x], timeout: soon}\n",
            "t.yaml:6:28: timeout: expected a duration like 90s, 10m or 1h30m, found 'soon'\n");
    refuses(HEAD "  stages:\n    a: {run: [x], ranks: 0}\n", "t.yaml:6:26: ranks: 0 is not between 1 and 256\n");
    refuses(HEAD "  stages:\n    a: {run: [x], resources: {memory: -1}}\n",
            "t.yaml:6:39: memory: expected a size like 512Mi or 4Gi, found '-1'\n");
    refuses(HEAD "  stages:\n    a: {run: ['${{ params.lr }}']}\n",
            "t.yaml:6:15: ${{ params.lr }} refers to nothing: spec.params has no 'lr'\n");
    refuses(HEAD "  stages:\n    a: {run: ['${{ stages.b.metrics.x }}']}\n",
            "t.yaml:6:15: ${{ stages.b.metrics.x }} refers to nothing: there is no stage 'b' (did you mean 'a'?)\n");
    refuses(HEAD "  stages:\n    a: &x {run: [x]}\n    b: *x\n",
            "t.yaml:6:11: anchors (&) and aliases (*) are not supported: write the value out, or use params and ${{ params.x }}\n");
    refuses(HEAD "  stages:\n    a: {uses: gate, with: {require: [\"accuracy => 1\"]}}\n",
            "t.yaml:6:38: require: condition 'accuracy => 1', column 10: expected one of >= <= > < == !=\n");
    refuses(HEAD "  stages:\n    a: {run: [x]}\n    a: {run: [y]}\n", "t.yaml:7:5: key 'a' appears twice (first on line 6)\n");
}

static void two_candidates_must_be_told_apart(void **state)
{
    (void)state;
#define TWO HEAD "  stages:\n"                                                                    \
                 "    d1: {uses: data.import, with: {path: a.csv}}\n"                              \
                 "    d2: {uses: data.import, with: {path: b.csv}}\n"                              \
                 "    s:  {uses: data.split, needs: [d1, d2]"
    refuses(TWO "}\n",
            "t.yaml:8:5: stage 's': both 'd1' and 'd2' could feed its input 'data': say inputs: {data: d1.table.safetensors}\n");
    struct spec *spec = parse(TWO ", inputs: {data: d2.table}}\n");
    assert_non_null(spec);
    assert_wired(spec, "s", "data", "d2", "table.safetensors");
}

/* A command may write the CSV that data.import reads: its file is then an input like others. */
static void a_file_may_be_what_a_stage_made(void **state)
{
    (void)state;
#define MADE HEAD "  stages:\n"                                                                   \
                  "    make: {run: [python3, make.py]}\n"                                         \
                  "    data: {uses: data.import"
    struct spec *spec = parse(MADE ", needs: [make], inputs: {path: make.rows.csv}, with: {target: y}}\n");
    assert_non_null(spec);
    assert_wired(spec, "data", "path", "make", "rows.csv");
    assert_int_equal(spec->file_count, 0);
    struct mlq_str text = spec_canonical(spec, region);
    spec = parse_with(text.ptr, &(struct spec_options){.canonical = true});
    assert_non_null(spec);
    assert_wired(spec, "data", "path", "make", "rows.csv");
    refuses(MADE ", needs: [make]}\n",
            "t.yaml:7:18: data.import needs 'path' in its with: (CSV file with a header line); or what a stage "
            "made: inputs: {path: STAGE.OUTPUT}\n");
    refuses(MADE ", needs: [make], inputs: {path: make.r.csv}, with: {path: r.csv}}\n",
            "t.yaml:7:87: 'path' is given twice: as a file in with:, and by inputs:\n");
    refuses(MADE ", inputs: {path: make.r.csv}}\n",
            "t.yaml:7:46: inputs: 'data' does not need 'make': add it to needs\n");
    refuses(MADE ", needs: [make], inputs: {path: make.*}}\n",
            "t.yaml:7:61: inputs: path of data.import is one file: name it, as STAGE.OUTPUT\n");
    refuses(MADE ", needs: [make], with: {path: \"${{ stages.make.outputs.r.csv }}\"}}\n",
            "t.yaml:7:59: path: names a file beside the spec; what a stage made is given by inputs: {path: "
            "STAGE.OUTPUT}\n");
    refuses(MADE ", needs: [make], inputs: {paths: make.r.csv}, with: {path: r.csv}}\n",
            "t.yaml:7:55: unknown key 'paths' in inputs of data.import (did you mean 'path'?)\n");
}

static void a_command_line_is_a_job(void **state)
{
    (void)state;
    const char *argv[] = {"echo", "it's: \"quoted\" & {odd}", "${{ job.id }}"};
    struct mlq_str text = spec_from_command(
        &(struct spec_command){.name = "echo", .argv = argv, .argc = 3, .array_count = 5, .cpus = "500m"}, region);
    struct spec *spec = parse(text.ptr);
    assert_non_null(spec);
    assert_int_equal(spec->stage_count, 1);
    assert_true(mlq_str_eq_c(spec->stages[0].argv[1], argv[1]));
    assert_int_equal(spec->stages[0].array_count, 5);
    assert_int_equal(spec->stages[0].array_max_failures, 5); /* all may fail */
    assert_int_equal(spec->stages[0].cpu_milli, 500);
    static const struct {
        const char *text;
        uint32_t least, most;
    } ranks[] = {{"4", 4, 4}, {"2..8", 2, 8}, {"1..256", 1, 256}};
    for (size_t i = 0; i < MLQ_COUNT_OF(ranks); i++) {
        text = spec_from_command(&(struct spec_command){.name = "x", .argv = argv, .argc = 1, .ranks = ranks[i].text},
                                 region);
        spec = parse(text.ptr);
        assert_non_null(spec);
        assert_int_equal(spec->stages[0].ranks_min, ranks[i].least);
        assert_int_equal(spec->stages[0].ranks, ranks[i].most);
    }
}

static bool resolve(void *context, struct mlq_str expression, struct mlq_region *r, struct mlq_str *value,
                    struct mlq_err *err)
{
    (void)context;
    (void)r;
    if (mlq_str_eq_c(expression, "stages.a.metrics.x")) {
        *value = MLQ_STR("0.5");
        return true;
    }
    (void)mlq_fail(err, MLQ_ENOENT, "no such thing");
    return false;
}

static void expressions_expand_at_dispatch(void **state)
{
    (void)state;
    struct mlq_str out;
    struct mlq_err err = MLQ_ERR_INIT;
    assert_int_equal(spec_expand(MLQ_STR("a${{stages.a.metrics.x}}b${{ stages.a.metrics.x }}"), resolve, NULL, region, &out, &err), 0);
    assert_string_equal(out.ptr, "a0.5b0.5");
    assert_int_equal(spec_expand_json(MLQ_STR("{\"l\":[\"${{ stages.a.metrics.x }}\",\"x ${{ stages.a.metrics.x }}\"]}"), resolve, NULL, region, &out, &err), 0);
    assert_string_equal(out.ptr, "{\"l\":[0.5,\"x 0.5\"]}");
    assert_int_equal(spec_expand(MLQ_STR("${{ nope }}"), resolve, NULL, region, &out, &err), MLQ_EINVAL);
    assert_string_equal(err.text, "${{ nope }}: no such thing");
}

/* It joins stages and feeds none; the worker completes it, so it waits for no CPU. */
static void a_noop_takes_no_resources(void **state)
{
    (void)state;
    static const char joined[] = HEAD "  stages:\n"
                                      "    data:  {uses: data.import, with: {path: d.csv}}\n"
                                      "    join:  {uses: noop, needs: [data]}\n"
                                      "    split: {uses: data.split, needs: [join]}\n";
    struct spec *spec = parse(joined);
    assert_non_null(spec);
    assert_int_equal(spec->stages[1].cpu_milli, 0);
    assert_int_equal(spec->stages[2].inputs[0].stage, 0);
    spec->files[0].digest = MLQ_STR("sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef");
    struct mlq_str text = spec_canonical(spec, region);
    spec = parse_with(text.ptr, &(struct spec_options){.canonical = true});
    assert_non_null(spec);
    assert_int_equal(spec->stages[1].cpu_milli, 0);
    assert_null(parse_with(HEAD "  stages:\n    join: {uses: noop, resources: {cpus: 1}}\n", NULL));
    assert_non_null(strstr(diag_text(&diags), "t.yaml:6:24: resources: noop runs without a process and takes none"));
}

static void explain_prints_yaml_that_parses(void **state)
{
    (void)state;
    struct spec *spec = parse(digits);
    assert_non_null(spec);
    struct mlq_str text = spec_explain(spec, region);
    struct spec *again = parse(text.ptr);
    assert_non_null(again);
    assert_int_equal(again->stage_count, spec->stage_count);
    for (size_t i = 0; i < op_schema_count(); i++) {
        assert_non_null(strstr(spec_explain_op(op_schema_at(i), region).ptr, op_schema_at(i)->name));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_design_example_is_wired, setup, teardown),
        cmocka_unit_test_setup_teardown(a_mode_changes_what_a_stage_makes, setup, teardown),
        cmocka_unit_test_setup_teardown(defaults_are_filled_in, setup, teardown),
        cmocka_unit_test_setup_teardown(canonical_form_is_a_fixed_point, setup, teardown),
        cmocka_unit_test_setup_teardown(canonical_form_is_compact_json, setup, teardown),
        cmocka_unit_test_setup_teardown(what_a_parameter_takes_away_has_no_default, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_submitted_must_be_json, setup, teardown),
        cmocka_unit_test_setup_teardown(both_readers_give_the_same_tree, setup, teardown),
        cmocka_unit_test_setup_teardown(quotes_in_a_row, setup, teardown),
        cmocka_unit_test_setup_teardown(params_are_typed_and_set, setup, teardown),
        cmocka_unit_test_setup_teardown(mistakes_are_answered_with_their_place, setup, teardown),
        cmocka_unit_test_setup_teardown(two_candidates_must_be_told_apart, setup, teardown),
        cmocka_unit_test_setup_teardown(a_file_may_be_what_a_stage_made, setup, teardown),
        cmocka_unit_test_setup_teardown(a_command_line_is_a_job, setup, teardown),
        cmocka_unit_test_setup_teardown(expressions_expand_at_dispatch, setup, teardown),
        cmocka_unit_test_setup_teardown(a_noop_takes_no_resources, setup, teardown),
        cmocka_unit_test_setup_teardown(explain_prints_yaml_that_parses, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
