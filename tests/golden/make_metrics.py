#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: mlq authors
"""Writes tests/golden/metrics/*.json: predictions and what scikit-learn 1.2.1 says of them.

Run once, by hand, with scikit-learn==1.2.1 and numpy<1.25; the tests read only the files.
Probabilities are multiples of 1/10000, so that the files stay small and scores tie.
"""
import json
import os
import sys
import warnings

import numpy as np
import sklearn
from sklearn import metrics as m

assert sklearn.__version__ == "1.2.1", sklearn.__version__
warnings.simplefilter("ignore")
FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "metrics")


def classification(name, y, p, predicted=None, positive=1):
    y, p = np.asarray(y), np.asarray(p, dtype=float)
    k = p.shape[1]
    if predicted is None:
        predicted = p.argmax(axis=1)
    predicted = np.asarray(predicted)
    e = {
        "accuracy": m.accuracy_score(y, predicted),
        "balanced_accuracy": m.balanced_accuracy_score(y, predicted),
        "f1_micro": m.f1_score(y, predicted, average="micro", zero_division=0),
        "log_loss": m.log_loss(y, p, labels=list(range(k))),
    }
    for average in ("macro", "weighted"):
        e["precision_" + average] = m.precision_score(y, predicted, average=average, zero_division=0)
        e["recall_" + average] = m.recall_score(y, predicted, average=average, zero_division=0)
        e["f1_" + average] = m.f1_score(y, predicted, average=average, zero_division=0)
    if k == 2:
        binary = (y == positive).astype(int)
        e["brier"] = m.brier_score_loss(binary, p[:, positive])
        e["roc_auc"] = m.roc_auc_score(binary, p[:, positive]) if 0 < binary.sum() < len(y) else None
    else:
        whole = len(set(y.tolist())) == k
        e["roc_auc"] = m.roc_auc_score(y, p, multi_class="ovr", average="macro") if whole else None
    per = m.precision_recall_fscore_support(y, predicted, labels=list(range(k)), zero_division=0)
    write(name, {
        "kind": "classification", "classes": k, "positive": positive, "labels": y.tolist(),
        "predicted": predicted.tolist(), "probabilities": p.tolist(), "expected": e,
        "per_class": [[float(x) for x in row] for row in zip(*per)],
        "confusion": m.confusion_matrix(y, predicted, labels=list(range(k))).tolist(),
    })


def regression(name, y, predicted):
    y, predicted = np.asarray(y, dtype=float), np.asarray(predicted, dtype=float)
    mse = m.mean_squared_error(y, predicted)
    e = {
        "mse": mse, "rmse": m.mean_squared_error(y, predicted, squared=False),
        "mae": m.mean_absolute_error(y, predicted), "median_ae": m.median_absolute_error(y, predicted),
        "r2": m.r2_score(y, predicted) if len(y) > 1 else None,
    }
    write(name, {"kind": "regression", "truth": y.tolist(), "predicted": predicted.tolist(), "expected": e})


def write(name, case):
    case["source"] = "scikit-learn 1.2.1"
    with open(os.path.join(FOLDER, name + ".json"), "w", encoding="utf-8") as f:
        json.dump(case, f, separators=(",", ":"))
        f.write("\n")


def random_probabilities(rng, rows, k, sharpness, y):
    z = rng.normal(size=(rows, k)) + sharpness * np.eye(k)[y]
    q = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    whole = np.floor(q * 10000).astype(int)
    whole[:, -1] = 10000 - whole[:, :-1].sum(axis=1)
    return whole / 10000


def main():
    os.makedirs(FOLDER, exist_ok=True)
    rng = np.random.default_rng(20261123)
    y = rng.integers(0, 2, 300)
    classification("binary", y, random_probabilities(rng, 300, 2, 1.0, y))
    classification("binary_positive_first", y, random_probabilities(rng, 300, 2, 1.0, y), positive=0)
    p = random_probabilities(rng, 300, 2, 1.0, y)
    classification("binary_threshold", y, p, predicted=(p[:, 1] >= 0.3).astype(int))
    y = rng.integers(0, 2, 200)
    ties = rng.integers(0, 4, 200) / 4
    classification("ties", y, np.stack([1 - ties, ties], axis=1))
    y = np.array([0, 0, 1, 1, 1])
    classification("extreme", y, [[1, 0], [0, 1], [0, 1], [1, 0], [0.5, 0.5]])
    classification("perfect", [0, 1, 2, 1, 0], np.eye(3)[[0, 1, 2, 1, 0]])
    classification("all_wrong", [0, 1, 2, 1, 0], np.eye(3)[[1, 2, 0, 2, 1]])
    classification("one_true_class", [1, 1, 1, 1], [[0.2, 0.8], [0.6, 0.4], [0.1, 0.9], [0.5, 0.5]])
    y = rng.integers(0, 4, 120)
    p = random_probabilities(rng, 120, 4, 1.0, y)
    classification("class_never_predicted", y, p, predicted=np.where(p.argmax(axis=1) == 2, 1, p.argmax(axis=1)))
    y = rng.integers(0, 3, 90)
    classification("class_absent", y, random_probabilities(rng, 90, 5, 0.5, y))
    y = rng.integers(0, 3, 2000)
    classification("large", y, random_probabilities(rng, 2000, 3, 0.7, y))
    y = np.round(rng.normal(50, 20, 400), 3)
    regression("regression", y, np.round(y + rng.normal(0, 5, 400), 3))
    regression("regression_even", [1, 2, 3, 4], [1.5, 2, 2, 9])
    regression("regression_offset", 1e8 + np.arange(50.0), 1e8 + np.arange(50.0) + np.tile([0.25, -0.5], 25))
    regression("regression_constant", [3, 3, 3], [3, 4, 5])
    regression("regression_constant_perfect", [3, 3, 3], [3, 3, 3])
    regression("regression_one_row", [2], [3.5])
    return 0


if __name__ == "__main__":
    sys.exit(main())
