#!/usr/bin/env bash
# A port for the API server that is taken.
source "$(dirname "$0")/lib.sh"

port=$((18000 + RANDOM % 900))
python3 -m http.server "$port" --bind 127.0.0.1 >/dev/null 2>&1 &
server=$!
wait_for 10 curl -s -o /dev/null "http://127.0.0.1:$port/"
rc=0; "$tool" up --name "$name" --port "$port" >"$work/log" 2>&1 || rc=$?
kill "$server"; wait "$server" 2>/dev/null || true
[[ $rc == 2 ]] || die "a taken port: exit $rc"
wants 'port' "a taken port"; wants 'address already in use' "a taken port"
nothing_left "a taken port" 5
