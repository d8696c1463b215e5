#!/bin/bash
# The same questions of the same small inputs, to NCA (network-config-analyzer, which analyses) and to egressctl verify (which calls):
# both answers, the proof, and who is right are the tables of docs/nca.md. Any answer that is not as it has it there fails, and so does a judgement that
# does not go with the answers. Usage: scripts/verify-nca.sh [INPUT...]; WRITE=1 writes the tables. NAME is the cluster's.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$(realpath "${EGRESSCTL:-bin/egressctl}")
name=${NAME:-verify-nca}
version=2.1.0
inputs=framework/verify/testdata/nca
out=$(mktemp -d)
trap '"$bin" down --name "$name" >"$out/down.txt" 2>&1 || cat "$out/down.txt"; rm -rf "$out"' EXIT

python3 -m venv "$out/venv"
"$out/venv/bin/pip" install -q --disable-pip-version-check "network-config-analyzer==$version" >"$out/pip.txt" 2>&1 || { cat "$out/pip.txt"; exit 2; }
# It has several dependencies of which any version may come.
said=$("$out/venv/bin/nca" --version 2>&1)
[[ $said == *$version* ]] || { echo "NCA says that it is \"$said\", wanted $version"; exit 2; }

"$bin" up --name "$name" >"$out/up.txt" 2>&1 || { cat "$out/up.txt"; exit 2; }
names=("$@")
[ $# -gt 0 ] || mapfile -t names < <(cd "$inputs" && ls -d */ | tr -d /)
for n in "${names[@]}"; do
  start=$SECONDS
  "$out/venv/bin/nca" --connectivity "$inputs/$n/mesh.yaml" -r "$inputs/$n/mesh.yaml" >"$out/$n.nca" 2>"$out/$n.warnings" || { cat "$out/$n.warnings"; exit 2; }
  status=0
  "$bin" verify --name "$name" --json --table all "$inputs/$n/mesh.yaml" >"$out/$n.json" 2>"$out/$n.errors" || status=$?
  [ "$status" -eq 0 ] || { echo "$n: egressctl verify: exit status $status"; head -20 "$out/$n.errors"; grep '"unproven": "' "$out/$n.json" | head -5; exit 2; }
  if [ -d "$inputs/$n/cases" ]; then
    "$bin" run --name "$name" --cases "$inputs/$n/cases" --out "$out/$n.cases" >"$out/$n.run" 2>&1 || { echo "$n: the case that proves it does not conform"; tail -40 "$out/$n.run"; exit 1; }
  fi
  echo "$n: $((SECONDS - start)) s"
done
"$out/venv/bin/python" scripts/nca.py "$inputs" "$out" docs/nca.md "${names[@]}"
