#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: mlq authors
"""The architecture as a test: tidy.py RULE [--root DIR] [--build DIR]. RULE is one of rules.RULES or
"all". Exit status 0: kept; 1: broken, with a line per place.
"""
import argparse
import pathlib
import sys

import rules
from source import Tree


def check(tree, rule):
    """The complaints that are no exceptions, and the exceptions that nothing needs."""
    excused = {row[1] for row in tree.table("exceptions.txt") if row[0] == rule}
    bare = [row for row in tree.table("exceptions.txt") if row[0] == rule and len(row) < 4]
    complaints = [f"tests/tidy/exceptions.txt: {' '.join(row)}: give the reason in words" for row in bare]
    used = set()
    for thing, complaint in rules.RULES[rule](tree):
        if thing in excused:
            used.add(thing)
        else:
            complaints.append(complaint)
    complaints += [f"tests/tidy/exceptions.txt: {rule} {thing}: is not needed any more: delete the line"
                   for thing in sorted(excused - used)]
    return complaints


def main():
    here = pathlib.Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rule", choices=[*rules.RULES, "all"])
    parser.add_argument("--root", default=here.parent.parent)
    parser.add_argument("--build")
    options = parser.parse_args()
    tree = Tree(options.root, options.build)
    broken = 0
    for rule in rules.RULES if options.rule == "all" else [options.rule]:
        complaints = check(tree, rule)
        broken += len(complaints)
        for complaint in complaints:
            print(f"{rule}: {complaint}")
        if not complaints:
            print(f"{rule}: kept. {rules.RULES[rule].__doc__.strip()}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
