#!/bin/sh
# Turns the finished tree in $1 into files in $1/out: the squashfs, what boots it, and what it consists of.
# Expects SOURCE_DATE_EPOCH.
set -eu
tree=$1

# Beside the tree, and away from what is mounted in it.
out=$tree.out
bare=$tree.bare
mkdir "$bare" "$out"
mount --bind "$tree" "$bare"
trap 'umount "$bare" && rmdir "$bare"; rm -rf "$out"' EXIT

# Nothing is newer than the source.
find "$bare" -xdev -newermt "@$SOURCE_DATE_EPOCH" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +

cp "$bare"/boot/vmlinuz-* "$out/vmlinuz"
cp "$bare"/boot/initrd.img-* "$out/initrd.img"
chroot "$tree" dpkg-query -W -f '${Package} ${Version}\n' >"$out/versions"
chroot "$tree" dpkg-query -W -f '${Package}\t${Version}\t${source:Package}\t${source:Version}\t${Homepage}\n' >"$out/packages.tsv"
# The licences that each package names in its copyright file.
for file in "$bare"/usr/share/doc/*/copyright; do
    package=$(basename "$(dirname "$file")")
    sed -n "s/^License:[[:space:]]*\(.*\)/$package\t\1/p" "$file"
done | sort -u >"$out/licences.tsv"
# What boots the medium itself, made by the tree's own GRUB: the builder's machine needs none.
mkdir "$out/grub"
chroot "$tree" grub-mkimage --format=i386-pc-eltorito --prefix=/boot/grub --output=/tmp/eltorito.img \
    biosdisk iso9660 search search_label normal configfile
mv "$tree/tmp/eltorito.img" "$out/grub/"
cp "$bare"/usr/lib/grub/i386-pc/boot_hybrid.img "$bare"/usr/lib/shim/shimx64.efi.signed \
    "$bare"/usr/lib/shim/mmx64.efi.signed "$bare"/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed "$out/grub/"
mkdir "$out/grub/i386-pc" "$out/grub/x86_64-efi"
cp "$bare"/usr/lib/grub/i386-pc/*.mod "$bare"/usr/lib/grub/i386-pc/*.lst "$out/grub/i386-pc/"
cp "$bare"/usr/lib/grub/x86_64-efi/*.mod "$bare"/usr/lib/grub/x86_64-efi/*.lst "$out/grub/x86_64-efi/"
du --apparent-size --block-size=1 --summarize --one-file-system "$bare" | cut -f1 >"$out/unpacked"

# The time stamps come from SOURCE_DATE_EPOCH. /tmp and /run are empty on a host; the rest of the build lies there.
mksquashfs "$bare" "$out/filesystem.squashfs" -comp zstd -Xcompression-level "${XENITH_SQUASHFS_LEVEL:-15}" \
    -b 256K -noappend -no-progress -reproducible -xattrs -wildcards -e 'tmp/*' 'run/*' 'proc/*' 'sys/*' 'dev/*' 'out'
mkdir "$tree/out"
cp -r "$out"/. "$tree/out/"
