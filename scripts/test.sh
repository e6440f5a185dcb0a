#!/usr/bin/env bash
# What everybody runs: lints, unit and scenario tests, the real binary with Chromium and the official
# Socket.IO server.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/steps.sh

build_mutant() {
  # The browser's mute test must fail against a box without a gate: built here, never shipped.
  mkdir -p target/mutant
  HUDDLED_MUTATION=mute_gate_removed cargo build --locked --bin huddled 2>&1 | grep -v '^ *Compiling' || return 1
  cp target/debug/huddled target/mutant/huddled
}

browser() {
  HUDDLED_BIN="$PWD/target/debug/huddled" HUDDLED_MUTANT_BIN="$PWD/target/mutant/huddled" \
    node --test tests/browser/quick.mjs
}

step "formatting" cargo fmt --check
step "lints" cargo clippy --locked --all-targets -- -D warnings
step "a box without a mute gate, for the test that must fail" build_mutant
step "the binaries" cargo build --locked --bins
step "unit and integration tests" cargo test --locked --lib --test it
step "browsers" browser
