#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: mlq authors
#
# Real crashes: the real programs under load, shot and starved at random; then everything must finish, and what
# was promised, what ran and what is on record must agree. README.md says what is done and what is checked.
import argparse
import bisect
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time

import cluster as clusters
import faults
import load
import oracle
from cluster import now_s

CLIENTS = 4
LIVE_JOBS_MAX = 30       # more than that and the clients pause
CLEAN_S = 60             # from the last end until nothing of any attempt is left
INSIDE = "MLQ_FAULT_INSIDE"
# Namespaces of its own: what is mounted, connected or started here ends with this process.
NAMESPACES = ["unshare", "--mount", "--net", "--pid", "--fork", "--mount-proc", "--kill-child"]
TROUBLE = re.compile(r"ERROR: AddressSanitizer|ERROR: LeakSanitizer|runtime error:| error panic |PANIC.*mlq")


def parse():
    parser = argparse.ArgumentParser(description="Kills, stops, cuts off and starves a cluster under load.")
    parser.add_argument("--bin", required=True, help="folder of mlq's programs")
    parser.add_argument("--minutes", type=float, default=1, help="of faults (default: 1)")
    parser.add_argument("--seed", type=int, default=None, help="default: another each time")
    parser.add_argument("--rate", type=float, default=1.0, help="jobs a second that each of 4 clients submits")
    parser.add_argument("--pause", type=float, default=1.5, help="mean seconds from a fault to the next")
    parser.add_argument("--drain", type=float, default=120, help="seconds for all to finish after the last fault")
    parser.add_argument("--only", action="append", choices=list(faults.KINDS), help="this kind (again and again)")
    parser.add_argument("--work", help="folder to work in (default: a temporary one)")
    parser.add_argument("--keep", action="store_true", help="keep the folder even if nothing was found")
    parser.add_argument("--json", metavar="FILE", help="the report, also as JSON; - is standard output")
    options = parser.parse_args()
    options.bin = os.path.abspath(options.bin)
    options.seed = random.SystemRandom().randrange(1 << 31) if options.seed is None else options.seed
    return options


def enter_namespaces():
    """Starts this program again inside of them, where that is allowed."""
    if os.environ.get(INSIDE) or os.geteuid() != 0:
        return
    if subprocess.run(NAMESPACES + ["ip", "link", "set", "lo", "up"], stderr=subprocess.DEVNULL).returncode == 0:
        script = 'ip link set lo up; "$@"; exit $?'  # the shell stays as process 1 and reaps
        os.environ[INSIDE] = "yes"
        os.execvp(NAMESPACES[0], NAMESPACES + ["sh", "-c", script, "sh", sys.executable] + sys.argv)


def say(text):
    print(f"fault: {text}", flush=True)


class Trial:
    def __init__(self, options, work):
        self.options, self.work = options, work
        self.cluster = clusters.Cluster(work, options.bin, bool(os.environ.get(INSIDE)))
        self.journal = load.Journal(work + "/client.journal")
        self.clients = [load.Client(n, self.cluster, self.journal, options.seed, options.rate) for n in range(CLIENTS)]
        self.faults = faults.Faults(self.cluster, random.Random(options.seed), options.only)
        self.report = {"seed": options.seed, "minutes": options.minutes}

    def _live_jobs(self):
        rows = self.cluster.try_sql("SELECT count(*) AS n FROM mlq.job WHERE ended_at IS NULL")
        return None if rows is None else rows[0]["n"]

    def _watch_load(self):
        """Holds the clients back while much is waiting. Runs beside the faults."""
        while not self.cluster.stopping.wait(0.5):
            live = self._live_jobs()
            for client in self.clients:
                (client.hold.set if live is not None and live > LIVE_JOBS_MAX else client.hold.clear)()

    def _await(self, seconds, condition):
        until = now_s() + seconds
        while now_s() < until:
            if condition():
                return True
            time.sleep(0.1)
        return False

    def start(self):
        self.cluster.create()
        self.cluster.start()
        serves = lambda: (self.cluster.try_sql("SELECT count(*) AS n FROM mlq.worker") or [{"n": 0}])[0]["n"]
        if not self._await(180, lambda: serves() == len(clusters.WORKERS)):
            raise RuntimeError(f"the cluster does not come up: see {self.work}/logs")
        load.threading.Thread(target=self._watch_load, daemon=True).start()
        for client in self.clients:
            client.start()

    def harm(self):
        until = now_s() + self.options.minutes * 60
        self.faults.run(until, self.options.pause, until + 20)

    def drain(self):
        """Faults are over: all that was begun must end, and nothing may be left."""
        begun = now_s()
        for client in self.clients:
            client.faults_over.set()
        done = lambda: not any(c.is_alive() for c in self.clients) and self._live_jobs() == 0
        self.report["drained"] = self._await(self.options.drain, done)
        self.report["drain_s"] = round(now_s() - begun, 1)
        for client in self.clients:
            client.give_up.set()
        left = lambda: (self.cluster.processes(), self.cluster.shims(), self.cluster.folders())
        self._await(CLEAN_S, lambda: not any(left()))
        self.left = left()

    def _check_ends(self, found):
        if not self.report["drained"]:
            found.add("stuck", f"after {self.options.drain:.0f} s without faults {self._live_jobs()} jobs have not ended")
        for what, items in zip(("process", "shim", "folder"), self.left):
            for item in items:
                found.add("leftover", f"{what} {item} of an attempt is left")
        for text in self.cluster.surprises:
            found.add("crash", text)
        for name in sorted(os.listdir(self.work + "/logs")):
            with open(f"{self.work}/logs/{name}", errors="replace") as file:
                for line in file:
                    if TROUBLE.search(line):
                        found.add("crash", f"{name}: {line.strip()}")
        for line in self.journal.lines:
            if line.get("code", 0) not in load.ALLOWED:
                found.add("client", f"mlq submit --idempotency-key {line['key']} exited with {line['code']}: {line['said']}")

    def _resumed(self):
        """By kind: seconds that the first job accepted after the end of each fault had waited since then, sorted."""
        begun = {line["key"]: line["at"] for line in self.journal.lines if "shape" in line}
        accepted = sorted((line["at"], begun[line["key"]]) for line in self.journal.lines if line.get("code") == 0)
        waits = {name: [] for name in self.faults.cycles}
        for fault in self.faults.trace:
            after = bisect.bisect(accepted, (fault["undone"],))
            if after < len(accepted):
                at, since = accepted[after]
                waits[fault["kind"]].append(round(at - max(since, fault["undone"]), 2))
        return {name: sorted(its) for name, its in waits.items()}

    def judge(self):
        record = {name: self.cluster.sql(text) for name, text in oracle.QUERIES.items()}
        claims = oracle.read_claims(self.journal.lines)
        runs = oracle.read_runs(self.cluster.tasks)
        found = oracle.check(claims, runs, record, self.cluster.store, clusters.WORKER_CPUS)
        self._check_ends(found)
        with open(self.work + "/record.json", "w") as file:
            json.dump(record, file)
        attempts = oracle.attempts_of(record)
        causes = [f["cause"] for ranks in attempts.values() for r in ranks.values() for f in [r.get("ended")] if f]
        codes = [line["code"] for line in self.journal.lines if "code" in line]
        self.report.update(
            exits={code: codes.count(code) for code in sorted(set(codes))}, resumed_s=self._resumed(),
            cycles=self.faults.cycles, skipped=self.faults.skipped(),
            accepted=sum(c.accepted() is not None for c in claims.values()), keys=len(claims),
            jobs=len(record["jobs"]), attempts=len(attempts), runs=len(runs),
            ends={cause: causes.count(cause) for cause in sorted(set(causes))},
            epochs=max((f["epoch"] for f in record["facts"]), default=0),
            lost=found.count("lost"), doubled=found.count("doubled"),
            findings=[{"kind": kind, "text": text} for kind, text in found.items])
        with open(self.work + "/faults.json", "w") as file:
            json.dump(self.faults.trace, file, indent=1)


def print_table(report):
    print(f"\n{'fault':<24}cycles   seconds until a job was accepted again: median, longest")
    for name, count in report["cycles"].items():
        waits = report["resumed_s"][name]
        print(f"{name:<24}{count:>6}" + (f"{waits[len(waits) // 2]:>9.1f}{waits[-1]:>9.1f}" if waits else ""))
    print(f"{'all':<24}{sum(report['cycles'].values()):>6}\n")
    print("mlq submit exited with " + ", ".join(f"{code} {count} times" for code, count in report["exits"].items()))
    print("{accepted} jobs accepted of {keys} begun, {jobs} on record, {attempts} attempts, {epochs} epochs; ends: ".format(**report)
          + ", ".join(f"{cause} {count}" for cause, count in report["ends"].items()))
    print("lost {lost}, doubled {doubled}, other findings {others}; all ended {drain_s} s after the last fault (seed {seed})".format(
        others=len(report["findings"]) - report["lost"] - report["doubled"], **report))
    for number, name in enumerate(report["skipped"], 1):  # in the form that tests/run.sh lists at its end
        print(f"ok {number} {name} # skip needs root and namespaces (unshare --mount --net --pid)")
    for finding in report["findings"][:40]:
        print(f"FOUND {finding['kind']}: {finding['text']}")


def main():
    options = parse()
    enter_namespaces()
    work = options.work or tempfile.mkdtemp(prefix="mlq-fault-")
    shutil.rmtree(work, ignore_errors=True)
    os.makedirs(work)
    os.chmod(work, 0o755)  # PostgreSQL runs as a user of its own
    trial = Trial(options, work)
    say(f"seed {options.seed}, {options.minutes:g} minutes of faults, in {work}")
    try:
        trial.start()
        trial.harm()
        say("no more faults; waiting for all to end")
        trial.drain()
        trial.judge()
    finally:
        trial.cluster.stop()
    print_table(trial.report)
    if options.json:
        with (sys.stdout if options.json == "-" else open(options.json, "w")) as file:
            json.dump(trial.report, file, indent=1)
    if trial.report["findings"] or options.keep:
        say(f"logs, journals and record are in {work}")
    else:
        if trial.cluster.isolated:
            subprocess.run(["umount", trial.cluster.disk], check=False)
        shutil.rmtree(work, ignore_errors=True)
    return 1 if trial.report["findings"] else 0


if __name__ == "__main__":
    sys.exit(main())
