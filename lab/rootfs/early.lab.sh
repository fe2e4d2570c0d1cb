#!/bin/sh
# Before the packages are unpacked: a small initrd, because dom0 unpacks it under emulation.
set -eu
tree=$1
mkdir -p "$tree/etc/initramfs-tools/conf.d" "$tree/usr/share/initramfs-tools/modules.d"
echo 'MODULES=list' >"$tree/etc/initramfs-tools/conf.d/xenith"
# Not /etc/initramfs-tools/modules: dpkg would ask whose version to keep.
printf 'virtio_pci\nvirtio_blk\next4\ncrc32c_generic\n' >"$tree/usr/share/initramfs-tools/modules.d/xenith.conf"
