#!/usr/bin/env bash
# A cluster that a run has left, for the next run: it starts what it needs, and what somebody has put there meanwhile is
# named, blamed for verdicts that it may explain, and refused with --strict-cluster.
source "$(dirname "$0")/lib.sh"

run() { # WANTED EXIT STATUS, FLAGS
  local want=$1 rc=0
  shift
  "$tool" run --name "$name" --out "$work/out" "$@" >"$work/log" 2>&1 || rc=$?
  [[ $rc == "$want" ]] || die "run $*: exit $rc, wanted $want"
}

run 0 --keep --case http-serviceentry
run 0 --strict-cluster --case egw-http
echo "ok  a kept cluster gets the gateways that its maker did not need"

kubectl apply -f - >/dev/null <<'YAML'
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: theirs, namespace: default}
spec:
  hosts: [httpbin.org]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: DNS
YAML
run 2 --strict-cluster --case http-serviceentry
wants 'has what the harness has not installed: ServiceEntry default/theirs' "a foreign ServiceEntry, strict"
wants '--strict-cluster=false' "a foreign ServiceEntry, strict"
run 1 --strict-cluster=false --case http-serviceentry,policy-sidecar-aa-over-ro
wants "not the harness's: ServiceEntry default/theirs" "a foreign ServiceEntry"
wants 'may explain it: ServiceEntry default/theirs' "a foreign ServiceEntry"
grep -q '"ServiceEntry default/theirs"' "$work/out/report.json" || die "a foreign ServiceEntry: it is not in the report"
kubectl get serviceentry -n default theirs >/dev/null || die "a foreign ServiceEntry was removed"
kubectl delete serviceentry -n default theirs >/dev/null

kubectl get configmap -n istio-system istio -o yaml >"$work/mesh.yaml"
sed -i 's/REGISTRY_ONLY/ALLOW_ANY/' "$work/mesh.yaml"
kubectl replace -f "$work/mesh.yaml" >/dev/null
run 2 --strict-cluster --case http-serviceentry
wants 'outboundTrafficPolicy, which is mode: ALLOW_ANY and was installed as mode: REGISTRY_ONLY' "a changed mesh configuration, strict"
run 1 --strict-cluster=false --case http-serviceentry
wants "may explain it: the mesh configuration's outboundTrafficPolicy" "a changed mesh configuration"
kubectl get configmap -n istio-system istio -o yaml | grep -q ALLOW_ANY || die "somebody's mesh configuration was put back"
echo "ok  what is not the harness's is named, blamed and refused, and left as it is"

"$tool" down --name "$name" >"$work/log" 2>&1 || die "down"
nothing_left "a kept cluster" 5
