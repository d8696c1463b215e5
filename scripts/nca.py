"""Makes the table of docs/nca.md of what NCA and egressctl have answered, and compares it with the one that is there.

Usage: nca.py INPUTS ANSWERS PAGE NAME...
INPUTS/NAME has mesh.yaml and questions.yaml; ANSWERS has NAME.nca and NAME.warnings, which NCA has printed, NAME.json of egressctl verify, and
NAME.cases/report.json where a case is the proof. With WRITE=1 the rows of these inputs are written in place of those that are there. Exit status: 0 as
the page has it, 1 not.
"""

import difflib
import fnmatch
import ipaddress
import json
import os
import re
import sys

import yaml

# A line of NCA's connectivity map, and a port of one.
LINE = re.compile(r"^src_ns: \[(?P<ns>[^]]*)\] src_pods: \[(?P<pods>[^]]*)\] (?:dst: (?P<dst>\S+)|dst_ns: \[(?P<to_ns>[^]]*)\] dst_pods: \[(?P<to_pods>[^]]*)\]) conn: (?P<conn>.*)$")
PORTS = re.compile(r"dst_ports:([0-9,-]+)")
EVERYTHING = "All connections"
# Where NCA has the egress gateway: no other is one for it.
GATEWAY = {"ns": "istio-system", "pod": "istio-egressgateway"}
# An address that no input has anything about.
SOMEWHERE = ipaddress.ip_address("203.0.113.77")


class Mistake(Exception):
    """What the inputs, the answers and the judgements do not agree in."""


def rules(text):
    """NCA's lines, by whether they are for TCP or for the rest; those without a heading are for both."""
    out, tcp, rest = [], True, True
    for line in text.splitlines():
        if line.startswith("For connections of type "):
            tcp = "type TCP" in line
            rest = not tcp
        if not line.startswith("src"):
            continue
        m = LINE.match(line)
        if m:
            out.append({**m.groupdict(), "tcp": tcp, "rest": rest, "line": line})
        elif not line.startswith("src: "):  # from outside
            raise Mistake(f"a line of NCA's that nobody understands: {line}")
    return out


def has(listed, name):
    """Whether a list of NCA's, such as cart,billing or *, has a name."""
    return any(fnmatch.fnmatchcase(name, x.strip()) for x in listed.split(","))


def carries(conn, port):
    """Whether what may be carried is carried to a port."""
    if conn == EVERYTHING:
        return True
    m = PORTS.search(conn)
    if not m:
        raise Mistake(f"a connection of NCA's that nobody understands: {conn}")
    spans = [p.split("-") for p in m.group(1).split(",") if p]
    return any(int(s[0]) <= port <= int(s[-1]) for s in spans)


def nca(text, q):
    """NCA's answer: whether, and the lines that say so; where it is no, all that it has from there to the outside."""
    ns, pod = q["from"].split("/")
    want = q["nca"]
    tcp = want.get("protocol", "TCP") == "TCP"
    mine = [r for r in rules(text) if r["tcp" if tcp else "rest"]]

    def leads(r):
        if want.get("address"):
            return "/" in r["dst"] and SOMEWHERE in ipaddress.ip_network(r["dst"])
        return fnmatch.fnmatchcase(want["host"], r["dst"])

    def starts(r, ns, pod):
        return has(r["ns"], ns) and has(r["pods"], pod)

    outside = [r for r in mine if r["dst"]]
    direct = [r for r in outside if starts(r, ns, pod) and leads(r) and carries(r["conn"], want["port"])]
    if direct:
        return True, [r["line"] for r in direct]
    to = [r for r in mine if r["to_ns"] and starts(r, ns, pod) and has(r["to_ns"], GATEWAY["ns"]) and has(r["to_pods"], GATEWAY["pod"])]
    on = [r for r in outside if starts(r, GATEWAY["ns"], GATEWAY["pod"]) and leads(r) and carries(r["conn"], want["port"])]
    if to and on and ns != GATEWAY["ns"]:
        return True, [r["line"] for r in to + on]
    return False, [r["line"] for r in outside if starts(r, ns, pod)]


def warned(text, q):
    """That NCA says itself of something that it does not read it, which makes its answer say too much."""
    found = re.findall(r"over-approximation analysis: (\w+) is not yet supported inside (\w+)", text)
    if "warns" not in q:
        return ""
    if not any(what == q["warns"] for what, _ in found):
        raise Mistake(f"NCA does not warn that it ignores {q['warns']}: {text}")
    return f"; it warns that it ignores `{q['warns']}`"


def unstable(evidence):
    """A line of evidence without what differs from run to run: addresses, ports, the ends of pods' names."""
    evidence = re.sub(r"\d+\.\d+\.\d+\.\d+(:\d+)?", "…", evidence)
    return re.sub(r"-[a-z0-9]{6,10}-[a-z0-9]{5}\b", "", evidence)


def ours(report, q):
    """The answer of egressctl verify: whether it got out, the answer, and the proof."""
    found = [a for a in report["answers"] if a["from"] == q["from"] and a["to"] == q["to"] and a.get("as") == q.get("as")]
    if len(found) != 1:
        raise Mistake(f"{len(found)} answers to {q['from']} → {q['to']}")
    a = found[0]
    out = a["state"] == "allowed"
    if a["state"] not in ("allowed", "blocked"):
        raise Mistake(f"{q['from']} → {q['to']} is neither allowed nor blocked: {a['state']}, {a['evidence']}")
    saw = " saw " in a["evidence"]
    if saw != out:
        raise Mistake(f"{q['from']} → {q['to']} is {a['state']}, and the witnesses say: {a['evidence']}")
    text = f"{a['state']}: {a['words']}"
    if a.get("via") not in (None, "direct"):
        text += f", through {a['via']}, encrypted by {a['encrypted']}"
    by = [s["object"] for s in a.get("by", []) if not s["object"].startswith("gateway ")]
    if by:
        text += "; by " + ", ".join(by)
    return out, text, unstable(a["evidence"])


def tells(report, kind):
    """That egressctl verify says itself of a kind that it does not take it over."""
    if kind not in [x["kind"] for x in report.get("ignored", [])]:
        raise Mistake(f"egressctl verify does not say that it ignores {kind}: {report.get('ignored')}")
    return f"; it says that it ignores {kind}"


def enforced(folder, q):
    """The proof by a case."""
    found = [r for r in json.load(open(f"{folder}/report.json"))["cases"] if r["case"]["name"] == q["case"]]
    if len(found) != 1 or found[0]["verdict"] != "conforms":
        raise Mistake(f"case {q['case']} does not conform: {[r['verdict'] for r in found]}")
    phases = found[0]["phases"]
    outcomes = ", ".join(f"{p['probes'][0]['got']} ({p['phase']})" for p in phases)
    return f"with the policy enforced, case {q['case']}: {outcomes}; {unstable(phases[1]['probes'][0]['evidence'])}"


def same_policy(inputs, name, q):
    """The case is about the policy of the input, but for the namespace."""
    def policy(file):
        found = [d for d in yaml.safe_load_all(open(file)) if d.get("kind") == "NetworkPolicy"]
        if len(found) != 1:
            raise Mistake(f"{file}: {len(found)} NetworkPolicies")
        return found[0]["spec"]
    if policy(f"{inputs}/{name}/mesh.yaml") != policy(f"{inputs}/{name}/cases/{q['case'].removeprefix('cases-')}.yaml"):
        raise Mistake(f"{name}: the case has another policy than the input")


def cell(text):
    return text.replace("|", "\\|").replace("*", "\\*").replace("\n", " ")


def code(lines):
    return "<br>".join(f"`{x}`" for x in lines) or "nothing"


def row(inputs, answers, name, q):
    """A row of the table, and whether both say the same."""
    yes, lines = nca(open(f"{answers}/{name}.nca").read(), q)
    if yes:
        said = f"**yes**: {code(lines)}"
    else:
        said = f"**no**; what it has to the outside: {code(lines)}"
    report = json.load(open(f"{answers}/{name}.json"))
    got, text, proof = ours(report, q)
    if (yes == got) != (q["right"] == "both"):
        raise Mistake(f"{name}: NCA says {yes}, egressctl {got}, and {q['right']} is said to be right: {q['ask']}")
    said += warned(open(f"{answers}/{name}.warnings").read(), q)
    if q["right"] == "NCA":
        same_policy(inputs, name, q)
        text += tells(report, "NetworkPolicy.networking.k8s.io")
        proof += "<br>" + enforced(f"{answers}/{name}.cases", q)
    what = f"[{name}](../{inputs}/{name}/mesh.yaml): {cell(q['ask'])}"
    return f"| {what} | {said.replace('|', chr(92) + '|')} | **{'yes' if got else 'no'}**: {cell(text)} | {cell(proof)} | **{q['right']}**: {cell(q['because'])} |", yes == got


BEGIN, END = "<!-- scripts/verify-nca.sh writes what follows -->\n", "<!-- until here -->\n"
HEAD = "| input and question | NCA | egressctl verify | proof | who is right |\n|---|---|---|---|---|\n"


def of(line):
    """The input that a row is about."""
    return line.split("]", 1)[0].removeprefix("| [")


def main(inputs, answers, page, *names):
    text = open(page).read()
    head, rest = text.split(BEGIN)
    was, tail = rest.split(END)
    old = [x for x in was.splitlines() if x.startswith("| [")]
    new = {n: [row(inputs, answers, n, q)[0] for q in yaml.safe_load(open(f"{inputs}/{n}/questions.yaml"))] for n in names}
    every = sorted(set(names) | {of(x) for x in old if os.path.isdir(f"{inputs}/{of(x)}")})
    rows = [r for n in every for r in new.get(n) or [x for x in old if of(x) == n]]
    right = {who: sum(f"| **{who}**: " in r for r in rows) for who in ("both", "egressctl", "NCA")}
    count = f"{len(every)} inputs, {len(rows)} questions: both are right in {right['both']}, egressctl alone in {right['egressctl']}, NCA alone in {right['NCA']}.\n\n"
    now = count + HEAD + "".join(r + "\n" for r in rows)
    if now == was:
        print(count.strip())
        return 0
    if os.environ.get("WRITE") == "1":
        open(page, "w").write(head + BEGIN + now + END + tail)
        print(f"{page} is written: {count.strip()}")
        return 0
    print(f"{page} has other answers (WRITE=1 writes these):")
    print("\n".join(difflib.unified_diff(was.splitlines(), now.splitlines(), page, "now", lineterm="", n=0)))
    return 1


if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:]))
    except Mistake as m:
        sys.exit(f"NCA: {m}")
