//! The encrypted way between the hosts of a pool: WireGuard, one interface for each generation of keys.
//!
//! What always holds: a private key is made on its host and never leaves it; public ones are exchanged by the orchestrator.
//! Keys are renewed in generations that follow each other. Two may be there at once, on an interface each, so that a host
//! moves its traffic from one to the other by a route, and nothing is cut. A host has one address in the mesh, the same in
//! all generations: what is on top of it (VXLAN) notices nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use xenith_common_ids::HostId;

use crate::text::as_text;

/// Interfaces of the mesh begin so; see [`mesh_interface`].
pub(crate) const MESH: &str = "xw-";
/// UDP, of even generations; of odd ones the one behind it.
pub const MESH_PORT: u16 = 51820;
/// What WireGuard adds to a packet between hosts that reach each other by IPv6 (40 bytes IP, 8 UDP, 32 its own).
pub const WIREGUARD_BYTES: u32 = 80;
/// What VXLAN adds within the mesh: 40 bytes IPv6, 8 UDP, 8 VXLAN, 14 Ethernet.
pub const VXLAN_BYTES: u32 = 70;

/// Whether what hosts send each other of a private network can be read on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Encryption {
    /// It can.
    #[default]
    None,
    WireGuard,
}

impl Encryption {
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::None
    }

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::WireGuard => "wireguard",
        }
    }
}

/// A public key, as `wg` shows it: 32 bytes in Base64.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WireGuardKey(String);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no public key of WireGuard (44 characters of Base64)")]
pub struct ParseWireGuardKeyError(String);

impl FromStr for WireGuardKey {
    type Err = ParseWireGuardKeyError;

    fn from_str(text: &str) -> Result<Self, ParseWireGuardKeyError> {
        let fine = text.len() == 44
            && text.ends_with('=')
            && text[..43].bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/".contains(&byte));
        if fine { Ok(Self(text.to_owned())) } else { Err(ParseWireGuardKeyError(text.to_owned())) }
    }
}

impl fmt::Display for WireGuardKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

as_text!(WireGuardKey, ParseWireGuardKeyError, { "type": "string", "pattern": "^[A-Za-z0-9+/]{43}=$" });

/// What a host must have of the mesh.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mesh {
    /// The host's own.
    pub address: Ipv6Addr,
    /// The generation by which it sends, as far as it has the other side's key.
    pub active: u64,
    /// At most two, which follow each other.
    pub generations: Vec<MeshGeneration>,
}

/// The keys of one time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeshGeneration {
    pub number: u64,
    pub peers: Vec<MeshPeer>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeshPeer {
    pub key: WireGuardKey,
    /// Where the other host is reached.
    pub endpoint: IpAddr,
    /// Its address in the mesh.
    pub address: Ipv6Addr,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RealisedMesh {
    /// The host's public keys, by generation.
    pub keys: BTreeMap<u64, WireGuardKey>,
    /// Why it is not there.
    pub problem: Option<String>,
}

/// The interface of a generation on each host.
#[must_use]
pub fn mesh_interface(generation: u64) -> String {
    format!("{MESH}{}", generation % 2)
}

#[must_use]
pub const fn mesh_port(generation: u64) -> u16 {
    if generation.is_multiple_of(2) { MESH_PORT } else { MESH_PORT + 1 }
}

/// The address of a host in the mesh: a unique local one (RFC 4193), with the digits of its id that are random.
#[must_use]
pub fn mesh_address(host: HostId) -> Ipv6Addr {
    let mut octets = [0xfd, b'x', b'e', b'n', b'i', b't', b'h', 0, 0, 0, 0, 0, 0, 0, 0, 0];
    octets[8..].copy_from_slice(&host.as_bytes()[8..]);
    Ipv6Addr::from(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys() {
        let key = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";
        assert_eq!(key.parse::<WireGuardKey>().unwrap().to_string(), key);
        for bad in [
            "",
            "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg",
            &key.replace('x', "\n"),
            &key.replace('x', "é"),
        ] {
            assert!(bad.parse::<WireGuardKey>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn hosts_have_addresses_and_generations_interfaces_of_their_own() {
        let (a, b) = (HostId::from_bytes([7; 16]), HostId::from_bytes([8; 16]));
        assert_eq!(mesh_address(a).to_string(), "fd78:656e:6974:6800:707:707:707:707");
        assert_ne!(mesh_address(a), mesh_address(b));
        assert_eq!((mesh_interface(4), mesh_port(4)), ("xw-0".to_owned(), 51820));
        assert_eq!((mesh_interface(5), mesh_port(5)), ("xw-1".to_owned(), 51821));
    }
}
