# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: mlq authors
"""Data-parallel JAX over the ranks of a gang, from the variables that mlq sets.

Each process holds its own part of the rows; the jitted step sees one array over all processes, so that XLA
adds the gradients by itself. On CPUs the processes talk over Gloo, on GPUs over NCCL.

By hand, in two terminals:

    JAX_COORDINATOR_ADDRESS=127.0.0.1:29500 JAX_NUM_PROCESSES=2 JAX_PROCESS_ID=0 MLQ_OUTPUT=. python3 train.py
    JAX_COORDINATOR_ADDRESS=127.0.0.1:29500 JAX_NUM_PROCESSES=2 JAX_PROCESS_ID=1 MLQ_OUTPUT=. python3 train.py
"""
import json
import os

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

STEPS = 200
ROWS = 512  # per process
RATE = 0.5
TRUTH = np.array([1.5, -2.0, 0.5], dtype=np.float32)


def connect():
    if jax.config.jax_platforms == "cpu" or not os.environ.get("CUDA_VISIBLE_DEVICES"):
        jax.config.update("jax_platforms", "cpu")
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(
        coordinator_address=os.environ["JAX_COORDINATOR_ADDRESS"],
        num_processes=int(os.environ["JAX_NUM_PROCESSES"]),
        process_id=int(os.environ["JAX_PROCESS_ID"]),
    )


def own_rows(sharding):
    """Rows that only this process has, as its part of arrays over all processes."""
    random = np.random.default_rng(jax.process_index())
    rows = random.normal(size=(ROWS, TRUTH.size)).astype(np.float32)
    labels = (rows @ TRUTH + 0.1 * random.normal(size=ROWS) > 0).astype(np.float32)
    return tuple(jax.make_array_from_process_local_data(sharding, part) for part in (rows, labels))


def loss(weights, rows, labels):
    logits = rows @ weights
    return jnp.mean(jnp.maximum(logits, 0) - logits * labels + jnp.log1p(jnp.exp(-jnp.abs(logits))))


@jax.jit
def step(weights, rows, labels):
    value, gradient = jax.value_and_grad(loss)(weights, rows, labels)
    return weights - RATE * gradient, value


def main():
    connect()
    mesh = Mesh(np.array(jax.devices()), ("rows",))
    rows, labels = own_rows(NamedSharding(mesh, PartitionSpec("rows")))
    weights = jax.device_put(jnp.zeros(TRUTH.size), NamedSharding(mesh, PartitionSpec()))
    for _ in range(STEPS):
        weights, value = step(weights, rows, labels)
    accuracy = jnp.mean((rows @ weights > 0) == (labels > 0.5))
    result = {"train_loss": float(value), "accuracy": float(accuracy), "processes": jax.process_count()}
    print("process %d of %d: %s" % (jax.process_index(), jax.process_count(), result), flush=True)
    if jax.process_index() == 0:
        with open(os.path.join(os.environ["MLQ_OUTPUT"], "metrics.json"), "w", encoding="utf-8") as file:
            json.dump(result, file)
    jax.distributed.shutdown()  # waits for the others


if __name__ == "__main__":
    main()
