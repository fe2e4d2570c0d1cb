#!/bin/sh
# The dom0 end of a guest's disk or NIC, made as libxl asks for it. Xen's own scripts do the same in forty processes.
#
# libxl sets XENBUS_TYPE, XENBUS_PATH, and for a NIC vif or INTERFACE. It waits for the end of this program, and quotes
# what is in hotplug-error when that is not 0. What goes away goes with its device: there is nothing to undo.

fail() {
    xenstore-write "$XENBUS_PATH/hotplug-error" "$1" "$XENBUS_PATH/hotplug-status" error
    echo "$1" >&2
    exit 1
}

# Puts an interface into the bridge of its NIC, with the bridge's MTU and no address of its own, under the name that libxl
# was asked for: the packet filter knows a NIC by that. The kernel takes it as one request, and brings it up last, so that
# nothing passes under another name. $2 is what the name of an emulated card ends in.
join() {
    # Without a name it would not be filtered, so only the bridge of a proof takes one that has none. What is read before
    # the first key that is missing is said all the same.
    keys=$(xenstore-read "$XENBUS_PATH/bridge" "$XENBUS_PATH/vifname" 2>/dev/null)
    { read -r bridge; read -r name; } <<KEYS
$keys
KEYS
    case "$bridge $name" in
    ' '*) fail "$1 is of no bridge" ;;
    'xp-'*' ') ;;
    *' ') fail "$1 has no name in xenstore to be filtered by" ;;
    *) name=$name$2 ;;
    esac
    read -r mtu <"/sys/class/net/$bridge/mtu" || fail "there is no bridge $bridge"
    said=$(ip link set dev "$1" ${name:+name "$name"} addrgenmode none mtu "$mtu" master "$bridge" up 2>&1) ||
        fail "$1 cannot join the bridge $bridge${name:+ as $name}: $said"
}

case "$XENBUS_TYPE $*" in
'vbd add')
    device=$(xenstore-read "$XENBUS_PATH/params") || fail 'the disk has no device'
    [ -b "$device" ] || fail "$device is not a block device"
    number=$(stat -L -c %t:%T "$device") || fail "$device is gone"
    exec xenstore-write "$XENBUS_PATH/physical-device" "$number" \
        "$XENBUS_PATH/physical-device-path" "$device" "$XENBUS_PATH/hotplug-status" connected
    ;;
'vif online type_if=vif')
    join "$vif"
    nic=${XENBUS_PATH##*backend/vif/}
    exec xenstore-write "/local/domain/${nic%/*}/device/vif/${nic#*/}/mtu" "$mtu" \
        "$XENBUS_PATH/hotplug-status" connected
    ;;
# The emulated card of an HVM guest, beside the other.
'vif add type_if=tap') join "$INTERFACE" -emu ;;
'vbd remove' | 'vif offline type_if=vif' | 'vif remove type_if=tap' | ' check') ;;
*) fail "unknown: $XENBUS_TYPE $*" ;;
esac
