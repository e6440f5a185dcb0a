#!/usr/bin/env bash
# The daemon on an emulated Raspberry Pi 3B: the programs of `cross.sh build` in an initramfs, started by qemu under Debian's
# arm64 kernel (guest.sh). Nothing is installed, no root needed. The result is written to target/pi.txt. Exit 0: everything in
# there was as it must be; 69: it cannot run on this machine, which a NOTE explains.
#   PI_PATIENCE=8        waits in the guest are so many times as long (4)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
pi=$PWD/target/pi
cross=$PWD/target/cross
built=$cross/build/aarch64-unknown-linux-gnu/debug
gnu=aarch64-linux-gnu
result=$PWD/target/pi.txt
begun=$SECONDS
part() { echo "pi: $* ($((SECONDS - begun)) s)"; }
libraries=$pi/tools/usr/lib/x86_64-linux-gnu:$pi/tools/lib/x86_64-linux-gnu
tool() { LD_LIBRARY_PATH=$libraries "$pi/tools/$1" "${@:2}"; }
fail() { echo "pi: $*" >&2; exit 1; }

# Copies shared libraries that a file names, and those that they name, from the packages it was linked with.
libraries_of() { # FILE
  local name file
  for name in $(readelf -d "$1" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'); do
    [ ! -e "$root/lib/$name" ] || continue
    file=$(find "$cross"/board/{usr/,}lib/$gnu -name "$name" -print -quit)
    [ -n "$file" ] || fail "no $name in target/cross/board"
    cp -L "$file" "$root/lib/$name"
    libraries_of "$file"
  done
}

# The kernel modules named, each after those it needs, as a list for insmod.
modules() { # NAME...
  local kernel=$pi/board/lib/modules/$(cat "$pi/release") name path
  tool sbin/depmod -b "$pi/board" "$(cat "$pi/release")"
  for name; do
    for path in $(sed -n "s#^\(.*/$name\.ko[^:]*\):\(.*\)#\2 \1#p" "$kernel/modules.dep" | head -n 1); do
      name=$(basename "${path%.xz}")
      xz -dc "$kernel/$path" >"$root/modules/$name"
      echo "$name"
    done
  done
}

initramfs() {
  root=$pi/root
  rm -rf "$root"
  mkdir -p "$root"/{bin,lib,dev,proc,sys,run,tmp,etc,modules}
  local program
  for program in huddled huddlectl; do
    "$cross/bin/$gnu-strip" -o "$root/bin/$program" "$built/$program"
    libraries_of "$built/$program"
  done
  cp "$pi/board/bin/busybox" "$root/bin/"
  ln -s busybox "$root/bin/sh"
  modules leds-gpio gpio_keys gpio_keys_polled evdev >"$root/modules/list"
  cp config/panel-{raspberrypi-rppal,raspberrypi4,kernel}.toml "$root/etc/"
  install -m 755 "$here/guest.sh" "$root/init"
  (cd "$root" && find . | tool bin/cpio -o -H newc --quiet | gzip -1) >"$pi/initrd.gz"
  tool usr/bin/dtc -q -@ -I dts -O dtb -o "$pi/panel.dtbo" \
    yocto/meta-huddled/recipes-huddled/huddled-panel/files/huddled-panel-overlay.dts
  tool usr/bin/fdtoverlay -i "$pi/board.dtb" -o "$pi/panel.dtb" "$pi/panel.dtbo"
  # The model of the chip raises no interrupts: keys that the kernel looks at instead.
  cp "$pi/panel.dtb" "$pi/polled.dtb"
  tool usr/bin/fdtput -t s "$pi/polled.dtb" /huddled-buttons compatible gpio-keys-polled
  tool usr/bin/fdtput -t i "$pi/polled.dtb" /huddled-buttons poll-interval 10
}

boot() { # DEVICE-TREE NAME OPTION...: words of the kernel's command line
  local tree=$pi/$1.dtb console=$pi/$2.log verdict limit=$((SECONDS + 600))
  shift
  part "booting: $1"
  rm -f "$console"
  # iomem=relaxed gives rppal the registers by /dev/mem, for want of a /dev/gpiomem.
  LD_LIBRARY_PATH=$libraries "$pi/tools/usr/bin/qemu-system-aarch64" -L "$pi/tools/usr/share/qemu" -M raspi3b -m 1G \
    -accel tcg,thread=multi -display none -monitor none -no-reboot \
    -kernel "$pi/vmlinuz" -initrd "$pi/initrd.gz" -dtb "$tree" -serial "file:$console" \
    -append "console=ttyAMA0,115200 panic=-1 loglevel=1 iomem=relaxed patience=${PI_PATIENCE:-4} ${*:2}" >"$pi/qemu.log" 2>&1 &
  qemu=$!
  trap 'kill $qemu 2>/dev/null || true' EXIT
  # The machine cannot power off, so its verdict ends it.
  until verdict=$(sed -n 's/^VERDICT \([0-9]*\).*/\1/p' "$console" 2>/dev/null) && [ -n "$verdict" ]; do
    [ $SECONDS -lt $limit ] && kill -0 $qemu 2>/dev/null || break
    sleep 0.3
  done
  kill $qemu 2>/dev/null || true
  wait $qemu || true
  if [ -z "$verdict" ]; then
    cat "$pi/qemu.log" >&2
    tail -n 40 "$console" >&2
    fail "the guest left no verdict; that was the end of its console"
  fi
  tr -d '\r' <"$console" | sed -n '/^===/,/^VERDICT/p' | grep -v ^VERDICT
  [ "$verdict" = 0 ] || { tail -n 60 "$console" >&2; fail "$1: $verdict checks failed"; }
}

looked_at() {
  tool usr/bin/qemu-system-aarch64 --version | head -n 1
  # As Raspberry Pi's own kernels do it, and as Debian's does by itself.
  boot panel keeping pinctrl_bcm2835.persist_gpio_outputs=1 steps=rppal,chardev,kernel
  boot polled releasing pinctrl_bcm2835.persist_gpio_outputs=0 steps=killed,pressed
  part "passed"
}

"$here/prepare.sh"
part "building the programs"
scripts/cross.sh build
part "making the initramfs"
initramfs
looked_at 2>&1 | tee "$result"
