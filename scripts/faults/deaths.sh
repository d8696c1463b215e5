#!/usr/bin/env bash
# The processes on the host's side are killed, or a cluster is taken down while a run brings it up: something cleans up
# at once, without another command, and the message names what ended.
source "$(dirname "$0")/lib.sh"

begin() { # UNTIL: a run that brings its own cluster up
  : >"$work/log" # what an earlier part has written is not this one's
  "$tool" run --name "$name" --case injection-automatic,tcp-cidr-v1 --out "$work/out" >"$work/log" 2>&1 &
  pid=$!
  wait_for 90 grep -q "$1" "$work/log" || die "$1 never came"
}
ends() { # WHAT MESSAGE
  local rc=0
  wait "$pid" || rc=$?
  [[ $rc == 2 ]] || die "$1: exit $rc, wanted 2"
  wants "$2" "$1"
  ! grep -qE '%!|^egressctl: context canceled' "$work/log" || die "$1: the message says nothing"
  nothing_left "$1" 5
}
begin 'API server ready'
kill -9 "$(pid_of __egress-reaper)"
ends "the reaper killed during bring-up" 'the reaper of cluster .* \(process [0-9]+\) ended: signal: killed'

begin 'API server ready'
"$tool" down --name "$name" >"$work/log2" 2>&1 || die "down during bring-up: $(cat "$work/log2")"
ends "down during bring-up" 'was taken down'

# A second cache has a cluster of the same name.
own=$(mktemp -d "$(dirname "$cache")/fault-XXXXXX")
mkdir "$own/mesh-egress-conformance"
cp -al "$cache/parts" "$own/mesh-egress-conformance/"
"$tool" up --name "$name" >"$work/log" 2>&1 || die "up"
GOCACHE=$(go env GOCACHE) XDG_CACHE_HOME=$own "$tool" run --name "$name" --case tcp-cidr-v1 --out "$work/out" >"$work/log" 2>&1 ||
  die "a cluster of the same name below another cache"
kubectl get --raw /readyz >/dev/null || die "a cluster of the same name below another cache ended this one"
echo "ok  the same name below two caches"

# Nobody owns this one: reaper and watchdog have each other alone.
watchdog=$(pid_of __egress-watchdog)
kill -9 "$watchdog"
wait_for 5 eval 'next=$(pid_of __egress-watchdog) && [[ $next != "$watchdog" ]]' || die "a killed watchdog is not started again"
kubectl get --raw /readyz >/dev/null || die "the cluster suffers from the death of its watchdog"
kill -9 "$(pid_of __egress-reaper)"
nothing_left "the reaper of a cluster that lives on killed" 10 # what the kernel may take (cleanPatience)
"$tool" status >"$work/log" || die "status"
wants 'the reaper of .* was killed' "the reaper of a cluster that lives on killed"
