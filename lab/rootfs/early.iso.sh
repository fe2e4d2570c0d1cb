#!/bin/sh
# Before the packages are unpacked: mdadm writes the time of the build, and the arrays of the machine that builds, into a
# file of settings that goes into the initial ramdisk. One that is there it leaves alone.
set -eu
mkdir -p "$1/etc/mdadm"
echo '# Arrays are found by what stands on their disks.' >"$1/etc/mdadm/mdadm.conf"
