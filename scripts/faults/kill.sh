#!/usr/bin/env bash
# A run is killed at several moments: nothing of it survives.
source "$(dirname "$0")/lib.sh"

for moment in 'components in the cache' 'cluster processes started' 'API server ready' 'istiod ready' 'first verdict'; do
  : >"$work/log"
  : >"$work/log" # what an earlier part has written is not this one's
  "$tool" run --name "$name" --case injection-automatic,tcp-cidr-v1,http-serviceentry --out "$work/out" >"$work/log" 2>&1 &
  pid=$!
  wait_for 60 grep -q "$moment" "$work/log" || die "kill: '$moment' never came"
  kill -9 "$pid"
  wait "$pid" 2>/dev/null || true
  nothing_left "kill -9 after '$moment'" 5
done
