#!/bin/sh
# Makes the fresh Debian tree in $1 a Xenith host. Runs outside the tree, as root or as root of a user
# namespace; the same for the installer and the lab.
set -eu
tree=$1

echo xenith >"$tree/etc/hostname"
printf '127.0.0.1 localhost\n::1 localhost\n' >"$tree/etc/hosts"

# Nobody logs in with a password, and nobody logs in at all before a key is put there.
chroot "$tree" usermod --password '*' root
mkdir -p "$tree/etc/ssh/sshd_config.d"
cat >"$tree/etc/ssh/sshd_config.d/xenith.conf" <<'X'
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
# No name look-ups: a host whose DNS is away must still let its administrator in.
UseDNS no
# One connection carries many commands.
MaxSessions 64
X

# A getty on Xen's console swallows whatever the hypervisor and tests write there.
# The rest costs start-up time and does nothing for a hypervisor.
for unit in serial-getty@hvc0.service \
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer man-db.timer fstrim.timer \
    e2scrub_all.timer e2scrub_reap.service systemd-networkd-wait-online.service \
    systemd-update-utmp.service systemd-update-utmp-runlevel.service systemd-binfmt.service \
    modprobe@drm.service; do
    ln -sf /dev/null "$tree/etc/systemd/system/$unit"
done
chroot "$tree" systemctl --quiet enable systemd-networkd.service ssh.service
chroot "$tree" systemctl --quiet set-default multi-user.target

# The agent starts and saves VMs itself. Debian's xendomains would save every guest to disk on a shutdown
# and bring it back behind the agent's back.
chroot "$tree" systemctl --quiet disable xendomains.service
ln -sf /dev/null "$tree/etc/systemd/system/xendomains.service"

# NFS 4 needs none of these, and a mount of NFS 3 starts them itself.
chroot "$tree" systemctl --quiet disable rpcbind.socket rpcbind.service nfs-client.target

# Thin pools are monitored when the agent activates them; at start-up this only waits.
ln -sf /dev/null "$tree/etc/systemd/system/lvm2-monitor.service"

# libxl does not load the back ends that VMs' disks and cards need.
printf 'xen-blkback\nxen-netback\nxen-gntdev\nxen-gntalloc\nxen-evtchn\n' >"$tree/etc/modules-load.d/xenith.conf"

# Disks that are used while they come in from a backup. dom0 looks at no guest's partitions, labels or volume groups.
echo 'options nbd nbds_max=64 max_part=0' >"$tree/etc/modprobe.d/xenith-nbd.conf"
cat >"$tree/etc/udev/rules.d/59-xenith-nbd.rules" <<'X'
KERNEL=="nbd*", OPTIONS:="nowatch", ENV{UDEV_DISABLE_PERSISTENT_STORAGE_RULES_FLAG}="1", ENV{SYSTEMD_READY}="0"
X

# The same for the disks of guests that run: loop devices over images, and volumes of thin pools. What a guest has written to
# the beginning of one is the guest's: dom0 would activate its volume groups and start its arrays, and write to them beside it.
# Commands of LVM look at no image either: a guest may call its group what the host's is called.
cat >"$tree/etc/udev/rules.d/59-xenith-disks.rules" <<'X'
KERNEL=="loop*", ENV{UDEV_DISABLE_PERSISTENT_STORAGE_RULES_FLAG}="1"
KERNEL=="dm-*", ENV{DM_NAME}=="*-xenith_*", ENV{DM_UDEV_DISABLE_DISK_RULES_FLAG}="1"
X
cat >>"$tree/etc/lvm/lvmlocal.conf" <<'X'
devices {
	global_filter = [ "r|^/dev/loop|", "r|^/dev/nbd|" ]
}
X

# dom0 does the disk and network work of all guests. With an equal share of the CPU, guests that compute starve it: Xen's
# scripts then run into libxl's time-out of 40 s, and an attach fails.
cat >"$tree/etc/systemd/system/xenith-dom0-weight.service" <<'X'
[Unit]
Description=A larger share of the CPU for dom0
Requires=xen.service
After=xen.service

[Service]
Type=oneshot
ExecStart=/usr/sbin/xl sched-credit2 -d Domain-0 -w 2048

[Install]
WantedBy=multi-user.target
X
chroot "$tree" systemctl --quiet enable xenith-dom0-weight.service

# A machine gets its own identity at first boot.
rm -f "$tree"/etc/ssh/ssh_host_*
: >"$tree/etc/machine-id"
rm -rf "$tree"/var/cache/apt/* "$tree"/var/lib/apt/lists/* "$tree"/var/log/*.log "$tree"/var/log/apt
