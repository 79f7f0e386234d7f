/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * What `mlq explain` prints: a spec with all its defaults as YAML, and the manual page of an operator, both
 * from the data that the checks use.
 */
#include <jansson.h>
#include <string.h>

#include "lib/base/panic.h"
#include "lib/spec/emit.h"
#include "lib/spec/spec.h"
#include "lib/sys/mem.h"

struct mlq_str spec_explain(const struct spec *spec, struct mlq_region *region)
{
    struct mlq_str json = spec_canonical(spec, region);
    json_t *document = json_loadb(json.ptr, json.len, 0, NULL);
    MLQ_ASSERT(document != NULL);
    struct mlq_str text = emit_yaml(document, region);
    json_decref(document);
    return text;
}

static const char *type_text(const struct op_param *param)
{
    switch (param->type) {
    case PARAM_INTEGER:
        return "whole number";
    case PARAM_NUMBER:
        return "number";
    case PARAM_BOOL:
        return "true or false";
    case PARAM_TEXT:
        return "text";
    case PARAM_CHOICE:
        return "choice";
    case PARAM_FILE:
        return "file beside the spec, or inputs: {it: STAGE.OUTPUT}";
    case PARAM_INTEGERS:
        return "list of whole numbers";
    case PARAM_TEXTS:
        return "list of texts";
    case PARAM_TEXT_MAP:
        return "mapping of texts";
    case PARAM_NUMBER_MAP:
        return "mapping of numbers";
    case PARAM_CONDITIONS:
        return "list of conditions";
    case PARAM_GROUP:
        return "mapping";
    case PARAM_ONE_OF:
        return "one of the below";
    }
    MLQ_UNREACHABLE("all types are listed");
}

static const char *bounds_text(const struct op_param *param, struct mlq_region *region)
{
    if (param->choices != NULL) {
        const char *all = ": ";
        for (size_t i = 0; param->choices[i] != NULL; i++) {
            all = mlq_region_format(region, "%s%s%s", all, i == 0 ? "" : " | ", param->choices[i]);
        }
        return all;
    }
    if (param->min == 0 && param->max == 0) {
        return "";
    }
    return mlq_region_format(region, " %s%.10g..%.10g%s%s%s", param->above_min ? "above " : "", param->min, param->max,
                             param->power_of_two ? ", a power of two" : "", param->below != NULL ? ", below " : "",
                             param->below != NULL ? param->below : "");
}

static const char *param_text(const struct op_param *param, struct mlq_region *region)
{
    const char *standard = param->required ? "required"
                           : param->standard == NULL || param->type == PARAM_GROUP
                               ? "optional"
                               : mlq_region_format(region, "default %s", param->standard);
    return mlq_region_format(region, "  %s\n      %s%s, %s\n      %s\n", param->path, type_text(param),
                             bounds_text(param, region), standard, param->help);
}

static const char *rule_text(const struct op_rule *rule, struct mlq_region *region)
{
    const char *text = mlq_region_format(region, "  with %s%s%s there is no", rule->with, rule->value == NULL ? "" : ": ",
                                         rule->value == NULL ? "" : rule->value);
    for (size_t i = 0; rule->without[i] != NULL; i++) {
        text = mlq_region_format(region, "%s%s %s", text, i == 0 ? "" : ",", rule->without[i]);
    }
    return mlq_region_format(region, "%s\n", text);
}

struct mlq_str spec_explain_op(const struct op_schema *op, struct mlq_region *region)
{
    const char *text = mlq_region_format(region, "%s: %s\n", op->name, op->help);
    if (op->gang) {
        text = mlq_region_format(region, "%sMay run with ranks: N.\n", text);
    }
    text = mlq_region_format(region, "%s\nwith:\n", text);
    for (size_t i = 0; i < op->param_count; i++) {
        text = mlq_region_format(region, "%s%s", text, param_text(&op->params[i], region));
    }
    for (size_t i = 0; i < op->rule_count; i++) {
        text = mlq_region_format(region, "%s%s%s", text, i == 0 ? "\nwhat goes without what:\n" : "",
                                 rule_text(&op->rules[i], region));
    }
    for (size_t i = 0; i < op->product_count; i++) {
        const struct op_product *product = &op->products[i];
        text = mlq_region_format(region, "%s%s  %s times %s: at most %.0f %s\n", text,
                                 i == 0 ? "\nbounds of products:\n" : "", product->path, product->times, product->most,
                                 product->what);
    }
    text = mlq_region_format(region, "%s\ninputs:%s\n", text, op->input_count == 0 ? " none" : "");
    for (size_t i = 0; i < op->input_count; i++) {
        const struct op_input *input = &op->inputs[i];
        text = mlq_region_format(region, "%s  %-12s %s (%s; from", text, input->name, input->help,
                                 input->required ? "required" : "optional");
        for (size_t k = 0; input->files[k] != NULL; k++) {
            text = mlq_region_format(region, "%s%s %s", text, k == 0 ? "" : " or", input->files[k]);
        }
        text = mlq_region_format(region, "%s)\n", text);
    }
    text = mlq_region_format(region, "%s\noutputs:\n", text);
    for (size_t i = 0; i < op->output_count; i++) {
        text = mlq_region_format(region, "%s  %-24s %s\n", text, op->outputs[i].file, op->outputs[i].help);
    }
    for (size_t i = 0; i < op->mode_output_count; i++) {
        text = mlq_region_format(region, "%s  %-24s %s (with %s, in place of the others)\n", text,
                                 op->mode_outputs[i].file, op->mode_outputs[i].help, op->mode);
    }
    return mlq_str_from(text);
}
