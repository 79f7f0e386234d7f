# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: mlq authors
"""Runs the operators `report` and `gate` as a worker would, and judges what they leave.

usage: check_report.py MLQ_OP FOLDER-OF-FIXTURES

The control socket is served here, with the record of the fixtures. The page is read by two parsers that
have nothing to do with mlq: Python's HTML parser and expat.
"""
import html.parser
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import threading
import xml.parsers.expat

BANNED_TAGS = {"script", "link", "img", "iframe", "object", "embed", "base", "form", "image", "use"}
INPUTS = ("metrics", "history", "validation", "profile", "verdict")


class Control:
    """MLQ_CONTROL: answers `record`, and keeps the metrics that it is told."""

    def __init__(self, folder, record):
        self.path = str(folder / "control")
        self.record = record
        self.metrics = {}
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(self.path)
        self.listener.listen(1)
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            peer, _ = self.listener.accept()
            with peer, peer.makefile("rwb") as lines:
                for line in lines:
                    words = line.decode().split()
                    if words[0] == "record":
                        lines.write(b"data %d\n" % len(self.record) + self.record)
                    else:
                        if words[0] == "metric":
                            self.metrics[words[1]] = float(words[2])
                        lines.write(b"ok go\n")
                    lines.flush()


class Page(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags = {}
        self.words = []
        self.ids = []
        self.targets = []

    def handle_starttag(self, tag, attrs):
        self.tags[tag] = self.tags.get(tag, 0) + 1
        assert tag not in BANNED_TAGS, f"the page has a <{tag}>"
        for name, value in attrs:
            assert not name.startswith("on"), f"{tag} has the handler {name}"
            assert name not in ("src", "srcset", "action", "xlink:href", "formaction"), f"{tag} loads {value}"
            if name == "href":
                assert value.startswith("#"), f"a link leads to {value}"
                self.targets.append(value[1:])
            if name == "id":
                self.ids.append(value)
        if tag == "svg":
            assert dict(attrs).get("role") == "img" and "aria-labelledby" in dict(attrs)

    def handle_data(self, data):
        self.words.append(data)


def judge_page(path):
    text = path.read_text(encoding="utf-8")
    xml.parsers.expat.ParserCreate().Parse(text, True)
    page = Page()
    page.feed(text)
    page.close()
    assert len(page.ids) == len(set(page.ids)), "an id stands twice"
    missing = set(page.targets) - set(page.ids)
    assert not missing, f"links lead nowhere: {missing}"
    assert page.tags["svg"] >= 3 and page.tags["h1"] == 1
    style = text[text.index("<style>"):text.index("</style>")]
    for word in ("url(", "@import", "@font-face"):
        assert word not in style, f"the style has {word}"
    for mark in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069":
        assert mark not in text, f"U+{ord(mark):04X} is in the page"
    return " ".join(page.words), page


def run(op, name, folder, with_, inputs, record, stage):
    out = folder / "out"
    out.mkdir()
    (folder / "with.json").write_text(json.dumps(with_))
    env = {"PATH": os.environ["PATH"], "MLQ_WITH": str(folder / "with.json"), "MLQ_OUTPUT": str(out), "MLQ_STAGE": stage}
    for key in ("ASAN_OPTIONS", "UBSAN_OPTIONS"):
        if key in os.environ:
            env[key] = os.environ[key]
    env.update({f"MLQ_INPUT_{key.upper()}": str(path) for key, path in inputs.items()})
    control = None
    if record is not None:
        control = Control(folder, record)
        env["MLQ_CONTROL"] = control.path
    done = subprocess.run([op, name], env=env, capture_output=True, text=True, timeout=200)
    return done, out, control


def check_reports(op, fixtures):
    for name in ("digits", "hostile"):
        with tempfile.TemporaryDirectory() as scratch:
            inputs = {key: fixtures / f"{name}.{key}.json" for key in INPUTS}
            record = (fixtures / f"{name}.record.json").read_bytes()
            done, out, _ = run(op, "report", pathlib.Path(scratch), {"title": None}, inputs, record, "report")
            assert done.returncode == 0, done.stderr
            words, page = judge_page(out / "report.html")
            if name == "digits":
                assert page.tags["svg"] == 4 and "0.9751" in words and "model.safetensors" in words
            else:
                assert "<script>alert(1)</script>" in words
    with tempfile.TemporaryDirectory() as scratch:  # nothing at all, and an input that is no JSON
        folder = pathlib.Path(scratch)
        (folder / "metrics.json").write_text("{")
        done, out, _ = run(op, "report", folder, {"title": "A <b>title</b>"}, {"metrics": folder / "metrics.json"}, None, "report")
        assert done.returncode == 0, done.stderr
        assert "without the input 'metrics'" in done.stderr and "without the job's record" in done.stderr
        assert "A &lt;b&gt;title&lt;/b&gt;" in (out / "report.html").read_text(encoding="utf-8")


def check_gates(op, fixtures):
    record = (fixtures / "digits.record.json").read_bytes()
    metrics = {"metrics": fixtures / "digits.metrics.json"}
    cases = [  # require, on_inconclusive, inputs, record, exit, verdict, gate_pass
        (["accuracy >= 0.95", "log_loss < 0.2 and f1_macro > 0.9"], "fail", metrics, record, 0, "pass", 1.0),
        (["accuracy >= 0.99"], "fail", metrics, record, 1, "fail", 0.0),
        (["accuracy >= 0.95"], "fail", {}, record, 0, "pass", 1.0),
        (["train.val_loss < 0.5"], "fail", {}, record, 0, "pass", 1.0),
        (["fairness > 0.5"], "fail", metrics, record, 1, "inconclusive", 0.0),
        (["fairness > 0.5"], "pass", metrics, record, 0, "inconclusive", 1.0),
        (["fairness > 0.5", "accuracy > 2"], "pass", metrics, record, 1, "fail", 0.0),
        (["accuracy >= 0.95"], "fail", {}, None, 1, "inconclusive", None),
    ]
    for require, unknown, inputs, facts, code, verdict, passed in cases:
        with tempfile.TemporaryDirectory() as scratch:
            done, out, control = run(op, "gate", pathlib.Path(scratch), {"require": require, "on_inconclusive": unknown}, inputs, facts, "gate")
            assert done.returncode == code, (require, done.stderr)
            written = json.loads((out / "verdict.json").read_text())
            assert written["verdict"] == verdict, (require, written)
            assert len(done.stdout.splitlines()) == len(written["conditions"])
            assert control is None or control.metrics["gate_pass"] == passed, (require, control.metrics)
    for require in ([], ["accuracy"], [5], "accuracy > 1", None):
        with tempfile.TemporaryDirectory() as scratch:
            done, _, _ = run(op, "gate", pathlib.Path(scratch), {"require": require}, metrics, record, "gate")
            assert done.returncode == 1 and "require" in done.stderr, (require, done.stderr)


def main():
    op, fixtures = sys.argv[1], pathlib.Path(sys.argv[2])
    check_reports(op, fixtures)
    check_gates(op, fixtures)
    print("the report and the gate hold")


if __name__ == "__main__":
    main()
