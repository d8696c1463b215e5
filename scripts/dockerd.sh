#!/usr/bin/env bash
# A Docker daemon of our own for machines where none runs: own socket, data and address pools.
# usage: dockerd.sh start (prints the DOCKER_HOST to use) | stop
# stop leaves forwarding and firewall as start has found them; images stay for the next start.
set -euo pipefail
home=${XDG_CACHE_HOME:-$HOME/.cache}/mesh-egress-conformance/dockerd
run=/run/mesh-egress-dockerd
socket=unix://$run/docker.sock

cgroups() { find /sys/fs/cgroup -maxdepth 2 -type d -name docker | sort; }

start() {
  if docker -H "$socket" version >/dev/null 2>&1; then echo "$socket"; return; fi
  mkdir -p "$home" "$run"
  cat /proc/sys/net/ipv4/ip_forward >"$run/ip_forward"
  iptables -S FORWARD | head -1 >"$run/forward"
  cgroups >"$run/cgroups"
  runtime=()
  # Where root lacks CAP_SYS_RESOURCE, runc fails for a privileged container, which asks for everything.
  if ! (((16#$(awk '/^CapBnd/{print $2}' /proc/self/status) >> 24) & 1)); then
    cat >"$run/runc" <<'WRAP'
#!/bin/bash
for ((i = 1; i <= $#; i++)); do
  n=$((i + 1))
  case ${!i} in
  --bundle | -b) f=${!n}/config.json ;;
  --process | -p) f=${!n} ;;
  esac
done
[ -n "${f:-}" ] && [ -f "$f" ] && sed -i 's/"CAP_SYS_RESOURCE",//g; s/,"CAP_SYS_RESOURCE"//g' "$f"
exec "$(PATH=/usr/sbin:/usr/bin:/sbin:/bin command -v runc)" "$@"
WRAP
    chmod 755 "$run/runc"
    runtime=(--add-runtime "held-caps=$run/runc" --default-runtime held-caps)
  fi
  setsid dockerd --data-root "$home" --exec-root "$run/exec" --host "$socket" --pidfile "$run/pid" --bip 172.30.0.1/24 \
    --default-address-pool base=172.31.0.0/16,size=24 --default-cgroupns-mode private --log-level warn "${runtime[@]}" \
    >"$run/log" 2>&1 </dev/null &
  for _ in $(seq 100); do
    if docker -H "$socket" version >/dev/null 2>&1; then echo "$socket"; return; fi
    sleep 0.2
  done
  tail -20 "$run/log" >&2
  exit 1
}

stop() {
  [ -f "$run/pid" ] || return 0
  pid=$(cat "$run/pid")
  kill "$pid" 2>/dev/null || true
  for _ in $(seq 100); do [ -d "/proc/$pid" ] || break; sleep 0.1; done
  ip link del docker0 2>/dev/null || true
  for save in iptables-save iptables-legacy-save; do
    command -v "$save" >/dev/null && "$save" 2>/dev/null | grep -q DOCKER || continue
    "$save" | grep -vE 'DOCKER|docker0|172\.3[01]\.' | "${save%-save}-restore"
  done
  iptables -P FORWARD "$(awk '{print $3}' "$run/forward")"
  cat "$run/ip_forward" >/proc/sys/net/ipv4/ip_forward
  comm -13 "$run/cgroups" <(cgroups) | while read -r dir; do find "$dir" -depth -type d -exec rmdir {} + 2>/dev/null || true; done
  rm -rf "$run"
}

case ${1:-} in
start) start ;;
stop) stop ;;
*) echo "usage: dockerd.sh start|stop" >&2; exit 64 ;;
esac
