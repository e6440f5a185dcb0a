#!/usr/bin/env bash
# Makes the guest of the hardware lab in target/lab: Debian's own kernel and systemd, booted by qemu, with vivid,
# v4l2loopback, snd-aloop, gpio-sim, uinput and a board of ours with gpio-keys and leds-gpio. Needs root. Done once for each state
# of this script and of board.c; then it only looks.
# Exit 69 where this machine cannot make it, with one NOTE.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
lab=$(cd "$here/../.." && pwd)/target/lab
key=$(cat "$0" "$here/board.c" | sha256sum | cut -c1-16)
mkdir -p "$lab"
cd "$lab"
if [ "$(cat prepared 2>/dev/null)" = "$key" ]; then
  echo "lab: the guest of kernel $(cat kernel-release) is there"
  exit 0
fi
rm -f prepared
cannot() { # sysexits.h: EX_UNAVAILABLE
  echo "NOTE: the hardware lab cannot run here: $*"
  exit 69
}
[ "$(uname -m)" = x86_64 ] || cannot "it is made for x86-64, this is $(uname -m)"
[ "$(id -u)" = 0 ] || cannot "preparing its guest needs root"
grep -qs 'VERSION_CODENAME=bookworm' /etc/os-release && [ -e /etc/apt/sources.list.d/debian.sources ] ||
  cannot "it is made for Debian 12 with its sources in /etc/apt/sources.list.d/debian.sources"
begun=$SECONDS
part() { echo "lab: $* ($((SECONDS - begun)) s)"; }

# 1. Tools. qemu from backports, where a part of it is installed from there already: the two do not mix. A private
# apt state leaves the machine's own lists as they are.
part "installing tools"
mkdir -p apt/lists/partial apt/archives/partial apt/etc
cp /etc/apt/sources.list.d/debian.sources apt/etc/lab.sources
sed -i -E 's/^(Suites: bookworm bookworm-updates)\s*$/\1 bookworm-backports/' apt/etc/lab.sources
cat > apt/apt.conf <<END
Dir::Etc::sourcelist "/dev/null";
Dir::Etc::sourceparts "$PWD/apt/etc";
Dir::State::lists "$PWD/apt/lists";
Dir::Cache::archives "$PWD/apt/archives";
Dir::Cache::pkgcache "$PWD/apt/pkgcache.bin";
Dir::Cache::srcpkgcache "$PWD/apt/srcpkgcache.bin";
APT::Sandbox::User "root";
APT::Architectures {"amd64";};
DPkg::Lock::Timeout "900";
Acquire::Languages "none";
END
export APT_CONFIG=$PWD/apt/apt.conf DEBIAN_FRONTEND=noninteractive
apt-get -qq update >apt.log 2>&1 || cannot "Debian's package lists cannot be fetched (target/lab/apt.log)"
install() {
  apt-get -qq install -y --no-install-recommends --no-upgrade "$@" >>apt.log 2>&1 ||
    cannot "its tools cannot be installed: ${*: -1} and others (target/lab/apt.log)"
}
install -t bookworm-backports qemu-system-x86 ipxe-qemu seabios
install mmdebstrap cpio gcc-12 make bc kmod xz-utils e2fsprogs busybox-static libelf1

# 2. The kernel, its headers and the source of what Debian leaves out; unpacked, never installed.
part "fetching the kernel"
meta_depends() { apt-cache depends "$1" | awk -v want="$2" '$1 == "Depends:" && $2 ~ want {print $2}'; }
image=$(meta_depends linux-image-amd64 '^linux-image-' | head -n 1)
[ -n "$image" ] || cannot "Debian's kernel is not in the machine's package sources"
release=${image#linux-image-}
series=$(echo "$release" | cut -d. -f1,2)
headers=linux-headers-$release
mapfile -t more < <(meta_depends "$headers" '^linux-(headers-.*common|kbuild-)')
rm -rf debs kernel headers build modules
mkdir -p debs kernel headers
(cd debs && apt-get -qq download "$image" "$headers" "${more[@]}" "linux-source-$series" v4l2loopback-dkms >>../apt.log 2>&1) ||
  cannot "Debian's kernel $release cannot be fetched (target/lab/apt.log)"
dpkg -x debs/"$image"_*.deb kernel
for package in "$headers" "${more[@]}"; do dpkg -x debs/"$package"_*.deb headers; done
sed -i "s#include /usr/src/#include $PWD/headers/usr/src/#" "headers/usr/src/$headers/Makefile"
rm -f "headers/usr/src/$headers/vmlinux" # else the module build wants pahole
echo "$release" > kernel-release

# 3. What Debian's kernel leaves out, out of tree: gpio-sim with the interrupt simulator it needs, a loopback camera, our
# board; and vivid once more, with the shutter that it lacks.
part "building drivers"
mkdir -p modules/vivid
source=linux-source-$series
dpkg-deb --fsys-tarfile debs/"$source"_*.deb | tar -xOf - "./usr/src/$source.tar.xz" |
  tar -xJf - -C modules --transform 's#.*/##' --wildcards \
    "$source/drivers/gpio/gpio-sim.c" "$source/drivers/gpio/gpiolib.h" "$source/kernel/irq/irq_sim.c" \
    "$source/drivers/media/test-drivers/vivid/*"
mv modules/vivid-* modules/Makefile modules/vivid/
dpkg -x debs/v4l2loopback-dkms_*.deb modules/loopback
cp modules/loopback/usr/src/v4l2loopback-*/*.[ch] "$here/board.c" modules/
echo 'obj-m := irq_sim.o gpio-sim.o board.o v4l2loopback.o vivid/' > modules/Kbuild
# irq_to_desc() is not exported to modules; generic_handle_irq_safe() reaches the same handler.
sed -i 's/handle_simple_irq(irq_to_desc(\(.*\)));/generic_handle_irq_safe(\1);/' modules/irq_sim.c
printf '\n#include <linux/module.h>\nMODULE_DESCRIPTION("interrupt simulator");\nMODULE_LICENSE("GPL");\n' >> modules/irq_sim.c
sed -i '0,/dev->brightness = v4l2_ctrl_new_std(/s//v4l2_ctrl_new_std(hdl_user_vid, NULL, V4L2_CID_PRIVACY, 0, 1, 1, 0);\n\t\t&/' modules/vivid/vivid-ctrls.c
grep -q V4L2_CID_PRIVACY modules/vivid/vivid-ctrls.c
make -s -j2 -C "headers/usr/src/$headers" M="$PWD/modules" modules >build.log 2>&1 ||
  { tail -n 20 build.log >&2; exit 1; }

# 4. The root file system: what the binary links, and what looks at devices.
part "making the root file system"
mmdebstrap --quiet --mode=root --variant=minbase --architectures=amd64 \
  --include=systemd,systemd-sysv,udev,dbus,kmod,iproute2,procps,alsa-utils,v4l-utils,gpiod,ffmpeg,jq,perl-base,libasound2,libssl3,ca-certificates,adduser,minisign,nginx-light,openssl \
  --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
  --dpkgopt='path-exclude=/usr/share/locale/*' \
  --customize-hook='rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/*' \
  bookworm rootfs.tar /etc/apt/sources.list.d/debian.sources >>apt.log 2>&1 ||
  cannot "its root file system cannot be made (target/lab/apt.log)"

# 5. Modules that are used, an initramfs that finds the disk, the disk.
part "making the image"
depmod -b kernel "$release"
mkdir -p build/root build/initrd/{bin,dev,proc,sys,newroot,mod}
target=build/root/usr/lib/modules/$release
tar -C build/root -xf rootfs.tar --exclude='./dev/*'
mkdir -p "$target/updates"
wanted="virtio_pci virtio_blk ext4 crc32c_generic crc32c_intel overlay autofs4 9p 9pnet_virtio virtio_rng virtio_net configfs
  vivid snd_aloop evdev uinput gpio_keys leds_gpio softdog"
index=kernel/lib/modules/$release/modules.dep
for module in $wanted; do
  line=$(awk -v m="$module" -F: '{n = $1; sub(/.*\//, "", n); sub(/\.ko.*/, "", n); gsub(/-/, "_", n); if (n == m) {print; exit}}' "$index")
  for path in ${line//:/}; do
    mkdir -p "$target/$(dirname "$path")"
    case $path in
      *.xz) xz -dc "kernel/lib/modules/$release/$path" > "$target/${path%.xz}" ;;
      *) cp "kernel/lib/modules/$release/$path" "$target/$path" ;;
    esac
  done
done
for file in modules.builtin modules.builtin.modinfo modules.order; do
  cp "kernel/lib/modules/$release/$file" "$target/"
done
cp modules/*.ko modules/vivid/*.ko "$target/updates/"
strip --strip-debug "$target"/updates/*.ko
depmod -b build/root "$release"
cp "$(command -v busybox)" build/initrd/bin/busybox
ln -s busybox build/initrd/bin/sh
order=""
for module in virtio_pci virtio_blk crc32c_generic ext4; do
  line=$(grep -E "/$module\.ko:" "$target/modules.dep" || true)
  [ -n "$line" ] || continue
  for path in $(echo "${line#*:}" | tr ' ' '\n' | tac) "${line%%:*}"; do
    cp -n "$target/$path" build/initrd/mod/
    order="$order $(basename "$path")"
  done
done
cat > build/initrd/init <<END
#!/bin/sh
export PATH=/bin
busybox mount -t devtmpfs d /dev; busybox mount -t proc p /proc; busybox mount -t sysfs s /sys
for m in $order; do busybox insmod /mod/\$m 2>/dev/null; done
i=0; while [ ! -b /dev/vda ] && [ \$i -lt 100 ]; do busybox sleep 0.1; i=\$((i+1)); done
busybox mount -t ext4 -o ro /dev/vda /newroot && busybox mount -o remount,rw /newroot
busybox mount --move /dev /newroot/dev; busybox umount /proc /sys
exec busybox switch_root /newroot /sbin/init
END
chmod +x build/initrd/init
(cd build/initrd && find . | cpio -o -H newc --quiet | gzip -1) > initrd.img
root=build/root
echo lab > $root/etc/hostname
echo '127.0.0.1 localhost lab' > $root/etc/hosts
: > $root/etc/fstab
for unit in systemd-timesyncd.service apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer \
  e2scrub_reap.service fstrim.timer nginx.service systemd-pstore.service getty@tty1.service serial-getty@ttyS0.service; do
  ln -sf /dev/null "$root/etc/systemd/system/$unit"
done
cat > $root/etc/systemd/system/lab.service <<'END'
[Unit]
Description=Runs what lies in the shared folder, then powers off
After=multi-user.target
[Service]
Type=simple
ExecStart=/bin/sh -c 'mkdir -p /lab && modprobe 9pnet_virtio && mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144 lab /lab && exec bash /lab/guest.sh >/lab/guest.log 2>&1'
ExecStopPost=/bin/systemctl poweroff --no-block
StandardOutput=journal+console
[Install]
WantedBy=graphical.target
END
mkdir -p $root/etc/systemd/system/graphical.target.wants $root/var/log/journal
ln -sf ../lab.service $root/etc/systemd/system/graphical.target.wants/lab.service
ln -sf /lib/systemd/system/graphical.target $root/etc/systemd/system/default.target
rm -f root.img
truncate -s 1800M root.img
mke2fs -q -t ext4 -O ^has_journal -d $root root.img
cp "kernel/boot/vmlinuz-$release" vmlinuz
rm -rf build headers debs rootfs.tar kernel modules
echo "$key" > prepared
part "the guest of kernel $release is ready"
