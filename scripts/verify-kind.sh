#!/usr/bin/env bash
# The provider kind from nothing to nothing: a cluster of containers, the source documents' cases in it, and
# the same cluster once more as somebody else's. It starts a Docker daemon of its own where none runs.
# CASES is the label filter; "" runs everything.
set -euo pipefail
cd "$(dirname "$0")/.."
tool=$PWD/bin/egressctl
work=$(mktemp -d)
own=
finish() {
  "$tool" down --provider kind --name verify >/dev/null 2>&1 || true
  [[ -z $own ]] || scripts/dockerd.sh stop
  rm -rf "$work"
}
trap finish EXIT
die() { echo "KIND TEST FAILED: $*" >&2; [[ -f $work/log ]] && { grep -vE '│|├' "$work/log" | tail -n 150 >&2; }; exit 1; }
rules() { iptables -S | sort; }

"$tool" doctor --install --provider kind >"$work/log" 2>&1 || true # no daemon may run yet
if ! docker version >/dev/null 2>&1; then
  export DOCKER_HOST
  DOCKER_HOST=$(scripts/dockerd.sh start)
  own=yes
fi
"$tool" components fetch --for kind
rc=0; DOCKER_HOST=unix://$work/none "$tool" parity >"$work/log" 2>&1 || rc=$?
[[ $rc == 2 ]] && grep -q 'nothing was run: provider kind' "$work/log" || die "parity without Docker: exit $rc"
links=$(ip -o link | awk -F': ' '{print $2}' | sort)
before=$(rules)

containers() { docker ps -aq --filter label=mesh-egress-conformance; docker ps -aq --filter label=io.x-k8s.kind.cluster=egress-verify; }
until_true() { # SECONDS COMMAND...
  local end=$((SECONDS + $1))
  until "${@:2}"; do ((SECONDS < end)) || return 1; read -r -t 0.1 <> <(:) || true; done
}
node_is_there() { [[ -n $(docker ps -aq --filter label=io.x-k8s.kind.cluster=egress-verify) ]] || ! kill -0 "$pid" 2>/dev/null; }
all_gone() { [[ -z $(containers) ]] && ! docker network inspect mesh-egress >/dev/null 2>&1; }
left() { # what is there, and what the watcher said of it
  docker ps -a --no-trunc --format '{{.Names}} {{.Status}} {{.Networks}} {{.Command}}'; docker network ls; pgrep -af 'docker|egressctl|runc' || true
  cat "${XDG_CACHE_HOME:-$HOME/.cache}"/mesh-egress-conformance/locks/kind-verify.log /run/mesh-egress-dockerd/log || true
} >&2
# begin_run: until its node is being made.
begin_run() {
  : >"$work/log" # what an earlier part has written is not this one's
  "$tool" run --provider kind --name verify --case tcp-cidr-v1 --out "$work/out" >"$work/log" 2>&1 &
  pid=$!
  until_true 120 node_is_there && kill -0 "$pid" 2>/dev/null || die "a run that should be killed never made its node"
}
watcher() { pgrep -f "^egressctl __egress-kind-watch .* verify$"; }
begin_run
kill -9 "$pid"; wait "$pid" 2>/dev/null || true
# As long as the watcher may take: docker commands of the killed run go on by themselves (removeTimeout, kind/watch.go).
until_true 180 all_gone || { left; die "a killed run has left its cluster"; }
echo "ok  kind: a killed run leaves no cluster"
begin_run
kill -9 "$(watcher)"; kill -9 "$pid"; wait "$pid" 2>/dev/null || true
rc=0; "$tool" probe --provider kind --name verify http://httpbin.org/ >"$work/log" 2>&1 || rc=$?
[[ $rc == 2 ]] && grep -q 'no such cluster' "$work/log" || die "a probe after a killed run: exit $rc"
until_true 10 all_gone || die "the next command of that name has left the cluster of a killed run"
echo "ok  kind: the next command removes what a killed watcher has not"

"$tool" up --provider kind --name verify >"$work/log" 2>&1 || die "up"
! "$tool" up --provider kind --name verify >"$work/log" 2>&1 || die "a second cluster of the same name came up"
grep -q "already exists" "$work/log" || die "the second up does not say that the cluster exists"
"$tool" up --provider kind --name verify --reuse >"$work/log" 2>&1 || die "up --reuse"
"$tool" run --provider kind --name verify --label-filter "${CASES-source}" --out "$work/out" >"$work/log" 2>&1 || die "the cases on kind"
echo "ok  kind: $(grep 'cases in' "$work/log")"

# Hosts of one's own, added to the running cluster; scripts/verify-hosts.sh with PROVIDER=kind says more.
"$tool" run --provider kind --name verify --cases samples/hosts --out "$work/out" >"$work/log" 2>&1 || die "hosts of one's own on kind"
grep -q '11 conform' "$work/log" || die "hosts of one's own on kind"
rc=0; "$tool" run --provider kind --name verify --cases samples/hosts --sabotage allow-any --out "$work/out" >"$work/log" 2>&1 || rc=$?
[[ $rc == 1 ]] && grep -q '11 violate' "$work/log" || die "hosts of one's own on a broken mesh on kind: exit $rc"
echo "ok  kind: hosts of one's own conform, and are violated on a broken mesh"

# Nothing that a pod sends reaches the machine itself or leaves for the world.
gateway=$(docker network inspect mesh-egress --format '{{(index .IPAM.Config 0).Gateway}}')
for target in "$gateway:22" "$gateway:80" 1.1.1.1:80; do
  if "$tool" kubectl --provider kind --name verify -- exec -n egress-control deploy/sleep -- \
    curl -s -o /dev/null -m 2 "http://$target/" >"$work/log" 2>&1; then die "a pod reached $target"; fi
done
echo "ok  kind: no way to the machine, none to the world"

# The same cluster as somebody else's, used by a stranger who may do what docs/existing.md says, and no more.
k() { "$tool" kubectl --provider kind --name verify -- "$@"; }
k create serviceaccount -n default stranger >"$work/log"
stranger() { # KUBECONFIG: that of the stranger
  cp "$("$tool" kubeconfig --provider kind --name verify)" "$1"
  k --kubeconfig "$1" config set-credentials stranger --token "$(k create token -n default stranger)" >"$work/log"
  k --kubeconfig "$1" config set-context --current --user stranger >"$work/log"
}
stranger "$work/kubeconfig"
rc=0; "$tool" run --kubeconfig "$work/kubeconfig" --label-filter source --out "$work/out" >"$work/log" 2>&1 || rc=$?
[[ $rc == 2 ]] && grep -q 'create pods in the whole cluster' "$work/log" || die "a stranger without permissions: exit $rc"
[[ -z $(k get namespaces -l mesh-egress-conformance/run -o name) ]] || die "a run without permissions made something"
echo "ok  existing: missing permissions are named"
sed -n '/^```yaml/,/^```/p' docs/existing.md | sed '1d;$d' | k apply -f - >"$work/log"
k create clusterrolebinding stranger --clusterrole mesh-egress-conformance --serviceaccount default:stranger >"$work/log"
"$tool" run --kubeconfig "$work/kubeconfig" --out "$work/out" >"$work/log" 2>&1 || die "the cases on somebody else's cluster"
echo "ok  existing: $(grep 'cases in' "$work/log")"
# To a guest, this cluster's hermetic internet is a real one behind ordinary DNS. What is slow for a while, as on a busy
# machine, makes a run slow, and no verdict another: here DNS and istiod get no processor, one after the other.
frozen() { # SECONDS PROGRAM
  docker exec egress-verify-control-plane pkill -STOP -x "$2"
  read -r -t "$1" <> <(:) || true
  docker exec egress-verify-control-plane pkill -CONT -x "$2"
}
: >"$work/log"
"$tool" run --kubeconfig "$work/kubeconfig" --internet live --label-filter 'source' --out "$work/out" >"$work/log" 2>&1 &
pid=$!
begun() { grep -q '^conforms' "$work/log" || ! kill -0 "$pid" 2>/dev/null; }
until_true 300 begun || die "live, on somebody else's cluster: no verdict"
frozen 5 coredns
frozen 12 pilot-discovery
wait "$pid" || die "live, on somebody else's cluster, with DNS and istiod frozen for a while"
grep -q "internet: live; the control client reaches all" "$work/log" || die "live, on somebody else's cluster: it does not say what it reaches"
echo "ok  existing, live, DNS and istiod frozen for a while: $(grep 'cases in' "$work/log")"
left=$("$tool" kubectl --provider kind --name verify -- get all,serviceentries,sidecars,configmaps,namespaces -A -l mesh-egress-conformance/run -o name 2>/dev/null)
[[ -z $left ]] || die "the run on somebody else's cluster left $left"
echo "ok  existing: nothing left"

# The same cluster without its Istio: none is installed unasked, and what was installed is removed.
istios() {
  for r in mutatingwebhookconfigurations validatingwebhookconfigurations clusterroles clusterrolebindings crds namespaces; do
    k get "$r" -o name | grep istio || true
  done
  k get configmaps -A -o name | grep istio-ca || true
}
"$tool" clean --kubeconfig "$("$tool" kubeconfig --provider kind --name verify)" >"$work/log" 2>&1
for o in $(istios | grep -v configmap); do k delete "$o" >"$work/log"; done
for n in $(k get configmaps -A --field-selector metadata.name=istio-ca-root-cert -o jsonpath='{.items[*].metadata.namespace}'); do
  k delete configmap -n "$n" istio-ca-root-cert istio-ca-crl --ignore-not-found >"$work/log"
done
admin=$("$tool" kubeconfig --provider kind --name verify)
rc=0; "$tool" run --kubeconfig "$admin" --case http-serviceentry --out "$work/out" >"$work/log" 2>&1 || rc=$?
[[ $rc == 2 ]] && grep -q -- '--allow-install' "$work/log" || die "a cluster without Istio: exit $rc"
rc=0; "$tool" run --kubeconfig "$work/kubeconfig" --allow-install --case http-serviceentry --out "$work/out" >"$work/log" 2>&1 || rc=$?
[[ $rc == 2 ]] && grep -q 'takes an administrator' "$work/log" || die "a stranger installs Istio: exit $rc"
[[ -z $(istios) ]] || die "installing without permission left $(istios)"
"$tool" run --kubeconfig "$admin" --allow-install --source build --case http-serviceentry --out "$work/out" >"$work/log" 2>&1 || die "--allow-install"
[[ -z $(istios) ]] || die "--allow-install left $(istios)"
echo "ok  existing, --allow-install: $(grep 'cases in' "$work/log")"

"$tool" down --provider kind --name verify >"$work/log" 2>&1 || die "down"
[[ -z $(docker ps -aq --filter label=mesh-egress-conformance) ]] || die "containers are left"
! docker network inspect mesh-egress >/dev/null 2>&1 || die "the network is left"
[[ $(rules) == "$before" ]] || die "the firewall differs: $(diff <(echo "$before") <(rules))"
[[ $(ip -o link | awk -F': ' '{print $2}' | sort) == "$links" ]] || die "links are left: $(ip -o link)"
echo "ok  kind: nothing left"
