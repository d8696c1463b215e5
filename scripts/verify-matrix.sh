#!/usr/bin/env bash
# All versions of the catalogue side by side: exit 0, and the changes that their release notes announce are seen; with one column broken on
# purpose exit 1, and the cases are named. With SHARE set: the oldest and the newest version, in the areas where they differ most.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
die() { echo "MATRIX TEST FAILED: $*" >&2; grep -vE '│|├|┌|└' "$work/log" | tail -n 60 >&2; exit 1; }
mapfile -t versions < <(awk '/^istio:/ {on = 1; next} /^[^ ]/ {on = 0} on && $2 == "version:" {gsub(/"/, "", $3); print $3}' framework/components/catalogue.yaml | sort -V)
oldest=${versions[0]} newest=${versions[-1]} all=$(IFS=,; echo "${versions[*]}")
at=(--provider embedded --name verify-matrix) enough=10
if [[ -n ${SHARE:-} ]]; then
  all=$oldest,$newest enough=5
  at+=(--area 'res,vis,k8s,cb')
fi
matrix() { # EXIT WHAT FLAGS...
  local rc=0 start=$SECONDS
  bin/egressctl matrix "${at[@]}" --istio "$all" --out "$work/out" "${@:3}" >"$work/log" 2>&1 || rc=$?
  [[ $rc == "$1" ]] || die "$2: exit $rc, wanted $1"
  took=$((SECONDS - start))
}
matrix 0 "all versions"
python3 - "$work/out/comparison.json" "$enough" "$took" <<'PY' || die "the changes are not those that are wanted"
import json, sys
r = json.load(open(sys.argv[1]))
bad = [c for c in r["changes"] if c["class"] in ("regression", "fixed", "behaviour-changed")]
known = {c["what"] if "source" not in c else c["source"] for c in r["changes"] if c["class"] == "known" and not c["source"].startswith("not announced")}
for k in sorted(known): print("   ", k)
names = ", ".join(c["name"] for c in r["columns"])
print(f"ok  {names}: {len(r['changes'])} changes, {len(known)} announced ones seen with their source, {len(bad)} unexplained, {sys.argv[3]} s")
sys.exit(1 if bad or len(known) < int(sys.argv[2]) or any(not c["source"] for c in r["changes"]) else 0)
PY
matrix 1 "the newest version broken on purpose" --sabotage "$newest=allow-any"
python3 - "$work/out/comparison.json" "$newest" <<'PY' || die "the broken column is not what is named"
import json, sys
r = json.load(open(sys.argv[1]))
bad = [c for c in r["changes"] if c["class"] == "regression"]
print(f"ok  {sys.argv[2]} lets everything out: {len(bad)} regressions, such as {', '.join(c['case'] for c in bad[:3])}")
sys.exit(0 if bad and all(c["to"] == sys.argv[2] for c in bad) else 1)
PY
grep -qF "$(python3 -c 'import json, sys; print(next(c["case"] for c in json.load(open(sys.argv[1]))["changes"] if c["class"] == "regression"))' "$work/out/comparison.json")" "$work/log" || die "the cases are not named on the terminal"
