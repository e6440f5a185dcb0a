#!/usr/bin/env bash
# Cross-builds for aarch64 (Raspberry Pi 4 and 5, other 64-bit ARM boards) with Debian 12's compilers and libraries, and tries the
# programs under emulation. Everything is unpacked below target/cross: nothing is installed, no architecture is added, no root needed.
#   cross.sh             both
#   cross.sh build       the programs alone, in target/cross/build/aarch64-unknown-linux-gnu/PROFILE
#   cross.sh try         only try what is built; BUILT=FOLDER: the programs in there, say of an unpacked package
# PROFILE=release builds what a box should run; without it the profile of the tests (dev). The result is written to target/cross.txt.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/steps.sh
. scripts/apt.sh

fail() { echo "cross: $*" >&2; exit 1; }

target=aarch64-unknown-linux-gnu
gnu=aarch64-linux-gnu
cross=$PWD/target/cross
tools=$cross/tools # programs for this machine
board=$cross/board # headers and libraries of the other
profile=${PROFILE:-dev}
[ "$profile" = dev ] && built=$cross/build/$target/debug || built=$cross/build/$target/$profile
built=${BUILT:-$built}
try=$cross/try     # what the trial writes
result=$PWD/target/cross.txt
running=()

# Starts a program of the tools with their libraries, which nothing else that a build runs gets to see.
wrapper() { # NAME PROGRAM ARGUMENT...
  printf '#!/bin/sh\nLD_LIBRARY_PATH=%s exec %s "$@"\n' "$libraries" "${*:2}" >"$cross/bin/$1"
}

toolchain() {
  local library llvm libraries
  [ "$(uname -m)" = x86_64 ] || fail "this machine is no x86-64; on one that is aarch64 already, make build is enough"
  grep -qs 'VERSION_CODENAME=bookworm' /etc/os-release || fail "the packages' names are those of Debian 12; this is another system"
  [ ! -e "$cross/complete" ] || return 0
  rm -rf "$tools" "$board" "$cross/bin"
  apt_state "$cross"
  mkdir -p "$cross/apt/tools"
  library=$(needs libstd-rust-web-dev libstd-rust-web)
  llvm=$(needs "$library" libllvm)
  [ -n "$llvm" ] || fail "Debian's Rust compiler for browsers (rustc-web) is not in the machine's package sources; add bookworm-security"
  # The compilers' own libraries (libmpc3, libbinutils, ...) are those that build-essential brings.
  (cd "$cross/apt/tools" && apt-get -qq download rustc-web libstd-rust-web-dev:amd64 "$library:amd64" "$llvm:amd64" libz3-4:amd64 \
    libstd-rust-web-dev:arm64 {gcc,g++,cpp}-12-$gnu binutils-$gnu {libgcc,libstdc++}-12-dev-arm64-cross \
    {libgcc-s1,libstdc++6}-arm64-cross qemu-user-static)
  # With all that they depend on.
  apt-get -qq install --yes --download-only --no-install-recommends \
    libc6-dev:arm64 libasound2-dev:arm64 libssl-dev:arm64 libstdc++6:arm64 >/dev/null
  unpack "$tools" "$cross"/apt/tools/*.deb
  unpack "$board" "$cross"/apt/archives/*.deb
  unset APT_CONFIG
  libraries=$tools/usr/lib/x86_64-linux-gnu:$(dirname "$(find "$tools/usr/lib" -name 'libLLVM*.so*' -print -quit)")
  mkdir -p "$cross/bin"
  local name
  for name in rustc $gnu-{ar,objcopy,objdump,ranlib,strip}; do wrapper "$name" "$tools/usr/bin/$name"; done
  for name in gcc g++; do wrapper "$gnu-$name" "$tools/usr/bin/$gnu-$name-12" "--sysroot=$board"; done
  chmod +x "$cross"/bin/*
  "$cross/bin/rustc" --version >/dev/null
  rm -rf "$cross/apt"
  touch "$cross/complete"
}

build() {
  # Build scripts find the compiler's other programs in PATH.
  export PATH=$cross/bin:$tools/usr/bin:$PATH
  export RUSTC=$cross/bin/rustc CARGO_TARGET_DIR=$cross/build
  export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=$cross/bin/$gnu-gcc
  export CC_aarch64_unknown_linux_gnu=$cross/bin/$gnu-gcc CXX_aarch64_unknown_linux_gnu=$cross/bin/$gnu-g++
  export AR_aarch64_unknown_linux_gnu=$cross/bin/$gnu-ar
  export BINDGEN_EXTRA_CLANG_ARGS_aarch64_unknown_linux_gnu=--sysroot=$board
  export PKG_CONFIG_SYSROOT_DIR_aarch64_unknown_linux_gnu=$board PKG_CONFIG_ALLOW_CROSS=1
  export PKG_CONFIG_LIBDIR_aarch64_unknown_linux_gnu=$board/usr/lib/$gnu/pkgconfig:$board/usr/share/pkgconfig
  cargo build --locked --bins --profile "$profile" --target $target
  # For tests that are told where the program is (HUDDLED_BIN).
  printf '#!/bin/sh\nexec %s -L %s %s "$@"\n' "$tools/usr/bin/qemu-aarch64-static" "$board" "$built/huddled" >"$cross/huddled"
  chmod +x "$cross/huddled"
}

# A program of the other architecture, on this machine's kernel.
emulated() { "$tools/usr/bin/qemu-aarch64-static" -L "$board" "$built/$1" "${@:2}"; }
behind() { # LOG PROGRAM...: in the background
  exec "$tools/usr/bin/qemu-aarch64-static" -L "$board" "$built/$2" "${@:3}" >"$1" 2>&1
}

ok() { echo "ok    $* ($((SECONDS - steps_begun)) s)"; }
check() { # "what" command...
  local what=$1
  shift
  "$@" >"$try/said" 2>&1 || { echo "FAIL  $what"; tail -n 20 "$try/said"; return 1; }
  ok "$what"
}
within() { # SECONDS "what" command...
  local limit=$1 what=$2 from=$SECONDS
  shift 2
  until "$@" >"$try/said" 2>&1; do
    [ $((SECONDS - from)) -lt "$limit" ] || { echo "FAIL  $what (not within $limit s)"; tail -n 5 "$try/said"; tail -n 5 "$try"/*.log; return 1; }
    sleep 0.5
  done
  ok "$what, after $((SECONDS - from)) s"
}
order() { emulated huddlectl --socket "$try/$1.sock" "${@:2}"; } # BOX ORDER...
# BOX EXPRESSION: of h, what `huddlectl health` says, and i, what comes in from the other box.
shows() {
  order "$1" --json health >"$try/health" &&
    python3 -c "import json, sys; h = json.load(open(sys.argv[1])); i = h['peers_in'][0]; print(i); assert $2" "$try/health"
}

settings() { # BOX FREQUENCY: of simulated devices
  cat >"$try/$1.toml" <<TOML
[box]
name = "$1"
[signaling]
url = "http://127.0.0.1:$port"
meeting = "board"
user = "$1"
[camera]
device = "sim:testcard"
[video]
width = 320
height = 180
frame_rate = 5
[microphone]
device = "sim:tone:$2"
[speaker]
device = "sim:meter"
[panel]
backend = "sim:virtual"
[control]
socket = "$try/$1.sock"
TOML
}
box() {
  behind "$try/$1.log" huddled run --allow-sim --config "$try/$1.toml" --state-dir "$try/$1" &
  running+=($!)
}

# Two boxes and the hub between them: codecs, encryption and their assembler are those of the other architecture.
programs() {
  rm -rf "$try"
  mkdir -p "$try"
  trap 'kill "${running[@]}" 2>/dev/null' EXIT
  echo "$("$cross/bin/rustc" --version), $profile, for $(readelf -h "$built/huddled" | sed -n 's/^ *Machine: *//p')"
  "$tools/usr/bin/qemu-aarch64-static" --version | head -n 1
  check "huddled --version" emulated huddled --version
  check "huddlectl --version" emulated huddlectl --version
  check "config check" emulated huddled config check config/huddled.example.toml config/panel-raspberrypi5.toml
  check "man pages and completions" emulated huddled generate "$try/made"
  check "devices" emulated huddled devices
  cat >"$try/hub.toml" <<TOML
[hub]
listen = "127.0.0.1:0"
access = "open"
meetings = ["board"]
TOML
  behind "$try/hub.log" huddled hub --config "$try/hub.toml" --state-dir "$try/hub" &
  running+=($!)
  within 60 "the hub listens" grep -qE "127.0.0.1:[1-9]" "$try/hub.log"
  port=$(grep -oE "127.0.0.1:[1-9][0-9]*" "$try/hub.log" | head -n 1 | cut -d: -f2)
  settings A 440
  settings B 880
  check "selftest" emulated huddled selftest --allow-sim --config "$try/A.toml"
  cat "$try/said"
  box A
  box B
  within 120 "box A is ready" order A status
  within 120 "box B is ready" order B status
  within 120 "A hears the tone of B" shows A "abs(i['audio']['frequency_hz'] - 880) < 9"
  within 120 "B hears the tone of A" shows B "abs(i['audio']['frequency_hz'] - 440) < 5"
  within 120 "A sees 25 pictures of B" shows A "i['video']['decoded'] >= 25 and i['video']['decode_errors'] == 0"
  within 120 "B sees 25 pictures of A" shows B "i['video']['decoded'] >= 25 and i['video']['decode_errors'] == 0"
  check "a picture of B as PNG" order A picture B -o "$try/B.png"
  check "mute" order B mute
  within 60 "A hears nothing of B" shows A "i['audio']['level_dbfs'] <= -100"
  order A status
  kill -TERM "${running[1]}"
  check "A ends when it is told to" wait "${running[1]}"
}
tried() { programs 2>&1 | tee "$result"; }

case ${1:-all} in
  all | build | try) ;;
  *) fail "unknown: $1; say build or try, or nothing for both" ;;
esac
step "Debian's compilers and libraries" toolchain
[ "${1:-all}" = try ] || step "the programs for $target" build
[ "${1:-all}" = build ] || step "the programs under emulation" tried
