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
run() { # SABOTAGE LABELS -> exit status
  local rc=0
  bin/egressctl run --name sabotage --label-filter "$2" --sabotage "$1" --out "$out" >"$out/log" 2>&1 || rc=$?
  echo "$rc"
}

# Cases that never rely on REGISTRY_ONLY for the client in question must still conform.
rc=$(run allow-any source)
expect "allow-any: exit status" 1 "$rc"
expect "allow-any: cases that still conform" "bypass-include-ip-ranges" "$(verdicts conforms)"
expect "allow-any: inconclusive cases" "" "$(verdicts inconclusive)"

# All cases: that nobody reaches anything is found once, and hardly any case waits for it.
rc=$(run internet-down "")
expect "internet-down: exit status" 2 "$rc"
expect "internet-down: it is said once" 1 "$(grep -c '^internet: the control client reaches none of' "$out/log")"
waited=$(python3 -c 'import json, sys
print(sum(c["verdict"] == "inconclusive" and bool(c.get("phases")) for c in json.load(open(sys.argv[1]))["cases"]))' "$out/report.json")
((waited <= 20)) || expect "internet-down: inconclusive cases that ran" "at most 20" "$waited"
# These call nobody, or ask for a destination that is dead.
expect "internet-down: conforming cases that call a host" "" "$(verdicts conforms | tr ' ' '\n' | grep -vE '^(bypass-dns|bypass-dns-straight|cb-connect-timeout|ctl-dead-.*|dns-.*)$' | tr '\n' ' ')"
expect "internet-down: cases that violate" "" "$(verdicts violates)"
