#!/usr/bin/env bash
# etcd dies in the middle of a run: every selected case is in every report, without a verdict, and none of them is green.
source "$(dirname "$0")/lib.sh"

# The etcd below a process: this cluster's, whatever else runs on the machine.
etcd_below() {
  local p
  for p in $(pgrep -P "$1"); do
    if [[ $(cat "/proc/$p/comm" 2>/dev/null) == etcd ]]; then echo "$p"; return; fi
    etcd_below "$p"
  done
}
kill_etcd() { # PID WHAT
  local e
  wait_for 90 grep -qE '^conforms|first verdict' "$work/log" || die "$2: no case ever ended"
  e=$(etcd_below "$1")
  [[ -n $e ]] || die "$2: its cluster has no etcd"
  kill -9 $e
}
# Reads what a run left with another program's parser: OUT CASES KIND, KIND being ours or ginkgo's.
check() {
  python3 - "$@" <<'PY' || die "crash: the reports do not say what happened"
import json, sys, xml.etree.ElementTree as ET
out, want, junits = sys.argv[1], set(sys.argv[2].split()), sys.argv[3:]
r = json.load(open(f"{out}/report.json"))
have = {c["case"]["name"]: c for c in r["cases"]}
lost = {n for n, c in have.items() if c.get("unfinished")}
assert set(have) == want, f"report.json lacks {want - set(have)}"
assert lost and all(have[n]["verdict"] == "inconclusive" for n in lost), "no case is unfinished"
assert all("the cluster died: etcd" in have[n]["why"] for n in lost), [have[n]["why"] for n in lost]
assert any("the cluster died: etcd" in f for f in r["faults"]), r["faults"]
assert r["counts"]["total"] == len(want) and r["counts"]["inconclusive"] >= len(lost), r["counts"]
suite = ET.parse(f"{out}/junit.xml").getroot().find("testsuite")
tests = {t.get("name"): t for t in suite.findall("testcase")}
assert set(tests) == want | {"run"}, f"junit.xml has {sorted(tests)}"
assert int(suite.get("tests")) == len(tests) and int(suite.get("errors")) >= len(lost) + 1, suite.attrib
assert all(tests[n].find("error") is not None for n in lost | {"run"}), "an unfinished case has no error"
for f in junits:  # Ginkgo's own: suite failed, no unfinished case passed
    suite = ET.parse(f).getroot().find("testsuite")
    assert int(suite.get("failures")) + int(suite.get("errors")) > len(lost), suite.attrib
    for t in suite.findall("testcase"):
        name = t.get("name").split("] ", 1)[-1].split("egress ", 1)[-1].split(":")[0]
        if name in lost:
            assert any(t.find(x) is not None for x in ("failure", "error")), f"Ginkgo calls {name} {t.get('status')}"
print(f"ok  etcd dies: {len(lost)} of {len(want)} cases unfinished, in every report")
PY
}
selected=$("$tool" list --label-filter source --json | python3 -c 'import json,sys; print(*[c["name"] for c in json.load(sys.stdin)["cases"]])')
(($(wc -w <<<"$selected") > 10)) || die "crash: too few cases"

: >"$work/log"
: >"$work/log" # what an earlier part has written is not this one's
"$tool" run --name fault --label-filter source --lanes 1 --out "$work/out" >"$work/log" 2>&1 &
pid=$!
kill_etcd "$pid" crash
rc=0; wait "$pid" || rc=$?
[[ $rc == 2 ]] || die "crash: exit $rc, wanted 2"
wants 'FAULT outside any case: the cluster died: etcd' crash
wants '[0-9]+ cases have no verdict' crash
check "$work/out" "$selected"
nothing_left "etcd dies" 5

CGO_ENABLED=0 go test -c -o "$work/suites.test" ./suites
: >"$work/log"
(cd suites && exec "$work/suites.test" -test.v -cluster fault -lanes 1 -out "$work/out" -ginkgo.v -ginkgo.no-color -ginkgo.label-filter source -ginkgo.junit-report "$work/ginkgo.xml") >"$work/log" 2>&1 &
pid=$!
kill_etcd "$pid" "crash under Ginkgo"
rc=0; wait "$pid" || rc=$?
[[ $rc != 0 ]] || die "crash under Ginkgo: exit 0"
wants 'the run had faults: the cluster died: etcd' "crash under Ginkgo"
check "$work/out" "$selected" "$work/ginkgo.xml"
nothing_left "etcd dies under Ginkgo" 5
