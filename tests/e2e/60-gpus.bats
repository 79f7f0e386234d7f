#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: mlq authors
#
# GPUs: each is offered once, given to one task at a time, and seen by nobody else. It needs a real one.

load cluster

has_gpu() { nvidia-smi -L 2>/dev/null | grep -q 'UUID: GPU-'; }

setup_file() { if has_gpu; then cluster_up --memory 8Gi; fi; }
teardown_file() { if has_gpu; then cluster_down; fi; }
setup() { has_gpu || skip "no GPU here: nvidia-smi shows none"; }

gpus_here() { nvidia-smi -L | grep -c '^GPU '; }

# PyTorch, or the test is skipped.
need_torch() {
    venv=$(sh "$BATS_TEST_DIRNAME/python-venv.sh" torch "$MLQ_SCRATCH_DIR/../torch-venv" 2>"$MLQ_SCRATCH_DIR/why") ||
        skip "$(cat "$MLQ_SCRATCH_DIR/why")"
}

# NCCL's folder, as PyTorch brings it; empty where the system has it.
nccl_folder() { dirname "$(find "$venv"/lib/python3*/site-packages/nvidia -name libnccl.so.2 | head -n 1)"; }

is_running() { [ "$(state_of "$1")" = running ]; }

digest_of() { # JOB STAGE
    field "$1" "[a['digest'] for a in stages['$2']['artifacts'] if a['name'] == 'model.safetensors'][0]"
}

@test "each GPU is offered once, though the machine has two workers" {
    mlq nodes
    mlq nodes --json | python3 -c '
import json, subprocess, sys
nodes = json.load(sys.stdin)["nodes"]
query = ["nvidia-smi", "--query-gpu=uuid,memory.total,name", "--format=csv,noheader,nounits"]
real = [line.split(", ") for line in subprocess.check_output(query, text=True).splitlines()]
offered = [gpu for node in nodes for gpu in node["gpus"]]
assert len(nodes) == 2 and sum(n["capacity"]["gpus"] for n in nodes) == len(real), nodes
assert [(g["uuid"], g["memory"] >> 20, g["model"]) for g in offered] == [(u, int(m), n) for u, m, n in real], offered
'
}

@test "a task with a GPU sees that one, by its UUID; a task without sees none" {
    job=$(mlq submit -q --gpus 1 -- sh -c 'echo "seen=$CUDA_VISIBLE_DEVICES"')
    mlq wait "$job"
    uuid=$(mlq logs "$job" | sed -n 's/^seen=//p')
    nvidia-smi -L | grep -qF "(UUID: $uuid)"
    job=$(mlq submit -q -- sh -c 'echo "seen=${CUDA_VISIBLE_DEVICES-unset}."')
    mlq wait "$job"
    mlq logs "$job" | grep -qx 'seen=.'
}

@test "PyTorch finds its GPU, and none in a task without" {
    need_torch
    ask='import torch; print("cuda", torch.cuda.is_available(), torch.cuda.device_count())'
    job=$(mlq submit -q --gpus 1 -- "$venv/bin/python3" -c "$ask; print(torch.ones(3, device='cuda').sum().item())")
    mlq wait "$job"
    mlq logs "$job" | grep -qx 'cuda True 1'
    mlq logs "$job" | grep -qx '3.0'
    job=$(mlq submit -q -- "$venv/bin/python3" -c "$ask")
    mlq wait "$job"
    mlq logs "$job" | grep -qx 'cuda False 0'
}

@test "more tasks than GPUs go one after the other" {
    go=$MLQ_SCRATCH_DIR/go
    rm -f "$go"
    jobs=
    for i in $(seq "$(gpus_here)") last; do
        jobs="$jobs $(mlq submit -q --gpus 1 --cpus 100m -- sh -c "until [ -e $go ]; do sleep 0.1; done")"
    done
    last=${jobs##* }
    for job in ${jobs% *}; do
        await 60 is_running "$job"
    done
    other=$(mlq submit -q -- true) # whoever needs none does not wait
    mlq wait "$other"
    [ "$(state_of "$last")" = pending ]
    touch "$go"
    for job in $jobs; do mlq wait "$job"; done
    field "$last" "stages['main']['attempts'][0]['gpus']" | grep -q '\[[0-9]'
}

@test "a pipeline trains on the GPU, and its result is judged" {
    need_torch
    job=$(mlq submit "$MLQ_SOURCE_DIR/examples/torch-gpu/pipeline.yaml" -q --set "python=$venv/bin/python3")
    mlq wait "$job" || { mlq show "$job"; mlq logs "$job" train; false; }
    [ "$(state_of "$job")" = succeeded ]
}

# One and two ranks over NCCL, and over none: the same model. Two ranks share the GPU, as machines of their own.
@test "train.native over NCCL gives the same bits" {
    need_torch
    cat >over.sh <<'END'
echo '{"epochs": 5, "collectives": "nccl"}' >nccl.json
export MLQ_INPUT_TRAIN=$MLQ_INPUT_SPLIT/train.safetensors MLQ_WITH=$PWD/nccl.json
export CUDA_VISIBLE_DEVICES=0 NCCL_HOSTID=mlq-$RANK NCCL_IB_DISABLE=1 NCCL_NVLS_ENABLE=0 NCCL_MAX_CTAS=2
exec mlq-op train.native
END
    cat >nccl.yaml <<END
apiVersion: mlq/v1
kind: Pipeline
metadata: {name: nccl}
spec:
  stages:
    data:  {uses: data.import, with: {path: $MLQ_SOURCE_DIR/examples/digits/digits.csv, target: label}}
    split: {uses: data.split, needs: [data], with: {test: 0.2, validation: 0, stratify: label, seed: 7}}
    plain: {uses: train.native, needs: [split], with: {epochs: 5}}
    one:
      uses: train.native
      needs: [split]
      resources: {gpus: 1}
      env: {LD_LIBRARY_PATH: $(nccl_folder), NCCL_DEBUG: WARN}
      with: {epochs: 5, collectives: nccl}
    two:
      run: [sh, over.sh]
      needs: [split]
      ranks: 2
      env: {LD_LIBRARY_PATH: $(nccl_folder), NCCL_DEBUG: WARN}
END
    job=$(mlq submit nccl.yaml -q)
    mlq wait "$job" || { mlq show "$job"; mlq logs "$job" one; mlq logs "$job" two; false; }
    mlq logs "$job" one | grep 'coll.nccl version='
    mlq logs "$job" two | grep 'coll.nccl version='
    [ "$(digest_of "$job" one)" = "$(digest_of "$job" plain)" ]
    [ "$(digest_of "$job" two)" = "$(digest_of "$job" plain)" ]
}

@test "NCCL without a GPU is refused before the first step" {
    cat >refused.yaml <<END
apiVersion: mlq/v1
kind: Pipeline
metadata: {name: refused}
spec:
  stages:
    data:  {uses: data.import, with: {path: $MLQ_SOURCE_DIR/examples/digits/digits.csv, target: label}}
    train: {uses: train.native, needs: [data], with: {epochs: 5, collectives: nccl}}
END
    run mlq submit refused.yaml --wait
    [ "$status" = 1 ]
    mlq logs last train | grep 'no GPU can be used here'
    [ "$(mlq logs last train | grep -c train.epoch)" = 0 ]
}
