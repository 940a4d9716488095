#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# tools/check.sh PYTEST... [ARGUMENT...] - all tests, a skipped one being a failure.
#
# The tests inside a guest have a process of their own, so that two processors are used; but there is
# one guest at a time, for two that share them take four times as long each. With arguments of
# pytest's, one process runs what they choose.
set -euo pipefail

export VOF_NO_SKIP=1
pytest=("${@:1:3}")
arguments=("${@:4}")
options=(-q --durations=5 --durations-min=2)

if (( ${#arguments[@]} )); then
    exec "${pytest[@]}" "${options[@]}" "${arguments[@]}"
fi

# Nothing is compiled in a guest, where it takes long and is not kept.
"${pytest[0]}" -m compileall -q gateway tests

log=build/guest/tests.log
mkdir -p build/guest
set -m # or it would ignore the signal by which it ends its guests
"${pytest[@]}" "${options[@]}" -m "guest and not soak" >"$log" 2>&1 &
guest=$!
set +m
trap 'kill -INT -- "-$guest" 2>/dev/null; wait' EXIT

status=0
"${pytest[@]}" "${options[@]}" -m "not guest and not soak" || status=$?
echo "== tests inside a real kernel"
wait "$guest" || status=$?
trap - EXIT
cat "$log"
exit "$status"
