#!/bin/sh
# Plan on a CI runner and keep the JSON as an artefact. Arguments go to `forge plan`.
#   PLAN_JSON   where the JSON goes (default: plan.json)
# Exit codes are forge's: 0 sound, 2 usage (PLAN_JSON too), 3 the preset, project or dataset is wrong.
# 127: there is no forge on PATH.
set -eu
out=${PLAN_JSON:-plan.json}
if ! command -v forge >/dev/null; then
    echo "forge is not on PATH: ./scripts/setup run makes .venv/bin/forge" >&2
    exit 127
fi
if ! (: >"$out") 2>/dev/null; then
    echo "PLAN_JSON cannot be written: $out; name a file in a folder that is there" >&2
    exit 2
fi
forge plan "$@" --json >"$out" || {
    status=$?
    found="its findings are in $out"
    [ -s "$out" ] || found="it left nothing in $out"
    echo "forge plan failed with exit code $status; $found" >&2
    exit "$status"
}
echo "plan written to $out"
