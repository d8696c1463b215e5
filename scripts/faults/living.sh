#!/usr/bin/env bash
# A cluster that lives on: its name, its kubeconfig, its isolation, runs in it that are killed or cut short, and its death.
source "$(dirname "$0")/lib.sh"

"$tool" up --name "$name" >"$work/log" 2>&1 || die "up"
kubeconfig=$("$tool" kubeconfig --name "$name")
[[ $(stat -c %a "$kubeconfig") == 600 ]] || die "the kubeconfig can be read by others"
rc=0; "$tool" up --name "$name" >"$work/log" 2>&1 || rc=$?
[[ $rc == 2 ]] || die "the same name twice: exit $rc"
wants 'already exists' "the same name twice"
"$tool" kubectl --name "$name" -- get --raw /readyz >/dev/null || die "the same name twice: the first cluster suffered"
echo "ok  the same name twice"

# No packet of a pod may reach this machine's own network, whatever address it is sent to.
port=$((18000 + RANDOM % 900))
python3 -m http.server "$port" --bind :: >"$work/http" 2>&1 & # of both families
server=$!
wait_for 10 curl -s -o /dev/null "http://127.0.0.1:$port/" || die "no listener on the machine"
before=$(wc -l <"$work/http")
for addr in $(ip -4 -o addr show scope global | awk '{sub("/.*","",$4); print $4}') $(ip -4 route show default | awk '{print $3}') \
  $(ip -6 -o addr show scope global | awk '{sub("/.*","",$4); print "[" $4 "]"}') $(ip -6 route show default | awk '{print "[" $3 "]"}'); do
  if "$tool" kubectl --name "$name" -- exec -n egress-control deploy/sleep -- curl -s -m 2 -o /dev/null "http://$addr:$port/"; then
    kill "$server"; die "a pod reached $addr"
  fi
done
# A machine may have no IPv6 of its own that could be tried. The pod has some, and the cluster no link but its own.
if [[ -e /proc/sys/net/ipv6/conf/all/forwarding ]]; then
  six=$("$tool" kubectl --name "$name" -- get pods -n egress-control -o 'jsonpath={.items[0].status.podIPs[1].ip}')
  [[ $six == fd00:10:244::* ]] || die "the control client has no IPv6 address: '$six'"
  "$tool" kubectl --name "$name" -- exec -n egress-control deploy/sleep -- curl -s -m 5 -o /dev/null "http://six.example/" || die "the hermetic internet does not answer over IPv6"
  node=/proc/$(pid_of kubelet)/ns/net
  links=$(nsenter --net="$node" ip -o link show | awk -F': ' '{sub("@.*","",$2); print $2}' | grep -vE '^(lo|br0|wan0|veth.*)$' || true)
  [[ -z $links ]] || die "the node has links of which this test does not know: $links"
  routes=$(nsenter --net="$node" ip -6 route show default)
  [[ $routes == "default via fd00:172:31::2 dev wan0"* ]] || die "IPv6 leaves the node by another way: $routes"
fi
kill "$server"; wait "$server" 2>/dev/null || true
[[ $(wc -l <"$work/http") == "$before" ]] || die "a pod's request arrived at the machine"
echo "ok  no way from a pod to the machine's own network"

# A run that is killed in a cluster that lives on leaves rules and a changed mesh configuration, and the next
# one must not take them for verdicts.
rules() { kubectl get serviceentries -A --no-headers; }
changed() { kubectl -n istio-system get configmap istio -o 'jsonpath={.metadata.annotations.mesh-egress-conformance/installed}'; }
: >"$work/log" # what an earlier part has written is not this one's
"$tool" run --name "$name" --case matrix-allow-any-with-address,matrix-allow-any-without-address --out "$work/out" >"$work/log" 2>&1 &
pid=$!
wait_for 60 eval 'kill -STOP "$pid"; [[ -n $(rules) && -n $(changed) ]] || { kill -CONT "$pid"; false; }' || die "killed beside: no rule ever came"
rc=0; "$tool" run --name "$name" --case bypass-dns --out "$work/out2" >"$work/log2" 2>&1 || rc=$?
[[ $rc == 2 ]] && grep -q 'another run is at work' "$work/log2" || die "two runs in one cluster: exit $rc"
"$tool" probe --name "$name" http://httpbin.org/headers >"$work/log2" 2>&1 || die "a probe beside a run: $(tail -n 3 "$work/log2")"
[[ -n $(rules) && -n $(changed) ]] || die "a probe beside a run has changed its cluster"
kill -9 "$pid"; wait "$pid" 2>/dev/null || true
"$tool" run --name "$name" --label-filter source --out "$work/out" >"$work/log" 2>&1 || die "killed beside: the next run fails"
wants 'which was cut off, had left: .*ServiceEntry' "killed beside"
[[ -z $(rules) && -z $(changed) ]] || die "killed beside: something is left: $(rules) $(changed)"
echo "ok  a run killed in a cluster that lives on"

# timeout(1) sends its signal twice.
: >"$work/log" # what an earlier part has written is not this one's
"$tool" run --name "$name" --label-filter source --out "$work/out" >"$work/log" 2>&1 &
pid=$!
wait_for 60 grep -q '^conforms' "$work/log" || die "two signals: no case ever ran"
kill -TERM "$pid"; kill -TERM "$pid" 2>/dev/null || true
rc=0; wait "$pid" || rc=$?
[[ $rc == 2 ]] || die "two signals: exit $rc"
wants 'interrupted: [0-9]+ cases have no verdict' "two signals"
[[ -z $(kubectl get serviceentries,namespaces -A -l mesh-egress-conformance/run --no-headers) ]] || die "two signals: something is left"
echo "ok  two signals at once clean up"

# The API server dies in the middle of a run.
: >"$work/log" # what an earlier part has written is not this one's
"$tool" run --name "$name" --label-filter source --out "$work/out" >"$work/log" 2>&1 &
pid=$!
wait_for 60 grep -q '^conforms' "$work/log" || die "dying API server: no case ever ran"
kill -9 "$(pid_of kube-apiserver)" || die "dying API server: no such process"
rc=0; wait "$pid" || rc=$?
[[ $rc == 2 ]] || die "dying API server: exit $rc, wanted 2"
wait_for 5 eval '"$tool" status >"$work/log" 2>&1; grep -q kube-apiserver "$work/log"' || die "dying API server: the status does not name it"
rc=0; "$tool" down --name "$name" >"$work/log" 2>&1 || rc=$?
nothing_left "an API server that dies" 5
[[ ! -e $kubeconfig ]] || die "the kubeconfig outlives the cluster"
