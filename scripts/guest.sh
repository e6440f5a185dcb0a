#!/usr/bin/env bash
# Assembles the guest page in target/guest: the page's own files and the official Socket.IO client beside them.
# Safe to repeat; quick when nothing has changed.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { echo "guest: $*" >&2; exit 1; }

page=guest/page
modules=guest/node_modules
target=target/guest

# npm writes this file last, so it says whether the packages are those of the lock file.
stamp=$modules/.package-lock.json
if [ ! -e "$stamp" ] || [ guest/package-lock.json -nt "$stamp" ]; then
  command -v npm >/dev/null || fail "npm not found: run make setup, or install Node.js 18 or newer with npm"
  echo "guest: installing the Socket.IO client's npm package"
  (cd guest && npm ci --no-audit --no-fund --loglevel=error) || fail "npm could not install the packages of guest/package-lock.json; see its message above"
  touch "$stamp"
fi

client=$modules/socket.io-client/dist/socket.io.min.js
[ -s "$client" ] || fail "$client is missing: remove guest/node_modules and run this again"

mkdir -p target
new=$(mktemp -d target/guest.XXXXXX)
old=$new.old
trap 'rm -rf "$new" "$old"' EXIT

cp "$page"/* "$new"/
cp "$client" "$new"/
# The bundle contains these packages; their licence wants its text to go with every copy.
for package in socket.io-client socket.io-parser engine.io-client engine.io-parser @socket.io/component-emitter; do
  [ -s "$modules/$package/LICENSE" ] || fail "the licence of $package is missing: remove guest/node_modules and run this again"
  printf '%s\n\n' "$package"
  cat "$modules/$package/LICENSE"
  printf '\n\n'
done >"$new/socket.io.LICENSE.txt"
# mktemp makes a folder for its owner alone, and a web server is often somebody else.
chmod 755 "$new"
chmod 644 "$new"/*

if diff -rq "$new" "$target" >/dev/null 2>&1; then
  echo "guest: $target is up to date"
  exit 0
fi
# A folder cannot be renamed over one that has files, so the old one steps aside first.
if [ -e "$target" ]; then mv -T "$target" "$old"; fi
mv -T "$new" "$target"
echo "guest: assembled $target"
