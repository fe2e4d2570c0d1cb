//! What may pass the NICs of VMs: who sends, who may be talked to, and how much.
//!
//! What always holds: a [`Rule`] only ever allows. A direction that no group of a VM says anything about is open; as soon
//! as one does, what no rule allows is dropped. Answers to what was allowed pass. Addresses that rules name by a tag are
//! those of [`Members`], which the orchestrator keeps; no guest can name itself one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use xenith_common_ids::SecurityGroupId;
use xenith_common_units::MacAddr;

use crate::text::{as_text, bounded};

/// All of one host.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PacketFilter {
    /// Only those that something is said about.
    #[serde(default)]
    pub vifs: Vec<VifFilter>,
    /// Those that VIFs here are in.
    #[serde(default)]
    pub groups: Vec<GroupRules>,
    /// Those that rules here name.
    #[serde(default)]
    pub tags: BTreeMap<String, Members>,
}

impl PacketFilter {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.vifs.is_empty()
    }
}

/// What concerns one NIC, by its address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VifFilter {
    pub mac: MacAddr,
    pub settings: VifSettings,
    #[serde(default)]
    pub groups: BTreeSet<SecurityGroupId>,
}

/// What an administrator says about one NIC.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VifSettings {
    #[serde(default)]
    pub lock: VifLock,
    /// The guest's addresses, for [`VifLock::Addresses`] and for rules that name a tag of the VM.
    #[serde(default)]
    pub addresses: BTreeSet<IpAddr>,
    #[serde(default)]
    pub link: VifLink,
    /// In each direction. What is more is dropped.
    #[serde(default)]
    pub rate_mbit: Option<RateMbit>,
}

impl VifSettings {
    /// Whether anything is held back because of them. Addresses alone only say who the guest is.
    #[must_use]
    pub fn restrict(&self) -> bool {
        self.lock != VifLock::Open || self.link == VifLink::Down || self.rate_mbit.is_some()
    }
}

bounded! {
    /// Megabits (1,000,000 bits) in a second.
    RateMbit = 1 to 400_000, "a rate in Mbit/s"
}

/// What a guest may give as its own address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum VifLock {
    /// Anything: it may be a router or a bridge itself.
    #[default]
    Open,
    /// The MAC of its NIC.
    Mac,
    /// That, and the addresses that are written down for it.
    Addresses,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum VifLink {
    #[default]
    Up,
    /// Nothing passes. The guest still sees a card with a link.
    Down,
}

/// Of one security group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupRules {
    pub group: SecurityGroupId,
    /// To the VM; `None`: nothing is said about that.
    #[serde(default)]
    pub ingress: Option<Vec<Rule>>,
    /// From the VM.
    #[serde(default)]
    pub egress: Option<Vec<Rule>>,
}

/// The VMs with a tag.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Members {
    #[serde(default)]
    pub macs: BTreeSet<MacAddr>,
    #[serde(default)]
    pub addresses: BTreeSet<IpAddr>,
}

/// Allows something: `PROTOCOL[:PORTS] [PEER]`, such as `tcp:22,8000-8099 10.0.0.0/8`, `icmp`, `any tag:web`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Rule {
    pub protocol: Protocol,
    /// Of the one that is talked to; none: all.
    pub ports: Vec<PortRange>,
    pub peer: Peer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    Any,
    Tcp,
    Udp,
    /// Of IPv4 and IPv6.
    Icmp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRange {
    pub first: u16,
    pub last: u16,
}

/// The other side: who sends to the VM, or whom it sends to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Peer {
    Any,
    Network(Cidr),
    /// The VMs of the pool that have it.
    Tag(String),
}

/// Addresses that begin alike: `10.1.0.0/16`. Bits behind the prefix are 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr {
    address: IpAddr,
    prefix: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{rule:?}: {problem}; a rule is PROTOCOL[:PORTS] [PEER], such as tcp:22,8000-8099 10.0.0.0/8 or any tag:web"
)]
pub struct ParseRuleError {
    rule: String,
    problem: String,
}

impl Cidr {
    #[must_use]
    pub const fn address(self) -> IpAddr {
        self.address
    }

    #[must_use]
    pub const fn prefix(self) -> u8 {
        self.prefix
    }
}

impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no network such as 10.0.0.0/8 or 2001:db8::/32");
        let (address, prefix) = text.split_once('/').map_or((text, None), |(at, len)| (at, Some(len)));
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let most: u8 = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(prefix) => prefix.parse::<u8>().ok().filter(|prefix| *prefix <= most).ok_or_else(wrong)?,
            None => most,
        };
        let address = match address {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
                IpAddr::V4((address.to_bits() & mask).into())
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
                IpAddr::V6((address.to_bits() & mask).into())
            }
        };
        Ok(Self { address, prefix })
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl FromStr for PortRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
        match (port(first), port(last)) {
            (Some(first), Some(last)) if first <= last => Ok(Self { first, last }),
            _ => Err(format!("{text:?} is no port such as 22, and no range such as 8000-8099")),
        }
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last { self.first.fmt(f) } else { write!(f, "{}-{}", self.first, self.last) }
    }
}

impl FromStr for Peer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("tag:") {
            Some("") => Err("tag: names no tag".to_owned()),
            Some(tag) => Ok(Self::Tag(tag.to_owned())),
            None if text == "any" => Ok(Self::Any),
            None => text.parse().map(Self::Network),
        }
    }
}

impl FromStr for Rule {
    type Err = ParseRuleError;

    fn from_str(text: &str) -> Result<Self, ParseRuleError> {
        let wrong = |problem: String| ParseRuleError { rule: text.to_owned(), problem };
        let (what, peer) = text.trim().split_once(' ').unwrap_or((text.trim(), "any"));
        let (protocol, ports) = what.split_once(':').map_or((what, None), |(a, b)| (a, Some(b)));
        let protocol = match protocol {
            "any" => Protocol::Any,
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            "icmp" => Protocol::Icmp,
            other => return Err(wrong(format!("{other:?} is not any, tcp, udp or icmp"))),
        };
        let mut ports = match ports {
            Some(ports) => {
                ports.split(',').map(str::parse).collect::<Result<Vec<PortRange>, _>>().map_err(wrong)?
            }
            None => Vec::new(),
        };
        if !ports.is_empty() && !matches!(protocol, Protocol::Tcp | Protocol::Udp) {
            return Err(wrong("only tcp and udp have ports".to_owned()));
        }
        ports.sort_unstable();
        if let Some(pair) = ports.windows(2).find(|pair| pair[0].last >= pair[1].first) {
            return Err(wrong(format!("{} and {} overlap", pair[0], pair[1])));
        }
        Ok(Self { protocol, ports, peer: peer.trim().parse().map_err(wrong)? })
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.protocol {
            Protocol::Any => "any",
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Icmp => "icmp",
        })?;
        for (index, ports) in self.ports.iter().enumerate() {
            write!(f, "{}{ports}", if index == 0 { ':' } else { ',' })?;
        }
        match &self.peer {
            Peer::Any => Ok(()),
            Peer::Network(network) => write!(f, " {network}"),
            Peer::Tag(tag) => write!(f, " tag:{tag}"),
        }
    }
}

as_text!(Rule, ParseRuleError, { "type": "string", "pattern": "^(any|tcp|udp|icmp)(:[0-9,-]+)?( .+)?$" });

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_one_text() {
        for (text, shown) in [
            ("tcp:22", Some("tcp:22")),
            ("tcp:443,22 any", Some("tcp:22,443")),
            ("udp:8000-8099 10.1.2.3/8", Some("udp:8000-8099 10.0.0.0/8")),
            ("icmp 2001:db8::1", Some("icmp 2001:db8::1/128")),
            ("any tag:web", Some("any tag:web")),
            ("any 0.0.0.0/0", Some("any 0.0.0.0/0")),
            ("any ::/0", Some("any ::/0")),
            (" tcp:1-65535  tag:a b ", Some("tcp:1-65535 tag:a b")),
            ("", None),
            ("http", None),
            ("tcp:0", None),
            ("tcp:9-8", None),
            ("tcp:20-30,25", None),
            ("icmp:8", None),
            ("tcp:22 10.0.0.0/33", None),
            ("tcp:22 web", None),
            ("tcp:22 tag:", None),
        ] {
            let rule = text.parse::<Rule>();
            assert_eq!(rule.as_ref().ok().map(ToString::to_string).as_deref(), shown, "{text}");
            if let Ok(rule) = rule {
                assert_eq!(rule.to_string().parse::<Rule>(), Ok(rule), "{text}");
            }
        }
    }

    #[test]
    fn what_one_host_gets_is_read_as_it_was_written() {
        let vif = VifFilter {
            mac: "00:16:3e:00:00:01".parse().unwrap(),
            settings: VifSettings {
                lock: VifLock::Addresses,
                addresses: ["10.0.0.1", "fd00::1"].map(|address| address.parse().unwrap()).into(),
                link: VifLink::Up,
                rate_mbit: Some(RateMbit::try_from(100).unwrap()),
            },
            groups: BTreeSet::from([SecurityGroupId::new()]),
        };
        let filter = PacketFilter { vifs: vec![vif], ..PacketFilter::default() };
        let json = serde_json::to_string(&filter).unwrap();
        assert_eq!(serde_json::from_str::<PacketFilter>(&json).unwrap(), filter);
    }
}
