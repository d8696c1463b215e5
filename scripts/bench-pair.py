#!/usr/bin/env python3
"""Compares the speed of this build with that of another commit: both run the cases that both can run, in turns, RUNS times each
(default 3), at LANES (6), those of FILTER (a label filter) where that is set.

usage: bench-pair.py COMMIT

A run's time depends on the machine more than on most changes, and changes from one minute to the next. So the builds alternate, and beside each run
a small program is started again and again: what it costs the processor is how slow the machine was meanwhile. For each run come the seconds that it
took, those of both processors that were busy, the first verdict, the tool's memory (MB), and the first two divided by the cost of the small program. Nothing
else may run here. A run that does not conform is named, and counts all the same.
"""
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
RUNS = int(os.environ.get("RUNS", "3"))
LANES = os.environ.get("LANES", "6")
FILTER = [f"--label-filter={f}" for f in [os.environ.get("FILTER")] if f]
SMALL = ["curl", "-V"]


def busy():
    """Seconds of all processors that were not idle since the machine started."""
    user, nice, system, idle, wait, *rest = map(int, pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9])
    return (user + nice + system + sum(rest)) / os.sysconf("SC_CLK_TCK")


class Machine(threading.Thread):
    """Measures what the small program costs, until it is stopped."""

    def __init__(self):
        super().__init__(daemon=True)
        self.costs, self.ended = [], threading.Event()

    def run(self):
        while not self.ended.wait(0.3):
            p = subprocess.Popen(SMALL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            _, _, used = os.wait4(p.pid, 0)
            p.returncode = 0
            self.costs.append((used.ru_utime + used.ru_stime) * 1000)

    def cost(self):
        self.ended.set()
        self.join()
        return statistics.mean(self.costs)


def run(tool, out, which):
    """Runs the cases that some flags choose; the figures of it, and the report."""
    machine, before, start = Machine(), busy(), time.monotonic()
    machine.start()
    with open(out / "said", "w+") as said:
        p = subprocess.Popen([tool, "run", "--name", "bench-pair", "--lanes", LANES, "--out", str(out), *which], stdout=said, stderr=said)
        _, status, used = os.wait4(p.pid, 0)
        p.returncode = os.waitstatus_to_exitcode(status)
        took, cpu, cost = time.monotonic() - start, busy() - before, machine.cost()
        said.seek(0)
        text = said.read()
    if p.returncode:
        print(f"{tool}: exit {p.returncode}", *[l for l in text.splitlines() if l.startswith(("VIOLATES", "INCONCLUSIVE", "egressctl:"))], sep="\n  ", flush=True)
    first = re.search(r"([\d.]+)s +first verdict", text)
    figures = {"seconds": took, "busy": cpu, "first verdict": float(first[1]) if first else float("nan"), "memory": used.ru_maxrss / 1024,
               "seconds/cost": took / cost, "busy/cost": cpu / cost}
    return figures, json.loads((out / "report.json").read_text())


def name(case):
    return case["case"] if isinstance(case["case"], str) else case["case"]["name"]


def show(tag, figures):
    print(f"{tag:8}" + "".join(f"{k} {v:7.2f}   " for k, v in figures.items()), flush=True)


def main():
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory() as tmp:
        tmp = pathlib.Path(tmp)
        source = tmp / "source"
        subprocess.run(["git", "clone", "-q", "--no-checkout", str(ROOT), str(source)], check=True)
        subprocess.run(["git", "-C", str(source), "checkout", "-q", sys.argv[1]], check=True)
        subprocess.run(["go", "build", "-trimpath", "-o", str(tmp / "other"), "./cmd/egressctl"], cwd=source, check=True)
        tools = {"other": str(tmp / "other"), "this": str(ROOT / "bin/egressctl")}
        ran = []
        for tag, tool in tools.items():  # which also fills the cache with what each needs
            (tmp / f"of-{tag}").mkdir()
            _, report = run(tool, tmp / f"of-{tag}", FILTER)
            ran.append({name(c) for c in report["cases"] if c["verdict"] == "conforms"})
        cases = sorted(ran[0] & ran[1])
        print(f"{len(cases)} cases, {LANES} lanes", flush=True)
        all_of = {tag: [] for tag in tools}
        for i in range(RUNS):
            for tag in list(tools)[:: 1 if i % 2 == 0 else -1]:
                figures, _ = run(tools[tag], tmp / f"of-{tag}", [f"--case={c}" for c in cases])
                show(tag, figures)
                all_of[tag].append(figures)
        print("means:")
        for tag, runs in all_of.items():
            show(tag, {k: statistics.mean(r[k] for r in runs) for k in runs[0]})


if __name__ == "__main__":
    main()
