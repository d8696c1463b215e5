#!/usr/bin/env python3
"""Runs all cases again and again on fresh clusters and writes down whether a verdict ever changed.

RUNS (default 10) says how often, LOAD (default 0) beside how many busy loops; the report goes to reports/soak.md, or
soak-loaded.md. What a run with an unexpected verdict left, its bundles too, is kept in reports/out/soak-N, N being the
run."""
import collections, json, os, platform, shutil, statistics, subprocess, sys, tempfile, time

root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
runs, load = int(os.environ.get("RUNS", "10")), int(os.environ.get("LOAD", "0"))
name = "soak-loaded" if load else "soak"
BUSY = "import os\nparent = os.getppid()\nwhile os.getppid() == parent:\n  for _ in range(10**6): pass"
loops = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(load)]  # each ends with this program, whatever ends it
tempfile.TemporaryFile(dir=f"{root}/reports").close()  # hours later would be too late to find out
verdicts, seconds, codes = collections.defaultdict(collections.Counter), [], []
env = {}

def write():
    """Writes what the runs so far have come to: whoever ends a soak early keeps them."""
    fd, new = tempfile.mkstemp(dir=f"{root}/reports")  # a new file: nothing is written through a link, and it appears whole
    with os.fdopen(fd, "w") as f:
        f.write(f"# Soak\n\n{len(codes)} complete runs, each on a fresh cluster: Istio {env['istio']}, Envoy {env['envoy']}, "
                f"Kubernetes {env['kubernetes']}, {os.cpu_count()} cores, Linux {platform.release()}"
                f"{f', {load} busy loops beside them' if load else ''}.\n\n"
                f"- cases: {len(verdicts)}; exit codes: {dict(collections.Counter(codes))}\n"
                f"- seconds for a run from nothing: median {statistics.median(seconds):.0f}, from {min(seconds):.0f} to {max(seconds):.0f}\n"
                f"- cases whose verdict changed: {len(changed())}\n")
        for n, v in sorted(changed().items()):
            f.write(f"  - {n}: {dict(v)}\n")
    os.chmod(new, 0o644)
    os.replace(new, f"{root}/reports/{name}.md")


def changed():
    return {n: v for n, v in verdicts.items() if len(v) > 1}


for i in range(runs):
    with tempfile.TemporaryDirectory() as out:
        start = time.time()
        p = subprocess.run([f"{root}/bin/egressctl", "run", "--name", name, "--out", out],
                           stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        codes.append(p.returncode)
        try:
            report = json.load(open(f"{out}/report.json"))
        except (OSError, ValueError):
            sys.exit(f"run {i + 1} left no report (exit {p.returncode}):\n{p.stderr[-2000:]}")
        if not report["counts"]["conforms"]:
            sys.exit(f"run {i + 1} has proven nothing (exit {p.returncode}):\n{p.stderr[-2000:]}")
        env, seconds = report["environment"], seconds + [time.time() - start]
        for c in report["cases"]:
            verdicts[c["case"]["name"]][c["verdict"]] += 1
            if c["verdict"] in ("violates", "inconclusive"):
                print(f"run {i + 1}: {c['case']['name']} {c['verdict']}: {c.get('why', '')[:300]}", file=sys.stderr)
        if p.returncode:
            shutil.copytree(out, f"{root}/reports/out/{name}-{i + 1}", dirs_exist_ok=True)
        print(f"run {i + 1}/{runs}: exit {p.returncode}, {seconds[-1]:.0f} s, {report['counts']}", flush=True)
    write()

for loop in loops:
    loop.kill()
    loop.wait()
print(f"{len(changed())} cases changed their verdict in {runs} runs: {({n: dict(v) for n, v in changed().items()})}", flush=True)
sys.exit(1 if changed() or any(codes) else 0)
