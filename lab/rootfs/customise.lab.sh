#!/bin/sh
# What only a host in the lab has: fixed addresses behind QEMU's user network, and our key.
# Expects XENITH_LAB_KEY, the public key to let in.
set -eu
tree=$1

echo '/dev/vda / ext4 defaults,noatime 0 1' >"$tree/etc/fstab"

mkdir -m 700 -p "$tree/root/.ssh"
echo "$XENITH_LAB_KEY" >"$tree/root/.ssh/authorized_keys"
# Host keys at build time: making them under emulation costs seconds of every first boot.
chroot "$tree" ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key
echo 'HostKey /etc/ssh/ssh_host_ed25519_key' >"$tree/etc/ssh/sshd_config.d/lab.conf"

# Started by the test that needs it.
chroot "$tree" systemctl --quiet disable nfs-server.service nfs-blkmap.service

for n in 1 2 3 4 5 6 7 8; do echo "10.77.0.$n xen$n" >>"$tree/etc/hosts"; done

net=$tree/etc/systemd/network
# MACAddress=none: the bridge takes its port's address, as the user network expects.
cat >"$net/10-xenbr0.netdev" <<'X'
[NetDev]
Name=xenbr0
Kind=bridge
MACAddress=none

[Bridge]
STP=no
ForwardDelaySec=0
X
cat >"$net/20-eth0.network" <<'X'
[Match]
Name=eth0

[Network]
Bridge=xenbr0
LinkLocalAddressing=no
X
cat >"$net/30-xenbr0.network" <<'X'
[Match]
Name=xenbr0

[Network]
Address=10.0.2.15/24
Gateway=10.0.2.2
DNS=10.0.2.3
LinkLocalAddressing=no
IPv6AcceptRA=no
X
# eth1, the LAN between lab hosts, is configured by ip= on the kernel command line.

# The journal of a crashed run is worth reading, but not worth an fsync per line.
mkdir -p "$tree/etc/systemd/journald.conf.d"
printf '[Journal]\nStorage=persistent\nSystemMaxUse=64M\nSyncIntervalSec=30s\n' \
    >"$tree/etc/systemd/journald.conf.d/lab.conf"

# What guests print is kept: tests look for it in /var/log/xen/console/guest-NAME.log.
echo 'XENCONSOLED_ARGS="--log=guest --log-dir=/var/log/xen/console"' >>"$tree/etc/default/xen"
mkdir -p "$tree/var/log/xen/console"

# libxl would unpack the kernel for each start of a test guest, slowly under emulation: once here instead.
# The folder is the one the agent boots kernels from.
mkdir -p "$tree/var/lib/xenith/boot"
chroot "$tree" python3 - <<'X'
import glob, lzma
packed = open(glob.glob("/boot/vmlinuz-*")[0], "rb").read()
start = packed.index(b"\xfd7zXZ\x00")
open("/var/lib/xenith/boot/lab-vmlinux", "wb").write(lzma.LZMADecompressor().decompress(packed[start:]))
X
