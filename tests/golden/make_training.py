#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: mlq authors
"""Writes tests/golden/training.json: losses, optimizers, clipping and schedules as PyTorch has them.

Run once, by hand, with Debian's python3-torch (1.13.1) or any later PyTorch; the tests read only the
file. All in double.
"""
import json
import os
import sys
import warnings

import torch
import torch.nn.functional as F

FILE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "training.json")
torch.set_default_dtype(torch.float64)
warnings.simplefilter("ignore")  # schedulers that are stepped without an optimizer's step


def flat(tensor):
    return [float(f"{v:.12g}") for v in tensor.detach().flatten().tolist()]


def loss_case(kind, outputs, truth, smoothing=0.0, delta=1.0, weights=None):
    """The mean loss and its gradient; class weights are ours as they are PyTorch's."""
    z = outputs.clone().requires_grad_()
    w = None if weights is None else torch.tensor(weights)
    if kind == "cross_entropy":
        loss = F.cross_entropy(z, truth, weight=w, label_smoothing=smoothing)
    elif kind == "bce":
        q = truth * (1 - smoothing) + smoothing / 2
        per_row = torch.ones_like(q) if w is None else w[truth]
        loss = (F.binary_cross_entropy_with_logits(z[:, 0], q, reduction="none") * per_row).sum() / per_row.sum()
    elif kind == "squared":
        loss = F.mse_loss(z[:, 0], truth)
    else:
        loss = F.huber_loss(z[:, 0], truth, delta=delta)
    loss.backward()
    return {
        "kind": kind, "rows": outputs.shape[0], "columns": outputs.shape[1], "outputs": flat(outputs), "truth": truth.tolist(),
        "smoothing": smoothing, "delta": delta, "weights": weights, "loss": loss.item(), "gradient": flat(z.grad),
    }


def losses(generator):
    z = ((torch.rand((7, 4), generator=generator) - 0.5) * 8).float().double()
    labels = torch.randint(0, 4, (7,), generator=generator)
    one = ((torch.rand((7, 1), generator=generator) - 0.5) * 30).float().double()
    bits = torch.randint(0, 2, (7,), generator=generator)
    targets = ((torch.rand(7, generator=generator) - 0.5) * 6).float().double()
    small = one / 10
    return [
        loss_case("cross_entropy", z, labels),
        loss_case("cross_entropy", z * 20, labels),
        loss_case("cross_entropy", z, labels, smoothing=0.1),
        loss_case("cross_entropy", z, labels, weights=[0.5, 2.0, 1.0, 3.5]),
        loss_case("cross_entropy", z, labels, smoothing=0.25, weights=[0.5, 2.0, 1.0, 3.5]),
        loss_case("bce", one, bits),
        loss_case("bce", one, bits, smoothing=0.2, weights=[1.5, 0.25]),
        loss_case("squared", small, targets),
        loss_case("huber", small, targets),
        loss_case("huber", small, targets, delta=0.3),
    ]


def optimizer_case(make, **options):
    """Three weights over five steps of given gradients, one of them long enough to be clipped."""
    gradients = [[0.1, -0.2, 0.3], [0.4, 0.0, -0.6], [-0.05, 0.25, 1.5], [3.0, -4.0, 1.0], [0.2, 0.2, -0.1]]
    clip = options.pop("clip", 0.0)
    weights = torch.tensor([0.5, -1.25, 2.0]).requires_grad_()
    optimizer = make([weights], **options)
    norms = []
    for gradient in gradients:
        weights.grad = torch.tensor(gradient)
        norms.append(torch.nn.utils.clip_grad_norm_([weights], clip if clip > 0 else 1e30).item())
        optimizer.step()
    options = {key: list(value) if isinstance(value, tuple) else value for key, value in options.items()}
    return {
        "kind": make.__name__.lower(), "options": options, "clip": clip, "gradients": gradients, "norms": norms,
        "weights": flat(weights),
    }


def optimizers():
    sgd, adam, adamw = torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW
    return [
        optimizer_case(sgd, lr=0.1),
        optimizer_case(sgd, lr=0.1, momentum=0.9, weight_decay=0.01),
        optimizer_case(sgd, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
        optimizer_case(sgd, lr=0.1, clip=1.0),
        optimizer_case(adam, lr=0.01),
        optimizer_case(adam, lr=0.01, betas=(0.8, 0.99), weight_decay=0.1),
        optimizer_case(adamw, lr=0.01, weight_decay=0.1),
        optimizer_case(adamw, lr=0.01, betas=(0.8, 0.99), weight_decay=0.05, clip=0.5),
    ]


def schedule_case(name, make, steps, **options):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.4)
    schedule = make(optimizer)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        schedule.step() if len(rates) < steps else None
    return {"kind": name, "lr": 0.4, "steps": steps, "rates": rates, **options}


def schedules():
    s = torch.optim.lr_scheduler
    warmed = lambda make, steps: lambda o: s.SequentialLR(  # noqa: E731
        o, [s.LinearLR(o, 1 / 5, 1.0, 4), make(o)], milestones=[5]
    )
    return [
        schedule_case("constant", lambda o: s.ConstantLR(o, 1.0), 4),
        schedule_case("step", lambda o: s.StepLR(o, 3, 0.5), 11, every=3, factor=0.5),
        schedule_case("cosine", lambda o: s.CosineAnnealingLR(o, 10, 0.04), 10, final=0.1),
        schedule_case("linear", lambda o: s.LinearLR(o, 1.0, 0.25, 8), 8, final=0.25),
        schedule_case("one_cycle", lambda o: s.OneCycleLR(o, 0.4, total_steps=20, pct_start=0.3), 20, rise=0.3),
        schedule_case("cosine", warmed(lambda o: s.CosineAnnealingLR(o, 10, 0.04), 10), 15, final=0.1, warmup=5),
    ]


def main():
    generator = torch.Generator().manual_seed(20261126)
    case = {"source": f"PyTorch {torch.__version__}", "losses": losses(generator), "optimizers": optimizers(), "schedules": schedules()}
    with open(FILE, "w", encoding="utf-8") as file:
        json.dump(case, file, separators=(",", ":"))
        file.write("\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
