#!/usr/bin/env bash
# A run brings a cluster up for itself: until it has cleaned up, nobody else gets in, and everybody hears why.
source "$(dirname "$0")/lib.sh"

: >"$work/log" # what an earlier part has written is not this one's
"$tool" run --name "$name" --label-filter source --out "$work/out" >"$work/log" 2>&1 &
pid=$!
refused() { # WHY ARGS...
  local rc=0
  "$tool" "${@:2}" >"$work/log2" 2>&1 </dev/null || rc=$?
  [[ $rc == 2 ]] && grep -qE "$1" "$work/log2" || { kill "$pid"; die "egressctl ${*:2}: exit $rc, $(cat "$work/log2")"; }
}
wait_for 60 grep -q 'components in the cache' "$work/log" || die "occupied: it never began"
starting="is being brought up by egressctl run \(process $pid\); wait"
refused "$starting" run --name "$name" --case tcp-cidr-v1
wait_for 60 grep -q 'API server ready' "$work/log" || die "occupied: no API server"
refused "$starting" run --name "$name" --case tcp-cidr-v1
refused "$starting" up --name "$name"
refused "$starting" up --reuse --name "$name"
refused "$starting" probe --name "$name" http://httpbin.org/
refused "$starting" kubectl --name "$name" -- get pods
refused "$starting" shell --name "$name"
"$tool" status >"$work/log2" # and not into grep -q, which ends with the first match and lets the writer fail
grep -qE "$name .*starting" "$work/log2" || die "the status does not say that the cluster is starting"
wait_for 90 grep -q '^conforms' "$work/log" || die "occupied: no case ever ran"
refused "another run is at work in it: egressctl run \(process $pid\)" run --name "$name" --case tcp-cidr-v1
cp "$("$tool" kubeconfig --name "$name")" "$work/kubeconfig"
refused "another run is at work in it: egressctl run \(process $pid\)" run --kubeconfig "$work/kubeconfig" --case tcp-cidr-v1
"$tool" probe --name "$name" http://httpbin.org/headers >"$work/log2" 2>&1 || die "a probe beside a run: $(cat "$work/log2")"
HOME=$work XDG_CACHE_HOME=$(dirname "$cache") "$tool" kubectl --name "$name" -- get namespaces >"$work/log2" 2>&1 || die "kubectl beside a run: $(cat "$work/log2")"
[[ ! -e $work/.kube ]] || die "kubectl keeps what it finds out in the user's home"
rc=0; wait "$pid" || rc=$?
[[ $rc == 0 ]] || die "occupied: the run in whose cluster others wanted to be: exit $rc"
nothing_left "a run that others wanted to join" 5
