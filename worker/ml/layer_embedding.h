/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Learned vectors for categories. Reads the inputs, feature by feature (the model's spans): numbers
 * pass as they are; an embedded category is one number, the index of its value, and becomes `width`
 * numbers, a row of its table. An index that is none (-1: a value that training never saw) becomes
 * zeros. weight [values of all tables][width], table behind table.
 */
#ifndef MLQ_ML_LAYER_EMBEDDING_H
#define MLQ_ML_LAYER_EMBEDDING_H

#include "worker/ml/layer.h"

extern const struct layer_ops layer_embedding_ops;

#endif
