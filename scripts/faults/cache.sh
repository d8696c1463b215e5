#!/usr/bin/env bash
# A damaged cache and a full disk are found, said and mended.
source "$(dirname "$0")/lib.sh"

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
parts=$(find "$work/full" -mindepth 3 -path '*/work/*' | wc -l)
umount "$work/full"
[[ $rc == 2 ]] || die "a full disk: exit $rc"
wants 'no space left on device' "a full disk"
[[ $parts == 0 ]] || die "a full disk: half-made entries are left"
nothing_left "a full disk" 5
