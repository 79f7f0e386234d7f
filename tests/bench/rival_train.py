# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: mlq authors
"""PyTorch on the CPU, the same network, batch and optimizer as run.sh gives to train.native.

    rival_train.py ROWS COLUMNS EPOCHS THREADS
"""
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn

rows, columns, epochs, threads = (int(word) for word in sys.argv[1:5])
torch.set_num_threads(threads)
torch.manual_seed(0)
x = torch.randn(rows, columns)
y = torch.randint(0, 10, (rows,))
model = nn.Sequential(nn.Linear(columns, 512), nn.ReLU(), nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, 10))
optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
BATCH = 128


def epoch():
    for begin in range(0, rows - BATCH + 1, BATCH):
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(model(x[begin:begin + BATCH]), y[begin:begin + BATCH]).backward()
        optimizer.step()


epoch()
start = time.monotonic()
for _ in range(epochs):
    epoch()
print(f"samples_per_s={epochs * (rows // BATCH) * BATCH / (time.monotonic() - start):.0f}")
