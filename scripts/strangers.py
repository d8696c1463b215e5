#!/usr/bin/env python3
"""Somebody else's objects on a cluster, for the tests that nothing of them is touched.

strangers.py make            put objects of every kind that cases and clients use on the cluster, of their very names
strangers.py note FILE       wait until the cluster is settled and note every object on it that no run has made
strangers.py compare FILE    fail where one of them is another one now, or has other content
strangers.py left            fail where anything carries a run's label, of whatever kind and in whatever namespace

KUBECTL is the command that reaches the cluster, EGRESSCTL the tool.
"""
import glob
import json
import os
import re
import subprocess
import sys
import threading

LABEL = "mesh-egress-conformance/run"
KUBECTL = os.environ["KUBECTL"].split()
TOOL = os.environ["EGRESSCTL"]
# Kinds that live by themselves: heartbeats, events, what controllers and the kubelet write, what is no object.
RESTLESS = {"Event", "Lease", "Node", "Pod", "ReplicaSet", "Endpoints", "PodMetrics", "NodeMetrics", "APIService"}
MINE = "stranger"


def kubectl(*args, stdin=None, check=True):
    r = subprocess.run([*KUBECTL, *args], input=stdin, capture_output=True, text=True)
    if check and r.returncode != 0:
        sys.exit(f"kubectl {' '.join(args)[:200]}: {r.stderr.strip()}")
    return r.stdout


def cases():
    """Every object that a case or a client may make, as JSON, with the field that it stands in."""
    text = subprocess.run([TOOL, "list", "--json"], capture_output=True, text=True, check=True).stdout
    out = []
    for c in json.loads(text)["cases"]:
        for field in ("setup", "objects", "change", "refused"):
            out += [(field, o) for o in c.get(field) or []]
    for f in sorted(glob.glob("fixtures/*/*.yaml") + ["samples/sleep/sleep.yaml", "samples/curl/curl.yaml"]):
        if not re.search("^kind:", open(f).read(), re.M):
            continue  # a patch of a page, and no object
        docs = kubectl("create", "--dry-run=client", "--validate=false", "-o", "json", "-f", f)
        decoder, at = json.JSONDecoder(), 0
        while docs[at:].strip():
            o, n = decoder.raw_decode(docs[at:].lstrip())
            at += len(docs[at:]) - len(docs[at:].lstrip()) + n
            for x in o["items"] if o["kind"] == "List" else [o]:
                x["metadata"].pop("namespace", None)  # kubectl has put it there
                out.append(("fixture", x))
    return out


def inert(o):
    """The same object without effect on any workload: the mesh must go on as the cases expect it."""
    o = json.loads(re.sub(r"\$\{[A-Z_]+\}", "stranger", json.dumps(o)))
    spec, kind = o.get("spec", {}), o["kind"]
    for k in ("creationTimestamp", "managedFields", "resourceVersion", "uid"):
        o["metadata"].pop(k, None)
    o.pop("status", None)
    o["metadata"].setdefault("labels", {})[MINE] = "yes"
    if kind in ("ServiceEntry", "VirtualService", "DestinationRule"):
        spec["exportTo"] = ["nowhere"]
    elif kind == "Sidecar":
        spec["workloadSelector"] = {"labels": {MINE: "none"}}
    elif kind in ("AuthorizationPolicy", "Telemetry"):
        spec.pop("targetRefs", None)
        spec["selector"] = {"matchLabels": {MINE: "none"}}
    elif kind == "Gateway" and "istio" in o["apiVersion"]:
        spec["selector"] = {MINE: "none"}
    elif kind == "Gateway":
        spec["gatewayClassName"] = MINE
    elif kind in ("HTTPRoute", "TLSRoute"):
        spec["parentRefs"] = [{"name": MINE}]
    elif kind == "Deployment":
        spec["replicas"] = 0
    elif kind == "Service" and spec.get("type") != "ExternalName":
        spec.pop("clusterIP", None)
        spec.pop("clusterIPs", None)
        spec["selector"] = {MINE: "none"}
        # One of HTTP at port 443 would make that port one of HTTP for the whole mesh.
        o["metadata"].setdefault("annotations", {})["networking.istio.io/exportTo"] = "~"
    return o


def simple(api, kind, name, namespace=None, **more):
    meta = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": api, "kind": kind, "metadata": meta, **more}


def make():
    rbac = "rbac.authorization.k8s.io"
    wide = [simple("v1", "Namespace", n) for n in ("prod", "egress-other", "istioegress")]
    wide += [
        simple(rbac + "/v1", "ClusterRole", "theirs", rules=[]),
        simple(rbac + "/v1", "ClusterRoleBinding", "theirs", roleRef={"apiGroup": rbac, "kind": "ClusterRole", "name": "theirs"}, subjects=[]),
        simple("v1", "ConfigMap", "theirs", "default", data={"a": "b"}),
        simple("v1", "ConfigMap", "precious", "prod", data={"a": "b"}),
        simple("v1", "Secret", "precious", "prod", stringData={"a": "b"}),
        simple("networking.k8s.io/v1", "NetworkPolicy", "theirs", "prod", spec={"podSelector": {"matchLabels": {MINE: "none"}}}),
        simple("telemetry.istio.io/v1", "Telemetry", "access-log", "prod", spec={}),
        simple("networking.istio.io/v1", "Sidecar", "registry-only", "prod", spec={"egress": [{"hosts": ["*/*"]}]}),
    ]
    objs, wanted = {}, set()
    for field, o in cases():
        namespace = o["metadata"].get("namespace")
        if field != "refused":
            wanted.add((o["apiVersion"].split("/")[0] if "/" in o["apiVersion"] else "", o["kind"]))
        for n in [namespace] if namespace and "$" not in namespace else ["prod", "default", "egress-client", "egress-other"]:
            x = json.loads(json.dumps(o))
            x["metadata"]["namespace"] = n
            objs.setdefault((x["kind"], x["apiVersion"].split("/")[0], n, x["metadata"]["name"]), x)
    everything = [inert(o) for o in wide + list(objs.values())]
    bundle = json.dumps({"apiVersion": "v1", "kind": "List", "items": everything})
    kubectl("create", "-f", "-", stdin=bundle, check=False)  # what the API server must refuse is refused here too
    there = {(o["apiVersion"].split("/")[0] if "/" in o["apiVersion"] else "", o["kind"]) for o in listed() if o["metadata"].get("labels", {}).get(MINE)}
    lacking = wanted - there
    if lacking:
        sys.exit(f"no object of a stranger's could be made of {sorted(lacking)}")
    print(len(there), "kinds")


def resources():
    out = kubectl("api-resources", "--verbs=list,delete", "-o", "name").split()
    return [r for r in out if not r.endswith("metrics.k8s.io")]


def listed(*args):
    text = kubectl("get", ",".join(resources()), "-A", "-o", "json", "--show-managed-fields=false", *args)
    return json.loads(text)["items"]


def state():
    """Identity and content of every object that no run has made."""
    out, runs = {}, set()
    items = listed()
    for o in items:
        if o["kind"] == "Namespace" and LABEL in o["metadata"].get("labels", {}):
            runs.add(o["metadata"]["name"])
    for o in items:
        meta = o["metadata"]
        if o["kind"] in RESTLESS or LABEL in meta.get("labels", {}) or meta.get("namespace") in runs:
            continue
        key = " ".join([o["apiVersion"].split("/")[0], o["kind"], meta.get("namespace", ""), meta["name"]])
        # An EndpointSlice has the labels of its Service, and is its controller's.
        foreign = meta.get("labels", {}).get(MINE) and o["kind"] != "EndpointSlice"
        version = meta.pop("resourceVersion", None)
        for k in ("managedFields", "generation"):
            meta.pop(k, None)
        if not foreign:
            o.pop("status", None)
            for k in list(meta.get("annotations", {})):
                # Leases of old, and when the pods that a Service selects have last changed, ready or not.
                if k.startswith("control-plane.alpha.kubernetes.io/") or k == "endpoints.kubernetes.io/last-change-trigger-time":
                    meta["annotations"].pop(k)
            if not meta.get("annotations"):
                meta.pop("annotations", None)
        out[key] = [meta["uid"], version if foreign else "", json.dumps(o, sort_keys=True)]
    return out


def note(file):
    before = None
    while True:
        now = state()
        if now == before:
            break
        before = now
        threading.Event().wait(2)
    with open(file, "w") as f:
        json.dump(before, f)
    print(len(before), "objects noted,", sum(1 for v in before.values() if v[1]), "of them a stranger's")


def compare(file):
    with open(file) as f:
        before = json.load(f)
    now = state()
    bad = [k + (" is gone" if k not in now else " is another one" if now[k][0] != v[0] else " was changed") for k, v in before.items() if now.get(k) != v]
    if bad:
        sys.exit("not as it was before:\n  " + "\n  ".join(bad[:20]))


def left():
    found = [" ".join([o["kind"], o["metadata"].get("namespace", ""), o["metadata"]["name"]]) for o in listed("-l", LABEL)]
    if found:
        sys.exit("left by a run:\n  " + "\n  ".join(found[:20]))


{"make": make, "note": note, "compare": compare, "left": left}[sys.argv[1]](*sys.argv[2:])
