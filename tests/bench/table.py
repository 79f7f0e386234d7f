# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: mlq authors
"""Measurements of run.sh as JSON and as a Markdown table.

    table.py RESULTS JSON MARKDOWN

A line of RESULTS is "SECTION<tab>WHO<tab>WHAT<tab>name=value ...", once for each repeat; WHO is rival,
limit or mlq. Medians are compared; a ratio above 1 means that mlq is the better of the two. Where one of
them has several WHATs, the best one counts; the JSON has all.
"""
import json
import platform
import statistics
import sys
from collections import defaultdict

NETWORKS = [
    ("mlp", "MLP 784-512-256-10", ">= 1.0 of the rival"),
    ("cnn28", "CNN 28x28x1, 1.0M parameters", ">= 0.6 of the rival"),
    ("cnn32", "CNN 32x32x3, 1.0M parameters", ">= 0.6 of the rival"),
]


def training_rows(name, what, goal):
    for ranks, cores in ((1, "one core"), (2, "two cores")):
        yield f"{name}-{ranks}", "samples_per_s", f"{what}, batch 128, {cores}", "samples/s", 1, False, goal
        yield f"{name}-{ranks}", "cpu_us", "the same, processor time each", "us", 1, True, ""
    yield f"{name}-ranks", "speedup", f"{what}: speed of 2 ranks, of 1 rank", "times", 1, False, ">= 1.8"
    yield f"{name}-ranks", "cpu", "the same, processor time", "times", 1, True, ""


# section, name, what is measured, unit, divisor, whether less is better, the first goal (of which ratio or value)
ROWS = [
    ("start", "start_p50_us", "submit to start, no-op, durable, p50", "ms", 1000, True, "<= 1 ms"),
    ("start", "start_p99_us", "the same, p99", "ms", 1000, True, "<= 4 ms"),
    ("start", "accept_p50_us", "submit to accepted, p50", "ms", 1000, True, ""),
    ("jobs", "jobs_per_s", "separate no-op jobs, recorded", "jobs/s", 1, False, ">= 40,000/s"),
    ("array", "tasks_per_s", "no-op tasks of an array, recorded", "tasks/s", 1, False, ">= 100,000/s"),
    ("spawn", "tasks_per_s", "process tasks of an array (/bin/true)", "tasks/s", 1, False, ">= 0.20 of the limit"),
    ("csv", "mb_per_s", "CSV import", "MB/s", 1, False, ""),
    ("memory", "scheduler_mib", "scheduler, idle", "MiB", 1, True, ""),
    ("memory", "worker_mib", "worker, idle", "MiB", 1, True, ""),
    ("memory", "queued_mib", "scheduler, with 100,000 queued jobs", "MiB", 1, True, ""),
    *(row for name, what, goal in NETWORKS for row in training_rows(name, what, goal)),
    *((f"levels-{name}-{ranks}", "cpu", f"processor time of a step, elastic beside fast: {name.upper()}, {ranks} rank(s)",
       "times", 1, True, "<= 1.15") for name in ("mlp", "cnn") for ranks in (1, 2)),
    ("kill", "seconds", "a rank is killed, until all others train on", "ms", 0.001, True, "<= 1,000 ms"),
    ("logistic", "seconds", "logistic regression, 100 columns, from CSV to metrics", "s", 1, True, ">= 1.0 of the rival"),
    ("logistic", "log_loss", "the same, log loss of held-out rows", "nats", 1, True, "the same"),
    ("fashion", "accuracy", "Fashion-MNIST, CNN, 10 epochs: accuracy of held-out images", "share", 1, False, ">= 0.91"),
    ("fashion", "seconds", "the same, from files to a report", "s", 1, True, ""),
]


def read(path):
    values = defaultdict(lambda: defaultdict(list))  # (section, who, name): {what: values}
    for line in open(path, encoding="utf-8"):
        section, who, what, words = line.rstrip("\n").split("\t")
        for word in words.split():
            name, _, value = word.partition("=")
            values[section, who, name][what].append(float(value))
    return values


def best(whats, less_is_better):
    """(what, values) of the best one."""
    if not whats:
        return "", []
    return (min if less_is_better else max)(whats.items(), key=lambda item: statistics.median(item[1]))


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
    values = read(sys.argv[1])
    document = {"schema": "mlq-bench/v2", "machine": platform.platform(), "results": []}
    lines = ["| what | rival | limit | mlq | of rival | of limit | first goal |", "|---|---|---|---|---|---|---|"]
    for section, name, what, unit, divisor, less, goal in ROWS:
        whats = {who: values.get((section, who, name), {}) for who in ("rival", "limit", "mlq")}
        if not any(whats.values()):
            continue
        chosen = {who: best(whats[who], less) for who in whats}
        cells = []
        for who, (label, got) in chosen.items():
            is_bare = who == "mlq" and len(whats[who]) == 1
            cells.append("" if not got else shown(got, divisor) if is_bare else f"{label}: {shown(got, divisor)}")
        ours, theirs, limit = (chosen[who][1] for who in ("mlq", "rival", "limit"))
        lines.append(f"| {what}, {unit} | " + " | ".join(cells) + f" | {ratio(ours, theirs, less)} "
                     f"| {ratio(ours, limit, less)} | {goal} |")
        document["results"].append({
            "section": section, "name": name, "what": what, "goal": goal, "less_is_better": less,
            **{who: [{"what": label, "values": got, "median": statistics.median(got)} for label, got in whats[who].items()]
               for who in whats if whats[who]}})
    json.dump(document, open(sys.argv[2], "w", encoding="utf-8"), indent=1)
    text = "\n".join(lines) + "\n"
    open(sys.argv[3], "w", encoding="utf-8").write(text)
    print(text, end="")


if __name__ == "__main__":
    main()
