#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: mlq authors
#
# An environment for each framework of 25-frameworks.bats, where none is given: FOLDER/NAME-venv. Says what it found.
#
#   install-frameworks.sh FOLDER
set -u
folder=$1

mkdir -p "$folder"
for framework in torch jax tensorflow; do
    venv=$(sh "$(dirname "$0")/python-venv.sh" "$framework" "$folder/$framework-venv") && echo "$framework: $venv"
done
exit 0
