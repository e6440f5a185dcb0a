#!/usr/bin/env bash
# Makes target/huddled_VERSION_ARCH.deb from programs that are built already: BUILT is their folder (target/release).
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { echo "deb: $*" >&2; exit 1; }

export HUDDLED_TREE=$PWD
export BUILT=${BUILT:-target/release}
case $BUILT in /*) ;; *) BUILT=$PWD/$BUILT ;; esac
[ -x "$BUILT/huddled" ] && [ -x "$BUILT/huddlectl" ] || fail "$BUILT has no huddled and huddlectl: run make build, or set BUILT"
[ -s target/guest/index.html ] || fail "target/guest is missing: run make guest"
command -v dh >/dev/null && dpkg-query -W debhelper >/dev/null 2>&1 || fail "debhelper is missing: apt-get install debhelper"

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
(cd "$work" && dpkg-buildpackage --build=binary --unsigned-changes --unsigned-source --no-check-builddeps >../build.log 2>&1) ||
  { tail -n 30 target/deb/build.log >&2; fail "dpkg-buildpackage failed; target/deb/build.log has all of it"; }
rm -f target/huddled_*.deb
mv target/deb/huddled_*.deb target/
echo "deb: made $(ls target/huddled_*.deb)"
