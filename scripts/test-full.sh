#!/usr/bin/env bash
# The slow rest: documentation, licences and advisories, long browser scenarios.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/steps.sh

licences() {
  if ! cargo deny --version >/dev/null 2>&1; then
    echo "installing cargo-deny (some minutes, once)"
    cargo install cargo-deny --locked --quiet
  fi
  # The advisory database is fetched from the network; where that is closed the rest still counts.
  cargo deny --locked check licenses bans sources
  cargo deny --locked check advisories ||
    echo "NOTE: advisories were not checked or have findings, see above"
}

step "documentation" make --no-print-directory doc
step "licences, sources" licences
