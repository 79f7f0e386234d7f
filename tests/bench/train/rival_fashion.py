# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: mlq authors
"""PyTorch trains the network of examples/fashion-mnist on the same files: rival_fashion.py FOLDER EPOCHS THREADS [SETTING ...]

Settings: channels-last, fused. Prints the accuracy on the held-out images.
"""
import gzip
import sys

import torch
import torch.nn.functional as F
from torch import nn

BATCH, PEAK_RATE, VALIDATION = 128, 0.003, 3000


def read(folder, name, skip):
    with gzip.open(f"{folder}/{name}-ubyte.gz") as file:
        return torch.frombuffer(bytearray(file.read()[skip:]), dtype=torch.uint8)


def load(folder, part):
    labels = read(folder, f"{part}-labels-idx1", 8).long()
    return read(folder, f"{part}-images-idx3", 16).reshape(-1, 1, 28, 28).float() / 255, labels


def stage(inputs, outputs):
    return [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(), nn.MaxPool2d(2)]


def accuracy(net, x, y):
    net.eval()
    with torch.no_grad():
        good = sum((net(x[i:i + 500]).argmax(1) == y[i:i + 500]).sum().item() for i in range(0, len(y), 500))
    net.train()
    return good / len(y)


def main():
    folder, epochs, threads, settings = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]
    torch.set_num_threads(threads)
    torch.manual_seed(1)
    (x, y), (test_x, test_y) = load(folder, "train"), load(folder, "t10k")
    mean, deviation = x.mean(), x.std()
    x, test_x = (x - mean) / deviation, (test_x - mean) / deviation
    net = nn.Sequential(*stage(1, 16), *stage(16, 32), nn.Flatten(), nn.Linear(1568, 128), nn.ReLU(), nn.Dropout(0.2),
                        nn.Linear(128, 10))
    if "channels-last" in settings:
        x, net = x.to(memory_format=torch.channels_last), net.to(memory_format=torch.channels_last)
    order = torch.randperm(len(y))
    held, rows = order[:VALIDATION], order[VALIDATION:]
    fused = {"fused": True} if "fused" in settings else {}
    optimizer = torch.optim.AdamW(net.parameters(), lr=PEAK_RATE, weight_decay=0.01, **fused)
    steps = epochs * -(-len(rows) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_RATE, total_steps=steps, cycle_momentum=False)
    for _ in range(epochs):
        rows = rows[torch.randperm(len(rows))]
        for begin in range(0, len(rows), BATCH):
            chosen = rows[begin:begin + BATCH]
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(net(x[chosen]), y[chosen]).backward()
            optimizer.step()
            schedule.step()
        accuracy(net, x[held], y[held])
    print(f"accuracy={accuracy(net, test_x, test_y):.4f}")


if __name__ == "__main__":
    main()
