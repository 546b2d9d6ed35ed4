#!/usr/bin/env bash
# Boots a Debian with both packages and a PostgreSQL in an emulated machine, and lets boot/inside.sh use it as people
# would: services under systemd, a live sync, a stuck agent, an upgrade, a reboot, a purge. As root on a Debian machine; emulation
# needs no KVM and is slow. Makes the packages first unless DIRECTORY has them.
#
# usage: test-boot.sh [DIRECTORY]
set -euo pipefail
cd "$(dirname "$0")/.."
. packaging/debian-root.sh

# Both boots together, seconds; several times what they take.
readonly TIME_MAX=2400

packages=${1:-}
if [ -z "$packages" ]; then
  packages=$(realpath -m "${CARGO_TARGET_DIR:-target}/package")
  packaging/package.sh "$packages"
fi
packages=$(realpath "$packages")
[ "$(id -u)" = 0 ] || { echo "test-boot.sh needs root: it makes a root directory of its own" >&2; exit 1; }

say() { printf '\n== %s\n' "$*"; }
fail() { echo "test-boot: $*" >&2; exit 1; }

need qemu-system-x86_64 qemu-system-x86
work=$(mktemp -d /var/tmp/tidegate-boot.XXXXXX)
root=$work/debian
leave_root() {
  local place
  for place in dev/shm proc; do
    ! mountpoint -q "$root/$place" || umount "$root/$place"
  done
}
clean_up() {
  local status=$?
  trap - EXIT
  leave_root
  rm -rf "$work"
  exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

say "a Debian with systemd and PostgreSQL"
debian_root "$root" systemd,systemd-sysv,dbus,ca-certificates >"$work/log" || fail "debootstrap: $(tail -n 5 "$work/log")"
mount -t proc proc "$root/proc"
# initdb wants shared memory.
mount -t tmpfs tmpfs "$root/dev/shm"
echo "127.0.0.1 localhost relay.test" >"$root/etc/hosts"
echo boot-test >"$root/etc/hostname"
echo "/dev/vda / ext4 defaults 0 1" >"$root/etc/fstab"
in_root=(chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root DEBIAN_FRONTEND=noninteractive)
# Nothing is started here.
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
chmod +x "$root/usr/sbin/policy-rc.d"
"${in_root[@]}" apt-get install -qy --no-install-recommends postgresql linux-image-cloud-amd64 initramfs-tools \
  >"$work/log" 2>&1 || fail "apt-get: $(tail -n 5 "$work/log")"
rm "$root/usr/sbin/policy-rc.d"
in_version=$(ls "$root/usr/lib/postgresql")
# Its package makes one only where a locale is chosen.
[ -d "$root/etc/postgresql/$in_version/main" ] ||
  "${in_root[@]}" pg_createcluster --locale C.UTF-8 "$in_version" main >"$work/log" 2>&1 ||
  fail "pg_createcluster: $(tail -n 5 "$work/log")"
echo "wal_level = logical" >>"$root/etc/postgresql/$in_version/main/postgresql.conf"

say "both packages"
cp "$packages"/tidegate-*.deb "$root/tmp/"
"${in_root[@]}" sh -c 'dpkg -i /tmp/tidegate-*.deb' >"$work/log" 2>&1 || fail "dpkg: $(cat "$work/log")"
rm "$root"/tmp/tidegate-*.deb
mkdir "$root/root/newer"
for package in "$packages"/tidegate-*.deb; do
  newer_package "$package" "$root/root/newer/$(basename "$package")"
done
sed -i 's/^#names = .*/names = ["relay.test"]/' "$root/etc/tidegate-relay/relay.toml"
"${in_root[@]}" systemctl enable -q tidegate-relay
cp packaging/boot/inside.sh "$root/usr/local/sbin/boot-test"
cp packaging/boot/boot-test.service "$root/etc/systemd/system/"
"${in_root[@]}" systemctl enable -q boot-test
kernel=("$root"/boot/vmlinuz-*) initrd=("$root"/boot/initrd.img-*)
cp "${kernel[0]}" "$work/vmlinuz"
cp "${initrd[0]}" "$work/initrd"
leave_root
mke2fs -q -t ext4 -d "$root" "$work/disk" 4G
rm -rf "$root"

say "two boots"
timeout "$TIME_MAX" qemu-system-x86_64 -accel tcg,thread=multi -smp "$(nproc)" -m 2048 -nographic -nodefaults \
  -serial "file:$work/console" -drive "file=$work/disk,format=raw,if=virtio,cache=unsafe" \
  -kernel "$work/vmlinuz" -initrd "$work/initrd" \
  -append "root=/dev/vda rw console=ttyS0 systemd.show_status=0 quiet" &
machine=$!
# What the script inside says, while it says it.
touch "$work/console"
tail --pid="$machine" -F "$work/console" 2>/dev/null | sed -un 's/.*boot-test: //p' &
wait "$machine" || fail "the machine did not end by itself within $TIME_MAX s: $(tail -n 20 "$work/console")"
if ! grep -q "boot-test: all of it works" "$work/console"; then
  tail -n 80 "$work/console" >&2
  fail "see the console's end above"
fi
say "all of it works"
