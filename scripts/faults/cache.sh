#!/usr/bin/env bash
# A damaged cache and a full disk are found, said and mended. The damage is done to a cache of this test's own.
source "$(dirname "$0")/lib.sh"

export GOCACHE; GOCACHE=$(go env GOCACHE)
# Hard links, which are the same files: only what is damaged is a copy.
own=$(mktemp -d "$(dirname "$cache")/fault-XXXXXX")
mkdir "$own/mesh-egress-conformance"
cp -al "$cache/parts" "$own/mesh-egress-conformance/"
victim=$(ls -d "$own"/mesh-egress-conformance/parts/go-httpbin-*/ | head -n 1)go-httpbin
cp "$victim" "$victim.copy"
mv "$victim.copy" "$victim"
printf 'x' | dd of="$victim" bs=1 seek=1000 conv=notrunc status=none
rc=0; XDG_CACHE_HOME=$own "$tool" components verify >"$work/log" 2>&1 || rc=$?
[[ $rc == 2 ]] || die "a damaged cache entry: verify exits $rc"
wants 'go-httpbin.*digest' "a damaged cache entry"
[[ $(grep -c 'has digest' "$work/log") == 1 ]] || die "more than one entry is damaged"
XDG_CACHE_HOME=$own "$tool" components fetch >"$work/log" 2>&1 || die "a damaged cache entry is not made again"
XDG_CACHE_HOME=$own "$tool" components verify >"$work/log" 2>&1 || die "the cache is still damaged"
cmp -s "$victim" "$cache/parts/$(basename "$(dirname "$victim")")/go-httpbin" || die "the entry is another one than that of the machine's own cache"
echo "ok  a damaged cache entry is found and made again"

mkdir "$work/full"
mount -t tmpfs -o size=8m tmpfs "$work/full"
rc=0; XDG_CACHE_HOME=$work/full GOCACHE=$(go env GOCACHE) "$tool" up --name "$name" >"$work/log" 2>&1 || rc=$?
parts=$(find "$work/full" -mindepth 3 -path '*/work/*' | wc -l)
wait_for 10 umount "$work/full" || die "a full disk: something of the build still uses it"
[[ $rc == 2 ]] || die "a full disk: exit $rc"
wants '[Nn]o space left on device' "a full disk"
[[ $parts == 0 ]] || die "a full disk: half-made entries are left"
nothing_left "a full disk" 5
