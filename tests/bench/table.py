# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: mlq authors
"""Measurements of run.sh as JSON and as a Markdown table.

    table.py RESULTS JSON MARKDOWN

A line of RESULTS is "SECTION<tab>WHO<tab>WHAT<tab>name=value ...", once for each repeat; WHO is rival,
limit or mlq. Medians are compared; a ratio above 1 means that mlq is the better of the two.
"""
import json
import platform
import statistics
import sys
from collections import defaultdict

# section, name, what is measured, unit, divisor, whether less is better, the first goal (of which ratio or value)
ROWS = [
    ("start", "start_p50_us", "submit to start, no-op, durable, p50", "ms", 1000, True, "<= 1 ms"),
    ("start", "start_p99_us", "the same, p99", "ms", 1000, True, "<= 4 ms"),
    ("start", "accept_p50_us", "submit to accepted, p50", "ms", 1000, True, ""),
    ("jobs", "jobs_per_s", "separate no-op jobs, recorded", "jobs/s", 1, False, ">= 40,000/s"),
    ("array", "tasks_per_s", "no-op tasks of an array, recorded", "tasks/s", 1, False, ">= 100,000/s"),
    ("spawn", "tasks_per_s", "process tasks of an array (/bin/true)", "tasks/s", 1, False, ">= 0.20 of the limit"),
    ("csv", "mb_per_s", "CSV import", "MB/s", 1, False, ""),
    ("train", "samples_per_s", "MLP 784-512-256-10, batch 128, 1 thread", "samples/s", 1, False, ">= 1.0 of the rival"),
    ("memory", "scheduler_mib", "scheduler, idle", "MiB", 1, True, ""),
    ("memory", "worker_mib", "worker, idle", "MiB", 1, True, ""),
    ("memory", "queued_mib", "scheduler, with 100,000 queued jobs", "MiB", 1, True, ""),
]


def read(path):
    values = defaultdict(list)  # (section, who, name): values
    whats = defaultdict(dict)  # section: {who: what}
    for line in open(path, encoding="utf-8"):
        section, who, what, words = line.rstrip("\n").split("\t")
        whats[section][who] = what
        for word in words.split():
            name, _, value = word.partition("=")
            values[section, who, name].append(float(value))
    return values, whats


def shown(values, divisor):
    median = statistics.median(values) / divisor
    digits = 0 if median >= 100 else 1 if median >= 10 else 2
    low, high = min(values) / divisor, max(values) / divisor
    return f"{median:,.{digits}f} [{low:,.{digits}f} - {high:,.{digits}f}]"


def ratio(ours, theirs, less_is_better):
    if not ours or not theirs:
        return ""
    a, b = statistics.median(ours), statistics.median(theirs)
    return f"{(b / a if less_is_better else a / b):.2f}"


def main():
    values, whats = read(sys.argv[1])
    document = {"schema": "mlq-bench/v1", "machine": platform.platform(), "results": []}
    lines = ["| what | rival | limit | mlq | of rival | of limit | first goal |", "|---|---|---|---|---|---|---|"]
    for section, name, what, unit, divisor, less, goal in ROWS:
        got = {who: values.get((section, who, name), []) for who in ("rival", "limit", "mlq")}
        if not any(got.values()):
            continue
        cells = []
        for who in ("rival", "limit", "mlq"):
            label = whats[section].get(who, "")
            text = shown(got[who], divisor) if got[who] else ""
            cells.append(text if who == "mlq" or not text else f"{label}: {text}")
        lines.append(f"| {what}, {unit} | " + " | ".join(cells) + f" | {ratio(got['mlq'], got['rival'], less)} "
                     f"| {ratio(got['mlq'], got['limit'], less)} | {goal} |")
        document["results"].append({
            "section": section, "name": name, "what": what, "goal": goal, "less_is_better": less,
            **{who: {"what": whats[section].get(who, ""), "values": got[who], "median": statistics.median(got[who])}
               for who in got if got[who]}})
    json.dump(document, open(sys.argv[2], "w", encoding="utf-8"), indent=1)
    text = "\n".join(lines) + "\n"
    open(sys.argv[3], "w", encoding="utf-8").write(text)
    print(text, end="")


if __name__ == "__main__":
    main()
