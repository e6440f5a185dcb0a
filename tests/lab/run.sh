#!/usr/bin/env bash
# The hardware lab: boots a Debian guest under qemu and runs the real binary there on the kernel's drivers (guest.sh).
# Needs root the first time (prepare.sh). Exit 0: everything in the guest was as it must be.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
begun=$SECONDS
"$here/prepare.sh"
echo "lab: building huddled ($((SECONDS - begun)) s)"
cargo build --locked --bins 2>&1 | { grep -v '^ *Compiling\|^ *Finished' || true; }
[ -d tests/browser/node_modules/socket.io ] || scripts/setup.sh
lab=target/lab
share=$lab/share
rm -rf "$share"
mkdir -p "$share/bin"
for program in huddled huddlectl; do
  strip -o "$share/bin/$program" "target/debug/$program"
done
cp "$here"/{guest.sh,keys.pl,hang.pl} config/panel-kernel.toml "$share/"
mkdir "$share/package"
cp systemd/huddled* "$share/package/"
mkdir "$share/ask"
rm -f $lab/host.log
echo "${LAB_PATIENCE:-2}" > "$share/patience"
node "$here/host.mjs" "$share/ask" > $lab/host.log 2>&1 &
host=$!
trap 'kill $host 2>/dev/null || true' EXIT
until [ -s $lab/host.log ]; do
  kill -0 $host || { echo "lab: the signaling server did not start" >&2; exit 1; }
  sleep 0.1
done
sed -n 's/^{"port":\([0-9]*\)}$/\1/p' $lab/host.log > "$share/port"
[ -s "$share/port" ] || { cat $lab/host.log >&2; exit 1; }
# Some machines have /dev/kvm and guests that stand still in it: the kernel must get as far as to miss its root, which
# ends it at once.
kvm_boots() {
  [ -w /dev/kvm ] && timeout 15 qemu-system-x86_64 -M q35,usb=off -accel kvm -cpu host -m 512 -nodefaults -no-user-config \
    -display none -no-reboot -kernel $lab/vmlinuz -append "quiet panic=-1" >/dev/null 2>&1
}
# -cpu qemu64: AVX is slow in emulation.
accelerator=(-accel "tcg,thread=multi,tb-size=512" -cpu qemu64)
[ -n "${LAB_EMULATED:-}" ] || { kvm_boots && accelerator=(-accel kvm -cpu host); }
echo "lab: booting by ${accelerator[1]%%,*} ($((SECONDS - begun)) s)"
# The disk is opened with snapshot=on: every boot starts from the same image.
timeout "${LAB_LIMIT:-900}" qemu-system-x86_64 -M q35,usb=off "${accelerator[@]}" \
  -smp 2 -m 1536 -nodefaults -no-user-config -display none -no-reboot \
  -kernel $lab/vmlinuz -initrd $lab/initrd.img \
  -append "console=ttyS0 quiet loglevel=4 panic=-1 mitigations=off nokaslr random.trust_cpu=on systemd.show_status=0" \
  -drive "file=$lab/root.img,if=none,id=d0,format=raw,snapshot=on,cache=unsafe" -device virtio-blk-pci,drive=d0 \
  -virtfs "local,path=$share,mount_tag=lab,security_model=none,multidevs=remap" \
  -netdev user,id=n0 -device virtio-net-pci,netdev=n0,romfile= -device virtio-rng-pci -serial "file:$lab/console.log" && code=0 || code=$?
if [ ! -s "$share/exit" ]; then
  echo "lab: the guest left no verdict (qemu ended with $code); what it wrote:" >&2
  cat "$share/guest.log" "$share"/logs/* >&2 2>/dev/null || true
  tail -n 30 $lab/console.log >&2
  exit 1
fi
verdict=$(cat "$share/exit")
if [ "$verdict" = 0 ] && [ -z "${LAB_VERBOSE:-}" ]; then
  grep -E '^(===|ok|FAIL|the light|seen|heard|A ended)' "$share/guest.log" || true
else
  cat "$share/guest.log"
fi
echo "lab: $([ "$verdict" = 0 ] && echo passed || echo FAILED) in $((SECONDS - begun)) s"
exit "$verdict"
