//! The management network as files of systemd-networkd, the same for the live system and the installed one.
//!
//! ```text
//!  card(s) -> [bond0] -> [VLAN] -> xenbr0, which has the address; VIFs of VMs join the bridge
//! ```
//!
//! Cards are matched by their hardware address: their names change with the slot, the kernel and the firmware.

use std::fmt::Write as _;

use crate::answers::{Addressing, Network};
use crate::nics::Nic;

/// The bridge that the agent's default network stands on.
pub const BRIDGE: &str = "xenbr0";

/// Name and text of each file.
#[must_use]
pub fn units(network: &Network, cards: &[&Nic]) -> Vec<(String, String)> {
    let mut files = Vec::new();
    let mut add = |name: &str, text: String| files.push((name.to_owned(), text));
    let mac = cards.first().map_or("", |card| card.mac.as_str());
    // One address for bridge and card, the card's own: leases and switches see the machine they know.
    add(
        "10-xenbr0.netdev",
        format!(
            "[NetDev]\nName={BRIDGE}\nKind=bridge\nMACAddress={mac}\n\n[Bridge]\nSTP=no\nForwardDelaySec=0\n"
        ),
    );
    let above = match (&network.bond, &network.vlan) {
        (Some(_), _) => "Bond=bond0\n".to_owned(),
        (None, Some(_)) => "VLAN=mgmt\n".to_owned(),
        (None, None) => format!("Bridge={BRIDGE}\n"),
    };
    let quiet = "LinkLocalAddressing=no\nIPv6AcceptRA=no\n";
    for card in cards {
        let text = format!("[Match]\nPermanentMACAddress={}\n\n[Network]\n{above}{quiet}", card.mac);
        add(&format!("20-uplink-{}.network", card.mac.replace(':', "")), text);
    }
    if let Some(mode) = network.bond {
        let mode = mode.as_str();
        add(
            "10-bond0.netdev",
            format!("[NetDev]\nName=bond0\nKind=bond\n\n[Bond]\nMode={mode}\nMIIMonitorSec=100ms\n"),
        );
        let above =
            if network.vlan.is_some() { "VLAN=mgmt\n".to_owned() } else { format!("Bridge={BRIDGE}\n") };
        add("25-bond0.network", format!("[Match]\nName=bond0\n\n[Network]\n{above}{quiet}"));
    }
    if let Some(id) = network.vlan {
        add("10-mgmt.netdev", format!("[NetDev]\nName=mgmt\nKind=vlan\n\n[VLAN]\nId={id}\n"));
        add("26-mgmt.network", format!("[Match]\nName=mgmt\n\n[Network]\nBridge={BRIDGE}\n{quiet}"));
    }
    add("30-xenbr0.network", bridge(network));
    files
}

fn bridge(network: &Network) -> String {
    let mut text = format!("[Match]\nName={BRIDGE}\n\n[Network]\n");
    match &network.address {
        // The hardware address as client id: the address of the lease is the same in every system on this machine.
        Addressing::Dhcp => text.push_str("DHCP=yes\n"),
        Addressing::Static { address, gateway } => {
            writeln!(text, "Address={address}").expect("writing to a String cannot fail");
            if let Some(gateway) = gateway {
                writeln!(text, "Gateway={gateway}").expect("writing to a String cannot fail");
            }
        }
    }
    for server in &network.dns {
        writeln!(text, "DNS={server}").expect("writing to a String cannot fail");
    }
    if network.address == Addressing::Dhcp {
        text.push_str("\n[DHCPv4]\nClientIdentifier=mac\n");
    }
    text
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
