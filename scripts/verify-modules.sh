#!/usr/bin/env bash
# Fails when go.mod or go.sum would change under go mod tidy.
set -euo pipefail
cd "$(dirname "$0")/.."
for dir in . tools tools/recipes; do
  (cd "$dir" && go mod tidy -diff)
done
