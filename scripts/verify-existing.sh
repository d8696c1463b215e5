#!/usr/bin/env bash
# An embedded cluster as somebody else's, with a stranger's objects of every kind on it: all cases run, nothing of the
# stranger's is touched, neither by a run that ends nor by one that is killed, and nothing of a run is left. Then the same
# cluster as the harness's own, where objects of cases meet the stranger's.
# KILLS is how many runs are killed (2), SEED chooses the moments, NAME is the cluster's, CASES a label filter ("").
set -euo pipefail
cd "$(dirname "$0")/.."
tool=$PWD/bin/egressctl
name=${NAME:-existing}
work=$(mktemp -d)
pid=
finish() {
  [[ -z $pid ]] || kill -9 "$pid" 2>/dev/null || true
  "$tool" down --name "$name" >/dev/null 2>&1 || true
  rm -rf "$work"
}
trap finish EXIT
die() { echo "EXISTING TEST FAILED: $*" >&2; [[ -f $work/log ]] && tail -n "${TAIL:-40}" "$work/log" >&2; exit 1; }
export EGRESSCTL=$tool KUBECTL="$tool kubectl --name $name --"
k() { $KUBECTL "$@"; }
untouched() { # WHAT
  scripts/strangers.py compare "$work/note" 2>"$work/log" || die "$1: a stranger's object was touched"
  scripts/strangers.py left 2>"$work/log" || die "$1: something is left"
}
wants() { grep -qE -- "$1" "$work/log" || die "$2: the message lacks '$1'"; }

"$tool" up --name "$name" >"$work/log" 2>&1 || die "up"
runs=${XDG_CACHE_HOME:-$HOME/.cache}/mesh-egress-conformance/runs/$(k get namespace kube-system -o jsonpath='{.metadata.uid}')
"$tool" run --name "$name" --case egw-gwapi-http --out "$work/out" >"$work/log" 2>&1 || die "the Gateway API" # its CRDs stay
k create serviceaccount -n default stranger >"$work/log"
cp "$("$tool" kubeconfig --name "$name")" "$work/kubeconfig"
k --kubeconfig "$work/kubeconfig" config set-credentials stranger --token "$(k create token -n default stranger --duration 4h)" >"$work/log"
k --kubeconfig "$work/kubeconfig" config set-context --current --user stranger >"$work/log"
sed -n '/^```yaml/,/^```/p' docs/existing.md | sed '1d;$d' | k apply -f - >"$work/log"
k create clusterrolebinding stranger --clusterrole mesh-egress-conformance --serviceaccount default:stranger >"$work/log"
scripts/strangers.py make 2>"$work/log" || die "a stranger's objects"
scripts/strangers.py note "$work/note"

"$tool" run --kubeconfig "$work/kubeconfig" --label-filter "${CASES-}" --out "$work/out" >"$work/log" 2>&1 || die "the cases on somebody else's cluster"
summary=$(grep 'cases in' "$work/log")
untouched "a run of all cases"
echo "ok  existing: $summary"

# Cases of one's own that would touch what is not theirs.
mkdir -p "$work/cases/acme"
own() { # CASE FIELDS OBJECT
  printf 'claim: it keeps to its own\nsource: test\n%sprobes:\n  - {url: "http://httpbin.org/headers", want: B502 B502 B502}\n%s' "$2" "$3" >"$work/cases/acme/$1.yaml"
}
own namespace "" $'---\napiVersion: v1\nkind: Namespace\nmetadata: {name: prod}\n'
own mesh "" $'---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\ndata: {mesh: "{}"}\n'
own fixture $'fixtures: [theirs.yml]\n' ""
printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: theirs, namespace: default}\n' >"$work/cases/theirs.yml"
rc=0; "$tool" run --kubeconfig "$work/kubeconfig" --cases "$work/cases" --out "$work/out" >"$work/log" 2>&1 || rc=$?
[[ $rc == 2 ]] || die "cases that reach beyond their namespaces: exit $rc"
for what in 'case acme-namespace .acme/namespace.yaml.: objects has the Namespace prod' 'case acme-mesh .*ConfigMap istio-system/istio' 'case acme-fixture .*fixture theirs.yml has the ConfigMap default/theirs'; do
  wants "$what" "cases that reach beyond their namespaces"
done
! grep -q 'hermetic internet ready' "$work/log" || die "something was made before the cases were refused"
untouched "cases that reach beyond their namespaces"
echo "ok  existing: cases that reach beyond their namespaces are refused before anything is made"

# The same on a cluster of the harness's own: what is there is not taken over.
rc=0; "$tool" run --name "$name" --strict-cluster=false --cases "$work/cases" --out "$work/out" >"$work/log" 2>&1 || rc=$?
[[ $rc == 2 ]] || die "cases that meet somebody else's objects: exit $rc"
verdicts() { # which there are, and how many say why
  python3 -c 'import json, sys
r = json.load(open(sys.argv[1]))["cases"]
print(" ".join(sorted({x["verdict"] for x in r})), sum("is there already and was not made by" in x.get("why", "") for x in r), len(r))' "$work/out/report.json"
}
[[ $(verdicts) == "inconclusive 3 3" ]] || die "cases that meet somebody else's objects: $(verdicts)"
untouched "cases that meet somebody else's objects"
colliding=http-serviceentry,policy-sidecar-root-namespace,authz-gw-http,egw-gwapi-tls,egw-gwapi-route-namespace,http-two-namespaces
colliding=$("$tool" list --json | python3 -c '
import json, sys
have = [c["name"] for c in json.load(sys.stdin)["cases"]]
print(",".join(n for n in sys.argv[1].split(",") if n in have))' "$colliding")
rc=0; "$tool" run --name "$name" --strict-cluster=false --lanes 1 --case "$colliding" --out "$work/out" >"$work/log" 2>&1 || rc=$?
n=$(tr ',' '\n' <<<"$colliding" | wc -l)
[[ $rc == 2 && $(verdicts) == "inconclusive $n $n" ]] || die "built-in cases that meet somebody else's objects: exit $rc, $(verdicts)"
untouched "built-in cases that meet somebody else's objects"
echo "ok  own cluster: $n built-in cases and three of one's own that meet somebody else's objects are inconclusive"

# Killed at any moment; then what is left is found by the journal or, as on another machine, by the label.
"$PWD/scripts/moments.py" "${SEED:-1}" "${KILLS:-2}" 28 >"$work/moments"
i=0
while read -r moment; do
  i=$((i + 1))
  where=(--kubeconfig "$work/kubeconfig")
  ((i % 4)) || where=(--name "$name")
  # On its own cluster the cases must not meet the stranger's objects: all but the first lane's namespaces are free.
  "$tool" run "${where[@]}" --strict-cluster=false --label-filter 'http || tls' --out "$work/out" >"$work/run.log" 2>&1 &
  pid=$!
  read -r -t "$moment" <> <(:) || true
  kill -9 "$pid" 2>/dev/null || true
  wait "$pid" 2>/dev/null || true
  pid=
  how="by its journal"
  if ((i % 2 == 0)); then
    how="by its label"
    [[ ! -d $runs ]] || mv "$runs" "$work/runs"
  fi
  "$tool" clean "${where[@]}" >"$work/log" 2>&1 || die "clean after kill $i, at $moment s"
  removed=$(grep -c '^removed' "$work/log" || true)
  untouched "kill $i, at $moment s, cleaned $how"
  if [[ -d $work/runs ]]; then
    [[ ! -d $runs ]] || die "a journal appeared"
    mv "$work/runs" "$runs"
    "$tool" clean "${where[@]}" >"$work/log" 2>&1 || die "clean with a journal of which nothing is left"
  fi
  echo "ok  killed ${where[0]} after $moment s: $removed objects removed $how, nothing left, nothing touched"
done <"$work/moments"

# A kind without namespace outlives neither the run that was killed nor the next one's start.
rm "$work"/cases/acme/*
own binding "" $'---\napiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {name: egress-acme}\nroleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: theirs}\n'
"$tool" run --name "$name" --strict-cluster=false --cases "$work/cases" --out "$work/out" >"$work/run.log" 2>&1 &
pid=$!
end=$((SECONDS + 240)) # a run needs a minute on a busy machine before its first case
until kill -STOP "$pid" 2>/dev/null && k get clusterrolebinding egress-acme >/dev/null 2>&1; do
  kill -CONT "$pid" 2>/dev/null || die "the run with a ClusterRoleBinding ended too soon: $(tail -n 3 "$work/run.log")"
  ((SECONDS < end)) || die "no ClusterRoleBinding came"
  sleep 0.3 # it is stopped while kubectl looks, which takes seconds on a busy machine, and gets on in between alone
done
kill -9 "$pid"; wait "$pid" 2>/dev/null || true
pid=
"$tool" run --name "$name" --strict-cluster=false --lanes 2 --case bypass-dns --out "$work/out" >"$work/log" 2>&1 || true
wants 'had left: .*ClusterRoleBinding egress-acme' "a ClusterRoleBinding of a killed run"
untouched "a ClusterRoleBinding of a killed run"
[[ ! -d $runs || -z $(find "$runs" -name '*.jsonl') ]] || die "journals are left: $(find "$runs" -name '*.jsonl')"
echo "ok  own cluster: a ClusterRoleBinding of a killed run is removed by the next one"
