# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: mlq authors
"""Data-parallel JAX over the ranks of a gang, from the variables that mlq sets.

Each process holds its own part of the rows; the jitted step sees one array over all processes, so that XLA
adds the gradients by itself. On CPUs the processes talk over Gloo, on GPUs over NCCL. Process 0 saves now and
then; on SIGTERM all leave behind the same step, and another attempt goes on, with another number of processes
where there is more room, or less.

By hand, in two terminals:

    JAX_COORDINATOR_ADDRESS=127.0.0.1:29500 JAX_NUM_PROCESSES=2 JAX_PROCESS_ID=0 python3 train.py
    JAX_COORDINATOR_ADDRESS=127.0.0.1:29500 JAX_NUM_PROCESSES=2 JAX_PROCESS_ID=1 python3 train.py
"""
import json
import os
import signal
import sys

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

STEPS = int(os.environ.get("STEPS", "200"))
STEPS_PER_SAVE = 20
ROWS = 1024  # of all processes
RATE = 0.5
TRUTH = np.array([1.5, -2.0, 0.5], dtype=np.float32)
CHECKPOINT = os.path.join(os.environ.get("MLQ_CHECKPOINT", "."), "weights.npz")
REQUEUE = 75  # "saved, run me again": not a failure

asked = {"stop": False}


def connect():
    if jax.config.jax_platforms == "cpu" or not os.environ.get("CUDA_VISIBLE_DEVICES"):
        jax.config.update("jax_platforms", "cpu")
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(
        coordinator_address=os.environ["JAX_COORDINATOR_ADDRESS"],
        num_processes=int(os.environ["JAX_NUM_PROCESSES"]),
        process_id=int(os.environ["JAX_PROCESS_ID"]),
    )
    signal.signal(signal.SIGTERM, lambda *_: asked.update(stop=True))  # after JAX has set its own


def own_rows(sharding):
    """The rows are the same whatever the number of processes; each keeps its part of them."""
    random = np.random.default_rng(0)
    count = ROWS // jax.process_count() * jax.process_count()
    rows = random.normal(size=(ROWS, TRUTH.size)).astype(np.float32)[:count]
    labels = (rows @ TRUTH + 0.1 * random.normal(size=count) > 0).astype(np.float32)
    parts = (np.split(whole, jax.process_count())[jax.process_index()] for whole in (rows, labels))
    return tuple(jax.make_array_from_process_local_data(sharding, part) for part in parts)


def loss(weights, rows, labels):
    logits = rows @ weights
    return jnp.mean(jnp.maximum(logits, 0) - logits * labels + jnp.log1p(jnp.exp(-jnp.abs(logits))))


@jax.jit
def step(weights, rows, labels):
    value, gradient = jax.value_and_grad(loss)(weights, rows, labels)
    return weights - RATE * gradient, value


def load():
    if not os.path.exists(CHECKPOINT):
        return np.zeros(TRUTH.size, np.float32), 0
    with np.load(CHECKPOINT) as saved:
        return saved["weights"], int(saved["step"])


def save(weights, number):
    """Whole or not there. All have the same weights; process 0 writes them."""
    if jax.process_index() == 0:
        with open(CHECKPOINT + ".new", "wb") as file:
            np.savez(file, weights=np.asarray(weights), step=number)
        os.replace(CHECKPOINT + ".new", CHECKPOINT)


def all_agree_to_stop():
    """SIGTERM reaches the processes at different moments; all must leave behind the same step."""
    return bool(np.any(multihost_utils.process_allgather(np.array([asked["stop"]]))))


def main():
    connect()
    mesh = Mesh(np.array(jax.devices()), ("rows",))
    rows, labels = own_rows(NamedSharding(mesh, PartitionSpec("rows")))
    start, first = load()
    print("process %d of %d begins at step %d, restart %s"
          % (jax.process_index(), jax.process_count(), first, os.environ.get("MLQ_RETRY", "0")), flush=True)
    multihost_utils.sync_global_devices("loaded")  # before process 0 writes the next one
    weights = jax.device_put(start, NamedSharding(mesh, PartitionSpec()))
    for number in range(first, STEPS):
        weights, _ = step(weights, rows, labels)
        if (number + 1) % STEPS_PER_SAVE == 0:
            save(weights, number + 1)
            if all_agree_to_stop():
                jax.distributed.shutdown()
                sys.exit(REQUEUE)
    accuracy = jnp.mean((rows @ weights > 0) == (labels > 0.5))
    result = {"train_loss": float(loss(weights, rows, labels)), "accuracy": float(accuracy), "processes": jax.process_count()}
    print("process %d of %d: %s" % (jax.process_index(), jax.process_count(), result), flush=True)
    if jax.process_index() == 0:
        with open(os.path.join(os.environ.get("MLQ_OUTPUT", "."), "metrics.json"), "w", encoding="utf-8") as file:
            json.dump(result, file)
    jax.distributed.shutdown()  # waits for the others


if __name__ == "__main__":
    main()
