#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: mlq authors
#
# Prints a folder with a bin/python3 that has PyTorch, or says why there is none and fails. It takes, in
# this order: $MLQ_TORCH_VENV; python3 as it is; an environment made here from a wheel that pip is configured to find
# on this machine (find-links). It never downloads PyTorch itself: the usual index serves gigabytes of CUDA.
#
#   torch-venv.sh FOLDER     where to make the environment
set -u

has_torch() { "$1" -c 'import torch.distributed' 2>/dev/null; }

if [ -n "${MLQ_TORCH_VENV:-}" ]; then
    has_torch "$MLQ_TORCH_VENV/bin/python3" && echo "$MLQ_TORCH_VENV" && exit 0
    echo "MLQ_TORCH_VENV=$MLQ_TORCH_VENV has no PyTorch" >&2
    exit 1
fi
python=$(command -v python3) || { echo "python3 is not installed" >&2; exit 1; }
if has_torch "$python"; then
    dirname "$(dirname "$python")"
    exit 0
fi
venv=$1
if has_torch "$venv/bin/python3"; then
    echo "$venv"
    exit 0
fi
rm -rf "$venv"
if python3 -m venv "$venv" >/dev/null 2>&1 &&
    "$venv/bin/pip" install -q --no-index --no-deps torch >/dev/null 2>&1 &&
    "$venv/bin/pip" install -q filelock typing-extensions sympy networkx jinja2 fsspec setuptools >/dev/null 2>&1 &&
    has_torch "$venv/bin/python3"; then
    echo "$venv"
    exit 0
fi
rm -rf "$venv"
echo "PyTorch is not installed: python3 -m venv V && V/bin/pip install torch, then MLQ_TORCH_VENV=V sh tests/run.sh" >&2
exit 1
