#!/usr/bin/env bash
# Installs what building and testing need, on Debian 12. Safe to repeat; quick when all is there.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { echo "setup: $*" >&2; exit 1; }

command -v cargo >/dev/null || fail "cargo not found: install Rust 1.94 or newer, then run this again"

packages=(
  build-essential cmake nasm pkg-config libclang-dev libssl-dev libasound2-dev # to build
  libasound2-plugins                                                            # ALSA plug-ins of the tests
  nodejs chromium coturn openssl                                                # browser and signaling tests
  ca-certificates procps
)
# A node that does not come from Debian brings its own npm; Debian's is a package of its own.
command -v npm >/dev/null || packages+=(npm)
if command -v node >/dev/null; then packages=("${packages[@]/nodejs/}"); fi

missing=()
for package in "${packages[@]}"; do
  [ -n "$package" ] || continue
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
if [ "${#missing[@]}" -gt 0 ]; then
  command -v apt-get >/dev/null || fail "this is not Debian; install by hand: ${missing[*]}"
  sudo=""
  [ "$(id -u)" = 0 ] || sudo="sudo"
  echo "setup: installing ${missing[*]}"
  $sudo apt-get update -qq
  DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null ||
    fail "apt-get could not install ${missing[*]}; see its message above"
fi

stamp=tests/browser/node_modules/.package-lock.json
if [ ! -e "$stamp" ] || [ tests/browser/package-lock.json -nt "$stamp" ]; then
  echo "setup: installing the browser tests' npm packages"
  (cd tests/browser && npm ci --no-audit --no-fund --loglevel=error)
  touch "$stamp"
fi
echo "setup: done"
