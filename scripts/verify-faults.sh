#!/usr/bin/env bash
# Kills, interrupts and starves real clusters, and demands clear errors and that nothing is left on
# the machine: no process, namespace, mount, link, cgroup or file.
set -euo pipefail
cd "$(dirname "$0")/.."
tool=$PWD/bin/egressctl
work=$(mktemp -d)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/mesh-egress-conformance
trap 'rm -rf "$work"' EXIT

die() { echo "FAULT TEST FAILED: $*" >&2; [[ -f $work/log ]] && tail -n 30 "$work/log" >&2; exit 1; }
# What a cluster is made of, one line each. Other clusters of this machine, and what a killed one has left, are not
# this test's to judge: it asks for lines that were not there when it began.
traces() {
  pgrep -af '__egress-|kube-apiserver|/containerd/|pilot-agent|pilot-discovery' | grep -v pgrep || true
  find /sys/fs/cgroup -maxdepth 2 -name 'mesh-egress-*' 2>/dev/null || true
  lsns -t net -n -o NS | sed 's/^ */network namespace /'
  ip -o link | awk -F': ' '{print "link " $2}'
  sed 's/^/mount /' /proc/mounts
  find "$cache/clusters" -mindepth 1 -maxdepth 1 -type d 2>/dev/null || true
}
traces | sort -u >"$work/before"
left() { traces | sort -u | comm -13 "$work/before" -; }
nothing_left() { # WHAT SECONDS
  local end=$((SECONDS + $2))
  while [[ -n $(left) ]]; do
    ((SECONDS < end)) || die "$1: still there after $2 s: $(left)"
    read -r -t 0.1 <> <(:) || true
  done
  echo "ok  $1: nothing left"
}
wait_for() { # SECONDS COMMAND...
  local end=$((SECONDS + $1)); shift
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < end)) || return 1
    read -r -t 0.05 <> <(:) || true
  done
}
wants() { grep -qE -- "$1" "$work/log" || die "$2: the message lacks '$1'"; }

for moment in 'components in the cache' 'cluster processes started' 'API server ready' 'istiod ready' 'first verdict'; do
  : >"$work/log"
  "$tool" run --name fault --case injection-automatic,tcp-cidr-v1,http-serviceentry --out "$work/out" >"$work/log" 2>&1 &
  pid=$!
  wait_for 60 grep -q "$moment" "$work/log" || die "kill: '$moment' never came"
  kill -9 "$pid"
  wait "$pid" 2>/dev/null || true
  nothing_left "kill -9 after '$moment'" 5
done

"$tool" run --name fault --label-filter source --out "$work/out" >"$work/log" 2>&1 &
pid=$!
wait_for 60 grep -q '^conforms' "$work/log" || die "interrupt: no case ever ran"
kill -INT "$pid"
rc=0; wait "$pid" || rc=$?
[[ $rc == 2 ]] || die "interrupt: exit $rc, wanted 2"
wants 'interrupted: [0-9]+ cases have no verdict' interrupt
wants '✓ injection-automatic' interrupt
nothing_left "Ctrl-C once" 5

"$tool" run --name fault --label-filter source --out "$work/out" >"$work/log" 2>&1 &
pid=$!
wait_for 60 grep -q 'istiod ready' "$work/log" || die "interrupt twice: istiod never came"
kill -INT "$pid"; kill -INT "$pid" 2>/dev/null || true
rc=0; wait "$pid" || rc=$?
[[ $rc == 130 || $rc == 2 ]] || die "interrupt twice: exit $rc"
nothing_left "Ctrl-C twice" 5

"$tool" up --name fault >"$work/log" 2>&1 || die "up"
kubeconfig=$("$tool" kubeconfig --name fault)
[[ $(stat -c %a "$kubeconfig") == 600 ]] || die "the kubeconfig can be read by others"
rc=0; "$tool" up --name fault >"$work/log" 2>&1 || rc=$?
[[ $rc == 2 ]] || die "the same name twice: exit $rc"
wants 'already exists' "the same name twice"
"$tool" kubectl --name fault -- get --raw /readyz >/dev/null || die "the same name twice: the first cluster suffered"
echo "ok  the same name twice"

# No packet of a pod may reach this machine's own network, whatever address it is sent to.
port=18099
python3 -m http.server "$port" --bind 0.0.0.0 >"$work/http" 2>&1 &
server=$!
wait_for 10 curl -s -o /dev/null "http://127.0.0.1:$port/" || die "no listener on the machine"
before=$(wc -l <"$work/http")
for addr in $(ip -4 -o addr show scope global | awk '{sub("/.*","",$4); print $4}') $(ip -4 route show default | awk '{print $3}'); do
  if "$tool" kubectl --name fault -- exec -n egress-control deploy/sleep -- curl -s -m 2 -o /dev/null "http://$addr:$port/"; then
    kill "$server"; die "a pod reached $addr"
  fi
done
kill "$server"; wait "$server" 2>/dev/null || true
[[ $(wc -l <"$work/http") == "$before" ]] || die "a pod's request arrived at the machine"
echo "ok  no way from a pod to the machine's own network"

# A run that is killed in a cluster that lives on leaves rules and a changed mesh configuration, and the next
# one must not take them for verdicts.
kubectl() { "$tool" kubectl --name fault -- "$@" 2>/dev/null; }
rules() { kubectl get serviceentries -A --no-headers; }
changed() { kubectl -n istio-system get configmap istio -o 'jsonpath={.metadata.annotations.mesh-egress-conformance/installed}'; }
"$tool" run --name fault --case matrix-allow-any-with-address,matrix-allow-any-without-address --out "$work/out" >"$work/log" 2>&1 &
pid=$!
wait_for 60 eval 'kill -STOP "$pid"; [[ -n $(rules) && -n $(changed) ]] || { kill -CONT "$pid"; false; }' || die "killed beside: no rule ever came"
rc=0; "$tool" run --name fault --case bypass-dns --out "$work/out2" >"$work/log2" 2>&1 || rc=$?
[[ $rc == 2 ]] && grep -q 'another run is at work' "$work/log2" || die "two runs in one cluster: exit $rc"
"$tool" probe --name fault http://httpbin.org/headers >"$work/log2" 2>&1 || die "a probe beside a run: $(tail -n 3 "$work/log2")"
[[ -n $(rules) && -n $(changed) ]] || die "a probe beside a run has changed its cluster"
kill -9 "$pid"; wait "$pid" 2>/dev/null || true
"$tool" run --name fault --label-filter source --out "$work/out" >"$work/log" 2>&1 || die "killed beside: the next run fails"
wants 'which was cut off, had left: .*ServiceEntry' "killed beside"
[[ -z $(rules) && -z $(changed) ]] || die "killed beside: something is left: $(rules) $(changed)"
echo "ok  a run killed in a cluster that lives on"

# timeout(1) sends its signal twice.
"$tool" run --name fault --label-filter source --out "$work/out" >"$work/log" 2>&1 &
pid=$!
wait_for 60 grep -q '^conforms' "$work/log" || die "two signals: no case ever ran"
kill -TERM "$pid"; kill -TERM "$pid" 2>/dev/null || true
rc=0; wait "$pid" || rc=$?
[[ $rc == 2 ]] || die "two signals: exit $rc"
wants 'interrupted: [0-9]+ cases have no verdict' "two signals"
[[ -z $(kubectl get serviceentries,namespaces -A -l mesh-egress-conformance/run --no-headers) ]] || die "two signals: something is left"
echo "ok  two signals at once clean up"

# The API server dies in the middle of a run.
"$tool" run --name fault --label-filter source --out "$work/out" >"$work/log" 2>&1 &
pid=$!
wait_for 60 grep -q '^conforms' "$work/log" || die "dying API server: no case ever ran"
pkill -9 -f "^kube-apiserver" || die "dying API server: no such process"
rc=0; wait "$pid" || rc=$?
[[ $rc == 2 ]] || die "dying API server: exit $rc, wanted 2"
wait_for 5 eval '"$tool" status >"$work/log" 2>&1; grep -q kube-apiserver "$work/log"' || die "dying API server: the status does not name it"
rc=0; "$tool" down --name fault >"$work/log" 2>&1 || rc=$?
nothing_left "an API server that dies" 5
[[ ! -e $kubeconfig ]] || die "the kubeconfig outlives the cluster"

port=18098
python3 -m http.server "$port" --bind 127.0.0.1 >/dev/null 2>&1 &
server=$!
wait_for 10 curl -s -o /dev/null "http://127.0.0.1:$port/"
rc=0; "$tool" up --name fault --port "$port" >"$work/log" 2>&1 || rc=$?
kill "$server"; wait "$server" 2>/dev/null || true
[[ $rc == 2 ]] || die "a taken port: exit $rc"
wants 'port' "a taken port"; wants 'address already in use' "a taken port"
nothing_left "a taken port" 5

victim=$(ls -d "$cache"/parts/go-httpbin-*/ | head -n 1)
printf 'x' | dd of="$victim/go-httpbin" bs=1 seek=1000 conv=notrunc status=none
rc=0; "$tool" components verify >"$work/log" 2>&1 || rc=$?
[[ $rc == 2 ]] || die "a damaged cache entry: verify exits $rc"
wants 'go-httpbin.*digest' "a damaged cache entry"
"$tool" components fetch >"$work/log" 2>&1 || die "a damaged cache entry is not made again"
"$tool" components verify >"$work/log" 2>&1 || die "the cache is still damaged"
echo "ok  a damaged cache entry is found and made again"

mkdir "$work/full"
mount -t tmpfs -o size=8m tmpfs "$work/full"
rc=0; XDG_CACHE_HOME=$work/full GOCACHE=$(go env GOCACHE) "$tool" up --name fault >"$work/log" 2>&1 || rc=$?
parts=$(find "$work/full" -name '.making-*' | wc -l)
umount "$work/full"
[[ $rc == 2 ]] || die "a full disk: exit $rc"
wants 'no space left on device' "a full disk"
[[ $parts == 0 ]] || die "a full disk: half-made entries are left"
nothing_left "a full disk" 5

"$tool" run --name fault --case http-serviceentry --out "$work/out" >"$work/log" 2>&1 || die "the next run does not work"
nothing_left "the next run" 5
