#!/usr/bin/env python3
"""Times starts and runs and prints medians over RUNS (default 5), each phase by itself.

The figures depend on the machine: nothing fails here.
"""
import collections
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
TOOL = str(ROOT / "bin/egressctl")
RUNS = int(os.environ.get("RUNS", "5"))
figures = collections.defaultdict(list)


def timed(phase, *args):
    start = time.monotonic()
    p = subprocess.run([TOOL, *args], capture_output=True, text=True)
    said = [l for l in (p.stdout + p.stderr).splitlines() if l.startswith(("VIOLATES", "INCONCLUSIVE", "egressctl:"))]
    if p.returncode and not said:
        sys.exit(f"egressctl {' '.join(args)}: exit {p.returncode}\n{p.stderr[-2000:]}")
    if p.returncode:  # its time counts all the same, and the reader must know
        print(f"egressctl {' '.join(args)}: exit {p.returncode}", *said, sep="\n  ", file=sys.stderr, flush=True)
    figures[phase].append(time.monotonic() - start)


def probes(report):
    return [o["client"]["took"] / 1e6 for c in report["cases"] for ph in c.get("phases") or []
            for p in ph["probes"] or [] for o in p.get("observations") or []]


def split(report):
    """Seconds of all cases together, by what they were spent on."""
    phases = [ph for c in report["cases"] for ph in c.get("phases") or []]
    settle = sum(ph.get("settle", 0) for ph in phases) / 1e9
    figures["  lane seconds: waiting for pushes"].append(settle)
    figures["  lane seconds: probing"].append(sum(ph["took"] for ph in phases) / 1e9 - settle)


def main():
    subprocess.run([TOOL, "components", "fetch"], check=True, stdout=subprocess.DEVNULL)
    with tempfile.TemporaryDirectory() as out:
        for _ in range(RUNS):
            timed("run from nothing, report written (s)", "run", "--name", "bench", "--out", out)
            report = json.loads(pathlib.Path(out, "report.json").read_text())
            for step, at in sorted(report["environment"]["timingsSeconds"].items(), key=lambda x: x[1]):
                figures[f"  run from nothing: {step} (s)"].append(at)
            timed("up, everything ready (s)", "up", "--name", "bench")
            try:
                timed("the source documents' cases in that cluster (s)", "run", "--name", "bench", "--label-filter", "source", "--out", out)
                timed("all cases in that cluster, clean-up included (s)", "run", "--name", "bench", "--out", out)
                report = json.loads(pathlib.Path(out, "report.json").read_text())
                figures["  the cases alone (s)"].append(report["tookSeconds"])
                figures["  verdicts per second"].append(report["counts"]["conforms"] / report["tookSeconds"])
                figures["  one probe (ms)"].append(statistics.median(probes(report)))
                split(report)
                status = json.loads(subprocess.run([TOOL, "status", "--json"], check=True, capture_output=True).stdout)
                figures["memory of the cluster (MiB)"].append(next(s["memoryBytes"] for s in status if s["name"] == "bench") / 2**20)
            finally:
                timed("down (s)", "down", "--name", "bench")
    print(f"{'':50} {'median':>9} {'least':>9} {'most':>9}   {RUNS} runs")
    for phase, values in figures.items():
        print(f"{phase:50} {statistics.median(values):9.2f} {min(values):9.2f} {max(values):9.2f}")


if __name__ == "__main__":
    main()
