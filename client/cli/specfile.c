/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "client/cli/specfile.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/cli/gitfiles.h"
#include "client/cli/progress.h"
#include "lib/spec/yaml.h"
#include "lib/sys/fs.h"
#include "lib/sys/mem.h"

#define LABELS_MAX     64

int specfile_pairs(const struct args_list *list, const char *option, struct mlq_region *region,
                   struct spec_pair **pairs, struct mlq_err *err)
{
    *pairs = mlq_region_array(region, list->count + 1, sizeof **pairs);
    for (size_t i = 0; i < list->count; i++) {
        struct spec_pair *pair = &(*pairs)[i];
        if (!mlq_str_cut(mlq_str_from(list->items[i]), '=', &pair->name, &pair->value) ||
            pair->name.len == 0) {
            return mlq_fail(err, MLQ_EINVAL, "--%s takes NAME=VALUE, not '%s'", option,
                            list->items[i]);
        }
    }
    return MLQ_OK;
}

/* A path of the spec, from where this process stands. */
static char *full_path(struct mlq_region *region, const char *dir, struct mlq_str path)
{
    return path.len > 0 && path.ptr[0] == '/'
               ? mlq_region_strndup(region, path)
               : mlq_region_format(region, "%s/%.*s", dir, MLQ_STR_ARG(path));
}

/* "./train.py" and "train.py" are one. */
static struct mlq_str without_dot(struct mlq_str path)
{
    while (mlq_str_starts(path, "./")) {
        path = (struct mlq_str){path.ptr + 2, path.len - 2};
    }
    return path;
}

struct scripts {
    struct mlq_region *region;
    const char *dir;
};

static bool is_script(void *context, struct mlq_str word)
{
    struct scripts *scripts = context;
    struct stat status;
    struct mlq_str inner = without_dot(word);
    return mlq_fs_is_inner_path(inner) &&
           lstat(full_path(scripts->region, scripts->dir, inner), &status) == 0 &&
           S_ISREG(status.st_mode);
}

/* make.rows.csv is no file, but may be what somebody calls an output of the stage `make`. */
static const char *output_hint(struct session *session, const struct spec *spec,
                               const struct spec_file *one)
{
    struct mlq_str stage;
    struct mlq_str output;
    if (!mlq_str_cut(one->path, '.', &stage, &output)) {
        return "";
    }
    for (uint16_t i = 0; i < spec->stage_count; i++) {
        if (mlq_str_eq(stage, spec->stages[i].name)) {
            return mlq_region_format(session->region,
                                     " (what stage '%.*s' made is given by inputs: {%.*s: %.*s})",
                                     MLQ_STR_ARG(stage), MLQ_STR_ARG(one->param),
                                     MLQ_STR_ARG(one->path));
        }
    }
    return "";
}

static void check_files(struct session *session, const struct specfile *file,
                        struct diag_list *diags)
{
    const struct spec *spec = file->spec;
    for (size_t i = 0; i < spec->file_count; i++) {
        const struct spec_file *one = &spec->files[i];
        bool wants_dir = mlq_str_eq_c(one->param, "code") || mlq_str_eq_c(one->param, "scripts");
        const char *path = full_path(session->region, file->dir, one->path);
        struct stat status;
        if (stat(path, &status) != 0) {
            diag_add(diags, one->line, one->column, "%.*s: %s: %s%s", MLQ_STR_ARG(one->param), path,
                     strerror(errno), output_hint(session, spec, one));
        } else if (wants_dir ? !S_ISDIR(status.st_mode) : !S_ISREG(status.st_mode)) {
            diag_add(diags, one->line, one->column, "%.*s: %s is not a %s", MLQ_STR_ARG(one->param),
                     path, wants_dir ? "folder" : "regular file");
        } else if (access(path, R_OK) != 0) {
            diag_add(diags, one->line, one->column, "%.*s: %s: %s", MLQ_STR_ARG(one->param), path,
                     strerror(errno));
        }
    }
}

static int parse(struct session *session, struct mlq_str text, const struct args_list *sets,
                 struct specfile *file)
{
    struct scripts scripts = {.region = session->region, .dir = file->dir};
    struct spec_options options = {.is_script = is_script, .context = &scripts};
    struct diag_list diags;
    struct spec_pair *pairs = NULL;
    struct mlq_err err = MLQ_ERR_INIT;
    if (sets != NULL && specfile_pairs(sets, "set", session->region, &pairs, &err) != MLQ_OK) {
        return session_usage(session, "%s", err.text);
    }
    options.sets = pairs;
    options.set_count = sets == NULL ? 0 : sets->count;
    diag_init(&diags, session->region, file->file);
    file->spec = spec_parse(text, &options, session->region, &diags);
    if (file->spec != NULL) {
        check_files(session, file, &diags);
    }
    if (diags.count > 0) {
        fputs(diag_text(&diags), stderr);
        return CMD_INVALID;
    }
    return CMD_OK;
}

int specfile_load(struct session *session, const char *path, const struct args_list *sets,
                  struct specfile *file)
{
    struct mlq_err err = MLQ_ERR_INIT;
    char *data = NULL;
    size_t len = 0;
    bool is_input = strcmp(path, "-") == 0;
    const char *slash = strrchr(path, '/');
    int rc = mlq_fs_read(is_input ? "/dev/stdin" : path, YAML_BYTES_MAX, &data, &len, &err);
    if (rc != MLQ_OK) {
        int code = session_fail(session, NULL, &err);
        return rc == MLQ_EFULL ? CMD_INVALID : code;
    }
    *file = (struct specfile){
        .file = is_input ? "<stdin>" : path,
        .dir = is_input || slash == NULL
                   ? "."
                   : mlq_region_format(session->region, "%.*s", (int)(slash - path), path),
    };
    struct mlq_str text = mlq_region_copy(session->region, (struct mlq_str){data, len});
    mlq_free(data);
    return parse(session, text, sets, file);
}

int specfile_command(struct session *session, const struct spec_command *command,
                     struct specfile *file)
{
    *file = (struct specfile){.file = "command line", .dir = "."};
    return parse(session, spec_from_command(command, session->region), NULL, file);
}

/* ---- Storing ---- */

struct only {
    const struct spec_stage *stage;
};

/* Leaves out all but the stage's scripts and the folders on the way to them. */
static bool skip_others(void *context, const char *inner_path, bool is_dir)
{
    const struct only *only = context;
    size_t len = strlen(inner_path);
    for (size_t i = 0; i < only->stage->script_count; i++) {
        struct mlq_str script = without_dot(only->stage->scripts[i]);
        if (is_dir ? script.len > len && memcmp(script.ptr, inner_path, len) == 0 &&
                         script.ptr[len] == '/'
                   : mlq_str_eq_c(script, inner_path)) {
            return false;
        }
    }
    return true;
}

/* The commit that the code was taken from, as a label: the canonical spec has no other place for
 * it. */
static void label_commit(struct session *session, struct spec *spec, const char *dir)
{
    const char *commit = gitfiles_commit(dir, session->region);
    if (commit == NULL || spec->label_count >= LABELS_MAX) {
        return;
    }
    struct spec_pair *labels =
        mlq_region_array(session->region, spec->label_count + 1, sizeof *labels);
    for (size_t i = 0; i < spec->label_count; i++) {
        labels[i] = spec->labels[i];
        if (mlq_str_eq_c(labels[i].name, "git-commit")) {
            return;
        }
    }
    labels[spec->label_count] = (struct spec_pair){MLQ_STR("git-commit"), mlq_str_from(commit)};
    spec->labels = labels;
    spec->label_count++;
}

static int store_folder(struct session *session, struct specfile *file, struct spec_file *one,
                        const char *path, struct cas_digest *digest, struct mlq_err *err)
{
    struct only only = {.stage = &file->spec->stages[one->stage]};
    int rc;
    if (mlq_str_eq_c(one->param, "scripts")) {
        rc = cas_put_tree(session->cas, path, skip_others, &only, digest, &one->bytes, err);
    } else {
        struct gitfiles *files = NULL;
        rc = gitfiles_open(path, session->region, &files, err);
        if (rc == MLQ_OK) {
            rc = cas_put_tree(session->cas, path, gitfiles_skip, files, digest, &one->bytes, err);
        }
    }
    if (rc == MLQ_OK) {
        label_commit(session, file->spec, path);
    }
    return rc;
}

int specfile_store(struct session *session, struct specfile *file, struct mlq_err *err)
{
    struct spec *spec = file->spec;
    int rc = spec->file_count == 0 ? MLQ_OK : session_store(session, err);
    for (size_t i = 0; rc == MLQ_OK && i < spec->file_count; i++) {
        struct spec_file *one = &spec->files[i];
        const char *path = full_path(session->region, file->dir, one->path);
        struct cas_digest digest;
        char text[CAS_DIGEST_TEXT_BYTES];
        bool is_folder = mlq_str_eq_c(one->param, "code") || mlq_str_eq_c(one->param, "scripts");
        if (is_folder) {
            rc = store_folder(session, file, one, path, &digest, err);
        } else {
            struct progress_upload upload = {.name = path};
            rc = cas_put_file(session->cas, path, &digest, &one->bytes, progress_on_upload, &upload,
                              err);
            progress_upload_done(&upload);
        }
        if (rc == MLQ_OK) {
            cas_digest_format(&digest, text);
            one->digest = mlq_str_from(mlq_region_strdup(session->region, text));
        } else {
            rc = mlq_wrap(err, rc, "%s:%u:%u: %.*s", file->file, one->line, one->column,
                          MLQ_STR_ARG(one->param));
        }
    }
    return rc;
}
