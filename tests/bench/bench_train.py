#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: mlq authors
"""Samples a second on one thread: bench_train beside PyTorch's same network, in turns, medians of five.

usage: bench_train.py BENCH_TRAIN [BATCH [SHARDS]]     with a python3 that has PyTorch

Time is that of the process's threads (one each), so that a busy machine does not count against either.
"""
import re
import statistics
import subprocess
import sys
import time

import torch
from torch import nn

STEPS = {"mlp": 60, "cnn": 6}
REPEATS = 5


def network(name):
    if name == "mlp":
        return nn.Sequential(nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, 10))
    return nn.Sequential(
        nn.Unflatten(1, (1, 28, 28)),
        nn.Conv2d(1, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(3136, 300), nn.ReLU(), nn.Linear(300, 10),
    )


def rival(name, batch, channels_last):
    torch.manual_seed(1)
    net = network(name)
    if channels_last:
        net = net.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    x, y = torch.rand(batch, 784) - 0.5, torch.randint(0, 10, (batch,))

    def step():
        optimizer.zero_grad(set_to_none=True)
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()

    for _ in range(3):
        step()
    start = time.process_time()
    for _ in range(STEPS[name]):
        step()
    return batch * STEPS[name] / (time.process_time() - start)


def ours(program, name, batch, shards):
    command = [program, name, str(batch), str(shards), str(STEPS[name])]
    line = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return float(re.search(r"samples_per_second=(\S+)", line)[1]), re.search(r"core=(\S+)", line)[1]


def main():
    program = sys.argv[1]
    batch = int(sys.argv[2]) if len(sys.argv) > 2 else 128
    shards = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    torch.set_num_threads(1)
    print(f"PyTorch {torch.__version__}, batch {batch}, shards {shards}, one thread each, medians of {REPEATS}")
    for name in ("mlp", "cnn"):
        own, plain, last, core = [], [], [], ""
        for _ in range(REPEATS):
            value, core = ours(program, name, batch, shards)
            own.append(value)
            plain.append(rival(name, batch, False))
            last.append(rival(name, batch, True) if name == "cnn" else plain[-1])
        best = max(statistics.median(plain), statistics.median(last))
        mine = statistics.median(own)
        print(f"{name}: mlq {mine:.0f} samples/s ({core}), PyTorch {best:.0f}, ratio {mine / best:.2f}")


if __name__ == "__main__":
    main()
