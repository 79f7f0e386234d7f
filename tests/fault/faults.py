# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: mlq authors
#
# The faults, and who deals them. Each is a generator: up to its `yield SECONDS` it does harm, after it the harm
# is undone. Several are in effect at once, on different targets.
import heapq
import os
import signal

from cluster import LEADER_LEASE_S, LEASE_S, MARGIN_S, SCHEDULERS, WORKERS, kill_all, now_s, parent_of

BEYOND_S = LEASE_S + MARGIN_S  # when a lost worker's tasks are given away


def how_long(rng):
    """For a worker to be away: within the lease, past it, or (half of the time) past when its tasks are given away."""
    return rng.uniform(*rng.choice(((0, LEASE_S), (LEASE_S, BEYOND_S), (BEYOND_S, BEYOND_S + 3), (BEYOND_S, BEYOND_S + 3))))


def kill_scheduler(cluster, rng, target):
    cluster.shoot(target)
    yield rng.uniform(0, 2)
    cluster.revive(target)


def stop_leader(cluster, rng, target):
    """It hangs for longer than its lease, the other takes over, and it wakes up."""
    cluster.signal(target, signal.SIGSTOP)
    yield rng.uniform(0.5, 3) * LEADER_LEASE_S
    cluster.signal(target, signal.SIGCONT)


def kill_worker(cluster, rng, target):
    cluster.shoot(target)
    yield rng.uniform(0, 2) if rng.random() < 0.8 else BEYOND_S + rng.uniform(0, 2)
    cluster.revive(target)


def kill_worker_and_shims(cluster, rng, target):
    cluster.shoot(target)
    kill_all(cluster.shims(target))
    yield rng.uniform(0, 2)
    cluster.revive(target)


def kill_shim(cluster, rng, target):
    shims = cluster.shims(target)
    kill_all(rng.sample(shims, min(1, len(shims))))
    yield 0


def kill_nursery(cluster, rng, target):
    """What starts the shims of a worker, and owns none of them."""
    kill_all(cluster.nurseries(target))
    yield 0


def stop_worker(cluster, rng, target):
    """Past the lease, and sometimes past the time when its tasks are given away."""
    cluster.signal(target, signal.SIGSTOP)
    yield how_long(rng)
    cluster.signal(target, signal.SIGCONT)


def cut_network(cluster, rng, target):
    ways = rng.choice(((True, True), (True, False), (False, True)))
    cluster.cut(*ways)
    yield how_long(rng)
    cluster.heal()


def kill_postmaster(cluster, rng, target):
    cluster.shoot(target)
    yield rng.uniform(0, 2)
    cluster.revive(target)


def kill_backend(cluster, rng, target):
    """Any process of the server: the others then start anew from the journal."""
    server = cluster.daemons[target].process.pid
    children = [int(pid) for pid in os.listdir("/proc") if pid.isdigit() and parent_of(pid) == server]
    kill_all(rng.sample(children, min(1, len(children))))
    yield 0


def end_session(cluster, rng, target):
    """One connection of a scheduler goes, and nothing else."""
    cluster.try_sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'mlq %' "
                    f"ORDER BY md5(pid::text || '{rng.random()}') LIMIT 1")
    yield 0


def fill_disk(cluster, rng, target):
    """PostgreSQL's, but for up to 1 MiB. PostgreSQL may stop altogether, and is started again and again."""
    filler = cluster.disk + "/filler"
    leave = rng.randrange(0, rng.choice((64 << 10, 1 << 20)), 4096)
    cluster.daemons[target].may_exit = True
    with open(filler, "wb") as file:
        room = os.statvfs(cluster.disk)
        size = max(room.f_bavail * room.f_bsize - leave, 4096)
        while size >= 4096:
            try:
                os.posix_fallocate(file.fileno(), 0, size)
                break
            except OSError:
                size -= 4096 * 16  # PostgreSQL was quicker
    yield rng.uniform(1, 5)
    os.unlink(filler)
    cluster.daemons[target].may_exit = False


# name: (what does it, its targets, how often it is dealt in one round, whether it needs namespaces)
KINDS = {
    "kill scheduler": (kill_scheduler, SCHEDULERS, 4, False),
    "stop leader": (stop_leader, SCHEDULERS, 2, False),
    "kill worker": (kill_worker, WORKERS, 4, False),
    "kill worker and shims": (kill_worker_and_shims, WORKERS, 3, False),
    "kill shim": (kill_shim, WORKERS, 4, False),
    "kill nursery": (kill_nursery, WORKERS, 2, False),
    "stop worker": (stop_worker, WORKERS, 2, False),
    "kill postmaster": (kill_postmaster, ("postgres",), 3, False),
    "kill backend": (kill_backend, ("postgres",), 3, False),
    "end session": (end_session, ("postgres",), 2, False),
    "cut network": (cut_network, WORKERS[-1:], 2, True),
    "disk full": (fill_disk, ("postgres",), 1, True),
}


class Faults:
    """Deals kinds from a shuffled deck, so that each comes up, until a time; then undoes what is in effect."""

    def __init__(self, cluster, rng, only=None):
        self.cluster, self.rng = cluster, rng
        self.kinds = {name: kind for name, kind in KINDS.items()
                      if (only is None or name in only) and (cluster.isolated or not kind[3])}
        self.cycles = dict.fromkeys(self.kinds, 0)
        self.active = []  # heap of (when, place in the trace, target, generator)
        self.trace = []

    def skipped(self):
        return [name for name, kind in KINDS.items() if kind[3] and not self.cluster.isolated]

    def _pick_target(self, name):
        busy = {target for _, _, target, _ in self.active}
        targets = [t for t in self.kinds[name][1] if t not in busy]
        leader = self.cluster.leader() if self.kinds[name][1] == SCHEDULERS else None
        if leader is not None and (name == "stop leader" or self.rng.random() < 0.75):
            targets = [t for t in targets if t == leader]
        return self.rng.choice(targets) if targets else None

    def _inject(self, name):
        target = self._pick_target(name)
        if target is None:
            return False
        harm = self.kinds[name][0](self.cluster, self.rng, target)
        seconds = next(harm)
        self.trace.append({"at": now_s(), "kind": name, "target": target})
        heapq.heappush(self.active, (now_s() + seconds, len(self.trace) - 1, target, harm))
        self.cycles[name] += 1
        return True

    def _undo(self):
        _, number, _, harm = heapq.heappop(self.active)
        next(harm, None)
        self.trace[number]["undone"] = now_s()

    def _wait(self, until):
        """Undoes what is due meanwhile."""
        while self.active and self.active[0][0] <= until:
            pause = self.active[0][0] - now_s()
            if self.cluster.stopping.wait(max(pause, 0)):
                return
            self._undo()
        self.cluster.stopping.wait(max(until - now_s(), 0))

    def run(self, until, pause_s, every_kind_by):
        """Until a time; but until each kind came up once, if that is sooner than `every_kind_by`."""
        deck = []
        while now_s() < until or (0 in self.cycles.values() and now_s() < every_kind_by):
            if not deck:
                first = list(self.kinds)
                more = [name for name, kind in self.kinds.items() for _ in range(kind[2] - 1)]
                self.rng.shuffle(first)
                self.rng.shuffle(more)
                deck = more + first  # taken from the end: each kind first once
            if self._inject(deck[-1]):
                deck.pop()
            else:
                self.rng.shuffle(deck)  # its targets are busy: another one first
            self._wait(now_s() + self.rng.uniform(0, 2 * pause_s))
        while self.active:
            self._wait(self.active[0][0])
