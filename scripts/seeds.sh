#!/usr/bin/env bash
# Thousands of seeds of the simulation of several rooms: the brain and its tests need nothing but std, so bare rustc builds them
# optimised in seconds. The invariants are those of the test run (debug assertions).
#   SIM_SEEDS  how many (3000)
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
out="$root/target/seeds"
mkdir -p "$out"
printf '#[path = "%s/src/room/mod.rs"]\npub mod room;\n' "$root" >"$out/huddled.rs"
printf '#[path = "%s/tests/room/mod.rs"]\nmod room;\n' "$root" >"$out/seeds.rs"
options=(--edition 2024 -O -C debug-assertions=on --out-dir "$out")
"${RUSTC:-rustc}" "${options[@]}" --crate-name huddled --crate-type rlib "$out/huddled.rs"
"${RUSTC:-rustc}" "${options[@]}" --crate-name seeds --test --extern "huddled=$out/libhuddled.rlib" "$out/seeds.rs"
SIM_SEEDS="${SIM_SEEDS:-3000}" "$out/seeds" simulation
