#!/usr/bin/env bash
# Both commands of the README as a first user would type them: in a plain Debian 12 with nothing but git, make and
# Rust, in a fresh clone of what is committed. Needs root, takes about half an hour, and leaves nothing behind;
# FRESH_KEEP=1 keeps the folder. The result is written to target/fresh.txt.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/steps.sh

[ "$(id -u)" = 0 ] || { echo "fresh: run this as root; it makes a root file system of its own" >&2; exit 1; }
command -v mmdebstrap >/dev/null || { apt-get update -qq && apt-get install -y -qq --no-install-recommends mmdebstrap >/dev/null; }

root=$(mktemp -d /var/tmp/huddled-fresh.XXXXXX)
result=$PWD/target/fresh.txt
mkdir -p target
clean() {
  [ -n "${FRESH_KEEP:-}" ] || rm -rf --one-file-system "$root"
}
trap 'code=$?; clean; (exit $code); steps_end' EXIT

make_root() {
  # This machine's own sources, if it is a Debian 12: it may reach no others.
  local sources=()
  if grep -qs 'VERSION_CODENAME=bookworm' /etc/os-release && [ -e /etc/apt/sources.list.d/debian.sources ]; then
    sources=(/etc/apt/sources.list.d/debian.sources)
  fi
  mmdebstrap --quiet --variant=minbase --include=ca-certificates,git,make bookworm "$root" "${sources[@]}"
  # Rust is handed in, as the README asks for it.
  mkdir -p "$root/opt/rust" "$root/build"
  cp -a "$(rustc --print sysroot)/." "$root/opt/rust/"
  # What this machine needs to reach its package registries.
  local file
  for file in /etc/resolv.conf /etc/hosts /etc/npmrc; do
    [ ! -e "$file" ] || install -D -m 644 "$file" "$root$file"
  done
  for file in .npmrc .cargo/config.toml; do
    [ ! -e "$HOME/$file" ] || install -D -m 600 "$HOME/$file" "$root/build/$file"
  done
  cp -a /etc/apt/apt.conf.d/. "$root/etc/apt/apt.conf.d/"
  cp -a /etc/ssl/certs/. "$root/etc/ssl/certs/"
  git clone --quiet . "$root/build/huddled"
}

# Runs a command in the root, with namespaces of its own, so that mounts and processes end with it.
inside() {
  env -i HOME=/build TERM=dumb LANG=C.UTF-8 PATH=/opt/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    ${http_proxy:+http_proxy="$http_proxy"} ${https_proxy:+https_proxy="$https_proxy"} \
    unshare --mount --pid --fork --kill-child bash -c '
      # The root is a mount of its own, which `ip netns` wants.
      mount --bind "$0" "$0"
      mount -t proc proc "$0/proc"; mount --rbind /dev "$0/dev"; mount --rbind /sys "$0/sys"
      mount -t tmpfs tmpfs "$0/tmp"; exec chroot "$0" bash -c "cd /build/huddled && $1"' "$root" "$1"
}

# `make demo` without a terminal, until the page can be fetched and the box is in the meeting; then SIGTERM.
demo() {
  inside '
    make demo >/build/demo.log 2>&1 & make=$!
    for _ in $(seq 3600); do
      link=$(grep -ao "the meeting  *http://[^ ]*" /build/demo.log | grep -o "http.*") && break
      kill -0 $make || { cat /build/demo.log; exit 1; }
      sleep 0.5
    done
    echo "printed: ${link%%token=*}token=..."
    address=${link#http://}; address=${address%%/*}
    exec 3<>"/dev/tcp/${address%:*}/${address#*:}"
    printf "GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n" "$address" >&3
    head -n 1 <&3 | grep "200 OK"
    for _ in $(seq 60); do grep -aq "joined the meeting" /build/demo.log && break; sleep 0.5; done
    grep -a "joined the meeting" /build/demo.log
    kill -TERM $make; code=0; wait $make || code=$?
    echo "make ended with $code after SIGTERM"
    # make passes the signal on and does not wait for a box that says goodbye.
    for _ in $(seq 50); do grep -aq "stopped$" /build/demo.log && break; sleep 0.1; done
    grep -a "stopped$" /build/demo.log
    ! grep -a " ERROR " /build/demo.log'
}

timed() {
  local name=$1 begun=$SECONDS
  shift
  "$@"
  echo "$name: passed in $((SECONDS - begun)) s" | tee -a "$result"
}

echo "commit $(git rev-parse --short HEAD), $(date -I), $(nproc) cores, $(rustc --version)" >"$result"
step "a plain Debian 12" make_root
step "make demo" timed "make demo (to the printed address, the box in the meeting, and a clean end)" demo
step "make test" timed "make test" inside "make test"
cat "$result"
