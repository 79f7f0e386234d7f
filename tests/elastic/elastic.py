#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: mlq authors
"""Whatever happens to an elastic training, the model has the bytes of an undisturbed one on one rank.

usage: elastic.py --bin FOLDER --work FOLDER [--smoke] [--only WORD]... [--ranks 1,2,3,4,8] [--seed N] [--repeat N]

Prints a table: what happened, and in how many of the runs the model was the same. README.md says what each row is.
"""
import argparse
import hashlib
import json
import os
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import time

from gang import Failure, Gang, Unavailable, kept_environment

ROWS = {"train": 403, "validation": 300}  # no multiples of a batch
COMMON = {"seed": 3, "shards": 8, "collectives": "auto"}
TRAININGS = {
    "mlp+sgd": {"model": {"mlp": {"hidden": [16, 8]}}, "batch": 64, "epochs": 100,
                "optimizer": {"sgd": {"lr": 0.02, "momentum": 0.9, "nesterov": True}}},
    "mlp+adamw": {"model": {"mlp": {"hidden": [24, 12], "dropout": 0.2}}, "batch": 64, "epochs": 60,
                  "optimizer": {"adamw": {"lr": 0.01}}, "clip_norm": 0.5, "schedule": "cosine",
                  "early_stop": {"patience": 100000}},
    "mlp+best": {"model": {"mlp": {"hidden": [32, 16]}}, "batch": 64, "epochs": 60,  # the best epoch is an early one
                 "optimizer": {"adamw": {"lr": 0.03}}, "early_stop": {"patience": 100000}},
    "mlp+few": {"model": {"mlp": {"hidden": [12]}}, "batch": 64, "epochs": 120, "shards": 2,  # most ranks have none
                "optimizer": {"sgd": {"lr": 0.02}}},
    "cnn+bn": {"model": {"cnn": {"image": [7, 1, 1], "channels": [6], "depth": 2, "residual": True, "head": "mean",
                                 "hidden": [8], "dropout": 0.2, "crop": 1}}, "batch": 50, "epochs": 40,
               "early_stop": {"patience": 100000}},
    "mlp+disk": {"model": {"mlp": {"hidden": [24, 12], "dropout": 0.2}}, "batch": 64, "epochs": 60, "rows": "disk",
                 "optimizer": {"adamw": {"lr": 0.01}}, "mixup": 0.4, "early_stop": {"patience": 100000}},
}
IN_MEMORY = 1  # the member that keeps its rows in memory whatever the training says
# Of the smoke test with 3 ranks, where a training is not run with all that happens.
SMOKE = {"mlp+disk": ("nothing", "a rank is killed", "the founders leave", "all leave, and are run again")}


class Place:
    """Where everything lies, and what the undisturbed trainings gave."""

    def __init__(self, options):
        self.program = os.path.join(os.path.abspath(options.bin), "mlq-op")
        self.folder = os.path.abspath(options.work)
        shutil.rmtree(self.folder, ignore_errors=True)
        os.makedirs(self.folder)
        self.random = random.Random(options.seed)
        self.inputs = {f"MLQ_INPUT_{name.upper()}": self.table(name, rows) for name, rows in ROWS.items()}
        self.references = {}
        self.recoveries = []  # seconds
        self.finished = 0  # steps that a rank had begun, and each of the others ended for itself

    def run(self, op, environment, parameters, output):
        os.makedirs(output, exist_ok=True)
        with_path = output + ".with.json"
        with open(with_path, "w") as file:
            json.dump(parameters, file)
        keep = kept_environment()
        keep |= {"PATH": os.environ["PATH"], "MLQ_WITH": with_path, "MLQ_OUTPUT": output, "OPENBLAS_NUM_THREADS": "1", **environment}
        done = subprocess.run([self.program, op], env=keep, capture_output=True, text=True)
        if done.returncode != 0:
            raise Failure(f"{op}: exit {done.returncode}: {done.stderr[-2000:]}")

    def table(self, name, rows):
        path = os.path.join(self.folder, f"{name}.csv")
        source = random.Random(name)
        with open(path, "w") as file:
            file.write("a,b,c,d,colour,shape\n")
            for _ in range(rows):
                numbers = [source.random() for _ in range(4)]
                colour = source.choice(["blue", "green", "red"])
                score = sum((i - 1) * x for i, x in enumerate(numbers)) + (colour == "green") + source.random() / 10
                shape = "disc" if score < 0.8 else "ring" if score < 1.6 else "star"
                file.write(",".join(f"{x:.6f}" for x in numbers) + f",{colour},{shape}\n")
        output = os.path.join(self.folder, f"{name}.import")
        self.run("data.import", {"MLQ_INPUT_PATH": path}, {"target": "shape"}, output)
        return os.path.join(output, "table.safetensors")

    def reference(self, training):
        """Without a gang at all: no MLQ_ELASTIC, one process, its rows in memory."""
        if training not in self.references:
            output = os.path.join(self.folder, f"reference-{training}")
            start = time.time()
            self.run("train.native", self.inputs, {**COMMON, **TRAININGS[training], "rows": "memory"}, output)
            self.references[training] = (digest(output), history(output), time.time() - start)
        return self.references[training]

    def gang(self, training, attempt=1, collectives=None, other_parameters=None):
        if attempt == 1:
            shutil.rmtree(os.path.join(self.folder, "checkpoints"), ignore_errors=True)
        others = {number: dict(found) for number, found in (other_parameters or {}).items()}
        others.setdefault(IN_MEMORY, {})["rows"] = "memory"
        return Gang(self.program, os.path.join(self.folder, f"attempt-{attempt}"), self.inputs,
                    {**COMMON, **TRAININGS[training], "collectives": collectives or COMMON["collectives"]},
                    attempt=str(attempt), other_parameters=others)


def digest(output):
    with open(os.path.join(output, "model.safetensors"), "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def history(output):
    """What must be the same of history.json: all numbers of all epochs but the speed."""
    with open(os.path.join(output, "history.json")) as file:
        found = json.load(file)
    return [{k: v for k, v in row.items() if k != "samples_per_second"} for row in found["epochs"]]


def waited_for_rows(output):
    with open(os.path.join(output, "history.json")) as file:
        return json.load(file)["phases"]["wait"] > 0


# ---- What happens ----
# Each takes (place, training, ranks), runs the gang, and returns it with what each member may have ended with.

HANGS = 5
STANDS_STILL_S = 0.25
NAMED_WITHIN_S = 60
ENDS_WELL = {0}
LEFT = {75}
KILLED = {-signal.SIGKILL}


def moment(place):
    """An epoch, as a part of all, and how much later: within one of the next one's steps."""
    return place.random.uniform(0.02, 0.8), place.random.uniform(0, 1)


def early(place):
    return place.random.uniform(0.02, 0.4), 0


def begin_with_late_news(place, training, ranks):
    """Of who joins, the others hear some steps after it has come, in the middle of an epoch, and not all at once."""
    gang = place.gang(training)
    gang.join_news_take_s = place.random.uniform(0, 0.004)
    gang.news_apart_s = place.random.uniform(0, 0.002)
    gang.start(ranks)
    return gang


def joined(gang):
    if "train.gang " not in gang.log(len(gang.members) - 1):
        raise Failure("the new one came too late")
    return gang


def nothing(place, training, ranks):
    gang = place.gang(training)
    gang.start(ranks)
    gang.run()
    is_joint = all("train.joint " in gang.log(number) for number in range(ranks))
    if is_joint != (ranks > 1 and COMMON["collectives"] == "auto"):
        raise Failure("the state was held together" if is_joint else "the state was not held together")
    return gang, {}


def kill_of(number):
    def kill_one(place, training, ranks):
        gang = place.gang(training)
        gang.start(ranks)
        gang.at(*moment(place), gang.members[number].kill)
        return gang.run(), {number: KILLED}
    return kill_one


def two_kills(place, training, ranks):
    gang = place.gang(training)
    gang.start(ranks)
    victims = place.random.sample(gang.members, 2)
    for victim in victims:
        gang.at(*moment(place), victim.kill)
    return gang.run(), {victim.number: KILLED for victim in victims}


def two_at_once(place, training, ranks):
    gang = place.gang(training)
    gang.start(ranks)
    victims = place.random.sample(gang.members, 2)
    gang.at(*moment(place), lambda: [victim.kill() for victim in victims])
    return gang.run(), {victim.number: KILLED for victim in victims}


def kill_while_they_meet(place, training, ranks):
    """The second one dies as soon as the generation without the first one is formed."""
    gang = place.gang(training)
    gang.start(ranks)
    first, second = place.random.sample(gang.members, 2)
    gang.at(*moment(place), first.kill)
    gang.when(lambda: not first.lives() and first not in gang.current, second.kill)
    return gang.run(), {first.number: KILLED, second.number: KILLED}


def a_join(place, training, ranks):
    gang = begin_with_late_news(place, training, ranks)
    gang.at(*early(place), gang.join_soon)
    joined(gang.run())
    if any("train.peer_lost" in gang.log(m.number) for m in gang.members):
        raise Failure("a step was lost to who came")
    return gang, {}


def a_kill_and_a_join(place, training, ranks):
    gang = place.gang(training)
    gang.start(ranks)
    victim = place.random.choice(gang.members)
    gang.at(*early(place), lambda: (victim.kill(), gang.join()))
    return gang.run(), {victim.number: KILLED}


def the_founders_leave(place, training, ranks):
    """One joins late, and all others leave: it ends the training with nothing but what they sent to it."""
    gang = begin_with_late_news(place, training, ranks)
    gang.at(0.6, 0, gang.join_soon)
    gang.when(lambda: len(gang.members) > ranks and gang.members[ranks] in gang.current,
              lambda: [m.kill(signal.SIGTERM) for m in gang.members[:ranks]])
    return joined(gang.run()), dict.fromkeys(range(ranks), LEFT)


def a_leave(place, training, ranks):
    gang = place.gang(training)
    gang.start(ranks)
    leaver = place.random.choice(gang.members)
    gang.at(*moment(place), lambda: leaver.kill(signal.SIGTERM))
    return gang.run(), {leaver.number: LEFT}


def asked_to_leave(place, training, ranks):
    """By "ok stop" instead of a signal, which a member hears of when it next reports how it is."""
    gang = place.gang(training)
    gang.reports_take_s = 0.005
    gang.start(ranks)
    leaver = place.random.choice(gang.members)
    gang.at(*moment(place), lambda: setattr(leaver, "asked_to_stop", True))
    return gang.run(), {leaver.number: LEFT}


def run_again(place, training, gang):
    """A new attempt goes on from the checkpoint of the last step, on as many ranks as it likes."""
    if any(m.status != 75 for m in gang.members):
        raise Failure(f"not all left: {[m.status for m in gang.members]}")
    again = place.gang(training, attempt=2)
    again.start(place.random.randint(1, 4))
    again.run()
    resumed = re.search(r"train\.resume .* epoch=(\d+) step=(\d+)", again.log(0))
    begin = (int(resumed[1]), int(resumed[2])) if resumed else (0, 0)
    if begin < gang.furthest():
        raise Failure(f"the second attempt began at {begin}, the first one had come to {gang.furthest()}")
    return again, {}


def all_leave(place, training, ranks):
    gang = place.gang(training)
    gang.start(ranks)
    gang.at(*moment(place), lambda: [m.kill(signal.SIGTERM) for m in gang.members])
    return run_again(place, training, gang.run())


def all_leave_in_turn(place, training, ranks):
    """Each is told at another time, as when their workers hear of it, and nobody hears of those that have left."""
    gang = place.gang(training)
    gang.news_take_s = 1
    gang.start(ranks)
    order = place.random.sample(gang.members, ranks)
    fraction, delay = moment(place)
    for member in order:
        gang.at(fraction, delay, lambda leaver=member: leaver.kill(signal.SIGTERM))
        delay += place.random.uniform(0, 3)
    return run_again(place, training, gang.run())


def all_die(place, training, ranks):
    gang = place.gang(training)
    gang.start(ranks)
    gang.at(*moment(place), lambda: [m.kill() for m in gang.members])
    gang.run()
    again = place.gang(training, attempt=2)
    again.start(place.random.randint(1, 4))
    return again.run(), {}


def a_cut_connection(place, training, ranks):
    gang = place.gang(training, collectives="gloo")  # others are not on the network
    gang.start(ranks)
    one, other = place.random.sample(gang.members, 2)
    cuts = []
    gang.at(*moment(place), lambda: cuts.append(gang.cut(one, other)))
    gang.run()
    if not cuts or cuts[0] == 0:
        raise Failure("no connection was found to cut")
    if not any("broke" in text for _, text in gang.events):
        raise Failure("nobody said that the generation broke")
    return gang, {}


def a_worker_away(place, training, ranks):
    """All control sockets vanish for a while, during which a member dies."""
    gang = place.gang(training)
    gang.start(ranks)
    victim = place.random.choice(gang.members)
    since = []

    def go_away():
        since.append(time.monotonic())
        for member in gang.members:
            member.lose_worker()
        victim.kill()

    def come_back():
        for member in gang.members:
            if member.lives():
                member.listen()

    gang.at(*moment(place), go_away)
    gang.when(lambda: since and time.monotonic() - since[0] > 0.5, come_back)
    return gang.run(), {victim.number: KILLED}


def ranks_hang(place, training, ranks):
    """One after the other stands still, and what they wrote into their flight recorders says which one."""
    gang = place.gang(training)
    gang.start(ranks)

    def hang(times):
        if times == 0 or not all(m.lives() for m in gang.members):
            return
        victim = place.random.choice(gang.members)
        victim.kill(signal.SIGSTOP)
        since = time.monotonic()

        def is_named():
            if time.monotonic() - since > NAMED_WITHIN_S:
                raise Failure(f"{victim.number} hangs, and is not named: {gang.where()}")
            return gang.blamed(STANDS_STILL_S) is victim

        def go_on():
            victim.kill(signal.SIGCONT)
            gang.after(place.random.uniform(0, gang.epoch_s), lambda: hang(times - 1))

        gang.when(is_named, go_on)

    gang.at(*early(place), lambda: hang(HANGS))
    return gang.run(), {}


def leader_dies_before_it_writes(place, training, ranks):
    gang = place.gang(training)
    gang.start(ranks)
    gang.at(1.0, 0, gang.members[0].kill)
    return gang.run(), {0: KILLED}


def leader_dies_after_it_wrote(place, training, ranks):
    """Its success is not recorded: its machine died with the news."""
    gang = place.gang(training)
    gang.loses_success = 1
    gang.start(ranks)
    return gang.run(), {}


def another_engine(place, training, ranks):
    """The last one reads other parameters: it is refused, and the others do not notice. They may be done before it has
    heard so."""
    gang = place.gang(training, other_parameters={ranks - 1: {"seed": 4}})
    gang.start(ranks)
    return gang.run(), {ranks - 1: LEFT | ENDS_WELL}


def any_kill(place, training, ranks):
    return kill_of(place.random.randrange(ranks))(place, training, ranks)


# name: (what happens, the least number of ranks, part of the smoke test with so many ranks)
EVENTS = {
    "nothing": (nothing, 1, (3, 8)),
    "a rank is killed": (any_kill, 2, (3,)),
    "the leader is killed": (kill_of(0), 2, (3,)),
    "two are killed": (two_kills, 3, ()),
    "two are killed at once": (two_at_once, 3, (4,)),
    "one is killed while they meet": (kill_while_they_meet, 3, (4,)),
    "one joins": (a_join, 1, (1,)),
    "one is killed, one joins": (a_kill_and_a_join, 2, ()),
    "the founders leave": (the_founders_leave, 1, (2,)),
    "one leaves (SIGTERM)": (a_leave, 2, (3,)),
    "one leaves (asked)": (asked_to_leave, 2, ()),
    "all leave, and are run again": (all_leave, 1, (2,)),
    "all leave in turn, and are run again": (all_leave_in_turn, 2, (3,)),
    "all are killed, and are run again": (all_die, 1, ()),
    "a connection is cut": (a_cut_connection, 2, (3,)),
    "the worker is away, one is killed": (a_worker_away, 2, (3,)),
    "ranks hang, and are named": (ranks_hang, 2, (3,)),
    "the leader dies before it writes": (leader_dies_before_it_writes, 2, (2,)),
    "the leader dies after it wrote": (leader_dies_after_it_wrote, 2, (2,)),
    "one computes other bits": (another_engine, 2, (2,)),
}


def check(place, training, name, ranks):
    """None when all is well, else what is wrong; Unavailable when it cannot be tried here."""
    gang, ends = None, {}
    try:
        gang, ends = EVENTS[name][0](place, training, ranks)
        for member in gang.members:
            expected = ends.get(member.number, ENDS_WELL)
            if member.status not in expected:
                return f"member {member.number} ended with {member.status}, expected {sorted(expected)}"
        winner = gang.winner()
        output = winner.output
        expected, epochs, _ = place.reference(training)
        if digest(output) != expected:
            return "another model"
        if history(output) != epochs:
            return "another history"
        if waited_for_rows(output) != (gang.parameters_of(winner.number).get("rows") == "disk"):
            return "its rows were not where they should be"
        place.finished += sum(bool(re.search("train.step_finished .* missing=[1-9]", gang.log(m.number))) for m in gang.members)
        place.recoveries += [gang.recovery_s()] if gang.recovery_s() is not None else []
    except Failure as failure:
        return str(failure)
    except Unavailable as reason:
        return reason
    return None


def keep(place, count):
    """The folder of a run that failed is kept."""
    kept = os.path.join(place.folder, f"failed-{count}")
    for attempt in (1, 2):
        source = os.path.join(place.folder, f"attempt-{attempt}")
        if os.path.exists(source):
            shutil.copytree(source, os.path.join(kept, str(attempt)), ignore=lambda d, n: [x for x in n if x == "control"])
    return kept


def plan(options):
    only = options.only or [""]
    for training in TRAININGS:
        for name, (_, least, smoke) in EVENTS.items():
            if not any(word in f"{training} {name}" for word in only):
                continue
            ranks = [r for r in (smoke if options.smoke else options.ranks) if r >= least]
            if options.smoke and training != "mlp+adamw":
                ranks = [3] if name in SMOKE.get(training, ("nothing", "the founders leave")) else []
            yield training, name, ranks


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", required=True)
    parser.add_argument("--work", required=True)
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--only", action="append")
    parser.add_argument("--ranks", default="1,2,3,4,8", type=lambda text: [int(x) for x in text.split(",")])
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--collectives", default="auto", choices=["auto", "gloo", "nccl"],
                        help="gloo: by the network alone; nccl: all ranks on one GPU")
    options = parser.parse_args()
    place = Place(options)
    COMMON["collectives"] = options.collectives
    print(f"seed {options.seed}\n\n| training | what happens | ranks | same model | seconds |\n|---|---|---|---|---|")
    failures = []
    for training, name, ranks in plan(options):
        start, good, all_runs = time.time(), 0, 0
        for count in [r for r in ranks for _ in range(options.repeat)]:
            what = check(place, training, name, count)
            if isinstance(what, Unavailable):
                print(f"| {training} | {name} | {count} | left out: {what} | |")
                continue
            all_runs += 1
            good += what is None
            if what is not None:
                failures.append(f"{training}, {name}, {count} ranks: {what} ({keep(place, len(failures))})")
        if all_runs > 0:
            seconds = (time.time() - start) / all_runs
            print(f"| {training} | {name} | {','.join(map(str, ranks))} | {good} of {all_runs} | {seconds:.1f} |", flush=True)
    if place.recoveries:
        print(f"\nfrom a kill to when all others trained on: {1000 * statistics.median(place.recoveries):.0f} ms in the "
              f"median of {len(place.recoveries)}, {1000 * max(place.recoveries):.0f} at most")
        print(f"{place.finished} ranks ended a step for themselves that another one had begun")
    for failure in failures:
        print(f"FAILED: {failure}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
