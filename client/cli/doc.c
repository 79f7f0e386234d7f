/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "client/cli/doc.h"

#include <stdlib.h>
#include <string.h>

#include "lib/sys/mem.h"

#define DEPTH_MAX 256

int doc_parse(struct mlq_str text, json_t **document, struct mlq_err *err)
{
    json_error_t why;
    *document = json_loadb(text.ptr == NULL ? "" : text.ptr, text.len, JSON_ALLOW_NUL, &why);
    return *document != NULL
               ? MLQ_OK
               : mlq_fail(
                     err, MLQ_EPROTO,
                     "the scheduler's answer is not understood (%s): is it of another version?",
                     why.text);
}

const char *doc_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text == NULL ? "" : text;
}

int64_t doc_int(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

double doc_real(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}

const char *doc_number(const json_t *value, char text[DOC_NUMBER_BYTES])
{
    if (json_is_string(value)) {
        (void)snprintf(text, DOC_NUMBER_BYTES, "%s", json_string_value(value));
    } else if (json_is_integer(value)) {
        (void)snprintf(text, DOC_NUMBER_BYTES, "%lld", (long long)json_integer_value(value));
    } else if (json_is_real(value)) {
        double number = json_real_value(value);
        for (int digits = 6; digits <= 17; digits++) {
            (void)snprintf(text, DOC_NUMBER_BYTES, "%.*g", digits, number);
            if (!(strtod(text, NULL) < number) && !(strtod(text, NULL) > number)) {
                break;
            }
        }
    } else {
        (void)snprintf(text, DOC_NUMBER_BYTES, "-");
    }
    return text;
}

const char *doc_number_short(const json_t *value, char text[DOC_NUMBER_BYTES])
{
    if (json_is_real(value)) {
        (void)snprintf(text, DOC_NUMBER_BYTES, "%.6g", json_real_value(value));
        return text;
    }
    return doc_number(value, text);
}

static void indent(FILE *file, size_t depth)
{
    fputc('\n', file);
    for (size_t i = 0; i < depth; i++) {
        fputs("  ", file);
    }
}

/* The end of the string that begins at `at`, behind its quote. */
static size_t string_end(struct mlq_str json, size_t at)
{
    for (at++; at < json.len && json.ptr[at] != '"'; at++) {
        at += json.ptr[at] == '\\' ? 1 : 0;
    }
    return at < json.len ? at + 1 : json.len;
}

static size_t skip_space(struct mlq_str json, size_t at)
{
    while (at < json.len && strchr(" \t\r\n", json.ptr[at]) != NULL) {
        at++;
    }
    return at;
}

void doc_print(FILE *file, struct mlq_str json)
{
    size_t depth = 0;
    for (size_t at = skip_space(json, 0); at < json.len; at = skip_space(json, at)) {
        char c = json.ptr[at];
        size_t next = at + 1;
        if (c == '"') {
            next = string_end(json, at);
            (void)fwrite(json.ptr + at, 1, next - at, file);
        } else if (c == '{' || c == '[') {
            size_t inner = skip_space(json, next);
            fputc(c, file);
            if (inner < json.len && (json.ptr[inner] == '}' || json.ptr[inner] == ']')) {
                fputc(json.ptr[inner], file);
                next = inner + 1;
            } else {
                indent(file, ++depth);
            }
        } else if (c == '}' || c == ']') {
            depth -= depth > 0 ? 1 : 0;
            indent(file, depth);
            fputc(c, file);
        } else if (c == ',') {
            fputc(c, file);
            indent(file, depth);
        } else if (c == ':') {
            fputs(": ", file);
        } else {
            fputc(c, file);
        }
        at = next;
    }
    fputc('\n', file);
}

void doc_print_line(FILE *file, const json_t *value)
{
    char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    if (text != NULL) {
        fprintf(file, "%s\n", text);
    }
    mlq_free(text);
}
