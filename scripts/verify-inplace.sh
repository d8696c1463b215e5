#!/usr/bin/env bash
# `egressctl verify --in-place` on an embedded cluster as somebody else's, against pods that play the outside: what gets out and what
# does not is told; beside workloads of a team of which each has something that could take notice of a pod, nothing of the team's is
# another one afterwards, no EndpointSlice had a pod of ours as ready, and a run that is killed leaves nothing that egressctl clean does
# not remove. The user may do what the printed role says and nothing else. Against what stands for the real outside: verify-live.sh.
set -euo pipefail
cd "$(dirname "$0")/.."
tool=$(realpath "${EGRESSCTL:-bin/egressctl}")
name=${NAME:-inplace}
work=$(mktemp -d)
pids=()
finish() {
  for p in "${pids[@]}"; do kill -9 "$p" 2>/dev/null || true; done
  "$tool" down --name "$name" >/dev/null 2>&1 || true
  rm -rf "$work"
}
trap finish EXIT
die() { echo "IN-PLACE TEST FAILED: $*" >&2; [[ -f $work/log ]] && tail -n "${TAIL:-40}" "$work/log" >&2; exit 1; }
export EGRESSCTL=$tool KUBECTL="$tool kubectl --name $name --"
k() { $KUBECTL "$@"; }
# pods are those of the team, and what makes them, by name and UID; a pod that was replaced is another one.
pods() { k get pods,replicasets -n shop -l '!mesh-egress-conformance/run' -o jsonpath='{range .items[*]}{.kind} {.metadata.name} {.metadata.uid} {.spec.replicas}{"\n"}{end}' | sort; }
untouched() { # WHAT
  scripts/strangers.py compare "$work/note" 2>"$work/log" || die "$1: an object of the team's was touched"
  scripts/strangers.py left 2>"$work/log" || die "$1: something is left"
  # What belongs to a ConfigMap goes by itself where the ConfigMap went first.
  k get pods -A -l mesh-egress-conformance/run -o name >"$work/log" && [[ ! -s $work/log ]] || die "$1: pods are left"
  diff "$work/pods" <(pods) >"$work/log" || die "$1: pods of the team's are others"
}
ask() { # STATUS WHAT FLAGS...
  local want=$1 what=$2 rc=0
  shift 2
  "$tool" verify --kubeconfig "$work/kubeconfig" --in-place --internet hermetic --namespace shop "$@" >"$work/said" 2>"$work/log" || rc=$?
  cat "$work/said" >>"$work/log"
  cp "$work/log" "$work/told"
  [[ $rc == "$want" ]] || die "$what: exit $rc, wanted $want"
}
says() { grep -qF -- "$2" "$work/told" || die "$1: it does not say '$2'"; }

"$tool" up --name "$name" >"$work/log" 2>&1 || die "up"
k apply -f "$PWD/scripts/verify-inplace.yaml" >"$work/log"
k create serviceaccount -n default guest >>"$work/log"
cp "$("$tool" kubeconfig --name "$name")" "$work/kubeconfig"
k --kubeconfig "$work/kubeconfig" config set-credentials guest --token "$(k create token -n default guest --duration 1h)" >>"$work/log"
k --kubeconfig "$work/kubeconfig" config set-context --current --user guest >>"$work/log"
for what in deployment/cart statefulset/db; do k rollout status -n shop "$what" --timeout 3m >>"$work/log"; done
k wait -n shop --for jsonpath='{.status.readyReplicas}'=1 replicaset/lone --timeout 3m >>"$work/log"
scripts/strangers.py note "$work/note" >>"$work/log"
pods >"$work/pods"

# A user who may read and not write is told all that is missing, before anything is made.
"$tool" verify --print-role | k apply -f - >>"$work/log"
k create clusterrolebinding guest-reads --clusterrole egressctl-verify --serviceaccount default:guest >>"$work/log"
scripts/strangers.py note "$work/note" >>"$work/log"
ask 2 "without permissions"
for what in "create pods in the whole cluster" "delete configmaps in the whole cluster" "create pods/exec in the whole cluster" "create namespaces in the whole cluster" "list policy/poddisruptionbudgets in namespace shop" "--print-role --in-place"; do
  says "without permissions" "$what"
done
untouched "without permissions"
echo "ok  in place: what is missing is named before anything is made"
k delete clusterrolebinding guest-reads >>"$work/log"
"$tool" verify --print-role --in-place | k apply -f - >>"$work/log"
k create clusterrolebinding guest --clusterrole egressctl-verify-in-place --serviceaccount default:guest >>"$work/log"
scripts/strangers.py note "$work/note" >>"$work/log"

# All that EndpointSlices ever say, while pods of ours come and go.
k get endpointslices -A -w -o json >"$work/slices" 2>"$work/slices-errors" &
pids+=($!)
k get pods -n shop -w -o json >"$work/seen" 2>"$work/seen-errors" &
pids+=($!)

ask 2 "the cluster as it is" --every-workload --table all --write-expectations "$work/egress.yaml" --out "$work/out"
untouched "the cluster as it is"
says "the cluster as it is" "asked in place: cluster"
for what in "shop/db is not asked in place: Service shop/db selects it with publishNotReadyAddresses" "shop/guarded is not asked in place: PodDisruptionBudget shop/guarded selects it" \
  "shop/scaled is not asked in place: HorizontalPodAutoscaler shop/scaled scales it" "which names there are below a wildcard"; do
  says "the cluster as it is" "$what"
done
python3 - "$work" <<'PY' || die "the answers or what was seen meanwhile"
import json, sys
work = sys.argv[1]
def stream(f):
    text, at, d = open(f).read(), 0, json.JSONDecoder()
    while text[at:].strip():
        at += len(text[at:]) - len(text[at:].lstrip())
        try:
            o, at = d.raw_decode(text, at)
        except json.JSONDecodeError:
            return  # the last one is still being written
        yield o
r = json.load(open(work + "/out/verify.json"))
assert r["inPlace"]["cluster"] and r["inPlace"]["notAsked"], r["inPlace"]
got = {(a["from"], a["to"]): a for a in r["answers"]}
for who in ("shop/cart", "shop/lone"):
    for to, want in (("https://api.partner.example", "allowed"), ("http://api.partner.example", "allowed"), ("tcp://orders.partner.example:5432", "allowed"), ("https://static.partner.example", "allowed"),
                     ("http://closed.partner.example", "blocked"), ("https://unregistered.example", "blocked"), ("http://unregistered.example", "blocked")):
        a = got[who, to]
        assert a["state"] == want, a
assert [s["object"] for s in got["shop/cart", "https://api.partner.example"]["by"]] == ["ServiceEntry shop/partners"], got["shop/cart", "https://api.partner.example"]
assert not [a for a in r["answers"] if "wild.example" in a["to"] or a.get("as") or a["to"].startswith("udp")], "something was asked that is not safe"
seen = [o for o in stream(work + "/seen") if o["metadata"]["name"].startswith("egressctl-")]
workloads = {o["metadata"]["labels"]["app"] for o in seen}
assert workloads == {"cart", "lone"}, (workloads, open(work + "/seen").read(300), open(work + "/seen-errors").read(300))
for o in seen:
    owner, = o["metadata"]["ownerReferences"]
    assert owner["kind"] == "ConfigMap" and owner["controller"], owner
    ready = [c for c in o.get("status", {}).get("conditions", []) if c["type"] == "Ready" and c["status"] == "True"]
    assert not ready, "a pod of ours was ready"
slices, held = 0, set()
for s in stream(work + "/slices"):
    slices += 1
    for e in s.get("endpoints") or []:
        if (e.get("targetRef") or {}).get("name", "").startswith("egressctl-run") and s["metadata"]["namespace"] == "shop":
            held.add(s["metadata"]["labels"]["kubernetes.io/service-name"])
            assert not e["conditions"].get("ready") and not e["conditions"].get("serving"), ("a pod of ours is an endpoint", s)
assert slices and "db" not in held, held
print("ok  in place: EndpointSlices had pods of ours as not ready alone:", ", ".join(sorted(held)) or "none")
PY
echo "ok  in place: $(grep 'workloads in' "$work/said")"

# What is expected is judged, and what expectations name is asked too.
printf -- '- from: [shop/*]\n  to: ["https://named.wild.example"]\n' >>"$work/egress.yaml"
ask 2 "as it is expected" --every-workload --table all --expectations "$work/egress.yaml"
! grep -qE '^(leak|outage|detour)' "$work/told" || die "as it is expected: something deviates"
says "as it is expected" "https://named.wild.example"
grep -v orders "$work/egress.yaml" >"$work/other.yaml"
ask 1 "a leak" --every-workload --expectations "$work/other.yaml"
says "a leak" "leak: shop/cart → tcp://orders.partner.example:5432"
untouched "what is expected"
echo "ok  in place: a leak is found, and exit status 1"

# Killed while a pod of ours is beside a workload; what it has left is removed by its journal.
"$tool" verify --kubeconfig "$work/kubeconfig" --in-place --internet hermetic --namespace shop --every-workload >"$work/run.log" 2>&1 &
pid=$!
pids+=("$pid")
end=$((SECONDS + 240))
until [[ -n $(k get pods -n shop -l mesh-egress-conformance/run -o name) ]]; do
  kill -0 "$pid" 2>/dev/null || die "the run to be killed ended too soon: $(tail -n 3 "$work/run.log")"
  ((SECONDS < end)) || die "no pod came to be beside a workload"
done
kill -9 "$pid"
wait "$pid" 2>/dev/null || true
! scripts/strangers.py left 2>"$work/log" || die "a run that was killed has left nothing: the test shows nothing"
"$tool" clean --kubeconfig "$work/kubeconfig" >"$work/told" 2>&1 || die "clean after a kill: $(tail -n 5 "$work/told")"
says "clean" "egressctl-run-"
untouched "a run that was killed"
echo "ok  in place: $(grep -c '^removed' "$work/told" || true) objects of a killed run are removed, nothing left, nothing touched"
