# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: mlq authors
"""TensorFlow's MultiWorkerMirroredStrategy over the ranks of a gang, from the TF_CONFIG that mlq sets.

A custom loop: every worker runs the same step on its own rows, and the strategy adds the gradients.
"""
import json
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf

STEPS = 100
ROWS = 512  # per worker
RATE = 0.5
TRUTH = np.array([[1.5], [-2.0], [0.5]], dtype=np.float32)


def own_rows(index):
    random = np.random.default_rng(index)
    rows = random.normal(size=(ROWS, TRUTH.size)).astype(np.float32)
    labels = (rows @ TRUTH > 0).astype(np.float32)
    return tf.constant(rows), tf.constant(labels)


def main():
    task = json.loads(os.environ["TF_CONFIG"])["task"]
    strategy = tf.distribute.MultiWorkerMirroredStrategy()  # meets the others
    workers = strategy.num_replicas_in_sync
    rows, labels = own_rows(task["index"])
    with strategy.scope():
        weights = tf.Variable(tf.zeros_like(TRUTH))

    def own_step():
        with tf.GradientTape() as tape:
            logits = rows @ weights
            loss = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=logits))
        gradient = tape.gradient(loss, weights)
        context = tf.distribute.get_replica_context()
        weights.assign_sub(RATE * context.all_reduce(tf.distribute.ReduceOp.MEAN, gradient))
        return context.all_reduce(tf.distribute.ReduceOp.MEAN, loss)

    @tf.function
    def step():
        return strategy.experimental_local_results(strategy.run(own_step))[0]

    for _ in range(STEPS):
        loss = step()
    accuracy = float(tf.reduce_mean(tf.cast((rows @ weights > 0) == (labels > 0.5), tf.float32)))
    result = {"train_loss": float(loss), "accuracy": accuracy, "workers": workers}
    print("worker %d of %d: %s" % (task["index"], workers, result), flush=True)
    if task["index"] == 0:
        with open(os.path.join(os.environ["MLQ_OUTPUT"], "metrics.json"), "w", encoding="utf-8") as file:
            json.dump(result, file)


if __name__ == "__main__":
    main()
