#!/usr/bin/env bash
# Proves that the embedded cluster works where cgroup v2 is the only hierarchy and the kernel is the
# distribution's own: boots a small Debian in qemu, without hardware virtualisation if need be, and
# runs cases in it. Software emulation is slow: allow half an hour.
#
#   scripts/verify-cgroup2.sh [CASE,CASE...]
#
# Needs qemu-system-x86, debootstrap and e2fsprogs, root, and a warm component cache.
set -euo pipefail
cd "$(dirname "$0")/.."
cases=${1:-injection-automatic,tcp-cidr-v1}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/mesh-egress-conformance
for t in qemu-system-x86_64 debootstrap mkfs.ext4; do
  command -v "$t" >/dev/null || { echo "$t is missing: apt-get install qemu-system-x86 debootstrap e2fsprogs" >&2; exit 64; }
done
make --no-print-directory build
bin/egressctl components fetch
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

echo "== root file system"
root=$work/root
debootstrap --variant=minbase --include=linux-image-cloud-amd64,initramfs-tools,kmod,iproute2,procps bookworm "$root" >"$work/debootstrap.log" 2>&1 ||
  { tail -n 20 "$work/debootstrap.log" >&2; exit 2; }
cp /etc/os-release "$root/etc/os-release" # part of the cache keys of what comes from the distribution
echo "127.0.0.1 localhost" >"$root/etc/hosts" # containerd copies it into every pod
module=$(cat "$cache"/parts/module-*/path)
mkdir -p "$root/$module" "$root/root/.cache/mesh-egress-conformance"
cp -a "$module"/{go.mod,manifests,samples,tools} "$root/$module/"
cp -a "$cache/parts" "$root/root/.cache/mesh-egress-conformance/"
cp bin/egressctl "$root/usr/local/bin/"
cat >"$root/verify-init" <<EOF
#!/bin/sh
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root EGRESS_SLOW=8
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs dev /dev 2>/dev/null
mount -t tmpfs tmpfs /run; mount -t tmpfs tmpfs /tmp; mkdir -p /dev/pts /dev/shm; mount -t devpts devpts /dev/pts
mount -t cgroup2 cgroup2 /sys/fs/cgroup
ip link set lo up
for m in overlay bridge br_netfilter veth nf_tables nft_compat nft_chain_nat xt_nat xt_REDIRECT xt_owner xt_comment xt_conntrack xt_mark xt_MASQUERADE xt_statistic xt_addrtype ipt_REJECT; do modprobe -q \$m; done
echo "VERIFY kernel \$(uname -r), cgroup \$(stat -f -c %T /sys/fs/cgroup), controllers: \$(cat /sys/fs/cgroup/cgroup.controllers)"
egressctl doctor | grep -vE 'go |cc |apt|dpkg|python'
egressctl run --case $cases --out /run/out </dev/null &
run=\$!
# What a person would look at if it stood still.
while sleep 60 && kill -0 \$run 2>/dev/null; do
  egressctl kubectl -- get pods -A --no-headers
  egressctl logs containerd | grep level=error | tail -n 2 | sed 's/.*rpc error/rpc error/'
done &
wait \$run
echo "VERIFY exit status \$?"
ls -d /sys/fs/cgroup/mesh-egress-* 2>/dev/null && echo "VERIFY cgroups were left"
pgrep -c kube-apiserver && echo "VERIFY processes were left"
sync; echo o >/proc/sysrq-trigger; sleep 60
EOF
chmod +x "$root/verify-init"

echo "== disk image"
truncate -s 6G "$work/disk"
mkfs.ext4 -q -d "$root" "$work/disk"
cp "$root"/boot/vmlinuz-* "$work/vmlinuz"
cp "$root"/boot/initrd.img-* "$work/initrd"
rm -rf "$root"

echo "== boot"
accel=(-accel 'tcg,thread=multi')
[[ ${KVM:-} ]] && accel=(-accel kvm)
timeout "${LIMIT:-2400}" qemu-system-x86_64 "${accel[@]}" -cpu max -smp 2 -m 6144 -nographic -no-reboot -net none \
  -kernel "$work/vmlinuz" -initrd "$work/initrd" -drive "file=$work/disk,if=virtio,format=raw,cache=unsafe" \
  -append 'root=/dev/vda rw console=ttyS0 quiet panic=-1 init=/verify-init cgroup_no_v1=all' | tee "$work/console"
grep -q 'VERIFY exit status 0' "$work/console" || { echo "cgroup v2: the run failed" >&2; exit 1; }
grep -qE 'VERIFY (cgroups|processes) were left' "$work/console" && { echo "cgroup v2: something was left" >&2; exit 1; }
echo "cgroup v2: ok"
