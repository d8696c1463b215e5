#!/usr/bin/env bash
# Ctrl-C, once and twice, while a run brings its own cluster up and uses it.
source "$(dirname "$0")/lib.sh"

: >"$work/log" # what an earlier part has written is not this one's
"$tool" run --name "$name" --label-filter source --table --out "$work/out" >"$work/log" 2>&1 &
pid=$!
wait_for 60 grep -q '^conforms' "$work/log" || die "interrupt: no case ever ran"
kill -INT "$pid"
rc=0; wait "$pid" || rc=$?
[[ $rc == 2 ]] || die "interrupt: exit $rc, wanted 2"
wants 'interrupted: [0-9]+ cases have no verdict' interrupt
wants '✓ injection-automatic' interrupt
nothing_left "Ctrl-C once" 5

: >"$work/log" # what an earlier part has written is not this one's
"$tool" run --name "$name" --label-filter source --out "$work/out" >"$work/log" 2>&1 &
pid=$!
wait_for 60 grep -q 'istiod ready' "$work/log" || die "interrupt twice: istiod never came"
kill -INT "$pid"; kill -INT "$pid" 2>/dev/null || true
rc=0; wait "$pid" || rc=$?
[[ $rc == 130 || $rc == 2 ]] || die "interrupt twice: exit $rc"
nothing_left "Ctrl-C twice" 5
