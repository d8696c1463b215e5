#!/usr/bin/env bash
# The embedded cluster as a sandbox (docs/security.md): the worst pod that its admin can make, what admission refuses,
# what strangers on the machine can reach, and what a cluster leaves on the machine's file system.
source "$(dirname "$0")/lib.sh"

server=
canaries=()
finish() {
  [[ -z $server ]] || kill "$server" 2>/dev/null || true
  for c in fault fault2; do "$tool" down --name "$c" >/dev/null 2>&1 || true; done
  rm -rf "$work" "${canaries[@]}"
}
trap finish EXIT
# Places of the machine to which a node's programs write unless they are kept from it.
places=(/opt/containerd /opt/nri /etc/cni /etc/nri /run/nri /run/containerd /run/netns /usr/libexec/kubernetes /var/lib/cni /var/lib/containerd
  /var/lib/kubelet /var/log/containers /var/log/pods)
present() { for p in "${places[@]}"; do [[ ! -e $p ]] || find "$p" -xdev -printf '%p %C@\n' 2>/dev/null; done | sort; }
present >"$work/places"
"$tool" up --name fault >"$work/log" 2>&1 || die "up"
"$tool" up --name fault2 >"$work/log" 2>&1 || die "up a second cluster"
present | diff "$work/places" - >"$work/log" || die "the clusters have written to the machine"
echo "ok  nothing is written to the machine outside the cache"

# What must stay out of sight, and a listener that must stay out of reach.
secret=egress-secret-$$
for d in /root /home /etc /var/lib /run /tmp /opt; do
  c=$d/.egress-canary-$$
  canaries+=("$c")
  echo "$secret" >"$c"
done
port=18099
(cd "$work" && exec -a "egress-stranger-$$" python3 -m http.server "$port" --bind ::) >"$work/http" 2>&1 &
server=$!
wait_for 10 curl -s -o /dev/null "http://127.0.0.1:$port/" || die "no listener on the machine"
requests=$(wc -l <"$work/http")
read -r major minor disk < <(awk '$3 > 0 && $4 !~ /^(ram|zram|loop)/ {print $1, $2, $4; exit}' /proc/partitions) || die "this machine has no block device to try"
addresses=$( (ip -4 -o addr show scope global | awk '{sub("/.*","",$4); print $4}'; ip -4 route show default | awk '{print $3}'; echo 127.0.0.1
  ip -6 -o addr show scope global | awk '{sub("/.*","",$4); print "[" $4 "]"}'; ip -6 route show default | awk '{print "[" $3 "]"}'; echo '[::1]') | sort -u | tr '\n' ' ')

# The pod, of all that the cluster's admin can make, with the most power.
image=$(kubectl get deployments -n egress-control sleep -o 'jsonpath={.spec.template.spec.containers[0].image}')
pod() { # NAMESPACE
  cat <<EOF
apiVersion: v1
kind: Pod
metadata: {name: worst, namespace: $1}
spec:
  hostPID: true
  hostNetwork: true
  hostIPC: true
  terminationGracePeriodSeconds: 0
  containers:
  - name: worst
    image: $image
    imagePullPolicy: Never
    command: [sleep, infinity]
    securityContext: {privileged: true, runAsUser: 0}
    volumeMounts: [{name: node, mountPath: /node}]
  volumes: [{name: node, hostPath: {path: /}}]
EOF
}
pod istio-system | kubectl apply -f - >"$work/log" || die "the admin's own pod is refused in istio-system"
kubectl wait -n istio-system --for=condition=Ready pod/worst --timeout=60s >"$work/log" || die "the worst pod does not start"

# What it tries. Writes put back what is there, so that a sandbox with a hole survives its test.
cat >"$work/attack" <<'EOF'
bad() { echo "BAD: $*"; }
PATH=/bin:/usr/bin:/sbin:/usr/sbin
for f in $canaries /etc/shadow; do
  [ ! -e "/node$f" ] || bad "sees $f"
done
find /node -xdev -name '.egress-canary-*' | sed 's/^/BAD: sees /'
for d in /node/etc /node/bin /node/root /node/usr/bin /node"$parts"; do
  (: >"$d/egress-write-test") 2>/dev/null && { rm -f "$d/egress-write-test"; bad "writes to $d"; }
done
for d in /node"$cache"/*/* /node"$cache"/clusters/*; do
  case $d in */clusters/fault | */parts/*) ;; *) bad "sees $d" ;; esac
done
find /node"$cache"/clusters -name '*.sock' -o -name kubeconfig | sed 's/^/BAD: sees /'
layer=$(find /node"$cache"/clusters/fault/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/*/fs/usr/bin/curl | head -n 1)
[ -n "$layer" ] || bad "no unpacked image to try"
dd if="$layer" of="$layer" bs=1 count=1 conv=notrunc 2>/dev/null && bad "writes to the images that all clusters share"

find /node/dev -type b | sed 's/^/BAD: has /'
for d in /tmp /node/tmp /node/run /node/dev; do
  mknod "$d/disk" b "$major" "$minor" 2>/dev/null && bad "makes a node of the disk in $d"
  head -c 1 "$d/disk" 2>/dev/null >/tmp/byte && [ -s /tmp/byte ] && bad "reads the machine's disk"
  rm -f "$d/disk"
done
mkdir -p /tmp/m
mount -t devtmpfs devtmpfs /tmp/m 2>/dev/null && bad "mounts the machine's devices"

# Through its own /proc, a new one, and the one below the node's.
mount -t proc proc /tmp/m || bad "cannot mount /proc, so the rest means nothing"
for proc in /proc /tmp/m /node/proc; do
  for f in sys/kernel/core_pattern sys/kernel/modprobe sys/kernel/hostname sys/vm/overcommit_memory sys/vm/swappiness sys/fs/file-max; do
    [ "$f" = sys/kernel/hostname ] && continue # the cluster's own
    old=$(cat "$proc/$f" 2>/dev/null) || continue
    (echo "$old" >"$proc/$f") 2>/dev/null && bad "writes $proc/$f"
  done
  [ ! -e "$proc/sysrq-trigger" ] || { (echo h >"$proc/sysrq-trigger") 2>/dev/null && bad "asks for SysRq"; }
  head -c 1 "$proc/kcore" >/tmp/byte 2>/dev/null && [ -s /tmp/byte ] && bad "reads the kernel's memory"
done
umount /tmp/m
cp /bin/busybox /node/run/busybox
nsenter -m -t 1 /run/busybox unshare -m /run/busybox sh -c '
  b=/run/busybox
  for m in /proc /sys /dev /root "'"$cache"'/clusters/fault/containerd" /; do $b umount $m && echo "without $m"; done
  for m in / "'"$parts"'"; do $b mount -o remount,rw,bind $m && echo "BAD: makes $m writable"; done
  for p in /proc/[0-9]*; do
    echo "process $($b cat $p/cmdline | $b tr "\\0" " ")"
    [ ! -e $p/root/etc/shadow ] || echo "BAD: reaches the files of the machine through $p"
  done
  ($b cat /proc/sys/kernel/core_pattern >/proc/sys/kernel/core_pattern) && echo "BAD: writes core_pattern below /proc"
' >/tmp/below 2>/dev/null
grep -q '^process .*__egress-init' /tmp/below || bad "could not look below the mounts of the node, so the rest means nothing"
grep '^BAD' /tmp/below
grep -q 'without /sys\|without /dev\|without /$' /tmp/below && bad "takes mounts away that hide something: $(grep without /tmp/below)"
grep -q egress-stranger /tmp/below && bad "sees processes of the machine below /proc"
ps -o args | grep -v grep | grep -q egress-stranger && bad "sees processes of the machine"
for l in /proc/[0-9]*/root; do [ -e "$l/etc/shadow" ] && bad "reaches the machine's files through $l"; done

mount -t sysfs sysfs /tmp/m && {
  for f in $(find /tmp/m/kernel /tmp/m/module /tmp/m/block /tmp/m/power /tmp/m/bus -type f -perm -200 2>/dev/null | head -n 300); do
    [ -w "$f" ] && ( : >>"$f") 2>/dev/null && bad "may write $f" && break
  done
  umount /tmp/m
}
for type in cgroup cgroup2; do
  for c in memory devices pids ""; do
    mount -t "$type" ${c:+-o "$c"} cgroup /tmp/m 2>/dev/null || continue
    ls -d /tmp/m/mesh-egress-* 2>/dev/null | sed 's/^/BAD: sees the cgroup /'
    [ -e /tmp/m/release_agent ] && (cat /tmp/m/release_agent >/tmp/m/release_agent) 2>/dev/null && bad "writes a release agent"
    (echo 1 >/tmp/m/memory.force_empty) 2>/dev/null && bad "changes the cluster's own limits"
    umount /tmp/m
  done
done

caps=$(sed -n 's/^CapBnd:\t//p' /proc/self/status)
for c in 16 17 20 22 25 34; do # module, rawio, pacct, boot, time, syslog
  [ $((0x$caps >> c & 1)) = 0 ] || bad "has capability $c"
done
echo junk >/tmp/module.ko
insmod /tmp/module.ko 2>&1 | grep -qiE 'not permitted|not implemented|does not support' || bad "may load modules: $(insmod /tmp/module.ko 2>&1)"
for a in $addresses; do
  curl -s -m 2 -o /dev/null "http://$a:$port/" && bad "reaches $a"
done
echo "tried everything"
EOF
{
  printf '%s="%s"\n' cache "$cache" parts "$(ls -d "$cache"/parts/etcd-* | head -n 1)" canaries "${canaries[*]}" major "$major" minor "$minor" addresses "$addresses" port "$port"
  cat "$work/attack"
} >"$work/script"
kubectl exec -i -n istio-system worst -- sh <"$work/script" >"$work/log" 2>&1 || die "the worst pod's attempts ended early"
wants 'tried everything' "the worst pod"
! grep -q '^BAD' "$work/log" || die "the worst pod gets out"
[[ $(wc -l <"$work/http") == "$requests" ]] || die "a request of the worst pod arrived at the machine"
init=$(pgrep -f "__egress-supervisor $cache/clusters/fault\$") || die "no supervisor"
[[ $(awk '{print $1, ($2 > 0)}' "/proc/$init/uid_map") == "0 1" ]] || die "root in the cluster is root on the machine"
echo "ok  a privileged pod on the node's PID, IPC and network namespaces with the node's / sees and changes nothing of the machine (disk $disk)"

rc=0; pod default | "$tool" kubectl --name fault -- apply -f - >"$work/log" 2>&1 || rc=$?
[[ $rc != 0 ]] || die "the worst pod is admitted in another namespace"
wants 'hostNetwork, hostPID and hostIPC are refused outside istio-system; docs/security.md' "admission"
refused() { # WORDS SPEC
  cat <<EOF | "$tool" kubectl --name fault -- apply --dry-run=server -f - >"$work/log" 2>&1 && die "admitted: $2"
apiVersion: apps/v1
kind: Deployment
metadata: {name: refused, namespace: default}
spec: {selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: $2}}
EOF
  wants "$1.*docs/security.md" "admission of $2"
}
refused 'privileged containers are refused' '{containers: [{name: a, image: a, securityContext: {privileged: true}}]}'
refused 'privileged containers are refused' '{containers: [{name: a, image: a}], initContainers: [{name: b, image: a, securityContext: {privileged: true}}]}'
refused 'hostPath volumes are refused' '{containers: [{name: a, image: a}], volumes: [{name: v, hostPath: {path: /}}]}'
refused 'hostPID and hostIPC are refused' '{hostPID: true, containers: [{name: a, image: a}]}'
refused 'host ports are refused' '{containers: [{name: a, image: a, ports: [{containerPort: 80, hostPort: 80}]}]}'
refused 'capabilities beyond' '{containers: [{name: a, image: a, securityContext: {capabilities: {add: [SYS_ADMIN]}}}]}'
echo "ok  other namespaces refuse such pods and say why"

server_url=$(sed -n 's/.*server: "\(.*\)", cert.*/\1/p' "$("$tool" kubeconfig --name fault)")
for path in /version /readyz /api; do
  code=$(curl -sk -o /dev/null -w '%{http_code}' "$server_url$path")
  [[ $code == 401 ]] || die "an anonymous request of $path gets $code, not 401"
done
echo "ok  the API server answers nobody without a certificate"

stranger() { setpriv --reuid 65534 --regid 65534 --clear-groups "$@" >/dev/null 2>&1; }
stranger true || die "setpriv does not work here"
for f in "$cache"/clusters/fault/{kubeconfig,spec.json,cause,connections.sock,pods.sock,internet.sock,logs/*,containerd/*}; do
  [[ -e $f ]] || die "$f is missing"
  stranger test -r "$f" && die "a local user can read $f"
done
[[ $(stat -c '%u %a' "$cache/clusters/fault") == "0 700" ]] || die "the cluster's folder is open to others"
for f in "$cache"/clusters/fault/{kubeconfig,spec.json,connections.sock,pods.sock,internet.sock}; do
  [[ $(stat -c '%u %a' "$f") == "0 600" ]] || die "$f: $(stat -c '%u %a' "$f")"
done
# connects USER SOCKET ends with 0 where that user can connect, and with 13 where he may not. curl would call it no connection, too, where
# the other end has given what it has and closed at once.
connects() {
  python3 -c '
import os, socket, sys
os.setgroups([]); os.setgid(int(sys.argv[1])); os.setuid(int(sys.argv[1]))
try:
    socket.socket(socket.AF_UNIX).connect(sys.argv[2])
except PermissionError:
    sys.exit(13)' "$@"
}
for s in connections pods internet images; do
  socket=$cache/clusters/fault/$s.sock who=0 mine=0
  connects 65534 "$socket" || who=$?
  connects 0 "$socket" || mine=$?
  [[ $who == 13 ]] || die "a local user can connect to $s.sock" # or fails for another reason, which shows nothing
  [[ $mine == 0 ]] || die "root cannot connect to $s.sock, so that nobody else can shows nothing"
done
stranger test -r "/proc/$init/root/run/egress/pki/ca.key" && die "a local user can read the cluster's CA"
echo "ok  a local user reads no secret and opens no socket"

# What comes out of the sandbox is data: a link that a pod plants among the logs is not followed.
kubectl exec -n istio-system worst -- sh -c "cd /node$cache/clusters/fault/logs && rm -f coredns.log && ln -s ${canaries[0]} coredns.log" || die "plant a link"
"$tool" logs coredns --name fault >"$work/log" 2>&1 || true
! grep -q "$secret" "$work/log" || die "a log that a pod replaced by a link shows a file of the machine"
echo "ok  a link among the logs is not followed"

for c in fault fault2; do "$tool" down --name "$c" >"$work/log" 2>&1 || die "down"; done
kill "$server"; wait "$server" 2>/dev/null || true
server=
nothing_left "two clusters and their worst pod" 10
