#!/usr/bin/env bash
# Hosts of one's own (samples/hosts): the right verdicts on a good and on a broken mesh, hosts added to a running cluster, hosts
# that clash or meet the cluster's own addresses refused, and what an existing cluster can carry. PROVIDER is embedded or
# kind, NAME the cluster's.
set -euo pipefail
cd "$(dirname "$0")/.."
tool=$PWD/bin/egressctl
provider=${PROVIDER:-embedded}
at=(--provider "$provider" --name "${NAME:-hosts}")
work=$(mktemp -d)
trap '"$tool" down "${at[@]}" >/dev/null 2>&1 || true; rm -rf "$work"' EXIT
die() { echo "HOSTS TEST FAILED: $*" >&2; tail -n 40 "$work/log" >&2; exit 1; }
wants() { grep -qE -- "$1" "$work/log" || die "$2: the output lacks '$1'"; }
t() { # EXIT WHAT COMMAND...
  local rc=0
  "$tool" "${@:3}" >"$work/log" 2>&1 || rc=$?
  [[ $rc == "$1" ]] || die "$2: exit $rc, wanted $1"
}
hosts() { printf 'hosts:\n  - {name: %s, address: %s, services: [{port: 443, kind: https}]}\n' "$1" "$2" >"$work/hosts.yaml"; }

t 0 "cases with hosts of their own" run "${at[@]}" --keep --cases samples/hosts --out "$work/out"
wants '11 cases in .* 11 conform' "cases with hosts of their own"
t 1 "a mesh that lets everything out" run "${at[@]}" --cases samples/hosts --sabotage allow-any --out "$work/out"
wants '11 cases in .* 11 violate' "a mesh that lets everything out"
echo "ok  hosts ($provider): names, wildcards, addresses, private ranges, brokers and a bank with authorities of its own conform, and are violated on a broken mesh"

hosts late.example 10.21.0.0/24
t 0 "a host added to a running cluster" probe "${at[@]}" --hosts "$work/hosts.yaml" --from control https://late.example/headers
wants 'destination +late.example \(10\.21\.0\.1:443\)' "a host added to a running cluster"
t 0 "the same host once more" probe "${at[@]}" --hosts "$work/hosts.yaml" --from control https://late.example/headers
t 0 "another address of its range" probe "${at[@]}" --from control tls://10.21.0.77 # whose certificate is for the name
wants 'late.example .10\.21\.0\.77:443.' "another address of its range"
hosts late.example 10.22.0.1
t 2 "another host of the same name" probe "${at[@]}" --hosts "$work/hosts.yaml" https://late.example/headers
wants "hosts.yaml:2: the name late.example is that of another host" "another host of the same name"
hosts pods.example 10.244.3.0/24
t 2 "a range of the cluster's own" probe "${at[@]}" --hosts "$work/hosts.yaml" https://pods.example/headers
wants '10\.244\.3\.0/24 of host pods.example meets 10\.244\.0\.0/16' "a range of the cluster's own"
echo "ok  hosts ($provider): a running cluster takes further hosts, and refuses those that clash with its own"

cp "$("$tool" kubeconfig "${at[@]}")" "$work/kubeconfig"
t 0 "an existing cluster" run --kubeconfig "$work/kubeconfig" ${CLIENT_IMAGE:+--client-image "$CLIENT_IMAGE"} --cases samples/hosts --out "$work/out"
wants '11 cases in .* 5 conform, 0 violate, 0 inconclusive, 6 skipped' "an existing cluster"
grep -q 'names the address 10.20.0.0/16, which no pod can own' "$work/out/report.json" || die "an existing cluster: the skipped case lacks its reason"
echo "ok  hosts ($provider, as somebody else's): names, wildcards and certificates conform, private addresses are skipped with the reason"

t 0 "down" down "${at[@]}"
hosts pods.example 10.96.7.0/24
t 2 "a new cluster with a range of its own" run "${at[@]}" --hosts "$work/hosts.yaml" --case tcp-cidr-v1 --out "$work/out"
wants '10\.96\.7\.0/24 of host pods.example meets 10\.96\.0\.0/16' "a new cluster with a range of its own"
echo "ok  hosts ($provider): a range that meets the cluster's own is refused before a cluster is made"
