# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: mlq authors
#
# What must be true when all is over. Three witnesses are held against each other: the journal of the clients
# (what was promised), the journals of the tasks (what ran), and the record. Pure functions of those, so that
# test_oracle.py can break each in one way and see that it is noticed.
import collections
import hashlib
import json
import os
import struct

QUERIES = {
    "jobs": "SELECT id, name, key, state, cause, retries FROM mlq.job ORDER BY id",
    "stages": "SELECT job, idx, name, array_count, ranks, needs, state FROM mlq.stage ORDER BY job, idx",
    "submissions": "SELECT key, job, extract(epoch FROM at) AS at FROM mlq.submission",
    "facts": "SELECT seq, job, epoch, attempt, worker, stage, index, rank, ranks, round, kind, cause, state"
             "  FROM mlq.fact ORDER BY seq, nth",
    "artifacts": "SELECT job, attempt, bytes, stage, index, rank, is_tree, name, digest FROM mlq.artifact",
}

Run = collections.namedtuple("Run", "job stage index attempt rank child again start last end")


NOT_SENT = {4, 5, 6}  # refused, invalid, unreachable: the exits of mlq submit that say that there is no job

CLOCK_S = 0.25         # a scheduler maps its times to the wall clock once


class Claim:
    """What the clients know of one key."""

    def __init__(self, shape, stages):
        self.shape, self.stages = shape, stages
        self.jobs = set()      # that were said to have been accepted under it: one at most, if all is well
        self.codes = set()
        self.answers = 0
        self.sends = 0
        self.sent = None       # wall clock before the latest command
        self.may_exist = None  # the same of the first that did not say that it was refused, or sent nothing
        self.abandoned = False
        self.cancelled = False

    def accepted(self):
        return min(self.jobs) if self.jobs else None

    def must_not_exist(self):
        """Each time it was refused, or nothing was sent; and every answer came."""
        return not self.jobs and self.codes <= NOT_SENT and self.answers == self.sends


def read_claims(lines):
    claims = {}
    for line in lines:
        if "shape" in line:
            claims[line["key"]] = Claim(line["shape"], line["stages"])
            continue
        claim = claims[line["key"]]
        claim.sends += line.get("sends", 0)
        claim.sent = line.get("wall", claim.sent)
        claim.abandoned = claim.abandoned or "abandoned" in line
        claim.cancelled = claim.cancelled or "cancels" in line
        if "code" in line:
            claim.answers += 1
            claim.codes.add(line["code"])
            if claim.may_exist is None and line["code"] not in NOT_SENT:
                claim.may_exist = claim.sent
        if "job" in line:
            claim.jobs.add(line["job"])
    return claims


def read_runs(folder):
    runs = []
    for task in os.listdir(folder):
        job, stage, index = task.split(".")
        for name in os.listdir(f"{folder}/{task}"):
            with open(f"{folder}/{task}/{name}", "rb") as file:
                times = file.read(24)
            if len(times) == 24:  # else it was killed before its first word
                words = name.split(".")
                attempt, rank = words[0].split("-")
                runs.append(Run(int(job), stage, int(index), int(attempt), int(rank), "child" in words[1:],
                                "again" in words[1:], *struct.unpack("<qqq", times)))
    return runs


class Findings:
    def __init__(self):
        self.items = []

    def add(self, kind, text):
        self.items.append((kind, text))

    def count(self, kind):
        return sum(1 for k, _ in self.items if k == kind)


# ---- Promise 1: nothing accepted is lost, nothing is there twice, nothing is there that nobody sent ----

def check_claims(claims, record, found):
    by_id = {job["id"]: job for job in record["jobs"]}
    by_key = collections.defaultdict(set)
    for job in record["jobs"]:
        by_key[job["key"]].add(job["id"])
        if job["name"] != job["key"] or job["key"] not in claims:
            found.add("ghost", f"job {job['id']} '{job['name']}' has key '{job['key']}', which nobody sent under that name")
    submissions = {row["key"]: row["job"] for row in record["submissions"]}
    for row in record["submissions"]:
        claim = claims.get(row["key"])
        if claim is not None and claim.may_exist is not None and row["at"] < claim.may_exist - CLOCK_S:
            found.add("ghost", f"key {row['key']} was recorded {claim.may_exist - row['at']:.2f} s before the first command "
                               "that did not say that nothing was sent")
    for key, claim in claims.items():
        job = claim.accepted()
        if len(claim.jobs | by_key[key]) > 1:
            found.add("doubled", f"key {key} is jobs {sorted(claim.jobs | by_key[key])}")
        if job is not None and (job not in by_id or submissions.get(key) != job):
            found.add("lost", f"job {job} was accepted under key {key}; the record knows {submissions.get(key)}")
        if by_key[key] and claim.must_not_exist():
            found.add("ghost", f"key {key} was refused each time (codes {sorted(claim.codes)}), and is job {by_key[key]}")
        for job in by_key[key]:
            state = by_id[job]["state"]
            if state in ("pending", "running"):
                found.add("lost", f"job {job} (key {key}, {claim.shape}) is still {state}")
            elif state != "succeeded" and not (state == "cancelled" and claim.cancelled):
                found.add("failed", f"job {job} (key {key}, {claim.shape}) is {state}, and must have succeeded")


# ---- Promise 2: a result is there once; a gang is whole ----

def attempts_of(record):
    """{(job, stage, index, attempt): {rank: {kind: fact}}}"""
    attempts = collections.defaultdict(lambda: collections.defaultdict(dict))
    for fact in record["facts"]:
        if fact["attempt"] > 0:
            ranks = attempts[fact["job"], fact["stage"], fact["index"], fact["attempt"]]
            ranks[fact["rank"]][fact["kind"]] = fact
    return attempts


def succeeded(ranks):
    return all(facts.get("ended", {}).get("cause") == "none" for facts in ranks.values())


def check_successes(record, found):
    stages = {(s["job"], s["idx"]): s for s in record["stages"]}
    wins = collections.Counter()
    for (job, stage, index, attempt), ranks in attempts_of(record).items():
        size = stages[job, stage]["ranks"]
        assigned = sorted(rank for rank, facts in ranks.items() if "assigned" in facts)
        if assigned != list(range(size)):
            found.add("gang", f"attempt {attempt} of job {job} has ranks {assigned}, not {size} of them")
        if any("ended" not in facts for facts in ranks.values()):
            found.add("illegal", f"attempt {attempt} of job {job} has not ended")
        wins[job, stage, index] += succeeded(ranks)
    for (job, stage, index), count in wins.items():
        if count > 1:
            found.add("doubled", f"task {job}.{stage}.{index} succeeded {count} times")
    for (job, idx), stage in stages.items():
        missing = [i for i in range(stage["array_count"]) if wins[job, idx, i] == 0]
        if stage["state"] == "succeeded" and missing:
            found.add("lost", f"stage {job}.{stage['name']} succeeded without the result of {missing}")


# ---- Only legal moves, in the order of the record ----

LEGAL = {"assigned": {None}, "started": {"assigned"}, "ended": {"assigned", "started"}}


def check_moves(record, found):
    last = {}
    epoch = 0
    for fact in record["facts"]:
        where = f"fact {fact['seq']} '{fact['kind']}' of job {fact['job']}"
        if fact["epoch"] < epoch:
            found.add("fence", f"{where} is of epoch {fact['epoch']}, after one of {epoch}")
        epoch = max(epoch, fact["epoch"])
        if fact["attempt"] == 0:
            continue
        member = fact["job"], fact["attempt"], fact["rank"]
        if last.get(member) not in LEGAL[fact["kind"]]:
            found.add("illegal", f"{where} follows '{last.get(member)}'")
        if fact["kind"] == "assigned" and fact["attempt"] >> 32 != fact["epoch"]:
            found.add("fence", f"{where}: attempt {fact['attempt']} is not of epoch {fact['epoch']}")
        last[member] = fact["kind"]


def check_order(record, found):
    """A stage begins after its needs have succeeded, and nothing begins after an end."""
    needs = {(s["job"], s["idx"]): s["needs"] for s in record["stages"]}
    ended = {}
    over = {}
    for fact in record["facts"]:
        job, stage = fact["job"], fact["stage"]
        if fact["kind"] == "stage ended":
            ended[job, stage] = fact["state"]
        elif fact["kind"] == "job ended":
            over[job] = fact["state"]
        elif fact["kind"] == "assigned":
            if job in over or (job, stage) in ended:
                found.add("order", f"attempt {fact['attempt']} of {job}.{stage} was assigned after the end")
            if any(ended.get((job, need)) != "succeeded" for need in needs[job, stage]):
                found.add("order", f"attempt {fact['attempt']} of {job}.{stage} was assigned before its needs succeeded")
    for row in record["jobs"]:
        if over.get(row["id"]) != row["state"]:
            found.add("illegal", f"job {row['id']} is {row['state']}, its journal says {over.get(row['id'])}")
    for row in record["stages"]:
        if ended.get((row["job"], row["idx"])) != row["state"]:
            found.add("illegal", f"stage {row['job']}.{row['name']} is {row['state']}, its journal says "
                                 f"{ended.get((row['job'], row['idx']))}")


def check_room(claims, record, worker_cpus, found):
    """What is placed on a worker at any time fits into it."""
    keys = {job["id"]: job["key"] for job in record["jobs"]}
    names = {(s["job"], s["idx"]): s["name"] for s in record["stages"]}
    used = collections.Counter()
    for fact in record["facts"]:
        claim = claims.get(keys.get(fact["job"]))
        if claim is None or fact["kind"] not in ("assigned", "ended"):
            continue
        cpus = claim.stages[names[fact["job"], fact["stage"]]].get("resources", {}).get("cpus", 1)
        used[fact["worker"]] += cpus if fact["kind"] == "assigned" else -cpus
        if used[fact["worker"]] > worker_cpus:
            found.add("room", f"fact {fact['seq']}: worker {fact['worker']} has {used[fact['worker']]} CPUs of "
                              f"{worker_cpus} in use")


# ---- Promise 4: what ran, by the tasks' own clocks ----

def check_runs(runs, record, found):
    names = {(s["job"], s["idx"]): s["name"] for s in record["stages"]}
    known = {(f["job"], names[f["job"], f["stage"]], f["index"], f["attempt"], f["rank"])
             for f in record["facts"] if f["kind"] == "assigned"}
    done = {(r.job, r.stage, r.index, r.attempt, r.rank) for r in runs if r.end and not r.child}
    tasks = collections.defaultdict(list)
    for run in runs:
        if run.again:
            found.add("overlap", f"rank {run.rank} of attempt {run.attempt} ran twice")
        if (run.job, run.stage, run.index, run.attempt, run.rank) not in known:
            found.add("fence", f"attempt {run.attempt} of job {run.job} ran; it was never recorded")
        tasks[run.job, run.stage, run.index].append(run)
    for task, its in tasks.items():
        its.sort(key=lambda run: run.start)
        latest = its[0]
        for run in its[1:]:
            if run.start < latest.last and run.attempt != latest.attempt:
                found.add("overlap", f"task {'.'.join(map(str, task))}: attempt {run.attempt} rank {run.rank} began "
                                     f"{(latest.last - run.start) / 1e9:.3f} s before attempt {latest.attempt} rank "
                                     f"{latest.rank}{' (child)' if latest.child else ''} was over")
            latest = max(latest, run, key=lambda r: r.last)
    for (job, stage, index, attempt), ranks in attempts_of(record).items():
        for rank in ranks if succeeded(ranks) else ():
            if (job, names[job, stage], index, attempt, rank) not in done:
                found.add("unrun", f"rank {rank} of attempt {attempt} of job {job} succeeded in the record, and never ran to its end")


# ---- Artifacts ----

def object_path(store, digest):
    hexa = digest.removeprefix("sha256:")
    return f"{store}/objects/{hexa[:2]}/{hexa[2:]}"


def check_artifacts(store, record, found):
    names = {(s["job"], s["idx"]): s["name"] for s in record["stages"]}
    ended = {(f["job"], f["stage"], f["attempt"], f["rank"]) for f in record["facts"] if f["kind"] == "ended"}
    results = set()
    for row in record["artifacts"]:
        what = f"artifact '{row['name']}' of attempt {row['attempt']} rank {row['rank']} of job {row['job']}"
        if (row["job"], row["stage"], row["attempt"], row["rank"]) not in ended:
            found.add("artifact", f"{what} is there without an end of that attempt")
        try:
            with open(object_path(store, row["digest"]), "rb") as file:
                data = file.read()
        except OSError as error:
            found.add("artifact", f"{what}: {error.strerror}: {row['digest']}")
            continue
        if "sha256:" + hashlib.sha256(data).hexdigest() != row["digest"] or (not row["is_tree"] and len(data) != row["bytes"]):
            found.add("artifact", f"{what} is not what its digest says")
        elif row["name"] == "result.json":
            said = {"job": row["job"], "stage": names[row["job"], row["stage"]], "index": row["index"],
                    "attempt": row["attempt"], "rank": row["rank"]}
            results.add((row["job"], row["stage"], row["index"], row["attempt"], row["rank"]))
            if json.loads(data) != {key: str(value) for key, value in said.items()}:
                found.add("artifact", f"{what} is of another: {data.decode()}")
    for (job, stage, index, attempt), ranks in attempts_of(record).items():
        if succeeded(ranks) and any((job, stage, index, attempt, rank) not in results for rank in ranks):
            found.add("artifact", f"attempt {attempt} of job {job} succeeded, and not each rank's result is there")


def check_store(store, found):
    for folder, _, files in os.walk(store + "/objects"):
        for name in files:
            with open(f"{folder}/{name}", "rb") as file:
                if hashlib.sha256(file.read()).hexdigest() != os.path.basename(folder) + name:
                    found.add("store", f"object {os.path.basename(folder)}{name} is not what its name says")


def check(claims, runs, record, store, worker_cpus):
    found = Findings()
    check_claims(claims, record, found)
    check_successes(record, found)
    check_moves(record, found)
    check_order(record, found)
    check_room(claims, record, worker_cpus, found)
    check_runs(runs, record, found)
    check_artifacts(store, record, found)
    check_store(store, found)
    return found
