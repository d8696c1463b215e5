#!/usr/bin/env bash
# Runs the fault tests of scripts/faults, or those that are named ("kill living"), one after another.
set -euo pipefail
cd "$(dirname "$0")/.."
if (($# == 0)); then
  set -- $(cd scripts/faults && ls *.sh | grep -v '^lib.sh$' | sed 's/\.sh$//')
fi
for t in "$@"; do
  echo "-- $t"
  "scripts/faults/$t.sh"
done
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
bin/egressctl run --name "${NAME:-fault}" --case http-serviceentry --out "$out" >/dev/null || { echo "FAULT TEST FAILED: the next run does not work" >&2; exit 1; }
