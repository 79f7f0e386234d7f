# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: mlq authors
"""PyTorch on the CPU, a network of networks.py, its batch and its optimizer, on random data in memory.

    rival_torch.py NETWORK ROWS EPOCHS THREADS [SETTING ...]

Settings: channels-last, no-mkldnn, compile; ddp: two processes of THREADS each, which share each batch
(DistributedDataParallel on gloo). The optimizer is the fused one where this PyTorch has it. Prints name=value words.
"""
import os
import subprocess
import sys
import tempfile
import time

import torch
import torch.nn.functional as F
from networks import CLASSES, NETWORKS
from torch import nn


def dense(inputs, hidden):
    layers = []
    for width in hidden:
        layers += [nn.Linear(inputs, width), nn.ReLU()]
        inputs = width
    return [*layers, nn.Linear(inputs, CLASSES)]


def build(inputs, model):
    if "mlp" in model:
        return nn.Sequential(*dense(inputs, model["mlp"]["hidden"]))
    height, width, channels = model["cnn"]["image"]
    layers = []
    for count in model["cnn"]["channels"]:
        layers += [nn.Conv2d(channels, count, 3, padding=1, bias=False), nn.BatchNorm2d(count), nn.ReLU(), nn.MaxPool2d(2)]
        height, width, channels = height // 2, width // 2, count
    return nn.Sequential(*layers, nn.Flatten(), *dense(height * width * channels, model["cnn"]["hidden"]))


def optimizer_of(net, optimizer):
    (name, options), = optimizer.items()
    make = torch.optim.SGD if name == "sgd" else torch.optim.AdamW
    try:
        return make(net.parameters(), **options, fused=True)
    except (TypeError, RuntimeError):  # not known, or not on CPUs
        return make(net.parameters(), **options)


def start_ranks(count):
    with tempfile.TemporaryDirectory() as folder:
        ranks = [subprocess.Popen([sys.executable, *sys.argv], env=dict(
            os.environ, RANK=str(rank), RANKS=str(count), MEET=f"{folder}/store", GLOO_SOCKET_IFNAME="lo")) for rank in range(count)]
        sys.exit(max(rank.wait() for rank in ranks))


def main():
    if "ddp" in sys.argv and "RANK" not in os.environ:
        start_ranks(2)
    rank, ranks = int(os.environ.get("RANK", "0")), int(os.environ.get("RANKS", "1"))
    name, rows, epochs, threads = sys.argv[1], *(int(word) for word in sys.argv[2:5])
    settings = sys.argv[5:]
    inputs, _, _, parameters = NETWORKS[name]
    torch.set_num_threads(threads)
    torch.manual_seed(1)
    torch.backends.mkldnn.enabled = "no-mkldnn" not in settings
    x, y = torch.rand(rows, inputs) - 0.5, torch.randint(0, CLASSES, (rows,))
    net = build(inputs, parameters["model"])
    if "cnn" in parameters["model"]:
        height, width, channels = parameters["model"]["cnn"]["image"]
        x = x.reshape(rows, channels, height, width)
    if "channels-last" in settings:
        x, net = x.to(memory_format=torch.channels_last), net.to(memory_format=torch.channels_last)
    optimizer = optimizer_of(net, parameters["optimizer"])
    run = net
    if ranks > 1:
        torch.distributed.init_process_group("gloo", init_method=f"file://{os.environ['MEET']}", rank=rank, world_size=ranks)
        run = nn.parallel.DistributedDataParallel(net, broadcast_buffers=False, gradient_as_bucket_view=True)
    if "compile" in settings:
        run = torch.compile(run)
    batch = parameters["batch"]
    share = batch // ranks

    def epoch():
        order = torch.randperm(rows)  # the same on each rank: its seed is
        for begin in range(rank * share, rows, batch):
            chosen = order[begin:begin + share]
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(run(x[chosen]), y[chosen]).backward()
            optimizer.step()

    epoch()
    start, cpu = time.monotonic(), time.process_time()
    for _ in range(epochs - 1):
        epoch()
    seconds, samples = time.monotonic() - start, rows * (epochs - 1)
    if rank == 0:
        print(f"samples_per_s={samples / seconds:.0f} cpu_us={(time.process_time() - cpu) * ranks * 1e6 / samples:.1f}")
    sys.stdout.flush()
    os._exit(0)  # what the compiler has started does not keep it


if __name__ == "__main__":
    main()
