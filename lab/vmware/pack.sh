#!/bin/sh
# Turns the finished tree in $1 into $1/out/disk.raw: an MBR, GRUB in the gap after it, and one ext4 partition at 1 MiB.
# Expects XENITH_GUEST_MIB, the size of the partition.
set -eu
tree=$1
bare=$tree.bare
root=$tree.root
mkdir "$bare"
mount --bind "$tree" "$bare"
trap 'umount "$bare" && rmdir "$bare"; rm -f "$root"' EXIT
mke2fs -q -t ext4 -m 0 -E lazy_itable_init=1,lazy_journal_init=1,nodiscard -d "$bare" "$root" "${XENITH_GUEST_MIB}M"

mkdir "$tree/out"
disk=$tree/out/disk.raw
truncate -s "$((XENITH_GUEST_MIB + 1))M" "$disk"
# What grub-bios-setup does: the first sector loads the second, and the second lists where the rest is.
python3 - "$tree" "$disk" <<'X'
import struct, sys
tree, disk = sys.argv[1:]
boot = bytearray(open(tree + "/usr/lib/grub/i386-pc/boot.img", "rb").read())
core = bytearray(open(tree + "/tmp/core.img", "rb").read())
core += bytes(-len(core) % 512)
# GRUB's block list (grub/i386/pc/boot.h): first sector, number, segment.
struct.pack_into("<QHH", core, 0x1f4, 2, len(core) // 512 - 1, 0x820)
size = int(__import__("os").environ["XENITH_GUEST_MIB"]) * 2048
boot[0x64] = 0xff
struct.pack_into("<Q", boot, 0x5c, 1)
boot[0x1b8:0x200] = bytes(0x48)
struct.pack_into("<B3sB3sII", boot, 0x1be, 0x80, b"\xfe\xff\xff", 0x83, b"\xfe\xff\xff", 2048, size)
boot[0x1fe:0x200] = b"\x55\xaa"
with open(disk, "r+b") as f:
    f.write(boot)
    f.write(core)
    assert f.tell() < 1 << 20
X
dd if="$root" of="$disk" bs=1M seek=1 conv=notrunc,sparse status=none
