# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: mlq authors
#
# A training whose ranks may come and go, and its model when nobody does. After `load cluster` and `cluster_up`.

train() { # flags of mlq submit
    mlq submit "$BATS_TEST_DIRNAME/elastic.yaml" -q --set "epochs=$EPOCHS" "$@"
}

# The model of one rank alone, of as many epochs as last five seconds or six on this machine: a rank needs time to be
# lost and another one to join.
train_undisturbed() {
    local job ms=0
    export EPOCHS=40
    while :; do
        job=$(train --set ranks=1)
        mlq wait "$job"
        ms=$(milliseconds_of "$job")
        [ "$ms" -lt 5000 ] || break
        EPOCHS=$((EPOCHS * 6000 / ms + 1))
    done
    model_of "$job" >"$MLQ_SCRATCH_DIR/model"
}

milliseconds_of() { # JOB: its training's
    local name
    for name in started ended; do
        date -d "$(field "$1" "stages['train']['attempts'][0]['$name']")" +%s%3N
    done | { read -r started && read -r ended && echo $((ended - started)); }
}

model_of() { # JOB
    field "$1" "[a['digest'] for a in stages['train']['artifacts'] if a['name'] == 'model.safetensors'][0]"
}

is_the_same_model() { # JOB: as that of train_undisturbed
    expect "$1" "[a['digest'] for a in stages['train']['artifacts'] if a['name'] == 'model.safetensors'][0]" \
        "$(cat "$MLQ_SCRATCH_DIR/model")"
}

# How many ranks train together: the process that leads says so in its log.
trains_with() { # JOB RANK RANKS
    mlq logs "$1" --stage train --rank "$2" | grep 'train.gang' | tail -n 1 | grep -q "ranks=$3 "
}

# The same at some time: what may pass quickly.
has_trained_with() { # JOB RANK RANKS
    mlq logs "$1" --stage train --rank "$2" | grep 'train.gang' | grep -q "ranks=$3 "
}
