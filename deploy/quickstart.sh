#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: mlq authors
#
# From a bare Debian 12 to a trained model: installs packages, builds, starts a cluster on this
# machine and runs examples/digits to its report. May be run again at any time, and is then quick.
#
#   sh deploy/quickstart.sh
#
# MLQ_HOME=DIR   where the cluster lives (default: ~/.local/state/mlq)
set -eu
cd "$(dirname "$0")/.."
root=$(pwd)
started=$(date +%s)

heading() { printf '\n== %s (%ss)\n' "$1" "$(($(date +%s) - started))"; }

heading "packages"
sh deploy/install-packages.sh

heading "build"
[ -f build/release/build.ninja ] || cmake --preset release >build-configure.log 2>&1 ||
    { cat build-configure.log; exit 1; }
rm -f build-configure.log
cmake --build --preset release
PATH=$root/build/release/bin:$PATH
export PATH

heading "cluster"
mlq up

heading "pipeline: examples/digits"
job=$(mlq submit examples/digits/pipeline.yaml -q)
status=0
mlq wait "$job" --follow || status=$?
if [ "$status" != 0 ]; then
    mlq show "$job"
    mlq logs "$job" || true
    exit "$status"
fi

out=$root/build/quickstart/job-$job
mkdir -p "$out"
for file in train/model.safetensors package/model.onnx package/README.md report/report.html eval/metrics.json; do
    mlq artifacts get "$job" "$file" -o "$out/$(basename "$file")" --force
done
accuracy=$(printf '%.4f' "$(mlq metrics "$job" --stage eval --name accuracy --latest)")

heading "done"
cat <<EOF
Test accuracy   $accuracy
Model           $out/model.safetensors
ONNX            $out/model.onnx   (its card: README.md beside it)
Report          $out/report.html

Try next:
  export PATH=$root/build/release/bin:\$PATH
  mlq show $job                  # what ran where, with metrics and artifacts
  mlq submit examples/breast-cancer/pipeline.yaml --set seed=2 --follow
  mlq submit --array 20 -- sh -c 'echo task \$MLQ_INDEX; mlq-task metric square=\$((MLQ_INDEX * MLQ_INDEX))'
  mlq down                     # stop the cluster; the record stays
EOF
