#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: mlq authors
"""Training: rivals, the machine's own limit and mlq in turns, as lines for tests/bench/table.py. tests/bench/run.sh starts it.

    train.py --build BUILD --results FILE [--quick | --smoke] [--repeats N] [--torch PYTHON]... [--sklearn PYTHON] [SECTION ...]

Of a rival, and of mlq where it has a choice, each setting is tried once; the best one is measured. --smoke shows that all
programs work, and what it measures means nothing.
"""
import argparse
import concurrent.futures
import json
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(HERE)))
sys.path[:0] = [os.path.join(ROOT, "tests", "elastic"), os.path.dirname(HERE)]

import elastic
import train_levels
from gang import Failure, Gang
from networks import CLASSES, NETWORKS, flop_per_sample

FASHION = "/usr/share/datasets/fashion-mnist"
SHARDS = 8  # the default
TURNS = 3
SMOKE_ROWS = 512


class Bench:
    def __init__(self, options):
        self.bin = os.path.join(options.build, "bin")
        self.quick, self.smoke, self.repeats = options.quick or options.smoke, options.smoke, options.repeats
        self.turns = 1 if options.smoke else TURNS
        self.torch, self.sklearn = options.torch, options.sklearn
        self.results = open(options.results, "a", encoding="utf-8")
        self.folder = tempfile.mkdtemp(prefix="mlq-bench-train.")
        os.chmod(self.folder, 0o755)
        self.env = dict(os.environ, PATH=f"{self.bin}:{os.environ['PATH']}", MLQ_HOME=self.folder + "/home")

    def epochs(self, name):
        """Of which the first one does not count."""
        epochs = NETWORKS[name][2]
        return 2 if self.smoke else max(2, epochs // 3) if self.quick else epochs

    def rows(self, name):
        return SMOKE_ROWS if self.smoke else NETWORKS[name][1]

    def say(self, text):
        print("==", text, file=sys.stderr, flush=True)

    def record(self, section, who, what, words):
        text = " ".join(f"{name}={value:.6g}" for name, value in words.items())
        self.results.write(f"{section}\t{who}\t{what}\t{text}\n")
        self.results.flush()
        self.say(f"{section} {who} ({what}): {text}")

    def run(self, *command, **more):
        """What a program says in name=value words."""
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True, env=dict(self.env, **more))
        if done.returncode != 0:
            raise Failure(f"{' '.join(map(str, command))}: exit {done.returncode}: {done.stderr[-2000:]}")
        return {name: float(value) for name, value in re.findall(r"(\w+)=([0-9.eE+-]+)", done.stdout)}

    def best(self, what, candidates, measure, of="samples_per_s"):
        """Each candidate once; the best one, or None when none works here."""
        tried = []
        for candidate in candidates:
            try:
                tried.append((measure(candidate)[of], candidate))
                self.say(f"tried {what} {candidate}: {of}={tried[-1][0]:.6g}")
            except Failure as failure:
                self.say(f"{what} {candidate} does not work here: {str(failure).splitlines()[-1]}")
        sign = 1 if of == "samples_per_s" else -1
        return max(tried, key=lambda one: sign * one[0])[1] if tried else None

    def cluster(self):
        """A fresh one, as a user's."""
        self.stop()
        subprocess.run(["mlq", "up", "--workers", "2", "--cpus", "2", "--memory", "6Gi"], env=self.env, check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def stop(self):
        subprocess.run(["mlq", "down", "--purge", "-y"], env=self.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def pipeline(self, path, *settings):
        """Seconds from submission to the end, and the metrics of stage eval."""
        start = time.monotonic()
        done = subprocess.run(["mlq", "submit", path, "--wait", "-q", *settings], env=self.env, capture_output=True, text=True)
        seconds = time.monotonic() - start
        if done.returncode != 0:
            raise Failure(f"{path}: exit {done.returncode}: {done.stderr[-2000:]}")
        text = subprocess.run(["mlq", "show", "last", "--json"], env=self.env, capture_output=True, text=True, check=True).stdout
        stages = {stage["name"]: stage for stage in json.loads(text)["job"]["stages"]}
        return {"seconds": seconds, **stages["eval"]["metrics"]}


# ---- Networks ----

def make_table(bench, name):
    """Random images and labels, as train.native reads them."""
    inputs, rows = NETWORKS[name][0], bench.rows(name)
    folder = os.path.join(bench.folder, name)
    os.makedirs(folder)
    for what, shape in (("samples", (rows, inputs)), ("labels", (rows,))):
        data = os.urandom(rows * inputs) if what == "samples" else bytes(os.urandom(1)[0] % CLASSES for _ in range(rows))
        with open(f"{folder}/{what}.idx", "wb") as file:
            file.write(bytes([0, 0, 8, len(shape)]) + b"".join(count.to_bytes(4, "big") for count in shape) + data)
    with open(f"{folder}/with.json", "w") as file:
        json.dump({"samples": "samples", "labels": "labels"}, file)
    bench.run(f"{bench.bin}/mlq-op", "data.arrays", MLQ_WITH=f"{folder}/with.json", MLQ_OUTPUT=folder,
              MLQ_INPUT_SAMPLES=f"{folder}/samples.idx", MLQ_INPUT_LABELS=f"{folder}/labels.idx")
    return f"{folder}/table.safetensors"


def train(bench, name, table, ranks, parameters, place="alone"):
    """One training by real processes of mlq-op, one thread each (tests/elastic/gang.py)."""
    common, epochs = NETWORKS[name][3], bench.epochs(name)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    folder = os.path.join(bench.folder, place, "training")
    shutil.rmtree(os.path.join(bench.folder, place), ignore_errors=True)
    os.makedirs(os.path.join(bench.folder, place))
    gang = Gang(f"{bench.bin}/mlq-op", folder, {"MLQ_INPUT_TRAIN": table}, {**common, "epochs": epochs, "seed": 1, **parameters})
    os.makedirs(gang.checkpoints, exist_ok=True)
    gang.start(ranks)
    gang.run(limit_s=600)
    if any(member.status for member in gang.members):
        raise Failure(f"{name}: {[member.status for member in gang.members]}\n{gang.log(0)[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    with open(os.path.join(gang.winner().output, "history.json")) as file:
        speeds = [epoch["samples_per_second"] for epoch in json.load(file)["epochs"]][1:]
    cpu_s = after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime
    return {"samples_per_s": len(speeds) / sum(1 / speed for speed in speeds), "cpu_us": cpu_s * 1e6 / (bench.rows(name) * epochs)}


def train_side_by_side(bench, name, table, count, parameters):
    """Samples a second of trainings of one rank each, at once, which have nothing to tell each other: more than so many
    ranks of one training can do."""
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        runs = [pool.submit(train, bench, name, table, 1, parameters, f"beside-{i}") for i in range(count)]
        return {"samples_per_s": sum(run.result()["samples_per_s"] for run in runs)}


def rival_settings(bench, name, threads):
    layouts = [[], ["channels-last"]] if name.startswith("cnn") else [[]]
    kernels = [[], ["no-mkldnn"], ["compile"]]
    return [(python, threads, *layout, *kernel) for python in bench.torch for layout in layouts for kernel in kernels]


def rival(bench, name, setting):
    python, threads, *words = setting
    core = {"OPENBLAS_CORETYPE": "SkylakeX"} if has_avx512() else {}  # for builds with OpenBLAS, which may not know this CPU
    return bench.run(python, f"{HERE}/rival_torch.py", name, bench.rows(name), bench.epochs(name), threads, *words, OMP_NUM_THREADS=str(threads),
                     OPENBLAS_NUM_THREADS=str(threads), **core)


def has_avx512():
    with open("/proc/cpuinfo") as file:
        return " avx512f " in file.read()


def label_of(setting):
    return " ".join(["PyTorch", *(["1 thread"] if setting[1] == 1 else [f"{setting[1]} threads"]), *setting[2:]])


def section_networks(bench, name):
    table = make_table(bench, name)
    one = bench.best("PyTorch", rival_settings(bench, name, 1), lambda setting: rival(bench, name, setting))
    two = rival_settings(bench, name, 2) + ([one] if one else [])  # one thread may be faster
    settings = {1: one, 2: bench.best("PyTorch", two, lambda setting: rival(bench, name, setting))}
    parallel = bench.best("PyTorch", [(*one, "ddp")] if one else [], lambda setting: rival(bench, name, setting))
    for _ in range(bench.repeats):
        for ranks in (1, 2):
            section = f"{name}-{ranks}"
            if settings[ranks]:
                bench.record(section, "rival", label_of(settings[ranks]), rival(bench, name, settings[ranks]))
            for shards in (ranks, SHARDS):
                bench.record(section, "mlq", f"shards: {shards}", train(bench, name, table, ranks, {"shards": shards}))
            bench.record(section, "limit", "products alone",
                         bench.run(f"{bench.bin}/bench_gemm", ranks, flop_per_sample(name)))
        measure_second_rank(bench, name, table, one, parallel)


def measure_second_rank(bench, name, table, one, parallel):
    """What it brings, by the means of short turns: a machine that others share is not the same for a minute."""
    section, parameters = f"{name}-ranks", {"shards": SHARDS}
    if parallel:
        alone, both = in_turns(1, lambda: rival(bench, name, one), lambda: rival(bench, name, parallel))
        bench.record(section, "rival", "PyTorch DDP, gloo", {"speedup": speed_of(both) / speed_of(alone)})
    alone, both, beside = in_turns(bench.turns, lambda: train(bench, name, table, 1, parameters),
                                   lambda: train(bench, name, table, 2, parameters),
                                   lambda: train_side_by_side(bench, name, table, 2, parameters))
    cpu = [statistics.fmean(turn["cpu_us"] for turn in turns) for turns in (alone, both)]
    bench.record(section, "mlq", "2 ranks : 1 rank", {"speedup": speed_of(both) / speed_of(alone), "cpu": cpu[1] / cpu[0]})
    bench.record(section, "limit", "two trainings side by side", {"speedup": speed_of(beside) / speed_of(alone)})


def in_turns(count, *ways):
    """A B A B: what each way measures each time."""
    return zip(*[[way() for way in ways] for _ in range(count)])


def speed_of(turns):
    return statistics.harmonic_mean(turn["samples_per_s"] for turn in turns)


def section_levels(bench):
    """What being elastic costs: processor time of a step beside level fast (tests/bench/train_levels.py)."""
    for model in train_levels.MODELS:
        work = f"{bench.folder}/levels-{model}"
        os.makedirs(work)
        pair = train_levels.Bench(argparse.Namespace(bin=bench.bin, model=model, shard_rows=64), work)
        for _ in range(bench.repeats):
            for ranks in (1, 2):
                fast, mine = (pair.step_seconds(level, ranks) for level in ("fast", "elastic"))
                bench.record(f"levels-{model}-{ranks}", "mlq", "elastic : fast", {"cpu": mine / fast})


# ---- What happens on the way ----

def section_kill(bench):
    """A rank of three is killed within a step: until the last survivor has its state again."""
    place = elastic.Place(argparse.Namespace(bin=bench.bin, work=bench.folder + "/kills", seed=1))
    for _ in range(bench.repeats):
        place.recoveries = []
        for training in elastic.TRAININGS:
            wrong = elastic.check(place, training, "a rank is killed", 3)
            if wrong is not None:
                raise Failure(f"{training}: {wrong}")
        for seconds in place.recoveries:
            bench.record("kill", "mlq", "one of three ranks", {"seconds": seconds})


# ---- From data to metrics ----

def section_fashion(bench):
    if not os.path.exists(FASHION):
        bench.say("SKIPPED: apt-get install dataset-fashion-mnist")
        return
    epochs = 10
    settings = [(python, count, *words) for python in bench.torch for count in (1, 2)
                for words in ([], ["fused"], ["channels-last", "fused"])]

    def train_rival(setting, passes=epochs):
        start = time.monotonic()
        words = bench.run(setting[0], f"{HERE}/rival_fashion.py", FASHION, passes, *setting[1:], OMP_NUM_THREADS=str(setting[1]))
        return {"seconds": time.monotonic() - start, **words}

    setting = bench.best("PyTorch", settings, lambda one: train_rival(one, 1), of="seconds")
    for _ in range(bench.repeats):
        if setting:
            bench.record("fashion", "rival", label_of(setting), train_rival(setting))
        bench.cluster()
        got = bench.pipeline(f"{ROOT}/examples/fashion-mnist/pipeline.yaml", "--set", f"epochs={epochs}")
        bench.record("fashion", "mlq", "examples/fashion-mnist", {name: got[name] for name in ("seconds", "accuracy")})
    bench.stop()


def section_logistic(bench):
    rows, columns = (100_000 if bench.quick else 1_000_000), 100
    path = os.path.join(bench.folder, "data.csv")
    bench.run(sys.executable, f"{HERE}/make_csv.py", path, rows, columns)
    names = ("seconds", "log_loss")

    def train_rival(reader):
        start = time.monotonic()
        words = bench.run(bench.sklearn, f"{HERE}/rival_sklearn.py", path, reader)
        return {"seconds": time.monotonic() - start, **words}

    reader = bench.best("pandas' reader", ["c", "pyarrow"] if bench.sklearn else [], train_rival, of="seconds")
    for _ in range(bench.repeats):
        if reader:
            got = train_rival(reader)
            bench.record("logistic", "rival", f"pandas ({reader}), scikit-learn", {name: got[name] for name in names})
        bench.cluster()
        got = bench.pipeline(f"{HERE}/logistic.yaml", "--set", f"path={path}")
        bench.record("logistic", "mlq", f"{rows:,} rows", {name: got[name] for name in names})
    bench.stop()


SECTIONS = {
    **{name: lambda bench, network=name: section_networks(bench, network) for name in NETWORKS},
    "levels": section_levels, "kill": section_kill, "logistic": section_logistic, "fashion": section_fashion,
}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", required=True, type=os.path.abspath)
    parser.add_argument("--results", required=True)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--torch", action="append", default=[])
    parser.add_argument("--sklearn")
    parser.add_argument("sections", nargs="*")
    options = parser.parse_args()
    bench = Bench(options)
    try:
        for name in options.sections or [name for name in SECTIONS if name != "fashion" or not options.quick]:
            bench.say(f"{name} (load {os.getloadavg()[0]:.1f})")
            SECTIONS[name](bench)
    except Failure as failure:
        sys.exit(f"failed: {failure}")
    finally:
        bench.stop()
        shutil.rmtree(bench.folder)


if __name__ == "__main__":
    main()
