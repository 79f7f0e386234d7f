/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * From text to a spec: the document's frame. Stages are read in stage.c and wired in wire.c.
 */
#include "lib/spec/spec.h"

#include <string.h>

#include "lib/base/ownership.h"
#include "lib/spec/field.h"
#include "lib/spec/parse.h"
#include "lib/spec/yaml_json.h"

#define FILES_MAX 4096

static const char *const document_keys[] = {"apiVersion", "kind", "metadata", "spec", NULL};
static const char *const metadata_keys[] = {"name", "labels", "owner", NULL};
static const char *const pipeline_keys[] = {"priority", "deadline", "params", "code", "stages", NULL};
static const char *const job_keys[] = {"priority", "deadline", "params",  "code",  "uses",    "run",
                                       "with",     "resources", "ranks",  "array", "retry",   "timeout",
                                       "grace",    "env",       NULL};

struct spec_file *spec_add_file(struct parse *parse, struct spec_file file)
{
    struct spec *spec = parse->spec;
    if (spec->file_count == FILES_MAX) {
        diag_add(parse->diags, file.line, file.column, "more than %d files in one spec", FILES_MAX);
        return NULL;
    }
    if (spec->file_count == parse->file_room) {
        size_t room = parse->file_room == 0 ? 16 : parse->file_room * 2;
        struct spec_file *files = mlq_region_array(parse->region, room, sizeof *files);
        if (spec->file_count > 0) {
            memcpy(files, spec->files, spec->file_count * sizeof *files);
        }
        spec->files = files;
        parse->file_room = room;
    }
    spec->files[spec->file_count] = file;
    return &spec->files[spec->file_count++];
}

static bool read_label(struct parse *parse, const struct yaml_node *node, struct spec_pair *label)
{
    if (!field_is_name(node->key, true)) {
        diag_add(parse->diags, node->key_line, node->key_column,
                 "label %s is not a name of 1 to 63 letters, digits, '-', '_' and '.'",
                 diag_quote(parse->diags, node->key));
        return false;
    }
    label->name = node->key;
    return field_text(node, parse->diags, "label", &label->value);
}

/* metadata.owner is the label "owner". */
static void read_labels(struct parse *parse, const struct yaml_node *node, const struct yaml_node *owner)
{
    size_t room = node == NULL ? 1 : node->count + 1;
    if (node != NULL && (node->kind != YAML_MAPPING || node->count > 64)) {
        diag_add(parse->diags, node->line, node->column,
                 "labels: expected a mapping of at most 64 texts");
        return;
    }
    struct spec_pair *labels = mlq_region_array(parse->region, room, sizeof *labels);
    size_t count = 0;
    for (const struct yaml_node *child = node == NULL ? NULL : node->first; child != NULL; child = child->next) {
        count += read_label(parse, child, &labels[count]) ? 1 : 0;
    }
    if (owner != NULL && !yaml_is_null(owner) && yaml_get(node, "owner") == NULL) {
        count += read_label(parse, owner, &labels[count]) ? 1 : 0;
    }
    parse->spec->labels = labels;
    parse->spec->label_count = count;
}

static const struct spec_pair *find_set(const struct spec_options *options, struct mlq_str name)
{
    const struct spec_pair *found = NULL;
    for (size_t i = 0; i < options->set_count; i++) {
        if (mlq_str_eq(options->sets[i].name, name)) {
            found = &options->sets[i]; /* the last one wins, as with any command line */
        }
    }
    return found;
}

/* params: {k: default}; --set replaces a default and may not name what is not there. */
static void read_params(struct parse *parse, struct yaml_node *node)
{
    const struct spec_options *options = parse->options;
    if (node != NULL && !yaml_is_null(node) && node->kind != YAML_MAPPING) {
        diag_add(parse->diags, node->line, node->column, "params: expected a mapping, found %s", yaml_describe(node));
        return;
    }
    size_t room = node == NULL ? 0 : node->count;
    if (room > SPEC_PARAMS_MAX) {
        diag_add(parse->diags, node->line, node->column, "params: %zu entries, at most %d are allowed", room,
                 SPEC_PARAMS_MAX);
        return;
    }
    const char **names = mlq_region_array(parse->region, room + 1, sizeof *names);
    struct spec_pair *params = mlq_region_array(parse->region, room, sizeof *params);
    size_t count = 0;
    for (struct yaml_node *child = node == NULL ? NULL : node->first; child != NULL; child = child->next) {
        struct mlq_str value = {0};
        names[count] = mlq_region_strndup(parse->region, child->key);
        if (!field_is_name(child->key, false)) {
            diag_add(parse->diags, child->key_line, child->key_column,
                     "param %s is not a name of letters, digits, '-' and '_'",
                     diag_quote(parse->diags, child->key));
        }
        const struct spec_pair *set = find_set(options, child->key);
        if (set != NULL) {
            child->text = set->value; /* so that the canonical form holds what was used */
            child->kind = YAML_SCALAR;
            value = set->value;
        } else if (!field_text(child, parse->diags, "param", &value)) {
            value = (struct mlq_str){0};
        }
        params[count++] = (struct spec_pair){child->key, value};
    }
    for (size_t i = 0; i < options->set_count; i++) {
        struct mlq_str name = options->sets[i].name;
        if (yaml_get(node, mlq_region_strndup(parse->region, name)) == NULL) {
            diag_add(parse->diags, 0, 0, "--set %s: the spec has no such param%s",
                     diag_quote(parse->diags, name), diag_suggest(parse->diags, name, names));
        }
    }
    parse->spec->params = params;
    parse->spec->param_count = count;
}

static bool read_frame(struct parse *parse, const struct yaml_node *root)
{
    struct diag_list *diags = parse->diags;
    struct spec *spec = parse->spec;
    if (!field_mapping(root, diags, "the document", document_keys)) {
        return false;
    }
    const struct yaml_node *version = yaml_get(root, "apiVersion");
    if (version == NULL || version->kind != YAML_SCALAR || !mlq_str_eq_c(version->text, "mlq/v1")) {
        diag_add(diags, version == NULL ? root->line : version->line,
                 version == NULL ? root->column : version->column,
                 "apiVersion: expected 'mlq/v1' (the first line of a spec)");
    }
    const struct yaml_node *kind = yaml_get(root, "kind");
    if (kind == NULL || kind->kind != YAML_SCALAR ||
        (!mlq_str_eq_c(kind->text, "Job") && !mlq_str_eq_c(kind->text, "Pipeline"))) {
        diag_add(diags, kind == NULL ? root->line : kind->line, kind == NULL ? root->column : kind->column,
                 "kind: expected 'Job' or 'Pipeline'%s%s", kind == NULL ? "" : ", found ",
                 kind == NULL ? "" : diag_quote(diags, kind->text));
        return false;
    }
    spec->kind = kind->text;
    const struct yaml_node *metadata = yaml_get(root, "metadata");
    if (metadata == NULL || !field_mapping(metadata, diags, "metadata", metadata_keys) ||
        yaml_get(metadata, "name") == NULL) {
        diag_add(diags, metadata == NULL ? root->line : metadata->line,
                 metadata == NULL ? root->column : metadata->column,
                 "metadata: needs a name, for instance metadata: {name: digits}");
    } else {
        (void)field_name(yaml_get(metadata, "name"), diags, "metadata.name", true, &spec->name);
        read_labels(parse, yaml_get(metadata, "labels"), yaml_get(metadata, "owner"));
    }
    return true;
}

static void read_job_fields(struct parse *parse, const struct yaml_node *body)
{
    int64_t priority = 0;
    const struct yaml_node *node = yaml_get(body, "priority");
    if (node != NULL && field_integer(node, parse->diags, "priority", -1000000, 1000000, &priority)) {
        parse->spec->priority = (int32_t)priority;
    }
    node = yaml_get(body, "deadline");
    if (node != NULL && !yaml_is_null(node)) {
        (void)field_duration(node, parse->diags, "deadline", &parse->spec->deadline_ns);
    }
    node = yaml_get(body, "code");
    parse->code = node == NULL || yaml_is_null(node) ? NULL : node;
}

static void read_stages(struct parse *parse, const struct yaml_node *body)
{
    struct spec *spec = parse->spec;
    const struct yaml_node *stages = yaml_get(body, "stages");
    if (stages == NULL || stages->kind != YAML_MAPPING || stages->count == 0) {
        diag_add(parse->diags, stages == NULL ? body->line : stages->line,
                 stages == NULL ? body->column : stages->column,
                 "stages: expected a mapping of at least one stage");
        return;
    }
    if (stages->count > SPEC_STAGES_MAX) {
        diag_add(parse->diags, stages->line, stages->column,
                 "stages: %zu stages, at most %d are allowed in one job (use array: for many alike)",
                 stages->count, SPEC_STAGES_MAX);
        return;
    }
    spec->stages = mlq_region_array(parse->region, stages->count, sizeof *spec->stages);
    for (const struct yaml_node *child = stages->first; child != NULL; child = child->next) {
        uint16_t number = spec->stage_count++;
        struct spec_stage *stage = &spec->stages[number];
        *stage = (struct spec_stage){.name = child->key, .line = child->key_line, .column = child->key_column};
        if (!field_is_name(child->key, false)) {
            diag_add(parse->diags, child->key_line, child->key_column,
                     "stage %s is not a name of 1 to 63 letters, digits, '-' and '_'",
                     diag_quote(parse->diags, child->key));
        }
        stage_read(parse, number, child);
    }
    wire_stages(parse, stages);
}

static void read_body(struct parse *parse, const struct yaml_node *root)
{
    struct diag_list *diags = parse->diags;
    struct spec *spec = parse->spec;
    bool is_job = mlq_str_eq_c(spec->kind, "Job");
    struct yaml_node *body = yaml_get(root, "spec");
    if (body == NULL || !field_mapping(body, diags, "spec", is_job ? job_keys : pipeline_keys)) {
        if (body == NULL) {
            diag_add(diags, root->line, root->column, "spec: is missing");
        }
        return;
    }
    read_params(parse, yaml_get(body, "params"));
    for (struct yaml_node *child = body->first; child != NULL; child = child->next) {
        if (!mlq_str_eq_c(child->key, "params")) {
            expr_apply_params(parse, child);
        }
    }
    read_job_fields(parse, body);
    if (!is_job) {
        read_stages(parse, body);
        return;
    }
    spec->stages = mlq_region_array(parse->region, 1, sizeof *spec->stages);
    spec->stage_count = 1;
    spec->stages[0] = (struct spec_stage){.name = MLQ_STR("main"), .line = body->line, .column = body->column};
    stage_read(parse, 0, body);
    wire_stages(parse, NULL);
}

struct spec *spec_parse(struct mlq_str text,
                        const struct spec_options *options,
                        struct mlq_region *region,
                        struct diag_list *diags)
{
    static const struct spec_options none = {0};
    /* What is submitted must be JSON, which has one reading only: what PostgreSQL and people see in the record is
     * what the scheduler ran. */
    bool is_canonical = options != NULL && options->canonical;
    struct yaml_node *root = is_canonical ? yaml_json_parse(text, region, diags) : yaml_parse(text, region, diags);
    if (root == NULL) {
        return NULL;
    }
    struct parse parse = {
        .region = region,
        .diags = diags,
        .options = options == NULL ? &none : options,
        .spec = mlq_region_alloc(region, sizeof(struct spec)),
    };
    if (read_frame(&parse, root)) {
        read_body(&parse, root);
    }
    return diags->count == 0 ? parse.spec : NULL;
}
