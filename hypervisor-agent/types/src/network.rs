//! What NICs plug into: how a pool declares a network, and what one host must have of all of them.
//!
//! What always holds: every device that an agent makes for a network begins with a prefix of ours ([`is_ours`]), which no
//! name that somebody gives may ([`InterfaceName`]). So what is ours is told by its name alone, after a crash too, and
//! nobody can be talked into changing or removing a device of somebody else's.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use xenith_common_ids::NetworkId;
use xenith_common_units::MacAddr;

use crate::ProofBridge;
use crate::filter::PacketFilter;
use crate::mesh::{Encryption, MESH, Mesh, RealisedMesh, VXLAN_BYTES, WIREGUARD_BYTES};
pub use crate::text::OutOfBounds;
use crate::text::{as_text, bounded};

const BRIDGE: &str = "xn-";
const VLAN: &str = "xv-";
const TUNNEL: &str = "xt-";
const BOND: &str = "xb-";

/// A network interface that the host has, as Linux names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct InterfaceName(String);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseInterfaceNameError {
    #[error("{0:?} is not the name of an interface such as eth0 (1 to 15 letters, digits, dots, dashes)")]
    Syntax(String),
    #[error(
        "{0:?} is a name for devices that Xenith makes itself, or of a guest; give one that the host has"
    )]
    Ours(String),
}

impl InterfaceName {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for InterfaceName {
    type Err = ParseInterfaceNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fine = (1..=15).contains(&text.len())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
            && !text.starts_with(['-', '.']);
        if !fine {
            return Err(ParseInterfaceNameError::Syntax(text.to_owned()));
        }
        // Nor a guest's: who declares networks would put a VM into another one.
        if is_ours(text) || is_guest_interface(text) || text == "lo" {
            return Err(ParseInterfaceNameError::Ours(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

as_text!(InterfaceName, ParseInterfaceNameError, { "type": "string", "pattern": "^[A-Za-z0-9_][A-Za-z0-9._-]{0,14}$" });

bounded! {
    /// The number of a VLAN (IEEE 802.1Q).
    Vlan = 1 to 4094, "a VLAN"
}
bounded! {
    /// The number of a private network on the wire (RFC 7348: VNI).
    Vni = 1 to 16_777_215, "the number of a private network"
}
bounded! {
    /// The largest packet, in bytes. IPv6 does not work below 1280.
    Mtu = 1280 to 9216, "an MTU"
}

/// How the interfaces of a bond share the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BondMode {
    /// One works, the others stand by. Needs nothing of the switch.
    ActiveBackup,
    /// IEEE 802.3ad: all work. The switch has to speak it too.
    Lacp,
}

impl BondMode {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ActiveBackup => "active-backup",
            Self::Lacp => "lacp",
        }
    }

    /// As Linux calls it, and systemd (`Mode=` in systemd.netdev).
    #[must_use]
    pub const fn linux_name(self) -> &'static str {
        match self {
            Self::ActiveBackup => "active-backup",
            Self::Lacp => "802.3ad",
        }
    }

    /// The mode that Linux calls so.
    #[must_use]
    pub fn from_linux_name(name: &str) -> Option<Self> {
        [Self::ActiveBackup, Self::Lacp].into_iter().find(|mode| mode.linux_name() == name)
    }
}

/// What joins the bridge of a network with the world.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Uplink {
    /// Nothing: the VMs of one host reach each other.
    Internal,
    /// An interface of each host, or a VLAN on it.
    Interface {
        interface: InterfaceName,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        vlan: Option<Vlan>,
    },
    /// Several interfaces as one, or a VLAN on that.
    Bond {
        bond: InterfaceName,
        mode: BondMode,
        interfaces: Vec<InterfaceName>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        vlan: Option<Vlan>,
    },
    /// The other hosts of the pool, over their own network (VXLAN, RFC 7348); encrypted where the network says so.
    Private { vni: Vni },
}

impl Uplink {
    /// The field that is wrong, and why.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        let Self::Bond { bond, interfaces, .. } = self else { return Ok(()) };
        if bond.as_str().len() > 15 - BOND.len() {
            return Err(("uplink.bond", format!("use at most {} characters", 15 - BOND.len())));
        }
        if interfaces.is_empty() || interfaces.len() > 8 {
            return Err(("uplink.interfaces", "give 1 to 8 interfaces".to_owned()));
        }
        match interfaces.iter().enumerate().find(|(index, name)| interfaces[..*index].contains(name)) {
            Some((_, twice)) => Err(("uplink.interfaces", format!("{twice} is there twice"))),
            None => Ok(()),
        }
    }

    /// Why two networks of a pool cannot both be, as words behind the other's name.
    #[must_use]
    pub fn clash(&self, other: &Self) -> Option<String> {
        match (self, other) {
            (Self::Private { vni: a }, Self::Private { vni: b }) if a == b => {
                Some(format!("is the private network {a} already"))
            }
            (
                Self::Bond { bond: a, mode, interfaces, vlan },
                Self::Bond { bond: b, mode: mode_b, interfaces: of_b, vlan: vlan_b },
            ) if a == b => {
                if (mode, interfaces) != (mode_b, of_b) {
                    return Some(format!("has a bond {a} of other interfaces or another mode"));
                }
                same_place(*vlan, *vlan_b, a)
            }
            (Self::Interface { interface: a, vlan }, Self::Interface { interface: b, vlan: vlan_b })
                if a == b =>
            {
                same_place(*vlan, *vlan_b, a)
            }
            (a, b) => {
                let taken = a.members().iter().find(|name| b.interfaces().contains(name));
                let taken = taken.or_else(|| b.members().iter().find(|name| a.interfaces().contains(name)));
                taken.map(|name| format!("uses {name} in another way"))
            }
        }
    }

    /// The interfaces of a bond: it has them for itself.
    fn members(&self) -> &[InterfaceName] {
        if let Self::Bond { interfaces, .. } = self { interfaces } else { &[] }
    }

    /// Interfaces of the host that it uses in any way.
    fn interfaces(&self) -> &[InterfaceName] {
        match self {
            Self::Internal | Self::Private { .. } => &[],
            Self::Interface { interface, .. } => std::slice::from_ref(interface),
            Self::Bond { interfaces, .. } => interfaces,
        }
    }

    /// The MTU of who gives none: a tunnel's packets are 50 bytes longer than what they carry, and those of an encrypted
    /// one 150.
    #[must_use]
    pub const fn usual_mtu(&self, encryption: Encryption) -> Mtu {
        match (self, encryption) {
            (Self::Private { .. }, Encryption::None) => Mtu(1450),
            (Self::Private { .. }, Encryption::WireGuard) => Mtu(1500 - WIREGUARD_BYTES - VXLAN_BYTES),
            _ => Mtu(1500),
        }
    }
}

fn same_place(a: Option<Vlan>, b: Option<Vlan>, on: &InterfaceName) -> Option<String> {
    match (a, b) {
        (None, None) => Some(format!("is on {on} already; give one of them a VLAN")),
        (Some(a), Some(b)) if a == b => Some(format!("is VLAN {a} on {on} already")),
        _ => None,
    }
}

impl fmt::Display for Uplink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let vlan = |vlan: &Option<Vlan>| vlan.map(|vlan| format!(" VLAN {vlan}")).unwrap_or_default();
        match self {
            Self::Internal => f.write_str("internal"),
            Self::Interface { interface, vlan: on } => write!(f, "{interface}{}", vlan(on)),
            Self::Bond { bond, mode, interfaces, vlan: on } => {
                let names: Vec<&str> = interfaces.iter().map(InterfaceName::as_str).collect();
                write!(f, "{bond} ({} of {}){}", mode.as_str(), names.join(", "), vlan(on))
            }
            Self::Private { vni } => write!(f, "private {vni}"),
        }
    }
}

/// The last digits of an id, which are random.
fn digits(network: NetworkId) -> String {
    let digits = network.as_uuid().simple().to_string();
    digits[digits.len() - 12..].to_owned()
}

/// The bridge of a network on each host.
#[must_use]
pub fn bridge_of(network: NetworkId) -> String {
    format!("{BRIDGE}{}", digits(network))
}

/// The VLAN in it.
#[must_use]
pub fn vlan_of(network: NetworkId) -> String {
    format!("{VLAN}{}", digits(network))
}

/// The tunnel in it.
#[must_use]
pub fn tunnel_of(network: NetworkId) -> String {
    format!("{TUNNEL}{}", digits(network))
}

/// A bond, by the name that was given to it.
#[must_use]
pub fn bond_device(bond: &InterfaceName) -> String {
    format!("{BOND}{bond}")
}

/// Whether an agent made the device of this name.
#[must_use]
pub fn is_ours(name: &str) -> bool {
    is_network_device(name) || is_mesh_device(name) || ProofBridge::is_one(name)
}

/// The same, but for the bridges of proofs.
#[must_use]
pub fn is_network_device(name: &str) -> bool {
    [BRIDGE, VLAN, TUNNEL, BOND].iter().any(|prefix| name.starts_with(prefix))
}

/// Whether it is an interface that encrypts what hosts send each other.
#[must_use]
pub fn is_mesh_device(name: &str) -> bool {
    name.starts_with(MESH)
}

/// The interface of a NIC on its host. It is known before the VM runs, so that rules for it can be there before it is.
///
/// Xen adds `-emu` for the emulated twin of a card, and Linux takes 15 characters: an `x` and the 48 bits of the address
/// as ten digits to the base of 32 fit, in capitals, as nobody else names interfaces.
#[must_use]
pub fn guest_interface(mac: MacAddr) -> String {
    let number = mac.octets().iter().fold(0_u64, |number, octet| (number << 8) | u64::from(*octet));
    let digit = |place: u32| char::from(DIGITS[usize::try_from((number >> (5 * place)) & 31).unwrap_or(0)]);
    std::iter::once('x').chain((0..10).rev().map(digit)).collect()
}

const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHIJKLMNOPQRSTUV";

/// Whether an interface is a guest's: one of ours, its emulated twin, or one that Xen named.
#[must_use]
pub fn is_guest_interface(name: &str) -> bool {
    let own = name.strip_suffix("-emu").unwrap_or(name).strip_prefix('x');
    let ours = own.is_some_and(|rest| rest.len() == 10 && rest.bytes().all(|byte| DIGITS.contains(&byte)));
    ours || name.starts_with("vif") || name.starts_with("tap")
}

/// One network, as a host must have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostNetwork {
    pub network: NetworkId,
    /// For people who look at the host's interfaces.
    pub name: String,
    pub uplink: Uplink,
    pub mtu: Mtu,
    /// Of a private network: the other hosts; of an encrypted one, their addresses in the mesh.
    #[serde(default)]
    pub peers: Vec<IpAddr>,
    #[serde(default, skip_serializing_if = "Encryption::is_none")]
    pub encryption: Encryption,
}

/// All that a host must have of networks. What is not in it, and is ours, is to go.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostNetworks {
    #[serde(default)]
    pub networks: Vec<HostNetwork>,
    #[serde(default)]
    pub filter: PacketFilter,
    /// Where a network is encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mesh: Option<Mesh>,
}

impl HostNetworks {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.networks.is_empty() && self.filter.is_empty() && self.mesh.is_none()
    }
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Realised {
    pub networks: Vec<RealisedNetwork>,
    /// Why the packet filter is not as it is wanted.
    pub filter_problem: Option<String>,
    /// Where one is wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mesh: Option<RealisedMesh>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RealisedNetwork {
    pub network: NetworkId,
    /// Why it is not there.
    pub problem: Option<String>,
}

impl Realised {
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let mesh_problem = self.mesh.as_ref().and_then(|mesh| mesh.problem.as_ref());
        self.filter_problem.is_none()
            && mesh_problem.is_none()
            && self.networks.iter().all(|network| network.problem.is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_interfaces() {
        for (name, fine) in [
            ("eth0", true),
            ("enp3s0f1np1", true),
            ("bond0.12", true),
            ("", false),
            ("-eth0", false),
            ("eth0 up", false),
            ("a/b", false),
            ("interface-too-long", false),
            ("xn-b302099a8057", false),
            ("xp-b302099a8057", false),
            ("xw-0", false),
            ("lo", false),
            ("vif3.0", false),
            ("x002OV00001", false),
            ("x002OV00001-emu", false),
        ] {
            assert_eq!(name.parse::<InterfaceName>().is_ok(), fine, "{name}");
        }
    }

    #[test]
    fn devices_fit_and_are_told_from_others() {
        let network: NetworkId = "01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap();
        assert_eq!(bridge_of(network), "xn-b302099a8057");
        for name in [bridge_of(network), vlan_of(network), tunnel_of(network)] {
            assert!(name.len() <= 15 && is_ours(&name), "{name}");
        }
        let (a, b) = ("00:16:3e:00:00:01".parse().unwrap(), "02:16:3e:00:00:01".parse().unwrap());
        assert_eq!(guest_interface(a), "x002OV00001");
        assert_ne!(guest_interface(a), guest_interface(b));
        assert!(guest_interface(b).len() + "-emu".len() <= 15);
        let emulated = format!("{}-emu", guest_interface(b));
        for (name, guests) in [
            ("x002OV00001", true),
            (emulated.as_str(), true),
            ("vif3.0", true),
            ("xenbr0", false),
            ("xenbridge01", false),
            ("eth0", false),
        ] {
            assert_eq!(is_guest_interface(name), guests, "{name}");
        }
    }

    #[test]
    fn networks_that_cannot_be_side_by_side() {
        let uplink = |json: &str| serde_json::from_str::<Uplink>(json).unwrap();
        let eth = |vlan: &str| uplink(&format!(r#"{{"kind":"interface","interface":"eth1"{vlan}}}"#));
        let bond = |of: &str, vlan: &str| {
            let json = format!(r#"{{"kind":"bond","bond":"b0","mode":"lacp","interfaces":{of}{vlan}}}"#);
            uplink(&json)
        };
        let (v7, v8) = (r#","vlan":7"#, r#","vlan":8"#);
        let private = |vni: &str| uplink(&format!(r#"{{"kind":"private","vni":{vni}}}"#));
        for (a, b, why) in [
            (eth(""), eth(v7), None),
            (eth(v7), eth(v8), None),
            (eth(""), eth(""), Some("is on eth1 already")),
            (eth(v7), eth(v7), Some("is VLAN 7 on eth1 already")),
            (bond(r#"["eth2","eth3"]"#, v7), bond(r#"["eth2","eth3"]"#, v8), None),
            (bond(r#"["eth2","eth3"]"#, v7), bond(r#"["eth2"]"#, v8), Some("of other interfaces")),
            (bond(r#"["eth1"]"#, ""), eth(v7), Some("uses eth1 in another way")),
            (eth(v7), bond(r#"["eth1"]"#, ""), Some("uses eth1 in another way")),
            (private("5"), private("5"), Some("is the private network 5 already")),
            (private("5"), private("6"), None),
            (Uplink::Internal, Uplink::Internal, None),
        ] {
            let clash = a.clash(&b);
            assert_eq!(clash.is_some(), why.is_some(), "{a} and {b}: {clash:?}");
            assert!(clash.unwrap_or_default().contains(why.unwrap_or("")), "{a} and {b}");
        }
        assert!(bond(r#"["eth2","eth2"]"#, "").check().is_err());
        assert!(bond("[]", "").check().is_err());
        assert!(serde_json::from_str::<Uplink>(r#"{"kind":"interface","interface":"xn-1"}"#).is_err());
        assert!(serde_json::from_str::<Uplink>(r#"{"kind":"private","vni":0}"#).is_err());
    }
}
