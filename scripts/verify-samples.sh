#!/usr/bin/env bash
# Applies Istio's own samples, unmodified, from the module of the Istio version in use, and calls them.
set -euo pipefail
cd "$(dirname "$0")/.."
cluster=samples
trap 'bin/egressctl down --name "$cluster" >/dev/null 2>&1 || true' EXIT
k() { bin/egressctl kubectl --name "$cluster" -- "$@"; }

bin/egressctl up --name "$cluster" 2>/dev/null >/dev/null
samples=$(cat "${XDG_CACHE_HOME:-$HOME/.cache}"/mesh-egress-conformance/parts/module-*/path | head -n 1)/samples
k create namespace samples >/dev/null
k label namespace samples istio-injection=enabled >/dev/null
k apply -n samples -f "$samples/sleep/sleep.yaml" -f "$samples/curl/curl.yaml" -f "$samples/httpbin/httpbin.yaml" >/dev/null
for d in sleep curl httpbin; do
  k rollout status -n samples "deploy/$d" --timeout=90s >/dev/null
done
got=$(k exec -n samples deploy/curl -c curl -- sh -c \
  'curl -s -o /dev/null -w "%{http_code} " http://httpbin:8000/get; time true 2>/dev/null; echo a-c | tr - b | grep abc')
[[ $got == "200 abc" ]] || { echo "Istio's samples: wanted '200 abc', got '$got'" >&2; exit 1; }
echo "ok  Istio's own samples (sleep, curl, httpbin) apply unmodified and work"
