# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: mlq authors
"""A played scheduler and worker for one elastic stage: real processes of mlq-op train.native, each with a control
socket of its own, and memberships formed by the rules of lib/task/task.h. What happens to whom and when is said
by the caller, with Gang.when."""
import contextlib
import ctypes
import datetime
import errno
import json
import os
import re
import selectors
import shutil
import signal
import socket
import struct
import subprocess
import time

MOVE_ON_S = 0.001
SYS_PIDFD_GETFD = 438
FLIGHT_EVENTS = 512
FLIGHT_PHASES = "load wait meet share compute exchange apply validate checkpoint output end".split()
WAITING_PHASES = "wait meet share exchange".split()


class Failure(Exception):
    pass


class Unavailable(Exception):
    """This machine does not let it be done."""


def kept_environment():
    """What the sanitizers, and libraries in unusual places, need; and how weights are stored (worker/ml/stream.h)."""
    kept = ("ASAN_", "UBSAN_", "LSAN_", "TSAN_", "LD_LIBRARY_", "MLQ_OP_STREAM")
    return {k: v for k, v in os.environ.items() if k.startswith(kept)}


def machine_of_its_own(gang, number):
    """Several ranks on one GPU: each says that it is another machine (tests/unit/test_nccl_gpu.c)."""
    if gang.parameters.get("collectives") != "nccl":
        return {}
    return {"NCCL_HOSTID": f"mlq-{gang.attempt}-{number}", "NCCL_IB_DISABLE": "1", "NCCL_NVLS_ENABLE": "0",
            "NCCL_MAX_CTAS": "2", "NCCL_SOCKET_IFNAME": "lo"}


def memory_of(gang, number):
    """Where rows are on disk, so little that an epoch is several windows (worker/op/op_train_deal.h)."""
    return {"MLQ_MEMORY": "20000"} if gang.parameters_of(number).get("rows") == "disk" else {}


class Member:
    def __init__(self, gang, number):
        self.gang = gang
        self.number = number
        self.folder = os.path.join(gang.folder, f"member-{number}")
        self.output = os.path.join(self.folder, "output")
        os.makedirs(self.output)
        self.socket_path = os.path.join(self.folder, "control")
        self.log_path = os.path.join(self.folder, "log")
        self.ready = None  # (port, fingerprint)
        self.is_welcome = True  # else: other bits
        self.status = None  # as subprocess has it, once it has ended
        self.asked_to_stop = False
        self.connections = []
        self.listener = None
        self.listen()
        environment = {
            "PATH": os.environ["PATH"], "HOME": self.folder, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1",
            "MLQ_CONTROL": self.socket_path, "MLQ_OUTPUT": self.output, "MLQ_CHECKPOINT": gang.checkpoints,
            "MLQ_WITH": gang.with_path(number), "MLQ_JOB": "1", "MLQ_STAGE": "train", "MLQ_ATTEMPT": gang.attempt,
            "MLQ_ELASTIC": "1..8", "RANK": str(number),
        }
        environment.update(gang.inputs)
        environment.update(machine_of_its_own(gang, number))
        environment.update(memory_of(gang, number))
        environment.update(kept_environment())
        with open(self.log_path, "w") as log:
            self.process = subprocess.Popen([gang.program, "train.native"], env=environment, stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, cwd=self.folder)
        self.pidfd = os.pidfd_open(self.process.pid)
        gang.selector.register(self.pidfd, selectors.EVENT_READ, self.end)

    def listen(self):
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(self.socket_path)
        self.listener.listen(8)
        self.gang.selector.register(self.listener, selectors.EVENT_READ, self.accept)

    def accept(self):
        connection, _ = self.listener.accept()
        self.connections.append(Connection(self, connection))

    def lose_worker(self):
        """The worker is away: its socket and its connections are gone."""
        self.gang.selector.unregister(self.listener)
        self.listener.close()
        os.unlink(self.socket_path)
        for connection in list(self.connections):
            connection.close()

    def end(self):
        self.gang.selector.unregister(self.pidfd)
        os.close(self.pidfd)
        self.status = self.process.wait()
        if self.socket_path and os.path.exists(self.socket_path):
            self.lose_worker()
        self.gang.ended(self)

    def kill(self, number=signal.SIGKILL):
        if self.status is None:
            self.process.send_signal(number)
            self.gang.kills += [time.time()] if number == signal.SIGKILL else []

    def lives(self):
        return self.status is None

    def flight(self):
        """The events of its flight recorder (lib/task/task_flight.h), the oldest first: at_ns, phase, generation, epoch,
        step."""
        with open(os.path.join(self.folder, ".flight"), "rb") as file:
            words = struct.unpack(f"={3 + 6 * FLIGHT_EVENTS}Q", file.read())
        events = sorted(words[at:at + 6] for at in range(3, len(words), 6) if words[at] != 0)
        return [(event[1], FLIGHT_PHASES[event[2]], *event[3:]) for event in events]

    def now(self):
        at_ns, phase, generation, epoch, step = self.flight()[-1]
        since = time.clock_gettime(time.CLOCK_BOOTTIME) - at_ns / 1e9
        return f"{phase} in generation {generation} at {epoch}/{step} for {since:.1f} s"


class Connection:
    def __init__(self, member, connection):
        self.member = member
        self.socket = connection
        self.buffer = b""
        self.waits_after = None  # members AFTER, not yet answered
        member.gang.selector.register(connection, selectors.EVENT_READ, self.read)

    def close(self):
        if self in self.member.connections:
            self.member.connections.remove(self)
            self.member.gang.selector.unregister(self.socket)
            self.socket.close()

    def read(self):
        data = b""
        with contextlib.suppress(OSError):
            data = self.socket.recv(65536)
        if not data:
            self.close()
            return
        self.buffer += data
        while b"\n" in self.buffer and self in self.member.connections:
            line, self.buffer = self.buffer.split(b"\n", 1)
            self.serve(line.decode())

    def reply(self, text):
        with contextlib.suppress(OSError):
            self.socket.sendall(text.encode())

    def serve(self, line):
        member, gang = self.member, self.member.gang
        words = line.split()
        if words[0] == "members":
            self.waits_after = int(words[1])
            gang.answer(self)
            return
        if words[0] == "ready":
            gang.is_ready(member, int(words[1]), words[2], int(words[3]) if len(words) > 3 else None)
        elif words[0] == "metric" and len(words) > 3:  # without a step: of the whole training
            gang.reported(member, int(words[3]))
            if gang.awaited is not None:
                gang.held.append(self)
                return
            if gang.reports_take_s > 0:
                gang.after(gang.reports_take_s, self.accept_report)
                return
        self.accept_report()

    def accept_report(self):
        self.reply("ok stop\n" if self.member.asked_to_stop else "ok go\n")


class Gang:
    """One attempt. `inputs` are the MLQ_INPUT_ variables; `withs` the parameters, and those of single members."""

    def __init__(self, program, folder, inputs, parameters, attempt="1", other_parameters=None):
        self.program, self.folder, self.inputs, self.attempt = program, folder, inputs, attempt
        self.parameters, self.other_parameters = parameters, other_parameters or {}
        self.checkpoints = os.path.join(os.path.dirname(folder), "checkpoints")
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        self.selector = selectors.DefaultSelector()
        self.members = []
        self.placed = 0
        self.generation = 0
        self.fingerprint = None
        self.current = []
        self.is_over = False
        self.epoch = 0  # that the leader has reported
        self.epoch_at, self.epoch_s = time.monotonic(), 1  # when, and how long the quickest one took
        self.rules = []  # [test, action], each done once
        self.events = []  # (seconds, text)
        self.reports_take_s = 0  # of metrics, until their answer: a training is no longer than a few tenths of a second
        self.awaited = None  # a member that joins: until it is there, reports of metrics wait for their answer
        self.held = []
        self.kills = []  # when
        self.news_take_s = 0  # from an end to the membership without it
        self.join_news_take_s = 0  # from who was awaited to the membership with it
        self.news_apart_s = 0  # from one member that is told of a membership to the next one
        self.loses_success = 0  # so many successes of leaders are taken for deaths

    def note(self, text):
        self.events.append((time.time(), text))

    def parameters_of(self, number):
        return {**self.parameters, **self.other_parameters.get(number, {})}

    def with_path(self, number):
        path = os.path.join(self.folder, f"with-{number}.json")
        with open(path, "w") as file:
            json.dump(self.parameters_of(number), file)
        return path

    # ---- What the caller says ----

    def start(self, count):
        for _ in range(count):
            self.join()
        self.placed = count

    def join(self):
        self.members.append(Member(self, len(self.members)))
        return self.members[-1]

    def join_soon(self):
        """The training does not go on for long before the new one has come."""
        self.awaited = self.join()

    def let_go(self):
        self.awaited = None
        for connection in self.held:
            connection.accept_report()
        self.held = []

    def when(self, test, action):
        """Once test() is true, action() is done."""
        self.rules.append((test, action))

    def after(self, delay_s, action):
        due = time.monotonic() + delay_s
        if delay_s > 0:
            self.when(lambda: time.monotonic() >= due, action)
        else:
            action()

    def at(self, fraction, more, action):
        """When the leader reports that this part of the epochs is done: it waits for the answer meanwhile. Or so many
        `more` epochs later, by what the quickest one took."""
        self.when(lambda: self.epoch >= fraction * self.parameters["epochs"],
                  lambda: self.after(more * self.epoch_s, action))

    def obey(self):
        for rule in [rule for rule in self.rules if rule[0]()]:
            self.rules.remove(rule)
            rule[1]()

    def leader(self):
        return self.current[0] if self.current else None

    def run(self, limit_s=300):
        deadline = time.monotonic() + limit_s
        try:
            while any(member.lives() for member in self.members):
                if time.monotonic() > deadline:
                    raise Failure(f"not at its end after {limit_s} s: {self.where()}")
                for key, _ in self.selector.select(MOVE_ON_S):
                    key.data()
                self.obey()
        finally:
            for member in self.members:
                member.kill()
        return self

    # ---- What the members say ----

    def reported(self, member, epoch):
        if member is self.leader():
            if epoch > self.epoch:
                now = time.monotonic()
                self.epoch_s = min(self.epoch_s, (now - self.epoch_at) / (epoch - self.epoch))
                self.epoch_at = now
            self.epoch = epoch
            self.obey()
            self.obey()  # what the first one has armed

    def is_ready(self, member, port, fingerprint, broken):
        is_new = member.ready is None
        member.ready = (port, fingerprint)
        if broken is not None:
            self.note(f"{member.number} says that generation {broken} broke")
        if member is self.awaited:
            self.let_go()
            self.after(self.join_news_take_s, self.form)
        elif is_new or broken == self.generation:
            self.form()

    def ended(self, member):
        self.note(f"{member.number} ended with {member.status}")
        if member is self.awaited:
            self.let_go()
        if member.status == 0 and member is self.leader() and not self.is_over:
            if self.loses_success > 0:
                self.loses_success -= 1
            else:
                self.is_over = True
        self.after(self.news_take_s, self.form)

    def form(self):
        if self.generation == 0 and not all(m.ready or not m.lives() for m in self.members[:max(self.placed, 1)]):
            return
        if self.generation == 0 and self.placed == 0:
            return
        for member in [m for m in self.members if m.ready]:
            self.fingerprint = self.fingerprint or member.ready[1]  # the first member's counts
            member.is_welcome = member.ready[1] == self.fingerprint
            member.asked_to_stop = member.asked_to_stop or not member.is_welcome
        self.generation += 1
        self.current = [] if self.is_over else [m for m in self.members if m.lives() and m.ready and m.is_welcome]
        self.note(f"generation {self.generation}: {[m.number for m in self.current]}")
        for place, member in enumerate(self.members):
            self.after(place * self.news_apart_s, lambda told=member: [self.answer(c) for c in list(told.connections)])

    def answer(self, connection):
        if connection.waits_after is None or self.generation <= connection.waits_after:
            return
        connection.waits_after = None
        text = f"{self.generation}\n" + "".join(f"{m.number} 127.0.0.1 {m.ready[0]}\n" for m in self.current)
        connection.reply(f"data {len(text)}\n{text}")

    # ---- What is done to them ----

    def cut(self, one, other):
        """Ends a connection between two members that both go on living: the kernel's sockets of `one` that lead to
        `other` are taken over and shut down."""
        libc = ctypes.CDLL(None, use_errno=True)
        others = local_ports(other.process.pid)
        cuts = 0
        for number, _, remote in tcp_sockets(one.process.pid):
            if remote not in others:
                continue
            fd = libc.syscall(SYS_PIDFD_GETFD, one.pidfd, number, 0)
            if fd < 0 and ctypes.get_errno() in (errno.EPERM, errno.ENOSYS):
                raise Unavailable("pidfd_getfd is not allowed here")
            if fd >= 0:
                with socket.socket(fileno=fd) as taken:
                    with contextlib.suppress(OSError):
                        taken.shutdown(socket.SHUT_RDWR)
                        cuts += 1
        return cuts

    # ---- What came of it ----

    def log(self, number):
        with open(self.members[number].log_path) as file:
            return file.read()

    def furthest(self):
        """(epoch, steps of it) that some member has come to."""
        return max((epoch, step + 1) for m in self.members for _, phase, _, epoch, step in m.flight() if phase == "apply")

    def recovery_s(self):
        """From the only kill to when the last survivor trained on; None when there was another number of kills."""
        if len(self.kills) != 1:
            return None
        nexts = []
        for member in self.members:
            stamps = re.findall(r"^(\S+)Z info train\.gang ", self.log(member.number), re.M)
            times = [datetime.datetime.fromisoformat(stamp + "+00:00").timestamp() for stamp in stamps]
            nexts += [time for time in times if time > self.kills[0]][:1]
        return max(nexts) - self.kills[0] if nexts else None

    def where(self):
        return ", ".join(f"{member.number}: {member.now()}" for member in self.members if member.lives())

    def blamed(self, still_s):
        """Who is to blame, by scheduler/stall.h, when nobody has moved for so long; else None. Of those that wait in the same
        step it is who is stopped, as workers see (worker/flights.c)."""
        where = {member: member.flight()[-1] for member in self.members if member.lives()}
        newest_ns = max(at_ns for at_ns, *_ in where.values())
        if time.clock_gettime(time.CLOCK_BOOTTIME) - newest_ns / 1e9 < still_s:
            return None

        def is_rather(member):
            at_ns, phase, _, epoch, step = where[member]
            return phase in WAITING_PHASES, epoch, step, not is_stopped(member.process.pid), at_ns

        return min(where, key=is_rather)

    def winner(self):
        """The leader whose success counted."""
        winners = [m for m in self.members if m.status == 0 and os.path.exists(os.path.join(m.output, "history.json"))]
        if not winners:
            raise Failure(f"nobody wrote outputs; ends: {[m.status for m in self.members]}")
        return winners[-1]


def is_stopped(pid):
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rsplit(")", 1)[1].split()[0] in "Tt"


def tcp_sockets(pid):
    """(descriptor, local port, remote port) of a process's established connections."""
    inodes = {}
    for name in ("tcp", "tcp6"):
        with open(f"/proc/{pid}/net/{name}") as table:
            for line in list(table)[1:]:
                fields = line.split()
                if fields[3] == "01":
                    inodes[fields[9]] = (int(fields[1].split(":")[1], 16), int(fields[2].split(":")[1], 16))
    found = []
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            match = re.fullmatch(r"socket:\[(\d+)\]", os.readlink(f"/proc/{pid}/fd/{name}"))
            if match and match[1] in inodes:
                found.append((int(name), *inodes[match[1]]))
    return found


def local_ports(pid):
    return {local for _, local, _ in tcp_sockets(pid)}
