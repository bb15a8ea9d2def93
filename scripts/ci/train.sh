#!/bin/sh
# Train on a GPU runner: no prompt, no redraw, one JSON object on stdout. Arguments go to `forge train`.
#
#   scripts/ci/train.sh --preset identity --dataset photos >result.json
#
# A cancelled job sends SIGTERM; forge is this process from here on, so it gets the signal itself.
#
# Exit codes, the same for every forge command:
#   0   the LoRA is there and verified
#   1   the training or forge failed                2   usage
#   3   preset, project file, dataset or plan       4   the engine is missing: forge engine install
#   5   out of memory                               6   diverged (NaN)
#   7   the engine ended without a usable LoRA     11   the run directory is in use
#  33   transient, worth a retry             130/143   interrupted by SIGINT/SIGTERM
set -eu
exec forge --no-progress train "$@" --json
