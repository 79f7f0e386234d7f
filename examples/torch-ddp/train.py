# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: mlq authors
"""torch.distributed as it is used anywhere: DistributedDataParallel, rendezvous from the environment.

mlq sets what torchrun sets, so a script that runs under torchrun runs here unchanged, without torchrun.
Rank 0 writes the model and a checkpoint per epoch; a new attempt goes on from the checkpoint, on as many ranks as
there are then. The batch is that of all ranks together, so that a step means the same however many there are.

By hand:   torchrun --nproc-per-node 2 train.py
"""
import json
import os
import signal
import subprocess
import sys

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler

EPOCHS = int(os.environ.get("EPOCHS", "8"))
CLASSES = 4
BATCH = 128  # of all ranks
REQUEUE = 75  # "saved, run me again": not a failure

stop_asked = False


def ask_stop(*_):
    global stop_asked
    stop_asked = True


def make_data(count, seed):
    """Points around four centres."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, CLASSES, (count,), generator=generator)
    angle = labels * (2 * torch.pi / CLASSES)
    centres = torch.stack([angle.cos(), angle.sin()], dim=1)
    return TensorDataset(centres + 0.3 * torch.randn(count, 2, generator=generator), labels)


def report(**metrics):
    step = metrics.pop("step")
    if os.environ.get("MLQ_CONTROL"):
        words = ["%s=%.9g" % item for item in metrics.items()]
        subprocess.run(["mlq-task", "metric", *words, "step=%d" % step], check=False)


def accuracy(model, data):
    with torch.no_grad():
        points, labels = data.tensors
        return (model(points).argmax(dim=1) == labels).float().mean().item()


def all_agree_to_stop():
    """SIGTERM reaches the ranks at different moments; all must leave at the same epoch."""
    flag = torch.tensor([1.0 if stop_asked else 0.0])
    dist.all_reduce(flag)
    return flag.item() > 0


def save(model, optimizer, epoch, path):
    state = {"epoch": epoch, "model": model.module.state_dict(), "optimizer": optimizer.state_dict()}
    torch.save(state, path + ".tmp")
    os.replace(path + ".tmp", path)  # whole or not there


def leave(status):
    """Ends this process and spares it the interpreter's end: gloo's threads outlive destroy_process_group, and one that
    lets go of a tensor only while Python is taken down aborts (pytorch/pytorch#190489). On a busy machine a rank that
    had done all its work then died of SIGABRT now and then, and all ran again."""
    dist.destroy_process_group()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def main():
    signal.signal(signal.SIGTERM, ask_stop)
    dist.init_process_group("gloo")  # MASTER_ADDR, MASTER_PORT, RANK and WORLD_SIZE
    rank, ranks = dist.get_rank(), dist.get_world_size()
    torch.manual_seed(1)
    model = DistributedDataParallel(nn.Sequential(nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, CLASSES)))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    train = make_data(4096, seed=1)
    sampler = DistributedSampler(train, seed=1)
    loader = DataLoader(train, batch_size=max(1, BATCH // ranks), sampler=sampler)
    checkpoint = os.path.join(os.environ.get("MLQ_CHECKPOINT", "."), "ddp.pt")
    first = 0
    if os.path.exists(checkpoint):
        state = torch.load(checkpoint, weights_only=True)
        model.module.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        first = state["epoch"] + 1
    restarts = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    print("rank %d of %d begins at epoch %d, restart %s" % (rank, ranks, first, restarts), flush=True)
    dist.barrier()  # before rank 0 writes the next one
    for epoch in range(first, EPOCHS):
        sampler.set_epoch(epoch)
        for points, labels in loader:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(points), labels)
            loss.backward()  # DDP averages the gradients over the ranks here
            optimizer.step()
        if rank == 0:
            save(model, optimizer, epoch, checkpoint)
            report(train_loss=loss.item(), step=epoch)
            print("epoch %d loss %.4f" % (epoch, loss.item()), flush=True)
        if all_agree_to_stop():
            leave(REQUEUE)
    if rank == 0:
        score = accuracy(model.module, make_data(2048, seed=2))
        out = os.environ.get("MLQ_OUTPUT", ".")
        torch.save(model.module.state_dict(), os.path.join(out, "model.pt"))
        with open(os.path.join(out, "metrics.json"), "w", encoding="utf-8") as file:
            json.dump({"accuracy": score, "ranks": ranks}, file)
        print("accuracy %.4f on %d ranks" % (score, ranks))
    leave(0)


if __name__ == "__main__":
    main()
