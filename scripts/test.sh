#!/usr/bin/env bash
# Everything that must be green before a change lands. The last line is the conformance run's summary.
set -euo pipefail
cd "$(dirname "$0")/.."

echo "== lint"
make --no-print-directory lint verify

echo "== unit tests"
make --no-print-directory unit race

echo "== machine"
make --no-print-directory build
bin/egressctl doctor --install

echo "== components (builds what the cache lacks)"
bin/egressctl components fetch

echo "== verdicts notice sabotage; kills and interrupts leave nothing behind"
bin/egressctl selftest --name selftest
scripts/verify-sabotage.sh
scripts/verify-faults.sh
scripts/verify-samples.sh
scripts/verify-hosts.sh

echo "== Ginkgo: parallel processes, retries, timeouts"
make --no-print-directory suites.test bin/ginkgo
scripts/verify-ginkgo.sh

echo "== the live internet, played by a network namespace"
scripts/verify-live.sh

echo "== other providers: an existing cluster with objects of somebody else's, and kind"
scripts/verify-existing.sh
scripts/verify-kind.sh

echo "== conformance, as Ginkgo specs in six processes"
rc=0
# A machine that others use too may be slow for a while: more patience, where something is not yet as
# it must be, costs nothing where all is well.
EGRESS_SLOW=3 make --no-print-directory ginkgo GINKGO_FLAGS=--no-color || rc=$?
python3 -c 'import json
c = json.load(open("reports/out/report.json"))["counts"]
print(c["conforms"], "passed,", c["violates"] + c["inconclusive"], "failed,", c["skipped"] + c["notApplicable"], "skipped")'
exit $rc
