#!/usr/bin/env bash
# The slow rest: documentation, licences and advisories, long browser scenarios, the hardware lab.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/steps.sh
. scripts/boxes.sh

licences() {
  if ! cargo deny --version >/dev/null 2>&1; then
    echo "installing cargo-deny (some minutes, once)"
    cargo install cargo-deny --locked --quiet
  fi
  cargo deny --locked check licenses bans sources
  # The advisory database comes from the network; where that is closed the rest still counts.
  if cargo deny --locked fetch db; then
    cargo deny --locked check advisories
  else
    echo "NOTE: advisories were not checked, their database cannot be fetched from here"
  fi
}

step "documentation" make --no-print-directory doc
step "licences, sources" licences
step "without the hub, with the codec as a binary" cargo check --locked --bins --no-default-features --features openh264-libloading
step "the Yocto layer" scripts/yocto-lint.sh
step "a box without a mute gate, for the test that must fail" build_mutant
step "the binaries" cargo build --locked --bins --example hostile
step "the guest page" scripts/guest.sh
step "slow browser scenarios" browser_set slow
step "slow scenarios of networks that fail" network_set slow
# Last and alone: its guest is emulated, and everything in it has time limits.
step "the hardware lab" where_possible "the hardware lab" env LAB_LIMIT=900 tests/lab/run.sh
