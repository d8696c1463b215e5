#!/usr/bin/env bash
# Brings go.mod and go.sum up to date.
set -euo pipefail
cd "$(dirname "$0")/.."
for dir in . tools; do
  (cd "$dir" && go mod tidy)
done
