# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: mlq authors
"""A PyTorch classifier on one GPU, on the tables of mlq's own operators.

mlq gives the task its GPU through CUDA_VISIBLE_DEVICES, so that "cuda:0" is the right one whatever else the machine
has. Tables are safetensors files, a column a tensor (`worker/op/table.h`); reading one takes ten lines.
"""
import json
import os
import subprocess

import torch
from torch import nn

EPOCHS = 40
REQUEUE_ASKED = 3  # of mlq-task: stop, and run me again


def read_table(path):
    """The features [rows, columns] and the labels [rows]."""
    with open(path, "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        data = bytearray(file.read())
    table = json.loads(header["__metadata__"]["mlq.table"])
    features, labels = [], None
    for column in table["columns"]:
        begin, _ = header[column["name"]]["data_offsets"]
        kind = torch.float64 if column["kind"] == "number" else torch.int32
        values = torch.frombuffer(data, dtype=kind, count=table["rows"], offset=begin)
        if column["role"] == "target":
            labels = values.long()
        elif column["role"] == "feature":
            features.append(values.float())
    return torch.stack(features, dim=1), labels


def accuracy(model, points, labels):
    with torch.no_grad():
        return (model(points).argmax(dim=1) == labels).float().mean().item()


def main():
    device = torch.device("cuda:0")  # fails where there is none: ask for one with resources: {gpus: 1}
    split = os.environ["MLQ_INPUT_SPLIT"]
    points, labels = (part.to(device) for part in read_table(split + "/train.safetensors"))
    test = [part.to(device) for part in read_table(split + "/test.safetensors")]
    scale = points.abs().max()
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(points.shape[1], 128), nn.ReLU(), nn.Linear(128, int(labels.max()) + 1)).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    for epoch in range(EPOCHS):
        for rows in torch.randperm(len(labels), device=device).split(128):
            loss = nn.functional.cross_entropy(model(points[rows] / scale), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        words = ["loss=%.9g" % loss.item(), "step=%d" % epoch]
        if subprocess.run(["mlq-task", "metric", *words], check=False).returncode == REQUEUE_ASKED:
            break  # an example of seconds: it begins again
    result = {"accuracy": accuracy(model, test[0] / scale, test[1]), "gpus_seen": torch.cuda.device_count()}
    print(torch.cuda.get_device_name(0), result)
    torch.save(model.state_dict(), os.environ["MLQ_OUTPUT"] + "/model.pt")
    with open(os.environ["MLQ_OUTPUT"] + "/metrics.json", "w") as file:
        json.dump(result, file)


main()
