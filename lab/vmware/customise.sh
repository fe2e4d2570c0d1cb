#!/bin/sh
# Makes the fresh Debian tree in $1 a guest as VMware leaves it: its initramfs has the drivers of VMware's machine and
# no others, disks and the NIC are named as they are there. Runs outside the tree. Expects XENITH_GUEST_ADDRESS.
set -eu
tree=$1

echo guest >"$tree/etc/hostname"
printf '127.0.0.1 localhost\n' >"$tree/etc/hosts"
printf '/dev/sda1 / ext4 errors=remount-ro 0 1\n' >"$tree/etc/fstab"
cat >"$tree/etc/network/interfaces" <<X
auto lo
iface lo inet loopback

auto ens192
iface ens192 inet static
    address $XENITH_GUEST_ADDRESS/24
    gateway 10.0.2.2
X
# What tells that VMware's tools are installed, and that they were removed.
printf '#!/bin/sh\nexit 0\n' >"$tree/usr/bin/vmtoolsd"
chmod 755 "$tree/usr/bin/vmtoolsd"

cat >"$tree/etc/initramfs-tools/conf.d/vmware" <<'X'
MODULES=list
COMPRESS=gzip
X
printf 'vmw_pvscsi\nmptspi\nsd_mod\next4\nvmxnet3\n' >"$tree/etc/initramfs-tools/modules"
chroot "$tree" update-initramfs -u

kernel=$(basename "$tree"/boot/vmlinuz-*)
version=${kernel#vmlinuz-}
mkdir -p "$tree/boot/grub/i386-pc" "$tree/etc/default"
printf 'GRUB_DEFAULT=0\nGRUB_TIMEOUT=0\nGRUB_CMDLINE_LINUX="console=tty0 console=ttyS0,115200"\nGRUB_DEVICE=/dev/sda1\n' \
    >"$tree/etc/default/grub"
# As an old installation wrote it.
cat >"$tree/boot/grub/grub.cfg" <<X
set timeout=0
menuentry 'Debian' {
    set root='hd0,msdos1'
    linux /boot/vmlinuz-$version root=/dev/sda1 ro console=tty0 console=ttyS0,115200
    initrd /boot/initrd.img-$version
}
X
cp "$tree"/usr/lib/grub/i386-pc/*.mod "$tree"/usr/lib/grub/i386-pc/*.lst "$tree/boot/grub/i386-pc/"
chroot "$tree" grub-mkimage -O i386-pc -o /tmp/core.img -p '(hd0,msdos1)/boot/grub' biosdisk part_msdos ext2

for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer fstrim.timer e2scrub_all.timer \
    e2scrub_reap.service man-db.timer; do
    ln -sf /dev/null "$tree/etc/systemd/system/$unit"
done
rm -rf "$tree"/var/cache/apt/* "$tree"/var/lib/apt/lists/* "$tree"/var/log/apt
