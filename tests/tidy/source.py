# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: mlq authors
"""The tree as the rules see it: files, code without comments and texts, functions, objects."""
import fnmatch
import functools
import json
import os
import pathlib
import re
import subprocess

SKIPPED_FOLDERS = {"build", "__pycache__", "node_modules"}
CODE = {".c", ".h", ".cc"}
TEXT = CODE | {".py", ".sh", ".md", ".txt", ".cmake", ".proto", ".sql", ".yaml", ".yml", ".json", ".bats"}
TOKEN = re.compile(r"""//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'""", re.S)
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(?P<open>[<"])(?P<path>[^>"]+)[>"]', re.M)


def blank(match):
    """The same lines, without content: a text stays a text (""), a comment becomes space."""
    text = match.group(0)
    lines = "\n" * text.count("\n")
    return '""' + lines if text[0] == '"' else "0" if text[0] == "'" else " " + lines


class File:
    def __init__(self, root, path):
        self.path = path  # relative, with slashes
        self.text = (root / path).read_text(encoding="utf-8", errors="replace")
        self.folder = path.rpartition("/")[0]
        self.suffix = pathlib.PurePath(path).suffix

    @functools.cached_property
    def code(self):
        return TOKEN.sub(blank, self.text)

    def line_of(self, offset):
        return self.text.count("\n", 0, offset) + 1

    def code_line_of(self, offset):
        return self.code.count("\n", 0, offset) + 1

    def includes(self):
        """(line, opening bracket, path)"""
        for match in INCLUDE.finditer(self.text):
            yield self.line_of(match.start()), match["open"], match["path"]

    def functions(self):
        """(line, name, body). By the format: a function's braces stand alone in the first column,
        and its head begins in the first column after a blank line, '}' or ';'."""
        lines = self.code.split("\n")
        start = None
        for number, line in enumerate(lines):
            if line.rstrip() == "{":
                start = number
            elif line.startswith("}") and start is not None:
                head = []
                above = start - 1
                while above >= 0 and lines[above].strip() and lines[above][0] not in "}#":
                    head.insert(0, lines[above])
                    above -= 1
                name = re.search(r"(\w+)\s*\(", re.sub(r"__attribute__\s*\(\(.*?\)\)", "", " ".join(head)))
                yield start + 1, name[1] if name else "?", "\n".join(lines[start:number + 1])
                start = None


class Object:
    """One compiled file of ours."""

    def __init__(self, source, path, flags):
        self.source = source  # relative path of the .c
        self.path = path
        self.flags = flags  # -I and -isystem, as they were given

    @functools.cached_property
    def symbols(self):
        """(name, class letter, type, section) of each symbol; the class of an undefined one is U."""
        if not self.path.exists():
            raise SystemExit(f"{self.path} is not built: build first (cmake --build --preset asan)")
        out = subprocess.run(["nm", "-f", "sysv", str(self.path)], check=True, capture_output=True,
                             text=True, env={"LC_ALL": "C", "PATH": "/usr/local/bin:/usr/bin:/bin"})
        found = []
        for line in out.stdout.splitlines():
            fields = [field.strip() for field in line.split("|")]
            if len(fields) == 7 and fields[0] != "Name":
                found.append((fields[0], fields[2], fields[3], fields[6]))
        return found


class Tree:
    def __init__(self, root, build=None, tables=None):
        self.root = pathlib.Path(root).resolve()
        self.build = pathlib.Path(build).resolve() if build else None
        self.tables = pathlib.Path(tables) if tables else self.root / "tests/tidy"

    @functools.cached_property
    def files(self):
        found = []
        for folder, inner, names in os.walk(self.root):
            # What is skipped is not entered: other tests make and remove files there meanwhile.
            inner[:] = sorted(i for i in inner if i == ".ci" or not (i.startswith(".") or i in SKIPPED_FOLDERS))
            place = pathlib.Path(folder).relative_to(self.root)
            for name in sorted(n for n in names if not n.startswith(".")):
                path = place / name
                if (self.root / path).is_file() and (path.suffix in TEXT or path.parts[0] == ".ci"):
                    found.append(File(self.root, path.as_posix()))
        return sorted(found, key=lambda file: file.path)

    def code(self, *folders):
        """The C files (all, or of these folders and what is in them)."""
        for file in self.files:
            if file.suffix in CODE and (not folders or any(is_in(file.path, f) for f in folders)):
                yield file

    @functools.cached_property
    def objects(self):
        """What the build makes of our C, tests and generated code left out."""
        return [o for o in self.all_objects if not is_in(o.source, "tests")]

    @functools.cached_property
    def all_objects(self):
        if self.build is None or not (self.build / "compile_commands.json").exists():
            raise SystemExit("this rule reads objects: give --build DIR, configured with CMake")
        found = {}
        for entry in json.loads((self.build / "compile_commands.json").read_text()):
            source = pathlib.Path(entry["file"])
            if self.build in source.parents or self.root not in source.parents:
                continue
            name = source.relative_to(self.root).as_posix()
            output = re.search(r"\s-o\s+(\S+)", entry["command"])[1]
            flags = re.findall(r"(?<=\s)(?:-I\s*\S+|-isystem\s+\S+)", entry["command"])
            found[name] = Object(name, self.build / output, flags)
        return list(found.values())

    def table(self, name):
        """The lines of a table beside the rules, split at spaces, comments left out."""
        path = self.tables / name
        if not path.exists():
            return []
        lines = (line.split("#")[0].split() for line in path.read_text().splitlines())
        return [line for line in lines if line]


def is_in(path, folder):
    return path.startswith(folder.rstrip("/") + "/")


def matches(path, pattern):
    """A shell pattern whose * does not cross a slash."""
    a, b = path.split("/"), pattern.split("/")
    return len(a) == len(b) and all(fnmatch.fnmatchcase(x, y) for x, y in zip(a, b))
