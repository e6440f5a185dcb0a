#!/usr/bin/env bash
# Installs what building and testing need, on Debian 12. Safe to repeat; quick when all is there.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { echo "setup: $*" >&2; exit 1; }

command -v cargo >/dev/null || fail "cargo not found: install Rust 1.94 or newer, then run this again"
version=$(cargo --version | awk '{print $2}')
[ "$(printf '%s\n1.94.0\n' "$version" | sort -V | head -n 1)" = 1.94.0 ] ||
  fail "cargo is $version: install Rust 1.94 or newer, then run this again"
for part in fmt clippy; do
  cargo $part --version >/dev/null 2>&1 || fail "cargo $part not found: rustup component add rustfmt clippy"
done

packages=(
  build-essential cmake nasm pkg-config libssl-dev libasound2-dev # to build
  libasound2-plugins                                                            # ALSA plug-ins of the tests
  nodejs chromium openssl                                        # browser and signaling tests
  ca-certificates procps
)
# A node that does not come from Debian brings its own npm; Debian's is a package of its own.
command -v npm >/dev/null || packages+=(npm)
if command -v node >/dev/null; then packages=("${packages[@]/nodejs/}"); fi

[ "${1:-}" != full ] || packages+=(coturn) # relay scenarios

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
  $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null ||
    fail "apt-get could not install ${missing[*]}; see its message above"
  if [[ " ${missing[*]} " == *" coturn "* ]] && [ -d /run/systemd/system ]; then
    # Debian starts a TURN server with the package; the tests start their own.
    $sudo systemctl disable --now coturn >/dev/null 2>&1 || true
  fi
fi

stamp=tests/browser/node_modules/.package-lock.json
if [ ! -e "$stamp" ] || [ tests/browser/package-lock.json -nt "$stamp" ]; then
  echo "setup: installing the browser tests' npm packages"
  (cd tests/browser && npm ci --no-audit --no-fund --loglevel=error)
  touch "$stamp"
fi
echo "setup: done"
