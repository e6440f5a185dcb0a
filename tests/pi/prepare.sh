#!/usr/bin/env bash
# Fetches what the emulated Raspberry Pi is made of into target/pi: qemu, Debian's kernel and busybox for arm64, the compiler of
# device trees. All of it is unpacked, nothing is installed, no root needed. Done once for each state of this script; then it
# only looks. Exit 69 where this machine cannot, with one NOTE.
set -euo pipefail
cd "$(dirname "$0")/../.."
. scripts/apt.sh
pi=$PWD/target/pi
key=$(sha256sum "$0" | cut -c1-16)
cannot() { # sysexits.h: EX_UNAVAILABLE
  echo "NOTE: the emulated Raspberry Pi cannot run here: $*"
  exit 69
}
[ "$(cat "$pi/prepared" 2>/dev/null)" != "$key" ] || exit 0
[ "$(uname -m)" = x86_64 ] || cannot "the cross build is made for x86-64, this is $(uname -m)"
grep -qs 'VERSION_CODENAME=bookworm' /etc/os-release || cannot "the packages' names are those of Debian 12; this is another system"
rm -rf "$pi"
mkdir -p "$pi"

apt_state "$pi" backports 2>"$pi/apt.log" || cannot "Debian's package lists cannot be fetched (target/pi/apt.log)"
# Of the two kernels of Debian 12 the one that has the switch of Raspberry Pi's own: whether a released line stays an output.
image=$(needs linux-image-6.12-arm64:arm64 linux-image-)
[ -n "$image" ] || cannot "Debian's kernel 6.12 is not in the machine's package sources; add bookworm-security"
(cd "$pi/apt" && apt-get -qq download "$image" busybox-static:arm64 2>>"$pi/apt.log") ||
  cannot "Debian's kernel for arm64 cannot be fetched (target/pi/apt.log)"
# 10.0 from backports: what the lab runs on, too.
apt-get -qq install --yes --download-only --no-install-recommends -t bookworm-backports \
  qemu-system-arm device-tree-compiler cpio kmod >>"$pi/apt.log" 2>&1 || cannot "qemu cannot be fetched (target/pi/apt.log)"
unset APT_CONFIG
rm -f "$pi"/apt/archives/libc6_*.deb # belongs to the machine's own loader
unpack "$pi/tools" "$pi"/apt/archives/*.deb
unpack "$pi/board" "$pi"/apt/*.deb
rm -rf "$pi/apt"
cp "$pi"/board/boot/vmlinuz-* "$pi/vmlinuz"
cp "$pi"/board/usr/lib/linux-image-*/broadcom/bcm2837-rpi-3-b.dtb "$pi/board.dtb"
echo "${image#linux-image-}" | cut -d: -f1 >"$pi/release"
echo "$key" >"$pi/prepared"
