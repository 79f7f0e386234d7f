# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: mlq authors
"""Logistic regression with scikit-learn, from a CSV file to metrics of held-out rows: rival_sklearn.py FILE READER

READER is c or pyarrow, one of pandas' own. The pipeline in logistic.yaml does the same.
"""
import sys

import pandas
from sklearn import metrics
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

frame = pandas.read_csv(sys.argv[1], engine=sys.argv[2])
labels = (frame.pop("label") == "yes").to_numpy().astype(int)
fit_rows, test_rows, fit_labels, test_labels = train_test_split(
    frame.to_numpy(), labels, test_size=0.2, random_state=7, stratify=labels)
scaler = StandardScaler(copy=False).fit(fit_rows)
model = LogisticRegression(max_iter=200).fit(scaler.transform(fit_rows), fit_labels)
score = model.predict_proba(scaler.transform(test_rows))[:, 1]
found = score > 0.5
print(f"log_loss={metrics.log_loss(test_labels, score):.6f} roc_auc={metrics.roc_auc_score(test_labels, score):.6f}"
      f" accuracy={metrics.accuracy_score(test_labels, found):.6f} f1={metrics.f1_score(test_labels, found):.6f}"
      f" precision={metrics.precision_score(test_labels, found):.6f} recall={metrics.recall_score(test_labels, found):.6f}")
