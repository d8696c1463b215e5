#!/bin/bash
# Each surprise of `egressctl verify` is found in its small input and not in the twin of that, in a dry mesh of real Istio; and what a
# change opens, a leak and an outage have the exit statuses that docs/verify.md says. Usage: scripts/verify-verify.sh [SURPRISE...]
# SHARE=N takes every Nth surprise.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=${EGRESSCTL:-bin/egressctl}
name=${NAME:-verify-verify}
out=$(mktemp -d)
trap '"$bin" down --name "$name" >"$out/down.txt" 2>&1 || cat "$out/down.txt"; rm -rf "$out"' EXIT
failed=0
fail() { echo "FAIL: $*"; failed=1; }

"$bin" up --name "$name" >"$out/up.txt" 2>&1 || { cat "$out/up.txt"; exit 2; }

# ask ARGS: verify in the running mesh; its status is in $status, what it says in $out/said.json.
ask() {
  status=0
  "$bin" verify --name "$name" --json "$@" >"$out/said.json" 2>"$out/errors.txt" || status=$?
  if [ "$status" -gt 2 ] || ! [ -s "$out/said.json" ]; then cat "$out/errors.txt"; fi
}
found() { grep -q "\"name\": \"$1\"" "$out/said.json"; }
# unproven says what is, and why.
unproven() { grep -E '^ +"(from|to|as|unproven)": "' "$out/said.json" | grep -B3 '"unproven"' | tr -s ' \n' ' ' | head -c 1500; grep -A3 '"faults"' "$out/said.json" | head -c 500 || true; }

kinds=("$@")
[ $# -gt 0 ] || kinds=(framework/verify/testdata/surprises/*/)
for ((i = 0; i < ${#kinds[@]}; i += ${SHARE:-1})); do
  dir=${kinds[i]}
  input=$(basename "$dir")
  kind=${input%@*} # some kinds have several inputs
  for side in found twin; do
    start=$SECONDS
    ask "framework/verify/testdata/surprises/$input/$side.yaml"
    [ "$status" -eq 0 ] || fail "$input, $side: exit status $status, unproven: $(unproven) $(head -3 "$out/errors.txt")"
    if [ "$side" = found ]; then found "$kind" || fail "$input: $kind was not found"; else ! found "$kind" || fail "$input: $kind was found in its twin"; fi
    echo "$input, $side: $((SECONDS - start)) s"
  done
done
[ $# -eq 0 ] || exit "$failed"

# A pull request that adds a wildcard with resolution NONE is told as what it opens; with the file of expectations updated it passes.
repo=$out/repo
mkdir -p "$repo/mesh"
git -C "$repo" init -q -b main
as() { git -C "$repo" -c user.name=somebody -c user.email=somebody@example.com "$@"; }
cp framework/verify/testdata/surprises/trusts-name/twin.yaml "$repo/mesh/all.yaml"
expect() { # STATUS WHAT ARGS
  local want=$1 what=$2
  shift 2
  ask "$@"
  [ "$status" -eq "$want" ] || fail "$what: exit status $status, wanted $want, unproven: $(unproven) $(head -3 "$out/errors.txt")"
  echo "$what: exit status $status"
}
expect 0 "the present state is written" "$repo/mesh" --write-expectations "$repo/egress.yaml"
expect 0 "it is as expected" "$repo/mesh" --expectations "$repo/egress.yaml"
as add . && as commit -q -m "as it was"
expect 0 "nothing has changed" "$repo/mesh" --base main
cat >>"$repo/mesh/all.yaml" <<'WIDE'
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: wide, namespace: shop}
spec: {hosts: ["*.example.com"], exportTo: ["."], resolution: NONE, ports: [{number: 443, name: tls, protocol: TLS}]}
WIDE
expect 1 "a wildcard opens something" "$repo/mesh" --base main
grep -q '"kind": "opens"' "$out/said.json" || fail "it is not told what is opened"
expect 1 "and is a leak" "$repo/mesh" --expectations "$repo/egress.yaml"
grep -q '"kind": "leak"' "$out/said.json" || fail "it is not told that it is a leak"
expect 0 "with the file updated" "$repo/mesh" --write-expectations "$repo/egress-new.yaml"
expect 0 "it is expected" "$repo/mesh" --base main --expectations "$repo/egress-new.yaml"
sed -i 's/img.cdn.example/gone.cdn.example/' "$repo/mesh/all.yaml"
expect 1 "an entry that goes is an outage" "$repo/mesh" --expectations "$repo/egress-new.yaml"
grep -q '"kind": "outage"' "$out/said.json" || fail "it is not told that it is an outage"
echo 'broken: [' >"$repo/mesh/broken.yaml"
expect 2 "a broken file makes it partial" "$repo/mesh"
exit "$failed"
