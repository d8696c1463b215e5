#!/usr/bin/env bash
# The cases as Ginkgo specs: parallel processes, focus, labels, JUnit, retries, timeouts and --fail-fast do what Ginkgo's
# users expect of them, and the suite's own report tells of every selected case.
set -euo pipefail
cd "$(dirname "$0")/.."
cluster=ginkgo
extra=() # flags of the suite
work=$(mktemp -d)
follower=
trap '[[ -z $follower ]] || kill "$follower" 2>/dev/null || true; bin/egressctl down --name "$cluster" >/dev/null 2>&1 || true; rm -rf "$work"' EXIT

bin/egressctl up --name "$cluster" >"$work/up" 2>&1 || { cat "$work/up" >&2; exit 1; }

# suite NAME EXIT FLAGS...: runs the suite; its output is NAME.log, its reports are NAME and NAME.xml.
suite() {
  local name=$1 want=$2 rc=0
  bin/ginkgo --no-color --output-dir "$work" --junit-report "$name.xml" --json-report "$name.json" "${@:3}" bin/suites.test -- "${extra[@]}" -cluster "$cluster" -out "$work/$name" >"$work/$name.log" 2>&1 || rc=$?
  [[ $rc == "$want" ]] || { tail -n 60 "$work/$name.log" >&2; echo "$name: exit $rc, wanted $want" >&2; exit 1; }
}
# judge NAME CODE: reads what a run left; r is our report by case, g Ginkgo's specs by case, x its JUnit, top our report.
judge() {
  python3 - "$work" "$1" "$2" <<'PY' || { tail -n 60 "$work/$1.log" >&2; echo "$1: the reports are not as they must be" >&2; exit 1; }
import json, os, sys, xml.etree.ElementTree as ET
work, name, code = sys.argv[1:]
top = json.load(open(f"{work}/{name}/report.json"))
r = {c["case"]["name"]: c for c in top["cases"]}
specs = [s for s in json.load(open(f"{work}/{name}.json"))[0]["SpecReports"] if s["LeafNodeType"] == "It"]
g = {s["LeafNodeText"].split(":")[0]: s for s in specs}
x = {t.get("name").split("egress ", 1)[-1].split(":")[0]: t for t in ET.parse(f"{work}/{name}.xml").getroot().iter("testcase") if "[It]" in t.get("name")}
ran = {n for n, s in g.items() if s["State"] not in ("skipped", "pending") or s.get("ReportEntries")}
steps = lambda n: [e["Message"] for e in g[n].get("SpecEvents") or [] if e["SpecEventType"] == "By"]
exec(code)
PY
}

suite parallel 0 -p --procs=3 --label-filter 'http || lifecycle' --focus 'egress (http-(serviceentry|target|two|vip|star)|lifecycle-skew)'
judge parallel '
assert len(ran) > 3 and set(r) == ran, (sorted(r), sorted(ran))
assert top["counts"]["conforms"] + top["counts"]["skipped"] == len(ran) and not top.get("faults"), top["counts"]
for n in ran:
    if r[n]["verdict"] != "conforms": continue
    assert g[n]["RunTime"] >= r[n]["took"] > 0 and float(x[n].get("time")) > 0, n  # nanoseconds: the spec contains its case
    assert [s for s in steps(n) if s in ("before", "applied", "removed")] == ["before", "applied", "removed"], steps(n)
assert {s["ParallelProcess"] for s in specs if s["State"] == "passed"} > {1}, "one process ran everything"
'
echo "ok  ginkgo -p: three processes, one cluster; focus and labels select; durations, steps and JUnit are the cases' own"

# A stranger's rule makes the case fail; it goes when Ginkgo has said that the first attempt failed, so a later one conforms.
bin/egressctl kubectl --name "$cluster" -- apply -f - >/dev/null <<'Y'
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: strangers, namespace: istio-system}
spec:
  hosts: [httpbin.org]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: DNS
Y
: >"$work/retry.log"
(
  grep -q -m1 'Attempt #1 Failed' < <(tail -n +1 -F --pid=$$ "$work/retry.log" 2>/dev/null)
  bin/egressctl kubectl --name "$cluster" -- delete serviceentry -n istio-system strangers >/dev/null
) &
follower=$!
suite retry 0 -v --flake-attempts=6 --focus 'egress http-serviceentry:'
judge retry '
assert ran == {"http-serviceentry"} == set(r), (ran, sorted(r))
assert g["http-serviceentry"]["NumAttempts"] > 1, "the first attempt did not fail"
assert steps("http-serviceentry").count("applied") == g["http-serviceentry"]["NumAttempts"], "an attempt did not run the case"
assert r["http-serviceentry"]["verdict"] == "conforms" and top["counts"]["total"] == 1 and not top.get("faults"), top
'
echo "ok  --flake-attempts runs the case again, and the report has the last result"

# judge_cut NAME: the suite ended before its specs had. Every selected case is in the report, and none that has not ended
# is green, for Ginkgo neither.
judge_cut() {
  judge "$1" '
lost = {n for n, c in r.items() if c.get("unfinished")}
assert lost and len(r) == int(os.environ["SELECTED"]), (sorted(lost), len(r))
assert all(r[n]["verdict"] == "inconclusive" for n in lost) and top.get("faults"), top.get("faults")
assert not {n for n in lost if g[n]["State"] == "passed"}, "a case that has not ended passed"
assert len(x) == len(g) and top["counts"]["total"] == len(r)
'
}
focus='egress http-[a-m]'
SELECTED=$(bin/egressctl list --label-filter http | grep -c '^http-[a-m]')
export SELECTED
extra=(-sabotage allow-any)
suite failing 1 -p --procs=3 --fail-fast --focus "$focus"
judge_cut failing
echo "ok  --fail-fast: the first violation ends the suite, and every selected case is in the report"

extra=()
# Ctrl-C of a terminal reaches every process of its foreground group.
set -m
bin/ginkgo --no-color -v -p --procs=3 --grace-period=60s --output-dir "$work" --junit-report cut.xml --json-report cut.json --focus "$focus" bin/suites.test -- -cluster "$cluster" -out "$work/cut" >"$work/cut.log" 2>&1 &
follower=$!
set +m
until grep -q 'STEP: applied' "$work/cut.log"; do
  kill -0 "$follower" 2>/dev/null || { tail -n 60 "$work/cut.log" >&2; echo "cut: no case had been run when the suite ended" >&2; exit 1; }
  read -r -t 0.1 <> <(:) || true
done
kill -INT -- "-$follower"
rc=0; wait "$follower" || rc=$?
follower=
[[ $rc != 0 ]] || { echo "cut: an interrupted suite is green" >&2; exit 1; }
judge_cut cut
left=$(bin/egressctl kubectl --name "$cluster" -- get serviceentries,virtualservices,destinationrules,sidecars,namespaces -A -l mesh-egress-conformance/run -o name)
[[ -z $left ]] || { tail -n 60 "$work/cut.log" >&2; echo "cut: an interrupted suite has left $left" >&2; exit 1; }
echo "ok  ginkgo -p and Ctrl-C: nothing is left, and the cases that had not ended are reported as unfinished"

suite late 1 --timeout=9s --grace-period=60s --focus "$focus"
judge_cut late
bin/egressctl run --name "$cluster" --strict-cluster --case http-serviceentry --out "$work/after" >"$work/after.log" 2>&1 ||
  { tail -n 40 "$work/after.log" >&2; echo "after a timeout the cluster is not as it was" >&2; exit 1; }
echo "ok  --timeout: the case under way is taken back, and the rest are reported as unfinished"
