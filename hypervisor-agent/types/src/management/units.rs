//! The management interface as files of systemd-networkd: written by the installer, read and written anew by the agent.
//!
//! ```text
//!  card(s) -> [bond0] -> [VLAN] -> xenbr0, which has the address; VIFs of VMs join the bridge
//! ```
//!
//! What always holds: [`Units::read`] takes only files that [`Units::files`] would write again, byte by byte. Whoever has
//! changed one by hand, in a way that is not known here, keeps what they have. The file that makes the bridge is never
//! written anew: VMs are on the bridge, and its hardware address stays.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;

use xenith_common_units::MacAddr;

use super::{Addressing, Management};
use crate::network::{BondMode, Vlan};

/// The bridge that the agent's default network stands on.
pub const BRIDGE: &str = "xenbr0";
pub(super) const BOND: &str = "bond0";
pub(super) const VLAN: &str = "mgmt";

const BRIDGE_DEVICE: &str = "10-xenbr0.netdev";
const BRIDGE_NETWORK: &str = "30-xenbr0.network";
const BOND_DEVICE: &str = "10-bond0.netdev";
const BOND_NETWORK: &str = "25-bond0.network";
const VLAN_DEVICE: &str = "10-mgmt.netdev";
const VLAN_NETWORK: &str = "26-mgmt.network";
const UPLINK: (&str, &str) = ("20-uplink-", ".network");
const QUIET: &str = "LinkLocalAddressing=no\nIPv6AcceptRA=no\n";

/// What stands in the files, as text: an installer writes what its user wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Units {
    /// Hardware addresses.
    pub cards: Vec<String>,
    /// As systemd names the mode.
    pub bond: Option<String>,
    pub vlan: Option<String>,
    /// Without one, by DHCP.
    pub address: Option<String>,
    pub gateway: Option<String>,
    pub dns: Vec<String>,
}

impl From<&Management> for Units {
    fn from(management: &Management) -> Self {
        Self {
            cards: management.cards.iter().map(ToString::to_string).collect(),
            bond: management.bond.map(|bond| bond.linux_name().to_owned()),
            vlan: management.vlan.map(|vlan| vlan.to_string()),
            address: match management.address {
                Addressing::Dhcp => None,
                Addressing::Static(address) => Some(address.to_string()),
            },
            gateway: management.gateway.map(|gateway| gateway.to_string()),
            dns: management.dns.iter().map(ToString::to_string).collect(),
        }
    }
}

impl Units {
    /// Name and text of each file.
    #[must_use]
    pub fn files(&self) -> Vec<(String, String)> {
        let mac = self.cards.first().map_or("", String::as_str);
        // One address for bridge and card, the card's own: leases and switches see the machine they know.
        let device = format!(
            "[NetDev]\nName={BRIDGE}\nKind=bridge\nMACAddress={mac}\n\n[Bridge]\nSTP=no\nForwardDelaySec=0\n"
        );
        let mut files = vec![(BRIDGE_DEVICE.to_owned(), device)];
        files.extend(self.ours());
        files
    }

    /// All but the one that makes the bridge.
    #[must_use]
    pub fn ours(&self) -> Vec<(String, String)> {
        let mut files = Vec::new();
        let mut add = |name: &str, text: String| files.push((name.to_owned(), text));
        let onto_bridge = format!("Bridge={BRIDGE}\n");
        let below_bridge = if self.vlan.is_some() { format!("VLAN={VLAN}\n") } else { onto_bridge.clone() };
        let above = if self.bond.is_some() { format!("Bond={BOND}\n") } else { below_bridge.clone() };
        for card in &self.cards {
            let text = format!("[Match]\nPermanentMACAddress={card}\n\n[Network]\n{above}{QUIET}");
            add(&format!("{}{}{}", UPLINK.0, card.replace(':', ""), UPLINK.1), text);
        }
        if let Some(mode) = &self.bond {
            let text =
                format!("[NetDev]\nName={BOND}\nKind=bond\n\n[Bond]\nMode={mode}\nMIIMonitorSec=100ms\n");
            add(BOND_DEVICE, text);
            add(BOND_NETWORK, format!("[Match]\nName={BOND}\n\n[Network]\n{below_bridge}{QUIET}"));
        }
        if let Some(id) = &self.vlan {
            add(VLAN_DEVICE, format!("[NetDev]\nName={VLAN}\nKind=vlan\n\n[VLAN]\nId={id}\n"));
            add(VLAN_NETWORK, format!("[Match]\nName={VLAN}\n\n[Network]\n{onto_bridge}{QUIET}"));
        }
        add(BRIDGE_NETWORK, self.bridge());
        files
    }

    fn bridge(&self) -> String {
        let mut text = format!("[Match]\nName={BRIDGE}\n\n[Network]\n");
        match &self.address {
            None => text.push_str("DHCP=yes\n"),
            Some(address) => {
                writeln!(text, "Address={address}").expect("writing to a String cannot fail");
                if let Some(gateway) = &self.gateway {
                    writeln!(text, "Gateway={gateway}").expect("writing to a String cannot fail");
                }
            }
        }
        for server in &self.dns {
            writeln!(text, "DNS={server}").expect("writing to a String cannot fail");
        }
        if self.address.is_none() {
            // The hardware address as client id: the address of the lease is the same in every system on this machine.
            text.push_str("\n[DHCPv4]\nClientIdentifier=mac\n");
        }
        text
    }

    /// Whether a file of this name is one of the management interface's. The bridge's own is not: it stays.
    #[must_use]
    pub fn is_ours(name: &str) -> bool {
        let uplink = name.starts_with(UPLINK.0) && name.ends_with(UPLINK.1);
        uplink || [BRIDGE_NETWORK, BOND_DEVICE, BOND_NETWORK, VLAN_DEVICE, VLAN_NETWORK].contains(&name)
    }

    /// What the files of a host say, by name and text. The error is the name of the file that is not as it would be written.
    pub fn read(files: &BTreeMap<String, String>) -> Result<Management, String> {
        let missing = |name: &str| files.get(name).ok_or_else(|| name.to_owned());
        missing(BRIDGE_DEVICE)?;
        let bridge = missing(BRIDGE_NETWORK)?;
        let all = |name: &str, key: &str| -> Vec<String> {
            files.get(name).map(|text| values(text, key).map(str::to_owned).collect()).unwrap_or_default()
        };
        let first = |name: &str, key: &str| all(name, key).into_iter().next();
        let mut cards = Vec::new();
        for (name, text) in files.iter().filter(|(name, _)| name.starts_with(UPLINK.0)) {
            cards.push(values(text, "PermanentMACAddress").next().ok_or_else(|| name.clone())?.to_owned());
        }
        let units = Self {
            cards,
            bond: first(BOND_DEVICE, "Mode"),
            vlan: first(VLAN_DEVICE, "Id"),
            address: values(bridge, "Address").next().map(str::to_owned),
            gateway: first(BRIDGE_NETWORK, "Gateway"),
            dns: all(BRIDGE_NETWORK, "DNS"),
        };
        let again: BTreeMap<String, String> = units.ours().into_iter().collect();
        let mut there = files.iter().filter(|(name, _)| Self::is_ours(name));
        if let Some((name, _)) = there.find(|(name, text)| again.get(*name) != Some(*text)) {
            return Err(name.clone());
        }
        if let Some(name) = again.keys().find(|name| !files.contains_key(*name)) {
            return Err(name.clone());
        }
        units.management()
    }

    fn management(&self) -> Result<Management, String> {
        let in_bridge = || BRIDGE_NETWORK.to_owned();
        let mut cards = Vec::with_capacity(self.cards.len());
        for card in &self.cards {
            let file = || format!("{}{}{}", UPLINK.0, card.replace(':', ""), UPLINK.1);
            cards.push(card.parse::<MacAddr>().map_err(|_| file())?);
        }
        if cards.is_empty() {
            return Err(format!("{}*{}", UPLINK.0, UPLINK.1));
        }
        let named = |name| BondMode::from_linux_name(name).ok_or_else(|| BOND_DEVICE.to_owned());
        let bond = self.bond.as_deref().map(named).transpose()?;
        let vlan = self.vlan.as_deref().map(str::parse::<Vlan>).transpose();
        let vlan = vlan.map_err(|_| VLAN_DEVICE.to_owned())?;
        let address = self.address.as_deref().unwrap_or("dhcp").parse::<Addressing>();
        let address = address.map_err(|_| in_bridge())?;
        let gateway = self.gateway.as_deref().map(str::parse::<IpAddr>).transpose();
        let gateway = gateway.map_err(|_| in_bridge())?;
        let dns = self.dns.iter().map(|server| server.parse::<IpAddr>()).collect::<Result<Vec<_>, _>>();
        let dns = dns.map_err(|_| in_bridge())?;
        Ok(Management { cards, bond, vlan, address, gateway, dns })
    }
}

/// The values of a key, wherever it stands.
fn values<'a>(text: &'a str, key: &'a str) -> impl Iterator<Item = &'a str> {
    text.lines().filter_map(move |line| line.strip_prefix(key)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn managements() -> Vec<Management> {
        let cards = |count: u8| (0..count).map(|n| MacAddr::from_xen_block([0, 0, n])).collect::<Vec<_>>();
        let one = Management {
            cards: cards(1),
            bond: None,
            vlan: None,
            address: Addressing::Dhcp,
            gateway: None,
            dns: vec![],
        };
        let fixed = Management {
            address: "192.0.2.5/24".parse().unwrap(),
            gateway: Some("192.0.2.1".parse().unwrap()),
            dns: vec!["192.0.2.53".parse().unwrap(), "2001:db8::53".parse().unwrap()],
            ..one.clone()
        };
        let tagged = Management { vlan: Some(Vlan::try_from(42).unwrap()), ..fixed.clone() };
        let bond = Management { cards: cards(2), bond: Some(BondMode::Lacp), ..tagged.clone() };
        let backup =
            Management { cards: cards(2), bond: Some(BondMode::ActiveBackup), vlan: None, ..one.clone() };
        vec![one, fixed, tagged, bond, backup]
    }

    #[test]
    fn what_is_written_is_read() {
        for management in managements() {
            let mut files: BTreeMap<_, _> = Units::from(&management).files().into_iter().collect();
            files.insert("50-storage.network".to_owned(), "[Match]\nName=eth7\n".to_owned());
            assert_eq!(Units::read(&files), Ok(management));
        }
    }

    #[test]
    fn what_was_changed_by_hand_is_named() {
        let [_, _, _, bond, _]: [Management; 5] = managements().try_into().unwrap();
        let files: BTreeMap<_, _> = Units::from(&bond).files().into_iter().collect();
        for name in files.keys() {
            let mut odd = files.clone();
            odd.get_mut(name).unwrap().push_str("MTUBytes=9000\n");
            let read = Units::read(&odd);
            match name.as_str() {
                BRIDGE_DEVICE => assert!(read.is_ok(), "the bridge is not touched"),
                _ => assert_eq!(read.as_ref(), Err(name)),
            }
            let mut short = files.clone();
            short.remove(name);
            match Units::read(&short) {
                Ok(fewer) if name.starts_with(UPLINK.0) => assert_eq!(fewer.cards.len(), 1),
                read => assert!(read.is_err(), "{name} is missing"),
            }
        }
        assert!(Units::read(&BTreeMap::new()).is_err());
    }
}
