#!/usr/bin/env bash
# Pages whose commands run: all pages are as they are written, in a cluster of a plain "up", which gets the Gateway API on the way; a page
# with an output that was edited is not, and the diff says where; and what the pages of istio.io need is there in a cluster of their
# profile. NAME is the clusters', PAGES are pages by name in place of all, PAGE is the one that is edited.
set -euo pipefail
cd "$(dirname "$0")/.."
tool=$PWD/bin/egressctl
name=${NAME:-verifydocs} page=${PAGE:-tcp-egress}
work=$(mktemp -d)
trap '"$tool" down --name "$name" >/dev/null 2>&1 || true; rm -rf "$work"' EXIT
die() { echo "DOCS TEST FAILED: $*" >&2; tail -n 40 "$work/log" >&2; exit 1; }
t() { # EXIT WHAT COMMAND...
  local rc=0
  "${@:3}" >"$work/log" 2>&1 || rc=$?
  [[ $rc == "$1" ]] || die "$2: exit $rc, wanted $1"
}
wants() { grep -qF -- "$1" "$work/log" || die "$2: the output lacks '$1'"; }
k() { "$tool" kubectl --name "$name" -- "$@"; }

t 0 "a cluster" "$tool" up --name "$name"
t 1 "a cluster without the Gateway API" k get crd httproutes.gateway.networking.k8s.io
read -ra pages <<<"${PAGES:-$(cd docs/pages && printf '%s ' *.md)}"
t 0 "the pages" "$tool" docs verify --name "$name" "${pages[@]}"
[[ $(grep -c 'docs/pages/.* as written$' "$work/log") == "${#pages[@]}" ]] || die "the pages: ${#pages[@]} were to be verified"
cat "$work/log"
echo "ok  docs: the commands of ${#pages[@]} pages print what they have, without --gateway-api"

# A copy of the pages, in which one output is another one.
mkdir "$work/edited"
cp -r docs fixtures samples "$work/edited"
python3 - "$work/edited/docs/pages/$page.md" <<'P'
import re, sys
text = open(sys.argv[1]).read()
new, n = re.subn(r"(```output\n)([^`]*?\n)(```)", r"\1\2nobody prints this\n\3", text, count=1)
assert n == 1, "the page has no output"
open(sys.argv[1], "w").write(new)
P
cd "$work/edited"
# The step that prints something else may only look; the others run as they are, so nothing is left in the cluster.
t 1 "an edited page" "$tool" docs verify --name "$name" "$page"
cd - >/dev/null
wants '-nobody prints this' "an edited page"
wants '1 of 1 page not as written' "an edited page"
echo "ok  docs: a page with an edited output fails with a diff"
t 0 "down" "$tool" down --name "$name"

t 0 "the profile istio-docs" "$tool" up --name "$name" --profile istio-docs
t 0 "the service range" k describe pod kube-apiserver -n kube-system
wants '--service-cluster-ip-range=10.96.0.0/16' "the service range"
t 0 "the sleep sample" k apply -f samples/sleep/sleep.yaml
t 0 "the sleep sample" k rollout status deploy/sleep --timeout=90s
t 0 "httpbin.org through the sidecar" k exec deploy/sleep -c sleep -- curl -s http://httpbin.org/headers
wants '"Accept": "*/*",' "httpbin.org through the sidecar"
t 0 "the German Wikipedia" k exec deploy/sleep -c sleep -- curl -s https://de.wikipedia.org/wiki/Wikipedia:Hauptseite
wants '<title>Wikipedia – Die freie Enzyklopädie</title>' "the German Wikipedia"
for ip in 91.198.174.192 103.102.166.224 198.35.26.96 208.80.153.224 208.80.154.224; do
  t 0 "a range of Wikipedia" k exec deploy/sleep -c sleep -- curl -sf -o /dev/null --resolve "en.wikipedia.org:443:$ip" https://en.wikipedia.org/wiki/Main_Page
done
for _ in $(seq 50); do
  k logs deploy/sleep -c istio-proxy --tail=20 >"$work/log"
  grep -q '"GET /headers HTTP/1.1" 200 - via_upstream' "$work/log" && break
  sleep 0.1
done
wants '"GET /headers HTTP/1.1" 200 - via_upstream' "the access log as text"
t 0 "the gateway's service account" k get pods -n istio-system -l istio=egressgateway -o 'jsonpath={.items[*].spec.serviceAccountName}'
wants istio-egressgateway-service-account "the gateway's service account"
t 2 "a case in that cluster" "$tool" run --name "$name" --case http-serviceentry --out "$work/out"
wants 'has the profile istio-docs' "a case in that cluster"
t 0 "a shell that reads a pipe" bash -c 'echo "curl -s -o /dev/null -w %{http_code} http://httpbin.org/headers" | "$0" shell --name "$1"' "$tool" "$name"
if grep -q TTY "$work/log"; then die "a shell that reads a pipe: kubectl complains of a terminal"; fi
wants 200 "a shell that reads a pipe"
echo "ok  docs: a cluster of the profile istio-docs has what the pages of istio.io count on"

# An image of the cache under another name, which no registry could give.
archive=$(ls "${XDG_CACHE_HOME:-$HOME/.cache}"/mesh-egress-conformance/parts/image-curl-1-*/image.tar | head -n 1)
python3 - "$archive" "$work/nginx.tar" <<'P'
import io, json, sys, tarfile
with tarfile.open(sys.argv[1]) as a, tarfile.open(sys.argv[2], "w") as out:
    for m in a:
        data = a.extractfile(m).read() if m.isfile() else b""
        if m.name == "manifest.json":
            images = json.loads(data)
            images[0]["RepoTags"] = ["nginx:latest"]
            data = json.dumps(images).encode()
            m.size = len(data)
        out.addfile(m, io.BytesIO(data))
P
t 0 "an image" "$tool" image load --name "$name" "$work/nginx.tar"
wants "has docker.io/library/nginx:latest" "an image"
t 0 "a pod of the image" k create deployment my-nginx --image=nginx -- sleep infinity
t 0 "a pod of the image" k rollout status deploy/my-nginx --timeout=60s
echo "ok  docs: an image from an archive runs, under a name without a version"
