#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: mlq authors
"""What the exact sum costs: processor time of a training step of train.native at level elastic, beside level fast.

usage: train_levels.py --bin FOLDER [--ranks 1,2,4] [--repeats N] [--model mlp|cnn] [--shard-rows N]

Both are gangs of real processes on loopback with the same data, batch and optimizer. The time is user and system time
of all ranks, so that a busy machine weighs little; what a process needs to start is taken away by a second, shorter
run. Levels take turns, and the ratio is that of their medians. One line of JSON for each number of ranks.
"""
import argparse
import json
import os
import random
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import tempfile

GOAL = 1.15
SHARDS = 8
STEPS = 8  # of an epoch
WIDTH = 784
EPOCHS = {"mlp": (1, 13), "cnn": (1, 3)}
MODELS = {
    "mlp": {"mlp": {"hidden": [512, 256]}},
    "cnn": {"cnn": {"image": [28, 28, 1], "channels": [32, 64], "hidden": [300]}},
}


def write_npy(path, kind, shape, data):
    head = repr({"descr": kind, "fortran_order": False, "shape": shape}).encode()
    head += b" " * (-(len(head) + 11) % 64) + b"\n"
    with open(path, "wb") as file:
        file.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + data)


class Bench:
    def __init__(self, options, work):
        self.program = os.path.join(options.bin, "mlq-op")
        self.model = options.model
        self.batch = SHARDS * options.shard_rows
        self.work = work
        self.table = self.make_table(STEPS * self.batch)

    def run(self, operator, environment, parameters, output):
        os.makedirs(output)
        with_path = output + ".with.json"
        with open(with_path, "w", encoding="utf-8") as file:
            json.dump(parameters, file)
        kept = {name: value for name, value in os.environ.items() if name.startswith(("LD_", "OPENBLAS_"))}
        return subprocess.Popen([self.program, operator], stderr=subprocess.DEVNULL,
                                env=kept | environment | {"MLQ_WITH": with_path, "MLQ_OUTPUT": output})

    def make_table(self, rows):
        random.seed(1)
        samples, labels = (os.path.join(self.work, name) for name in ("samples.npy", "labels.npy"))
        write_npy(samples, "|u1", (rows, WIDTH), random.randbytes(rows * WIDTH))
        write_npy(labels, "|u1", (rows,), bytes(random.randrange(10) for _ in range(rows)))
        output = os.path.join(self.work, "table")
        process = self.run("data.arrays", {"MLQ_INPUT_SAMPLES": samples, "MLQ_INPUT_LABELS": labels}, {}, output)
        if process.wait() != 0:
            sys.exit("data.arrays failed")
        return os.path.join(output, "table.safetensors")

    def seconds(self, level, ranks, epochs):
        """Of the processor, for all ranks together."""
        parameters = {"model": MODELS[self.model], "batch": self.batch, "epochs": epochs, "level": level}
        if level != "fast":  # which has none
            parameters["shards"] = SHARDS
        with socket.socket() as door:
            door.bind(("127.0.0.1", 0))
            port = door.getsockname()[1]
        gang = []
        for rank in range(ranks):
            environment = {"RANK": str(rank), "WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1",
                           "MASTER_PORT": str(port), "MLQ_INPUT_TRAIN": self.table}
            gang.append(self.run("train.native", environment, parameters, os.path.join(self.work, f"rank{rank}")))
        total = 0.0
        for rank, process in enumerate(gang):
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode != 0:
                sys.exit(f"train.native at level {level}: rank {rank} ended with {process.returncode}")
            total += usage.ru_utime + usage.ru_stime
            shutil.rmtree(os.path.join(self.work, f"rank{rank}"))
        return total

    def step_seconds(self, level, ranks):
        short, long = EPOCHS[self.model]
        return (self.seconds(level, ranks, long) - self.seconds(level, ranks, short)) / ((long - short) * STEPS)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", required=True)
    parser.add_argument("--ranks", default="1,2,4")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--model", choices=sorted(MODELS), default="mlp")
    parser.add_argument("--shard-rows", type=int, default=64)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        bench = Bench(options, work)
        for ranks in (int(text) for text in options.ranks.split(",")):
            times = {"elastic": [], "fast": []}
            for _ in range(options.repeats):
                for level, taken in times.items():
                    taken.append(bench.step_seconds(level, ranks))
            elastic, fast = (statistics.median(times[level]) for level in ("elastic", "fast"))
            print(json.dumps({"name": f"train_levels/{options.model}/shard{options.shard_rows}/ranks{ranks}",
                              "elastic_ms": round(1e3 * elastic, 3), "fast_ms": round(1e3 * fast, 3),
                              "ratio": round(elastic / fast, 3), "goal": GOAL}), flush=True)


if __name__ == "__main__":
    main()
