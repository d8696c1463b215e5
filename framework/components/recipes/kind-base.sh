#!/bin/bash
# Makes the root file system of a node image for kind out of distribution packages and kind's own base
# files, step by step as kind's images/base/Dockerfile does.
# usage: kind-base.sh SUITE MIRROR COMPONENTS KIND_MODULE OUT.tar PACKAGES
# PACKAGES becomes a list of the packages: name, version and SHA-256 of each.
set -euo pipefail
suite=$1 mirror=$2 components=$3 files=$4/images/base/files out=$5 list=$6
packages=systemd,systemd-sysv,dbus,conntrack,iptables,nftables,iproute2,ethtool,socat,util-linux,mount,kmod
packages+=,libseccomp2,pigz,e2fsprogs,bash,ca-certificates,curl,jq,procps,hostname,openssl,runc,containernetworking-plugins
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
chmod 755 "$root"
# --force-check-gpg: without the distribution's keyring debootstrap would go on with nothing but a warning.
debootstrap --force-check-gpg --variant=minbase --components="$components" --include="$packages" "$suite" "$root" ${mirror:+"$mirror"} >"$root.log" 2>&1 ||
  { tail -5 "$root.log" >&2; rm -f "$root.log"; exit 1; }
rm -f "$root.log"
for deb in "$root"/var/cache/apt/archives/*.deb; do
  echo "$(dpkg-deb -W --showformat='${Package} ${Version}' "$deb") $(sha256sum "$deb" | cut -d ' ' -f 1)"
done >"$list"

cp "$files"/usr/local/bin/* "$root/usr/local/bin/"
chmod 755 "$root"/usr/local/bin/*
mkdir -p "$root/kind" "$root/etc/kubernetes/manifests" "$root/opt/cni/bin" "$root/etc/cni/net.d"
cp -r --no-preserve=mode "$files"/kind/. "$root/kind/"
chmod 755 "$root/kind" "$root/kind/bin" "$root"/kind/bin/*
cp -r --no-preserve=mode "$files"/etc/. "$root/etc/"

find "$root/lib/systemd/system/sysinit.target.wants/" -name systemd-tmpfiles-setup.service -delete
rm -f "$root"/lib/systemd/system/multi-user.target.wants/* "$root"/etc/systemd/system/*.wants/* \
  "$root"/lib/systemd/system/local-fs.target.wants/* "$root"/lib/systemd/system/basic.target.wants/* \
  "$root"/lib/systemd/system/sockets.target.wants/*{udev,initctl}*
echo ReadKMsg=no >>"$root/etc/systemd/journald.conf"
ln -sf /usr/lib/systemd/systemd "$root/sbin/init"
chroot "$root" systemctl -q enable kubelet.service containerd.service undo-mount-hacks.service
chroot "$root" systemctl -q mask systemd-binfmt.service
# Where root has no CAP_SYS_RESOURCE, a pod cannot lower its oom_score_adj, and runc fails for trying.
sed -i 's/restrict_oom_score_adj = false/restrict_oom_score_adj = true/' "$root/etc/containerd/config.toml"
cp -L "$root"/usr/lib/cni/{host-local,loopback,portmap,ptp} "$root/opt/cni/bin/"
rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/* "$root"/usr/share/{doc,man,locale}/* "$root"/var/log/* \
  "$root"/usr/lib/x86_64-linux-gnu/gconv
rm -f "$root/etc/machine-id" "$root/etc/hostname" "$root/etc/resolv.conf"
touch "$root/etc/machine-id"
tar -C "$root" --numeric-owner --sort=name --mtime=@0 -cf "$out" .
