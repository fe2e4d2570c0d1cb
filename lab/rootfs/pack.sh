#!/bin/sh
# Turns the finished tree in $1 into files in $1/out: the root image and what boots it.
# Expects XENITH_IMAGE_MIB, the size of the root file system.
set -eu
tree=$1

# The bind mount shows the tree without what is mounted in it: /proc has files that nobody can copy.
# Both stand beside the tree, or the image would contain itself.
image=$tree.img
bare=$tree.bare
mkdir "$bare"
mount --bind "$tree" "$bare"
trap 'umount "$bare" && rmdir "$bare"; rm -f "$image"' EXIT
mke2fs -q -t ext4 -L xenith-root -m 0 -E lazy_itable_init=1,lazy_journal_init=1,nodiscard \
    -d "$bare" "$image" "${XENITH_IMAGE_MIB}M"

out=$tree/out
mkdir "$out" "$out/guest"
gzip -dc "$tree"/boot/xen-4.17-amd64.gz >"$out/xen"
cp "$tree"/boot/vmlinuz-* "$out/vmlinuz"
cp "$tree"/boot/initrd.img-* "$out/initrd.img"
# The parts of the test guest.
for part in bin/busybox usr/bin/xenstore lib64/ld-linux-x86-64.so.2 \
    lib/x86_64-linux-gnu/libc.so.6 lib/x86_64-linux-gnu/libxenstore.so.4 \
    lib/x86_64-linux-gnu/libxentoolcore.so.1 \
    lib/modules/*/kernel/drivers/block/xen-blkfront.ko \
    lib/modules/*/kernel/drivers/net/xen-netfront.ko; do
    cp -L "$tree"/$part "$out/guest/"
done
chroot "$tree" dpkg-query -W -f '${Package} ${Version}\n' >"$out/versions"
# qcow2 holds only what is used; the raw image has holes, which the copy out would fill.
qemu-img convert -q -f raw -O qcow2 "$image" "$out/root.qcow2"
