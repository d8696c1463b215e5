#!/usr/bin/env bash
# The page for people in a real headless Chromium, and junit.xml against its schema. What is lacking is installed with apt.
# Screenshots (light, dark, phone) are kept in reports/out: of reports/out/report.json where a run has left one.
set -euo pipefail
cd "$(dirname "$0")/.."

lacking=()
command -v "${CHROMIUM:-chromium}" >/dev/null || command -v google-chrome >/dev/null || lacking+=(chromium)
command -v xmllint >/dev/null || lacking+=(libxml2-utils)
if ((${#lacking[@]})); then
  echo "installing ${lacking[*]}"
  apt-get update -qq && apt-get install -y -qq --no-install-recommends "${lacking[@]}" >/dev/null
fi

said=$(go test -count=1 -v -run '^TestJUnit' ./framework/report) || { echo "$said" >&2; exit 1; }
grep -q -- '--- PASS: TestJUnitIsValid' <<<"$said" || { echo "junit.xml was not checked against its schema" >&2; exit 1; }
echo "ok  junit.xml is valid, and another module's parser reads it"

mkdir -p reports/out
export SCREENSHOTS=$PWD/reports/out
if [[ -z ${REPORT:-} && -f reports/out/report.json ]]; then export REPORT=$PWD/reports/out/report.json; fi
go test -count=1 -tags browser -timeout 20m -v ./framework/report/html
echo "ok  screenshots: reports/out/report-{light,dark,phone}*.png"
