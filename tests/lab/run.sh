#!/usr/bin/env bash
# The hardware lab: boots a Debian guest under qemu and runs the real binary there on the kernel's drivers (guest.sh).
# Needs root the first time (prepare.sh). Exit 0: everything in the guest was as it must be; 69: it cannot run on this machine,
# which a NOTE explains.
#   STEPS="light card"  only these (steps-*.sh); `make lab` without it takes all but drift
#   LAB_KEEP=1          keeps the guest; the next run goes on in it, with scripts and binaries of then. Its end: LAB_KEEP=end
#   LAB_PATIENCE=8      waits are so many times as long (4)
#   LAB_DEB=FILE        the package for the step deb, which is not among those of `make lab`
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
begun=$SECONDS
lab=target/lab
share=$lab/share
steps=${STEPS:-devices unit picture sound light gestures wrong_lines shutter errors camera share card board kernel rppal restart selftest end}

runs() { [ -s "$lab/$1.pid" ] && kill -0 "$(cat "$lab/$1.pid")" 2>/dev/null; }
end_of() { ! runs "$1" || kill "$(cat "$lab/$1.pid")"; rm -f "$lab/$1.pid"; }
if [ "${LAB_KEEP:-}" = end ]; then
  end_of guest
  end_of host
  exit 0
fi
[ -n "${LAB_KEEP:-}" ] || trap 'end_of guest; end_of host' EXIT

"$here/prepare.sh"
echo "lab: building huddled ($((SECONDS - begun)) s)"
cargo build --locked --bins 2>&1 | { grep -v '^ *Compiling\|^ *Finished' || true; }
[ -d tests/browser/node_modules/socket.io ] || scripts/setup.sh

kept=
if [ -n "${LAB_KEEP:-}" ] && runs guest && runs host; then kept=yes; else
  end_of guest
  end_of host
  rm -rf "$share"
  mkdir -p "$share"/{bin,package,ask,logs}
fi
for program in huddled huddlectl; do
  strip -o "$share/$program" "target/debug/$program"
  cmp -s "$share/$program" "$share/bin/$program" && rm "$share/$program" || mv "$share/$program" "$share/bin/$program"
done
cp "$here"/{guest.sh,steps-*.sh,keys.pl,hang.pl,tone.pl} config/panel-kernel.toml "$share/"
cp systemd/huddled* "$share/package/"
echo "${LAB_PATIENCE:-4}" > "$share/patience"
echo "${DRIFT_SECONDS:-600}" > "$share/drift"
if [ -n "${LAB_KEEP:-}" ]; then touch "$share/keep"; else rm -f "$share/keep"; fi

# Some machines have /dev/kvm and guests that stand still in it: the kernel must get as far as to miss its root, which
# ends it at once.
kvm_boots() {
  [ -w /dev/kvm ] && timeout 15 qemu-system-x86_64 -M q35,usb=off -accel kvm -cpu host -m 512 -nodefaults -no-user-config \
    -display none -no-reboot -kernel $lab/vmlinuz -append "quiet panic=-1" >/dev/null
} 2>/dev/null
rm -f "$share/exit"
if [ -n "$kept" ]; then
  echo "lab: going on in the guest that is there ($((SECONDS - begun)) s)"
  : > "$share/guest.log"
  echo "$steps" > "$share/again.new"
  mv "$share/again.new" "$share/again"
else
  echo "$steps" > "$share/steps"
  rm -f $lab/host.log
  setsid node "$here/host.mjs" "$share/ask" > $lab/host.log 2>&1 &
  echo $! > $lab/host.pid
  [ -z "${LAB_DEB:-}" ] || cp "$LAB_DEB" "$share/huddled.deb"
  until [ -s $lab/host.log ]; do
    runs host || { echo "lab: the signaling server did not start" >&2; cat $lab/host.log >&2; exit 1; }
    sleep 0.1
  done
  sed -n 's/^{"port":\([0-9]*\)}$/\1/p' $lab/host.log > "$share/port"
  [ -s "$share/port" ] || { cat $lab/host.log >&2; exit 1; }
  # -cpu qemu64: AVX is slow in emulation.
  accelerator=(-accel "tcg,thread=multi,tb-size=512" -cpu qemu64)
  [ -n "${LAB_EMULATED:-}" ] || { kvm_boots && accelerator=(-accel kvm -cpu host); }
  echo "lab: booting by ${accelerator[1]%%,*} ($((SECONDS - begun)) s)"
  # The disk is opened with snapshot=on: every boot starts from the same image.
  setsid qemu-system-x86_64 -M q35,usb=off "${accelerator[@]}" \
    -smp 2 -m 1536 -nodefaults -no-user-config -display none -no-reboot \
    -kernel $lab/vmlinuz -initrd $lab/initrd.img \
    -append "console=ttyS0 quiet loglevel=4 panic=-1 mitigations=off nokaslr random.trust_cpu=on systemd.show_status=0" \
    -drive "file=$lab/root.img,if=none,id=d0,format=raw,snapshot=on,cache=unsafe" -device virtio-blk-pci,drive=d0 \
    -virtfs "local,path=$share,mount_tag=lab,security_model=none,multidevs=remap" \
    -netdev user,id=n0 -device virtio-net-pci,netdev=n0,romfile= -device virtio-rng-pci \
    -serial "file:$lab/console.log" > $lab/qemu.log 2>&1 &
  echo $! > $lab/guest.pid
fi
limit=$((SECONDS + ${LAB_LIMIT:-1800}))
until [ -s "$share/exit" ] || ! runs guest || [ $SECONDS -ge $limit ]; do sleep 0.5; done
if [ ! -s "$share/exit" ]; then
  echo "lab: the guest left no verdict in time; what it wrote:" >&2
  cat "$share/guest.log" $lab/qemu.log >&2 2>/dev/null || true
  for log in "$share"/logs/*; do echo "--- $log"; tail -n 60 "$log"; done >&2
  tail -n 30 $lab/console.log >&2
  exit 1
fi
verdict=$(cat "$share/exit")
if [ "$verdict" = 0 ] && [ -z "${LAB_VERBOSE:-}" ]; then
  grep -E '^(===|ok|FAIL|note|the |they |seen|heard|it answered|A ended|A:|B:|\[)' "$share/guest.log" || true
else
  cat "$share/guest.log"
fi
echo "lab: $([ "$verdict" = 0 ] && echo passed || echo FAILED) in $((SECONDS - begun)) s"
exit "$verdict"
