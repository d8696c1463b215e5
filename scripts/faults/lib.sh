# For the fault tests beside it: sourced, never run. Each of them kills, interrupts, starves or misuses real clusters,
# and demands clear errors and that nothing is left on the machine: no process, namespace, mount, link, cgroup or file.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
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
kubectl() { "$tool" kubectl --name fault -- "$@" 2>/dev/null; }
