#!/bin/bash
# Each surprise of `egressctl verify` is found in its small input and not in the twin of that, in a dry mesh of real Istio; and what a
# change opens, a leak and an outage have the exit statuses that docs/verify.md says. A live cluster is read by somebody who may do
# what that page says and nothing else, and left as it was. Usage: scripts/verify-verify.sh [SURPRISE...]
# SHARE=N takes every Nth surprise, and asks one version of Istio. LIVE=only asks of a live cluster alone.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$(realpath "${EGRESSCTL:-bin/egressctl}")
name=${NAME:-verify-verify}
out=$(mktemp -d)
live=$name-live
down() { "$bin" down --name "$1" >"$out/down.txt" 2>&1 || cat "$out/down.txt"; }
trap 'down "$name"; [ ! -e "$out/live" ] || down "$live"; rm -rf "$out"' EXIT
failed=0
fail() { echo "FAIL: $*"; failed=1; }

validator=$(scripts/validators.sh)/bin/check-jsonschema
"$bin" report schema verify >"$out/schema.json"
"$bin" up --name "$name" >"$out/up.txt" 2>&1 || { cat "$out/up.txt"; exit 2; }

# ask ARGS: verify in the running mesh, started in folder $from; its status is in $status, what it says in $out/said.json.
from=.
ask() {
  status=0
  cd "$from"
  "$bin" verify --name "$name" --json "$@" >"$out/said.json" 2>"$out/errors.txt" || status=$?
  cd "$OLDPWD"
  if [ "$status" -gt 2 ] || ! [ -s "$out/said.json" ]; then cat "$out/errors.txt"; fi
}
found() { grep -q "\"name\": \"$1\"" "$out/said.json"; }
# unproven says what is, and why.
unproven() { grep -E '^ +"(from|to|as|unproven)": "' "$out/said.json" | grep -B3 '"unproven"' | tr -s ' \n' ' ' | head -c 1500; grep -A3 '"faults"' "$out/said.json" | head -c 500 || true; }

expect() { # STATUS WHAT ARGS
  local want=$1 what=$2
  shift 2
  ask "$@"
  [ "$status" -eq "$want" ] || fail "$what: exit status $status, wanted $want, unproven: $(unproven) $(head -3 "$out/errors.txt")"
  "$validator" --schemafile "$out/schema.json" "$out/said.json" >"$out/invalid.txt" 2>&1 || fail "$what: verify.json is not as its schema has it: $(head -n 5 "$out/invalid.txt" | cut -c 1-300)"
  echo "$what: exit status $status"
}

k() { "$bin" kubectl --name "$live" -- "$@"; }
rolled() { # NAMESPACE WORKLOAD
  k rollout status -n "$1" "$2" --timeout 2m >>"$out/applied.txt" 2>&1 && return
  fail "$2 in $1 did not become ready: $(tail -n 3 "$out/applied.txt")"
  k get pods -A -o wide || true
  k get events -n "$1" --sort-by=.lastTimestamp | tail -n 20 || true
}
# strangers notes every object of the live cluster, or compares them all with what was noted.
strangers() { KUBECTL="$bin kubectl --name $live --" EGRESSCTL=$bin scripts/strangers.py "$@"; }

# A live cluster, with its Istio, its gateways and what a team has in it, by a token that has the role of docs/verify.md alone.
live() {
  touch "$out/live"
  "$bin" up --name "$live" --profile istio-docs >"$out/up-live.txt" 2>&1 || { cat "$out/up-live.txt"; fail "a live cluster"; return; }
  k apply -f "$PWD/scripts/verify-live-cluster.yaml" >"$out/applied.txt"
  k create serviceaccount -n default reader >>"$out/applied.txt"
  k create clusterrolebinding reader --clusterrole egressctl-verify --serviceaccount default:reader >>"$out/applied.txt"
  cp "$("$bin" kubeconfig --name "$live")" "$out/kubeconfig"
  k --kubeconfig "$out/kubeconfig" config set-credentials reader --token "$(k create token -n default reader --duration 1h)" >>"$out/applied.txt"
  k --kubeconfig "$out/kubeconfig" config set-context --current --user reader >>"$out/applied.txt"
  rolled shop deployment/cart
  rolled late deployment/worker
  k label namespace late istio-injection=enabled >>"$out/applied.txt"

  status=0
  "$bin" verify --name "$name" --kubeconfig "$out/kubeconfig" >"$out/said.txt" 2>"$out/errors.txt" || status=$?
  [ "$status" -eq 2 ] && grep -q "list networking.istio.io/serviceentries in the whole cluster" "$out/errors.txt" || fail "without the role: exit status $status, $(head -5 "$out/errors.txt")"
  "$bin" verify --print-role >"$out/role.yaml"
  k apply -f "$out/role.yaml" >>"$out/applied.txt"
  strangers note "$out/before.json"

  expect 0 "a live cluster" --kubeconfig "$out/kubeconfig" --write-expectations "$out/live.yaml"
  for said in '"object": "ServiceEntry partners/api"' '"file": "ServiceEntry partners/api"' 'shop/cart' '"1 of 1 running pods of late/worker have no sidecar'; do grep -q "$said" "$out/said.json" || fail "a live cluster: $said is not said"; done
  expect 0 "it is as it was written" --kubeconfig "$out/kubeconfig" --expectations "$out/live.yaml"
  mkdir -p "$out/change"
  printf 'apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: default, namespace: shop}\nspec: {outboundTrafficPolicy: {mode: ALLOW_ANY}}\n' >"$out/change/open.yaml"
  expect 1 "files that open something in it" --kubeconfig "$out/kubeconfig" "$out/change"
  grep -q '"kind": "opens"' "$out/said.json" || fail "it is not told what files would open in a live cluster"

  strangers compare "$out/before.json" || fail "a live cluster that was read is not as it was"
  status=0
  "$bin" verify --name "$live" --kubeconfig "$out/kubeconfig" >"$out/said.txt" 2>"$out/errors.txt" || status=$?
  [ "$status" -eq 2 ] && grep -q "nothing is written to a cluster that is read" "$out/errors.txt" || fail "the same cluster for both: exit status $status, $(head -5 "$out/errors.txt")"
  down "$live"
  rm "$out/live"
}

if [ "${LIVE:-}" = only ]; then
  live
  exit "$failed"
fi

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

# A proxy gets its certificate where its service account may list Secrets, by the roles among the objects.
cp framework/verify/testdata/credentials/granted.yaml "$out/granted.yaml"
sed '/^subjects:/s/name: cart/name: gateway/' "$out/granted.yaml" >"$out/withheld.yaml" # which no workload has
for side in granted:allowed withheld:fails; do
  ask "$out/${side%:*}.yaml"
  state=$(python3 -c 'import json, sys
print(*{a["state"] for a in json.load(open(sys.argv[1]))["answers"] if a["to"] == "http://bank.example" and a["from"] == "shop/cart" and a["kind"] == "named"})' "$out/said.json")
  [ "$state" = "${side#*:}" ] || fail "certificate ${side%:*}: \"$state\""
  echo "a certificate that is ${side%:*}: the call is $state"
done

# A pull request that adds a wildcard with resolution NONE is told as what it opens; with the file of expectations updated it passes.
repo=$out/repo
mkdir -p "$repo/mesh"
git -C "$repo" init -q -b main
as() { git -C "$repo" -c user.name=somebody -c user.email=somebody@example.com "$@"; }
cp framework/verify/testdata/surprises/trusts-name/twin.yaml "$repo/mesh/all.yaml"
expect 0 "the present state is written" "$repo/mesh" --write-expectations "$repo/egress.yaml"
expect 0 "it is as expected" "$repo/mesh" --expectations "$repo/egress.yaml"
as add . && as commit -q -m "as it was"
expect 0 "nothing has changed" "$repo/mesh" --base main
# wide RESOLUTION: an entry that opens all below example.com.
wide() {
  cat <<WIDE
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: wide, namespace: shop}
spec: {hosts: ["*.example.com"], exportTo: ["."], resolution: ${1:-NONE}, ports: [{number: 443, name: tls, protocol: TLS}]}
WIDE
}
wide >>"$repo/mesh/all.yaml"
expect 1 "a wildcard opens something" "$repo/mesh" --base main
grep -q '"kind": "opens"' "$out/said.json" || fail "it is not told what is opened"
from=$repo
expect 1 "and is a leak" mesh --expectations egress.yaml --out "$out/reports"
from=.
grep -q '"kind": "leak"' "$out/said.json" || fail "it is not told that it is a leak"

# For code scanning the leak is at the line of the object that lets it out, in a file relative to where the repository is checked out.
line=$(grep -n '{name: wide,' "$repo/mesh/all.yaml" | cut -d: -f1)
python3 - "$out/reports/verify.sarif" "$((line - 2))" <<'SARIF' || fail "verify.sarif does not have the leak: $(head -c 2000 "$out/reports/verify.sarif")"
import json, sys
log = json.load(open(sys.argv[1]))
run, = log["runs"]
places = [r["locations"][0]["physicalLocation"] for r in run["results"] if r["ruleId"] == "leak"]
assert log["version"] == "2.1.0" and places
assert all(p["artifactLocation"]["uri"] == "mesh/all.yaml" and p["region"]["startLine"] == int(sys.argv[2]) for p in places), places
assert "leak" in [r["id"] for r in run["tool"]["driver"]["rules"]] and run["invocations"][0]["executionSuccessful"]
SARIF
echo "verify.sarif: the leak is at line $((line - 2)) of mesh/all.yaml"

expect 0 "with the file updated" "$repo/mesh" --write-expectations "$repo/egress-new.yaml"
expect 0 "it is expected" "$repo/mesh" --base main --expectations "$repo/egress-new.yaml"
sed -i 's/img.cdn.example/gone.cdn.example/' "$repo/mesh/all.yaml"
expect 1 "an entry that goes is an outage" "$repo/mesh" --expectations "$repo/egress-new.yaml"
grep -q '"kind": "outage"' "$out/said.json" || fail "it is not told that it is an outage"

# Under --watch each save is told with what it changes: a wildcard opens something, a broken file changes nothing, and with the wildcard gone
# all is as before. It ends with the status of the last proof.
cp framework/verify/testdata/surprises/trusts-name/twin.yaml "$repo/mesh/all.yaml"
# watching ARGS: starts it.
watching() {
  : >"$out/watch.txt" # before anything looks for what an earlier one has said there
  : >"$out/watch-errors.txt"
  "$bin" verify --name "$name" --watch "$@" >"$out/watch.txt" 2>"$out/watch-errors.txt" &
  watch=$!
}
# watched WHAT: ends it.
watched() {
  kill -INT "$watch" 2>/dev/null || true
  status=0
  wait "$watch" || status=$?
  [ "$status" -eq 0 ] || fail "watch: $1: exit status $status after a last proof that was as expected: $(cat "$out/watch-errors.txt")"
}
# told WHAT PATTERN: waits until the watching has said it.
told() {
  for ((n = 0; n < 600; n++)); do
    if grep -qE "$2" "$out/watch.txt" "$out/watch-errors.txt"; then echo "watch: $1"; return; fi
    kill -0 "$watch" 2>/dev/null || break
    sleep 0.1
  done
  fail "watch: $1: it did not say \"$2\" but: $(tail -n 20 "$out/watch.txt" "$out/watch-errors.txt")"
}
watching "$repo/mesh" --expectations "$repo/egress.yaml"
told "it stands" '^watching what was read'
cp "$repo/mesh/all.yaml" "$out/before.yaml"
wide >>"$repo/mesh/all.yaml"
told "a wildcard opens something" '^opens: shop/.* → https://.*example\.com: was blocked'
told "and is a leak" '^leak'
echo 'broken: [' >"$repo/mesh/broken.yaml"
told "a file is broken" '^broken: .*broken\.yaml:1'
rm "$repo/mesh/broken.yaml"
told "and mended" '^mended'
cp "$out/before.yaml" "$repo/mesh/all.yaml"
told "the wildcard goes" '^closes: shop/.* → https://.*example\.com'
watched "expectations"

# So is a gateway that is gone around, and one that serves another host; what a further push had to carry makes no result partial.
mkdir -p "$out/gateway"
cp framework/verify/testdata/surprises/around-gateway/twin.yaml "$out/gateway/mesh.yaml"
watching "$out/gateway"
told "a mesh with a gateway stands" '^watching what was read'
sed -i 's/hosts: \[api.example\]}\]/hosts: [other.example]}]/' "$out/gateway/mesh.yaml"
told "the gateway serves another host" '^closes: .*shop/cart → http://api.example: was allowed through istio-system/istio-egressgateway, in plain text, is failing \(404NR\)'
sed -i 's/hosts: \[other.example\]}\]/hosts: [api.example]}]/' "$out/gateway/mesh.yaml"
told "and this one again" '^opens: .*shop/cart → http://api.example: was failing \(404NR\), is allowed through istio-system/istio-egressgateway'
sed -i 's/destination: {host: istio-egressgateway.istio-system.svc.cluster.local, /destination: {host: api.example, /' "$out/gateway/mesh.yaml"
told "it is gone around" '^redirects: shop/cart → http://api.example: .* is allowed directly'
watched "a gateway"
! grep -E '^fault: |the result is partial' "$out/watch.txt" || fail "watch, with a gateway: a result is partial"

echo 'broken: [' >"$repo/mesh/broken.yaml"
expect 2 "a broken file makes it partial" "$repo/mesh"
rm "$repo/mesh/broken.yaml"
live
[ "${SHARE:-1}" -eq 1 ] || exit "$failed"

# Two versions of Istio that differ: DYNAMIC_DNS leads to what a wildcard stands for since 1.30. Each has a cluster of its own.
wide DYNAMIC_DNS >>"$repo/mesh/all.yaml"
expect 0 "two versions are asked" "$repo/mesh" --istio 1.29,1.31
found other-version || fail "it is not told that 1.29 and 1.31 differ"
grep -q 'in Istio 1.29 ' "$out/said.json" || fail "it is not told what 1.29 does"
expect 0 "two versions that do alike" framework/verify/testdata/surprises/trusts-name/twin.yaml --istio 1.29,1.31
! found other-version || fail "versions differ in what they do alike: $(grep -A12 '"other-version"' "$out/said.json")"
exit "$failed"
