#!/usr/bin/env bash
# The Debian package in a plain Debian 12 with systemd as PID 1, in a container (systemd-nspawn): installed, started, muted,
# upgraded, managed from elsewhere (one remote file applied, two rejected, one reverted), killed, hung, stopped, failed, removed,
# purged. Needs root and a package registry for the root file system and the package's dependencies; takes some minutes. DEB_KEEP=1 keeps the folder. The result is written to target/deb-test.txt.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/steps.sh

[ "$(id -u)" = 0 ] || { echo "deb-test: run this as root; it makes a root file system of its own" >&2; exit 1; }
for tool in mmdebstrap:mmdebstrap systemd-nspawn:systemd-container lintian:lintian; do
  command -v "${tool%:*}" >/dev/null || { apt-get update -qq && apt-get install -y -qq --no-install-recommends "${tool#*:}" >/dev/null; }
done

root=$(mktemp -d /var/tmp/huddled-deb.XXXXXX)
result=$PWD/target/deb-test.txt
trap 'code=$?; [ -n "${DEB_KEEP:-}" ] || rm -rf --one-file-system "$root"; (exit $code); steps_end' EXIT

packages() {
  DEB_VERSION=0.0.1 scripts/deb.sh
  mv target/huddled_0.0.1_*.deb "$root/old.deb"
  scripts/deb.sh
  cp target/huddled_*.deb "$root/new.deb"
  # Its errors and warnings are failures here.
  lintian --allow-root --fail-on error,warning target/huddled_*.deb
}

make_root() {
  local sources=() file
  # This machine's own sources, if it is a Debian 12: it may reach no others.
  if grep -qs 'VERSION_CODENAME=bookworm' /etc/os-release && [ -e /etc/apt/sources.list.d/debian.sources ]; then
    sources=(/etc/apt/sources.list.d/debian.sources)
  fi
  mmdebstrap --quiet --variant=minbase --include=ca-certificates,procps,systemd,systemd-sysv,udev bookworm "$root" "${sources[@]}"
  for file in /etc/resolv.conf /etc/hosts; do
    cp -L "$file" "$root$file"
  done
  cp -a /etc/apt/apt.conf.d/. "$root/etc/apt/apt.conf.d/"
  cp -a /etc/ssl/certs/. "$root/etc/ssl/certs/"
  cp scripts/deb-test-inside.sh "$root/inside.sh"
  cat >"$root/etc/systemd/system/inside.service" <<'UNIT'
[Unit]
Description=Runs inside.sh, then powers off
After=multi-user.target
[Service]
Type=oneshot
ExecStart=/bin/bash /inside.sh
StandardOutput=file:/inside.log
StandardError=inherit
ExecStopPost=/bin/sh -c 'systemctl poweroff --no-block >/dev/null 2>&1'
[Install]
WantedBy=graphical.target
UNIT
  mkdir -p "$root/etc/systemd/system/graphical.target.wants"
  ln -s ../inside.service "$root/etc/systemd/system/graphical.target.wants/"
  # What apt needs to reach its registry.
  printf 'export http_proxy=%q https_proxy=%q\n' "${http_proxy:-}" "${https_proxy:-}" >"$root/proxy.sh"
  for file in apt-daily.timer apt-daily-upgrade.timer systemd-timesyncd.service; do
    ln -sf /dev/null "$root/etc/systemd/system/$file"
  done
}

boot() {
  local unit=(--keep-unit)
  # Where no systemd runs there is no unit to keep or to leave.
  [ ! -d /run/systemd/system ] || unit=()
  timeout "${DEB_LIMIT:-900}" systemd-nspawn -q -D "$root" --boot --register=no "${unit[@]}" </dev/null >"$root.console" 2>&1 || true
  cat "$root/inside.log" 2>/dev/null || { tail -n 30 "$root.console"; rm -f "$root.console"; return 1; }
  rm -f "$root.console"
  cp "$root/inside.log" "$result"
  [ "$(tail -n 1 "$result")" = "passed" ]
}

step "a plain Debian 12" make_root
step "two versions of the package" packages
step "install, start, upgrade, manage, kill, hang, fail, remove, purge" boot
