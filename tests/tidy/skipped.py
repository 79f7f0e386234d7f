#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: mlq authors
"""Lists what ctest skipped, with the reason that the test printed: skipped.py LastTest.log SUMMARY

Whole tests skip by exit status 77 and say why on their last line; a case of a cmocka or bats test
skips by that framework's mark. A skipped test is a test that nobody ran: it must be seen.
"""
import re
import sys

WHOLE = re.compile(r"^\s*\d+ - (\S+) \(Skipped\)$", re.M)  # in the summary: the log does not tell
CMOCKA = re.compile(r"^\[  SKIPPED \] (?P<case>\w+)$")
BATS = re.compile(r"^ok \d+ (?P<case>.*?) # skip ?(?P<why>.*)$")


def blocks(text):
    """(name, lines of its output) of each test of the log."""
    heads = list(re.finditer(r"^\d+/\d+ Testing: (?P<name>\S+)$", text, re.M))
    for i, head in enumerate(heads):
        end = heads[i + 1].start() if i + 1 < len(heads) else len(text)
        body = text[head.end():end]
        output = body.partition("\nOutput:\n")[2].partition("<end of output>")[0]
        yield head["name"], output.splitlines()[1:]


def skips(text, summary):
    whole = set(WHOLE.findall(summary))
    for name, output in blocks(text):
        if name in whole:
            said = [line for line in output if line.strip()]
            yield name, said[-1].strip() if said else "no reason given"
            continue
        before = ""
        seen = set()
        for line in output:
            if match := CMOCKA.match(line):
                if match["case"] in seen:  # cmocka lists them again at the end
                    continue
                seen.add(match["case"])
                if before and not before.startswith("["):
                    yield f"{name}: {match['case']}", before
                else:
                    yield f"{name}: {match['case']}", "no reason given"
            elif match := BATS.match(line):
                yield f"{name}: {match['case']}", match["why"] or "no reason given"
            before = line.strip()


def main():
    log, summary = (open(path, encoding="utf-8", errors="replace").read() for path in sys.argv[1:])
    found = sorted(skips(log, summary))
    if not found:
        print("== nothing was skipped")
        return
    print(f"== SKIPPED, not run here: {len(found)}")
    for name, why in found:
        print(f"   {name}: {why}")


if __name__ == "__main__":
    main()
