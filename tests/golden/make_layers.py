#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: mlq authors
"""Writes tests/golden/layers/*.json: small networks, and what PyTorch says of them.

Run once, by hand, with Debian's python3-torch (1.13.1) or any later PyTorch; the tests read only the
files. Each holds a model's description (worker/ml/model.h), its tensors in our layouts, inputs, and
from one training pass in double: outputs, loss, gradients of all parameters, and running statistics
after the step. The tests compute in float.
"""
import json
import math
import os
import sys

import torch
import torch.nn.functional as F

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "layers")
ACTIVATIONS = {"identity": lambda x: x, "relu": F.relu, "gelu": F.gelu, "tanh": torch.tanh}
torch.set_default_dtype(torch.float64)


def dense(inputs, outputs, activation="identity", **more):
    return {"inputs": inputs, "outputs": outputs, "activation": activation, **more}


def window(kind, kernel, stride=1, padding=0, activation="identity", **more):
    return {"kind": kind, "kernel": list(kernel), "stride": stride, "padding": padding, "activation": activation, **more}


def conv(channels, kernel, **more):
    return window("conv", kernel, channels=channels, **{"bias": True, **more})


def norm(activation="identity", **more):
    return {"kind": "norm", "activation": activation, **more}


class Network:
    """Runs a description with PyTorch; values are kept as NCHW, or [N, C] when flat."""

    def __init__(self, image, layers, generator):
        self.image, self.layers, self.generator = image, layers, generator
        self.parameters, self.state = {}, {}

    def parameter(self, name, shape, scale, shift=0.0):
        if name not in self.parameters:
            value = (torch.rand(shape, generator=self.generator) - 0.5) * scale + shift
            # What a float holds: the test's weights are floats.
            self.parameters[name] = value.float().double().requires_grad_()
        return self.parameters[name]

    def bias(self, name, layer, channels):
        return self.parameter(name + "bias", (channels,), 0.4) if layer.get("bias", True) else None

    def run(self, x):
        values = [x]
        for k, layer in enumerate(self.layers):
            name, kind = f"layers.{k}.", layer.get("kind", "dense")
            y = self.apply(name, kind, layer, values[layer.get("from", k)], values)
            values.append(ACTIVATIONS[layer["activation"]](y))
        return values[-1]

    def apply(self, name, kind, layer, x, values):
        channels = x.shape[1]
        if kind == "dense":
            if x.dim() == 4:
                x = x.permute(0, 2, 3, 1).flatten(1)
            weight = self.parameter(name + "weight", (layer["outputs"], x.shape[1]), 2 / math.sqrt(x.shape[1]))
            return F.linear(x, weight, self.bias(name, layer, layer["outputs"]))
        if kind == "conv":
            kh, kw = layer["kernel"]
            weight = self.parameter(name + "weight", (layer["channels"], kh, kw, channels), 2 / math.sqrt(kh * kw * channels))
            bias = self.bias(name, layer, layer["channels"])
            return F.conv2d(x, weight.permute(0, 3, 1, 2), bias, layer["stride"], layer["padding"])
        if kind == "depthwise":
            kh, kw = layer["kernel"]
            weight = self.parameter(name + "weight", (kh, kw, channels), 1.0)
            turned = weight.permute(2, 0, 1).unsqueeze(1)
            return F.conv2d(x, turned, self.bias(name, layer, channels), layer["stride"], layer["padding"], groups=channels)
        if kind == "norm":
            weight = self.parameter(name + "weight", (channels,), 1.0, 1.0)
            bias = self.parameter(name + "bias", (channels,), 0.5)
            if name + "mean" not in self.state:
                for part, shift in (("mean", 0.0), ("variance", 1.0)):
                    value = torch.rand(channels, generator=self.generator) * 0.5 + shift
                    self.state[name + part] = value.float().double()
            return F.batch_norm(x, self.state[name + "mean"], self.state[name + "variance"], weight, bias, True, 0.1, 1e-5)
        if kind == "max_pool":
            return F.max_pool2d(x, layer["kernel"], layer["stride"])
        if kind == "average_pool":
            return F.avg_pool2d(x, layer["kernel"], layer["stride"])
        if kind == "embedding":
            return self.embed(name, layer["width"], x)
        if kind == "add":
            return x + values[layer["also"]]
        raise ValueError(kind)


    def embed(self, name, width, x):
        """Embedding bags of one index each; -1 is an empty bag, which sums to zeros."""
        parts, first = [], 0
        tables = self.parameter(name + "weight", (sum(self.sizes), width), 1.0)
        for i, size in enumerate(self.sizes):
            column = x[:, i]
            if size == 0:
                parts.append(column.unsqueeze(1))
                continue
            known = column >= 0
            indices = column[known].long()
            offsets = torch.cumsum(known.long(), 0) - known.long()
            parts.append(F.embedding_bag(indices, tables[first : first + size], offsets, mode="sum"))
            first += size
        return torch.cat(parts, 1)


def flat(tensor):
    return [float(f"{v:.9g}") for v in tensor.detach().flatten().tolist()]


def write(name, layers, image=None, inputs=5, rows=6, classes=3, sizes=()):
    """`sizes`: per input the values of an embedded category, or 0 for a number."""
    generator = torch.Generator().manual_seed(sum(name.encode()))
    count = inputs if image is None else image[0] * image[1] * image[2]
    x = ((torch.rand((rows, count), generator=generator) - 0.5) * 4).float().double()
    labels = torch.randint(0, classes, (rows,), generator=generator)
    for i, size in enumerate(sizes):
        if size > 0:
            x[:, i] = torch.randint(-1, size, (rows,), generator=generator).double()
    network = Network(image, layers, generator)
    network.sizes = sizes
    shaped = x if image is None else x.reshape(rows, *image).permute(0, 3, 1, 2)
    with torch.no_grad():
        network.run(shaped)  # makes the parameters; the statistics are set back
    for key in list(network.state):
        generator.manual_seed(len(key))
        shift = 1.0 if key.endswith("variance") else 0.0
        network.state[key].copy_((torch.rand(network.state[key].shape, generator=generator) * 0.5 + shift).float().double())
    tensors = {**network.parameters, **network.state}
    described = {key: {"shape": list(value.shape), "data": flat(value)} for key, value in tensors.items()}
    outputs = network.run(shaped)
    loss = F.cross_entropy(outputs, labels)
    loss.backward()
    features = [{"name": f"x{i}", "kind": "number", "fill": 0.0, "mean": 0.0, "scale": 1.0} for i in range(count)]
    for i, size in enumerate(sizes):
        if size > 0:
            words = [f"v{k}" for k in range(size)]
            features[i] = {"name": f"x{i}", "kind": "category", "values": words, "fill": "v0", "encoding": "index"}
    model = {
        "format": "mlq.model/1", "task": "multiclass", "target": "y", "features": features,
        "classes": [f"c{i}" for i in range(classes)],
    }
    if image is not None:
        model["image"] = list(image)
    model["layers"] = layers
    case = {
        "source": f"PyTorch {torch.__version__}", "model": model, "rows": rows, "inputs": flat(x), "labels": labels.tolist(),
        "tensors": described, "outputs": flat(outputs), "loss": float(f"{loss.item():.9g}"),
        "gradients": {key: flat(value.grad) for key, value in network.parameters.items()},
        "state": {key: flat(value) for key, value in network.state.items()},
    }
    with open(os.path.join(FOLDER, name + ".json"), "w", encoding="utf-8") as file:
        json.dump(case, file, separators=(",", ":"))
        file.write("\n")


def main():
    os.makedirs(FOLDER, exist_ok=True)
    for activation in ("relu", "gelu", "tanh"):
        write("dense_" + activation, [dense(5, 7, activation), dense(7, 4, activation), dense(4, 3)])
    image = (5, 4, 2)
    write("conv", [conv(3, (3, 3), padding=1, activation="relu"), dense(60, 3)], image)
    write("conv_uneven", [conv(4, (3, 2), stride=2, padding=1), conv(2, (2, 2), activation="tanh"), dense(8, 3)], (6, 5, 3))
    write("conv_point", [conv(4, (1, 1), activation="gelu", bias=False), dense(80, 3)], image)
    write("conv_first_line", [conv(4, (1, 1)), conv(2, (3, 3), stride=2), dense(4, 3)], image)
    write("depthwise", [conv(3, (1, 1)), window("depthwise", (3, 3), 2, 1, "relu", bias=True), dense(18, 3)], image)
    write("norm_image", [conv(3, (3, 3), padding=1, bias=False), norm("relu"), dense(60, 3)], image)
    write("norm_flat", [dense(5, 6), norm("tanh"), dense(6, 3)])
    write("max_pool", [conv(3, (2, 2)), window("max_pool", (2, 2), 1), dense(18, 3)], image)
    write("average_pool", [conv(3, (2, 2)), window("average_pool", (2, 3), 1), dense(9, 3)], image)
    write(
        "residual",
        [
            conv(3, (3, 3), padding=1, bias=False), norm("relu"), conv(3, (3, 3), padding=1, bias=False), norm(),
            {"kind": "add", "also": 2, "activation": "relu"}, window("max_pool", (2, 2), 2),
            window("average_pool", (2, 2), 2), dense(3, 4, "relu"), dense(4, 3),
        ],
        image,
    )
    write("embedding", [{"kind": "embedding", "width": 3, "activation": "identity"}, dense(11, 4, "tanh"), dense(4, 3)],
          rows=9, sizes=(0, 4, 0, 2, 6))
    write("add_inputs", [conv(2, (3, 3), padding=1), {"kind": "add", "also": 0, "activation": "relu"}, dense(40, 3)], image)
    return 0


if __name__ == "__main__":
    sys.exit(main())
