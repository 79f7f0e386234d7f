# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: mlq authors
"""What is trained: parameters of train.native, from which the rival builds the same network."""

SGD = {"sgd": {"lr": 0.01, "momentum": 0.9}}
ADAMW = {"adamw": {"lr": 0.001, "weight_decay": 0.01}}
CLASSES = 10


def cnn(image, hidden):
    return {"model": {"cnn": {"image": image, "channels": [32, 64], "hidden": [hidden]}}, "batch": 128, "optimizer": ADAMW}


# name: (inputs, rows, epochs of which the first one does not count, parameters)
NETWORKS = {
    "mlp": (784, 5120, 13, {"model": {"mlp": {"hidden": [512, 256]}}, "batch": 128, "optimizer": SGD}),
    "cnn28": (784, 1280, 5, cnn([28, 28, 1], 300)),
    "cnn32": (3072, 1280, 4, cnn([32, 32, 3], 240)),
}


def products(name):
    """(rows per sample, inner size, columns) of each layer's matrix product."""
    inputs, _, _, parameters = NETWORKS[name]
    if "mlp" in parameters["model"]:
        widths = [inputs, *parameters["model"]["mlp"]["hidden"], CLASSES]
        return [(1, wide, narrow) for wide, narrow in zip(widths, widths[1:])]
    shape = parameters["model"]["cnn"]
    height, width, channels = shape["image"]
    layers = []
    for count in shape["channels"]:
        layers.append((height * width, 9 * channels, count))
        height, width, channels = height // 2, width // 2, count
    widths = [height * width * channels, *shape["hidden"], CLASSES]
    return layers + [(1, wide, narrow) for wide, narrow in zip(widths, widths[1:])]


def flop_per_sample(name):
    """Forward, the gradient of the weights, and that of the inputs, which the first layer does not need."""
    flops = [2 * m * k * n for m, k, n in products(name)]
    return 3 * sum(flops) - flops[0]
