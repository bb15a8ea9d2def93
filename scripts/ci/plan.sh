#!/bin/sh
# Plan on a CI runner and keep the JSON as an artefact. Arguments go to `forge plan`.
#   PLAN_JSON   where the JSON goes (default: plan.json)
# Exit codes are forge's: 0 sound, 2 usage, 3 the preset, project or dataset is wrong.
set -eu
out=${PLAN_JSON:-plan.json}
forge plan "$@" --json >"$out" || {
    status=$?
    echo "forge plan failed with exit code $status; its findings are in $out" >&2
    exit "$status"
}
echo "plan written to $out"
