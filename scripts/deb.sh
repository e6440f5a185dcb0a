#!/usr/bin/env bash
# Makes target/huddled_VERSION_ARCH.deb from programs that are built already: BUILT is their folder (target/release). For those of
# `make cross` that is target/cross/build/aarch64-unknown-linux-gnu/release, and MADE_BY a folder of programs of this machine,
# which write the manual pages.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { echo "deb: $*" >&2; exit 1; }

export HUDDLED_TREE=$PWD
export BUILT=${BUILT:-target/release}
case $BUILT in /*) ;; *) BUILT=$PWD/$BUILT ;; esac
[ -x "$BUILT/huddled" ] && [ -x "$BUILT/huddlectl" ] || fail "$BUILT has no huddled and huddlectl: run make build, or set BUILT"
[ -s target/guest/index.html ] || fail "target/guest is missing: run make guest"
command -v dh >/dev/null && dpkg-query -W debhelper >/dev/null 2>&1 || fail "debhelper is missing: apt-get install debhelper"

# What the programs are for. A foreign architecture's libraries are those that cross.sh has unpacked.
options=()
case $(readelf -h "$BUILT/huddled" | sed -n 's/^ *Machine: *//p') in
  "Advanced Micro Devices X86-64") arch=amd64 ;;
  AArch64) arch=arm64 ;;
  *) fail "$BUILT/huddled is for a machine that has no package here" ;;
esac
if [ "$arch" != "$(dpkg --print-architecture)" ]; then
  [ "$arch" = arm64 ] || fail "packages for another architecture are made on amd64, for arm64"
  [ -x target/cross/bin/aarch64-linux-gnu-objdump ] || fail "target/cross is missing or old: rm -rf target/cross, then make cross"
  [ -n "${MADE_BY:-}" ] || fail "set MADE_BY to a folder of programs that can run here, such as target/release"
  case $MADE_BY in /*) ;; *) MADE_BY=$PWD/$MADE_BY ;; esac
  export MADE_BY TARGET=aarch64-unknown-linux-gnu HUDDLED_BOARD=$PWD/target/cross/board PATH=$PWD/target/cross/bin:$PATH
  options=(--host-arch="$arch")
fi

version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
# A build that is no release sorts before it and after those of earlier commits.
if [ -z "${RELEASE:-}" ] && commit=$(git rev-parse --short HEAD 2>/dev/null); then
  version="$version~$(git rev-list --count HEAD)+g$commit"
fi
version=${DEB_VERSION:-$version}

work=$PWD/target/deb/huddled
rm -rf target/deb
mkdir -p "$work/debian/source"
cp packaging/debian/* "$work/debian/"
mv "$work/debian/lintian-overrides" "$work/debian/huddled.lintian-overrides"
echo "3.0 (native)" >"$work/debian/source/format"
cat >"$work/debian/changelog" <<CHANGELOG
huddled ($version) unstable; urgency=medium

  * See /usr/share/doc/huddled/changelog.gz.

 -- The huddled maintainers <maintainers@huddled.invalid>  $(date -R -d "@${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}")
CHANGELOG
if [ ${#options[@]} -gt 0 ]; then
  # Nothing of that architecture is installed, so nobody knows which package a library is of. They are Debian 12's.
  cat >"$work/debian/shlibs.local" <<'SHLIBS'
ld-linux-aarch64 1 libc6 (>= 2.36)
libasound 2 libasound2 (>= 1.2.8)
libc 6 libc6 (>= 2.36)
libcrypto 3 libssl3 (>= 3.0.0)
libgcc_s 1 libgcc-s1 (>= 12)
libm 6 libc6 (>= 2.36)
libssl 3 libssl3 (>= 3.0.0)
libstdc++ 6 libstdc++6 (>= 12)
SHLIBS
fi
(cd "$work" && dpkg-buildpackage "${options[@]}" --build=binary --unsigned-changes --unsigned-source --no-check-builddeps >../build.log 2>&1) ||
  { tail -n 30 target/deb/build.log >&2; fail "dpkg-buildpackage failed; target/deb/build.log has all of it"; }
rm -f target/huddled_*.deb
mv target/deb/huddled_*.deb target/
echo "deb: made $(ls target/huddled_*.deb)"
