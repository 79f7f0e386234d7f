# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: mlq authors
"""A training that can be stopped, moved and asked to save at any moment, and loses no step.

SIGTERM   somebody else needs the machine: save, exit with 75 ("saved, run me again": not a failure)
SIGUSR1   `mlq checkpoint JOB`: save and go on
SIGKILL   nobody can catch it: the next attempt goes on from the last save

Handlers only note what is asked; the loop acts between two steps, where the state is whole.

By hand:   MLQ_CHECKPOINT=. MLQ_OUTPUT=. python3 train.py
"""
import json
import os
import signal
import subprocess
import sys
import time

REQUEUE = 75
SAVE_EVERY_S = 5.0
RATE = 0.05
TRUTH = 3.0

asked = {"stop": False, "save": False}
signal.signal(signal.SIGTERM, lambda *_: asked.update(stop=True))
signal.signal(signal.SIGUSR1, lambda *_: asked.update(save=True))


def save(state, path):
    """Whole or not there, also when the machine dies in the middle."""
    with open(path + ".new", "w", encoding="utf-8") as file:
        json.dump(state, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(path + ".new", path)
    print("saved at step %d" % state["step"], flush=True)
    if os.environ.get("MLQ_CONTROL"):
        subprocess.run(["mlq-task", "checkpoint", path], check=False)


def load(path):
    if not os.path.exists(path):
        return {"step": 0, "weight": 0.0}
    with open(path, encoding="utf-8") as file:
        state = json.load(file)
    print("goes on at step %d" % state["step"], flush=True)
    return state


def main():
    steps = int(os.environ.get("STEPS", "200"))
    path = os.path.join(os.environ["MLQ_CHECKPOINT"], "state.json")
    state = load(path)
    saved_at = time.monotonic()
    while state["step"] < steps:
        state["weight"] += RATE * (TRUTH - state["weight"])  # your training
        state["step"] += 1
        time.sleep(float(os.environ.get("STEP_SECONDS", "0.05")))
        if asked["stop"] or asked["save"] or time.monotonic() - saved_at > SAVE_EVERY_S:
            save(state, path)
            saved_at = time.monotonic()
            asked["save"] = False
        if asked["stop"]:
            sys.exit(REQUEUE)
    with open(os.path.join(os.environ["MLQ_OUTPUT"], "metrics.json"), "w", encoding="utf-8") as file:
        json.dump({"steps": state["step"], "weight": state["weight"]}, file)


if __name__ == "__main__":
    main()
