#!/usr/bin/env bash
# Runs the fault tests of scripts/faults, or those that are named ("kill living"), one after another.
set -euo pipefail
cd "$(dirname "$0")/.."
if (($# == 0)); then
  for t in scripts/faults/*.sh; do
    t=$(basename "$t" .sh)
    [[ $t == lib ]] || set -- "$@" "$t"
  done
fi
for t in "$@"; do
  echo "-- $t"
  "scripts/faults/$t.sh"
done
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
bin/egressctl run --name "${NAME:-fault}" --case http-serviceentry --out "$out" >/dev/null || { echo "FAULT TEST FAILED: the next run does not work" >&2; exit 1; }
