#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: mlq authors
"""Can the bugs of a folder of patches still be planted? Each patch must apply to the tree without fuzz, be of one
source, and give one that compiles with the flags of this build. That the bugs are found: mutants.sh beside them.

usage: planted.py --build BUILD FOLDER
"""
import argparse
import concurrent.futures
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]


def commands_of(build):
    """How each source is compiled, by its path in the tree."""
    found = {}
    for entry in json.loads((build / "compile_commands.json").read_text()):
        path = pathlib.Path(entry["directory"], entry["file"])
        if path.is_relative_to(ROOT):
            found.setdefault(str(path.relative_to(ROOT)), entry)
    return found


def syntax_command(entry, source):
    """The same, of another file, to nowhere."""
    words = shlex.split(entry["command"])
    words = words[:words.index("-o")]
    return [word for word in words if word != "-c"] + ["-fsyntax-only", "-w", source]


def problem_of(patch, commands):
    """What is wrong with it; None: nothing."""
    sources = re.findall(r"^--- a/(\S+)$", patch.read_text(), re.M)
    if len(sources) != 1 or sources[0] not in commands:
        return "is not of one source that is built here"
    with tempfile.TemporaryDirectory() as tree:
        planted = pathlib.Path(tree, sources[0])
        planted.parent.mkdir(parents=True)
        shutil.copy(ROOT / sources[0], planted)
        done = subprocess.run(["patch", "-s", "-p1", "-F0", "-i", patch], cwd=tree, capture_output=True, text=True)
        if done.returncode != 0:
            return "does not apply any more: plant its bug anew"
        entry = commands[sources[0]]
        done = subprocess.run(syntax_command(entry, str(planted)), cwd=entry["directory"], capture_output=True, text=True)
        return f"does not compile: plant its bug anew\n{done.stderr}" if done.returncode != 0 else None


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", required=True, type=pathlib.Path)
    parser.add_argument("folder", type=pathlib.Path)
    options = parser.parse_args()
    patches = sorted(path.resolve() for path in options.folder.glob("*.patch"))
    commands = commands_of(options.build)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        problems = list(pool.map(lambda patch: problem_of(patch, commands), patches))
    for patch, problem in zip(patches, problems):
        if problem is not None:
            print(f"{patch.name}: {problem}")
    return 0 if patches and not any(problems) else 1


if __name__ == "__main__":
    sys.exit(main())
