//! From what may pass the NICs of this host's VMs to one table for nftables. Pure.
//!
//! What always holds:
//! * all of ours is in one table of the bridge family, [`TABLE`], which is loaded as a whole or not at all; other tables
//!   are not touched;
//! * a NIC is told by its interface ([`guest_interface`]), which has its name before the VM runs: rules are there first;
//! * what a guest sends is judged where it enters the bridge (`prerouting`), what it gets where it leaves it
//!   (`postrouting`): between two guests of one host both count, and traffic with the host itself does too;
//! * a direction that a group speaks about ends in `drop`. Before that: answers (conntrack of the bridge family, Linux
//!   5.3), what a link cannot do without (ARP, neighbour discovery, DHCP), and what the rules allow;
//! * an answer is one in the network that it comes in: two networks may have the same addresses, and what the guests of one of
//!   them have agreed upon is no answer in the other. (The kernel follows connections by addresses, wherever they are. So
//!   each has the mark of the network that it began in.) Networks that somebody else's bridge makes are one in this;
//! * the members of a tag are elements of sets. When only they change, only elements change.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::IpAddr;

use xenith_common_ids::{NetworkId, SecurityGroupId};
use xenith_common_units::MacAddr;
use xenith_hypervisor_agent_types::filter::{
    GroupRules, PacketFilter, Peer, Protocol, RateMbit, Rule, VifFilter, VifLink, VifLock,
};
use xenith_hypervisor_agent_types::link_local;
use xenith_hypervisor_agent_types::network::{bridge_of, guest_interface};

pub const TABLE: &str = "xenith_vms";

/// A table, with the elements of its sets apart.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Table {
    /// Empty: there is nothing to filter, and no table.
    body: String,
    sets: BTreeMap<String, BTreeSet<String>>,
}

/// Where a packet is in relation to the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    /// To the guest.
    In,
    /// From the guest.
    Out,
}

impl Direction {
    const fn suffix(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
        }
    }

    /// The field that the other side's address is in.
    const fn peer(self) -> &'static str {
        match self {
            Self::In => "saddr",
            Self::Out => "daddr",
        }
    }

    fn rules(self, group: &GroupRules) -> Option<&[Rule]> {
        match self {
            Self::In => group.ingress.as_deref(),
            Self::Out => group.egress.as_deref(),
        }
    }
}

impl Table {
    /// `networks`: those whose bridges are ours.
    #[must_use]
    pub fn compile(filter: &PacketFilter, networks: &BTreeSet<NetworkId>) -> Self {
        if filter.is_empty() {
            return Self::default();
        }
        let mut body = String::new();
        let mut sets: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (tag, members) in &filter.tags {
            let of = |wanted: fn(&IpAddr) -> bool| -> BTreeSet<String> {
                members.addresses.iter().filter(|address| wanted(address)).map(ToString::to_string).collect()
            };
            let macs: BTreeSet<String> = members.macs.iter().map(ToString::to_string).collect();
            for (suffix, kind, elements) in [
                ("mac", "ether_addr", macs),
                ("4", "ipv4_addr", of(IpAddr::is_ipv4)),
                ("6", "ipv6_addr", of(IpAddr::is_ipv6)),
            ] {
                let name = format!("{}_{suffix}", set(tag));
                line(&mut body, format_args!("\tset {name} {{ type {kind}; }}"));
                sets.insert(name, elements);
            }
        }
        body.push_str(BASICS);
        for group in &filter.groups {
            for direction in [Direction::In, Direction::Out] {
                if let Some(rules) = direction.rules(group) {
                    let lines = rules.iter().flat_map(|rule| allows(rule, direction));
                    chain(&mut body, &group_chain(group.group, direction), lines);
                }
            }
        }
        for vif in &filter.vifs {
            let interface = guest_interface(vif.mac);
            if vif.settings.lock == VifLock::Addresses {
                chain(&mut body, &format!("{interface}_nd"), advertised(vif));
            }
            for direction in [Direction::In, Direction::Out] {
                let answers = answers(networks, direction);
                let lines = passes(vif, &filter.groups, (direction, &answers));
                chain(&mut body, &format!("{interface}_{}", direction.suffix()), lines);
            }
        }
        if body.contains(ANSWERS) {
            follow(&mut body, networks);
        }
        hooks(&mut body, &filter.vifs);
        Self { body, sets }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.body.is_empty()
    }

    /// Commands that make this the table, whatever is there.
    #[must_use]
    pub fn whole(&self) -> String {
        // The first makes sure that there is one to delete.
        let mut commands = format!("table bridge {TABLE}\ndelete table bridge {TABLE}\n");
        if !self.body.is_empty() {
            line(&mut commands, format_args!("table bridge {TABLE} {{\n{}}}", self.body));
            for (name, elements) in &self.sets {
                change_elements(&mut commands, "add", name, elements.iter());
            }
        }
        commands
    }

    /// Commands that make this of the table that was loaded last; empty: nothing is to be done.
    #[must_use]
    pub fn since(&self, before: &Self) -> String {
        if self.body != before.body {
            return self.whole();
        }
        let (mut commands, none) = (String::new(), BTreeSet::new());
        for (name, elements) in &self.sets {
            let had = before.sets.get(name).unwrap_or(&none);
            change_elements(&mut commands, "delete", name, had.difference(elements));
            change_elements(&mut commands, "add", name, elements.difference(had));
        }
        commands
    }
}

fn change_elements<'a>(
    commands: &mut String,
    verb: &str,
    set: &str,
    elements: impl Iterator<Item = &'a String>,
) {
    let elements: Vec<&str> = elements.map(String::as_str).collect();
    if !elements.is_empty() {
        let elements = elements.join(", ");
        line(commands, format_args!("{verb} element bridge {TABLE} {set} {{ {elements} }}"));
    }
}

/// What a link cannot do without: neighbours are found, and DHCP is answered.
const BASICS: &str = "\
\tchain basics_in {
\t\tether type arp accept
\t\ticmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert, mld-listener-query } accept
\t\tudp sport 67 udp dport 68 accept
\t\tudp sport 547 udp dport 546 accept
\t}
\tchain basics_out {
\t\tether type arp accept
\t\ticmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit, mld-listener-report, mld2-listener-report } accept
\t\tudp sport 68 udp dport 67 accept
\t\tudp sport 546 udp dport 547 accept
\t}
";

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    let _written = writeln!(text, "{line}");
}

fn chain(body: &mut String, name: &str, lines: impl IntoIterator<Item = String>) {
    line(body, format_args!("\tchain {name} {{"));
    for rule in lines {
        line(body, format_args!("\t\t{rule}"));
    }
    body.push_str("\t}\n");
}

/// The name of a tag's sets: a tag may have any characters.
fn set(tag: &str) -> String {
    format!("t{}", &blake3::hash(tag.as_bytes()).to_hex()[..16])
}

fn group_chain(group: SecurityGroupId, direction: Direction) -> String {
    let digits = group.as_uuid().simple().to_string();
    format!("g{}_{}", &digits[digits.len() - 12..], direction.suffix())
}

/// One rule, as lines that each allow a part of it.
fn allows(rule: &Rule, direction: Direction) -> Vec<String> {
    let side = direction.peer();
    let peers = match &rule.peer {
        Peer::Any => vec![String::new()],
        Peer::Network(network) => {
            let family = if network.address().is_ipv4() { "ip" } else { "ip6" };
            // A prefix of 0 is all of the family.
            vec![match network.prefix() {
                0 => format!("ether type {family} "),
                _ => format!("{family} {side} {network} "),
            }]
        }
        Peer::Tag(tag) => {
            let set = set(tag);
            vec![
                format!("ether {side} @{set}_mac "),
                format!("ip {side} @{set}_4 "),
                format!("ip6 {side} @{set}_6 "),
            ]
        }
    };
    let ports = || {
        let ports: Vec<String> = rule.ports.iter().map(ToString::to_string).collect();
        ports.join(", ")
    };
    let what = match (rule.protocol, rule.ports.is_empty()) {
        (Protocol::Any, _) => String::new(),
        (Protocol::Icmp, _) => "meta l4proto { icmp, ipv6-icmp } ".to_owned(),
        (Protocol::Tcp, true) => "meta l4proto tcp ".to_owned(),
        (Protocol::Udp, true) => "meta l4proto udp ".to_owned(),
        (Protocol::Tcp, false) => format!("tcp dport {{ {} }} ", ports()),
        (Protocol::Udp, false) => format!("udp dport {{ {} }} ", ports()),
    };
    peers.into_iter().map(|peer| format!("{peer}{what}accept")).collect()
}

/// What is an answer, by the kernel's word alone.
const TRACKED: &str = "ct state established,related accept";
/// Jumps to the chain of those that are answers in their network begin like this.
const ANSWERS: &str = "jump answers_";
/// Of marks: that they are ours, and which network it is.
const MARK: u32 = 0x5800_0000;
const MARK_MASK: u32 = 0xff00_0000;

/// The mark of connections of a network. Two of some thousand networks have the same one in one of ten thousand cases; then
/// they are as one.
fn mark(network: NetworkId) -> u32 {
    let [.., a, b, c] = *network.as_bytes();
    MARK | u32::from_be_bytes([0, a, b, c])
}

/// What lets answers pass.
fn answers(networks: &BTreeSet<NetworkId>, direction: Direction) -> String {
    if networks.is_empty() { TRACKED.to_owned() } else { format!("{ANSWERS}{}", direction.suffix()) }
}

/// Gives each connection the mark of its network, and tells by it what is an answer there.
fn follow(body: &mut String, networks: &BTreeSet<NetworkId>) {
    let chain_of = |network: &NetworkId| format!("n{:06x}", mark(*network) & !MARK_MASK);
    // Two networks may have one.
    let chains: BTreeMap<String, u32> =
        networks.iter().map(|network| (chain_of(network), mark(*network))).collect();
    for (name, mark) in &chains {
        chain(body, name, [format!("ct mark {mark:#010x} {TRACKED}")]);
    }
    for (direction, field) in [(Direction::In, "obrname"), (Direction::Out, "ibrname")] {
        let to = networks.iter().map(|one| format!("\"{}\" : goto {}", bridge_of(*one), chain_of(one)));
        let lines = [
            format!("meta {field} vmap {{ {} }}", to.collect::<Vec<_>>().join(", ")),
            format!("ct mark and {MARK_MASK:#010x} == {MARK:#010x} return"),
            TRACKED.to_owned(),
        ];
        chain(body, &format!("answers_{}", direction.suffix()), lines);
    }
    let marks = networks.iter().map(|one| format!("\"{}\" : {:#010x}", bridge_of(*one), mark(*one)));
    let lines = [
        // Behind where the kernel looks connections up (-200), before anything is judged.
        "type filter hook prerouting priority -100; policy accept;".to_owned(),
        // Also one that began before there was this chain.
        format!("ct mark 0 ct mark set meta ibrname map {{ {} }}", marks.collect::<Vec<_>>().join(", ")),
    ];
    chain(body, "networks", lines);
}

/// What passes one NIC in one direction.
fn passes(vif: &VifFilter, groups: &[GroupRules], (direction, answers): (Direction, &str)) -> Vec<String> {
    if vif.settings.link == VifLink::Down {
        return vec!["drop".to_owned()];
    }
    let mut lines = if direction == Direction::Out { own_addresses(vif) } else { Vec::new() };
    lines.extend(vif.settings.rate_mbit.map(limit));
    let of_it = groups.iter().filter(|group| vif.groups.contains(&group.group));
    let governing: Vec<&GroupRules> = of_it.filter(|group| direction.rules(group).is_some()).collect();
    if governing.is_empty() {
        return lines;
    }
    lines.push(answers.to_owned());
    lines.push(format!("jump basics_{}", direction.suffix()));
    lines.extend(governing.iter().map(|group| format!("jump {}", group_chain(group.group, direction))));
    lines.push("drop".to_owned());
    lines
}

/// A twentieth of a second may come at once: guests hand over pieces of 64 KiB.
fn limit(rate: RateMbit) -> String {
    let bytes = u64::from(rate.get()) * 125_000;
    let burst = (bytes / 20).max(4 * 65_536);
    format!("limit rate over {bytes} bytes/second burst {burst} bytes drop")
}

/// Drops what a guest sends under an address that is not its own.
fn own_addresses(vif: &VifFilter) -> Vec<String> {
    let VifFilter { mac, settings, .. } = vif;
    if settings.lock == VifLock::Open {
        return Vec::new();
    }
    let mut lines = vec![format!("ether saddr != {mac} drop"), format!("arp saddr ether != {mac} drop")];
    if settings.lock == VifLock::Addresses {
        lines.push("ether type != { ip, ip6, arp } drop".to_owned());
        lines.push("ip saddr 0.0.0.0 udp sport 68 udp dport 67 accept".to_owned());
        let v4: Vec<String> =
            settings.addresses.iter().filter(|address| address.is_ipv4()).map(ToString::to_string).collect();
        if v4.is_empty() {
            lines.push("ether type { ip, arp } drop".to_owned());
        } else {
            let v4 = v4.join(", ");
            lines.push(format!("ip saddr != {{ {v4} }} drop"));
            // 0.0.0.0: it asks whether anybody has the address, before it takes it.
            lines.push(format!("arp saddr ip != {{ 0.0.0.0, {v4} }} drop"));
        }
        let v6: Vec<String> = own_v6(*mac, &settings.addresses).iter().map(ToString::to_string).collect();
        lines.push(format!("ip6 saddr != {{ ::, {} }} drop", v6.join(", ")));
        lines.push(format!("icmpv6 type nd-neighbor-advert jump {}_nd", guest_interface(*mac)));
    }
    lines
}

/// Those that are written down, and the one that comes from the MAC.
fn own_v6(mac: MacAddr, addresses: &BTreeSet<IpAddr>) -> BTreeSet<std::net::Ipv6Addr> {
    let given = addresses.iter().filter_map(|address| match address {
        IpAddr::V6(address) => Some(*address),
        IpAddr::V4(_) => None,
    });
    given.chain([link_local(mac)]).collect()
}

/// Which address a neighbour advertisement (RFC 4861, section 4.4: 8 bytes in) is about. By its number, as the nftables
/// of Debian 12 has no name for the field.
fn advertised(vif: &VifFilter) -> Vec<String> {
    let own = own_v6(vif.mac, &vif.settings.addresses);
    let own = own.iter().map(|address| format!("@th,64,128 {:#034x} return", address.to_bits()));
    own.chain(["drop".to_owned()]).collect()
}

/// The two places where packets are looked at.
fn hooks(body: &mut String, vifs: &[VifFilter]) {
    for (name, hook, field, direction) in [
        ("from_guests", "prerouting", "iifname", Direction::Out),
        ("to_guests", "postrouting", "oifname", Direction::In),
    ] {
        let suffix = direction.suffix();
        let entries = vifs.iter().flat_map(|vif| {
            let interface = guest_interface(vif.mac);
            // With the emulated twin of the card, which a guest has until its drivers run.
            ["", "-emu"].map(|twin| format!("\"{interface}{twin}\" : jump {interface}_{suffix}"))
        });
        let entries: Vec<String> = entries.collect();
        let lines = [
            format!("type filter hook {hook} priority 0; policy accept;"),
            format!("{field} vmap {{ {} }}", entries.join(", ")),
        ];
        chain(body, name, lines);
    }
}

#[cfg(test)]
mod tests;
