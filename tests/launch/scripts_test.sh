#!/usr/bin/env bash
# usage: scripts_test.sh PROJECT: the commands explain themselves, and refuse what they do not know
# with one line and exit status 2, before they have done anything.
set -euo pipefail
cd "$1"
for script in launch/setup launch/check launch/quickstart launch/nodes; do
  bash -n $script
  [ "$($script --help | head -n 2 | tail -n 1 | cut -c -7)" = "usage: " ] ||
    { echo "Failure: $script --help does not show its usage"; exit 1; }
  status=0
  said=$($script --no-such-option 2>&1) || status=$?
  [ $status = 2 ] || { echo "Failure: $script ended with $status, want 2"; exit 1; }
  [[ $said == "$script: unknown option '--no-such-option'"* && $said != *$'\n'* ]] ||
    { echo "Failure: $script said: $said"; exit 1; }
done
