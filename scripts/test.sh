#!/usr/bin/env bash
# What everybody runs: lints, unit and scenario tests, the real binary with Chromium and the official
# Socket.IO server.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/steps.sh
. scripts/boxes.sh

step "formatting" cargo fmt --check
step "lints" cargo clippy --locked --all-targets -- -D warnings
step "a box without a mute gate, for the test that must fail" build_mutant
step "the binaries" cargo build --locked --bins
step "unit and integration tests" cargo test --locked --lib --test it
step "thousands of seeds" scripts/seeds.sh
step "the guest page" scripts/guest.sh
step "browsers" browser_set quick
step "networks that fail" network_set quick
