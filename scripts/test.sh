#!/usr/bin/env bash
# Everything that must be green before a change lands. The last line is the conformance run's summary.
set -euo pipefail
cd "$(dirname "$0")/.."
stage() { echo "== $1 (after ${SECONDS} s)"; }

stage "lint"
make --no-print-directory lint verify

stage "unit tests"
make --no-print-directory race unit-rest
scripts/lint-recipes.sh

stage "machine"
make --no-print-directory build suites.test bin/ginkgo
bin/egressctl doctor --install
bin/egressctl components fetch

stage "kills and interrupts leave nothing behind" # alone, since the whole machine is looked at
scripts/verify-faults.sh

stage "sabotage, samples, own hosts, pages, Ginkgo, live, existing clusters, kind, somebody's own mesh, the same in place, the pages in a browser, two versions, an upgrade: two at a time, each output when it ends"
SHARE=4 make --no-print-directory -j2 -Otarget verify-{selftest,kind,existing,samples,sabotage,ginkgo,live,hosts,docs,verify,inplace,html,matrix,upgrade}

stage "conformance, as Ginkgo specs in four processes"
rc=0
# A machine that others use too may be slow for a while: more patience, where something is not yet as
# it must be, costs nothing where all is well.
EGRESS_SLOW=3 make --no-print-directory ginkgo GINKGO_FLAGS=--no-color || rc=$?
python3 -c 'import json
c = json.load(open("reports/out/report.json"))["counts"]
print(c["conforms"], "passed,", c["violates"] + c["inconclusive"], "failed,", c["skipped"] + c["notApplicable"], "skipped")'
exit $rc
