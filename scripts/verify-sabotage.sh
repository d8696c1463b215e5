#!/usr/bin/env bash
# Breaks the mesh and the internet on purpose and demands the right verdicts.
set -euo pipefail
cd "$(dirname "$0")/.."
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

expect() { # NAME WANT GOT
  if [[ $2 != "$3" ]]; then
    echo "sabotage: $1: wanted '$2', got '$3'" >&2
    tail -n 60 "$out/log" >&2
    exit 1
  fi
  echo "sabotage: $1: $3"
}
verdicts() { # VERDICT -> sorted case names
  python3 -c 'import json, sys
cases = json.load(open(sys.argv[1]))["cases"]
print(" ".join(sorted(c["case"]["name"] for c in cases if c["verdict"] == sys.argv[2])))' "$out/report.json" "$1"
}
run() { # SABOTAGE -> exit status
  local rc=0
  bin/egressctl run --name sabotage --label-filter source --sabotage "$1" --out "$out" >"$out/log" 2>&1 || rc=$?
  echo "$rc"
}

# Cases that never rely on REGISTRY_ONLY for the client in question must still conform.
rc=$(run allow-any)
expect "allow-any: exit status" 1 "$rc"
expect "allow-any: cases that still conform" "bypass-include-ip-ranges" "$(verdicts conforms)"
expect "allow-any: inconclusive cases" "" "$(verdicts inconclusive)"

rc=$(run internet-down)
expect "internet-down: exit status" 2 "$rc"
expect "internet-down: cases that conform" "" "$(verdicts conforms)"
expect "internet-down: cases that violate" "" "$(verdicts violates)"
