//! The management network as files of systemd-networkd, the same for the live system and the installed one. How they are
//! written is the agent's too, which changes them on an installed host (`hypervisor_agent_types::management`).

pub use xenith_hypervisor_agent_types::management::BRIDGE;
use xenith_hypervisor_agent_types::management::Units;

use crate::answers::{Addressing, Network};
use crate::nics::Nic;

/// Name and text of each file.
#[must_use]
pub fn units(network: &Network, cards: &[&Nic]) -> Vec<(String, String)> {
    let (address, gateway) = match &network.address {
        Addressing::Dhcp => (None, None),
        Addressing::Static { address, gateway } => {
            (Some(address.to_string()), gateway.map(|gateway| gateway.to_string()))
        }
    };
    let units = Units {
        cards: cards.iter().map(|card| card.mac.clone()).collect(),
        bond: network.bond.map(|mode| mode.as_str().to_owned()),
        vlan: network.vlan.map(|id| id.to_string()),
        address,
        gateway,
        dns: network.dns.iter().map(ToString::to_string).collect(),
    };
    units.files()
}

/// Lines of the summary.
pub fn describe(network: &Network, cards: &[&Nic]) -> Vec<String> {
    let names: Vec<String> = cards.iter().map(|card| format!("{} ({})", card.name, card.mac)).collect();
    let bond = network.bond.map(|mode| format!(", bond {}", mode.as_str())).unwrap_or_default();
    let vlan = network.vlan.map(|id| format!(", VLAN {id}")).unwrap_or_default();
    let address = match &network.address {
        Addressing::Dhcp => "address by DHCP".to_owned(),
        Addressing::Static { address, gateway: Some(gateway) } => {
            format!("address {address}, gateway {gateway}")
        }
        Addressing::Static { address, gateway: None } => format!("address {address}, no gateway"),
    };
    vec![format!("network     {}{bond}{vlan}", names.join(", ")), format!("            {BRIDGE}: {address}")]
}
