# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: mlq authors
#
# A cluster whose parts can be shot one by one: PostgreSQL, two schedulers (one leads), three workers. `mlq up`
# makes the keys and the database; then each part is started from here, with short leases, and started again
# when a fault is over. As root, PostgreSQL lies on a small disk of its own and the last worker behind a
# network of its own.
import glob
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

LEASE_S = 4
MARGIN_S = 6.04          # what mlq-scheduler adds before it gives a lost worker's tasks away
LEADER_LEASE_S = 1.5
WORKER_CPUS = 4
DISK_BYTES = 320 << 20
HERE, THERE = "10.77.0.1", "10.77.0.2"
NOWHERE = "02:00:00:00:00:01"  # a MAC address that nobody has: what is sent to it is gone, and nobody is told
WORKERS = ("w1", "w2", "w3")
SCHEDULERS = ("s1", "s2")


def now_s():
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def run(*argv, **kwargs):
    return subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, **kwargs)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def newest_server():
    """The folder of PostgreSQL's programs, as mlq up chooses it."""
    return max(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda path: int(path.split("/")[4]))


def parent_of(pid):
    """0: it is gone."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return int(file.read().rsplit(")", 1)[1].split()[1])
    except OSError:
        return 0


def kill_all(pids):
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # it has just ended


class Daemon:
    """A process that is kept running while it is wanted."""

    def __init__(self, name, argv, log):
        self.name, self.argv, self.log = name, argv, log
        self.process = None
        self.wanted = False
        self.shot = True       # so that its being gone is no surprise
        self.may_exit = False  # PostgreSQL on a full disk
        self.not_before = 0.0

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            start_new_session=True, cwd="/")
        self.shot = False

    def signal(self, number):
        if self.alive():
            self.shot = self.shot or number == signal.SIGKILL
            self.process.send_signal(number)

    def kill(self):
        self.wanted = False
        self.signal(signal.SIGKILL)
        if self.process is not None:
            self.process.wait()


class Cluster:
    def __init__(self, work, bin_dir, isolated):
        self.work, self.bin, self.isolated = work, bin_dir, isolated
        self.disk = work + "/disk"
        self.home = self.disk + "/home"
        self.store = work + "/store"
        self.tasks = work + "/tasks"
        self.daemons = {}
        self.surprises = []
        self.lock = threading.Lock()
        self.holder = None
        self.stopping = threading.Event()
        self.keeper = threading.Thread(target=self._keep, daemon=True)

    # ---- Setting up ----

    def create(self):
        shutil.copy(os.path.join(os.path.dirname(os.path.abspath(__file__)), "task.py"), self.work)
        for folder in (self.disk, self.store, self.tasks, self.work + "/logs", self.work + "/workers"):
            os.makedirs(folder, exist_ok=True)
        if self.isolated:
            run("mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=0755", "none", self.disk)
            self._make_network()
        env = dict(os.environ, MLQ_HOME=self.home)
        for words in (("up", "--workers", str(len(WORKERS)), "--cpus", "1"), ("down",)):
            run(self.bin + "/mlq", *words, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with open(self.home + "/cluster.json") as file:
            self.config = json.load(file)
        if not self.config["pg_data"].startswith(self.disk):
            sys.exit(f"fault: {self.work}: PostgreSQL's user cannot walk there: choose another --work")
        with open(self.config["pg_data"] + "/postgresql.conf", "a") as file:
            file.write("max_wal_size = 64MB\nmin_wal_size = 32MB\n")  # so that a small disk is enough
        self._name_endpoints()
        self._define()

    def _make_network(self):
        self.holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
        while os.readlink(f"/proc/{self.holder.pid}/ns/net") == os.readlink("/proc/self/ns/net"):
            time.sleep(0.01)
        run("ip", "link", "add", "mlq0", "type", "veth", "peer", "name", "mlq1", "netns", str(self.holder.pid))
        run("ip", "addr", "add", HERE + "/24", "dev", "mlq0")
        run("ip", "link", "set", "mlq0", "up")
        self.over_there("ip", "addr", "add", THERE + "/24", "dev", "mlq1")
        self.over_there("ip", "link", "set", "lo", "up")
        self.over_there("ip", "link", "set", "mlq1", "up")

    def over_there(self, *argv):
        run(*self._there(), *argv)

    def _there(self):
        return ["nsenter", "-t", str(self.holder.pid), "-n"] if self.isolated else []

    def _name_endpoints(self):
        host = HERE if self.isolated else "127.0.0.1"
        self.endpoints = [f"tcp://{host}:{free_port()}" for _ in SCHEDULERS]

    def _add(self, name, argv):
        self.daemons[name] = Daemon(name, argv, f"{self.work}/logs/{name}.log")

    def _define(self):
        keys = self.home + "/keys"
        postgres = newest_server() + "/postgres"
        as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "--"] if os.geteuid() == 0 else []
        self._add("postgres", as_user + [postgres, "-D", self.config["pg_data"]])
        for name, endpoint in zip(SCHEDULERS, self.endpoints):
            self._add(name, [self.bin + "/mlq-scheduler", "--listen", endpoint, "--key", keys + "/server.key",
                             "--enrolled", keys + "/enrolled", "--database", self._conninfo(), "--lease", str(LEASE_S),
                             "--heartbeat", "500ms", "--leader-lease", f"{LEADER_LEASE_S * 1000:.0f}ms"])
        for name in WORKERS:
            there = self._there() if name == WORKERS[-1] else []
            self._add(name, there + [self.bin + "/mlq-worker", "--name", name, "--home", self.work + "/workers",
                                     "--endpoint", ",".join(self.endpoints), "--server-key", self.config["server_key"],
                                     "--key", f"{keys}/{name}.key", "--store", self.store, "--cpus", str(WORKER_CPUS),
                                     "--memory", "4Gi", "--gpus", "none"])

    def _conninfo(self):
        return f"host={self.config['pg_socket_dir']} port=5432 user=mlq dbname=postgres"

    def start(self):
        for daemon in self.daemons.values():
            daemon.wanted = True
            daemon.start()
        self.keeper.start()

    def stop(self):
        self.stopping.set()
        self.keeper.join()
        for daemon in self.daemons.values():
            daemon.kill()
        kill_all(self.processes() + self.shims())
        if self.holder is not None:
            self.holder.kill()
            self.holder.wait()

    # ---- Keeping it up ----

    def _keep(self):
        while not self.stopping.wait(0.03):
            for daemon in self.daemons.values():
                with self.lock:
                    self._keep_one(daemon)

    def _keep_one(self, daemon):
        if not daemon.wanted or daemon.alive() or now_s() < daemon.not_before:
            return
        if not daemon.shot and not daemon.may_exit and daemon.name != "postgres":
            self.surprises.append(f"{daemon.name} exited by itself with {daemon.process.returncode}")
        daemon.not_before = now_s() + 0.3  # PostgreSQL waits for what its killed predecessor left
        daemon.start()

    def shoot(self, name):
        with self.lock:
            self.daemons[name].kill()

    def revive(self, name):
        with self.lock:
            self.daemons[name].wanted = True

    def signal(self, name, number):
        with self.lock:
            self.daemons[name].signal(number)

    # ---- The network of the last worker ----

    def cut(self, to_worker, to_scheduler):
        if to_worker:
            run("ip", "neigh", "replace", THERE, "lladdr", NOWHERE, "dev", "mlq0", "nud", "permanent")
        if to_scheduler:
            self.over_there("ip", "neigh", "replace", HERE, "lladdr", NOWHERE, "dev", "mlq1", "nud", "permanent")

    def heal(self):
        subprocess.run(["ip", "neigh", "del", THERE, "dev", "mlq0"], stderr=subprocess.DEVNULL)
        subprocess.run(self._there() + ["ip", "neigh", "del", HERE, "dev", "mlq1"], stderr=subprocess.DEVNULL)

    # ---- Looking at it ----

    def sql(self, text, timeout=30):
        """The rows of a query, as dictionaries."""
        words = [newest_server() + "/psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-h", self.config["pg_socket_dir"], "-U", "mlq", "-d",
                 "postgres", "-c", f"SELECT coalesce(json_agg(r), '[]') FROM ({text}) r"]
        out = subprocess.run(words, check=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=timeout)
        return json.loads(out.stdout)

    def try_sql(self, text):
        try:
            return self.sql(text, timeout=3)
        except (subprocess.SubprocessError, ValueError):
            return None

    def leader(self):
        """The name of the scheduler that leads, by the record; None: nobody knows."""
        rows = self.try_sql("SELECT holder FROM mlq.leader WHERE expires_at > clock_timestamp()")
        for name in SCHEDULERS:
            daemon = self.daemons[name]
            if rows and daemon.alive() and rows[0]["holder"].split("/")[-2] == str(daemon.process.pid):
                return name
        return None

    def client_env(self, endpoint):
        return dict(os.environ, MLQ_ENDPOINT=endpoint, MLQ_SERVER_KEY=self.config["server_key"],
                    MLQ_KEY=self.home + "/keys/client.key", MLQ_STORE=self.store)

    def _scan(self, is_it):
        found = []
        for entry in os.listdir("/proc"):
            if entry.isdigit() and int(entry) != os.getpid():
                try:
                    if is_it(f"/proc/{entry}"):
                        found.append(int(entry))
                except OSError:
                    pass  # it is gone
        return found

    def processes(self):
        """What runs, or left behind, a task of this cluster, by its environment."""
        mark = f"\0MLQ_OUTPUT={self.work}/workers/".encode()
        return self._scan(lambda path: mark in b"\0" + open(path + "/environ", "rb").read())

    def shims(self, worker=""):
        mark = f"mlq-shim\0{self.work}/workers/{worker}".encode()
        found = self._scan(lambda path: open(path + "/cmdline", "rb").read().startswith(mark))
        return [pid for pid in found if parent_of(pid) not in found]  # else it is a task, just before its exec

    def nurseries(self, worker):
        parent = self.daemons[worker].process.pid
        is_one = lambda path: open(path + "/cmdline", "rb").read().startswith(b"mlq-shim\0--nursery\0")
        return [pid for pid in self._scan(is_one) if parent_of(pid) == parent]

    def folders(self):
        return glob.glob(self.work + "/workers/*/attempts/*")
