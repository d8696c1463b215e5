#!/usr/bin/env python3
"""Times egressctl verify on made-up teams of several sizes: from nothing, in a running mesh, and after a save under --watch.
The first two are told twice: until the report is there, and the whole command, which takes down what stood.

SIZES is a list of ENTRIES/WORKLOADS (default 20/10,100/30,500/100), RUNS how often each is timed (default 1). The figures depend on the
machine: nothing fails here but a proof that is not one.
"""
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
TOOL = str(ROOT / "bin/egressctl")
RUNS = int(os.environ.get("RUNS", "1"))
SIZES = [tuple(map(int, s.split("/"))) for s in os.environ.get("SIZES", "20/10,100/30,500/100").split(",")]
NAME = "bench-verify"

MESH = """apiVersion: install.istio.io/v1alpha1
kind: IstioOperator
metadata: {name: mesh, namespace: istio-system}
spec: {meshConfig: {outboundTrafficPolicy: {mode: REGISTRY_ONLY}}}
"""


def namespace(i):
    return f"""---
apiVersion: v1
kind: Namespace
metadata: {{name: team-{i}, labels: {{istio-injection: enabled}}}}
"""


def workload(i, ns):
    return f"""---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: app-{i}, namespace: team-{ns}}}
spec:
  selector: {{matchLabels: {{app: app-{i}}}}}
  template:
    metadata: {{labels: {{app: app-{i}}}}}
    spec: {{containers: [{{name: app, image: "registry.example/app-{i}:1"}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: app-{i}, namespace: team-{ns}}}
spec: {{selector: {{app: app-{i}}}, ports: [{{name: http, port: 8080}}]}}
"""


def entry(i, ns):
    """As teams have them: mostly names with TLS, some with HTTP, some databases at addresses, a few wildcards."""
    spec = [
        f'hosts: [api-{i}.example.com], resolution: DNS, ports: [{{number: 443, name: tls, protocol: TLS}}]',
        f'hosts: [www-{i}.example.org], resolution: DNS, ports: [{{number: 80, name: http, protocol: HTTP}}, {{number: 443, name: tls, protocol: TLS}}]',
        f'hosts: [db-{i}.example.net], resolution: STATIC, addresses: [192.0.{3 + i // 250}.{i % 250 + 1}], endpoints: [{{address: 192.0.{3 + i // 250}.{i % 250 + 1}}}], ports: [{{number: 5432, name: tcp, protocol: TCP}}]',
        f'hosts: ["*.cdn-{i}.example.com"], resolution: NONE, ports: [{{number: 443, name: tls, protocol: TLS}}]',
        f'hosts: [login-{i}.example.com], resolution: DNS, ports: [{{number: 443, name: https, protocol: HTTPS}}]',
    ][i % 5]
    return f"""---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: entry-{i}, namespace: team-{ns}}}
spec: {{{spec}, exportTo: ["."]}}
"""


def team(entries, workloads, extra=0):
    """The objects of a team: a namespace for every ten workloads, whose entries are seen there alone."""
    n = max(2, workloads // 10)
    out = [MESH] + [namespace(i) for i in range(n)] + [workload(i, i % n) for i in range(workloads)]
    return "".join(out + [entry(i, i % n) for i in range(entries + extra)])


def verify(file, out):
    """Seconds until the report was there, and until the command ended; and the report."""
    start = time.monotonic()
    with open(out.with_suffix(".txt"), "w+") as errors:
        p = subprocess.Popen([TOOL, "verify", str(file), "--name", NAME, "--out", str(out), "--json"], stdout=subprocess.PIPE, stderr=errors, text=True)
        said = p.stdout.readline()
        told = time.monotonic() - start
        said += p.stdout.read()
        p.wait()
        if p.returncode:
            errors.seek(0)
            sys.exit(f"{file.name}: exit {p.returncode}\n{errors.read()[-3000:]}")
    return (told, time.monotonic() - start), json.loads(said)


def best(runs):
    """The shortest of some runs, as both figures."""
    told, whole = min(t for t, _ in runs)
    return f"{told:.1f}s {whole:.1f}s"


def watched(file, text):
    """Seconds from a save to the report of what it has changed."""
    w = subprocess.Popen([TOOL, "verify", str(file), "--name", NAME, "--watch"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    took = []
    lines = []

    def until(pattern):
        for line in w.stdout:
            lines.append(line)
            if re.search(pattern, line):
                return
        sys.exit("--watch ended:\n" + "".join(lines[-40:]))

    try:
        until("^watching what was read")
        for i in range(3):
            file.write_text(text(i))
            start = time.monotonic()
            until("^saved: ")
            until("^opens: ")
            took.append(time.monotonic() - start)
    finally:
        w.terminate()
        w.wait()
    return took


def main():
    if len(sys.argv) > 1:
        sys.exit(__doc__)
    print(f"{'entries/workloads':20}{'classes':>9}{'answers':>11}{'from nothing':>18}{'running mesh':>18}   after a save")
    with tempfile.TemporaryDirectory() as tmp:
        out, file = pathlib.Path(tmp, "out"), pathlib.Path(tmp, "team.yaml")
        for entries, workloads in SIZES:
            file.write_text(team(entries, workloads))
            cold = [verify(file, out) for _ in range(RUNS)]
            subprocess.run([TOOL, "up", "--name", NAME], check=True, capture_output=True)
            try:
                warm = [verify(file, out) for _ in range(RUNS)]
                saves = watched(file, lambda i: team(entries, workloads, extra=i + 1)) if entries <= 100 else []
            finally:
                subprocess.run([TOOL, "down", "--name", NAME], check=True, capture_output=True)
            r = warm[0][1]
            print(f"{f'{entries}/{workloads}':20}{len(r['classes']):9}{len(r['answers']):11}{best(cold):>18}{best(warm):>18}   "
                  + ", ".join(f"{s:.1f}s" for s in saves), flush=True)


if __name__ == "__main__":
    main()
