/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * JSON as RFC 8259 has it. A number keeps the letters that it was written with.
 */
#include "lib/spec/yaml_json.h"

#include <string.h>

#include "lib/spec/tree.h"

struct reader {
    struct tree tree;
    const char *at;
    const char *end;
    const char *line_begin;
    uint32_t line;
    uint32_t more; /* bytes of this line so far that only go on with a character */
    const char *problem;
};

static bool fail(struct reader *r, const char *problem)
{
    r->problem = problem;
    return false;
}

static uint32_t column(const struct reader *r)
{
    return (uint32_t)(r->at - r->line_begin) - r->more + 1;
}

static void skip_space(struct reader *r)
{
    for (; r->at < r->end && (*r->at == ' ' || *r->at == '\t' || *r->at == '\n' || *r->at == '\r');
         r->at++) {
        if (*r->at == '\n') {
            r->line++;
            r->line_begin = r->at + 1;
            r->more = 0;
        }
    }
}

static char next(const struct reader *r)
{
    return r->at < r->end ? *r->at : '\0'; /* no NUL is in the text */
}

static bool take(struct reader *r, char c)
{
    bool is_there = next(r) == c;
    r->at += is_there ? 1 : 0;
    return is_there;
}

/* ---- Texts ----------------------------------------------------------------------------------- */

static bool hex4(struct reader *r, uint32_t *value)
{
    *value = 0;
    for (int i = 0; i < 4; i++) {
        char c = next(r);
        uint32_t digit = c >= '0' && c <= '9'   ? (uint32_t)(c - '0')
                         : c >= 'a' && c <= 'f' ? (uint32_t)(c - 'a') + 10
                         : c >= 'A' && c <= 'F' ? (uint32_t)(c - 'A') + 10
                                                : 16;
        if (digit == 16) {
            return fail(r, "\\u needs four hexadecimal digits");
        }
        *value = *value << 4 | digit;
        r->at++;
    }
    return true;
}

static char *put_utf8(char *out, uint32_t code)
{
    if (code < 0x80) {
        *out++ = (char)code;
        return out;
    }
    int more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    static const unsigned char marks[] = {0, 0xc0, 0xe0, 0xf0};
    *out++ = (char)(unsigned char)(marks[more] | code >> (6 * more));
    while (more-- > 0) {
        *out++ = (char)(unsigned char)(0x80 | (code >> (6 * more) & 0x3f));
    }
    return out;
}

/* Behind "\u". */
static bool unicode(struct reader *r, char **out)
{
    uint32_t code;
    uint32_t low;
    if (!hex4(r, &code)) {
        return false;
    }
    if (code >= 0xd800 && code < 0xdc00) {
        if (!take(r, '\\') || !take(r, 'u') || !hex4(r, &low) || low < 0xdc00 || low > 0xdfff) {
            return fail(r, "half of a surrogate pair");
        }
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    } else if ((code >= 0xdc00 && code <= 0xdfff) || code == 0) {
        return fail(r, code == 0 ? "\\u0000 in a text" : "half of a surrogate pair");
    }
    *out = put_utf8(*out, code);
    return true;
}

static bool escape(struct reader *r, char **out)
{
    static const char from[] = "\"\\/bfnrt";
    static const char to[] = "\"\\/\b\f\n\r\t";
    char c = next(r);
    const char *found = c == '\0' ? NULL : strchr(from, c);
    r->at++;
    if (c == 'u') {
        return unicode(r, out);
    }
    if (found == NULL) {
        return fail(r, "an unknown escape");
    }
    *(*out)++ = to[found - from];
    return true;
}

/* At the opening quote. */
static bool read_text(struct reader *r, struct mlq_str *text)
{
    const char *close = ++r->at;
    while (close < r->end && *close != '"') {
        close += *close == '\\' ? 2 : 1;
    }
    if (close >= r->end) {
        return fail(r, "a text that does not end");
    }
    char *room = mlq_region_alloc(
        r->tree.region, (size_t)(close - r->at) + 1); /* an escape is longer than what it means */
    char *out = room;
    while (*r->at != '"') {
        if ((unsigned char)*r->at < 0x20) {
            return fail(r, "a control character in a text");
        }
        if (*r->at != '\\') {
            r->more += ((unsigned char)*r->at & 0xc0) == 0x80 ? 1 : 0;
            *out++ = *r->at++;
            continue;
        }
        r->at++;
        if (!escape(r, &out)) {
            return false;
        }
    }
    r->at++;
    *text = (struct mlq_str){.ptr = room, .len = (size_t)(out - room)};
    return true;
}

/* ---- Values ---------------------------------------------------------------------------------- */

static bool digits(struct reader *r)
{
    const char *first = r->at;
    while (next(r) >= '0' && next(r) <= '9') {
        r->at++;
    }
    return r->at > first;
}

static bool number(struct reader *r)
{
    (void)take(r, '-');
    bool is_zero = next(r) == '0';
    const char *whole = r->at;
    if (!digits(r) || (is_zero && r->at > whole + 1)) {
        return fail(r, "not a number");
    }
    if (take(r, '.') && !digits(r)) {
        return fail(r, "digits are missing behind the point");
    }
    if (take(r, 'e') || take(r, 'E')) {
        if (!take(r, '+')) {
            (void)take(r, '-');
        }
        return digits(r) ? true : fail(r, "digits are missing in the exponent");
    }
    return true;
}

static bool word(struct reader *r)
{
    static const char *const words[] = {"true", "false", "null"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        size_t len = strlen(words[i]);
        if ((size_t)(r->end - r->at) >= len && memcmp(r->at, words[i], len) == 0) {
            r->at += len;
            return true;
        }
    }
    return number(r);
}

static bool plain(struct reader *r)
{
    const char *first = r->at;
    uint32_t at = column(r);
    if (!word(r)) {
        return false;
    }
    struct mlq_str text =
        mlq_region_copy(r->tree.region, (struct mlq_str){first, (size_t)(r->at - first)});
    return tree_scalar(&r->tree, text, false, r->line, at);
}

static bool quoted(struct reader *r)
{
    struct mlq_str text;
    uint32_t at = column(r);
    return read_text(r, &text) && tree_scalar(&r->tree, text, true, r->line, at);
}

static bool is_empty_ahead(struct reader *r, char close)
{
    skip_space(r);
    return take(r, close);
}

/* One value, or the beginning of a container; *is_whole when nothing of it is left to come. */
static bool begin_value(struct reader *r, bool *is_whole)
{
    char c = next(r);
    *is_whole = true;
    if (c == '"') {
        return quoted(r);
    }
    if (c != '{' && c != '[') {
        return plain(r);
    }
    if (!tree_open(&r->tree, c == '{' ? YAML_MAPPING : YAML_SEQUENCE, r->line, column(r))) {
        return false;
    }
    r->at++;
    *is_whole = is_empty_ahead(r, c == '{' ? '}' : ']');
    return *is_whole ? tree_close(&r->tree) : true;
}

static bool key(struct reader *r)
{
    skip_space(r);
    if (next(r) != '"') {
        return fail(r, "a key in quotes is missing");
    }
    if (!quoted(r)) {
        return false;
    }
    skip_space(r);
    return take(r, ':') ? true : fail(r, "':' is missing behind a key");
}

/* Behind a value: closes what ends here. False when a comma was followed, or nothing was open. */
static bool ends(struct reader *r, bool *go_on)
{
    *go_on = false;
    while (r->tree.open != NULL) {
        skip_space(r);
        if (take(r, ',')) {
            *go_on = true;
            return true;
        }
        if (!take(r, r->tree.open->kind == YAML_MAPPING ? '}' : ']')) {
            return fail(r, "',' or the end of a list or mapping is missing");
        }
        if (!tree_close(&r->tree)) {
            return false;
        }
    }
    return true;
}

static bool document(struct reader *r)
{
    bool go_on = true;
    while (go_on) {
        bool is_whole;
        if (tree_wants_key(&r->tree) && !key(r)) {
            return false;
        }
        skip_space(r);
        if (!begin_value(r, &is_whole) || (is_whole && !ends(r, &go_on))) {
            return false;
        }
    }
    skip_space(r);
    return r->at == r->end ? true : fail(r, "text behind the end");
}

struct yaml_node *yaml_json_parse(struct mlq_str text, struct mlq_region *region,
                                  struct diag_list *diags)
{
    struct reader r = {.tree = {.region = region, .diags = diags}, .line = 1};
    if (!tree_is_readable(text, diags)) {
        return NULL;
    }
    r.at = r.line_begin = text.len == 0 ? "" : text.ptr;
    r.end = r.at + text.len;
    if (!document(&r)) {
        if (r.problem != NULL) {
            diag_add(diags, r.line, column(&r), "not valid JSON: %s", r.problem);
        }
        return NULL;
    }
    return r.tree.root;
}
