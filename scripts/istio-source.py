#!/usr/bin/env python3
"""Says of a report whether the cases that violate are those of an Istio that drops all but a ServiceEntry's first port.

istio-source.py report.json FOLDER: every case that violates applies a ServiceEntry with several ports, those that must be
found are among them, none is inconclusive, and the report names the folder as a local source.
"""
import json
import sys
from pathlib import Path

report, folder = json.load(open(sys.argv[1])), sys.argv[2]

# Each calls a host at the second port of its ServiceEntry and must reach it.
MUST = ["egw-http", "matrix-registry-only-with-address", "matrix-registry-only-without-address", "origination-simple-targetport", "res-dns-rr", "res-dyn-allow"]


def several_ports(case):
    """Whether the case applies a ServiceEntry with several ports."""
    inline = [o for key in ("setup", "objects", "change") for o in case.get(key) or []]
    if any(o.get("kind") == "ServiceEntry" and len(o["spec"].get("ports") or []) > 1 for o in inline):
        return True
    documents = [d for f in case.get("fixtures") or [] for d in (Path("fixtures") / f).read_text().split("\n---\n")]
    return any("kind: ServiceEntry" in d and d.count("number:") > 1 for d in documents)


faults = []
by = {}
for r in report["cases"]:
    by.setdefault(r["verdict"], []).append(r["case"])
violating = [c["name"] for c in by.get("violates", [])]
for c in by.get("violates", []):
    if not several_ports(c):
        faults.append(f"{c['name']} violates, and has no ServiceEntry with a second port")
for name in MUST:
    if name not in violating:
        faults.append(f"{name} does not violate")
for r in report["cases"]:
    if r["verdict"] == "inconclusive":
        faults.append(f"{r['case']['name']} is inconclusive: {r.get('why')}")
said = [d for d in report["environment"]["deviations"] if d.startswith("Istio is the local source " + folder)]
if not said:
    faults.append("the report does not name the local source")
print(f"istio-source: {len(violating)} cases violate: {' '.join(sorted(violating))}")
for f in faults:
    print("istio-source:", f, file=sys.stderr)
sys.exit(bool(faults))
