#!/usr/bin/env bash
# Applies Istio's own samples, unmodified, from the newest Istio module in the cache, and calls them; then
# runs the sample of a user's own case on a good and on a broken mesh, and the sample of a team's own Ginkgo suite.
set -euo pipefail
cd "$(dirname "$0")/.."
cluster=${NAME:-samples}
trap 'bin/egressctl down --name "$cluster" >/dev/null 2>&1 || true; rm -rf "${out:-}"' EXIT
k() { bin/egressctl kubectl --name "$cluster" -- "$@"; }

out=$(mktemp -d)
bin/egressctl up --name "$cluster" 2>/dev/null >/dev/null
module=$(ls -d "${XDG_CACHE_HOME:-$HOME/.cache}"/mesh-egress-conformance/parts/module-*/ | tail -n 1)
samples=$(cat "$module/path")/samples
k create namespace samples >/dev/null
k label namespace samples istio-injection=enabled >/dev/null
k apply -n samples -f "$samples/sleep/sleep.yaml" -f "$samples/curl/curl.yaml" -f "$samples/httpbin/httpbin.yaml" >/dev/null
for d in sleep curl httpbin; do
  k rollout status -n samples "deploy/$d" --timeout=90s >/dev/null
done
got=$(k exec -n samples deploy/curl -c curl -- sh -c \
  'curl -s -o /dev/null -w "%{http_code} " http://httpbin:8000/get; time true 2>/dev/null; echo a-c | tr - b | grep abc')
[[ $got == "200 abc" ]] || { echo "Istio's samples: wanted '200 abc', got '$got'" >&2; exit 1; }
echo "ok  Istio's own samples (sleep, curl, httpbin) apply unmodified and work"

own() { # EXIT FLAGS...
  local rc=0
  bin/egressctl run --name "$cluster" --strict-cluster=false --cases samples/cases --out "$out" "${@:2}" >"$out/log" 2>&1 || rc=$?
  [[ $rc == "$1" ]] || { tail -n 40 "$out/log" >&2; echo "a case of one's own ${*:2}: exit $rc, wanted $1" >&2; exit 1; }
}
# The report of every exit status is as its schema has it; one that lacks its counts, and one of another schema, are not.
validator=$(scripts/validators.sh)/bin/check-jsonschema
bin/egressctl report schema >"$out/schema.json"
schema() { "$validator" --schemafile "$out/schema.json" "$1" >"$out/said" 2>&1; }
reported() { schema "$out/report.json" || { cut -c 1-300 "$out/said" >&2; echo "report.json is not as its schema has it: $1" >&2; exit 1; }; }
own 0; reported "conforms"
for spoil in 's/"counts":/"count":/' 's|report/v2"|report/v9"|'; do
  sed "$spoil" "$out/report.json" >"$out/spoiled.json"
  ! schema "$out/spoiled.json" || { echo "the schema takes a report after $spoil" >&2; exit 1; }
done
own 1 --sabotage allow-any; reported "violated"
own 2 --sabotage internet-down; reported "inconclusive"
echo "ok  report.json of each run is as docs/report.schema.json has it, and no spoiled one is"
echo "ok  a case of one's own conforms, and is violated on a broken mesh"

# The team's suite knows the cluster by a kubeconfig alone, as somebody else's.
cp "$(bin/egressctl kubeconfig --name "$cluster")" "$out/kubeconfig"
team() { KUBECONFIG=$out/kubeconfig go test ./samples/e2e -count=1 -v -args -ginkgo.no-color -ginkgo.v "$@" >"$out/log" 2>&1; }
team -ginkgo.junit-report "$out/team.xml" || { tail -n 60 "$out/log" >&2; echo "the sample of a team's own suite fails" >&2; exit 1; }
grep -q 'STEP: applied' "$out/log" && [[ $(grep -c '<testcase name="\[It\].* status="passed"' "$out/team.xml") == 2 ]] || { tail -n 60 "$out/log" >&2; echo "the sample of a team's own suite ran otherwise than it should" >&2; exit 1; }
k apply -f - >/dev/null <<'Y' # what the team's claims forbid
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: hole, namespace: istio-system}
spec:
  hosts: [httpbin.org]
  ports: [{number: 443, name: tls, protocol: TLS}]
  resolution: DNS
Y
! team || { echo "the sample of a team's own suite is green beside a hole" >&2; exit 1; }
for what in 'Expected the mesh to conform to a case' 'VIOLATES shop-payments' 'allowed, wanted blocked' 'rerun:  egressctl run --cases samples/e2e/cases --kubeconfig' 'Expected client → https://httpbin.org/headers to be: blocked'; do
  grep -qF -- "$what" "$out/log" || { tail -n 90 "$out/log" >&2; echo "the failure lacks: $what" >&2; exit 1; }
done
echo "ok  a team's own suite with Ginkgo and e2e-framework: its cases conform, and where they do not the matcher says why"
