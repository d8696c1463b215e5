#!/usr/bin/env bash
# An edit of Istio's source is found: of a copy of Istio in which one line drops all but a ServiceEntry's first port, the cases
# that use a second port violate, and no others; all conform in the copy without that edit. Mistakes end before a cluster is
# brought up. Needs root; the first time, Istio is compiled.
set -euo pipefail
cd "$(dirname "$0")/.."
name=istio-source
out=$(mktemp -d)
trap 'bin/egressctl down --provider embedded --name "$name" >/dev/null 2>&1 || true; rm -rf "$out"' EXIT

fail() {
  echo "istio-source: $1" >&2
  [[ ! -f $out/log ]] || tail -n 40 "$out/log" >&2
  exit 1
}
run() { # DIR FLAGS... -> exit status
  local rc=0
  bin/egressctl run --provider embedded --name "$name" --source build --out "$out/report" --istio-source "$@" >"$out/log" 2>&1 || rc=$?
  echo "$rc"
}
refused() { # WHAT WANTED DIR FLAGS...
  local what=$1 want=$2
  shift 2
  [[ $(run "$@") == 2 ]] || fail "$what: the command did not end with status 2"
  grep -qF -- "$want" "$out/log" || fail "$what: the message does not say '$want'"
  [[ ! -f $out/report/report.json ]] || ! grep -q '"verdict": "conforms"' "$out/report/report.json" || fail "$what: cases were run"
  echo "istio-source: $what: $(grep -F -m1 -- "$want" "$out/log")"
}

# The catalogue's default release, as a folder that can be edited.
module=$(awk '/^istio:/ {on = 1} on && /default: true/ {found = 1} found && $1 == "module:" {print $2; exit}' framework/components/catalogue.yaml)
from=$(go mod download -json "$module" | python3 -c 'import json, sys; print(json.load(sys.stdin)["Dir"])')
source=$out/istio
cp -r "$from" "$source"
chmod -R u+w "$source"
file=pilot/pkg/serviceregistry/serviceentry/conversion.go
line='for _, port := range serviceEntry.Ports {'
[[ $(grep -cF "$line" "$source/$file") == 1 ]] || fail "$file does not have the line '$line' once: choose another edit for this version"

refused "a folder that is not Istio's" "is not the root of a copy of Istio's source" framework
refused "a folder that is not there" "no such file or directory" "$out/missing"
refused "an unknown version" "is not in the component catalogue" "$source" --istio 0.8
echo 1.99 >"$source/VERSION"
refused "a version that the catalogue does not have" "is Istio 1.99" "$source"
cp "$from/VERSION" "$source/VERSION"
sed -i "s/^func convertPort(/func convertPort(nonsense /" "$source/$file"
refused "a source that does not compile" "conversion.go:" "$source"

cp "$from/$file" "$source/$file"
sed -i "s/$line/for _, port := range serviceEntry.Ports[:1] {/" "$source/$file"
rc=$(run "$source")
[[ $rc == 1 ]] || fail "all but the first port are dropped, and the run's status is $rc instead of 1"
scripts/istio-source.py "$out/report/report.json" "$source" || fail "the wrong cases were named"

# The same content is not built again.
bin/egressctl components fetch --source build --istio-source "$source" >"$out/log" 2>&1
! grep -q 'making' "$out/log" || fail "an unedited source was built again"

cp "$from/$file" "$source/$file"
rc=$(run "$source")
summary=$(grep -E '^[0-9]+ cases in ' "$out/log")
[[ $rc == 0 ]] || fail "without the edit, the run's status is $rc"
echo "istio-source: without the edit: $summary"
