#!/usr/bin/env bash
# An upgrade under traffic leaks nothing and says what it drops, and a saboteur who opens the policy for two seconds is found. FROM and TO are
# Istio versions, the catalogue's second oldest and its newest by default; with SHARE set the oldest, which `make test` has anyway.
set -euo pipefail
cd "$(dirname "$0")/.."
tool=bin/egressctl
work=$(mktemp -d)
at=(--provider embedded --name verify-upgrade)
trap '"$tool" down "${at[@]}" >/dev/null 2>&1 || true; rm -rf "$work"' EXIT
die() { echo "UPGRADE TEST FAILED: $*" >&2; tail -n 60 "$work/log" >&2; exit 1; }
mapfile -t versions < <(awk '/^istio:/ {on = 1; next} /^[^ ]/ {on = 0} on && $2 == "version:" {gsub(/"/, "", $3); print $3}' framework/components/catalogue.yaml | sort -V)
from=${versions[1]} to=${TO:-${versions[-1]}}
[[ -z ${SHARE:-} ]] || from=${versions[0]}
from=${FROM:-$from}

upgrade() { # EXIT WHAT FLAGS...
  local rc=0
  "$tool" upgrade "${at[@]}" --from "$from" --to "$to" --out "$work/out" "${@:3}" >"$work/log" 2>&1 || rc=$?
  [[ $rc == "$1" ]] || die "$2: exit $rc, wanted $1"
}
# report WHAT CONDITION: of upgrade.json, as r.
report() {
  python3 - "$work/out/upgrade.json" "$1" "$2" <<'PY' || die "$1"
import json, sys
r = json.load(open(sys.argv[1]))
print(f"ok  upgrade {r['from']} to {r['to']}, {sys.argv[2]}: {r['requests']} requests, {r['failures']} failures, "
      f"{r['dropSeconds']:.2f} drop-seconds, {r['leakSeconds']:.2f} leak-seconds")
sys.exit(0 if eval(sys.argv[3]) else 1)
PY
}
upgrade 0 "clean"
report "nothing broken" "r['leakSeconds'] == 0 and r['leaks'] == 0 and r['requests'] > 100 and not r.get('faults')"
upgrade 1 "a policy that is open for two seconds" --sabotage open-policy
# Two seconds, a push before and after, and a pace on either side.
report "the policy open for two seconds" "1 <= r['leakSeconds'] <= 4 and any(t['kind'] == 'leak' and t['moments'] for t in r['timeline'])"
[[ -n ${SHARE:-} ]] && exit
upgrade 0 "rollback" --strategy rollback
report "and back" "r['leakSeconds'] == 0 and r['leaks'] == 0 and not r.get('faults')"
upgrade 0 "in place" --strategy in-place
report "in place" "r['leakSeconds'] == 0 and r['leaks'] == 0 and not r.get('faults')"
