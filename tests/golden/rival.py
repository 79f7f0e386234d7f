# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: mlq authors
"""For the programs that judge operators by Python packages which are not part of the system."""
import json
import os
import pathlib
import struct
import subprocess
import sys

PIP_S = 600


def enter_venv(venv, packages, modules, untold):
    """Goes on in VENV, which is made on the first run; exits with 77 and says what was `untold` where it cannot."""
    if pathlib.Path(sys.prefix).resolve() == venv.resolve():
        return
    python = venv / "bin" / "python"
    probe = f"import {modules}"
    if not python.exists() or subprocess.run([python, "-c", probe], capture_output=True).returncode != 0:
        made = subprocess.run([sys.executable, "-m", "venv", venv], capture_output=True, text=True)
        if made.returncode == 0:
            pip = ["timeout", str(PIP_S), python, "-m", "pip", "install", "-q", *packages]  # 124: not within its time
            made = subprocess.run(pip, capture_output=True, text=True)
        if made.returncode != 0 or subprocess.run([python, "-c", probe], capture_output=True).returncode != 0:
            print(f"SKIPPED: {untold}, which cannot be installed here:")
            print((made.stdout + made.stderr)[-2000:])
            sys.exit(77)
    os.execv(python, [str(python), "-B", *sys.argv])


def run(op, name, folder, with_, **inputs):
    """The operator `name` in a new folder, which it leaves its outputs in."""
    folder.mkdir()
    (folder / "with.json").write_text(json.dumps(with_))
    env = {"PATH": os.environ["PATH"], "MLQ_WITH": str(folder / "with.json"), "MLQ_OUTPUT": str(folder), "OMP_NUM_THREADS": "2"}
    env.update({key: os.environ[key] for key in ("ASAN_OPTIONS", "UBSAN_OPTIONS") if key in os.environ})
    env.update({f"MLQ_INPUT_{key.upper()}": str(path) for key, path in inputs.items()})
    done = subprocess.run([op, name], env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{name}: {done.stderr}"
    return folder


def read_safetensors(path):
    import numpy

    raw = path.read_bytes()
    (size,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + size])
    metadata = header.pop("__metadata__", {})
    types = {"F64": "<f8", "I64": "<i8", "I32": "<i4", "F32": "<f4", "U32": "<u4", "U8": "u1"}
    body = raw[8 + size :]
    return metadata, {
        name: numpy.frombuffer(body[t["data_offsets"][0] : t["data_offsets"][1]], types[t["dtype"]]).reshape(t["shape"])
        for name, t in header.items()
    }
