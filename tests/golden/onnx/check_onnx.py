# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: mlq authors
"""package.onnx against onnxruntime: the same probabilities as eval.metrics, to 1e-5, over a whole test table.

usage: check_onnx.py MLQ_OP VENV SOURCE

Tables are written here in the format of worker/op/table.h; train.native or train.xgboost fits, eval.metrics predicts,
package.onnx exports, and onnxruntime predicts again from raw values. Then the file is checked by onnx.checker, the
card's front matter is read as YAML, and the example in the card is run as it stands. VENV is made on the
first run; without onnxruntime the test is skipped (77) and says so.
"""
import csv
import json
import math
import os
import pathlib
import random
import re
import struct
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from rival import enter_venv, read_safetensors, run  # noqa: E402

PACKAGES = ["numpy", "onnxruntime", "onnx", "pyyaml"]
TOLERANCE = 1e-5


# ---- Tables: worker/ml reads what is written here ----


def write_safetensors(path, tensors, metadata):
    header = {"__metadata__": metadata}
    at = 0
    for name, dtype, shape, data in tensors:
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(data for *_, data in tensors))


def write_table(path, columns, rows):
    """columns: [(name, kind, role)], rows: lists with None for missing."""
    described, numbers, codes = [], [], []
    for i, (name, kind, role) in enumerate(columns):
        values = [row[i] for row in rows]
        entry = {"name": name, "kind": kind, "role": role}
        if kind == "number":
            data = struct.pack(f"<{len(rows)}d", *[math.nan if v is None else v for v in values])
            numbers.append((name, "F64", [len(rows)], data))
            entry["integer"] = all(v is None or float(v).is_integer() for v in values)
        else:
            words = sorted({v for v in values if v is not None}, key=lambda v: v.encode())
            index = {word: code for code, word in enumerate(words)}
            data = struct.pack(f"<{len(rows)}i", *[-1 if v is None else index[v] for v in values])
            codes.append((name, "I32", [len(rows)], data))
            entry["dictionary"] = words
        described.append(entry)
    schema = {"version": 1, "rows": len(rows), "columns": described}
    write_safetensors(path, numbers + codes, {"mlq.table": json.dumps(schema)})


# ---- Data sets: (columns, training rows, test rows, parameters) ----


def digits(source):
    """Real data where the example is there, else numbers of the same shape."""
    path = source / "examples" / "digits" / "digits.csv"
    if path.exists():
        with path.open(newline="") as file:
            names, *rows = list(csv.reader(file))
        rows = [[float(v) for v in row[:-1]] + [row[-1]] for row in rows]
    else:
        chance = random.Random(1)
        names = [f"p{i}" for i in range(64)] + ["label"]
        rows = []
        for _ in range(900):
            label = chance.randrange(10)
            rows.append([float(min(16, max(0, round(chance.gauss((label * (i + 3)) % 17, 3))))) for i in range(64)] + [str(label)])
    columns = [(name, "number", "feature") for name in names[:-1]] + [(names[-1], "category", "target")]
    cut = len(rows) * 4 // 5
    return columns, rows[:cut], rows[cut:], {"model": {"mlp": {"hidden": [64, 32]}}, "epochs": 5}


def images(source):
    """The same as images: every kind of layer between pixels and outputs."""
    columns, train, test, _ = digits(source)
    cnn = {"image": [8, 8, 1], "channels": [6, 8], "depth": 3, "residual": True, "depthwise": True, "hidden": [16],
           "activation": "gelu", "dropout": 0.1, "pool": "average"}
    return columns, train, test, {"model": {"cnn": cnn}, "epochs": 2}


def colours(_):
    """Images of three channels, not square, flattened without a norm; small enough to be noise."""
    chance = random.Random(4)
    columns = [(f"p{i}", "number", "feature") for i in range(6 * 5 * 3)] + [("kind", "category", "target")]

    def row():
        kind = chance.randrange(3)
        return [chance.gauss(kind if i % 3 == kind else 0, 1) for i in range(6 * 5 * 3)] + ["rgb"[kind]]

    cnn = {"image": [6, 5, 3], "channels": [5, 7], "kernel": 3, "norm": False, "activation": "tanh", "head": "mean", "hidden": []}
    return columns, [row() for _ in range(300)], [row() for _ in range(100)], {"model": {"cnn": cnn}, "epochs": 2}


def mixed(_):
    """Categories and missing values, names that collide with ours, values that training never saw."""
    chance = random.Random(2)
    cities = ["Lyon", "Oslo", "Århus", "<b>\"quoted\"</b>", "京都", "it's"]
    columns = [
        ("age", "number", "feature"),
        ("city | of *birth*", "category", "feature"),
        ("income", "number", "feature"),
        ("when", "number", "feature"),
        ("probabilities", "number", "feature"),
        ("mlq/x \\ \"y\"", "category", "feature"),
        ("empty", "number", "feature"),
        ("id", "category", "key"),
        ("label", "category", "feature"),
        ("bought", "category", "target"),
    ]

    def row(known):
        city = chance.choice(cities if known else cities + ["Atlantis", "Ys"])
        age = chance.uniform(18, 90)
        yes = age > 50 or city in ("Oslo", "京都")
        yes = yes if chance.random() > 0.1 else not yes
        return [
            None if chance.random() < 0.2 else age,
            None if chance.random() < 0.2 else city,
            chance.lognormvariate(10, 2),
            chance.randrange(1000),
            chance.random(),
            chance.choice(["a", "b", None]),
            None,
            str(chance.random()),
            chance.choice(["x", "y"]),
            "yes" if yes else "no",
        ]

    return columns, [row(True) for _ in range(500)], [row(False) for _ in range(200)], {"model": {"softmax": {}}, "epochs": 4}


def odds(source):
    """Two classes by one logit."""
    columns, train, test, _ = mixed(source)
    mlp = {"hidden": [8], "activation": "gelu", "dropout": 0.2}
    return columns, train, test, {"model": {"mlp": mlp}, "loss": "bce", "class_weights": {"yes": 2.5}, "epochs": 4}


def embedded(source):
    """Categories as learned vectors, among numbers and small categories."""
    columns, train, test, _ = mixed(source)
    return columns, train, test, {"model": {"mlp": {"hidden": [8], "embedding": 3}}, "epochs": 4}


def prices(_):
    """Regression, with a time stamp that a float cannot hold."""
    chance = random.Random(3)
    columns = [("size", "number", "feature"), ("sold at", "number", "feature"), ("price", "number", "target")]

    def row():
        size, when = chance.uniform(20, 200), 1.7e9 + chance.uniform(0, 4000)
        return [None if chance.random() < 0.1 else size, when, 250000 + 3000 * size + 20 * (when - 1.7e9) + chance.gauss(0, 500) + 0.25]

    return columns, [row() for _ in range(500)], [row() for _ in range(150)], {"model": {"mlp": {"hidden": [16]}}, "epochs": 10, "task": "regression"}


def trees(source, make):
    columns, train, test, with_ = make(source)
    more = {"task": with_["task"]} if "task" in with_ else {}
    return columns, train, test, {"uses": "train.xgboost", "rounds": 20, "max_depth": 5, "subsample": 0.8, "colsample_bytree": 0.7, **more}


def digits_by_trees(source):
    """A tree for each class and round."""
    return trees(source, digits)


def mixed_by_trees(source):
    """What is missing stays missing, in numbers and in categories."""
    return trees(source, mixed)


def prices_by_trees(source):
    return trees(source, prices)


# ---- The chain ----


def feed(session, columns, rows):
    """Raw values as a user has them, by the names that the model itself tells."""
    import numpy

    types = {"tensor(float)": numpy.float32, "tensor(double)": numpy.float64, "tensor(string)": object}
    place = {name: i for i, (name, _, _) in enumerate(columns)}
    missing = {numpy.float32: math.nan, numpy.float64: math.nan, object: ""}
    inputs = {}
    for given in session.get_inputs():
        kind = types[given.type]
        if given.name == "features":
            names = json.loads(session.get_modelmeta().custom_metadata_map["mlq.features"])
        else:
            names = [given.name.removeprefix("column:")]
        assert given.shape == ["N", len(names)]
        values = [[missing[kind] if row[place[n]] is None else row[place[n]] for n in names] for row in rows]
        inputs[given.name] = numpy.array(values, dtype=kind).reshape(len(rows), len(names))
    return inputs


def compare(session, columns, rows, predictions):
    import numpy

    metadata, expected = predictions
    found = dict(zip([o.name for o in session.get_outputs()], session.run(None, feed(session, columns, rows))))
    first = dict(zip([o.name for o in session.get_outputs()], session.run(None, feed(session, columns, rows[:1]))))
    if metadata["task"] == "regression":
        truth = expected["predicted"]
        assert found["prediction"].shape == (len(rows), 1)
        worst = numpy.max(numpy.abs(found["prediction"][:, 0] - truth) / max(1.0, float(numpy.std(truth))))
    else:
        worst = numpy.max(numpy.abs(found["probabilities"] - expected["probabilities"]))
        classes = json.loads(metadata["classes"])
        sure = numpy.max(expected["probabilities"], axis=1) - numpy.sort(expected["probabilities"], axis=1)[:, -2] > 1e-4
        chosen = numpy.argmax(expected["probabilities"], axis=1)
        assert (found["class_index"] == chosen)[sure].all()
        assert [classes[i] for i in found["class_index"]] == list(found["label"])
        assert numpy.allclose(first["probabilities"][0], found["probabilities"][0], atol=1e-6)
    assert worst <= TOLERANCE, f"they differ by {worst}"
    return worst


def check_card(folder, name):
    import yaml

    text = (folder / "README.md").read_text(encoding="utf-8")
    _, front, body = text.split("---\n", 2)
    front = yaml.safe_load(front)
    assert front["library_name"] == "onnx" and front["pipeline_tag"].startswith("tabular-")
    assert front["license"] == "apache-2.0" and "NOT PROVIDED" in body
    metrics = front["model-index"][0]["results"][0]["metrics"]
    written = json.loads((folder.parent / "eval" / "metrics.json").read_text())
    for metric in metrics:
        assert written[metric["type"]] == metric["value"], metric
    assert len(metrics) >= 4
    assert f"# {name}" in body and "## Limitations" in body and "## Evaluation" in body
    widths = [len(re.findall(r"(?<!\\)\|", line)) for line in body.splitlines() if line.startswith("|")]
    assert set(widths) <= {3, 4}, "a name breaks out of its table"
    (snippet,) = re.findall(r"^```python\n(.*?)^```$", body, re.S | re.M)
    done = subprocess.run([sys.executable, "-c", snippet], cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and done.stdout.strip(), f"the card's example fails:\n{snippet}\n{done.stderr}"


def check(op, scratch, name, made):
    import onnx
    import onnxruntime

    columns, train_rows, test_rows, with_ = made
    folder = scratch / name
    folder.mkdir()
    write_table(folder / "train.safetensors", columns, train_rows)
    write_table(folder / "test.safetensors", columns, test_rows)
    uses = with_.pop("uses", "train.native")
    native = {"batch": 32, "optimizer": {"adamw": {"lr": 0.01}}} if uses == "train.native" else {}
    with_ = {**native, "seed": 3, **with_}
    model = run(op, uses, folder / "train", with_, train=folder / "train.safetensors") / "model.safetensors"
    evaluation = run(op, "eval.metrics", folder / "eval", {}, model=model, data=folder / "test.safetensors")
    out = run(op, "package.onnx", folder / "package", {"name": name, "license": "apache-2.0", "description": "A *test*."},
              model=model, metrics=evaluation / "metrics.json")
    proto = onnx.load(out / "model.onnx")
    onnx.checker.check_model(proto, full_check=True)
    assert proto.ir_version == 8 and [(s.domain, s.version) for s in proto.opset_import] == [("", 17), ("ai.onnx.ml", 3)]
    assert proto.producer_name == "mlq" and proto.doc_string == "A *test*."
    session = onnxruntime.InferenceSession(str(out / "model.onnx"), providers=["CPUExecutionProvider"])
    worst = compare(session, columns, test_rows, read_safetensors(evaluation / "predictions.safetensors"))
    check_card(out, name)
    print(f"{name}: {len(test_rows)} rows, {len(session.get_inputs())} inputs, at most {worst:.2g} apart")


def main():
    op, venv, source = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
    enter_venv(venv, PACKAGES, "numpy, onnxruntime, onnx, yaml", "the ONNX export was NOT compared with onnxruntime")
    with tempfile.TemporaryDirectory() as scratch:
        for make in (digits, images, colours, mixed, odds, embedded, prices, digits_by_trees, mixed_by_trees, prices_by_trees):
            check(op, pathlib.Path(scratch), make.__name__, make(source))


if __name__ == "__main__":
    main()
