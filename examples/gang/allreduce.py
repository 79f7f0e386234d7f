# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: mlq authors
"""Data-parallel training with nothing but Python's standard library.

Every rank holds its own part of the data and the same model. In each step it computes the gradient
of its part; an all-reduce over MASTER_ADDR:MASTER_PORT adds the gradients of all ranks; every rank takes
the same step. What mlq gives a gang (RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT) is all that it needs.

By hand, in two terminals:

    RANK=0 WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=29400 python3 allreduce.py
    RANK=1 WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=29400 python3 allreduce.py
"""
import json
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import time

CONNECT_SECONDS = 60  # the ranks start together, but not at the same moment
SILENCE_SECONDS = 60  # a peer that says nothing for so long is gone
STEPS = 200
ROWS = 500  # per rank
RATE = 0.1
TRUTH = [3.0, -2.0, 0.5]  # the last one is the constant


class Star:
    """Rank 0 listens and adds; the others send their vector and get the sum."""

    def __init__(self, rank, size, host, port):
        self.rank = rank
        self.peers = []
        if rank == 0:
            with socket.create_server((host, port), backlog=size) as server:
                server.settimeout(CONNECT_SECONDS)
                arrived = {}
                while len(arrived) < size - 1:
                    peer, _ = server.accept()
                    peer.settimeout(SILENCE_SECONDS)
                    (who,) = struct.unpack("!I", self._receive(peer, 4))
                    arrived[who] = peer
                # In the order of ranks: floating-point sums depend on it.
                self.peers = [arrived[who] for who in sorted(arrived)]
        else:
            self.peers = [self._connect(host, port)]
            self.peers[0].sendall(struct.pack("!I", rank))

    @staticmethod
    def _connect(host, port):
        deadline = time.monotonic() + CONNECT_SECONDS
        while True:
            try:
                peer = socket.create_connection((host, port), timeout=SILENCE_SECONDS)
                peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return peer
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)  # rank 0 does not listen yet

    @staticmethod
    def _receive(peer, count):
        data = b""
        while len(data) < count:
            part = peer.recv(count - len(data))
            if not part:
                raise ConnectionError("a rank is gone")
            data += part
        return data

    def all_reduce(self, vector):
        layout = "!%dd" % len(vector)
        if self.rank != 0:
            self.peers[0].sendall(struct.pack(layout, *vector))
            return list(struct.unpack(layout, self._receive(self.peers[0], struct.calcsize(layout))))
        total = list(vector)
        for peer in self.peers:
            theirs = struct.unpack(layout, self._receive(peer, struct.calcsize(layout)))
            total = [a + b for a, b in zip(total, theirs)]
        for peer in self.peers:
            peer.sendall(struct.pack(layout, *total))
        return total


def make_rows(rank):
    chance = random.Random(1000 + rank)
    rows = []
    for _ in range(ROWS):
        x = [chance.uniform(-1, 1), chance.uniform(-1, 1), 1.0]
        rows.append((x, sum(t * v for t, v in zip(TRUTH, x)) + chance.gauss(0, 0.01)))
    return rows


def gradient(weights, rows):
    """Sums, not means: then the sum over all ranks is the gradient of all rows. The loss comes last."""
    total = [0.0] * (len(weights) + 1)
    for x, y in rows:
        error = sum(w * v for w, v in zip(weights, x)) - y
        for i, v in enumerate(x):
            total[i] += error * v
        total[-1] += error * error
    return total


def report(step, loss):
    if os.environ.get("MLQ_CONTROL"):
        subprocess.run(["mlq-task", "metric", "loss=%.9g" % loss, "step=%d" % step], check=False)


def main():
    rank = int(os.environ["RANK"])
    size = int(os.environ["WORLD_SIZE"])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    star = Star(rank, size, os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
    rows = make_rows(rank)
    weights = [0.0, 0.0, 0.0]
    loss = 0.0
    for step in range(STEPS):
        total = star.all_reduce(gradient(weights, rows))
        count = ROWS * size
        loss = total[-1] / count
        weights = [w - RATE * 2 * g / count for w, g in zip(weights, total)]
        if rank == 0 and step % 50 == 49:
            print("step %d loss %.6g" % (step + 1, loss), flush=True)
            report(step + 1, loss)
    # All ranks must have arrived at the same model, bit for bit.
    same = star.all_reduce(weights)
    if any(abs(s - size * w) > 1e-12 for s, w in zip(same, weights)):
        sys.exit("rank %d ended with another model than the others" % rank)
    print("rank %d of %d: weights %s" % (rank, size, " ".join("%.4f" % w for w in weights)))
    if rank == 0:
        out = os.environ.get("MLQ_OUTPUT", ".")
        with open(os.path.join(out, "weights.json"), "w", encoding="utf-8") as file:
            json.dump({"weights": weights, "ranks": size}, file)
        with open(os.path.join(out, "metrics.json"), "w", encoding="utf-8") as file:
            json.dump({"loss": loss, "ranks": size}, file)


if __name__ == "__main__":
    main()
