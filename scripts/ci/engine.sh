#!/bin/sh
# Bring the engine to a runner, or find it whole: safe to run at the start of every job.
# FORGE_HOME names a folder that outlives the job, so that only the first job downloads.
set -eu
exec forge engine install "$@" --json
