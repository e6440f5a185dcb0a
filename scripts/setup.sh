#!/usr/bin/env bash
# Installs what is needed, on Debian 12. Safe to repeat; quick when all is there.
#   setup.sh build   to build
#   setup.sh demo    and to assemble the guest page
#   setup.sh deb     to make a Debian package of what is built
#   setup.sh test    and to test (what it does when nothing is said)
#   setup.sh full    and for the slow tests
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { echo "setup: $*" >&2; exit 1; }
what=${1:-test}
case $what in build | demo | deb | test | full) ;; *) fail "unknown: $what; say build, demo, deb, test or full" ;; esac

command -v cargo >/dev/null || fail "cargo not found: install Rust 1.94 or newer, then run this again"
version=$(cargo --version | awk '{print $2}')
[ "$(printf '%s\n1.94.0\n' "$version" | sort -V | head -n 1)" = 1.94.0 ] ||
  fail "cargo is $version: install Rust 1.94 or newer, then run this again"

packages=(build-essential cmake nasm pkg-config libssl-dev libasound2-dev libclang-dev ca-certificates)
[ "$what" != deb ] || packages=(build-essential debhelper python3)
if [ "$what" != build ] && [ "$what" != deb ]; then
  # A node that does not come from Debian brings its own npm; Debian's is a package of its own.
  command -v node >/dev/null || packages+=(nodejs)
  command -v npm >/dev/null || packages+=(npm)
fi
if [ "$what" = test ] || [ "$what" = full ]; then
  for part in fmt clippy; do
    cargo $part --version >/dev/null 2>&1 || fail "cargo $part not found: rustup component add rustfmt clippy"
  done
  packages+=(
    libasound2-plugins # ALSA plug-ins of the tests
    chromium openssl   # browser and signaling tests
    iproute2 nftables  # network tests
    procps
    minisign strace    # signed configuration, kills at every step
    nginx-light tinyproxy # a web server for it, and a way to it
    systemd device-tree-compiler python3 # what is installed, and the Yocto layer
  )
fi
[ "$what" != full ] || packages+=(coturn squid python3-venv) # relay scenarios, the Yocto layer

missing=()
for package in "${packages[@]}"; do
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
  if [ -d /run/systemd/system ]; then
    # Debian starts these with their packages; the tests start their own.
    for service in nginx:nginx-light tinyproxy:tinyproxy coturn:coturn squid:squid; do
      if [[ " ${missing[*]} " == *" ${service#*:} "* ]]; then
        $sudo systemctl disable --now "${service%:*}" >/dev/null 2>&1 || true
      fi
    done
  fi
fi

if [ "$what" = build ] || [ "$what" = demo ] || [ "$what" = deb ]; then
  echo "setup: done"
  exit 0
fi
stamp=tests/browser/node_modules/.package-lock.json
if [ ! -e "$stamp" ] || [ tests/browser/package-lock.json -nt "$stamp" ]; then
  echo "setup: installing the browser tests' npm packages"
  (cd tests/browser && npm ci --no-audit --no-fund --loglevel=error)
  touch "$stamp"
fi
echo "setup: done"
