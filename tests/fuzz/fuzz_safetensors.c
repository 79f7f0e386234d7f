/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Files that pass between operators: safetensors, tables and models. What opens can be read to the
 * last byte.
 */
#include <math.h>

#include "lib/artifact/safetensors.h"
#include "lib/sys/mem.h"
#include "tests/fuzz/fuzz.h"
#include "worker/ml/model.h"
#include "worker/op/table.h"

static unsigned sum_bytes(const void *bytes, uint64_t count)
{
    const uint8_t *at = bytes;
    unsigned sum = 0;
    for (uint64_t i = 0; i < count; i++) {
        sum += at[i];
    }
    return sum;
}

static void read_tensors(const struct safetensors *file)
{
    for (size_t i = 0; i < safetensors_count(file); i++) {
        const struct safetensors_tensor *tensor = safetensors_at(file, i);
        (void)sum_bytes(tensor->data, tensor->bytes);
        MLQ_ASSERT(safetensors_find(file, tensor->name) == tensor);
    }
}

static void read_table(const struct table *table)
{
    for (size_t i = 0; i < table_column_count(table); i++) {
        const struct table_column *column = table_column(table, i);
        for (uint64_t row = 0; row < table_rows(table); row++) {
            MLQ_ASSERT(column->kind == TABLE_NUMBER ||
                       column->codes[row] < (int32_t)column->dictionary_count);
            (void)table_source_row(table, row);
        }
        MLQ_ASSERT(table_find(table, column->name) == column);
    }
    (void)table_source(table);
    (void)table_source_file(table);
}

/* A row of zeros, and one where all is missing. */
static void walk_trees(const struct model *model)
{
    if (model->forest == NULL) {
        return;
    }
    float *row = mlq_alloc_array(model->input_count, sizeof(float));
    float *outputs = mlq_alloc_array(model->forest->outputs, sizeof(float));
    forest_forward(model->forest, row, model->input_count, 1, outputs);
    for (uint32_t i = 0; i < model->input_count; i++) {
        row[i] = NAN;
    }
    forest_forward(model->forest, row, model->input_count, 1, outputs);
    (void)forest_depth(model->forest);
    mlq_free(row);
    mlq_free(outputs);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct safetensors *file = NULL;
    struct table *table = NULL;
    struct model *model = NULL;
    const char *path = fuzz_file(0, data, size);
    if (safetensors_open(path, &file, NULL) == MLQ_OK) {
        read_tensors(file);
        safetensors_close(&file);
    }
    if (table_open(path, &table, NULL) == MLQ_OK) {
        read_table(table);
        table_close(&table);
    }
    if (model_load(path, &model, NULL) == MLQ_OK) {
        MLQ_ASSERT((model->layer_count > 0) != (model->forest != NULL) && model->input_count > 0);
        walk_trees(model);
        (void)sum_bytes(model->parameters, model->arena_count * sizeof(float));
        model_destroy(&model);
    }
    return 0;
}
