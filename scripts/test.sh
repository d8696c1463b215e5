#!/usr/bin/env bash
# Everything that must be green before a change lands. The Ginkgo summary is the last output.
set -euo pipefail
cd "$(dirname "$0")/.."

echo "== lint"
make --no-print-directory lint verify

echo "== unit tests"
make --no-print-directory unit

echo "== machine"
make --no-print-directory build
bin/egressctl doctor --install

echo "== components (builds what the cache lacks)"
bin/egressctl components fetch

echo "== verdicts notice sabotage; kills and interrupts leave nothing behind"
scripts/verify-sabotage.sh
scripts/verify-faults.sh
scripts/verify-samples.sh

echo "== conformance"
CGO_ENABLED=0 go test ./suites/... -count=1 -v -timeout 30m -args --ginkgo.no-color
