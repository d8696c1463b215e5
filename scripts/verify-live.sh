#!/usr/bin/env bash
# --internet live, without a packet that leaves the machine: one network namespace plays the machine that runs
# the tool, a second one the real internet behind ordinary DNS, and a third one is a machine without any route.
# Arguments name the providers to try; "embedded" alone without any.
set -euo pipefail
cd "$(dirname "$0")/.."
tool=$PWD/bin/egressctl
work=$(mktemp -d)
machine=mec-machine-$$ world=mec-world-$$ alone=mec-alone-$$
pid=
finish() {
  for p in embedded "$@"; do inside "$machine" "$tool" down --provider "$p" --name live >/dev/null 2>&1 || true; done
  [[ -z ${DOCKER_HOST:-} || -z ${own:-} ]] || inside "$machine" scripts/dockerd.sh stop
  [[ -z $pid ]] || kill "$pid" 2>/dev/null || true
  for n in "$machine" "$world" "$alone"; do ip netns del "$n" 2>/dev/null || true; done
  rm -rf "$work"
}
trap 'finish "$@"' EXIT
die() { echo "LIVE TEST FAILED: $*" >&2; [[ -f $work/log ]] && tail -n 25 "$work/log" >&2; exit 1; }

# inside NAMESPACE COMMAND: with that network, its name server, and the CAs that it trusts. Not ip netns exec,
# which hides the machine's cgroups.
inside() {
  local n=$1
  shift
  nsenter --net="/run/netns/$n" unshare --mount sh -c 'mount --bind "$0" "$(readlink -f /etc/resolv.conf)" && exec "$@"' "$work/resolv.conf" "$@"
}

go build -trimpath -o "$work/world" ./scripts/world
echo "nameserver 198.51.100.53" >"$work/resolv.conf"
for n in "$machine" "$world" "$alone"; do
  ip netns add "$n"
  ip -n "$n" link set lo up
done
ip -n "$world" link add wan type veth peer name lan netns "$machine"
ip -n "$world" addr add 192.168.254.1/30 dev wan
ip -n "$machine" addr add 192.168.254.2/30 dev lan
ip -n "$world" link set wan up
ip -n "$machine" link set lan up
ip -n "$machine" route add default via 192.168.254.1
nsenter --net="/run/netns/$world" "$work/world" "$work/ca.pem" >"$work/log" 2>&1 &
pid=$!
for _ in $(seq 100); do [[ -f $work/ca.pem ]] && break; sleep 0.1; done
[[ -f $work/ca.pem ]] || die "the world did not begin"
export SSL_CERT_FILE=$work/ca.pem

count() { # VERDICT
  python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["counts"][sys.argv[2]])' "$work/out/report.json" "$1"
}
run() { # NAMESPACE FLAGS... -> exit status
  local rc=0
  inside "$1" "$tool" run --name live --internet live --out "$work/out" "${@:2}" >"$work/log" 2>&1 || rc=$?
  echo "$rc"
}

# verify --in-place against the same outside: what two witnesses and the control client prove, and that nothing else was called.
in_place() {
  local rc=0
  inside "$machine" "$tool" kubectl --name live -- apply -f - >"$work/log" 2>&1 <<'YAML' || die "in place: the objects"
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {istio-injection: enabled}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: cart, namespace: shop}
spec: {replicas: 0, selector: {matchLabels: {app: cart}}, template: {metadata: {labels: {app: cart}}, spec: {containers: [{name: c, image: curlimages/curl}]}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: past, namespace: shop}
spec: {replicas: 0, selector: {matchLabels: {app: past}}, template: {metadata: {labels: {app: past}, annotations: {traffic.sidecar.istio.io/excludeOutboundPorts: "443"}}, spec: {containers: [{name: c, image: curlimages/curl}]}}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: httpbin, namespace: shop}
spec: {hosts: [httpbin.org], exportTo: ["."], resolution: DNS, ports: [{number: 443, name: tls, protocol: TLS}, {number: 80, name: http, protocol: HTTP}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: banner, namespace: shop}
spec: {hosts: [db1.example], exportTo: ["."], resolution: DNS, ports: [{number: 3306, name: tcp, protocol: TCP}, {number: 9000, name: tcp-silent, protocol: TCP}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: nobodys, namespace: shop}
spec: {hosts: [www.wikipedia.org], exportTo: [nowhere], resolution: DNS, ports: [{number: 80, name: http, protocol: HTTP}]}
YAML
  inside "$machine" "$tool" kubeconfig --name live >"$work/where" 2>"$work/log" || die "in place: kubeconfig"
  inside "$machine" "$tool" verify --kubeconfig "$(cat "$work/where")" --in-place --namespace shop --every-workload --stranger www.google.com --table all --out "$work/inplace" >"$work/log" 2>&1 || rc=$?
  [[ $rc == 0 ]] || die "in place: exit $rc"
  python3 - "$work/inplace/verify.json" <<'PY' 2>"$work/log" || die "in place: the answers"
import json, sys
r = json.load(open(sys.argv[1]))
got = {(a["from"], a["to"]): (a["state"], a["outcome"]) for a in r["answers"]}
want = {}
for who, https in (("shop/cart", None), ("shop/past", ("allowed", "DIRECT"))):
    want[who, "https://httpbin.org"] = https or ("allowed", "OK")
    want[who, "http://httpbin.org"] = ("allowed", "OK")
    want[who, "tcp://db1.example:3306"] = ("allowed", "OK")
    want[who, "tcp://db1.example:9000"] = ("allowed", "OK")
    want[who, "http://www.wikipedia.org"] = ("blocked", "B502")
    want[who, "https://www.google.com"] = https or ("blocked", "BRST")
assert got == want, got
assert "the real outside" in r["inPlace"]["outside"], r["inPlace"]
PY
  echo "ok  live, in place: $(grep 'workloads in' "$work/log" || python3 -c 'import json, sys; print(len(json.load(open(sys.argv[1]))["answers"]), "answers")' "$work/inplace/verify.json")"
}

for provider in "${@:-embedded}"; do
  if [[ $provider == kind ]] && ! inside "$machine" docker version >/dev/null 2>&1; then
    DOCKER_HOST=$(inside "$machine" scripts/dockerd.sh start)
    export DOCKER_HOST own=yes
  fi
  inside "$machine" "$tool" up --internet live --provider "$provider" --name live >"$work/log" 2>&1 || die "$provider: up"
  rc=$(run "$machine" --provider "$provider" --label-filter "${CASES-source}")
  [[ $rc == 0 && $(count conforms) -ge 11 ]] || die "$provider: exit $rc"
  grep -q "internet: live; the control client reaches all" "$work/log" || die "$provider: the run does not say what it reaches"
  echo "ok  live, $provider: $(grep 'cases in' "$work/log")"
  rc=$(run "$machine" --provider "$provider" --label-filter 'source && tcp' --sabotage allow-any)
  [[ $rc == 1 && $(count violates) == 3 && $(count inconclusive) == 0 ]] || die "$provider, allow-any: exit $rc"
  echo "ok  live, $provider, allow-any: $(grep 'cases in' "$work/log")"
  rc=$(run "$machine" --provider "$provider" --internet hermetic)
  [[ $rc == 2 ]] && grep -q "reaches the live internet, not the hermetic one" "$work/log" || die "$provider: a live cluster was taken for a hermetic one"
  [[ $provider != embedded ]] || in_place
  inside "$machine" "$tool" down --provider "$provider" --name live >"$work/log" 2>&1 || die "$provider: down"
  [[ $provider == embedded ]] || continue
  rc=$(run "$alone" --provider "$provider" --label-filter source)
  [[ $rc == 2 && $(count conforms) == 0 && $(count violates) == 0 ]] || die "without a route: exit $rc"
  [[ $(grep -c "^internet: live, but the control client reaches none of" "$work/log") -ge 1 ]] || die "without a route: the run does not say so"
  echo "ok  live, no route: $(grep 'cases in' "$work/log")"
done
[[ -z $(ip -n "$machine" -o link | grep -vE ' (lo|lan)[:@]') || -n ${own:-} ]] || die "links are left"
! pgrep -x slirp4netns >/dev/null || die "slirp4netns is left"
echo "ok  live: nothing left"
