#!/usr/bin/env bash
# From a fresh clone to a meeting with a box of simulated devices: sets up, builds, starts, prints the address.
set -euo pipefail
cd "$(dirname "$0")/.."

now="setting up"
trap 'code=$?; [ "$code" = 0 ] || echo "demo: FAILED at: $now (exit $code); the lines above say why" >&2' EXIT
step() { now="$1"; shift; echo "== demo: $now"; "$@"; }

step "what is needed (packages, once)" scripts/setup.sh demo
step "the guest page" scripts/guest.sh
# The build of the tests, so that the dependencies are compiled once for both commands; it is fast enough for 30 frames/s.
step "the program (some minutes the first time)" cargo build --locked --bins
trap - EXIT
# The program in place of this shell, so that it gets the signals.
exec target/debug/huddled demo --pages target/guest "$@"
