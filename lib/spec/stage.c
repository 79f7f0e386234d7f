/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * One stage, or the body of a Job, which is a pipeline of one stage called "main".
 */
#include <jansson.h>
#include <string.h>

#include "lib/base/ownership.h"
#include "lib/base/panic.h"
#include "lib/spec/field.h"
#include "lib/spec/parse.h"
#include "lib/spec/with.h"
#include "lib/sys/mem.h"

#define NS_PER_S INT64_C(1000000000)
#define GRACE_NS (60 * NS_PER_S)      /* SIGTERM to SIGKILL, unless set */
#define BACKOFF_NS (1 * NS_PER_S)
#define BACKOFF_MAX_NS (300 * NS_PER_S)
#define RETRY_NODE_LIMIT 3

static const char *const stage_keys[] = {"uses",  "run",   "with",    "needs", "inputs", "resources", "ranks",
                                         "array", "retry", "timeout", "grace", "env",    "code",      NULL};
static const char *const resource_keys[] = {"cpus", "memory", "gpus", NULL};
static const char *const retry_keys[] = {"limit", "on", "backoff", "backoff_max", NULL};
static const char *const array_keys[] = {"count", "parallel", "max_failures", NULL};
static const char *const file_keys[] = {"name", "digest", "bytes", NULL};
static const char *const cause_names[] = {SPEC_CAUSES, NULL};

struct reader {
    struct parse *parse;
    struct spec_stage *stage;
    const struct yaml_node *inputs; /* or NULL */
    uint16_t number;
    bool is_elastic; /* the operator can do with ranks that go and come */
};

static struct mlq_str base_name(struct mlq_str path)
{
    while (path.len > 0 && path.ptr[path.len - 1] == '/') {
        path.len--;
    }
    size_t start = path.len;
    while (start > 0 && path.ptr[start - 1] != '/') {
        start--;
    }
    return (struct mlq_str){path.ptr + start, path.len - start};
}

/* A file or folder: text is a path beside the spec, a mapping is what canonical form has. */
static void read_file(struct reader *r, struct mlq_str param, const struct yaml_node *node)
{
    struct diag_list *diags = r->parse->diags;
    struct spec_file file = {.stage = r->number, .param = param, .line = node->line, .column = node->column};
    const char *what = mlq_region_strndup(r->parse->region, param);
    if (node->kind == YAML_MAPPING) {
        int64_t bytes = 0;
        const struct yaml_node *name = yaml_get(node, "name");
        const struct yaml_node *digest = yaml_get(node, "digest");
        const struct yaml_node *size = yaml_get(node, "bytes");
        if (!field_mapping(node, diags, what, file_keys) || name == NULL || digest == NULL ||
            size == NULL || !field_text(name, diags, what, &file.name) ||
            !field_text(digest, diags, what, &file.digest) ||
            !field_integer(size, diags, what, 0, INT64_MAX, &bytes)) {
            diag_add(diags, node->line, node->column, "%s: a stored file has a name, a digest and bytes", what);
            return;
        }
        file.bytes = (uint64_t)bytes;
        if (file.digest.len != 71 || !mlq_str_starts(file.digest, "sha256:")) {
            diag_add(diags, digest->line, digest->column, "%s: digest %s is not sha256:<64 hex digits>",
                     what, diag_quote(diags, file.digest));
            return;
        }
    } else if (!field_text(node, diags, what, &file.path)) {
        return;
    } else if (r->parse->options->canonical) {
        diag_add(diags, node->line, node->column, "%s: a submitted spec names files by digest", what);
        return;
    } else {
        file.name = base_name(file.path);
    }
    bool is_odd = file.name.len > 255 || memchr(file.name.ptr == NULL ? "" : file.name.ptr, '/', file.name.len) != NULL ||
                  mlq_str_eq_c(file.name, "..");
    if (is_odd || (file.name.len == 0)) {
        diag_add(diags, node->line, node->column, "%s: %s is not a usable file name", what,
                 diag_quote(diags, file.name));
        return;
    }
    (void)spec_add_file(r->parse, file);
}

static void on_with_file(void *context, const struct op_param *param, const struct yaml_node *node)
{
    struct reader *r = context;
    for (size_t i = 0; node->kind == YAML_SCALAR && i + 2 < node->text.len; i++) {
        if (memcmp(node->text.ptr + i, "${{", 3) == 0) {
            diag_add(r->parse->diags, node->line, node->column,
                     "%s: names a file beside the spec; what a stage made is given by inputs: {%s: STAGE.OUTPUT}",
                     param->path, param->path);
            return;
        }
    }
    read_file(r, mlq_str_from(param->path), node);
}

static bool is_file_wired(void *context, const struct op_param *param)
{
    struct reader *r = context;
    return yaml_get(r->inputs, param->path) != NULL;
}

static void collect_below(struct reader *r, const struct yaml_node *node)
{
    const struct yaml_node *at = node;
    while (at != NULL) {
        if (at->kind == YAML_SCALAR) {
            expr_collect(r->parse, r->number, at->text, at);
        }
        if (at->first != NULL) {
            at = at->first;
            continue;
        }
        while (at != node && at->next == NULL) {
            at = at->parent;
        }
        at = at == node ? NULL : at->next;
    }
}

static void read_operator(struct reader *r, const struct yaml_node *uses, const struct yaml_node *with)
{
    struct diag_list *diags = r->parse->diags;
    struct spec_stage *stage = r->stage;
    struct mlq_str name;
    if (!field_text(uses, diags, "uses", &name)) {
        return;
    }
    stage->op = op_schema_find(name);
    if (stage->op == NULL) {
        const char *hint = diag_suggest(diags, name, op_schema_names());
        diag_add(diags, uses->line, uses->column, "unknown operator %s%s%s", diag_quote(diags, name), hint,
                 hint[0] == '\0' ? " (mlq explain lists them)" : "");
        return;
    }
    struct with_files files = {.found = on_with_file, .wired = is_file_wired, .context = r};
    json_t *normal = with_normalise(stage->op, with != NULL && yaml_is_null(with) ? NULL : with,
                                    uses->line, uses->column, &files, diags);
    char *text = json_dumps(normal, JSON_COMPACT | JSON_REAL_PRECISION(15) | JSON_SORT_KEYS);
    MLQ_ASSERT(text != NULL);
    stage->with = mlq_region_copy(r->parse->region, mlq_str_from(text));
    const char *level = json_string_value(json_object_get(normal, "level"));
    r->is_elastic = level != NULL && strcmp(level, "elastic") == 0;
    mlq_free(text);
    json_decref(normal);
    if (with != NULL) {
        collect_below(r, with);
    }
}

static void add_script(struct reader *r, const struct yaml_node *node, struct mlq_str word)
{
    const struct spec_options *options = r->parse->options;
    if (r->parse->code != NULL || options->is_script == NULL || !options->is_script(options->context, word)) {
        return;
    }
    struct mlq_str *scripts = mlq_region_array(r->parse->region, r->stage->script_count + 1, sizeof *scripts);
    if (r->stage->script_count > 0) {
        memcpy(scripts, r->stage->scripts, r->stage->script_count * sizeof *scripts);
    } else {
        (void)spec_add_file(r->parse, (struct spec_file){.stage = r->number,
                                                          .param = MLQ_STR("scripts"),
                                                          .path = MLQ_STR("."),
                                                          .name = MLQ_STR("scripts"),
                                                          .line = node->line,
                                                          .column = node->column});
    }
    scripts[r->stage->script_count++] = word;
    r->stage->scripts = scripts;
}

static void read_command(struct reader *r, const struct yaml_node *run, bool has_code)
{
    struct diag_list *diags = r->parse->diags;
    struct mlq_str line;
    if (run->kind == YAML_SCALAR && !yaml_is_null(run)) { /* a text is a shell line */
        if (!field_text(run, diags, "run", &line)) {
            return;
        }
        struct mlq_str *argv = mlq_region_array(r->parse->region, 3, sizeof *argv);
        argv[0] = MLQ_STR("/bin/sh");
        argv[1] = MLQ_STR("-ec");
        argv[2] = line;
        r->stage->argv = argv;
        r->stage->argc = 3;
        expr_collect(r->parse, r->number, line, run);
        return;
    }
    if (!field_sequence(run, diags, "run", SPEC_ARGS_MAX)) {
        return;
    }
    if (run->count == 0) {
        diag_add(diags, run->line, run->column, "run: the command is empty");
        return;
    }
    struct mlq_str *argv = mlq_region_array(r->parse->region, run->count, sizeof *argv);
    size_t argc = 0;
    for (const struct yaml_node *word = run->first; word != NULL; word = word->next) {
        if (yaml_is_null(word) || !field_text(word, diags, "run", &argv[argc])) {
            continue;
        }
        expr_collect(r->parse, r->number, argv[argc], word);
        if (!has_code) {
            add_script(r, word, argv[argc]);
        }
        argc++;
    }
    r->stage->argv = argv;
    r->stage->argc = argc;
}

static void read_what(struct reader *r, const struct yaml_node *node)
{
    struct diag_list *diags = r->parse->diags;
    const struct yaml_node *uses = yaml_get(node, "uses");
    const struct yaml_node *run = yaml_get(node, "run");
    const struct yaml_node *with = yaml_get(node, "with");
    const struct yaml_node *code = yaml_get(node, "code");
    if ((uses == NULL) == (run == NULL)) {
        diag_add(diags, r->stage->line, r->stage->column,
                 "stage '%.*s' needs either 'uses' (an operator) or 'run' (a command)%s",
                 MLQ_STR_ARG(r->stage->name), uses == NULL ? "" : ", not both");
        return;
    }
    if (uses != NULL) {
        read_operator(r, uses, with);
        return;
    }
    if (with != NULL) {
        diag_add(diags, with->key_line, with->key_column,
                 "with: belongs to operators; give a command its values in run: or env:");
    }
    if (code == NULL || yaml_is_null(code)) {
        code = r->parse->code;
    }
    read_command(r, run, code != NULL);
    if (code != NULL) {
        read_file(r, MLQ_STR("code"), code);
    }
}

static void read_resources(struct reader *r, const struct yaml_node *node)
{
    struct spec_stage *stage = r->stage;
    struct diag_list *diags = r->parse->diags;
    bool in_agent = stage->op != NULL && stage->op->in_agent;
    stage->cpu_milli = in_agent ? 0 : 1000;
    if (node == NULL || yaml_is_null(node)) {
        return;
    }
    if (in_agent) {
        diag_add(diags, node->key_line, node->key_column,
                 "resources: %s runs without a process and takes none", stage->op->name);
        return;
    }
    if (!field_mapping(node, diags, "resources", resource_keys)) {
        return;
    }
    const struct yaml_node *value = yaml_get(node, "cpus");
    if (value != NULL) {
        (void)field_cpus(value, diags, "cpus", &stage->cpu_milli);
    }
    value = yaml_get(node, "memory");
    if (value != NULL && !yaml_is_null(value)) {
        (void)field_size(value, diags, "memory", &stage->mem_bytes);
    }
    value = yaml_get(node, "gpus");
    int64_t gpus = 0;
    if (value != NULL && field_integer(value, diags, "gpus", 0, 64, &gpus)) {
        stage->gpus = (int32_t)gpus;
    }
}

static void set_causes(struct reader *r, const char *const *names, size_t count)
{
    struct mlq_str *on = mlq_region_array(r->parse->region, count, sizeof *on);
    for (size_t i = 0; i < count; i++) {
        on[i] = mlq_str_from(names[i]);
    }
    r->stage->retry.on = on;
    r->stage->retry.on_count = count;
}

static void read_causes(struct reader *r, const struct yaml_node *node)
{
    struct diag_list *diags = r->parse->diags;
    if (!field_sequence(node, diags, "retry.on", MLQ_COUNT_OF(cause_names))) {
        return;
    }
    const char **on = mlq_region_array(r->parse->region, node->count, sizeof *on);
    size_t count = 0;
    for (const struct yaml_node *child = node->first; child != NULL; child = child->next) {
        struct mlq_str name;
        if (!field_text(child, diags, "retry.on", &name)) {
            continue;
        }
        size_t known = 0;
        while (cause_names[known] != NULL && !mlq_str_eq_c(name, cause_names[known])) {
            known++;
        }
        if (cause_names[known] == NULL) {
            diag_add(diags, child->line, child->column,
                     "retry.on: %s is not a cause (exit, signal, oom, timeout, node, lease, spawn, "
                     "input, output, peer)%s",
                     diag_quote(diags, name), diag_suggest(diags, name, cause_names));
        } else {
            on[count++] = cause_names[known];
        }
    }
    set_causes(r, on, count);
}

/* Without a policy a lost machine is retried and a user's failure is not. `retry: N` retries any failure. */
static void read_retry(struct reader *r, const struct yaml_node *node)
{
    static const char *const node_only[] = {"node", "lease"};
    struct spec_retry *retry = &r->stage->retry;
    struct diag_list *diags = r->parse->diags;
    *retry = (struct spec_retry){.limit = RETRY_NODE_LIMIT, .backoff_ns = BACKOFF_NS, .backoff_max_ns = BACKOFF_MAX_NS};
    set_causes(r, node_only, MLQ_COUNT_OF(node_only));
    if (node == NULL || yaml_is_null(node)) {
        return;
    }
    const struct yaml_node *limit = node->kind == YAML_SCALAR ? node : yaml_get(node, "limit");
    int64_t count = RETRY_NODE_LIMIT;
    if (limit != NULL && !field_integer(limit, diags, "retry.limit", 0, 10000, &count)) {
        return;
    }
    retry->limit = (uint32_t)count;
    set_causes(r, cause_names, MLQ_COUNT_OF(cause_names) - 1);
    if (node->kind == YAML_SCALAR || !field_mapping(node, diags, "retry", retry_keys)) {
        return;
    }
    const struct yaml_node *value = yaml_get(node, "on");
    if (value != NULL) {
        read_causes(r, value);
    }
    value = yaml_get(node, "backoff");
    if (value != NULL) {
        (void)field_duration(value, diags, "retry.backoff", &retry->backoff_ns);
    }
    value = yaml_get(node, "backoff_max");
    if (value != NULL) {
        if (field_duration(value, diags, "retry.backoff_max", &retry->backoff_max_ns) &&
            retry->backoff_max_ns < retry->backoff_ns) {
            diag_add(diags, value->line, value->column, "retry.backoff_max: %s is less than retry.backoff (%s)",
                     field_format_duration(r->parse->region, retry->backoff_max_ns),
                     field_format_duration(r->parse->region, retry->backoff_ns));
        }
    } else if (retry->backoff_max_ns < retry->backoff_ns) {
        retry->backoff_max_ns = retry->backoff_ns;
    }
}

/* `parallel` and `max_failures` of an array, each 0 to a million. */
static void read_array_limit(struct reader *r, const struct yaml_node *array, const char *key, const char *name,
                             uint32_t *limit)
{
    const struct yaml_node *value = yaml_get(array, key);
    int64_t number = 0;
    if (value != NULL && field_integer(value, r->parse->diags, name, 0, SPEC_ARRAY_MAX, &number)) {
        *limit = (uint32_t)number;
    }
}

static void read_array(struct reader *r, const struct yaml_node *node)
{
    struct diag_list *diags = r->parse->diags;
    struct spec_stage *stage = r->stage;
    stage->array_count = 1;
    stage->array_max_failures = SPEC_ARRAY_MAX;
    if (node != NULL && !yaml_is_null(node)) {
        int64_t count = 1;
        const struct yaml_node *value = node;
        if (node->kind == YAML_MAPPING) {
            value = yaml_get(node, "count");
            if (!field_mapping(node, diags, "array", array_keys) || value == NULL) {
                diag_add(diags, node->line, node->column, "array: needs a count");
                return;
            }
            read_array_limit(r, node, "parallel", "array.parallel", &stage->array_parallel);
            read_array_limit(r, node, "max_failures", "array.max_failures", &stage->array_max_failures);
        }
        if (field_integer(value, diags, "array", 1, SPEC_ARRAY_MAX, &count)) {
            stage->array_count = (uint32_t)count;
        }
    }
    if (stage->array_max_failures > stage->array_count) {
        stage->array_max_failures = stage->array_count;
    }
}

static bool is_variable_name(struct mlq_str name)
{
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
        if (!letter && (i == 0 || c < '0' || c > '9')) {
            return false;
        }
    }
    return name.len > 0 && name.len <= 255;
}

static void read_env(struct reader *r, const struct yaml_node *node)
{
    struct diag_list *diags = r->parse->diags;
    if (node == NULL || yaml_is_null(node)) {
        return;
    }
    if (node->kind != YAML_MAPPING || node->count > SPEC_ENV_MAX) {
        diag_add(diags, node->line, node->column, "env: expected a mapping of at most %d texts", SPEC_ENV_MAX);
        return;
    }
    struct spec_pair *env = mlq_region_array(r->parse->region, node->count, sizeof *env);
    size_t count = 0;
    for (const struct yaml_node *child = node->first; child != NULL; child = child->next) {
        struct mlq_str value = {"", 0};
        if (!is_variable_name(child->key)) {
            diag_add(diags, child->key_line, child->key_column, "env: %s is not a variable's name",
                     diag_quote(diags, child->key));
        } else if (mlq_str_starts(child->key, "MLQ_")) {
            diag_add(diags, child->key_line, child->key_column,
                     "env: %s: names that begin with MLQ_ are the scheduler's own", diag_quote(diags, child->key));
        } else if (yaml_is_null(child) || field_text(child, diags, "env", &value)) {
            expr_collect(r->parse, r->number, value, child);
            env[count++] = (struct spec_pair){child->key, value};
        }
    }
    r->stage->env = env;
    r->stage->env_count = count;
}

static void read_times(struct reader *r, const struct yaml_node *node)
{
    struct diag_list *diags = r->parse->diags;
    const struct yaml_node *value = yaml_get(node, "timeout");
    if (value != NULL && !yaml_is_null(value)) {
        (void)field_duration(value, diags, "timeout", &r->stage->timeout_ns);
    }
    r->stage->grace_ns = GRACE_NS;
    value = yaml_get(node, "grace");
    if (value != NULL && !yaml_is_null(value)) {
        (void)field_duration(value, diags, "grace", &r->stage->grace_ns);
    }
}

bool spec_read_ranks(struct mlq_str text, uint32_t *least, uint32_t *most)
{
    struct mlq_str left;
    struct mlq_str right;
    struct mlq_str between = {0};
    int64_t from;
    int64_t to;
    if (!mlq_str_cut(text, '.', &left, &right)) {
        right = left = text;
    } else if (!mlq_str_cut(right, '.', &between, &right)) {
        return false;
    }
    if (between.len > 0 || !mlq_str_i64(left, &from) || !mlq_str_i64(right, &to) || from < 1 || from > to ||
        to > SPEC_RANKS_MAX) {
        return false;
    }
    *least = (uint32_t)from;
    *most = (uint32_t)to;
    return true;
}

static void read_ranks(struct reader *r, const struct yaml_node *node)
{
    struct spec_stage *stage = r->stage;
    int64_t count = 1;
    bool is_dotted =
        node != NULL && node->kind == YAML_SCALAR && memmem(node->text.ptr, node->text.len, "..", 2) != NULL;
    if (!is_dotted && node != NULL && !yaml_is_null(node)) {
        (void)field_integer(node, r->parse->diags, "ranks", 1, SPEC_RANKS_MAX, &count);
    }
    stage->ranks = stage->ranks_min = (uint32_t)count;
    if (is_dotted && !spec_read_ranks(node->text, &stage->ranks_min, &stage->ranks)) {
        diag_add(r->parse->diags, node->line, node->column,
                 "ranks: expected a number, or MIN..MAX with 1 <= MIN <= MAX <= %d, as in 2..8", SPEC_RANKS_MAX);
    }
    if (stage->ranks > 1 && stage->op != NULL && !stage->op->gang) {
        diag_add(r->parse->diags, node->line, node->column, "ranks: %s runs as one process", stage->op->name);
    }
    stage->is_live_resize = stage->ranks > 1 && r->is_elastic;
}

void stage_read(struct parse *parse, uint16_t number, const struct yaml_node *node)
{
    struct reader r = {.parse = parse,
                       .stage = &parse->spec->stages[number],
                       .inputs = yaml_get(node, "inputs"),
                       .number = number};
    bool is_job = mlq_str_eq_c(parse->spec->kind, "Job");
    const char *where = mlq_region_format(parse->region, "stage '%.*s'", MLQ_STR_ARG(r.stage->name));
    if (!is_job && !field_mapping(node, parse->diags, where, stage_keys)) {
        return;
    }
    read_what(&r, node);
    read_resources(&r, yaml_get(node, "resources"));
    read_ranks(&r, yaml_get(node, "ranks"));
    read_array(&r, yaml_get(node, "array"));
    read_retry(&r, yaml_get(node, "retry"));
    read_times(&r, node);
    read_env(&r, yaml_get(node, "env"));
}
