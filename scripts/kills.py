#!/usr/bin/env python3
"""Kills parts of embedded clusters at random moments and demands a clear end.

Every round brings a cluster up and runs cases in it, on a good mesh or on one that lets everything out, and kills one
process of it with SIGKILL. It demands that

- no verdict is wrong: each is that of the same case without a kill, or inconclusive, or there is none;
- the run ends by itself, with the name of the part that died, or with every verdict where the death does not matter;
- nothing of the cluster is left on the machine afterwards, and nothing of the machine differs.

FAULTS (default 50) is how many kills, SEED repeats their choice, NAME (default kills) names the cluster, VICTIMS names
some of the victims, and IGNORE is a regular expression for what others change on this machine meanwhile. The report goes
to REPORT (default reports/faults.md; "-" for none). RESULTS is a file to which every kill is written, and from which one
goes on that was broken off."""
import collections, glob, json, os, platform, random, re, shutil, signal, subprocess, sys, tempfile, time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TOOL = os.environ.get("TOOL", f"{ROOT}/bin/egressctl")
NAME = os.environ.get("NAME", "kills")
FAULTS = int(os.environ.get("FAULTS", "50"))
SEED = int(os.environ.get("SEED", "0")) or random.SystemRandom().randrange(1, 10**9)
REPORT = os.environ.get("REPORT", f"{ROOT}/reports/faults.md")
CACHE = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "mesh-egress-conformance")
DIR = f"{CACHE}/clusters/{NAME}"
CASES = "injection-automatic,tcp-cidr-v1,http-serviceentry,bypass-dns,bypass-include-ip-ranges,bypass-no-sidecar"
CLEAN = 15  # seconds that the kernel and the survivors may take
HANGS = 240  # seconds after which a run counts as hanging

# The words that name a victim in a message, and how its processes are found: by the arguments of a process on the
# host's side, or by the program of one in the cluster's cgroups. The share of make test takes the first ones.
VICTIMS = {
    "supervisor": ("supervisor", "__egress-supervisor " + DIR, None),
    "reaper": ("reaper", "__egress-reaper " + DIR, None),
    "kube-apiserver": ("kube-apiserver", None, "kube-apiserver"),
    "tool": (None, None, None),
    "istiod": ("istiod", None, "pilot-discovery"),
    "internet": ("internet", None, "__egress-internet"),
    "etcd": ("etcd", None, "etcd"),
    "containerd": ("containerd", None, "containerd"),
    "kubelet": ("kubelet", None, "kubelet"),
    "coredns": ("coredns", None, "coredns"),
    "kube-controller-manager": ("kube-controller-manager", None, "kube-controller-manager"),
    "kube-scheduler": ("kube-scheduler", None, "kube-scheduler"),
    "kube-proxy": ("kube-proxy", None, "kube-proxy"),
    "watchdog": (None, "__egress-watchdog " + DIR, None),
}
HARMLESS = {"watchdog"}  # the reaper starts it again

work = tempfile.mkdtemp()
env = {**os.environ, "TMPDIR": work + "/tmp", "HOME": work + "/home", "XDG_CACHE_HOME": os.path.dirname(CACHE)}
os.makedirs(env["TMPDIR"])
os.makedirs(env["HOME"])


def read(path):
    try:
        with open(path, "rb") as f:
            return f.read().decode(errors="replace")
    except OSError:
        return ""


def cgroups():
    return [d for p in ("/sys/fs/cgroup/", "/sys/fs/cgroup/*/") for d in glob.glob(f"{p}mesh-egress-{NAME}-*") if os.path.isdir(d)]


def members():
    """PIDs in the cluster's cgroups, with their arguments."""
    pids = set()
    for top in cgroups():
        for d, _, _ in os.walk(top):
            pids.update(int(x) for x in read(d + "/cgroup.procs").split())
    return {p: read(f"/proc/{p}/cmdline").split("\0") for p in pids}


def on_host():
    """PIDs of processes that name the cluster's folder in their arguments."""
    out = {}
    for d in os.listdir("/proc"):
        if d.isdigit() and int(d) != os.getpid():
            args = read(f"/proc/{d}/cmdline").split("\0")
            if DIR in args:
                out[int(d)] = args
    return out


def find(victim, tool):
    """The PID of a victim, or None while it does not run."""
    _, args, program = VICTIMS[victim]
    if victim == "tool":
        return tool
    if args:
        return next((p for p, a in on_host().items() if args in " ".join(a)), None)
    for p, a in members().items():
        if program == os.path.basename(a[0]) or program in a[1:2]:
            return p
    return None


def lines(*cmd):
    try:
        p = subprocess.run(cmd, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return []
    return [re.sub(r"\[\d+:\d+\]|packets \d+ bytes \d+|expires \d+\w*", "", l).strip() for l in p.stdout.splitlines() if not l.startswith("#")]


# What other programs of a machine change all the time, Docker and other clusters among them.
FOREIGN = re.compile(r"docker|DOCKER|veth|br-mesh-egress|172\.3[01]\.|mesh-egress-(?!" + re.escape(NAME) + r"-)|mec-|/sys/kernel/(random|ns_last_pid|pty)|"
                     r"conntrack_count|/run/(mesh-egress-dockerd|containerd|docker)|/var/(lib/(docker|apt|dpkg|systemd)|cache|log|tmp)|/run/(lock|user|mount)"
                     + (f"|{os.environ['IGNORE']}" if os.environ.get("IGNORE") else ""))


def tree(top, depth=99):
    for d, dirs, files in os.walk(top):
        if d.count("/") - top.count("/") >= depth:
            dirs.clear()
        yield from (f"{d}/{x}" for x in dirs + files)


def sysctls():
    for top in ("/proc/sys/net", "/proc/sys/kernel"):
        for f in tree(top):
            if os.path.isfile(f) and not FOREIGN.search(f.replace("/proc/sys/", "/sys/")):
                yield f"{f} = {read(f).strip()}"


def machine():
    """What must be afterwards as it was before, by kind. Other clusters and other users of the machine are left out."""
    kinds = {
        "link": (l.split(": ")[1].split("@")[0] for l in lines("ip", "-o", "link")),
        "route": lines("ip", "route", "show", "table", "all") + lines("ip", "-6", "route", "show", "table", "all"),
        "iptables": lines("iptables-save") + lines("ip6tables-save"),
        "nft": lines("nft", "list", "ruleset"),
        "sysctl": sysctls(),
        "mount": (" ".join(l.split()[3:5] + l.split(" - ")[1].split()[:2]) for l in read("/proc/self/mountinfo").splitlines()
                  if " /tmp" not in l),
        "cgroup": [d for p in ("/sys/fs/cgroup/*/", "/sys/fs/cgroup/*/*/") for d in glob.glob(p)],
        "file": [f for top in ("/var", "/run") for f in tree(top)] + list(tree(work + "/home")) + list(tree(work + "/tmp"))
                + [f for f in glob.glob("/tmp/*") if re.search("kube|containerd|etcd", f)]  # the tool has a folder of its own for these
                + [f for f in glob.glob(DIR + "*") if not f.endswith((".lock", ".failure"))],
        "process": [" ".join(a) for a in {**members(), **on_host()}.values()],
    }
    return {f"{kind} {x}" for kind, found in kinds.items() for x in found if not FOREIGN.search(x)}


def traces():
    """What a cluster that has ended leaves when it is not cleaned up: cheap enough to look often."""
    return cgroups() or os.path.exists(DIR) or on_host()


class Run:
    """One egressctl with cases, and what it said."""

    def __init__(self, sabotage):
        self.out = tempfile.mkdtemp(dir=work)
        self.log = open(self.out + "/log", "w+")
        args = [TOOL, "run", "--provider", "embedded", "--name", NAME, "--case", CASES, "--lanes", "2", "--out", self.out + "/out"]
        self.p = subprocess.Popen(args + (["--sabotage", sabotage] if sabotage else []), stdin=subprocess.DEVNULL, stdout=self.log,
                                  stderr=subprocess.STDOUT, env=env)
        self.start = time.monotonic()

    def said(self):
        return read(self.out + "/log")

    def until(self, text):
        while self.p.poll() is None and text not in self.said():
            time.sleep(0.02)
        return time.monotonic() - self.start

    def wait(self):
        try:
            self.p.wait(HANGS)
        except subprocess.TimeoutExpired:
            self.p.kill()
            self.p.wait()
            raise Bad(f"the run hung for {HANGS} s; it said: {self.said()[-1500:]}") from None

    def verdicts(self):
        try:
            report = json.load(open(self.out + "/out/report.json"))
        except (OSError, ValueError):
            return {}
        return {c["case"]["name"]: c["verdict"] for c in report["cases"]}


class Bad(Exception):
    pass


def up():
    p = subprocess.run([TOOL, "up", "--provider", "embedded", "--name", NAME], capture_output=True, text=True, env=env, stdin=subprocess.DEVNULL)
    if p.returncode:
        raise Bad(f"up: exit {p.returncode}\n{p.stderr[-3000:]}")


def down():
    subprocess.run([TOOL, "down", "--provider", "embedded", "--name", NAME], capture_output=True, env=env, stdin=subprocess.DEVNULL)


def kill(rnd, victim, where, base):
    """One round. Returns seconds from the kill to the end of the run, seconds to a clean machine, and what came of it."""
    sabotage = rnd.choice(list(base))
    share = rnd.random()
    idle = where == "attached" and rnd.random() < 0.25 and victim != "tool"
    if where == "attached":
        up()
    run = None if idle else Run(sabotage)
    if run:
        if where == "bring-up":
            time.sleep(share * base[sabotage]["first"])
        else:
            run.until("first verdict")
            time.sleep(share * 0.7 * base[sabotage]["cases"])  # the rest is the clean-up
    pid = None
    while pid is None and (run is None or run.p.poll() is None):
        pid = find(victim, run and run.p.pid)
    if pid is None or (run and run.p.poll() is not None):
        if run:
            run.wait()
        down()
        return None
    os.kill(pid, signal.SIGKILL)
    at = time.monotonic()
    what = "idle" if idle else where + (", allow-any" if sabotage else "")
    ended, said = 0.0, ""
    if run:
        run.wait()
        ended, said = time.monotonic() - at, run.said()
        judge(run, victim, base[sabotage]["verdicts"])
    elif victim not in HARMLESS and victim != "istiod":
        until_gone(at)
        said = json.dumps(subprocess.run([TOOL, "status"], capture_output=True, text=True, env=env).stdout)
        name = VICTIMS[victim][0]
        if name and name not in said:
            raise Bad(f"the status does not name {name}: {said}")
    if where == "attached" and (victim in HARMLESS or victim in ("tool", "istiod")):
        down()
    clean = until_gone(at)
    return ended, clean, what, run.p.returncode if run else "-"


def until_gone(at):
    while traces():
        if time.monotonic() - at > HANGS + CLEAN:
            raise Bad(f"still there: {cgroups()} {glob.glob(DIR)} {on_host()}")
        time.sleep(0.02)
    return time.monotonic() - at


def judge(run, victim, base):
    rc, said, got = run.p.returncode, run.said(), run.verdicts()
    for case, v in got.items():
        if v not in (base[case], "inconclusive"):
            raise Bad(f"{case} {v}, and without a kill {base[case]}; exit {rc}")
    if victim == "tool":
        return
    if got == base:
        return
    if victim in HARMLESS:
        raise Bad(f"verdicts are missing: {got}; exit {rc}: {said[-1500:]}")
    if rc != (1 if "violates" in got.values() else 2):
        raise Bad(f"exit {rc} with the verdicts {got}: {said[-1500:]}")
    if not re.search(VICTIMS[victim][0] + r".{0,80}(ended|killed|restarted)", said + read(run.out + "/out/report.json")):
        raise Bad(f"no message names {victim}: {said[-3000:]}")


def baseline():
    if FAULTS < 10:  # the share of make test, which runs the cases elsewhere
        return {"": {"first": 9, "cases": 4, "verdicts": dict.fromkeys(CASES.split(","), "conforms")}}
    out = {}
    for sabotage in ("", "allow-any"):
        run = Run(sabotage)
        first = run.until("first verdict")
        run.wait()
        cases, got = time.monotonic() - run.start - first, run.verdicts()
        want = 1 if sabotage else 0
        if run.p.returncode != want or set(got.values()) - {"conforms", "violates"}:
            sys.exit(f"without a kill ({sabotage}): exit {run.p.returncode}, {got}\n{run.said()[-3000:]}")
        out[sabotage] = {"first": first, "cases": cases, "verdicts": got}
        print(f"without a kill{sabotage and ', ' + sabotage}: first verdict after {first:.1f} s, end {cases:.1f} s later, {got}", flush=True)
    return out


def main():
    print(f"kills: {FAULTS} on the cluster {NAME}, SEED={SEED}", flush=True)
    names = os.environ["VICTIMS"].split(",") if os.environ.get("VICTIMS") else list(VICTIMS)
    down()
    before = machine()
    rows, bad, done, tries = collections.defaultdict(list), [], 0, 0
    results = os.environ.get("RESULTS")
    for line in read(results).splitlines() if results else []:
        victim, r, complaint = json.loads(line)
        rows[victim].append(r)
        bad += [complaint] if complaint else []
        done += 1
    base = baseline() if done < FAULTS else {}
    while done < FAULTS:
        rnd = random.Random(f"{SEED} {done} {tries}")
        victim = names[done % len(names)]
        where = ("bring-up", "cases", "attached", "cases")[(done // len(names) + done) % 4]
        if FAULTS < 10:
            where = ("cases", "bring-up")[done % 2]
        label = f"kill {done + 1}/{FAULTS}: {victim}, {where}"
        try:
            r = kill(rnd, victim, where, base)
            if r is None:
                print(f"{label}: the run was over before", flush=True)
                tries += 1
                continue
            end = time.monotonic() + CLEAN
            while (after := machine()) != before and time.monotonic() < end:
                time.sleep(0.2)
            if after != before:
                raise Bad(f"the machine differs: new {sorted(after - before)[:10]}, gone {sorted(before - after)[:10]}")
            rows[victim].append(r)
            print(f"{label} ({r[2]}): exit {r[3]}, ended after {r[0]:.1f} s, clean after {r[1]:.1f} s", flush=True)
        except Bad as e:
            bad.append(f"{label}: {e}")
            print(f"{label}: BAD: {e}", flush=True)
            rows[victim].append(None)
            down()
        if results:
            with open(results, "a") as f:
                f.write(json.dumps([victim, rows[victim][-1], None if rows[victim][-1] else bad[-1]]) + "\n")
        done, tries = done + 1, 0
    report(rows, bad)
    sys.exit(1 if bad else 0)


def report(rows, bad):
    text = (f"# Kills\n\n{sum(map(len, rows.values()))} kills with SIGKILL at random moments (SEED={SEED}), {os.cpu_count()} cores, Linux {platform.release()}: "
            f"{len(bad)} ended badly. `make fault` makes this report.\n\n"
            "After each, no verdict was another than without a kill, a message named what had died, and links, routes, firewall,\n"
            "sysctls, mounts, cgroups, files and processes of the machine were as before. Seconds are the worst ones, from the kill;\n"
            "a run that its victim's death does not end goes on to its end, and is cleaned up then.\n\n"
            "| victim | kills | while | exit status | run ended | machine clean |\n|---|---|---|---|---|---|\n")
    for v, rs in rows.items():
        ok = [r for r in rs if r]
        text += (f"| {v} | {len(rs)} | {', '.join(f'{n}× {w}' for w, n in sorted(collections.Counter(r[2] for r in ok).items()))} | "
                 f"{', '.join(str(c) for c in sorted({str(r[3]) for r in ok}))} | {max((r[0] for r in ok), default=0):.1f} s | {max((r[1] for r in ok), default=0):.1f} s |\n")
    text += "".join(f"\n- BAD: {b[:600]}" for b in bad) + ("\n" if bad else "")
    print(text)
    if REPORT != "-":
        with open(REPORT, "w") as f:
            f.write(text)


try:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is taken down
    main()
finally:
    down()
    shutil.rmtree(work, ignore_errors=True)
