/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * A job as its user wrote it (YAML, apiVersion mlq/v1), typed and checked, with every default filled
 * in and every input wired. The canonical form is JSON of the same language: it is what travels, is
 * stored and is run again; parsing it gives the same spec. So one parser serves the command line
 * and the scheduler.
 *
 * `${{ params.k }}` is replaced while parsing. `${{ stages.X.outputs.Y }}`, `${{ stages.X.metrics.Y }}`,
 * `${{ job.id }}` and `${{ job.name }}` stay in texts (argv, env, with) and are replaced at dispatch by
 * spec_expand.
 */
#ifndef MLQ_SPEC_SPEC_H
#define MLQ_SPEC_SPEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/base/ownership.h"
#include "lib/base/str.h"
#include "lib/spec/diag.h"
#include "lib/spec/op_schema.h"
#include "lib/sys/region.h"

#define SPEC_STAGES_MAX 1024
#define SPEC_NEEDS_MAX 64
#define SPEC_RANKS_MAX 256
#define SPEC_ARRAY_MAX 1000000
#define SPEC_ARGS_MAX 1024
#define SPEC_ENV_MAX 256
#define SPEC_TEXT_BYTES_MAX 65536
#define SPEC_INPUTS_MAX 256
#define SPEC_PARAMS_MAX 1024

/* Causes that a retry policy may name; same texts as the scheduler's. */
#define SPEC_CAUSES                                                                                \
    "exit", "signal", "oom", "timeout", "node", "lease", "spawn", "input", "output", "peer"

struct spec_pair {
    struct mlq_str name;
    struct mlq_str value;
};

/* A file or folder that the spec names: the client stores it before submission. */
struct spec_file {
    uint16_t stage;
    struct mlq_str param; /* of `with:`; or "code": a folder; or "scripts": the stage's scripts */
    struct mlq_str path;  /* as written; empty in a canonical spec */
    struct mlq_str name;  /* last part of the path */
    struct mlq_str digest; /* empty until stored */
    uint64_t bytes;
    uint32_t line;
    uint32_t column;
};

struct spec_input {
    struct mlq_str name;   /* becomes MLQ_INPUT_<NAME> */
    uint16_t stage;        /* where it comes from */
    struct mlq_str output; /* file name there; "*": all of its outputs, as a folder */
};

struct spec_retry {
    uint32_t limit;
    const struct mlq_str *on; /* causes */
    size_t on_count;
    int64_t backoff_ns;
    int64_t backoff_max_ns;
};

struct spec_stage {
    struct mlq_str name;
    const struct op_schema *op; /* NULL: a user's command */
    const struct mlq_str *argv; /* `run:` */
    size_t argc;
    const struct mlq_str *scripts; /* words of argv that are files beside the spec, when no code is given */
    size_t script_count;
    struct mlq_str with; /* JSON with all defaults; files are not in it but in spec.files; empty for a command */
    const uint16_t *needs;
    uint16_t needs_count;
    const struct spec_input *inputs;
    size_t input_count;
    uint32_t array_count;
    uint32_t array_parallel; /* 0: no limit */
    uint32_t array_max_failures; /* after one more nothing is started; the count: all may fail */
    uint32_t ranks;     /* at most */
    uint32_t ranks_min; /* what it takes to start */
    bool is_live_resize; /* ranks go and come while it runs (train.native, level elastic) */
    int64_t cpu_milli;
    int64_t mem_bytes; /* 0: no limit asked */
    int32_t gpus;
    struct spec_retry retry;
    int64_t timeout_ns; /* 0: none */
    int64_t grace_ns;
    const struct spec_pair *env;
    size_t env_count;
    uint32_t line; /* of its name */
    uint32_t column;
};

struct spec {
    struct mlq_str name;
    struct mlq_str kind; /* "Job" or "Pipeline" */
    const struct spec_pair *labels;
    size_t label_count;
    int32_t priority;
    int64_t deadline_ns; /* 0: none */
    const struct spec_pair *params; /* with --set applied */
    size_t param_count;
    struct spec_stage *stages; /* in file order */
    uint16_t stage_count;
    struct spec_file *files;
    size_t file_count;
};

struct spec_options {
    const struct spec_pair *sets; /* --set k=v */
    size_t set_count;
    bool canonical; /* the text is canonical JSON: paths are not accepted, digests are required */
    /* Whether a word of `run:` names a regular file beside the spec; NULL: none does. */
    bool (*is_script)(void *context, struct mlq_str word);
    void *context;
};

/* NULL when invalid: then diags (initialised by the caller with the file's name) says what and where. */
struct spec *spec_parse(struct mlq_str text,
                        const struct spec_options *options,
                        struct mlq_region *region,
                        struct diag_list *diags);

/* Canonical JSON. All files must have digests. */
struct mlq_str spec_canonical(const struct spec *spec, struct mlq_region *region);

/* A copy in one block of memory, for who keeps it longer than the region that it was parsed into. mlq_free
 * ends it. */
MLQ_OWNED_RETURN struct spec *spec_pack(const struct spec *spec);

/* "4" or "2..8", as `ranks:` has it: true when 1 <= least <= most <= SPEC_RANKS_MAX. */
bool spec_read_ranks(struct mlq_str text, uint32_t *least, uint32_t *most);

/* A job of one command, as `mlq submit [flags] -- CMD…` makes it: YAML text to be parsed. */
struct spec_command {
    const char *name;
    const char *const *argv;
    size_t argc;
    uint32_t array_count; /* 0: none */
    uint32_t array_parallel;
    const uint64_t *array_max_failures; /* NULL: all may fail */
    const char *ranks; /* as in a spec; NULL: 1 */
    const char *cpus;  /* the same; NULL: default */
    const char *memory;
    uint32_t gpus;
    const char *timeout;
    int32_t priority;
    uint32_t retry_limit;
    const struct spec_pair *env;
    size_t env_count;
    const struct spec_pair *labels;
    size_t label_count;
};
struct mlq_str spec_from_command(const struct spec_command *command, struct mlq_region *region);

/* Replace `${{ … }}` in a text. The resolver returns false for what it does not know, with a text. */
typedef bool (*spec_resolve_fn)(void *context,
                                struct mlq_str expression, /* trimmed: "stages.X.metrics.Y" */
                                struct mlq_region *region,
                                struct mlq_str *value,
                                struct mlq_err *err);
int spec_expand(struct mlq_str text,
                spec_resolve_fn resolve,
                void *context,
                struct mlq_region *region,
                struct mlq_str *expanded,
                struct mlq_err *err);

/* The same over all strings of a JSON text (`with`); a string that is one whole expression whose value
 * is a number or a boolean becomes that. */
int spec_expand_json(struct mlq_str json,
                     spec_resolve_fn resolve,
                     void *context,
                     struct mlq_region *region,
                     struct mlq_str *expanded,
                     struct mlq_err *err);

/* What `mlq explain FILE` prints: the spec as YAML, with every default and the wiring. */
struct mlq_str spec_explain(const struct spec *spec, struct mlq_region *region);

/* What `mlq explain OPERATOR` prints. */
struct mlq_str spec_explain_op(const struct op_schema *op, struct mlq_region *region);

#endif
