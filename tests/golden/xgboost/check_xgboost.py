# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: mlq authors
"""train.xgboost against XGBoost's Python package and scikit-learn's HistGradientBoosting, on real data.

usage: check_xgboost.py MLQ_OP VENV SOURCE

Three things: Python's XGBoost reads model.ubj and predicts what eval.metrics predicted from
model.safetensors, to 1e-6; trained by Python with the same parameters on the same rows, the validation loss
is that of our history; and the test accuracy is no more than 0.03 below scikit-learn's. VENV is made on the
first run; without the packages the test is skipped (77) and says so.
"""
import csv
import json
import pathlib
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from rival import enter_venv, read_safetensors, run  # noqa: E402

PACKAGES = ["numpy", "xgboost-cpu", "scikit-learn"]
PARAMETERS = {"rounds": 60, "eta": 0.2, "max_depth": 4, "min_child_weight": 2, "lambda": 1.5, "alpha": 0.01, "gamma": 0.01, "max_bin": 64}


def read_rows(path, classes):
    """(inputs, labels) as train.xgboost gives them to XGBoost; all features of these tables are numbers."""
    import numpy

    metadata, tensors = read_safetensors(path)
    schema = json.loads(metadata["mlq.table"])
    features = [c["name"] for c in schema["columns"] if c["role"] == "feature"]
    (target,) = [c for c in schema["columns"] if c["role"] == "target"]
    labels = tensors[target["name"]]
    if classes:
        texts = target["dictionary"] if target["kind"] == "category" else None
        labels = [classes.index(texts[v] if texts else str(int(v))) for v in labels]
    return features, numpy.stack([tensors[n] for n in features], axis=1).astype("f4"), numpy.array(labels)


# ---- Data sets: (CSV, parameters of data.import, task) ----


def with_holes(source, scratch):
    """Breast cancer with a tenth of its cells missing."""
    import random

    chance = random.Random(5)
    with (source / "examples/breast-cancer/breast_cancer.csv").open(newline="") as file:
        names, *rows = list(csv.reader(file))
    path = scratch / "holes.csv"
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(names)
        out.writerows([["" if chance.random() < 0.1 else v for v in row[:-1]] + row[-1:] for row in rows])
    return path


def data_sets(source, scratch):
    cancer, diagnosis = source / "examples/breast-cancer/breast_cancer.csv", {"target": "diagnosis"}
    return {
        "digits": (source / "examples/digits/digits.csv", {"target": "label"}, "classification"),
        "breast cancer": (cancer, diagnosis, "classification"),
        "breast cancer with holes": (with_holes(source, scratch), diagnosis, "classification"),
        "mean area": (cancer, {"target": "mean_area", "types": {"diagnosis": "ignore"}}, "regression"),
    }


# ---- The comparisons ----


def compare_predictions(booster, inputs, evaluation):
    import numpy
    import xgboost

    _, ours = read_safetensors(evaluation / "predictions.safetensors")
    theirs = booster.predict(xgboost.DMatrix(inputs), validate_features=False)
    if "probabilities" not in ours:
        scale = float(numpy.std(ours["true"]))
        return numpy.max(numpy.abs(theirs - ours["predicted"])) / scale
    theirs = theirs if theirs.ndim == 2 else numpy.stack([1 - theirs, theirs], axis=1)
    return numpy.max(numpy.abs(theirs - ours["probabilities"]))


def train_in_python(train, validation, model, rounds):
    """The validation loss of each round, by Python."""
    import xgboost

    classes = len(model.get("classes", []))
    parameters = {key: value for key, value in PARAMETERS.items() if key != "rounds"}
    parameters |= {"tree_method": "hist", "base_score": 0.5, "nthread": 2}
    parameters |= {"objective": "multi:softprob", "num_class": classes, "eval_metric": "mlogloss"} if classes > 2 else {}
    parameters |= {"objective": "binary:logistic", "eval_metric": "logloss"} if classes == 2 else {}
    if classes == 0:
        parameters |= {"objective": "reg:squarederror", "eval_metric": "rmse", "base_score": float(train[2].mean())}
    matrices = [xgboost.DMatrix(inputs, label=labels) for _, inputs, labels in (train, validation)]
    found = {}
    xgboost.train(parameters, matrices[0], rounds, evals=[(matrices[1], "validation")], evals_result=found, verbose_eval=False)
    return list(found["validation"].values())[0]


def sklearn_score(train, test, classes):
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    make = HistGradientBoostingClassifier if classes else HistGradientBoostingRegressor
    theirs = make(max_iter=PARAMETERS["rounds"], learning_rate=PARAMETERS["eta"], early_stopping=False, random_state=0)
    return theirs.fit(train[1], train[2]).score(test[1], test[2])


def check(op, scratch, source, name, made):
    import xgboost

    path, import_with, task = made
    folder = scratch / name.replace(" ", "-")
    folder.mkdir()
    data = run(op, "data.import", folder / "data", import_with, path=path) / "table.safetensors"
    split = run(op, "data.split", folder / "split", {"test": 0.25, "validation": 0.15, "seed": 7}, data=data)
    files = {part: split / f"{part}.safetensors" for part in ("train", "validation", "test")}
    out = run(op, "train.xgboost", folder / "train", {**PARAMETERS, "task": task}, train=files["train"], validation=files["validation"])
    evaluation = run(op, "eval.metrics", folder / "eval", {}, model=out / "model.safetensors", data=files["test"])
    model = json.loads(read_safetensors(out / "model.safetensors")[0]["mlq.model"])
    rows = {part: read_rows(file, model.get("classes")) for part, file in files.items()}

    booster = xgboost.Booster(model_file=str(out / "model.ubj"))
    assert booster.feature_names == rows["train"][0]
    apart = compare_predictions(booster, rows["test"][1], evaluation)
    assert apart <= 1e-6, f"{name}: the predictions are {apart} apart"

    history = json.loads((out / "history.json").read_text())["epochs"]
    ours = [row["val_rmse" if task == "regression" else "val_loss"] for row in history]
    theirs = train_in_python(rows["train"], rows["validation"], model, len(history))
    drift = max(abs(a - b) / b for a, b in zip(ours, theirs))
    assert drift <= 1e-3, f"{name}: the validation losses are {drift} apart"

    metrics = json.loads((evaluation / "metrics.json").read_text())
    mine = metrics["r2" if task == "regression" else "accuracy"]
    rival = sklearn_score(rows["train"], rows["test"], model.get("classes"))
    assert mine >= rival - 0.03, f"{name}: {mine}, but scikit-learn {rival}"
    print(f"{name}: predictions at most {apart:.1g} apart, losses {drift:.1g}; score {mine:.4f}, HistGradientBoosting {rival:.4f}")


def main():
    op, venv, source = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
    enter_venv(venv, PACKAGES, "numpy, xgboost, sklearn", "train.xgboost was NOT compared with XGBoost for Python")
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        for name, made in data_sets(source, scratch).items():
            check(op, scratch, source, name, made)


if __name__ == "__main__":
    main()
