/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The graph: needs, cycles, and what feeds each input.
 *
 * An operator's input takes the nearest upstream output with a name that it accepts: distance is counted in
 * needs, the first accepted name that is found at the least distance wins, and two stages that offer it
 * there are an error that `inputs:` resolves. A command gets, for each direct need, a folder with all
 * outputs of that stage. A parameter of an operator that is a file (data.import's path) is an input, too,
 * which only `inputs:` wires.
 */
#include <string.h>

#include <jansson.h>

#include "lib/base/ownership.h"
#include "lib/spec/field.h"
#include "lib/spec/parse.h"

static const char *const no_names[] = {NULL};

static const char *const *stage_names(struct parse *parse)
{
    struct spec *spec = parse->spec;
    const char **names = mlq_region_array(parse->region, (size_t)spec->stage_count + 1, sizeof *names);
    for (uint16_t i = 0; i < spec->stage_count; i++) {
        names[i] = mlq_region_strndup(parse->region, spec->stages[i].name);
    }
    return names;
}

static bool find_stage(const struct spec *spec, struct mlq_str name, uint16_t *number)
{
    for (uint16_t i = 0; i < spec->stage_count; i++) {
        if (mlq_str_eq(spec->stages[i].name, name)) {
            *number = i;
            return true;
        }
    }
    return false;
}

static void add_need(struct parse *parse, struct spec_stage *stage, uint16_t *needs,
                     const struct yaml_node *node)
{
    struct mlq_str name;
    uint16_t number;
    if (!field_text(node, parse->diags, "needs", &name)) {
        return;
    }
    if (!find_stage(parse->spec, name, &number)) {
        diag_add(parse->diags, node->line, node->column, "needs: there is no stage %s%s",
                 diag_quote(parse->diags, name), diag_suggest(parse->diags, name, stage_names(parse)));
        return;
    }
    for (uint16_t i = 0; i < stage->needs_count; i++) {
        if (needs[i] == number) {
            diag_add(parse->diags, node->line, node->column, "needs: %s is named twice",
                     diag_quote(parse->diags, name));
            return;
        }
    }
    needs[stage->needs_count++] = number;
}

static void read_needs(struct parse *parse, uint16_t number, const struct yaml_node *node)
{
    struct spec_stage *stage = &parse->spec->stages[number];
    if (node == NULL || yaml_is_null(node)) {
        return;
    }
    if (node->kind != YAML_SCALAR && !field_sequence(node, parse->diags, "needs", SPEC_NEEDS_MAX)) {
        return;
    }
    size_t room = node->kind == YAML_SCALAR ? 1 : node->count;
    uint16_t *needs = mlq_region_array(parse->region, room, sizeof *needs);
    stage->needs = needs;
    if (node->kind == YAML_SCALAR) {
        add_need(parse, stage, needs, node);
        return;
    }
    for (const struct yaml_node *child = node->first; child != NULL; child = child->next) {
        add_need(parse, stage, needs, child);
    }
}

/* Kahn's algorithm; what is left over lies on, or behind, a cycle. */
static bool has_cycle(struct parse *parse)
{
    struct spec *spec = parse->spec;
    bool *done = mlq_region_array(parse->region, spec->stage_count, sizeof *done);
    uint16_t done_count = 0;
    bool progress = true;
    while (progress) {
        progress = false;
        for (uint16_t i = 0; i < spec->stage_count; i++) {
            bool ready = !done[i];
            for (uint16_t k = 0; ready && k < spec->stages[i].needs_count; k++) {
                ready = done[spec->stages[i].needs[k]];
            }
            if (ready) {
                done[i] = true;
                done_count++;
                progress = true;
            }
        }
    }
    if (done_count == spec->stage_count) {
        return false;
    }
    const char *names = "";
    uint16_t first = 0;
    while (done[first]) {
        first++;
    }
    for (uint16_t i = first; i < spec->stage_count; i++) {
        if (!done[i]) {
            names = mlq_region_format(parse->region, "%s%s%.*s", names, i == first ? "" : ", ",
                                      MLQ_STR_ARG(spec->stages[i].name));
        }
    }
    diag_add(parse->diags, spec->stages[first].line, spec->stages[first].column,
             "stages need each other in a circle: %.400s", names);
    return true;
}

/* distance[i]: fewest needs from `number` up to stage i; 0: not upstream. */
static uint16_t *distances(struct parse *parse, uint16_t number)
{
    struct spec *spec = parse->spec;
    uint16_t *distance = mlq_region_array(parse->region, spec->stage_count, sizeof *distance);
    uint16_t *queue = mlq_region_array(parse->region, spec->stage_count, sizeof *queue);
    size_t head = 0;
    size_t tail = 0;
    uint16_t at = number;
    for (;;) {
        const struct spec_stage *stage = &spec->stages[at];
        for (uint16_t k = 0; k < stage->needs_count; k++) {
            uint16_t need = stage->needs[k];
            if (distance[need] == 0 && need != number) {
                distance[need] = (uint16_t)(at == number ? 1 : distance[at] + 1);
                queue[tail++] = need;
            }
        }
        if (head == tail) {
            return distance;
        }
        at = queue[head++];
    }
}

struct outputs {
    const struct op_output *list;
    size_t count;
};

/* What a stage makes: with the parameter of another mode, that mode's outputs. */
static struct outputs outputs_of(const struct spec_stage *stage)
{
    const struct op_schema *op = stage->op;
    struct outputs outputs = {.list = op->outputs, .count = op->output_count};
    if (op->mode == NULL || stage->with.len == 0) {
        return outputs;
    }
    json_t *with = json_loadb(stage->with.ptr, stage->with.len, 0, NULL);
    const json_t *mode = json_object_get(with, op->mode);
    if (mode != NULL && !json_is_null(mode)) {
        outputs = (struct outputs){.list = op->mode_outputs, .count = op->mode_output_count};
    }
    json_decref(with);
    return outputs;
}

/* "test" and "test.safetensors" both name the output test.safetensors. */
static bool names_output(struct mlq_str text, const char *file)
{
    struct mlq_str whole = mlq_str_from(file);
    struct mlq_str stem;
    struct mlq_str suffix;
    return mlq_str_eq(text, whole) || (mlq_str_cut(whole, '.', &stem, &suffix) && mlq_str_eq(text, stem));
}

/* The output of `stage` that `text` names; commands may have any. Empty when there is none. */
static struct mlq_str resolve_output(const struct spec_stage *stage, struct mlq_str text)
{
    if (stage->op == NULL || mlq_str_eq_c(text, "*")) {
        return text;
    }
    struct outputs outputs = outputs_of(stage);
    for (size_t i = 0; i < outputs.count; i++) {
        if (names_output(text, outputs.list[i].file)) {
            return mlq_str_from(outputs.list[i].file);
        }
    }
    return (struct mlq_str){0};
}

static const char *const *output_names(struct parse *parse, const struct spec_stage *stage)
{
    if (stage->op == NULL) {
        return no_names;
    }
    struct outputs outputs = outputs_of(stage);
    const char **names = mlq_region_array(parse->region, outputs.count + 1, sizeof *names);
    for (size_t i = 0; i < outputs.count; i++) {
        names[i] = outputs.list[i].file;
    }
    return names;
}

static void add_input(struct spec_stage *stage, struct spec_input *inputs, struct spec_input input)
{
    inputs[stage->input_count++] = input;
}

static bool has_input(const struct spec_stage *stage, struct mlq_str name)
{
    for (size_t i = 0; i < stage->input_count; i++) {
        if (mlq_str_eq(stage->inputs[i].name, name)) {
            return true;
        }
    }
    return false;
}

/* inputs: {data: split.test} */
static void read_input(struct parse *parse, struct spec_stage *stage, struct spec_input *inputs,
                       const uint16_t *distance, const struct yaml_node *node)
{
    struct diag_list *diags = parse->diags;
    struct mlq_str text;
    struct mlq_str from;
    struct mlq_str output;
    uint16_t source;
    if (!field_is_name(node->key, false)) {
        diag_add(diags, node->key_line, node->key_column, "inputs: %s is not a name", diag_quote(diags, node->key));
        return;
    }
    if (!field_text(node, diags, "inputs", &text)) {
        return;
    }
    if (!mlq_str_cut(text, '.', &from, &output) || output.len == 0) {
        diag_add(diags, node->line, node->column, "inputs: expected STAGE.OUTPUT, for instance split.test, found %s",
                 diag_quote(diags, text));
        return;
    }
    if (!find_stage(parse->spec, from, &source)) {
        diag_add(diags, node->line, node->column, "inputs: there is no stage %s%s", diag_quote(diags, from),
                 diag_suggest(diags, from, stage_names(parse)));
        return;
    }
    if (distance[source] == 0) {
        diag_add(diags, node->line, node->column, "inputs: '%.*s' does not need '%.*s': add it to needs",
                 MLQ_STR_ARG(stage->name), MLQ_STR_ARG(from));
        return;
    }
    if (stage->op != NULL && mlq_str_eq_c(output, "*")) {
        diag_add(diags, node->line, node->column, "inputs: %.*s of %s is one file: name it, as STAGE.OUTPUT",
                 MLQ_STR_ARG(node->key), stage->op->name);
        return;
    }
    struct mlq_str file = resolve_output(&parse->spec->stages[source], output);
    if (file.len == 0) {
        diag_add(diags, node->line, node->column, "inputs: stage '%.*s' has no output %s%s", MLQ_STR_ARG(from),
                 diag_quote(diags, output), diag_suggest(diags, output, output_names(parse, &parse->spec->stages[source])));
        return;
    }
    add_input(stage, inputs, (struct spec_input){.name = node->key, .stage = source, .output = file});
}

static bool has_file(struct outputs outputs, const char *file)
{
    for (size_t i = 0; i < outputs.count; i++) {
        if (strcmp(outputs.list[i].file, file) == 0) {
            return true;
        }
    }
    return false;
}

struct candidate {
    uint16_t stage;
    const char *file;
    size_t rank; /* place of file in the input's preferences */
    size_t rivals;
    uint16_t rival;
};

/* Nearest stage that offers an accepted file; at equal distance the preferred file. */
static bool find_candidate(const struct spec *spec, const uint16_t *distance, const struct op_input *input,
                           struct candidate *best)
{
    uint16_t nearest = UINT16_MAX;
    bool found = false;
    for (uint16_t i = 0; i < spec->stage_count; i++) {
        if (distance[i] == 0 || distance[i] > nearest || spec->stages[i].op == NULL) {
            continue;
        }
        struct outputs outputs = outputs_of(&spec->stages[i]);
        for (size_t k = 0; input->files[k] != NULL; k++) {
            if (!has_file(outputs, input->files[k])) {
                continue;
            }
            if (!found || distance[i] < nearest || k < best->rank) {
                *best = (struct candidate){.stage = i, .file = input->files[k], .rank = k};
                found = true;
            } else if (k == best->rank) {
                best->rivals++;
                best->rival = i;
            }
            nearest = distance[i];
            break;
        }
    }
    return found;
}

static const char *accepted(struct parse *parse, const struct op_input *input)
{
    const char *all = "";
    for (size_t i = 0; input->files[i] != NULL; i++) {
        all = mlq_region_format(parse->region, "%s%s%s", all, i == 0 ? "" : " or ", input->files[i]);
    }
    return all;
}

static void wire_operator(struct parse *parse, struct spec_stage *stage, struct spec_input *inputs,
                          const uint16_t *distance)
{
    for (size_t i = 0; i < stage->op->input_count; i++) {
        const struct op_input *input = &stage->op->inputs[i];
        struct candidate best = {0};
        if (has_input(stage, mlq_str_from(input->name))) {
            continue;
        }
        if (!find_candidate(parse->spec, distance, input, &best)) {
            if (input->required) {
                diag_add(parse->diags, stage->line, stage->column,
                         "stage '%.*s': nothing upstream feeds its input '%s' (%s): add the stage that makes %s "
                         "to its needs, or say inputs: {%s: STAGE.OUTPUT}",
                         MLQ_STR_ARG(stage->name), input->name, input->help, accepted(parse, input), input->name);
            }
            continue;
        }
        if (best.rivals > 0) {
            diag_add(parse->diags, stage->line, stage->column,
                     "stage '%.*s': both '%.*s' and '%.*s' could feed its input '%s': say inputs: {%s: %.*s.%s}",
                     MLQ_STR_ARG(stage->name), MLQ_STR_ARG(parse->spec->stages[best.stage].name),
                     MLQ_STR_ARG(parse->spec->stages[best.rival].name), input->name, input->name,
                     MLQ_STR_ARG(parse->spec->stages[best.stage].name), best.file);
            continue;
        }
        add_input(stage, inputs, (struct spec_input){.name = mlq_str_from(input->name),
                                                     .stage = best.stage,
                                                     .output = mlq_str_from(best.file)});
    }
}

static void check_known_inputs(struct parse *parse, const struct spec_stage *stage, const struct yaml_node *node)
{
    const struct op_schema *op = stage->op;
    const char **names = mlq_region_array(parse->region, op->input_count + op->param_count + 1, sizeof *names);
    size_t count = 0;
    for (size_t i = 0; i < op->input_count; i++) {
        names[count++] = op->inputs[i].name;
    }
    for (size_t i = 0; i < op->param_count; i++) {
        if (op->params[i].type == PARAM_FILE) { /* instead of a file beside the spec */
            names[count++] = op->params[i].path;
        }
    }
    (void)field_mapping(node, parse->diags, mlq_region_format(parse->region, "inputs of %s", stage->op->name), names);
}

static void wire_inputs(struct parse *parse, uint16_t number, const struct yaml_node *node)
{
    struct spec_stage *stage = &parse->spec->stages[number];
    const uint16_t *distance = distances(parse, number);
    size_t given = node == NULL || node->kind != YAML_MAPPING ? 0 : node->count;
    if (node != NULL && !yaml_is_null(node) && (node->kind != YAML_MAPPING || given > SPEC_INPUTS_MAX)) {
        diag_add(parse->diags, node->line, node->column,
                 "inputs: expected a mapping like {data: split.test}, of at most %d", SPEC_INPUTS_MAX);
        return;
    }
    size_t wired = stage->op == NULL ? stage->needs_count : stage->op->input_count;
    struct spec_input *inputs = mlq_region_array(parse->region, given + wired, sizeof *inputs);
    stage->inputs = inputs;
    if (given > 0 && stage->op != NULL) {
        check_known_inputs(parse, stage, node);
    }
    for (const struct yaml_node *child = given == 0 ? NULL : node->first; child != NULL; child = child->next) {
        read_input(parse, stage, inputs, distance, child);
    }
    if (stage->op != NULL) {
        wire_operator(parse, stage, inputs, distance);
        return;
    }
    for (uint16_t k = 0; k < stage->needs_count; k++) {
        struct mlq_str name = parse->spec->stages[stage->needs[k]].name;
        if (!has_input(stage, name)) {
            add_input(stage, inputs, (struct spec_input){.name = name, .stage = stage->needs[k], .output = MLQ_STR("*")});
        }
    }
}

/* stages.X.outputs.Y, stages.X.metrics.Y with X upstream; job.id. */
static void check_reference(struct parse *parse, const struct parse_reference *reference)
{
    struct spec *spec = parse->spec;
    struct mlq_str text = reference->expression;
    struct mlq_str head;
    struct mlq_str rest;
    struct mlq_str stage_name;
    struct mlq_str what;
    struct mlq_str item;
    uint16_t source;
    if (mlq_str_eq_c(text, "job.id") || mlq_str_eq_c(text, "job.name")) {
        return;
    }
    if (!mlq_str_cut(text, '.', &head, &rest) || !mlq_str_eq_c(head, "stages") ||
        !mlq_str_cut(rest, '.', &stage_name, &rest) || !mlq_str_cut(rest, '.', &what, &item) || item.len == 0 ||
        (!mlq_str_eq_c(what, "outputs") && !mlq_str_eq_c(what, "metrics"))) {
        diag_add(parse->diags, reference->line, reference->column,
                 "${{ %.*s }}: expected params.NAME, stages.STAGE.outputs.NAME, stages.STAGE.metrics.NAME, job.id "
                 "or job.name", MLQ_STR_ARG(text));
        return;
    }
    if (!find_stage(spec, stage_name, &source)) {
        diag_add(parse->diags, reference->line, reference->column, "${{ %.*s }} refers to nothing: there is no stage %s%s",
                 MLQ_STR_ARG(text), diag_quote(parse->diags, stage_name),
                 diag_suggest(parse->diags, stage_name, stage_names(parse)));
        return;
    }
    if (distances(parse, reference->stage)[source] == 0) {
        diag_add(parse->diags, reference->line, reference->column, "${{ %.*s }}: stage '%.*s' does not need '%.*s'",
                 MLQ_STR_ARG(text), MLQ_STR_ARG(spec->stages[reference->stage].name), MLQ_STR_ARG(stage_name));
        return;
    }
    if (mlq_str_eq_c(what, "outputs") && resolve_output(&spec->stages[source], item).len == 0) {
        diag_add(parse->diags, reference->line, reference->column, "${{ %.*s }} refers to nothing: '%.*s' has no output %s%s",
                 MLQ_STR_ARG(text), MLQ_STR_ARG(stage_name), diag_quote(parse->diags, item),
                 diag_suggest(parse->diags, item, output_names(parse, &spec->stages[source])));
    }
}

void wire_stages(struct parse *parse, const struct yaml_node *stages)
{
    const struct yaml_node *node = stages == NULL ? NULL : stages->first;
    for (uint16_t i = 0; node != NULL; node = node->next, i++) {
        read_needs(parse, i, yaml_get(node, "needs"));
    }
    if (has_cycle(parse)) {
        return;
    }
    node = stages == NULL ? NULL : stages->first;
    for (uint16_t i = 0; i < parse->spec->stage_count; i++) {
        wire_inputs(parse, i, yaml_get(node, "inputs"));
        node = node == NULL ? NULL : node->next;
    }
    for (size_t i = 0; i < parse->reference_count; i++) {
        check_reference(parse, &parse->references[i]);
    }
}
