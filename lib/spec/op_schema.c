/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The table. To add an operator: its arrays, a row in `schemas`, a name in `names`, and its code in
 * worker/op; a test checks that both sides know the same operators.
 */
#include "lib/spec/op_schema.h"

#include <string.h>

#include "lib/base/ownership.h"

#define FILES(...) ((const char *const[]){__VA_ARGS__, NULL})

/* ---- data.import ---- */
static const struct op_param import_params[] = {
    {.path = "path", .type = PARAM_FILE, .required = true, .help = "CSV file with a header line"},
    {.path = "target", .type = PARAM_TEXT, .help = "column to predict"},
    {.path = "types", .type = PARAM_TEXT_MAP, .standard = "{}",
     .choices = FILES("number", "category", "ignore"),
     .help = "column: number, category or ignore, where the inferred type is wrong"},
    {.path = "delimiter", .type = PARAM_TEXT, .standard = "\",\"", .help = "one character"},
    {.path = "missing", .type = PARAM_TEXTS, .standard = "[\"\", \"NA\", \"N/A\", \"NaN\", \"nan\", \"null\"]",
     .help = "texts that mean: no value"},
    {.path = "max_bad_rows", .type = PARAM_INTEGER, .standard = "0", .min = 0, .max = 1e12,
     .help = "malformed rows that are left out before the task fails"},
    {.path = "categories_max", .type = PARAM_INTEGER, .standard = "10000", .min = 1, .max = 1000000,
     .help = "distinct values of one category column"},
};
static const struct op_output import_outputs[] = {
    {"table.safetensors", "the columns"},
    {"profile.json", "rows, and per column: type, missing, distinct, distribution"},
};

/* ---- data.arrays ---- */
static const struct op_param arrays_params[] = {
    {.path = "samples", .type = PARAM_FILE, .required = true,
     .help = "IDX or NPY file, may be .gz; the first dimension counts samples"},
    {.path = "labels", .type = PARAM_FILE, .required = true, .help = "IDX or NPY file of one dimension, may be .gz"},
    {.path = "classes", .type = PARAM_TEXTS, .standard = "[]",
     .help = "names of the labels 0, 1, ...; without them labels name themselves"},
    {.path = "task", .type = PARAM_CHOICE, .standard = "\"classification\"",
     .choices = FILES("classification", "regression"), .help = "regression: labels are numbers"},
};
static const struct op_output arrays_outputs[] = {
    {"table.safetensors", "a row per sample: p0, p1, ... and label"},
    {"profile.json", "rows, and the distribution of the labels"},
};

/* ---- data.validate ---- */
static const struct op_param validate_params[] = {
    {.path = "suite", .type = PARAM_FILE, .required = true,
     .help = "expectation suite (JSON of Great Expectations, 0.x or 1.x)"},
    {.path = "on_failure", .type = PARAM_CHOICE, .standard = "\"fail\"", .choices = FILES("fail", "warn"),
     .help = "whether an unmet expectation fails the stage"},
};
static const struct op_input validate_inputs[] = {
    {"data", true, FILES("table.safetensors"), "the table to check"},
};
static const struct op_output validate_outputs[] = {
    {"validation.json", "result of each expectation"},
};

/* ---- data.split ---- */
static const struct op_param split_params[] = {
    {.path = "test", .type = PARAM_NUMBER, .standard = "0.2", .min = 0, .max = 1,
     .help = "fraction of the rows"},
    {.path = "validation", .type = PARAM_NUMBER, .standard = "0.1", .min = 0, .max = 1,
     .help = "fraction of the rows"},
    {.path = "stratify", .type = PARAM_TEXT, .help = "column whose values keep their shares in each part"},
    {.path = "by", .type = PARAM_TEXT,
     .help = "key column: rows of one key stay together, and on their side when data grow"},
    {.path = "seed", .type = PARAM_INTEGER, .standard = "0", .min = 0, .max = 9007199254740992.0,
     .help = "of the shuffle"},
};
static const struct op_input split_inputs[] = {
    {"data", true, FILES("table.safetensors"), "the table to split"},
};
static const struct op_output split_outputs[] = {
    {"train.safetensors", "rows to fit on"},
    {"validation.safetensors", "rows to stop and choose by"},
    {"test.safetensors", "rows to judge by"},
    {"split.json", "counts, and how it was done"},
};

/* ---- train.native ---- */
static const struct op_param train_params[] = {
    {.path = "model", .type = PARAM_ONE_OF, .standard = "{\"mlp\": {}}", .help = "what is fitted"},
    {.path = "model.linear", .type = PARAM_GROUP, .help = "linear regression, or one linear layer"},
    {.path = "model.softmax", .type = PARAM_GROUP, .help = "logistic or multinomial regression"},
    {.path = "model.mlp", .type = PARAM_GROUP, .help = "fully connected layers"},
    {.path = "model.mlp.hidden", .type = PARAM_INTEGERS, .standard = "[128, 64]", .min = 1, .max = 65536,
     .help = "width of each hidden layer"},
    {.path = "model.mlp.activation", .type = PARAM_CHOICE, .standard = "\"relu\"",
     .choices = FILES("relu", "gelu", "tanh", "identity"), .help = "after each hidden layer"},
    {.path = "model.mlp.dropout", .type = PARAM_NUMBER, .standard = "0", .min = 0, .max = 0.95,
     .help = "share of each hidden layer that is left out in training"},
    {.path = "model.mlp.embedding", .type = PARAM_INTEGER, .standard = "0", .min = 0, .max = 4096,
     .help = "categories with more values than this get learned vectors of this width; 0: one-hot"},
    {.path = "model.cnn", .type = PARAM_GROUP, .help = "convolutions over images, then fully connected layers"},
    {.path = "model.cnn.image", .type = PARAM_INTEGERS, .required = true, .min = 1, .max = 65536,
     .help = "[height, width, channels] that the feature columns make, channels last"},
    {.path = "model.cnn.channels", .type = PARAM_INTEGERS, .standard = "[32, 64]", .min = 1, .max = 65536,
     .help = "of each stage; the image is halved between stages"},
    {.path = "model.cnn.depth", .type = PARAM_INTEGER, .standard = "1", .min = 1, .max = 16,
     .help = "convolutions of a stage"},
    {.path = "model.cnn.kernel", .type = PARAM_INTEGER, .standard = "3", .min = 1, .max = 31,
     .help = "height and width of the windows, odd"},
    {.path = "model.cnn.norm", .type = PARAM_BOOL, .standard = "true",
     .help = "batch normalisation after each convolution, per virtual shard"},
    {.path = "model.cnn.residual", .type = PARAM_BOOL, .standard = "false",
     .help = "add what a stage's first convolution gives to what its last gives (depth >= 2)"},
    {.path = "model.cnn.depthwise", .type = PARAM_BOOL, .standard = "false",
     .help = "a depthwise and a 1 x 1 convolution in place of each but the first"},
    {.path = "model.cnn.pool", .type = PARAM_CHOICE, .standard = "\"max\"", .choices = FILES("max", "average"),
     .help = "how the image is halved"},
    {.path = "model.cnn.head", .type = PARAM_CHOICE, .standard = "\"flat\"", .choices = FILES("flat", "mean"),
     .help = "the last stage: as it is, or the mean over the image"},
    {.path = "model.cnn.hidden", .type = PARAM_INTEGERS, .standard = "[128]", .min = 1, .max = 65536,
     .help = "width of each fully connected layer before the outputs"},
    {.path = "model.cnn.activation", .type = PARAM_CHOICE, .standard = "\"relu\"",
     .choices = FILES("relu", "gelu", "tanh", "identity"), .help = "after each hidden layer"},
    {.path = "model.cnn.dropout", .type = PARAM_NUMBER, .standard = "0", .min = 0, .max = 0.95,
     .help = "share of each fully connected layer that is left out in training"},
    {.path = "model.cnn.flip", .type = PARAM_BOOL, .standard = "false",
     .help = "training images are turned left to right every second time"},
    {.path = "model.cnn.crop", .type = PARAM_INTEGER, .standard = "0", .min = 0, .max = 255,
     .help = "training images are moved by up to this many pixels"},
    {.path = "task", .type = PARAM_CHOICE, .standard = "\"auto\"",
     .choices = FILES("auto", "classification", "regression"),
     .help = "auto: classification for a category or a few whole numbers"},
    {.path = "epochs", .type = PARAM_INTEGER, .standard = "20", .min = 1, .max = 1000000,
     .help = "passes over the training rows"},
    {.path = "batch", .type = PARAM_INTEGER, .standard = "64", .min = 1, .max = 1048576,
     .help = "rows of one step, over all ranks"},
    {.path = "shards", .type = PARAM_INTEGER, .standard = "8", .min = 1, .max = 1024, .power_of_two = true,
     .help = "virtual shards of a batch: fixes the order of sums"},
    {.path = "optimizer", .type = PARAM_ONE_OF, .standard = "{\"adamw\": {}}", .help = "how it is fitted"},
    {.path = "optimizer.adamw", .type = PARAM_GROUP, .help = "Adam with decoupled weight decay"},
    {.path = "optimizer.adamw.lr", .type = PARAM_NUMBER, .standard = "0.001", .min = 0, .above_min = true, .max = 100,
     .help = "learning rate"},
    {.path = "optimizer.adamw.weight_decay", .type = PARAM_NUMBER, .standard = "0.01", .min = 0, .max = 100,
     .help = "per step, times the learning rate"},
    {.path = "optimizer.adamw.beta1", .type = PARAM_NUMBER, .standard = "0.9", .min = 0, .max = 0.9999999,
     .help = "decay of the first moment"},
    {.path = "optimizer.adamw.beta2", .type = PARAM_NUMBER, .standard = "0.999", .min = 0, .max = 0.9999999,
     .help = "decay of the second moment"},
    {.path = "optimizer.sgd", .type = PARAM_GROUP, .help = "gradient descent with momentum"},
    {.path = "optimizer.sgd.lr", .type = PARAM_NUMBER, .standard = "0.05", .min = 0, .above_min = true, .max = 100,
     .help = "learning rate"},
    {.path = "optimizer.sgd.momentum", .type = PARAM_NUMBER, .standard = "0.9", .min = 0, .max = 0.9999999,
     .help = "share of the last step that goes on"},
    {.path = "optimizer.sgd.nesterov", .type = PARAM_BOOL, .standard = "false", .help = "look ahead"},
    {.path = "optimizer.sgd.weight_decay", .type = PARAM_NUMBER, .standard = "0", .min = 0, .max = 100,
     .help = "per step, times the learning rate"},
    {.path = "optimizer.adam", .type = PARAM_GROUP, .help = "Adam; its weight decay is part of the gradient"},
    {.path = "optimizer.adam.lr", .type = PARAM_NUMBER, .standard = "0.001", .min = 0, .above_min = true, .max = 100,
     .help = "learning rate"},
    {.path = "optimizer.adam.weight_decay", .type = PARAM_NUMBER, .standard = "0", .min = 0, .max = 100,
     .help = "times the weights, added to the gradient"},
    {.path = "optimizer.adam.beta1", .type = PARAM_NUMBER, .standard = "0.9", .min = 0, .max = 0.9999999,
     .help = "decay of the first moment"},
    {.path = "optimizer.adam.beta2", .type = PARAM_NUMBER, .standard = "0.999", .min = 0, .max = 0.9999999,
     .help = "decay of the second moment"},
    {.path = "loss", .type = PARAM_ONE_OF, .standard = "{\"auto\": {}}", .help = "what is minimised"},
    {.path = "loss.auto", .type = PARAM_GROUP, .help = "cross_entropy for classes, squared for numbers"},
    {.path = "loss.cross_entropy", .type = PARAM_GROUP, .help = "of softmax, for classes"},
    {.path = "loss.cross_entropy.label_smoothing", .type = PARAM_NUMBER, .standard = "0", .min = 0, .max = 0.99,
     .help = "share of each label that is spread over all classes"},
    {.path = "loss.bce", .type = PARAM_GROUP, .help = "binary cross-entropy of one logit, for two classes"},
    {.path = "loss.bce.label_smoothing", .type = PARAM_NUMBER, .standard = "0", .min = 0, .max = 0.99,
     .help = "share of each label that is spread over both classes"},
    {.path = "loss.squared", .type = PARAM_GROUP,
     .help = "squared error, for numbers; losses are of the standardised target, val_rmse is in its own units"},
    {.path = "loss.huber", .type = PARAM_GROUP, .help = "squared near zero, linear beyond: for numbers with outliers"},
    {.path = "loss.huber.delta", .type = PARAM_NUMBER, .standard = "1", .min = 1e-6, .max = 1e6,
     .help = "error from which it is linear, in standard deviations of the training target"},
    {.path = "class_weights", .type = PARAM_NUMBER_MAP, .min = 1e-6, .max = 1e6,
     .help = "class: weight of its rows in the loss; 1 for those that are not named"},
    {.path = "balance", .type = PARAM_BOOL, .standard = "false",
     .help = "weigh classes by the inverse of their share of the training rows"},
    {.path = "schedule", .type = PARAM_ONE_OF, .standard = "{\"constant\": {}}", .help = "how the learning rate moves"},
    {.path = "schedule.constant", .type = PARAM_GROUP, .help = "it stays"},
    {.path = "schedule.step", .type = PARAM_GROUP, .help = "times a factor every few epochs"},
    {.path = "schedule.step.epochs", .type = PARAM_INTEGER, .standard = "10", .min = 1, .max = 1000000,
     .help = "between two changes"},
    {.path = "schedule.step.factor", .type = PARAM_NUMBER, .standard = "0.1", .min = 1e-6, .max = 1,
     .help = "at each change"},
    {.path = "schedule.cosine", .type = PARAM_GROUP, .help = "down along half a cosine"},
    {.path = "schedule.cosine.final", .type = PARAM_NUMBER, .standard = "0", .min = 0, .max = 1,
     .help = "share of the learning rate at the end"},
    {.path = "schedule.linear", .type = PARAM_GROUP, .help = "down in a line"},
    {.path = "schedule.linear.final", .type = PARAM_NUMBER, .standard = "0", .min = 0, .max = 1,
     .help = "share of the learning rate at the end"},
    {.path = "schedule.one_cycle", .type = PARAM_GROUP, .help = "up from lr/25 and down to lr/250000"},
    {.path = "schedule.one_cycle.rise", .type = PARAM_NUMBER, .standard = "0.3", .min = 0.001, .max = 0.999,
     .help = "share of the training until the peak"},
    {.path = "warmup", .type = PARAM_NUMBER, .standard = "0", .min = 0, .max = 1000000,
     .help = "epochs in which the learning rate rises to its peak, before the schedule begins"},
    {.path = "clip_norm", .type = PARAM_NUMBER, .standard = "0", .min = 0, .max = 1e9,
     .help = "gradients that are longer are shortened to this; 0: none"},
    {.path = "accumulate", .type = PARAM_INTEGER, .standard = "1", .min = 1, .max = 1024, .power_of_two = true,
     .help = "batches of one step: a larger batch in the memory of a small one"},
    {.path = "mixup", .type = PARAM_NUMBER, .standard = "0", .min = 0, .max = 1,
     .help = "each training row is mixed with another one, by shares from Beta(mixup, mixup); 0: none"},
    {.path = "l2", .type = PARAM_NUMBER, .standard = "0", .min = 0, .max = 1e6,
     .help = "penalty added to the loss: l2/2 times the squared weights"},
    {.path = "early_stop", .type = PARAM_GROUP, .help = "stop when validation does not get better"},
    {.path = "early_stop.patience", .type = PARAM_INTEGER, .standard = "5", .min = 1, .max = 1000000,
     .help = "epochs without a better val_loss"},
    {.path = "range_test", .type = PARAM_GROUP,
     .help = "in place of a training: steps with a growing learning rate until the loss rises (Smith 2015), which show the "
             "rates to try. Writes range_test.json and no model; epochs and the optimizer's lr do not count"},
    {.path = "range_test.from", .type = PARAM_NUMBER, .standard = "0.00001", .min = 0, .above_min = true, .max = 100,
     .below = "range_test.to", .help = "learning rate of the first step"},
    {.path = "range_test.to", .type = PARAM_NUMBER, .standard = "10", .min = 0, .above_min = true, .max = 1000,
     .help = "of the last step; each is the same factor above the one before"},
    {.path = "range_test.steps", .type = PARAM_INTEGER, .standard = "200", .min = 20, .max = 10000,
     .help = "at most; the test ends when the loss is over four times its least, or no number"},
    {.path = "seed", .type = PARAM_INTEGER, .standard = "0", .min = 0, .max = 9007199254740992.0,
     .help = "of the weights and of the order of rows"},
    {.path = "rows", .type = PARAM_CHOICE, .standard = "\"auto\"", .choices = FILES("auto", "memory", "disk"),
     .help = "where rows are kept; auto: on disk when they do not fit into half of the memory; the model is the same"},
    {.path = "level", .type = PARAM_CHOICE, .standard = "\"elastic\"", .choices = FILES("elastic", "repeat", "fast"),
     .help = "elastic: ranks go and come while it runs; repeat: all ranks or none. Both give the same model, bit for bit, on "
             "any number of ranks. fast: all or none, without shards, gradients added in any order: a slightly different "
             "model on another number of ranks, or from run to run"},
    {.path = "collectives", .type = PARAM_CHOICE, .standard = "\"auto\"", .choices = FILES("auto", "gloo", "nccl"),
     .help = "how bytes move between ranks; auto: by memory that those of one machine share, else by TCP; gloo: all by TCP; "
             "nccl: between the GPUs that resources gives to each"},
};
static const struct op_rule train_rules[] = {
    {.with = "level", .value = "fast", .without = FILES("shards"), .strips = true,
     .way_out = "leave it out, or use level: elastic or repeat"},
    {.with = "range_test", .without = FILES("early_stop", "schedule", "warmup"),
     .way_out = "the test moves the learning rate itself, and ends when the loss rises: leave it out, or range_test"},
    {.with = "mixup", .without = FILES("class_weights", "balance", "model.mlp.embedding"),
     .way_out = "a mixed row has no one weight or category: leave it out, or mixup"},
    {.with = "optimizer.sgd.momentum", .value = "0", .without = FILES("optimizer.sgd.nesterov"),
     .way_out = "it looks ahead along the momentum: leave it out, or give a momentum"},
};
static const struct op_product train_products[] = {
    {.path = "accumulate", .times = "shards", .most = 1024, .what = "shards of a step"},
    {.path = "accumulate", .times = "batch", .most = 1048576, .what = "rows of a step"},
};
static const struct op_input train_inputs[] = {
    {"train", true, FILES("train.safetensors", "table.safetensors"), "rows to fit on"},
    {"validation", false, FILES("validation.safetensors"), "rows to stop and choose by"},
};
static const struct op_output train_outputs[] = {
    {"model.safetensors", "the model with its preprocessing"},
    {"history.json", "metrics of each epoch"},
};
static const struct op_output range_outputs[] = {
    {"range_test.json", "rates and losses of a range test"},
};

/* ---- train.xgboost ---- */
static const struct op_param xgboost_params[] = {
    {.path = "task", .type = PARAM_CHOICE, .standard = "\"auto\"",
     .choices = FILES("auto", "classification", "regression"),
     .help = "auto: classification for a category or a few whole numbers; decides the objective"},
    {.path = "rounds", .type = PARAM_INTEGER, .standard = "100", .min = 1, .max = 1000000,
     .help = "trees, or with more than two classes as many trees for each"},
    {.path = "eta", .type = PARAM_NUMBER, .min = 0, .above_min = true, .max = 1,
     .help = "learning rate: what a tree's leaves are multiplied by; default 0.3"},
    {.path = "learning_rate", .type = PARAM_NUMBER, .min = 0, .above_min = true, .max = 1,
     .help = "another name of eta"},
    {.path = "max_depth", .type = PARAM_INTEGER, .standard = "6", .min = 1, .max = 30,
     .help = "splits from a tree's root to its leaves"},
    {.path = "min_child_weight", .type = PARAM_NUMBER, .standard = "1", .min = 0, .max = 1e9,
     .help = "least sum of hessians in a leaf: rows, for numbers"},
    {.path = "gamma", .type = PARAM_NUMBER, .standard = "0", .min = 0, .max = 1e9,
     .help = "least reduction of the loss by a split"},
    {.path = "lambda", .type = PARAM_NUMBER, .standard = "1", .min = 0, .max = 1e9,
     .help = "L2 penalty on the leaves"},
    {.path = "alpha", .type = PARAM_NUMBER, .standard = "0", .min = 0, .max = 1e9,
     .help = "L1 penalty on the leaves"},
    {.path = "subsample", .type = PARAM_NUMBER, .standard = "1", .min = 0, .above_min = true, .max = 1,
     .help = "share of the rows that a round looks at"},
    {.path = "colsample_bytree", .type = PARAM_NUMBER, .standard = "1", .min = 0, .above_min = true, .max = 1,
     .help = "share of the inputs that a tree looks at"},
    {.path = "max_bin", .type = PARAM_INTEGER, .standard = "256", .min = 2, .max = 65536,
     .help = "thresholds that are tried for an input"},
    {.path = "tree_method", .type = PARAM_CHOICE, .standard = "\"hist\"", .choices = FILES("hist"),
     .help = "how trees are grown: over histograms"},
    {.path = "early_stop", .type = PARAM_GROUP, .help = "stop when validation does not get better"},
    {.path = "early_stop.patience", .type = PARAM_INTEGER, .standard = "10", .min = 1, .max = 1000000,
     .help = "rounds without a better val_loss; the model is that of the best"},
    {.path = "seed", .type = PARAM_INTEGER, .standard = "0", .min = 0, .max = 2147483647.0,
     .help = "of the samples of rows and inputs"},
};
static const struct op_rule xgboost_rules[] = {
    {.with = "eta", .without = FILES("learning_rate"), .way_out = "these are two names of one parameter: leave one out"},
};
static const struct op_output xgboost_outputs[] = {
    {"model.safetensors", "the trees with their preprocessing"},
    {"model.ubj", "the same trees as XGBoost's own file"},
    {"history.json", "metrics of each round, and what each feature gained"},
};

/* ---- eval.metrics ---- */
static const struct op_param eval_params[] = {
    {.path = "threshold", .type = PARAM_NUMBER, .standard = "0.5", .min = 0, .max = 1,
     .help = "two classes: probability from which the positive one is predicted"},
    {.path = "positive", .type = PARAM_TEXT, .help = "two classes: the positive one; default: the second"},
};
static const struct op_input eval_inputs[] = {
    {"model", true, FILES("model.safetensors"), "what is judged"},
    {"data", true, FILES("test.safetensors", "table.safetensors"), "on these rows"},
};
static const struct op_output eval_outputs[] = {
    {"metrics.json", "accuracy, F1, log loss, ROC AUC, confusion matrix …"},
    {"predictions.safetensors", "per row: true value, prediction, probabilities"},
};

/* ---- package.onnx ---- */
static const struct op_param onnx_params[] = {
    {.path = "name", .type = PARAM_TEXT, .help = "of the model in its card; default: the job's"},
    {.path = "license", .type = PARAM_TEXT, .standard = "\"unknown\"", .help = "licence of the model, as an SPDX or Hugging Face identifier"},
    {.path = "description", .type = PARAM_TEXT, .help = "what the model is for; opens the card"},
};
static const struct op_input onnx_inputs[] = {
    {"model", true, FILES("model.safetensors"), "what is exported"},
    {"metrics", false, FILES("metrics.json"), "evidence for the card"},
    {"profile", false, FILES("profile.json"), "data description for the card"},
};
static const struct op_output onnx_outputs[] = {
    {"model.onnx", "opset 17, preprocessing inside the graph"},
    {"README.md", "model card with Hugging Face front matter"},
};

/* ---- gate ---- */
static const struct op_param gate_params[] = {
    {.path = "require", .type = PARAM_CONDITIONS, .required = true,
     .help = "conditions like \"accuracy >= 0.95\", all of which must hold"},
    {.path = "on_inconclusive", .type = PARAM_CHOICE, .standard = "\"fail\"", .choices = FILES("fail", "pass"),
     .help = "what a metric that is missing or not a number means"},
};
static const struct op_input gate_inputs[] = {
    {"metrics", false, FILES("metrics.json"), "metrics to judge; those in the record count too"},
};
static const struct op_output gate_outputs[] = {
    {"verdict.json", "pass, fail or inconclusive, and each condition"},
};

/* ---- report ---- */
static const struct op_param report_params[] = {
    {.path = "title", .type = PARAM_TEXT, .help = "default: the job's name"},
};
static const struct op_input report_inputs[] = {
    {"metrics", false, FILES("metrics.json"), "evaluation to show"},
    {"history", false, FILES("history.json"), "learning curves to draw"},
    {"validation", false, FILES("validation.json"), "expectations to list"},
    {"profile", false, FILES("profile.json"), "data to describe"},
    {"verdict", false, FILES("verdict.json"), "gate to show"},
    {"range_test", false, FILES("range_test.json"), "learning rates to compare"},
};
static const struct op_output report_outputs[] = {
    {"report.html", "one self-contained page"},
};

static const struct op_schema schemas[] = {
    {.name = "noop", .help = "does nothing: joins or orders stages (the worker completes it, without a process)",
     .in_agent = true},
    {.name = "data.import", .help = "reads a CSV file into a typed, columnar table",
     .params = import_params, .param_count = MLQ_COUNT_OF(import_params),
     .outputs = import_outputs, .output_count = MLQ_COUNT_OF(import_outputs)},
    {.name = "data.arrays", .help = "reads arrays of samples and labels (IDX, NPY) into a table",
     .params = arrays_params, .param_count = MLQ_COUNT_OF(arrays_params),
     .outputs = arrays_outputs, .output_count = MLQ_COUNT_OF(arrays_outputs)},
    {.name = "data.validate", .help = "checks a table against an expectation suite",
     .params = validate_params, .param_count = MLQ_COUNT_OF(validate_params),
     .inputs = validate_inputs, .input_count = MLQ_COUNT_OF(validate_inputs),
     .outputs = validate_outputs, .output_count = MLQ_COUNT_OF(validate_outputs)},
    {.name = "data.split", .help = "splits a table into train, validation and test rows",
     .params = split_params, .param_count = MLQ_COUNT_OF(split_params),
     .inputs = split_inputs, .input_count = MLQ_COUNT_OF(split_inputs),
     .outputs = split_outputs, .output_count = MLQ_COUNT_OF(split_outputs)},
    {.name = "train.native", .help = "fits a model, data-parallel over its ranks",
     .params = train_params, .param_count = MLQ_COUNT_OF(train_params),
     .rules = train_rules, .rule_count = MLQ_COUNT_OF(train_rules),
     .products = train_products, .product_count = MLQ_COUNT_OF(train_products),
     .inputs = train_inputs, .input_count = MLQ_COUNT_OF(train_inputs),
     .outputs = train_outputs, .output_count = MLQ_COUNT_OF(train_outputs), .mode = "range_test",
     .mode_outputs = range_outputs, .mode_output_count = MLQ_COUNT_OF(range_outputs), .gang = true},
    {.name = "train.xgboost", .help = "fits boosted trees with XGBoost, on one rank and all its CPUs",
     .params = xgboost_params, .param_count = MLQ_COUNT_OF(xgboost_params),
     .rules = xgboost_rules, .rule_count = MLQ_COUNT_OF(xgboost_rules),
     .inputs = train_inputs, .input_count = MLQ_COUNT_OF(train_inputs),
     .outputs = xgboost_outputs, .output_count = MLQ_COUNT_OF(xgboost_outputs)},
    {.name = "eval.metrics", .help = "judges a model on held-out rows",
     .params = eval_params, .param_count = MLQ_COUNT_OF(eval_params),
     .inputs = eval_inputs, .input_count = MLQ_COUNT_OF(eval_inputs),
     .outputs = eval_outputs, .output_count = MLQ_COUNT_OF(eval_outputs)},
    {.name = "package.onnx", .help = "exports a model as ONNX, with a model card",
     .params = onnx_params, .param_count = MLQ_COUNT_OF(onnx_params),
     .inputs = onnx_inputs, .input_count = MLQ_COUNT_OF(onnx_inputs),
     .outputs = onnx_outputs, .output_count = MLQ_COUNT_OF(onnx_outputs)},
    {.name = "gate", .help = "passes or fails on metrics",
     .params = gate_params, .param_count = MLQ_COUNT_OF(gate_params),
     .inputs = gate_inputs, .input_count = MLQ_COUNT_OF(gate_inputs),
     .outputs = gate_outputs, .output_count = MLQ_COUNT_OF(gate_outputs)},
    {.name = "report", .help = "writes the job's results as one HTML page",
     .params = report_params, .param_count = MLQ_COUNT_OF(report_params),
     .inputs = report_inputs, .input_count = MLQ_COUNT_OF(report_inputs),
     .outputs = report_outputs, .output_count = MLQ_COUNT_OF(report_outputs)},
};

static const char *const names[] = {
    "noop",
    "data.import",  "data.arrays",  "data.validate", "data.split", "train.native",
    "train.xgboost", "eval.metrics", "package.onnx",  "gate",       "report",       NULL,
};

_Static_assert(MLQ_COUNT_OF(names) == MLQ_COUNT_OF(schemas) + 1, "a name for each schema");

const struct op_schema *op_schema_find(struct mlq_str name)
{
    for (size_t i = 0; i < MLQ_COUNT_OF(schemas); i++) {
        if (mlq_str_eq_c(name, schemas[i].name)) {
            return &schemas[i];
        }
    }
    return NULL;
}

size_t op_schema_count(void)
{
    return MLQ_COUNT_OF(schemas);
}

const struct op_schema *op_schema_at(size_t i)
{
    return &schemas[i];
}

const char *const *op_schema_names(void)
{
    return names;
}

const struct op_param *op_schema_param(const struct op_schema *schema, const char *path)
{
    for (size_t i = 0; i < schema->param_count; i++) {
        if (strcmp(schema->params[i].path, path) == 0) {
            return &schema->params[i];
        }
    }
    return NULL;
}

bool op_schema_is_child(const struct op_param *param, const char *parent, const char **leaf)
{
    size_t len = strlen(parent);
    const char *rest = param->path;
    if (len > 0) {
        if (strncmp(param->path, parent, len) != 0 || param->path[len] != '.') {
            return false;
        }
        rest = param->path + len + 1;
    }
    *leaf = rest;
    return strchr(rest, '.') == NULL;
}
