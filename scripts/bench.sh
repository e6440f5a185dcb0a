#!/usr/bin/env bash
# Figures for docs/benchmarks.md, on the optimised build. Takes some minutes; a quiet machine helps.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/steps.sh

out=$(mktemp)
encode() { cargo bench --locked --bench encode | tee "$out"; }
daemon() {
  BARE_CODEC_MS=$(awk '/^bare codec/ {print $3}' "$out") HUDDLED_BIN="$PWD/target/release/huddled" \
    node tests/browser/bench.mjs
}

step "encoding once for 1, 3 and 7 peers" encode
step "marking packets" cargo bench --locked --bench marking
step "a press and its light" cargo bench --locked --bench light
step "the optimised daemon" cargo build --locked --release --bins
step "the whole daemon" daemon
rm -f "$out"
