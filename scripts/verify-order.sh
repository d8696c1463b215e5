#!/usr/bin/env bash
# Order and parallelism must not change a verdict: ten random orders and one lane give the verdicts of
# the plain run. SEEDS sets how many orders.
set -euo pipefail
cd "$(dirname "$0")/.."
out=$(mktemp -d)
trap 'bin/egressctl down --name order >/dev/null 2>&1 || true; rm -rf "$out"' EXIT
bin/egressctl up --name order >"$out/log" 2>&1 || { cat "$out/log" >&2; exit 2; }

verdicts() { # FLAGS... -> one line for each case
  bin/egressctl run --name order --out "$out" "$@" >"$out/log" 2>&1 || true
  python3 -c 'import json, sys
for c in sorted(json.load(open(sys.argv[1]))["cases"], key=lambda c: c["case"]["name"]): print(c["case"]["name"], c["verdict"])' "$out/report.json"
  rm -f "$out/report.json"
}
verdicts >"$out/plain"
check() { # NAME FLAGS...
  verdicts "${@:2}" >"$out/other"
  diff "$out/plain" "$out/other" || { echo "order: $1 changes verdicts" >&2; exit 1; }
  echo "order: $1: the same $(wc -l <"$out/plain") verdicts"
}
check "one lane" --lanes 1
for seed in $(seq 1 "${SEEDS:-10}"); do
  check "seed $seed" --shuffle "$seed"
done
