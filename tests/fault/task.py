# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: mlq authors
#
# What every task of the fault test runs: python3 -IS task.py FOLDER SECONDS [child]
#
# It keeps a journal of its own, so that what ran is known without asking mlq: FOLDER/JOB.STAGE.INDEX/ATTEMPT-RANK
# holds three times (CLOCK_BOOTTIME, nanoseconds) of a process: when it began, when it last ran (written every
# 10 ms, so that it is right to 10 ms when it is killed), and when it came to its end. With `child` it leaves a
# process in the background, in a session of its own, that would go on for minutes: mlq has to kill that, too.
import json
import os
import struct
import sys
import time

PERIOD_S = 0.01


def now_ns():
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class Journal:
    def __init__(self, path):
        flags = os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC
        try:
            self.fd = os.open(path, flags | os.O_EXCL, 0o600)
        except FileExistsError:
            self.fd = os.open(path + ".again", flags, 0o600)  # one rank of one attempt ran twice: a finding
        self.start = now_ns()
        self.mark(0)
        os.fsync(self.fd)

    def mark(self, end):
        os.pwrite(self.fd, struct.pack("<qqq", self.start, end or now_ns(), end), 0)

    def run(self, seconds):
        until = self.start + int(seconds * 1e9)
        while now_ns() < until:
            time.sleep(PERIOD_S)
            self.mark(0)

    def end(self):
        self.mark(now_ns())
        os.fsync(self.fd)


def check_inputs(env):
    """Each stage that this one needs left a result that says so."""
    for name, path in env.items():
        if name.startswith("MLQ_INPUT_"):
            with open(path + "/result.json") as file:
                result = json.load(file)
            if result["stage"].upper() != name[len("MLQ_INPUT_"):] or result["job"] != env["MLQ_JOB"]:
                sys.exit(f"{name} holds the result of {result}")


def leave_child(path):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            Journal(path + ".child").run(300)
        os._exit(0)
    os.wait()


def main():
    env = os.environ
    rank = env.get("RANK", "0")
    folder = f"{sys.argv[1]}/{env['MLQ_JOB']}.{env['MLQ_STAGE']}.{env['MLQ_INDEX']}"
    os.makedirs(folder, exist_ok=True)
    path = f"{folder}/{env['MLQ_ATTEMPT']}-{rank}"
    journal = Journal(path)
    check_inputs(env)
    if "child" in sys.argv[3:]:
        leave_child(path)
    journal.run(float(sys.argv[2]))
    result = {"job": env["MLQ_JOB"], "stage": env["MLQ_STAGE"], "index": env["MLQ_INDEX"],
              "attempt": env["MLQ_ATTEMPT"], "rank": rank}
    with open(env["MLQ_OUTPUT"] + "/result.json", "w") as file:
        json.dump(result, file)
    journal.end()


main()
