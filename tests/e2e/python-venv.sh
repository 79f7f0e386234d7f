#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: mlq authors
#
# Prints a folder with a bin/python3 that has a framework, or says why there is none and fails. It takes, in this order:
# $MLQ_TORCH_VENV (MLQ_JAX_VENV, MLQ_TENSORFLOW_VENV, MLQ_SKLEARN_VENV); python3 as it is; an environment made here, with
# pip. PyTorch is taken only from where pip finds wheels on this machine (find-links), since the usual index serves
# gigabytes of CUDA. TensorFlow takes 1.6 GB of disk.
#
#   python-venv.sh torch|jax|tensorflow|sklearn FOLDER     where to make the environment
set -u

framework=$1
venv=$2
case $framework in
torch) module=torch.distributed package=torch given=${MLQ_TORCH_VENV:-} variable=MLQ_TORCH_VENV ;;
jax) module=jax package=jax given=${MLQ_JAX_VENV:-} variable=MLQ_JAX_VENV ;;
tensorflow) module=tensorflow package=tensorflow-cpu given=${MLQ_TENSORFLOW_VENV:-} variable=MLQ_TENSORFLOW_VENV ;;
sklearn) module="sklearn, pandas" package="scikit-learn pandas pyarrow" given=${MLQ_SKLEARN_VENV:-} variable=MLQ_SKLEARN_VENV ;;
*) echo "usage: python-venv.sh torch|jax|tensorflow|sklearn FOLDER" >&2; exit 2 ;;
esac

has_it() { [ -x "$1" ] && "$1" -c "import $module" >/dev/null 2>&1; }

# Where there is no network, pip may try for an hour.
install() { timeout 300 "$venv/bin/pip" install -q "$@"; }

make_it() {
    case $framework in
    torch) install --no-index --no-deps torch && install filelock typing-extensions sympy networkx jinja2 fsspec setuptools ;;
    jax | tensorflow | sklearn) install $package ;;
    esac
}

if [ -n "$given" ]; then
    has_it "$given/bin/python3" && echo "$given" && exit 0
    echo "$variable=$given has no $framework" >&2
    exit 1
fi
python=$(command -v python3) || { echo "python3 is not installed" >&2; exit 1; }
if has_it "$python"; then
    dirname "$(dirname "$python")"
    exit 0
fi
if has_it "$venv/bin/python3"; then
    echo "$venv"
    exit 0
fi
rm -rf "$venv"
if python3 -m venv "$venv" >/dev/null 2>&1 && make_it >/dev/null 2>&1 && has_it "$venv/bin/python3"; then
    echo "$venv"
    exit 0
fi
rm -rf "$venv"
echo "$framework is not installed: python3 -m venv V && V/bin/pip install $package, then $variable=V sh tests/run.sh" >&2
exit 1
