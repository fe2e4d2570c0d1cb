//! The network of a proof: a bridge of one host that nothing but the VM that is proved is on.
//!
//! What always holds: a [`ProofBridge`] is named after its VM and begins with [`ProofBridge::PREFIX`], which no other
//! bridge may; so nobody can be talked into connecting to, or removing, a bridge of another kind.

use std::fmt;
use std::net::Ipv6Addr;
use std::num::NonZeroU16;

use serde::{Deserialize, Serialize};
use xenith_common_ids::VmId;
use xenith_common_units::MacAddr;

/// The name of a proof's bridge, as Linux has it (15 characters at most).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ProofBridge(String);

impl ProofBridge {
    pub const PREFIX: &'static str = "xp-";

    /// That of a VM: the last digits of its id, which are random.
    #[must_use]
    pub fn of(vm: VmId) -> Self {
        let digits = vm.as_uuid().simple().to_string();
        Self(format!("{}{}", Self::PREFIX, &digits[digits.len() - 12..]))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a bridge of this name is a proof's, and thus no network of anybody's.
    #[must_use]
    pub fn is_one(name: &str) -> bool {
        name.starts_with(Self::PREFIX)
    }
}

impl fmt::Display for ProofBridge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which ports of a VM on its proof's bridge have to answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PortQuestion {
    pub vm: VmId,
    /// Of its network card there.
    pub mac: MacAddr,
    /// TCP; 1 to [`PortQuestion::MOST_PORTS`].
    pub ports: Vec<NonZeroU16>,
    /// How long they may take.
    pub seconds: u32,
}

impl PortQuestion {
    pub const MOST_PORTS: usize = 16;
    /// The longest that anybody waits for a guest.
    pub const MOST_SECONDS: u32 = 4 * 3600;
}

/// The link-local address that RFC 4291 (appendix A) makes of a MAC.
#[must_use]
pub fn link_local(mac: MacAddr) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac.octets();
    let pair = |high: u8, low: u8| u16::from_be_bytes([high, low]);
    Ipv6Addr::new(0xfe80, 0, 0, 0, pair(a ^ 2, b), pair(c, 0xff), pair(0xfe, d), pair(e, f))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bridge_is_named_after_its_vm() {
        let vm: VmId = "01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap();
        let bridge = ProofBridge::of(vm);
        assert_eq!(bridge.as_str(), "xp-b302099a8057");
        assert!(bridge.as_str().len() <= 15, "Linux cuts no names, it refuses them");
        assert!(ProofBridge::is_one(bridge.as_str()) && !ProofBridge::is_one("xenbr0"));
    }

    #[test]
    fn an_address_comes_from_the_mac() {
        let mac = "00:16:3e:01:02:03".parse().unwrap();
        assert_eq!(link_local(mac).to_string(), "fe80::216:3eff:fe01:203");
    }
}
