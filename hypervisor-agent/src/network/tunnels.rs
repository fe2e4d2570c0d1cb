//! What may come into the tunnels of encrypted networks: one table for nftables. Pure.
//!
//! The kernel gives a tunnel what comes to UDP port 4789 with its number, from whichever interface it comes. So who can send
//! there past the mesh, such as a guest in a network of the host's own, could forge packets of an encrypted network.
//!
//! What always holds:
//! * all of it is in one table, [`TABLE`], which is loaded as a whole or not at all, before a tunnel is made; it refuses, and
//!   what it lets pass still has to pass the host's own filter;
//! * it is of IPv6 alone: a tunnel with an address of the mesh hears nothing else, and one that is not encrypted has none;
//! * it is of the numbers of encrypted networks alone, and lets other tunnels of the host be. But for fragments: those come
//!   by here before they are put together, and the number may be in the second one. Nobody may send any of a tunnel
//!   (RFC 7348, section 4.3), and ours send theirs through the mesh.

use std::collections::BTreeSet;

use xenith_hypervisor_agent_types::mesh::{Encryption, mesh_interface};
use xenith_hypervisor_agent_types::network::{HostNetwork, Uplink};

pub const TABLE: &str = "xenith_tunnels";

/// The tunnels (VNI) to which only the mesh may send.
#[must_use]
pub fn numbers(networks: &[HostNetwork]) -> BTreeSet<u32> {
    let number = |network: &HostNetwork| match (&network.uplink, network.encryption) {
        (Uplink::Private { vni }, Encryption::WireGuard) => Some(vni.get()),
        _ => None,
    };
    networks.iter().filter_map(number).collect()
}

/// Commands that make this the table, whatever is there. Without a number there is none.
#[must_use]
pub fn commands(numbers: &BTreeSet<u32>) -> String {
    // The first makes sure that there is one to delete.
    let none = format!("table ip6 {TABLE}\ndelete table ip6 {TABLE}\n");
    if numbers.is_empty() {
        return none;
    }
    let mesh = [0, 1].map(|generation| format!("\"{}\"", mesh_interface(generation))).join(", ");
    let numbers: Vec<String> = numbers.iter().map(ToString::to_string).collect();
    let numbers = numbers.join(", ");
    // The number: 8 bytes UDP and 4 of VXLAN are before it. By its place, as the nftables of
    // Debian 12 has no name for the field.
    format!(
        "{none}table ip6 {TABLE} {{\n\
         \tchain input {{\n\
         \t\ttype filter hook input priority -10; policy accept;\n\
         \t\tiifname {{ {mesh} }} accept\n\
         \t\tudp dport 4789 exthdr frag exists drop\n\
         \t\tudp dport 4789 @th,96,24 {{ {numbers} }} drop\n\
         \t}}\n\
         }}\n"
    )
}

#[cfg(test)]
mod tests {
    use xenith_common_ids::NetworkId;
    use xenith_hypervisor_agent_types::network::{Mtu, Vni};

    use super::*;

    #[test]
    fn only_numbers_of_encrypted_networks() {
        let network = |uplink, encryption| HostNetwork {
            network: NetworkId::new(),
            name: "back".to_owned(),
            uplink,
            mtu: Mtu::try_from(1350).unwrap(),
            peers: vec![],
            encryption,
        };
        let private = |number: u32| Uplink::Private { vni: Vni::try_from(number).unwrap() };
        let networks = [
            network(private(7), Encryption::WireGuard),
            network(private(8), Encryption::None),
            network(Uplink::Internal, Encryption::None),
            network(private(5), Encryption::WireGuard),
        ];
        assert_eq!(numbers(&networks), BTreeSet::from([5, 7]));
    }

    #[test]
    fn a_table_or_none() {
        let expected = "\
table ip6 xenith_tunnels
delete table ip6 xenith_tunnels
table ip6 xenith_tunnels {
\tchain input {
\t\ttype filter hook input priority -10; policy accept;
\t\tiifname { \"xw-0\", \"xw-1\" } accept
\t\tudp dport 4789 exthdr frag exists drop
\t\tudp dport 4789 @th,96,24 { 5, 16777215 } drop
\t}
}
";
        assert_eq!(commands(&BTreeSet::from([16_777_215, 5])), expected);
        assert_eq!(commands(&BTreeSet::new()), "table ip6 xenith_tunnels\ndelete table ip6 xenith_tunnels\n");
    }
}
