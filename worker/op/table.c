/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/op/table.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "lib/artifact/io.h"
#include "lib/artifact/safetensors.h"
#include "lib/base/panic.h"
#include "lib/sys/mem.h"
#include "lib/sys/region.h"
#include "lib/sys/thread.h"
#include "worker/op/op.h"

#define METADATA_KEY      "mlq.table"
#define ROWS_TENSOR       "mlq.row"
#define RESERVED_PREFIX   "mlq."
#define JSON_DEPTH_MAX    16u
#define JSON_VALUES_MAX   (1u << 22)
#define CHUNK_ROWS        8192u
#define NEAR_DISTANCE_MAX 3u
#define WALK_ROWS         (1u << 20) /* checked at a time */
#define EXPECT_BYTES      (UINT64_C(8) << 20) /* read ahead, of all columns together */

struct table {
    struct safetensors *file;
    json_t *schema; /* owns names and dictionaries' texts */
    struct mlq_region *region;
    uint64_t rows;
    struct table_column *columns;
    const struct table_column **by_name;
    size_t count;
    const int64_t *source_rows; /* or NULL */
    char *source;               /* jansson's, or NULL */
    bool is_own;                /* table_open_own */
    bool is_scattered;
    uint64_t expected_begin; /* rows that were read ahead */
    uint64_t expected_end;
};

struct table_writer {
    struct safetensors_writer *file;
    enum table_kind *kinds;
    size_t *tensors; /* of each column */
    size_t count;
    size_t rows_tensor; /* SIZE_MAX: none */
};

static const char *const kind_texts[] = {[TABLE_NUMBER] = "number", [TABLE_CATEGORY] = "category"};
static const char *const role_texts[] = {[TABLE_FEATURE] = "feature",
                                         [TABLE_TARGET] = "target",
                                         [TABLE_IGNORE] = "ignore",
                                         [TABLE_KEY] = "key"};

const char *table_kind_text(enum table_kind kind)
{
    return kind_texts[kind];
}

const char *table_role_text(enum table_role role)
{
    return role_texts[role];
}

static bool find_text(const char *const *texts, size_t count, const char *wanted, size_t *i)
{
    for (*i = 0; wanted != NULL && *i < count; (*i)++) {
        if (strcmp(texts[*i], wanted) == 0) {
            return true;
        }
    }
    return false;
}

/* ---- Reading ---- */

static int read_dictionary(struct table *table, struct table_column *column, const json_t *item,
                           struct mlq_err *err)
{
    const json_t *list = json_object_get(item, "dictionary");
    if (!json_is_array(list) || json_array_size(list) > TABLE_DICTIONARY_MAX) {
        return mlq_fail(err, MLQ_ECORRUPT, "column '%.100s' needs a dictionary of at most %u texts",
                        column->name, TABLE_DICTIONARY_MAX);
    }
    column->dictionary_count = (uint32_t)json_array_size(list);
    const char **texts =
        mlq_region_array(table->region, column->dictionary_count, sizeof(const char *));
    for (uint32_t i = 0; i < column->dictionary_count; i++) {
        texts[i] = json_string_value(json_array_get(list, i));
        if (texts[i] == NULL || (i > 0 && strcmp(texts[i - 1], texts[i]) >= 0)) {
            return mlq_fail(
                err, MLQ_ECORRUPT,
                "column '%.100s': entry %u of the dictionary is no text, or out of order",
                column->name, i);
        }
    }
    column->dictionary = texts;
    return MLQ_OK;
}

static int read_declaration(struct table *table, struct table_column *column, const json_t *item,
                            struct mlq_err *err)
{
    size_t kind;
    size_t role;
    column->name = json_string_value(json_object_get(item, "name"));
    if (column->name == NULL || column->name[0] == '\0') {
        return mlq_fail(err, MLQ_ECORRUPT, "a column has no name");
    }
    if (!find_text(kind_texts, MLQ_COUNT_OF(kind_texts),
                   json_string_value(json_object_get(item, "kind")), &kind) ||
        !find_text(role_texts, MLQ_COUNT_OF(role_texts),
                   json_string_value(json_object_get(item, "role")), &role)) {
        return mlq_fail(err, MLQ_ECORRUPT, "column '%.100s' has an unknown kind or role",
                        column->name);
    }
    column->kind = (enum table_kind)kind;
    column->role = (enum table_role)role;
    column->integer = json_is_true(json_object_get(item, "integer"));
    return kind == TABLE_CATEGORY ? read_dictionary(table, column, item, err) : MLQ_OK;
}

/* The tensor's data, when it is a column of `rows` values of that type, aligned. */
static const void *column_data(const struct table *table, const char *name,
                               enum safetensors_dtype dtype)
{
    const struct safetensors_tensor *tensor = safetensors_find(table->file, name);
    if (tensor == NULL || tensor->dtype != dtype || tensor->rank != 1 ||
        tensor->shape[0] != table->rows ||
        (uintptr_t)tensor->data % safetensors_dtype_bytes(dtype) != 0) {
        return NULL;
    }
    return tensor->data;
}

static int check_values(const struct table *table, const struct table_column *column,
                        struct mlq_err *err)
{
    bool is_number = column->kind == TABLE_NUMBER;
    bool is_wrong = false;
    for (uint64_t i = 0, end; i < table->rows; i = end) {
        end = table->rows - i < WALK_ROWS ? table->rows : i + WALK_ROWS;
        table_walked(table, (end - i) * (is_number ? sizeof(double) : sizeof(int32_t)));
        if (is_number) {
            for (uint64_t row = i; row < end; row++) {
                is_wrong |= __builtin_isinf(column->numbers[row]) != 0;
            }
        } else {
            for (uint64_t row = i; row < end; row++) {
                /* -1 becomes 0, and every other negative code becomes large. */
                is_wrong |= (uint32_t)column->codes[row] + 1 > column->dictionary_count;
            }
        }
    }
    return is_wrong ? mlq_fail(err, MLQ_ECORRUPT, "column '%.100s' holds %s", column->name,
                               is_number ? "infinite values" : "codes outside its dictionary")
                    : MLQ_OK;
}

static int read_values(void *context, size_t i, struct mlq_err *err)
{
    struct table *table = context;
    struct table_column *column = &table->columns[i];
    bool is_number = column->kind == TABLE_NUMBER;
    const void *data =
        column_data(table, column->name, is_number ? SAFETENSORS_F64 : SAFETENSORS_I32);
    if (data == NULL) {
        return mlq_fail(err, MLQ_ECORRUPT,
                        "column '%.100s' has no tensor of %s [%" PRIu64 "] that is aligned",
                        column->name, is_number ? "F64" : "I32", table->rows);
    }
    column->numbers = is_number ? data : NULL;
    column->codes = is_number ? NULL : data;
    return table->is_own ? MLQ_OK : check_values(table, column, err);
}

static int compare_names(const void *a, const void *b)
{
    const struct table_column *const *x = a;
    const struct table_column *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

static int index_columns(struct table *table, struct mlq_err *err)
{
    size_t targets = 0;
    for (size_t i = 0; i < table->count; i++) {
        table->by_name[i] = &table->columns[i];
        targets += table->columns[i].role == TABLE_TARGET ? 1 : 0;
    }
    if (targets > 1) {
        return mlq_fail(err, MLQ_ECORRUPT, "more than one column is the target");
    }
    qsort(table->by_name, table->count, sizeof *table->by_name, compare_names);
    for (size_t i = 1; i < table->count; i++) {
        if (compare_names(&table->by_name[i - 1], &table->by_name[i]) == 0) {
            return mlq_fail(err, MLQ_ECORRUPT, "two columns are named '%.100s'",
                            table->by_name[i]->name);
        }
    }
    return MLQ_OK;
}

static int read_columns(struct table *table, const json_t *list, struct mlq_err *err)
{
    table->count = json_array_size(list);
    table->columns = mlq_region_array(table->region, table->count, sizeof *table->columns);
    table->by_name = mlq_region_array(table->region, table->count, sizeof *table->by_name);
    for (size_t i = 0; i < table->count; i++) {
        struct table_column *column = &table->columns[i];
        int rc = read_declaration(table, column, json_array_get(list, i), err);
        if (rc != MLQ_OK) {
            return rc;
        }
    }
    int rc = mlq_thread_each(op_cpus(), table->count, read_values, table, err);
    return rc == MLQ_OK ? index_columns(table, err) : rc;
}

static int read_schema(struct table *table, struct mlq_err *err)
{
    const char *text = safetensors_metadata(table->file, METADATA_KEY);
    if (text == NULL) {
        return mlq_fail(err, MLQ_EINVAL,
                        "no table: its metadata lack '" METADATA_KEY
                        "' (data.import makes tables)");
    }
    int rc =
        io_json_parse(mlq_str_from(text), (struct io_json_limits){JSON_DEPTH_MAX, JSON_VALUES_MAX},
                      &table->schema, err);
    if (rc != MLQ_OK) {
        return mlq_wrap(err, MLQ_ECORRUPT, METADATA_KEY);
    }
    json_int_t version = json_integer_value(json_object_get(table->schema, "version"));
    if (version != TABLE_VERSION) {
        return mlq_fail(err, MLQ_ENOTSUP,
                        "table of version %" JSON_INTEGER_FORMAT "; this program reads version %d",
                        version, TABLE_VERSION);
    }
    const json_t *rows = json_object_get(table->schema, "rows");
    const json_t *columns = json_object_get(table->schema, "columns");
    if (!json_is_integer(rows) || json_integer_value(rows) < 0 ||
        (uint64_t)json_integer_value(rows) > TABLE_ROWS_MAX || !json_is_array(columns) ||
        json_array_size(columns) == 0 || json_array_size(columns) > TABLE_COLUMNS_MAX) {
        return mlq_fail(err, MLQ_ECORRUPT,
                        METADATA_KEY ": rows or columns are missing or too many");
    }
    table->rows = (uint64_t)json_integer_value(rows);
    const json_t *source = json_object_get(table->schema, "source");
    if (json_is_object(source)) {
        table->source = json_dumps(source, JSON_COMPACT);
    }
    if (safetensors_find(table->file, ROWS_TENSOR) != NULL) {
        table->source_rows = column_data(table, ROWS_TENSOR, SAFETENSORS_I64);
        if (table->source_rows == NULL) {
            return mlq_fail(err, MLQ_ECORRUPT, "'" ROWS_TENSOR "' is not I64 of all rows");
        }
    }
    return read_columns(table, columns, err);
}

static int open_table(const char *path, bool is_own, struct table **out, struct mlq_err *err)
{
    struct table *table = mlq_alloc(sizeof *table);
    table->is_own = is_own;
    table->region = mlq_region_create();
    int rc = safetensors_open(path, &table->file, err);
    if (rc == MLQ_OK) {
        rc = read_schema(table, err);
        rc = rc == MLQ_OK ? rc : mlq_wrap(err, rc, "%s", path);
    }
    if (rc != MLQ_OK) {
        table_close(&table);
        return rc;
    }
    *out = table;
    return MLQ_OK;
}

int table_open(const char *path, struct table **out, struct mlq_err *err)
{
    return open_table(path, false, out, err);
}

int table_open_own(const char *path, struct table **out, struct mlq_err *err)
{
    return open_table(path, true, out, err);
}

void table_close(struct table **table)
{
    if (*table == NULL) {
        return;
    }
    safetensors_close(&(*table)->file);
    json_decref((*table)->schema);
    mlq_region_destroy(&(*table)->region);
    mlq_free((*table)->source); /* jansson's, which comes from malloc as ours does */
    mlq_free(*table);
    *table = NULL;
}

uint64_t table_rows(const struct table *table)
{
    return table->rows;
}

size_t table_column_count(const struct table *table)
{
    return table->count;
}

const struct table_column *table_column(const struct table *table, size_t i)
{
    MLQ_ASSERT(i < table->count);
    return &table->columns[i];
}

const struct table_column *table_find(const struct table *table, const char *name)
{
    struct table_column wanted = {.name = name};
    const struct table_column *key = &wanted;
    const struct table_column *const *found =
        bsearch(&key, table->by_name, table->count, sizeof *table->by_name, compare_names);
    return found == NULL ? NULL : *found;
}

const struct table_column *table_target(const struct table *table)
{
    for (size_t i = 0; i < table->count; i++) {
        if (table->columns[i].role == TABLE_TARGET) {
            return &table->columns[i];
        }
    }
    return NULL;
}

int table_need(const struct table *table, const char *name, const struct table_column **column,
               struct mlq_err *err)
{
    *column = table_find(table, name);
    if (*column != NULL) {
        return MLQ_OK;
    }
    const char *nearest = NULL;
    size_t least = NEAR_DISTANCE_MAX + 1;
    for (size_t i = 0; i < table->count; i++) {
        size_t distance =
            mlq_str_distance(mlq_str_from(name), mlq_str_from(table->columns[i].name));
        if (distance < least) {
            least = distance;
            nearest = table->columns[i].name;
        }
    }
    return mlq_fail(err, MLQ_ENOENT, "the table has no column '%.100s'%s%.100s%s", name,
                    nearest == NULL ? "" : " (did you mean '", nearest == NULL ? "" : nearest,
                    nearest == NULL ? "" : "'?)");
}

void table_walked(const struct table *table, uint64_t bytes)
{
    safetensors_walked(table->file, bytes);
}

static void expect(struct table *table, uint64_t begin, uint64_t end)
{
    for (size_t i = 0; i < table->count; i++) {
        const struct table_column *column = &table->columns[i];
        if (column->role != TABLE_FEATURE) {
            continue;
        }
        if (column->kind == TABLE_NUMBER) {
            safetensors_expect(table->file, column->numbers + begin,
                               (end - begin) * sizeof(double));
        } else {
            safetensors_expect(table->file, column->codes + begin, (end - begin) * sizeof(int32_t));
        }
    }
}

/* A piece is asked for when the one before it begins to be used. */
void table_expect(struct table *table, uint64_t row, uint64_t count)
{
    MLQ_ASSERT(row <= table->rows && count <= table->rows - row);
    uint64_t piece = EXPECT_BYTES / (table->count * sizeof(double));
    piece = piece < count ? count : piece;
    if (!table->is_scattered) {
        table->is_scattered = true;
        safetensors_scatter(table->file);
    }
    if (row < table->expected_begin || row > table->expected_end) {
        table->expected_begin = row;
        table->expected_end = row;
    }
    while (table->expected_end < table->rows && table->expected_end < row + count + piece) {
        uint64_t end = table->expected_end + piece;
        end = end < table->rows ? end : table->rows;
        expect(table, table->expected_end, end);
        table->expected_begin = row;
        table->expected_end = end;
    }
}

int64_t table_source_row(const struct table *table, uint64_t i)
{
    MLQ_ASSERT(i < table->rows);
    return table->source_rows == NULL ? (int64_t)i : table->source_rows[i];
}

const char *table_source_file(const struct table *table)
{
    const char *file =
        json_string_value(json_object_get(json_object_get(table->schema, "source"), "file"));
    return file == NULL ? "the source" : file;
}

const char *table_source(const struct table *table)
{
    return table->source == NULL ? "{}" : table->source;
}

/* ---- Writing ---- */

static json_t *describe_column(const struct table_column *column)
{
    json_t *item = json_pack("{s:s, s:s}", "name", column->name, "kind", kind_texts[column->kind]);
    if (item == NULL) {
        return NULL; /* a name that is not UTF-8 */
    }
    if (column->kind == TABLE_NUMBER) {
        (void)json_object_set_new(item, "integer", json_boolean(column->integer));
    }
    (void)json_object_set_new(item, "role", json_string(role_texts[column->role]));
    if (column->kind == TABLE_CATEGORY) {
        json_t *list = json_array();
        for (uint32_t i = 0; i < column->dictionary_count; i++) {
            (void)json_array_append_new(list, json_string(column->dictionary[i]));
        }
        bool complete = json_array_size(list) == column->dictionary_count;
        (void)json_object_set_new(item, "dictionary", list);
        if (!complete) {
            json_decref(item);
            return NULL;
        }
    }
    return item;
}

static int describe(const struct table_schema *schema, json_t **root, struct mlq_err *err)
{
    json_t *columns = json_array();
    *root = json_pack("{s:i, s:I, s:o}", "version", TABLE_VERSION, "rows", (json_int_t)schema->rows,
                      "columns", columns);
    for (size_t i = 0; i < schema->column_count; i++) {
        const char *name = schema->columns[i].name;
        size_t len = strlen(name);
        if (len == 0 || len > TABLE_NAME_BYTES_MAX || strcmp(name, "__metadata__") == 0 ||
            strncmp(name, RESERVED_PREFIX, sizeof RESERVED_PREFIX - 1) == 0) {
            return mlq_fail(
                err, MLQ_EINVAL,
                "'%.100s' cannot be the name of a column: empty, reserved (mlq.*) or over "
                "%u bytes",
                name, TABLE_NAME_BYTES_MAX);
        }
        json_t *item = describe_column(&schema->columns[i]);
        if (item == NULL) {
            return mlq_fail(err, MLQ_EINVAL, "column %zu: a text is not UTF-8", i);
        }
        (void)json_array_append_new(columns, item);
    }
    if (schema->source != NULL) {
        json_t *source = json_loads(schema->source, 0, NULL);
        MLQ_ASSERT(source != NULL);
        (void)json_object_set_new(*root, "source", source);
    }
    return MLQ_OK;
}

static void add_tensor(struct safetensors_tensor *tensor, const char *name,
                       enum safetensors_dtype dtype, uint64_t rows)
{
    *tensor = (struct safetensors_tensor){.name = name, .dtype = dtype, .rank = 1, .shape = {rows}};
}

/* Numbers, then source rows, then codes: each kind is aligned by the one before it. */
static size_t lay_out(struct table_writer *writer, const struct table_schema *schema,
                      struct safetensors_tensor *tensors)
{
    size_t count = 0;
    for (size_t i = 0; i < schema->column_count; i++) {
        if (schema->columns[i].kind == TABLE_NUMBER) {
            writer->tensors[i] = count;
            add_tensor(&tensors[count++], schema->columns[i].name, SAFETENSORS_F64, schema->rows);
        }
    }
    writer->rows_tensor = SIZE_MAX;
    if (schema->with_source_rows) {
        writer->rows_tensor = count;
        add_tensor(&tensors[count++], ROWS_TENSOR, SAFETENSORS_I64, schema->rows);
    }
    for (size_t i = 0; i < schema->column_count; i++) {
        if (schema->columns[i].kind == TABLE_CATEGORY) {
            writer->tensors[i] = count;
            add_tensor(&tensors[count++], schema->columns[i].name, SAFETENSORS_I32, schema->rows);
        }
        writer->kinds[i] = schema->columns[i].kind;
    }
    return count;
}

static int begin(struct table_writer *writer, const char *path, const struct table_schema *schema,
                 struct mlq_err *err)
{
    json_t *root = NULL;
    int rc = describe(schema, &root, err);
    char *text = rc == MLQ_OK ? json_dumps(root, JSON_COMPACT) : NULL;
    json_decref(root);
    if (rc != MLQ_OK) {
        return mlq_wrap(err, rc, "write %s", path);
    }
    MLQ_ASSERT(text != NULL);
    struct safetensors_tensor *tensors = mlq_alloc_array(schema->column_count + 1, sizeof *tensors);
    size_t count = lay_out(writer, schema, tensors);
    const char *metadata[] = {METADATA_KEY, text, NULL};
    rc = safetensors_writer_create(path, tensors, count, metadata, &writer->file, err);
    mlq_free(tensors);
    mlq_free(text); /* jansson's, which comes from malloc as ours does */
    return rc;
}

int table_writer_create(const char *path, const struct table_schema *schema,
                        struct table_writer **out, struct mlq_err *err)
{
    if (schema->column_count == 0 || schema->column_count > TABLE_COLUMNS_MAX ||
        schema->rows > TABLE_ROWS_MAX) {
        return mlq_fail(err, MLQ_EFULL,
                        "write %s: a table has 1 to %u columns and at most 2^40 rows", path,
                        TABLE_COLUMNS_MAX);
    }
    struct table_writer *writer = mlq_alloc(sizeof *writer);
    writer->count = schema->column_count;
    writer->kinds = mlq_alloc_array(writer->count, sizeof *writer->kinds);
    writer->tensors = mlq_alloc_array(writer->count, sizeof *writer->tensors);
    int rc = begin(writer, path, schema, err);
    if (rc != MLQ_OK) {
        table_writer_abort(&writer);
        return rc;
    }
    *out = writer;
    return MLQ_OK;
}

int table_write_numbers(struct table_writer *writer, size_t i, const double *values, size_t count,
                        struct mlq_err *err)
{
    MLQ_ASSERT(i < writer->count && writer->kinds[i] == TABLE_NUMBER);
    return safetensors_writer_append(writer->file, writer->tensors[i], values, count * sizeof *values,
                              err);
}

int table_write_codes(struct table_writer *writer, size_t i, const int32_t *codes, size_t count,
                      struct mlq_err *err)
{
    MLQ_ASSERT(i < writer->count && writer->kinds[i] == TABLE_CATEGORY);
    return safetensors_writer_append(writer->file, writer->tensors[i], codes, count * sizeof *codes, err);
}

int table_write_source_rows(struct table_writer *writer, const int64_t *rows, size_t count,
                            struct mlq_err *err)
{
    MLQ_ASSERT(writer->rows_tensor != SIZE_MAX);
    return safetensors_writer_append(writer->file, writer->rows_tensor, rows, count * sizeof *rows, err);
}

int table_writer_finish(struct table_writer **writer, struct mlq_err *err)
{
    int rc = safetensors_writer_finish_output(&(*writer)->file, err);
    table_writer_abort(writer);
    return rc;
}

void table_writer_abort(struct table_writer **writer)
{
    if (*writer == NULL) {
        return;
    }
    safetensors_writer_abort(&(*writer)->file);
    mlq_free((*writer)->kinds);
    mlq_free((*writer)->tensors);
    mlq_free(*writer);
    *writer = NULL;
}

/* ---- Subsets ---- */

struct gather {
    const struct table *table;
    const struct table_subset *subset;
    struct table_writer *writer;
};

/* Values of 8 or 4 bytes, gathered a chunk at a time. */
union chunk {
    double numbers[CHUNK_ROWS];
    int32_t codes[CHUNK_ROWS];
    int64_t rows[CHUNK_ROWS];
};

#define SOURCE_ROWS SIZE_MAX /* in place of a column */

/* Takes the wanted rows of [row, end) until the chunk is full or they are over; returns where it came to.
 * Each value is stored, and kept if its row is wanted: to guess which one is takes longer. */
#define GATHER(chunk, value_of)                                                                    \
    for (; row < end && *used < CHUNK_ROWS; row++) {                                               \
        (chunk)[*used] = (value_of);                                                               \
        *used += part[row] == wanted ? 1 : 0;                                                      \
    }

static uint64_t gather_rows(const struct gather *gather, size_t column, uint64_t row, union chunk *chunk,
                            size_t *used)
{
    const uint8_t *part = gather->subset->part;
    const uint8_t wanted = gather->subset->wanted;
    const uint64_t end = gather->table->rows;
    if (column == SOURCE_ROWS) {
        GATHER(chunk->rows, table_source_row(gather->table, row));
    } else if (gather->table->columns[column].kind == TABLE_NUMBER) {
        const double *numbers = gather->table->columns[column].numbers;
        GATHER(chunk->numbers, numbers[row]);
    } else {
        const int32_t *codes = gather->table->columns[column].codes;
        GATHER(chunk->codes, codes[row]);
    }
    return row;
}

static int write_chunk(const struct gather *gather, size_t column, const union chunk *chunk, size_t used,
                       struct mlq_err *err)
{
    if (column == SOURCE_ROWS) {
        return table_write_source_rows(gather->writer, chunk->rows, used, err);
    }
    return gather->table->columns[column].kind == TABLE_NUMBER
               ? table_write_numbers(gather->writer, column, chunk->numbers, used, err)
               : table_write_codes(gather->writer, column, chunk->codes, used, err);
}

/* The source rows, then each column. */
static int gather_column(void *context, size_t i, struct mlq_err *err)
{
    const struct gather *gather = context;
    size_t column = i == 0 ? SOURCE_ROWS : i - 1;
    union chunk *chunk = mlq_alloc(sizeof *chunk);
    int rc = MLQ_OK;
    for (uint64_t row = 0; rc == MLQ_OK && row < gather->table->rows;) {
        size_t used = 0;
        row = gather_rows(gather, column, row, chunk, &used);
        rc = write_chunk(gather, column, chunk, used, err);
    }
    mlq_free(chunk);
    return rc;
}

int table_save_subset(const struct table *table, const char *path,
                      const struct table_subset *subset, struct mlq_err *err)
{
    struct table_schema schema = {
        .column_count = table->count, .with_source_rows = true, .source = table->source};
    for (uint64_t i = 0; i < table->rows; i++) {
        schema.rows += subset->part[i] == subset->wanted ? 1 : 0;
    }
    struct table_column *columns = mlq_alloc_array(table->count, sizeof *columns);
    memcpy(columns, table->columns, table->count * sizeof *columns);
    for (size_t i = 0; subset->roles != NULL && i < table->count; i++) {
        columns[i].role = subset->roles[i];
    }
    schema.columns = columns;
    struct gather gather = {.table = table, .subset = subset};
    int rc = table_writer_create(path, &schema, &gather.writer, err);
    if (rc == MLQ_OK && schema.rows > 0) {
        rc = mlq_thread_each(op_cpus(), table->count + 1, gather_column, &gather, err);
    }
    if (rc == MLQ_OK) {
        rc = table_writer_finish(&gather.writer, err);
    }
    table_writer_abort(&gather.writer);
    mlq_free(columns);
    return rc;
}
