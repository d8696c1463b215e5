# shellcheck shell=bash
# For the fault tests beside it: sourced, never run. Each of them kills, interrupts, starves or misuses real clusters,
# and demands clear errors and that nothing is left on the machine: no process, namespace, mount, link, cgroup or file.
# NAME (default fault) names the cluster. Other clusters on the machine are neither touched nor judged.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
tool=$PWD/bin/egressctl
name=${NAME:-fault}
work=$(mktemp -d)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/mesh-egress-conformance
dir=$cache/clusters/$name
# A test that fails must not leave the run that it had started, nor the folder of its own, if it has one.
# shellcheck disable=SC2154
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$work" "${own:-}"' EXIT

die() { echo "FAULT TEST FAILED: $*" >&2; [[ -f $work/log ]] && tail -n 30 "$work/log" >&2; exit 1; }
cgroups() { find /sys/fs/cgroup -maxdepth 2 -type d -name "mesh-egress-$name-*" 2>/dev/null || true; }
# Processes of this cluster: whatever is in its cgroups, which nothing can leave, and those on the host's side, which
# name its folder.
members() { cgroups | while read -r c; do find "$c" -name cgroup.procs -exec cat {} + 2>/dev/null || true; done | sort -un; }
helpers() { grep -slzxF -- "$dir" /proc/[0-9]*/cmdline | cut -d/ -f3 || true; }
# pid_of PROGRAM: the process of this cluster whose program, or whose first argument, has that name.
pid_of() {
  local p args
  for p in $(members) $(helpers); do
    mapfile -d '' -t args 2>/dev/null <"/proc/$p/cmdline" || continue
    ((${#args[@]})) || continue # it has ended
    [[ ${args[0]##*/} == "$1" || ${args[1]:-} == "$1" ]] && { echo "$p"; return; }
  done
  return 1
}
traces() {
  local p args
  for p in $(members) $(helpers); do # one that has ended meanwhile has no arguments any more
    args=$(tr '\0' ' ' 2>/dev/null <"/proc/$p/cmdline") && [[ -n $args ]] && echo "process $p $args"
  done || true
  cgroups
  find "$cache/clusters" -mindepth 1 -maxdepth 1 -type d -name "$name" 2>/dev/null || true
  # What no cluster may leave on the host, whoever's it is; a killed cluster of Docker's or another test's is not meant.
  ip -o link | awk -F': ' '{print "link " $2}' | grep -vE 'veth|docker|br-mesh-egress' || true
  awk '$2 ~ /mesh-egress|\/run\/egress|kubelet|\/cni|netns\/cni|containerd/ {print "mount " $1, $2}' /proc/mounts | grep -v "$cache/clusters/" || true
  find /var/lib/cni /var/lib/kubelet /run/egress -maxdepth 0 2>/dev/null || true
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
kubectl() { "$tool" kubectl --name "$name" -- "$@" 2>/dev/null; }
