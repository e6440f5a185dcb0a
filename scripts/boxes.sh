# Sourced: the boxes that the browser tests run.

build_mutant() {
  # The browser's mute test must fail against a box without a gate: built here, never shipped.
  mkdir -p target/mutant
  HUDDLED_MUTATION=mute_gate_removed cargo build --locked --bin huddled 2>&1 | { grep -v '^ *Compiling' || true; }
  cp target/debug/huddled target/mutant/huddled
}

browser_set() {
  HUDDLED_BIN="$PWD/target/debug/huddled" HUDDLED_MUTANT_BIN="$PWD/target/mutant/huddled" \
    node --test "tests/browser/$1.mjs"
}

# Network namespaces need root.
network_set() {
  local root=()
  [ "$(id -u)" = 0 ] || root=(sudo --preserve-env=PATH)
  "${root[@]}" env HUDDLED_BIN="$PWD/target/debug/huddled" node --test "tests/network/$1.mjs"
}
