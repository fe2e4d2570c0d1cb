#!/bin/sh
# What the installer medium and the hosts installed from it have besides. The agent, the installer and their units
# are in the tree already, copied there before this runs.
set -eu
tree=$1

# A host's services. In the live system the target is another one, and none of these starts.
chroot "$tree" systemctl --quiet enable xenith-agent.service xenith-first-boot.service xenith-boot-good.service xenith-join.path xenith-trial.timer \
    xenith-console@tty1.service xenith-console@hvc0.service nftables.service systemd-resolved.service \
    systemd-timesyncd.service
# Instead of a login: the status of the host, and from there a login.
ln -sf /dev/null "$tree/etc/systemd/system/getty@tty1.service"
# Runs where it is wanted only; the unit is part of the package.
for unit in smartmontools.service mdcheck_start.timer mdcheck_continue.timer mdmonitor-oneshot.timer; do
    ln -sf /dev/null "$tree/etc/systemd/system/$unit"
done

# One name for each, whatever the version: the boot menu names these.
ln -sf xen-4.17-amd64.gz "$tree/boot/xen.gz"
ln -sf "$(cd "$tree/boot" && ls vmlinuz-*)" "$tree/boot/vmlinuz"
ln -sf "$(cd "$tree/boot" && ls initrd.img-*)" "$tree/boot/initrd.img"

# Nothing is enabled but what was enabled here: an empty machine id would make the first boot follow presets.
mkdir -p "$tree/etc/systemd/system-preset" "$tree/etc/tmpfiles.d"
echo 'disable *' >"$tree/etc/systemd/system-preset/00-xenith.preset"
# The logs lie on a partition that outlives the system: what it needs there is made at each boot.
printf 'd /var/log/xen 0750 root adm\nd /var/log/xen/console 0750 root adm\nd /var/log/private 0700 root root\n' \
    >"$tree/etc/tmpfiles.d/xenith.conf"

ln -sf ../run/systemd/resolve/stub-resolv.conf "$tree/etc/resolv.conf"
mkdir -p "$tree/var/lib/xenith" "$tree/etc/systemd/journald.conf.d" "$tree/root/.ssh"
chmod 700 "$tree/var/lib/xenith" "$tree/root/.ssh"
printf '[Journal]\nStorage=persistent\nSystemMaxUse=512M\n' >"$tree/etc/systemd/journald.conf.d/xenith.conf"

# Where Debian is: not the mirror that this build took, which would be in the bytes of the image.
rm -f "$tree"/etc/apt/sources.list.d/*
cat >"$tree/etc/apt/sources.list" <<'X'
deb http://deb.debian.org/debian bookworm main
deb http://deb.debian.org/debian bookworm-updates main
deb http://deb.debian.org/debian-security bookworm-security main
X

# Traces of this build: two builds from the same packages are the same bytes.
rm -f "$tree/etc/apt/preferences.d/xenith-lock" "$tree"/var/cache/ldconfig/aux-cache "$tree"/etc/*- \
    "$tree"/var/cache/debconf/*-old "$tree"/var/lib/dpkg/*-old "$tree"/var/log/*.log "$tree"/etc/mdadm/mdadm.conf.*
# systemd would take D-Bus's machine id for this machine's, and every host would have that of the build.
ln -sf /etc/machine-id "$tree/var/lib/dbus/machine-id"
rm -rf "$tree"/var/log/journal "$tree"/var/lib/systemd/catalog "$tree"/var/lib/systemd/random-seed
rm -f "$tree"/boot/*.dpkg-bak
: >"$tree/etc/mdadm/mdadm.conf"
find "$tree" -xdev -name __pycache__ -type d -prune -exec rm -rf {} +
