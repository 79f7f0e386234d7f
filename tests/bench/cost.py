#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: mlq authors
"""What a job costs, by process: microseconds of processor time, which other load on the machine hardly changes.

    tests/bench/cost.py BUILD [what:N[:...] ...]      default: jobs:20000:1000 array:100000

BUILD is the folder of the bench preset (build/bench); each argument is a run of bench_mlq on a cluster of its own.
"""
import glob
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile


def processes(home):
    """Seconds of processor time so far, of all threads of what belongs to the cluster."""
    spent = {}
    for process in glob.glob("/proc/[0-9]*"):
        try:
            words = open(process + "/cmdline", encoding="utf-8").read().split("\0")
            inside = home in " ".join(words) or os.readlink(process + "/cwd").startswith(home)
            threads = [open(f, encoding="utf-8").read() for f in glob.glob(process + "/task/*/schedstat")]
        except OSError:
            continue
        if inside:
            name = os.path.basename(words[0]) if words[0].startswith("mlq") or "/mlq" in words[0] else "PostgreSQL"
            spent[name] = spent.get(name, 0) + sum(int(text.split()[0]) for text in threads) / 1e9
    return spent


def proportional_mib(home, name):
    pid = open(f"{home}/pids/{name}", encoding="utf-8").read().split()[0]
    kib = re.search(r"^Pss: *([0-9]+)", open(f"/proc/{pid}/smaps_rollup", encoding="utf-8").read(), re.M)
    return int(kib.group(1)) / 1024


def measure(home, env, words):
    before, usage = processes(home), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(["bench_mlq", home, *words], env=env, capture_output=True, text=True, check=True)
    after, used = processes(home), resource.getrusage(resource.RUSAGE_CHILDREN)
    costs = {name: after[name] - before.get(name, 0) for name in sorted(after) if name}
    costs["bench_mlq"] = used.ru_utime + used.ru_stime - usage.ru_utime - usage.ru_stime
    costs["together"] = sum(costs.values())
    each = "  ".join(f"{name} {seconds * 1e6 / int(words[1]):.1f}" for name, seconds in costs.items())
    print(f"{' '.join(words)}: {done.stdout.strip()}  load {os.getloadavg()[0]:.1f}\n    us each: {each}")
    if words[0] == "queue":
        print(f"    scheduler: {proportional_mib(home, 'scheduler'):.0f} MiB")


def main():
    build = os.path.abspath(sys.argv[1])
    folder = tempfile.mkdtemp(prefix="mlq-cost.")
    os.chmod(folder, 0o755)
    home = folder + "/home"
    env = dict(os.environ, PATH=f"{build}/bin:{os.environ['PATH']}", MLQ_HOME=home)
    try:
        subprocess.run(["mlq", "up", "--workers", "2", "--cpus", "2", "--memory", "4Gi"], env=env, check=True,
                       capture_output=True)
        subprocess.run(["bench_mlq", home, "jobs", "2000", "1000"], env=env, check=True, stdout=subprocess.DEVNULL)
        for words in sys.argv[2:] or ["jobs:20000:1000", "array:100000"]:
            measure(home, env, words.split(":"))
    finally:
        subprocess.run(["mlq", "down", "--purge", "-y"], env=env, check=False, capture_output=True)
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
