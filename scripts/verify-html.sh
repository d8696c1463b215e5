#!/usr/bin/env bash
# The pages for people in a real headless Chromium, and JUnit XML against its schema. What is lacking is installed with apt.
# With SHARE set, as in `make test`, nothing is timed: a busy machine says nothing of a page; and the reports are small ones, since
# others write to reports/out meanwhile.
# Screenshots (light, dark, phone) are kept in reports/out: of reports/out/report.json and of the comparison of the last matrix
# where a run has left them, else of small ones.
set -euo pipefail
cd "$(dirname "$0")/.."

lacking=()
command -v "${CHROMIUM:-chromium}" >/dev/null || command -v google-chrome >/dev/null || lacking+=(chromium)
command -v xmllint >/dev/null || lacking+=(libxml2-utils)
if ((${#lacking[@]})); then
  echo "installing ${lacking[*]}"
  apt-get update -qq && apt-get install -y -qq --no-install-recommends "${lacking[@]}" >/dev/null
fi

junit=(./framework/report ./framework/compare ./framework/verify)
said=$(go test -count=1 -v -run '^TestJUnit' "${junit[@]}") || { echo "$said" >&2; exit 1; }
if (($(grep -c -- '--- PASS: TestJUnitIsValid' <<<"$said") != ${#junit[@]})); then
  echo "$said" >&2
  echo "the JUnit XML of one of ${junit[*]} was not checked against its schema" >&2
  exit 1
fi
echo "ok  the JUnit XML of runs, comparisons and verify is valid, and another module's parser reads it"

mkdir -p reports/out
export SCREENSHOTS=$PWD/reports/out
if [[ -z ${SHARE:-} ]]; then
  if [[ -z ${REPORT:-} && -f reports/out/report.json ]]; then export REPORT=$PWD/reports/out/report.json; fi
  if [[ -z ${COMPARISON:-} && -f reports/out/matrix/comparison.json ]]; then export COMPARISON=$PWD/reports/out/matrix/comparison.json; fi
fi
# The browser is killed in the end, and leaves what it has in its directory for temporary files.
TMPDIR=$(mktemp -d); export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT
# One after another: two browsers at once would measure each other.
go test -count=1 -tags browser -timeout 20m -p 1 ${SHARE:+-skip TestLoad} -v ./framework/report/html ./framework/compare/html ./framework/upgrade/html
for page in report comparison upgrade; do
  for view in light dark phone; do
    [[ -s reports/out/$page-$view.png ]] || { echo "reports/out/$page-$view.png was not made" >&2; exit 1; }
  done
done
echo "ok  screenshots: reports/out/{report,comparison,upgrade}-{light,dark,phone}*.png"
