//! The management interface of a host: the bridge that carries its address, and what that stands on; how it is changed, and
//! what a host says of a change.
//!
//! What always holds: a change is named by who makes it, and is on trial until it is kept. A host goes back by itself from
//! one that is not. Commands and answers cross as JSON inside one field of the gRPC contract, like those of
//! [`crate::system`].

mod units;

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use xenith_common_units::MacAddr;

use crate::network::{BondMode, InterfaceName, Vlan};
use crate::text::as_text;

pub use units::{BRIDGE, Units};

const MOST_CARDS: usize = 8;

/// An address of a host with the length of its network: `192.0.2.10/24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StaticAddress {
    ip: IpAddr,
    prefix: u8,
}

impl StaticAddress {
    #[must_use]
    pub const fn ip(self) -> IpAddr {
        self.ip
    }

    /// Whether `other` is in the same network, or serves any (a link-local gateway does).
    #[must_use]
    pub fn reaches(self, other: IpAddr) -> bool {
        match (self.ip, other) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                let beyond = 32 - u32::from(self.prefix);
                u64::from(u32::from(a)) >> beyond == u64::from(u32::from(b)) >> beyond
            }
            (IpAddr::V6(_), IpAddr::V6(b)) if b.is_unicast_link_local() => true,
            (IpAddr::V6(a), IpAddr::V6(b)) => {
                let beyond = 128 - u32::from(self.prefix);
                u128::from(a).checked_shr(beyond) == u128::from(b).checked_shr(beyond)
            }
            _ => false,
        }
    }
}

impl fmt::Display for StaticAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ip, self.prefix)
    }
}

/// Where the address comes from: `dhcp`, or the address itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Addressing {
    Dhcp,
    Static(StaticAddress),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither dhcp nor an address with its network, such as 192.0.2.10/24")]
pub struct ParseAddressingError(String);

impl FromStr for Addressing {
    type Err = ParseAddressingError;

    fn from_str(text: &str) -> Result<Self, ParseAddressingError> {
        if text == "dhcp" {
            return Ok(Self::Dhcp);
        }
        let parse = || {
            let (ip, prefix) = text.split_once('/')?;
            let (ip, prefix): (IpAddr, u8) = (ip.parse().ok()?, prefix.parse().ok()?);
            let longest = if ip.is_ipv4() { 32 } else { 128 };
            let fine = (1..=longest).contains(&prefix)
                && !ip.is_unspecified()
                && !ip.is_multicast()
                && !ip.is_loopback();
            fine.then_some(StaticAddress { ip, prefix })
        };
        parse().map(Self::Static).ok_or_else(|| ParseAddressingError(text.to_owned()))
    }
}

impl fmt::Display for Addressing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dhcp => f.write_str("dhcp"),
            Self::Static(address) => address.fmt(f),
        }
    }
}

as_text!(Addressing, ParseAddressingError, { "type": "string", "pattern": "^(dhcp|[0-9A-Fa-f.:]+/[0-9]{1,3})$" });

/// What the management bridge stands on, and its address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Management {
    /// By their own hardware addresses: names change with the slot, the kernel and the firmware.
    pub cards: Vec<MacAddr>,
    #[serde(default)]
    pub bond: Option<BondMode>,
    #[serde(default)]
    pub vlan: Option<Vlan>,
    pub address: Addressing,
    #[serde(default)]
    pub gateway: Option<IpAddr>,
    #[serde(default)]
    pub dns: Vec<IpAddr>,
}

/// What becomes of the bond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BondChoice {
    None,
    ActiveBackup,
    Lacp,
}

/// What is to be another; what is left out stays.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ManagementChange {
    pub address: Option<Addressing>,
    pub gateway: Option<IpAddr>,
    pub dns: Option<Vec<IpAddr>>,
    /// 0: none.
    pub vlan: Option<u32>,
    pub bond: Option<BondChoice>,
    pub interfaces: Option<Vec<InterfaceName>>,
}

/// A card of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Card {
    pub name: String,
    pub mac: MacAddr,
}

/// A field, and what is wrong with it.
pub type Wrong = (&'static str, String);

impl Management {
    /// What it becomes by a change, on a host with these cards.
    pub fn with(&self, change: &ManagementChange, cards: &[Card]) -> Result<Self, Wrong> {
        let mut new = self.clone();
        if let Some(names) = &change.interfaces {
            new.cards = macs_of(names, cards)?;
        }
        match change.bond {
            None => {}
            Some(BondChoice::None) => new.bond = None,
            Some(BondChoice::ActiveBackup) => new.bond = Some(BondMode::ActiveBackup),
            Some(BondChoice::Lacp) => new.bond = Some(BondMode::Lacp),
        }
        match change.vlan {
            None => {}
            Some(0) => new.vlan = None,
            Some(vlan) => {
                new.vlan = Some(Vlan::try_from(vlan).map_err(|error| ("vlan", error.to_string()))?);
            }
        }
        new.address = change.address.unwrap_or(new.address);
        new.gateway = change.gateway.or(new.gateway);
        if new.address == Addressing::Dhcp && change.gateway.is_none() {
            new.gateway = None;
        }
        new.dns = change.dns.clone().unwrap_or(new.dns);
        new.check()?;
        Ok(new)
    }

    fn check(&self) -> Result<(), Wrong> {
        if self.cards.len() > 1 && self.bond.is_none() {
            return Err(("bond", "several interfaces need a bond: active-backup or lacp".to_owned()));
        }
        match (self.address, self.gateway) {
            (Addressing::Dhcp, Some(_)) => {
                Err(("gateway", "comes from the DHCP server too; leave it out".to_owned()))
            }
            (Addressing::Static(address), Some(gateway)) if !address.reaches(gateway) => Err((
                "gateway",
                format!("{gateway} is not in the network of {address}; give the one that is"),
            )),
            _ => Ok(()),
        }
    }

    /// Devices of this one that have to be made anew for another: a VLAN and a bond cannot be changed into others.
    #[must_use]
    pub fn made_anew_for(&self, other: &Self) -> Vec<&'static str> {
        let bond = self.bond.is_some() && self.bond != other.bond;
        let carrier_stays =
            self.bond.is_some() == other.bond.is_some() && (self.bond.is_some() || self.cards == other.cards);
        let vlan = self.vlan.is_some() && (self.vlan != other.vlan || !carrier_stays || bond);
        // The VLAN first: it is on the bond.
        [(vlan, units::VLAN), (bond, units::BOND)]
            .into_iter()
            .filter(|(is, _)| *is)
            .map(|(_, name)| name)
            .collect()
    }
}

fn macs_of(names: &[InterfaceName], cards: &[Card]) -> Result<Vec<MacAddr>, Wrong> {
    if names.is_empty() || names.len() > MOST_CARDS {
        return Err(("interfaces", format!("give 1 to {MOST_CARDS} interfaces")));
    }
    let mut macs: Vec<MacAddr> = Vec::with_capacity(names.len());
    for name in names {
        let Some(card) = cards.iter().find(|card| card.name == name.as_str()) else {
            let has: Vec<&str> = cards.iter().map(|card| card.name.as_str()).collect();
            return Err(("interfaces", format!("this host has no card {name}; it has {}", has.join(", "))));
        };
        if macs.contains(&card.mac) {
            return Err(("interfaces", format!("{name} is there twice")));
        }
        macs.push(card.mac);
    }
    Ok(macs)
}

/// For people, such as `xenbr0 on 52:54:00:00:00:01, VLAN 7: 192.0.2.10/24, gateway 192.0.2.1`.
impl fmt::Display for Management {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cards: Vec<String> = self.cards.iter().map(ToString::to_string).collect();
        write!(f, "{BRIDGE} on {}", cards.join(", "))?;
        if let Some(mode) = self.bond {
            write!(f, " ({})", mode.as_str())?;
        }
        if let Some(vlan) = self.vlan {
            write!(f, ", VLAN {vlan}")?;
        }
        write!(f, ": {}", self.address)?;
        self.gateway.map_or(Ok(()), |gateway| write!(f, ", gateway {gateway}"))?;
        self.dns.iter().try_for_each(|server| write!(f, ", DNS {server}"))
    }
}

/// A change that is tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManagementTrial {
    /// Who makes it: a saga's id.
    pub change: String,
    pub wanted: Management,
    /// After so long the host goes back by itself.
    pub seconds: u32,
}

/// What a host has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManagementState {
    /// What it comes up with when it starts.
    pub management: Management,
    pub cards: Vec<Card>,
    /// The change that is on trial.
    pub on_trial: Option<String>,
    /// The change that was kept last.
    pub kept: Option<String>,
}

/// Whether a change was made for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keeping {
    Kept,
    /// It is on trial, and not in place yet: whoever asks came the old way.
    NotYet,
    /// It is neither on trial nor kept.
    WentBack,
}

/// Each is safe to repeat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case", tag = "do")]
pub enum ManagementCommand {
    Look,
    /// Answers first, and tries it a moment later. Nothing that outlives a power cut is written.
    Try(ManagementTrial),
    /// Makes it what the host starts with. Whoever asks was heard over the new way.
    Keep {
        change: String,
    },
    /// Back to what was before it, also when it was kept. Answers first, and goes a moment later.
    GoBack {
        change: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "done")]
pub enum ManagementReply {
    State(Box<ManagementState>),
    Keeping { keeping: Keeping },
    Nothing,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card(number: u8) -> Card {
        Card { name: format!("eth{number}"), mac: MacAddr::from_xen_block([0, 0, number]) }
    }

    fn one() -> Management {
        Management {
            cards: vec![card(0).mac],
            bond: None,
            vlan: None,
            address: Addressing::Dhcp,
            gateway: None,
            dns: vec![],
        }
    }

    fn names(names: &[&str]) -> Option<Vec<InterfaceName>> {
        Some(names.iter().map(|name| name.parse().unwrap()).collect())
    }

    #[test]
    fn addresses() {
        for (text, fine) in [
            ("dhcp", true),
            ("192.0.2.10/24", true),
            ("2001:db8::1/64", true),
            ("192.0.2.10", false),
            ("192.0.2.10/33", false),
            ("192.0.2.10/0", false),
            ("224.0.0.1/24", false),
            ("127.0.0.1/8", false),
            ("", false),
        ] {
            let parsed = text.parse::<Addressing>();
            assert_eq!(parsed.is_ok(), fine, "{text}");
            assert!(parsed.is_err() || parsed.unwrap().to_string() == text, "{text}");
        }
    }

    #[test]
    fn what_is_left_out_stays_and_what_cannot_be_is_told_with_its_field() {
        let cards = [card(0), card(1)];
        let fixed = ManagementChange {
            address: Some("192.0.2.5/24".parse().unwrap()),
            gateway: Some("192.0.2.1".parse().unwrap()),
            ..ManagementChange::default()
        };
        let now = one().with(&fixed, &cards).unwrap();
        let tagged = ManagementChange { vlan: Some(7), ..ManagementChange::default() };
        let with_vlan = now.with(&tagged, &cards).unwrap();
        assert_eq!((with_vlan.address, with_vlan.gateway), (now.address, now.gateway));
        assert_eq!(with_vlan.vlan.map(Vlan::get), Some(7));
        let untagged = ManagementChange { vlan: Some(0), ..ManagementChange::default() };
        assert_eq!(with_vlan.with(&untagged, &cards), Ok(now.clone()));
        let back = ManagementChange { address: Some(Addressing::Dhcp), ..ManagementChange::default() };
        assert_eq!(now.with(&back, &cards), Ok(one()), "the gateway came with the address");
        let both = ManagementChange {
            interfaces: names(&["eth1", "eth0"]),
            bond: Some(BondChoice::Lacp),
            ..ManagementChange::default()
        };
        assert_eq!(now.with(&both, &cards).unwrap().cards, [card(1).mac, card(0).mac]);
        for (name, change, field) in [
            (
                "elsewhere",
                ManagementChange { address: Some("10.0.0.1/8".parse().unwrap()), ..Default::default() },
                "gateway",
            ),
            (
                "no such card",
                ManagementChange { interfaces: names(&["eth7"]), ..Default::default() },
                "interfaces",
            ),
            (
                "twice",
                ManagementChange { interfaces: names(&["eth1", "eth1"]), ..Default::default() },
                "interfaces",
            ),
            (
                "no bond",
                ManagementChange { interfaces: names(&["eth1", "eth0"]), ..Default::default() },
                "bond",
            ),
            ("no VLAN", ManagementChange { vlan: Some(5000), ..Default::default() }, "vlan"),
        ] {
            assert_eq!(now.with(&change, &cards).unwrap_err().0, field, "{name}");
        }
    }

    #[test]
    fn devices_that_cannot_be_changed_are_made_anew() {
        let vlan = |id: u32| Some(Vlan::try_from(id).unwrap());
        let plain = one();
        let tagged = Management { vlan: vlan(7), ..one() };
        let other_card = Management { cards: vec![card(1).mac], ..tagged.clone() };
        let bond = Management { bond: Some(BondMode::Lacp), ..tagged.clone() };
        let backup = Management { bond: Some(BondMode::ActiveBackup), ..tagged.clone() };
        let more = Management { cards: vec![card(0).mac, card(1).mac], ..bond.clone() };
        for (name, from, to, anew) in [
            ("nothing", &tagged, &tagged, vec![]),
            ("a VLAN comes", &plain, &tagged, vec![]),
            ("a VLAN goes", &tagged, &plain, vec!["mgmt"]),
            ("another card below the VLAN", &tagged, &other_card, vec!["mgmt"]),
            ("a bond below the VLAN", &tagged, &bond, vec!["mgmt"]),
            ("another mode", &bond, &backup, vec!["mgmt", "bond0"]),
            ("one more card in the bond", &bond, &more, vec![]),
            ("all goes", &bond, &plain, vec!["mgmt", "bond0"]),
        ] {
            assert_eq!(from.made_anew_for(to), anew, "{name}");
        }
    }
}
