# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: mlq authors
"""The rules of ARCHITECTURE.md and STYLE.md. Each is a generator of (thing, complaint): `thing` is
what an exception in exceptions.txt names, the complaint says the place, the rule and the way out.
"""
import concurrent.futures
import fnmatch
import hashlib
import os
import re
import subprocess

from source import is_in, matches

PURE = ("lib/base", "scheduler/core", "scheduler/search", "worker/agent")
FUNCTION_LINES_MAX = 70
FUNCTION_LINES_MAX_TESTS = 100
FILE_LINES_MAX_CORE = 600
FILE_LINES_MAX = 700
FILE_LINES_MAX_TESTS = 1200
# The way into the code that ARCHITECTURE.md promises.
FIRST_READING = ("scheduler/main.c", "scheduler/shell.c", "scheduler/core/core.c", "scheduler/core/job.c")
FIRST_READING_LINES_MAX = 1500


def pure(tree):
    """R1: the pure parts link against nothing but themselves and a few byte routines."""
    objects = [o for o in tree.objects if any(is_in(o.source, folder) for folder in PURE)]
    if not objects:
        yield "objects", "no object of a pure part was found: is the build folder right?"
    own = {name for o in objects for name, kind, _, _ in o.symbols if kind.isupper() and kind != "U"}
    allowed = tree.table("pure_symbols.txt")
    for o in objects:
        for name, kind, _, _ in o.symbols:
            if kind != "U" or name in own:
                continue
            if not any(fnmatch.fnmatchcase(name, row[0]) and fnmatch.fnmatchcase(o.source, row[1])
                       for row in allowed):
                yield (f"{o.source}:{name}", f"{o.source}: uses {name}: pure code gets what it needs as "
                       "arguments (tests/tidy/pure_symbols.txt lists what is allowed)")


PURE_WORDS = re.compile(r"\b(time|clock|clock_\w+|gettimeofday|localtime\w*|gmtime\w*|uv_now|uv_hrtime|"
                        r"rand|srand|random|srandom|rand_r|drand48|getrandom|getentropy|getpid|gettid|"
                        r"getenv|secure_getenv|pthread_\w+|printf|fprintf|malloc|calloc|realloc|free)\s*\(")
CLOCK_WORDS = re.compile(r"\b(time|clock|clock_gettime|gettimeofday|timespec_get|ftime|uv_now|uv_hrtime|"
                         r"uv_clock_gettime)\s*\(")
MEMORY_WORDS = re.compile(r"\b(malloc|calloc|realloc|reallocarray|free|strdup|strndup|asprintf|vasprintf|"
                          r"aligned_alloc|posix_memalign|memalign)\s*\(")


def words(tree):
    """R2: no clock, chance or memory where none belongs."""
    for file in tree.code():
        checks = []
        if any(is_in(file.path, folder) for folder in (*PURE, "tests/sim")):
            checks.append((PURE_WORDS, "pure code has no clock, chance, environment, memory or output"))
        elif not is_in(file.path, "tests"):
            if file.path != "lib/sys/clock.c":
                checks.append((CLOCK_WORDS, "clocks live in lib/sys/clock.c"))
            if file.path != "lib/sys/mem.c":
                checks.append((MEMORY_WORDS, "memory comes from lib/sys/mem.h (mlq_alloc & co)"))
        for pattern, why in checks:
            for match in pattern.finditer(file.code):
                before = file.code[:match.start()].rstrip()[-2:]
                if before.endswith(".") or before == "->":  # a member of that name
                    continue
                yield (f"{file.path}:{match[1]}",
                       f"{file.path}:{file.code_line_of(match.start())}: {match[1]}(): {why}")


def layers(tree):
    """R3: includes follow the arrows."""
    rows = {row[0].rstrip(":"): row[1:] for row in tree.table("layers.txt")}

    def layer_of(path):
        return max((f for f in rows if is_in(path, f)), key=len, default=None)

    for file in tree.code():
        mine = layer_of(file.path)
        if mine is None:
            yield file.folder, f"{file.path}: its folder is not in tests/tidy/layers.txt: give it a place"
            continue
        for line, opening, path in file.includes():
            if opening == "<" or path.endswith(".pb-c.h"):  # R4 says who may
                continue
            where = f"{file.path}:{line}: includes {path}"
            thing = f"{file.path}:{path}"
            if is_in(path, "tests") and mine != "tests":
                yield thing, f"{where}: nothing includes tests/"
            elif "/" not in path or path.startswith("."):
                yield thing, f"{where}: includes are written from the repository's root"
            elif mine != "tests" and (other := layer_of(path)) not in (mine, None, *rows[mine]):
                yield thing, f"{where}: {mine} may include only: {' '.join(rows[mine]) or 'itself'}"


SYNCHRONOUS = re.compile(r"\b(PQ(?:exec|execParams|execPrepared|prepare|describePrepared|describePortal|"
                         r"connectdb|connectdbParams|setdb|setdbLogin|reset|fn|getline|putline|endcopy|"
                         r"ping|pingParams|requestCancel|cancel|getssl)|lo_\w+)\s*\(")


def owners(tree):
    """R4: one owner per third-party header, and no database call that waits."""
    rows = tree.table("owners.txt")
    system = [name for row in rows if row[0] == "system" for name in row[1:]]
    owned = [(row[0], row[1:]) for row in rows if row[0] != "system"]
    ours = {row[0].rstrip(":") for row in tree.table("layers.txt")}
    for file in tree.code():
        for line, _, path in file.includes():
            if any(is_in(path, f) for f in ours) or any(matches(path, name) for name in system):
                continue
            row = next((places for header, places in owned if fnmatch.fnmatchcase(path, header)), None)
            where = f"{file.path}:{line}: includes <{path}>"
            if row is None:
                yield f"{file.path}:{path}", f"{where}: nobody owns it: see tests/tidy/owners.txt"
            elif not is_in(file.path, "tests") and not any(matches(file.path, place) for place in row):
                yield f"{file.path}:{path}", f"{where}, which belongs to {' '.join(row)}"
        for match in SYNCHRONOUS.finditer(file.code):
            if not is_in(file.path, "tests"):
                yield (f"{file.path}:{match[1]}", f"{file.path}:{file.code_line_of(match.start())}: "
                       f"{match[1]} waits for the database: use the PQsend… form")


def names(tree):
    """R5: what foo.c exports begins with foo_, or with its folder's name if the folder's header has it."""
    headers = {file.path: file.code for file in tree.code() if file.suffix == ".h"}
    for o in tree.objects:
        folder, _, name = o.source.rpartition("/")
        base = folder.rpartition("/")[2]
        public = headers.get(f"{folder}/{base}.h", "")
        stem = name.rpartition(".")[0]
        library = any(is_in(o.source, f) for f in ("lib/base", "lib/sys", "client/libmlq"))
        prefix = "mlq_" if library else stem + "_"
        for name, kind, _, section in o.symbols:
            exported = kind.isupper() and kind not in "UNWV" and section != "*UND*"
            if not exported or name in ("main", stem) or name.startswith((prefix, "__odr_asan", "_Z", "DW.")):
                continue
            if name.startswith(base + "_") and re.search(rf"\b{re.escape(name)}\b", public):
                continue
            yield f"{o.source}:{name}", f"{o.source}: exports {name}: make it static or call it {prefix}…"


def state(tree):
    """R6: the pure parts keep no state of their own."""
    for o in tree.objects:
        if not any(is_in(o.source, folder) for folder in PURE):
            continue
        for name, kind, sort, section in o.symbols:
            writable = section.startswith((".data", ".bss", ".tdata", ".tbss", "*COM*", ".lbss", ".ldata"))
            if sort in ("OBJECT", "TLS") and writable and not section.startswith(".data.rel.ro"):
                yield f"{o.source}:{name}", f"{o.source}: {name} is a variable of the program: pass it in"


def size(tree):
    """R7: functions and files that fit in a head."""
    first = sum(file.text.count("\n") for file in tree.code() if file.path in FIRST_READING)
    if first > FIRST_READING_LINES_MAX:
        yield "first reading", (f"{', '.join(FIRST_READING)}: {first} lines together, at most "
                                f"{FIRST_READING_LINES_MAX}: that is what ARCHITECTURE.md asks a newcomer to read")
    for file in tree.code():
        limit = (FILE_LINES_MAX_CORE if is_in(file.path, "scheduler/core") or is_in(file.path, "worker/agent")
                 else FILE_LINES_MAX_TESTS if is_in(file.path, "tests") else FILE_LINES_MAX)
        lines = file.text.count("\n")
        if lines > limit:
            yield file.path, f"{file.path}: {lines} lines, at most {limit}: split it along its subject"
        limit = FUNCTION_LINES_MAX_TESTS if is_in(file.path, "tests") else FUNCTION_LINES_MAX
        for line, name, body in file.functions():
            lines = body.count("\n") + 1
            if lines > limit:
                yield (f"{file.path}:{name}", f"{file.path}:{line}: {name} has {lines} lines, at most "
                       f"{limit}: push ifs up and loops down")


def headers(tree):
    """R8: each header compiles alone."""
    flags = []
    for o in tree.objects:
        flags += [flag for flag in o.flags if flag not in flags]
    flags = [part for flag in flags for part in flag.split()]
    flags += ["-I", str(tree.root), "-I", str(tree.build), "-I", str(tree.build / "generated")]

    def compile_alone(file):
        if not file.path.endswith(".h"):
            return None
        out = subprocess.run(["gcc", "-std=c17", "-D_GNU_SOURCE", "-fsyntax-only", "-x", "c", *flags,
                              "-include", str(tree.root / file.path), "/dev/null"],
                             capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"})
        return None if out.returncode == 0 else (file, out.stderr)

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for result in pool.map(compile_alone, list(tree.code())):
            if result:
                first = next((l for l in result[1].splitlines() if "error" in l), result[1])
                yield result[0].path, f"{result[0].path}: does not compile alone: {first}"


def enclosing_block(code, at):
    """The text between the innermost braces around `at`."""
    edges = []
    for step in (-1, 1):
        here, depth = at, 0
        inwards, outwards = ("}", "{") if step < 0 else ("{", "}")
        while 0 <= here < len(code) and not (code[here] == outwards and depth == 0):
            depth += (code[here] == inwards) - (code[here] == outwards)
            here += step
        edges.append(here)
    return code[edges[0] + 1:edges[1]]


def cases(tree):
    """R9: a switch names every case, so that a new enum value is a compile error."""
    for file in tree.code():
        for match in re.finditer(r"\bdefault\s*:", file.code):
            labels = re.findall(r"\bcase\s+([^:]+):", enclosing_block(file.code, match.start()))
            if labels and all(re.fullmatch(r"\d+", label.strip()) for label in labels):
                continue  # over characters or numbers, which have no list of all cases
            line = file.code_line_of(match.start())
            yield file.path, f"{file.path}:{line}: default: hides the case that is added tomorrow"
    warnings = tree.root / "cmake/Warnings.cmake"
    if not warnings.exists() or "-Wswitch-enum" not in warnings.read_text():
        yield "cmake/Warnings.cmake", "cmake/Warnings.cmake: -Wswitch-enum is missing"


def migrations(tree):
    """R13: a released migration never changes; numbers have no holes; each goes up and down."""
    folder = tree.root / "migrations"
    released = {row[1]: row[0] for row in tree.table("migrations.sha256")}
    present = {path.name: path for path in sorted(folder.glob("*.sql"))} if folder.exists() else {}
    for name, digest in released.items():
        if name not in present:
            yield name, f"migrations/{name}: was released and is gone"
        elif hashlib.sha256(present[name].read_bytes()).hexdigest() != digest:
            yield name, f"migrations/{name}: was released and has changed: write a new migration"
    numbers = set()
    for name in present:
        if not (match := re.fullmatch(r"(\d{4})_[a-z0-9_]+\.(up|down)\.sql", name)):
            yield name, f"migrations/{name}: the name is not NNNN_what.up.sql or .down.sql"
            continue
        numbers.add(int(match[1]))
        other = name.replace(".up.", ".DOWN.").replace(".down.", ".up.").replace(".DOWN.", ".down.")
        if other not in present:
            yield name, f"migrations/{name}: {other} is missing"
        if released and name not in released and match[1] <= max(released)[:4]:
            yield name, f"migrations/{name}: is not newer than what was released"
    if numbers and numbers != set(range(1, len(numbers) + 1)):
        yield "numbers", f"migrations/: the numbers are {sorted(numbers)}, not 1, 2, 3, …"


def built(tree):
    """Each source is part of the build, each test of the test run: nothing is forgotten or switched off."""
    compiled = {o.source for o in tree.all_objects}
    for file in tree.code():
        if file.suffix != ".h" and file.path not in compiled and not is_in(file.path, "tests/fuzz"):
            yield file.path, f"{file.path}: is not built: list it in a CMakeLists.txt, or delete it"


CALLS = re.compile(r"\b(strcpy|stpcpy|strcat|sprintf|vsprintf|atoi|atol|atoll|atof|alloca|gets|system|popen|"
                   r"strtok|tmpnam|mktemp|tempnam)\s*\(")
GOTO = re.compile(r"\bgoto\s+(?!out\b)(\w+)")


def calls(tree):
    """STYLE.md: calls that overrun, hide errors or start shells; goto; recursion."""
    for file in tree.code():
        for match in CALLS.finditer(file.code):
            if is_in(file.path, "tests") and match[1] in ("system", "popen"):
                continue  # a test may run a shell
            yield (f"{file.path}:{match[1]}",
                   f"{file.path}:{file.code_line_of(match.start())}: {match[1]}() is banned (STYLE.md)")
        for match in GOTO.finditer(file.code):
            yield (f"{file.path}:{match[1]}",
                   f"{file.path}:{file.code_line_of(match.start())}: goto {match[1]}: only `out` is allowed")
        for line, name, body in file.functions():
            if name != "?" and not is_in(file.path, "tests") and re.search(rf"(?<![.>\w]){name}\s*\(", body):
                yield f"{file.path}:{name}", f"{file.path}:{line}: {name} calls itself: use a loop with a bound"


LATER = re.compile(r"\b(TO" r"DO|FIX" r"ME|HA" r"CK)\b")
NEGATED = re.compile(r"^[ \t]+! \S+", re.MULTILINE)
MACHINE = re.compile(r"""(?:^|(?<=[\s"'`=(:,\[]))/(?:work|root|home/\w+)/""")


def text(tree):
    """No place of one machine, no promise to come back later, no test that cannot fail, a licence, a change log."""
    for file in tree.files:
        for pattern, why in ((LATER, "do it, or open an issue"),
                             (MACHINE, "a path of one machine")):
            for match in pattern.finditer(file.text):
                line = file.line_of(match.start())
                yield f"{file.path}:{match[0]}", f"{file.path}:{line}: {match[0]}: {why}"
        for match in NEGATED.finditer(file.text) if file.suffix == ".bats" else ():
            yield (f"{file.path}:{match[0].strip()}",
                   f"{file.path}:{file.line_of(match.start())}: {match[0].strip()}: a failed `!` ends no test: refute")
        if file.suffix in {".c", ".h", ".cc", ".py", ".sh"}:
            head = "\n".join(file.text.splitlines()[:4])
            if "SPDX-License-Identifier: Apache-2.0" not in head or "SPDX-FileCopyrightText: " not in head:
                yield f"{file.path}:SPDX", f"{file.path}: the two SPDX lines are missing at the top"
    log = tree.root / "CHANGELOG.md"
    if not log.exists() or "## [Unreleased]" not in log.read_text():
        yield "CHANGELOG.md", "CHANGELOG.md: has no [Unreleased] section"


RULES = {
    "R1": pure,
    "R2": words,
    "R3": layers,
    "R4": owners,
    "R5": names,
    "R6": state,
    "R7": size,
    "R8": headers,
    "R9": cases,
    "R13": migrations,
    "built": built,
    "calls": calls,
    "text": text,
}
