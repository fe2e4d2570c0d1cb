//! Bridges of the kernel for proofs, and connections to the one guest on each.
//!
//! A bridge without an uplink has no addresses that anybody gave out. IPv6 has link-local ones by itself, on the bridge
//! and in nearly every guest, so that is how the guest is reached: by the address of its MAC, by those that it tells of,
//! and by those that answer an echo request to all nodes of the bridge.
//!
//! What always holds: a socket is bound to the bridge's interface before anything leaves it, and goes only to a
//! link-local address that is not one of this machine; the bridge has no ports but those of one guest. What does not
//! hold is an error, and nothing is tried. The bridge answers no ARP, forwards nothing, and takes no router's word.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};
use std::num::NonZeroU16;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, setsockopt, socket, sockopt};
use tokio::net::{TcpSocket, UdpSocket};
use tokio::process::Command;
use tokio::time::timeout;
use xenith_hypervisor_agent_backend::{HypervisorError, ProofNetworks, Result};
use xenith_hypervisor_agent_types::ProofBridge;

/// For a connection. A guest on the same machine answers in a millisecond, or does not.
const CONNECT: Duration = Duration::from_secs(3);
/// For the answers to an echo request.
const ECHO: Duration = Duration::from_millis(700);
/// For one call of `ip`.
const PATIENCE: Duration = Duration::from_secs(20);
/// A guest may claim any number of addresses.
const MOST_ADDRESSES: usize = 8;
/// And send any number of packets.
const MOST_PACKETS: usize = 64;
/// All nodes of a link (RFC 4291, section 2.7.1).
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// ICMPv6 (RFC 4443, section 4).
const ECHO_REQUEST: u8 = 128;
const ECHO_REPLY: u8 = 129;

/// Of a proof's bridge, under `/proc/sys/net`. `arp_ignore` 8: answer nobody, for the guest believes itself where it was
/// backed up, and may ask for this host. `rp_filter` 1: take nothing from addresses that are elsewhere.
const SETTINGS: &[(&str, &str, &str)] = &[
    ("ipv4", "forwarding", "0"),
    ("ipv4", "arp_ignore", "8"),
    ("ipv4", "rp_filter", "1"),
    ("ipv4", "accept_redirects", "0"),
    ("ipv6", "disable_ipv6", "0"),
    ("ipv6", "addr_gen_mode", "0"),
    ("ipv6", "accept_dad", "0"),
    ("ipv6", "accept_ra", "0"),
    ("ipv6", "accept_redirects", "0"),
];

/// See the module.
#[derive(Debug, Clone, Copy, Default)]
pub struct KernelNetworks;

#[async_trait]
impl ProofNetworks for KernelNetworks {
    async fn ensure(&self, bridge: &ProofBridge) -> Result<()> {
        can_isolate()?;
        let name = bridge.as_str();
        if !is_there(bridge) {
            let kind = ["type", "bridge", "forward_delay", "0", "stp_state", "0", "mcast_snooping", "0"];
            ip(bridge, &[&["link", "add", "name", name][..], &kind[..]].concat()).await?;
        }
        for (family, setting, value) in SETTINGS {
            let path = format!("/proc/sys/net/{family}/conf/{name}/{setting}");
            fs::write(&path, value).map_err(|error| broken(bridge, format!("{path}: {error}")))?;
        }
        ip(bridge, &["link", "set", "dev", name, "up"]).await
    }

    async fn remove(&self, bridge: &ProofBridge) -> Result<()> {
        if !is_there(bridge) {
            return Ok(());
        }
        ip(bridge, &["link", "delete", "dev", bridge.as_str(), "type", "bridge"]).await
    }

    async fn ask(
        &self,
        bridge: &ProofBridge,
        known: &[Ipv6Addr],
        ports: &[NonZeroU16],
    ) -> Result<Vec<NonZeroU16>> {
        let io_error = |error: io::Error| broken(bridge, error.to_string());
        let Some(index) = guest_on(bridge)? else { return Ok(Vec::new()) };
        let own = own_addresses(&fs::read_to_string("/proc/net/if_inet6").map_err(io_error)?);
        let mut addresses: BTreeSet<Ipv6Addr> = known.iter().copied().collect();
        match echoes(bridge, index).await {
            Ok(heard) => addresses.extend(heard),
            // What is known may do.
            Err(error) => tracing::debug!(%bridge, %error, "no echo request could be sent"),
        }
        addresses.retain(|address| address.is_unicast_link_local() && !own.contains(address));
        let mut tries = Vec::new();
        for at in addresses.into_iter().take(MOST_ADDRESSES) {
            tries.extend(
                ports.iter().map(|port| connect(bridge, SocketAddrV6::new(at, port.get(), 0, index))),
            );
        }
        let taken = futures::future::try_join_all(tries).await.map_err(io_error)?;
        Ok(ports.iter().copied().filter(|port| taken.contains(&Some(port.get()))).collect())
    }
}

fn broken(bridge: &ProofBridge, detail: String) -> HypervisorError {
    HypervisorError::Device { device: format!("the bridge {bridge}"), detail }
}

/// A machine that forwards IPv6 would pass on what the guest sends to it.
fn can_isolate() -> Result<()> {
    let forwarding = fs::read_to_string("/proc/sys/net/ipv6/conf/all/forwarding");
    let why = match forwarding.as_deref().map(str::trim) {
        Ok("0") => return Ok(()),
        Ok(_) => {
            "this host forwards IPv6, so that no guest is isolated; set net.ipv6.conf.all.forwarding to 0"
        }
        Err(_) => "this host has no IPv6, by which a guest is reached; start its kernel without ipv6.disable",
    };
    Err(HypervisorError::Unsupported { operation: "a proof by port", why: why.to_owned() })
}

fn is_there(bridge: &ProofBridge) -> bool {
    folder(bridge).join("bridge").is_dir()
}

fn folder(bridge: &ProofBridge) -> std::path::PathBuf {
    Path::new("/sys/class/net").join(bridge.as_str())
}

/// The bridge's interface number, when one guest and nothing else is on it; `None` when nothing is.
fn guest_on(bridge: &ProofBridge) -> Result<Option<u32>> {
    let io_error = |error: io::Error| broken(bridge, error.to_string());
    if !is_there(bridge) {
        return Err(broken(bridge, "it is gone".to_owned()));
    }
    let mut guests = BTreeSet::new();
    for entry in fs::read_dir(folder(bridge).join("brif")).map_err(io_error)? {
        let name = entry.map_err(io_error)?.file_name();
        let name = name.to_string_lossy();
        let Some(domid) = domid_of(&name) else {
            return Err(broken(bridge, format!("{name} is on it, which is no guest's; take it off")));
        };
        guests.insert(domid);
    }
    if guests.len() > 1 {
        return Err(broken(bridge, format!("{} guests are on it; a proof is alone", guests.len())));
    }
    let index = fs::read_to_string(folder(bridge).join("ifindex")).map_err(io_error)?;
    let index = index.trim().parse().map_err(|_| broken(bridge, format!("its number is {index:?}")))?;
    Ok((!guests.is_empty()).then_some(index))
}

/// Of `vif<domid>.<devid>`, with `-emu` for the emulated twin.
fn domid_of(port: &str) -> Option<u32> {
    let (domid, device) = port.strip_prefix("vif")?.split_once('.')?;
    device.strip_suffix("-emu").unwrap_or(device).parse::<u32>().ok()?;
    domid.parse().ok()
}

/// The first column of `/proc/net/if_inet6`.
fn own_addresses(table: &str) -> BTreeSet<Ipv6Addr> {
    let first = table.lines().filter_map(|line| line.split_ascii_whitespace().next());
    first.filter_map(|digits| u128::from_str_radix(digits, 16).ok()).map(Ipv6Addr::from_bits).collect()
}

/// The port, when the connection is taken. It is closed again at once.
async fn connect(bridge: &ProofBridge, to: SocketAddrV6) -> io::Result<Option<u16>> {
    let socket = TcpSocket::new_v6()?;
    socket.bind_device(Some(bridge.as_str().as_bytes()))?;
    let connected = timeout(CONNECT, socket.connect(SocketAddr::V6(to))).await;
    Ok(matches!(connected, Ok(Ok(_))).then_some(to.port()))
}

/// Who answers an echo request to all nodes of the bridge, this machine included.
async fn echoes(bridge: &ProofBridge, index: u32) -> io::Result<Vec<Ipv6Addr>> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let raw = socket(AddressFamily::Inet6, SockType::Raw, flags, SockProtocol::IcmpV6)?;
    setsockopt(&raw, sockopt::BindToDevice, &OsString::from(bridge.as_str()))?;
    let socket = UdpSocket::from_std(raw.into())?;
    let [high, low] = (std::process::id() as u16).to_be_bytes();
    // Code 0, and the kernel's checksum.
    let request = [ECHO_REQUEST, 0, 0, 0, high, low, 0, 1];
    socket.send_to(&request, SocketAddrV6::new(ALL_NODES, 0, 0, index)).await?;
    let mut heard = Vec::new();
    let listen = async {
        let mut packet = [0; 64];
        for _ in 0..MOST_PACKETS {
            let Ok((len, SocketAddr::V6(from))) = socket.recv_from(&mut packet).await else { return };
            if matches!(&packet[..len], [ECHO_REPLY, 0, _, _, a, b, ..] if [*a, *b] == [high, low]) {
                heard.push(*from.ip());
            }
        }
    };
    let _time_is_up = timeout(ECHO, listen).await;
    Ok(heard)
}

async fn ip(bridge: &ProofBridge, arguments: &[&str]) -> Result<()> {
    let mut command = Command::new("ip");
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    match timeout(PATIENCE, command.output()).await {
        Ok(Ok(output)) if output.status.success() => Ok(()),
        Ok(Ok(output)) => Err(broken(bridge, String::from_utf8_lossy(&output.stderr).trim().to_owned())),
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => {
            let why = "this host has no ip; install iproute2".to_owned();
            Err(HypervisorError::Unsupported { operation: "a proof by port", why })
        }
        Ok(Err(error)) => Err(broken(bridge, format!("cannot run ip: {error}"))),
        Err(_) => {
            Err(HypervisorError::TimedOut { operation: "ip link", after: Some(PATIENCE), log: String::new() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_of_a_bridge_that_are_a_guests() {
        for (port, expected) in [
            ("vif7.0", Some(7)),
            ("vif12.1-emu", Some(12)),
            ("eth0", None),
            ("vif7", None),
            ("vif7.0x", None),
            ("tap0", None),
        ] {
            assert_eq!(domid_of(port), expected, "{port}");
        }
    }

    #[test]
    fn addresses_of_this_machine() {
        let table =
            "fe80000000000000d0ffeffffec1ed90 05 40 20 80 xp-0\nodd\n00000000000000000000000000000001 01\n";
        let own = own_addresses(table);
        let expected: [Ipv6Addr; 2] =
            ["::1", "fe80::d0ff:efff:fec1:ed90"].map(|address| address.parse().unwrap());
        assert_eq!(own.into_iter().collect::<Vec<Ipv6Addr>>(), expected);
    }
}
