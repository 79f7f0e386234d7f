/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/cli/cmd.h"
#include "client/cli/doc.h"
#include "client/cli/progress.h"
#include "client/cli/session.h"
#include "client/cli/table.h"
#include "client/cli/text.h"
#include "lib/base/ownership.h"
#include "lib/sys/fs.h"
#include "lib/sys/mem.h"

const char cmd_artifacts_help[] =
    "  mlq artifacts ls last\n"
    "  mlq artifacts get last package/model.onnx                 into this folder\n"
    "  mlq artifacts get 12 train/model.safetensors -o m.safetensors --force\n"
    "  mlq artifacts get 12 eval/metrics.json -o -               to standard output\n"
    "  mlq artifacts put data.csv                                into the store; prints its "
    "digest\n"
    "\n"
    "usage: mlq artifacts ls JOB [--json | --jsonl | -q]\n"
    "       mlq artifacts get JOB STAGE/NAME [-o PATH] [--index N] [--force]\n"
    "       mlq artifacts put PATH...\n"
    "\n"
    "What is fetched is compared with its digest; it appears whole or not at all.\n"
    "\n"
    "  -o, --output PATH  where to (default: the name, in this folder)\n"
    "  --index N          task of an array\n"
    "  --force            over what is there\n";

struct artifacts {
    struct session session;
    const char *output;
    uint64_t index;
    bool force;
};

static int load_job(struct session *session, uint64_t job, json_t **document, struct mlq_err *err)
{
    struct mlq_str json;
    int rc = mlq_client_show(session->client, job, session->region, &json, err);
    return rc == MLQ_OK ? doc_parse(json, document, err) : rc;
}

/* ---- ls ---- */

static void list_stage(struct session *session, struct table *table, json_t *lines,
                       const json_t *stage)
{
    const json_t *artifacts = json_object_get(stage, "artifacts");
    for (size_t i = 0; i < json_array_size(artifacts); i++) {
        json_t *artifact = json_array_get(artifacts, i);
        char size[TEXT_BYTES];
        (void)json_object_set(artifact, "stage", json_object_get(stage, "name"));
        (void)json_array_append(lines, artifact);
        table_cell(table, "%s/%s", doc_text(stage, "name"), doc_text(artifact, "name"));
        table_cell(table, "%lld", (long long)doc_int(artifact, "index"));
        table_cell(table, "%s", text_bytes((uint64_t)doc_int(artifact, "bytes"), size));
        table_cell(table, "%s", doc_text(artifact, "digest"));
        if (session->quiet) {
            printf("%s/%s\n", doc_text(stage, "name"), doc_text(artifact, "name"));
        } else if (session->jsonl) {
            doc_print_line(stdout, artifact);
        }
    }
}

static int list(struct artifacts *artifacts)
{
    static const struct table_column columns[] = {{.title = "ARTIFACT"},
                                                  {.title = "TASK", .right = true},
                                                  {.title = "SIZE", .right = true},
                                                  {.title = "DIGEST"}};
    struct session *session = &artifacts->session;
    struct mlq_err err = MLQ_ERR_INIT;
    json_t *document;
    uint64_t job;
    int code = session_job(session, 1, &job);
    if (code != CMD_OK) {
        return code;
    }
    if (load_job(session, job, &document, &err) != MLQ_OK) {
        return session_fail(session, session->args.operands[1], &err);
    }
    struct table *table = table_create(session->region, columns, MLQ_COUNT_OF(columns));
    json_t *lines = json_array();
    const json_t *stages = json_object_get(json_object_get(document, "job"), "stages");
    for (size_t i = 0; i < json_array_size(stages); i++) {
        list_stage(session, table, lines, json_array_get(stages, i));
    }
    if (session->json) {
        json_t *all = json_pack("{s:s, s:O}", "schema", "mlq/v1", "artifacts", lines);
        char *text = json_dumps(all, JSON_COMPACT);
        doc_print(stdout, mlq_str_from(text));
        mlq_free(text);
        json_decref(all);
    } else if (!session->quiet && !session->jsonl) {
        table_print(table, stdout, !session->no_header, table_width(stdout), table_colour(stdout));
    }
    json_decref(lines);
    json_decref(document);
    return CMD_OK;
}

/* ---- get ---- */

static const json_t *find(const struct artifacts *artifacts, const json_t *document,
                          const char *path)
{
    const json_t *stages = json_object_get(json_object_get(document, "job"), "stages");
    struct mlq_str stage_name;
    struct mlq_str name;
    (void)mlq_str_cut(mlq_str_from(path), '/', &stage_name, &name);
    for (size_t i = 0; i < json_array_size(stages); i++) {
        const json_t *stage = json_array_get(stages, i);
        const json_t *made = json_object_get(stage, "artifacts");
        for (size_t n = 0;
             mlq_str_eq_c(stage_name, doc_text(stage, "name")) && n < json_array_size(made); n++) {
            const json_t *artifact = json_array_get(made, n);
            if (mlq_str_eq_c(name, doc_text(artifact, "name")) &&
                (uint64_t)doc_int(artifact, "index") == artifacts->index) {
                return artifact;
            }
        }
    }
    return NULL;
}

static int to_stdout(struct session *session, const struct cas_digest *digest, struct mlq_err *err)
{
    /* A copy in a file bounds the memory, and is verified before the first byte is shown. */
    char *dir = mlq_strdup("/tmp/mlq-get-XXXXXX");
    char *path = NULL;
    char buffer[65536];
    if (mkdtemp(dir) == NULL) {
        mlq_free(dir);
        return mlq_fail(err, MLQ_EIO, "/tmp: %s", strerror(errno));
    }
    path = mlq_fs_join(dir, "data");
    int rc = cas_fetch(session->cas, digest, path, err);
    int fd = rc == MLQ_OK ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    ssize_t got = 0;
    while (fd >= 0 && (got = read(fd, buffer, sizeof buffer)) > 0) {
        (void)fwrite(buffer, 1, (size_t)got, stdout);
    }
    if (rc == MLQ_OK && (fd < 0 || got < 0)) {
        rc = mlq_fail(err, MLQ_EIO, "read %s: %s", path, strerror(errno));
    }
    if (fd >= 0) {
        close(fd);
    }
    (void)mlq_fs_remove_tree(dir, NULL);
    mlq_free(path);
    mlq_free(dir);
    return rc;
}

/* Beside the target first: what was there stays until the new one is whole. */
static int to_path(struct artifacts *artifacts, const struct cas_digest *digest, bool is_tree,
                   const char *path, struct mlq_err *err)
{
    struct session *session = &artifacts->session;
    if (mlq_fs_exists(path) && !artifacts->force) {
        return mlq_fail(err, MLQ_EEXIST,
                        "%s exists: --force replaces it, -o PATH puts it elsewhere", path);
    }
    char *part = mlq_format("%s.part-%d", path, (int)getpid());
    int rc = is_tree ? cas_fetch_tree(session->cas, digest, part, true, err)
                     : cas_fetch(session->cas, digest, part, err);
    if (rc == MLQ_OK && !is_tree) {
        mode_t mask = umask(0);
        (void)umask(mask);
        (void)chmod(part, 0666 & ~mask); /* one's own copy */
    }
    struct stat status;
    if (rc == MLQ_OK && lstat(path, &status) == 0 && (is_tree || S_ISDIR(status.st_mode))) {
        rc = is_tree ? mlq_fs_remove_tree(path, err)
                     : mlq_fail(err, MLQ_EEXIST, "%s is a folder: say -o PATH", path);
    }
    if (rc == MLQ_OK && rename(part, path) != 0) {
        rc = mlq_fail(err, MLQ_EIO, "rename to %s: %s", path, strerror(errno));
    }
    if (rc != MLQ_OK) {
        (void)mlq_fs_remove_tree(part, NULL);
    }
    mlq_free(part);
    return rc;
}

static int fetch(struct artifacts *artifacts, const json_t *artifact, const char *name,
                 struct mlq_err *err)
{
    struct session *session = &artifacts->session;
    struct cas_digest digest;
    const char *slash = strrchr(name, '/');
    const char *path = artifacts->output != NULL ? artifacts->output : slash + 1;
    bool is_tree = json_is_true(json_object_get(artifact, "tree"));
    if (!cas_digest_parse(mlq_str_from(doc_text(artifact, "digest")), &digest)) {
        return mlq_fail(err, MLQ_EPROTO, "its digest is not understood");
    }
    int rc = session_store(session, err);
    if (rc != MLQ_OK) {
        return rc;
    }
    if (strcmp(path, "-") == 0) {
        return is_tree ? mlq_fail(err, MLQ_EINVAL, "it is a folder: say -o PATH")
                       : to_stdout(session, &digest, err);
    }
    rc = to_path(artifacts, &digest, is_tree, path, err);
    if (rc == MLQ_OK && !session->quiet) {
        char size[TEXT_BYTES];
        fprintf(stderr, "%s (%s)\n", path, text_bytes((uint64_t)doc_int(artifact, "bytes"), size));
    }
    return rc;
}

static int get(struct artifacts *artifacts)
{
    struct session *session = &artifacts->session;
    struct mlq_err err = MLQ_ERR_INIT;
    json_t *document = NULL;
    uint64_t job;
    if (session->args.count != 3 || strchr(session->args.operands[2], '/') == NULL) {
        return session_usage(session, "get JOB STAGE/NAME (`mlq artifacts ls JOB` lists them)");
    }
    const char *name = session->args.operands[2];
    int code = session_job(session, 1, &job);
    if (code != CMD_OK) {
        return code;
    }
    int rc = load_job(session, job, &document, &err);
    if (rc == MLQ_OK) {
        const json_t *artifact = find(artifacts, document, name);
        rc = artifact == NULL
                 ? mlq_fail(&err, MLQ_ENOENT,
                            "job %llu has no such artifact (`mlq artifacts ls %llu` lists them)",
                            (unsigned long long)job, (unsigned long long)job)
                 : fetch(artifacts, artifact, name, &err);
        json_decref(document);
    }
    return rc == MLQ_OK ? CMD_OK : session_fail(session, name, &err);
}

/* ---- put ---- */

static int put(struct artifacts *artifacts)
{
    struct session *session = &artifacts->session;
    struct mlq_err err = MLQ_ERR_INIT;
    if (session->args.count < 2) {
        return session_usage(session, "put which file or folder?");
    }
    if (session_store(session, &err) != MLQ_OK) {
        return session_fail(session, NULL, &err);
    }
    for (size_t i = 1; i < session->args.count; i++) {
        const char *path = session->args.operands[i];
        struct progress_upload upload = {.name = path};
        struct cas_digest digest;
        struct stat status;
        uint64_t bytes = 0;
        char text[CAS_DIGEST_TEXT_BYTES];
        bool is_dir = stat(path, &status) == 0 && S_ISDIR(status.st_mode);
        int rc = is_dir ? cas_put_tree(session->cas, path, NULL, NULL, &digest, &bytes, &err)
                        : cas_put_file(session->cas, path, &digest, &bytes, progress_on_upload,
                                       &upload, &err);
        progress_upload_done(&upload);
        if (rc != MLQ_OK) {
            return session_fail(session, NULL, &err);
        }
        cas_digest_format(&digest, text);
        if (session->json || session->jsonl) {
            json_t *line =
                json_pack("{s:s, s:s, s:s, s:I, s:b}", "schema", "mlq/v1", "path", path, "digest",
                          text, "bytes", (json_int_t)bytes, "tree", (int)is_dir);
            if (line != NULL) {
                doc_print_line(stdout, line);
            }
            json_decref(line);
        } else {
            printf(session->quiet ? "%s\n" : "%s  %s\n", text, path);
        }
    }
    return CMD_OK;
}

int cmd_artifacts(int argc, char **argv)
{
    struct artifacts artifacts = {.session = {.verb = "artifacts"}};
    struct session *session = &artifacts.session;
    const struct args_option own[] = {
        {.name = "output", .letter = 'o', .kind = ARGS_TEXT, .value = &artifacts.output},
        {.name = "index", .kind = ARGS_NUMBER, .value = &artifacts.index, .max = UINT32_MAX},
        {.name = "force", .kind = ARGS_FLAG, .value = &artifacts.force},
        {0},
    };
    int code = session_parse(session, own, argc, argv);
    if (code != CMD_OK) {
        return code;
    }
    const char *what = session->args.count == 0 ? "" : session->args.operands[0];
    int (*run)(struct artifacts *) = strcmp(what, "ls") == 0    ? list
                                     : strcmp(what, "get") == 0 ? get
                                     : strcmp(what, "put") == 0 ? put
                                                                : NULL;
    if (run == NULL) {
        return session_usage(session, "ls, get or put?");
    }
    code = session_open(session);
    if (code == CMD_OK) {
        code = run(&artifacts);
    }
    code = session_finish(session, code);
    session_close(session);
    return code;
}
