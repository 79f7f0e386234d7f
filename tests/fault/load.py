# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: mlq authors
#
# Clients that submit without end, each through the real `mlq submit`, and keep a journal of what they were
# told. A line is on the disk before the command is started, and again before its answer is believed.
import json
import os
import random
import socket
import subprocess
import sys
import threading
import time

from cluster import now_s

ALLOWED = {0, 4, 6, 7}  # what a submit that is right may exit with while things break
CALL_S = 60


class Journal:
    def __init__(self, path):
        self.fd = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
        self.lock = threading.Lock()
        self.lines = []

    def write(self, **line):
        with self.lock:
            os.write(self.fd, (json.dumps(line) + "\n").encode())
            os.fsync(self.fd)
            self.lines.append(line)


# ---- What is submitted ----

def stage(work, seconds, child=False, **more):
    words = [sys.executable, "-IS", work + "/task.py", work + "/tasks", f"{seconds:.3f}"] + (["child"] if child else [])
    return {"run": words, "grace": "1s",
            "retry": {"limit": 10000, "on": ["node", "lease"], "backoff": "100ms", "backoff_max": "1s"}, **more}


def one_task(work, rng):
    short, long, longer = (0.05, 1), (3, 7), (14, 20)  # the last goes on when its worker has been given up
    seconds = rng.uniform(*rng.choices((short, long, longer), (6, 2, 3))[0])
    return {"main": stage(work, seconds, child=rng.random() < 0.3)}


def array(work, rng):
    return {"main": stage(work, rng.uniform(0.05, 0.3), array=rng.randint(3, 10))}


def gang(work, rng):
    ranks, cpus = rng.choice(((2, 3), (3, 2)))  # over two workers, so that it starts while one is away
    return {"main": stage(work, rng.uniform(0.2, 3), child=rng.random() < 0.3, ranks=ranks,
                          resources={"cpus": cpus})}


def dag(work, rng):
    return {"a": stage(work, rng.uniform(0.05, 0.5)),
            "b": stage(work, rng.uniform(0.05, 0.5), needs=["a"]),
            "c": stage(work, rng.uniform(0.05, 0.5), needs=["a"], ranks=2),
            "d": stage(work, rng.uniform(0.05, 0.5), needs=["b", "c"])}


def listens(endpoint):
    host, port = endpoint.removeprefix("tcp://").split(":")
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((host, int(port))) == 0


SHAPES = {"job": one_task, "array": array, "dag": dag, "gang": gang}


class Client(threading.Thread):
    def __init__(self, number, cluster, journal, seed, rate):
        super().__init__(daemon=True)
        self.number, self.cluster, self.journal, self.rate = number, cluster, journal, rate
        self.rng = random.Random(f"client {number} of {seed}")
        self.faults_over = threading.Event()
        self.give_up = threading.Event()
        self.hold = threading.Event()  # set: enough is waiting
        self.known = []                # (key, spec) that were acknowledged

    def run(self):
        count = 0
        while not self.faults_over.is_set():
            if self.hold.is_set():
                self.faults_over.wait(0.2)
                continue
            count += 1
            self._one(f"c{self.number}-{count}")
            self.faults_over.wait(self.rng.uniform(0, 2 / self.rate))

    def _one(self, key):
        shape = self.rng.choices(list(SHAPES), (4, 2, 2, 2))[0]
        stages = SHAPES[shape](self.cluster.work, self.rng)
        spec = json.dumps({"apiVersion": "mlq/v1", "kind": "Pipeline", "metadata": {"name": key},
                           "spec": {"stages": stages}})
        self.journal.write(at=now_s(), key=key, shape=shape, stages=stages)
        if not self._until_accepted(key, spec):
            return
        self.known.append((key, spec))
        if self.rng.random() < 0.05:
            self._cancel(key)
        if self.rng.random() < 0.2:  # said again much later, to whoever leads then: the same job
            self._submit(*self.rng.choice(self.known))

    def _until_accepted(self, key, spec):
        while not self.give_up.is_set():
            if self._submit(key, spec, twice=self.rng.random() < 0.1) is not None:
                return True
            if not self.faults_over.is_set() and self.rng.random() < 0.1:
                self.journal.write(at=now_s(), key=key, abandoned=True)
                return False
            time.sleep(self.rng.uniform(0, 0.3))
        return False

    def _endpoints(self):
        """All, mostly with one in front that listens: a command names one, and waits 10 s for one that does not."""
        endpoints = self.rng.sample(self.cluster.endpoints, 2)
        until = now_s() + 3
        while self.rng.random() < 0.98 and now_s() < until:
            for endpoint in endpoints:
                if listens(endpoint):
                    return [endpoint] * 2
            time.sleep(0.1)
        return endpoints

    def _submit(self, key, spec, twice=False):
        """The job's id, if it was accepted. `twice`: by two commands at the same time."""
        endpoints = self._endpoints()
        self.journal.write(at=now_s(), key=key, sends=2 if twice else 1, wall=time.time())
        calls = [self._start(key, endpoint) for endpoint in (endpoints if twice else endpoints[:1])]
        for call in calls:
            call.stdin.write(spec.encode())
            call.stdin.close()
        return next((job for job in [self._finish(key, call) for call in calls] if job is not None), None)

    def _start(self, key, endpoint):
        return subprocess.Popen([self.cluster.bin + "/mlq", "submit", "-", "-q", "--idempotency-key", key],
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                env=self.cluster.client_env(endpoint))

    def _finish(self, key, call):
        try:
            call.wait(CALL_S)
        except subprocess.TimeoutExpired:
            call.kill()
            call.wait()
        out, said = call.stdout.read().decode().strip(), call.stderr.read().decode().strip()
        call.stdout.close()
        call.stderr.close()
        line = {"at": now_s(), "key": key, "code": call.returncode}
        line.update({"job": int(out)} if call.returncode == 0 else {"said": said[-300:]})
        self.journal.write(**line)
        return line.get("job")

    def _cancel(self, key):
        job = next(line["job"] for line in self.journal.lines if line["key"] == key and "job" in line)
        self.journal.write(at=now_s(), key=key, cancels=job)
        for endpoint in self.cluster.endpoints:
            subprocess.run([self.cluster.bin + "/mlq", "cancel", str(job)], stdin=subprocess.DEVNULL,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=self.cluster.client_env(endpoint))
