# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: mlq authors
#
# The oracle of the fault test is itself tested: a small history in which all is well, broken in one way at a
# time; each must be noticed, as what it is, and the whole one must pass.
import copy
import hashlib
import json
import os
import sys
import tempfile

import oracle

EPOCH = 3
CPUS = 4


def attempt(number, epoch=EPOCH):
    return epoch << 32 | number


def fact(history, kind, stage=0, number=0, rank=0, ranks=1, cause="none", state="pending", job=1, worker=1):
    facts = history["record"]["facts"]
    facts.append({"seq": len(facts) + 1, "job": job, "epoch": EPOCH, "attempt": attempt(number) if number else 0,
                  "worker": worker, "stage": stage, "index": 0, "rank": rank, "ranks": ranks, "round": 0, "kind": kind,
                  "cause": cause, "state": state})


def put(history, store, name, stage, number, rank):
    said = {"job": "1", "stage": name, "index": "0", "attempt": str(attempt(number)), "rank": str(rank)}
    data = json.dumps(said).encode()
    digest = hashlib.sha256(data).hexdigest()
    os.makedirs(f"{store}/objects/{digest[:2]}", exist_ok=True)
    with open(f"{store}/objects/{digest[:2]}/{digest[2:]}", "wb") as file:
        file.write(data)
    history["record"]["artifacts"].append({"job": 1, "attempt": attempt(number), "bytes": len(data), "stage": stage,
                                           "index": 0, "rank": rank, "is_tree": False, "name": "result.json",
                                           "digest": "sha256:" + digest})


def whole(store):
    """A job of two stages: `a` is lost once and then succeeds, `b` is a gang of two."""
    stages = {"a": {"resources": {"cpus": 2}}, "b": {"ranks": 2, "resources": {"cpus": 2}}}
    lines = [{"key": "k", "shape": "dag", "stages": stages}, {"key": "k", "sends": 2, "wall": 5.0},
             {"key": "k", "code": 7}, {"key": "k", "code": 0, "job": 1}]
    history = {"lines": lines, "runs": [], "record": {
        "jobs": [{"id": 1, "name": "k", "key": "k", "state": "succeeded", "cause": None, "retries": 0}],
        "submissions": [{"key": "k", "job": 1, "at": 5.5}],
        "stages": [{"job": 1, "idx": 0, "name": "a", "array_count": 1, "ranks": 1, "needs": [], "state": "succeeded"},
                   {"job": 1, "idx": 1, "name": "b", "array_count": 1, "ranks": 2, "needs": [0], "state": "succeeded"}],
        "facts": [], "artifacts": []}}
    fact(history, "job submitted")
    for number, cause in ((1, "node"), (2, "none")):
        for kind in ("assigned", "started", "ended"):
            fact(history, kind, 0, number, cause=cause if kind == "ended" else "none")
    fact(history, "stage ended", 0, state="succeeded")
    for kind in ("assigned", "started", "ended"):
        for rank in (0, 1):
            fact(history, kind, 1, 3, rank, 2)
    fact(history, "stage ended", 1, state="succeeded")
    fact(history, "job ended", state="succeeded")
    put(history, store, "a", 0, 2, 0)
    for rank in (0, 1):
        put(history, store, "b", 1, 3, rank)
    history["runs"] = [oracle.Run(1, "a", 0, attempt(1), 0, False, False, 10, 20, 0),
                       oracle.Run(1, "a", 0, attempt(1), 0, True, False, 11, 21, 0),
                       oracle.Run(1, "a", 0, attempt(2), 0, False, False, 30, 40, 40),
                       oracle.Run(1, "b", 0, attempt(3), 0, False, False, 50, 60, 60),
                       oracle.Run(1, "b", 0, attempt(3), 1, False, False, 51, 61, 61)]
    return history


def kinds_of(history, store):
    found = oracle.check(oracle.read_claims(history["lines"]), history["runs"], history["record"], store, CPUS)
    return {kind for kind, _ in found.items}


def find(history, kind, number=0, rank=0):
    return next(f for f in history["record"]["facts"]
                if f["kind"] == kind and f["rank"] == rank and (not number or f["attempt"] == attempt(number)))


def drop_job(h): h["record"]["jobs"].clear(); h["record"]["submissions"].clear()
def fail_job(h): h["record"]["jobs"][0]["state"] = find(h, "job ended")["state"] = "failed"
def unfinished_job(h): h["record"]["jobs"][0]["state"] = "running"
def second_job(h): h["record"]["jobs"].append(dict(h["record"]["jobs"][0], id=2))
def second_answer(h): h["lines"].append({"key": "k", "code": 0, "job": 2})
def other_key(h): h["record"]["jobs"][0]["key"] = "x"
def only_refused(h): h["lines"][1:] = [{"key": "k", "sends": 1}, {"key": "k", "code": 6}]
def sent_before(h): h["lines"][1:1] = [{"key": "k", "sends": 1, "wall": 5.0}, {"key": "k", "code": 6}]; h["lines"][3]["wall"] = 6.0
def second_success(h): find(h, "ended", 1)["cause"] = "none"
def no_success(h): find(h, "ended", 2)["cause"] = "exit"
def short_gang(h): h["record"]["facts"] = [f for f in h["record"]["facts"] if f["rank"] == 0]
def never_ended(h): h["record"]["facts"].remove(find(h, "ended", 1))
def ended_twice(h): h["record"]["facts"].insert(4, dict(find(h, "ended", 1)))
def started_late(h): h["record"]["facts"].insert(4, dict(find(h, "started", 1)))
def old_epoch(h): find(h, "job ended")["epoch"] = EPOCH - 1
def early_stage(h): h["record"]["facts"].insert(1, h["record"]["facts"].pop(h["record"]["facts"].index(find(h, "assigned", 3))))
def too_much(h): h["lines"][0]["stages"]["b"]["resources"]["cpus"] = 3
def overlap(h): h["runs"][2] = h["runs"][2]._replace(start=19)
def child_overlaps(h): h["runs"][1] = h["runs"][1]._replace(last=31)
def ran_twice(h): h["runs"][2] = h["runs"][2]._replace(again=True)
def unknown_run(h): h["runs"].append(oracle.Run(1, "a", 0, attempt(9), 0, False, False, 70, 80, 80))
def not_to_its_end(h): h["runs"][4] = h["runs"][4]._replace(end=0)
def no_result(h): h["record"]["artifacts"].pop()
def other_result(h): h["record"]["artifacts"][0]["attempt"] = attempt(1)
def missing_object(h): h["record"]["artifacts"][0]["digest"] = "sha256:" + "0" * 64
def unfinished_stage(h): h["record"]["stages"][1]["state"] = "running"


BREAKS = [(drop_job, "lost"), (fail_job, "failed"), (unfinished_job, "lost"), (second_job, "doubled"), (second_answer, "doubled"), (other_key, "ghost"),
          (only_refused, "ghost"), (sent_before, "ghost"), (second_success, "doubled"), (no_success, "lost"), (short_gang, "gang"),
          (never_ended, "illegal"), (ended_twice, "illegal"), (started_late, "illegal"), (old_epoch, "fence"),
          (early_stage, "order"), (too_much, "room"), (overlap, "overlap"), (child_overlaps, "overlap"),
          (ran_twice, "overlap"), (unknown_run, "fence"), (not_to_its_end, "unrun"), (no_result, "artifact"),
          (other_result, "artifact"), (missing_object, "artifact"), (unfinished_stage, "illegal")]


def main():
    failures = []
    with tempfile.TemporaryDirectory() as store:
        history = whole(store)
        if kinds_of(history, store):
            failures.append(f"the whole history: {kinds_of(history, store)}")
        for change, kind in BREAKS:
            broken = copy.deepcopy(history)
            change(broken)
            if kind not in kinds_of(broken, store):
                failures.append(f"{change.__name__}: expected '{kind}', got {sorted(kinds_of(broken, store))}")
        path = oracle.object_path(store, history["record"]["artifacts"][0]["digest"])
        with open(path, "ab") as file:
            file.write(b"!")
        if not {"store", "artifact"} <= kinds_of(history, store):
            failures.append("a damaged object was not noticed")
    print("\n".join(failures) or f"{len(BREAKS) + 1} ways to be wrong, each noticed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
