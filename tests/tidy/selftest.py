#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: mlq authors
"""Each rule bites: a small tree that keeps all rules is broken in one way at a time, and exactly the
rule that forbids it must complain, at that place. A rule that cannot fail is no rule.
"""
import hashlib
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

import rules
import skipped
import tidy
from source import Tree

HERE = pathlib.Path(__file__).resolve().parent
SPDX = "/* SPDX-License-Identifier: Apache-2.0\n * SPDX-FileCopyrightText: mlq authors\n */\n"

GOOD = {
    "lib/base/num.h": SPDX + "#include <stdint.h>\nuint32_t mlq_num_twice(uint32_t number);\n",
    "lib/base/num.c": SPDX + '#include "lib/base/num.h"\n\n#include <string.h>\n\n'
    "static const char *const words[] = {\"none\", \"one\"};\n\n"
    "uint32_t mlq_num_twice(uint32_t number)\n{\n"
    "    /* default: time( malloc( goto away; in a comment is fine */\n"
    '    char text[8];\n    memset(text, 0, sizeof text);\n    memcpy(text, words[number & 1], 3);\n'
    "    return number * 2 + (uint32_t)(text[0] == 'n') * 0;\n}\n",
    "scheduler/core/job.h": SPDX + "#include <stdint.h>\nstruct job {\n    uint32_t id;\n};\n"
    "uint32_t job_id(const struct job *job);\n",
    "scheduler/core/job.c": SPDX + '#include "scheduler/core/job.h"\n\n#include "lib/base/num.h"\n\n'
    "uint32_t job_id(const struct job *job)\n{\n    return mlq_num_twice(job->id);\n}\n",
    "worker/main.c": SPDX + '#include <stdio.h>\n\n#include "lib/base/num.h"\n\nint main(void)\n{\n'
    '    return printf("default: system( /x\\n") > 0 && mlq_num_twice(0) == 0 ? 0 : 1;\n}\n',
    "migrations/0001_init.up.sql": "create table job (id bigint);\n",
    "migrations/0001_init.down.sql": "drop table job;\n",
    "cmake/Warnings.cmake": "set(W -Wswitch-enum)\n",
    "CHANGELOG.md": "# Change log\n\n## [Unreleased]\n",
}


class Bites(unittest.TestCase):
    def setUp(self):
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="mlq-tidy."))
        self.addCleanup(shutil.rmtree, self.root)
        for path, text in GOOD.items():
            self.write(path, text)
        tables = self.root / "tests/tidy"
        tables.mkdir(parents=True)
        for name in ("layers.txt", "owners.txt", "pure_symbols.txt"):
            shutil.copy(HERE / name, tables / name)

    def write(self, path, text):
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    def append(self, path, text):
        self.write(path, (self.root / path).read_text() + text)

    def replace(self, path, old, new):
        text = (self.root / path).read_text()
        self.assertIn(old, text)
        self.write(path, text.replace(old, new))

    def compile(self, *flags):
        build = self.root / "build"
        build.mkdir(exist_ok=True)
        entries = []
        for number, source in enumerate(sorted(self.root.rglob("*.c"))):
            command = ["gcc", "-I", str(self.root), "-fPIC", "-g", *flags, "-o", f"{number}.o", "-c", str(source)]
            subprocess.run(command, cwd=build, check=True)
            entries.append({"directory": str(build), "command": " ".join(command), "file": str(source)})
        (build / "compile_commands.json").write_text(json.dumps(entries))
        return build

    def complaints(self, rule, *flags):
        build = self.compile(*flags) if rule in ("R1", "R5", "R6", "R8", "built") else None
        return tidy.check(Tree(self.root, build), rule)

    def bites(self, rule, *parts):
        found = self.complaints(rule)
        self.assertTrue(any(all(part in line for part in parts) for line in found), found)

    def test_the_good_tree_keeps_every_rule(self):
        for rule in rules.RULES:
            with self.subTest(rule):
                self.assertEqual(self.complaints(rule), [])

    def test_the_good_tree_keeps_them_under_sanitizers_and_hardening(self):
        for flags in (("-fsanitize=address,undefined", "-O1"),
                      ("-O2", "-D_FORTIFY_SOURCE=2", "-fstack-protector-strong")):
            for rule in ("R1", "R5", "R6"):
                with self.subTest(rule, flags=flags):
                    self.assertEqual(self.complaints(rule, *flags), [])

    def test_R1_impure_symbol(self):
        self.append("scheduler/core/job.c", "#include <unistd.h>\nlong job_write(void);\nlong job_write(void)\n"
                    '{\n    return write(1, "x", 1);\n}\n')
        self.bites("R1", "scheduler/core/job.c", "write")

    def test_R1_formatting_only_where_allowed(self):
        self.append("lib/base/num.c", "#include <stdio.h>\nint mlq_num_say(char *to);\nint mlq_num_say(char *to)\n"
                    '{\n    return snprintf(to, 2, "%d", 3);\n}\n')
        self.bites("R1", "lib/base/num.c", "snprintf")

    def test_R1_needs_objects(self):
        for path in ("lib/base/num.c", "scheduler/core/job.c"):
            (self.root / path).unlink()
        self.write("worker/main.c", "int main(void)\n{\n    return 0;\n}\n")
        self.bites("R1", "no object")

    def test_R2_clock_in_core(self):
        self.append("scheduler/core/job.c", "static long now(void)\n{\n    return time(NULL);\n}\n")
        self.bites("R2", "scheduler/core/job.c:", "time()")

    def test_R2_clock_outside_sys(self):
        self.append("worker/main.c", "static void f(void)\n{\n    clock_gettime(0, 0);\n}\n")
        self.bites("R2", "worker/main.c:", "lib/sys/clock.c")

    def test_R2_malloc_outside_sys(self):
        self.append("worker/main.c", "static void *f(void)\n{\n    return malloc (3);\n}\n")
        self.bites("R2", "worker/main.c:", "malloc")

    def test_R2_leaves_members_and_the_owner_alone(self):
        self.append("worker/main.c", "static void f(struct x *x)\n{\n    x->free(x);\n    x->ops.time(3);\n}\n")
        self.write("lib/sys/mem.c", SPDX + "static void *f(void)\n{\n    return malloc(3);\n}\n")
        self.assertEqual(self.complaints("R2"), [])

    def test_R3_core_includes_sys(self):
        self.append("scheduler/core/job.c", '#include "lib/sys/fs.h"\n')
        self.bites("R3", "scheduler/core/job.c:", "lib/sys/fs.h")

    def test_R3_worker_includes_scheduler(self):
        self.append("worker/main.c", ' #  include "scheduler/core/job.h"\n')
        self.bites("R3", "worker/main.c:", "scheduler/core/job.h")

    def test_R3_unknown_folder(self):
        self.write("lib/common/util.h", SPDX)
        self.bites("R3", "lib/common/util.h", "layers.txt")

    def test_R3_tests_are_not_included(self):
        self.append("worker/main.c", '#include "tests/unit/cm.h"\n')
        self.bites("R3", "nothing includes tests/")

    def test_R3_relative_include(self):
        self.append("worker/main.c", '#include "../lib/base/num.h"\n')
        self.bites("R3", "repository's root")

    def test_R4_foreign_owner(self):
        self.append("worker/main.c", "#include <zmq.h>\n")
        self.bites("R4", "worker/main.c:", "<zmq.h>")

    def test_R4_owner_is_fine(self):
        self.write("lib/net/sock.c", SPDX + "#include <zmq.h>\n")
        self.write("scheduler/store/pg_conn.c", SPDX + "#include <libpq-fe.h>\n#include <uv.h>\n")
        self.assertEqual(self.complaints("R4"), [])

    def test_R4_folder_inside_is_not_the_owner(self):
        self.write("scheduler/store/other.c", SPDX + "#include <uv.h>\n")
        self.bites("R4", "scheduler/store/other.c:", "<uv.h>")

    def test_R4_generated_protobuf(self):
        self.append("worker/main.c", '#include "mlq/v1/worker.pb-c.h"\n')
        self.bites("R4", "mlq/v1/worker.pb-c.h")

    def test_R4_nobody_owns_it(self):
        self.append("worker/main.c", "#include <curl/curl.h>\n")
        self.bites("R4", "nobody owns it")

    def test_R4_synchronous_database_call(self):
        self.write("scheduler/store/pg.c", SPDX + "static void f(void)\n{\n    PQexec(0, 0);\n}\n")
        self.bites("R4", "scheduler/store/pg.c:6", "PQexec")

    def test_R5_wrong_prefix(self):
        self.append("scheduler/core/job.c", "int helper(void);\nint helper(void)\n{\n    return 1;\n}\n")
        self.bites("R5", "scheduler/core/job.c", "helper")

    def test_R5_variables_too(self):
        self.append("lib/base/num.c", "extern const int num_limit;\nconst int num_limit = 3;\n")
        self.bites("R5", "lib/base/num.c", "num_limit")

    def test_R5_the_folders_header(self):
        function = "int core_size(void);\nint core_size(void)\n{\n    return 1;\n}\n"
        self.append("scheduler/core/job.c", function)
        self.bites("R5", "scheduler/core/job.c", "core_size")
        self.write("scheduler/core/core.h", SPDX + "int core_size(void);\n")
        self.assertEqual(self.complaints("R5"), [])

    def test_R6_variables(self):
        for text in ("static int calls;\nint job_calls(void);\nint job_calls(void)\n{\n    return ++calls;\n}\n",
                     "static int calls = 7;\nint job_calls(void);\nint job_calls(void)\n{\n    return ++calls;\n}\n",
                     "int job_calls(void);\nint job_calls(void)\n{\n    static int calls;\n    return ++calls;\n}\n",
                     "int job_calls(void);\nint job_calls(void)\n{\n    static _Thread_local int calls;\n"
                     "    return ++calls;\n}\n"):
            with self.subTest(text):
                self.write("scheduler/core/job.c", GOOD["scheduler/core/job.c"] + text)
                self.bites("R6", "scheduler/core/job.c", "calls")

    def test_R6_others_may(self):
        self.append("worker/main.c", "int main_calls = 3;\n")
        self.assertEqual(self.complaints("R6"), [])

    def test_R7_long_function(self):
        body = "    number++;\n"
        head = "static int long_one(int number)\n{\n"
        self.write("worker/main.c", SPDX + head + body * 67 + "    return number;\n}\n")
        self.assertEqual(self.complaints("R7"), [])
        self.write("worker/main.c", SPDX + head + body * 68 + "    return number;\n}\n")
        self.bites("R7", "worker/main.c:5: long_one has 71 lines")

    def test_R7_long_files(self):
        self.write("scheduler/core/job.h", SPDX + "\n" * 598)
        self.bites("R7", "scheduler/core/job.h", "at most 600")
        self.write("worker/big.h", SPDX + "\n" * 698)
        self.bites("R7", "worker/big.h", "at most 700")

    def test_R7_first_reading(self):
        self.write("scheduler/main.c", SPDX + "\n" * 690)
        self.write("scheduler/shell.c", SPDX + "\n" * 690)
        self.assertEqual(self.complaints("R7"), [])
        self.write("scheduler/core/core.c", SPDX + "\n" * 590)
        self.bites("R7", "scheduler/main.c, scheduler/shell.c", "lines together, at most 1500")

    def test_R8_header_that_leans_on_others(self):
        self.write("scheduler/core/job.h", SPDX + "uint32_t job_id(const struct job *job);\n")
        self.replace("scheduler/core/job.c", '#include "scheduler/core/job.h"',
                     '#include <stdint.h>\nstruct job {\n    uint32_t id;\n};\n#include "scheduler/core/job.h"')
        self.bites("R8", "scheduler/core/job.h", "does not compile alone")

    def test_R9_default(self):
        self.append("worker/main.c", "static int f(int x)\n{\n    switch (x) {\n    default :\n        return 1;\n    }\n}\n")
        self.bites("R9", "worker/main.c:15", "default:")

    def test_R9_characters_may(self):
        self.append("worker/main.c", "static int f(char x)\n{\n    switch (x) {\n    case 'a':\n    case '\\n':\n"
                    "        if (x) {\n            return 2;\n        }\n    default:\n        return 1;\n    }\n}\n")
        self.assertEqual(self.complaints("R9"), [])
        self.replace("worker/main.c", "case 'a'", "case JOB_RUNNING")
        self.bites("R9", "default:")

    def test_R9_warning_is_on(self):
        self.write("cmake/Warnings.cmake", "set(W -Wall)\n")
        self.bites("R9", "-Wswitch-enum")

    def release(self, name):
        digest = hashlib.sha256((self.root / "migrations" / name).read_bytes()).hexdigest()
        path = "tests/tidy/migrations.sha256"
        before = (self.root / path).read_text() if (self.root / path).exists() else ""
        self.write(path, f"{before}{digest}  {name}\n")

    def test_R13_released_file_changes(self):
        self.release("0001_init.up.sql")
        self.assertEqual([line for line in self.complaints("R13") if "0001_init.up" in line], [])
        self.append("migrations/0001_init.up.sql", "-- one more word\n")
        self.bites("R13", "0001_init.up.sql", "changed")

    def test_R13_released_file_is_gone(self):
        self.release("0001_init.down.sql")
        (self.root / "migrations/0001_init.down.sql").unlink()
        self.bites("R13", "0001_init.down.sql", "gone")

    def test_R13_an_old_number_comes_late(self):
        self.release("0001_init.up.sql")
        self.release("0001_init.down.sql")
        self.write("migrations/0001_again.up.sql", "")
        self.bites("R13", "0001_again.up.sql", "not newer")

    def test_R13_pairs_numbers_and_names(self):
        self.write("migrations/0003_more.up.sql", "")
        self.bites("R13", "0003_more.down.sql is missing")
        self.bites("R13", "not 1, 2, 3")
        self.write("migrations/4_x.sql", "")
        self.bites("R13", "4_x.sql")

    def test_built_forgotten_source(self):
        build = self.compile()
        self.write("tests/unit/test_job.c", SPDX)
        found = tidy.check(Tree(self.root, build), "built")
        self.assertEqual(len(found), 1, found)
        self.assertIn("tests/unit/test_job.c: is not built", found[0])

    def test_calls_banned(self):
        for name in ("strcpy", "sprintf", "strcat", "atoi", "alloca", "gets", "system", "popen"):
            with self.subTest(name):
                self.write("worker/main.c", GOOD["worker/main.c"] + f"static void f(void)\n{{\n    {name}(0);\n}}\n")
                self.bites("calls", "worker/main.c:14", name)

    def test_calls_goto(self):
        self.append("worker/main.c", "static void f(void)\n{\n    goto again;\nagain:\n    return;\n}\n")
        self.bites("calls", "goto again")
        self.write("worker/main.c", GOOD["worker/main.c"] + "static void f(void)\n{\n    goto out;\nout:\n    return;\n}\n")
        self.assertEqual(self.complaints("calls"), [])

    def test_calls_recursion(self):
        self.append("worker/main.c", "static int f(int x)\n{\n    return x == 0 ? 0 : f(x - 1);\n}\n")
        self.bites("calls", "f calls itself")

    def test_text(self):
        for words, said in (("/* TO" "DO later */", "TO" "DO"), ("/* FIX" "ME */", "FIX" "ME"),
                            ('"/wo' 'rk/main/x"', "/wo" "rk/"), ('"/ro' 'ot/.cache"', "/ro" "ot/")):
            with self.subTest(words):
                self.write("worker/main.c", GOOD["worker/main.c"] + words + "\n")
                self.bites("text", "worker/main.c:12", said)

    def test_text_inner_folders_are_fine(self):
        self.append("worker/main.c", '/* "%s/wo' 'rk/%s" and build/ro' 'ot/x and example.org/wo' 'rk/ */\n')
        self.assertEqual(self.complaints("text"), [])

    def test_text_a_negated_line_of_bats(self):
        self.write("tests/e2e/a.bats", "@test a {\n    if ! false; then\n        refute false\n    fi\n}\n")
        self.assertEqual(self.complaints("text"), [])
        self.append("tests/e2e/a.bats", "@test b {\n    ! true\n    true\n}\n")
        self.bites("text", "tests/e2e/a.bats:7", "! true")

    def test_text_licence_and_change_log(self):
        self.write("worker/main.c", "int main(void)\n{\n    return 0;\n}\n")
        self.write("CHANGELOG.md", "# Change log\n")
        self.bites("text", "worker/main.c", "SPDX")
        self.bites("text", "CHANGELOG.md", "[Unreleased]")

    def test_exceptions_excuse_and_do_not_rot(self):
        self.append("worker/main.c", "#include <zmq.h>\n")
        self.write("tests/tidy/exceptions.txt", "R4 worker/main.c:zmq.h because of a reason\n")
        self.assertEqual(self.complaints("R4"), [])
        self.write("tests/tidy/exceptions.txt", "R4 worker/main.c:zmq.h\n")
        self.bites("R4", "give the reason")
        self.write("worker/main.c", GOOD["worker/main.c"])
        self.write("tests/tidy/exceptions.txt", "R4 worker/main.c:zmq.h because of a reason\n")
        self.bites("R4", "not needed any more")

    def test_the_command_fails_when_a_rule_is_broken(self):
        command = [sys.executable, str(HERE / "tidy.py"), "R3", "--root", str(self.root)]
        self.assertEqual(subprocess.run(command, capture_output=True).returncode, 0)
        self.append("worker/main.c", '#include "scheduler/core/job.h"\n')
        out = subprocess.run(command, capture_output=True, text=True)
        self.assertEqual(out.returncode, 1)
        self.assertIn("R3: worker/main.c:", out.stdout)


LOG = """Start testing
----------------------------------------------------------
1/2 Testing: test_gpu
1/2 Test: test_gpu
Command: "test_gpu"
Output:
----------------------------------------------------------
looking for a device
no GPU on this machine

<end of output>
Test time =   0.00 sec
----------------------------------------------------------
Test Passed.
2/2 Testing: test_limits
2/2 Test: test_limits
Output:
----------------------------------------------------------
[ RUN      ] memory_is_limited
cgroups are read-only here
[  SKIPPED ] memory_is_limited
[ RUN      ] time_is_limited
[       OK ] time_is_limited
ok 3 a worker is lost # skip no second machine
[  SKIPPED ] 1 test(s), listed below:
[  SKIPPED ] memory_is_limited
<end of output>
Test Passed.
"""


class Skips(unittest.TestCase):
    def test_whole_tests_and_cases_are_seen_with_their_reasons(self):
        summary = "100% tests passed\n\nThe following tests did not run:\n\t  1 - test_gpu (Skipped)\n"
        self.assertEqual(sorted(skipped.skips(LOG, summary)), [
            ("test_gpu", "no GPU on this machine"),
            ("test_limits: a worker is lost", "no second machine"),
            ("test_limits: memory_is_limited", "cgroups are read-only here"),
        ])

    def test_nothing_skipped(self):
        self.assertEqual(list(skipped.skips(LOG.replace("SKIPPED", "OK").replace("# skip", ""), "")), [])


if __name__ == "__main__":
    unittest.main()
