#!/bin/bash
# Each surprise of `egressctl verify` is found in its small input and not in the twin of that, in a dry mesh of real Istio; and what a
# change opens, a leak and an outage have the exit statuses that docs/verify.md says. A live cluster is read by somebody who may do
# what that page says and nothing else, and left as it was. Usage: scripts/verify-verify.sh [SURPRISE...]
# SHARE=N takes every Nth surprise. LIVE=only asks of a live cluster alone.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=${EGRESSCTL:-bin/egressctl}
name=${NAME:-verify-verify}
out=$(mktemp -d)
live=$name-live
down() { "$bin" down --name "$1" >"$out/down.txt" 2>&1 || cat "$out/down.txt"; }
trap 'down "$name"; [ ! -e "$out/live" ] || down "$live"; rm -rf "$out"' EXIT
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

expect() { # STATUS WHAT ARGS
  local want=$1 what=$2
  shift 2
  ask "$@"
  [ "$status" -eq "$want" ] || fail "$what: exit status $status, wanted $want, unproven: $(unproven) $(head -3 "$out/errors.txt")"
  echo "$what: exit status $status"
}

k() { "$bin" kubectl --name "$live" -- "$@"; }
# everything is each object of the live cluster with its version, but for what controllers write by themselves all the time: istiod's locks are ConfigMaps.
everything() {
  k api-resources --verbs list -o name | grep -vE '^(events|leases|componentstatuses|bindings|pods.metrics)' | while read -r kind; do
    k get "$kind" -A -o jsonpath='{range .items[*]}{.kind} {.metadata.namespace}/{.metadata.name} {.metadata.uid} {.metadata.resourceVersion} {.metadata.annotations.control-plane\.alpha\.kubernetes\.io/leader}{"\n"}{end}'
  done | grep -v holderIdentity | sort
}

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
  k rollout status -n shop deployment/cart --timeout 2m >>"$out/applied.txt"
  k rollout status -n late deployment/worker --timeout 2m >>"$out/applied.txt"
  k label namespace late istio-injection=enabled >>"$out/applied.txt"

  status=0
  "$bin" verify --name "$name" --kubeconfig "$out/kubeconfig" >"$out/said.txt" 2>"$out/errors.txt" || status=$?
  [ "$status" -eq 2 ] && grep -q "list networking.istio.io/serviceentries in the whole cluster" "$out/errors.txt" || fail "without the role: exit status $status, $(head -5 "$out/errors.txt")"
  "$bin" verify --print-role >"$out/role.yaml"
  k apply -f "$out/role.yaml" >>"$out/applied.txt"
  everything >"$out/before.txt"

  expect 0 "a live cluster" --kubeconfig "$out/kubeconfig" --write-expectations "$out/live.yaml"
  for said in '"object": "ServiceEntry partners/api"' '"file": "ServiceEntry partners/api"' 'shop/cart' '"1 of 1 running pods of late/worker have no sidecar'; do grep -q "$said" "$out/said.json" || fail "a live cluster: $said is not said"; done
  expect 0 "it is as it was written" --kubeconfig "$out/kubeconfig" --expectations "$out/live.yaml"
  mkdir -p "$out/change"
  printf 'apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: default, namespace: shop}\nspec: {outboundTrafficPolicy: {mode: ALLOW_ANY}}\n' >"$out/change/open.yaml"
  expect 1 "files that open something in it" --kubeconfig "$out/kubeconfig" "$out/change"
  grep -q '"kind": "opens"' "$out/said.json" || fail "it is not told what files would open in a live cluster"

  everything >"$out/after.txt"
  diff "$out/before.txt" "$out/after.txt" >"$out/diff.txt" || fail "a live cluster that was read is not as it was: $(head -5 "$out/diff.txt")"
  echo "$(wc -l <"$out/after.txt") objects of the live cluster have the version that they had"
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
  kind=$(basename "$dir")
  for side in found twin; do
    start=$SECONDS
    ask "framework/verify/testdata/surprises/$kind/$side.yaml"
    [ "$status" -eq 0 ] || fail "$kind, $side: exit status $status, unproven: $(unproven) $(head -3 "$out/errors.txt")"
    if [ "$side" = found ]; then found "$kind" || fail "$kind was not found"; else ! found "$kind" || fail "$kind was found in its twin"; fi
    echo "$kind, $side: $((SECONDS - start)) s"
  done
done
[ $# -eq 0 ] || exit "$failed"

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
live
exit "$failed"
