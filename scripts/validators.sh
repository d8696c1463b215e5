#!/usr/bin/env bash
# Prints a Python environment in bin with the validators that scripts use: check-jsonschema, and a Groovy grammar. It is made with
# pip once, and again for another list of versions.
set -euo pipefail
cd "$(dirname "$0")/.."
packages=(check-jsonschema==0.39.0 tree-sitter==0.26.1 tree-sitter-groovy==0.1.2)
venv=$PWD/bin/validators-$(printf '%s\n' "${packages[@]}" | sha256sum | cut -c 1-12)
mkdir -p bin
exec 9>bin/validators.lock && flock 9 # scripts run side by side
if [[ ! -e $venv/complete ]]; then
  rm -rf "$venv" && python3 -m venv "$venv"
  said=$("$venv/bin/pip" install -q --disable-pip-version-check "${packages[@]}" 2>&1) || { printf '%s\nvalidators: pip cannot install %s\n' "$said" "${packages[*]}" >&2; exit 2; }
  touch "$venv/complete"
fi
echo "$venv"
