//! The values of single answers: one that exists is valid.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::Deserialize;

macro_rules! text_value {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $name(String);

        impl $name {
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                text.parse()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_value! {
    /// RFC 1123, one label or several.
    HostName
}
text_value! {
    /// A name of the IANA database such as `Europe/Berlin`.
    TimeZone
}
text_value! {
    /// What `crypt` made: `$y$…`, `$6$…`, `$2b$…` or `$7$…`. The password itself never stands in a file.
    PasswordHash
}
text_value! {
    /// One line of `authorized_keys`, without options.
    SshKey
}
text_value! {
    /// An interface (`eno1`) or, better, its hardware address.
    NicName
}
text_value! {
    /// The name or address of a server.
    Nameserver
}

impl FromStr for HostName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        if text.len() <= 64 && text.split('.').all(label) {
            return Ok(Self(text.to_owned()));
        }
        Err("a host name has lower-case letters, digits and hyphens, at most 64 characters".to_owned())
    }
}

impl HostName {
    /// Up to the first dot.
    #[must_use]
    pub fn short(&self) -> &str {
        self.0.split('.').next().unwrap_or(&self.0)
    }
}

impl FromStr for TimeZone {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let part = |part: &str| {
            part.starts_with(|c: char| c.is_ascii_alphabetic())
                && part.chars().all(|c| c.is_ascii_alphanumeric() || "_+-".contains(c))
        };
        if (1..=64).contains(&text.len()) && text.split('/').all(part) {
            return Ok(Self(text.to_owned()));
        }
        Err("expected a name like Europe/Berlin or UTC".to_owned())
    }
}

impl Default for TimeZone {
    fn default() -> Self {
        Self("UTC".to_owned())
    }
}

impl FromStr for PasswordHash {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = ["$y$", "$6$", "$7$", "$2b$"].iter().any(|prefix| text.starts_with(prefix));
        let clean = text.chars().all(|c| c.is_ascii_graphic() && c != ':');
        if known && clean && text.len() >= 20 && text.len() <= 256 {
            return Ok(Self(text.to_owned()));
        }
        // The text is not repeated: somebody may have written the password itself.
        Err("expected what `mkpasswd` prints ($y$… or $6$…), not a password".to_owned())
    }
}

impl FromStr for SshKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let mut words = text.split_whitespace();
        let (kind, body) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let base64 = body.len() >= 40 && body.chars().all(|c| c.is_ascii_alphanumeric() || "+/=".contains(c));
        let known = ["ssh-ed25519", "ssh-rsa", "ecdsa-sha2-", "sk-ssh-ed25519@", "sk-ecdsa-sha2-"]
            .iter()
            .any(|prefix| kind.starts_with(prefix));
        if known && base64 && text.chars().all(|c| !c.is_control()) && text.len() <= 8192 {
            return Ok(Self(text.to_owned()));
        }
        Err("expected one public key such as `ssh-ed25519 AAAA… name`".to_owned())
    }
}

impl FromStr for NicName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let good = |c: char| c.is_ascii_alphanumeric() || "._:-@".contains(c);
        if (1..=17).contains(&text.len()) && text.chars().all(good) {
            return Ok(Self(text.to_ascii_lowercase()));
        }
        Err("expected the name of a card (eno1) or its hardware address (52:54:00:12:34:56)".to_owned())
    }
}

impl FromStr for Nameserver {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let good = |c: char| c.is_ascii_alphanumeric() || ".:-".contains(c);
        if (1..=253).contains(&text.len()) && text.chars().all(good) {
            return Ok(Self(text.to_owned()));
        }
        Err("expected the name or the address of a server".to_owned())
    }
}

/// An address with the length of its network: `192.0.2.10/24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    ip: IpAddr,
    prefix: u8,
}

impl Address {
    /// Whether `other` is in the same network: a gateway elsewhere is never reached.
    #[must_use]
    pub fn reaches(&self, other: IpAddr) -> bool {
        match (self.ip, other) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                let shift = 32 - u32::from(self.prefix);
                (u64::from(u32::from(a)) >> shift) == (u64::from(u32::from(b)) >> shift)
            }
            // A link-local gateway serves any address.
            (IpAddr::V6(_), IpAddr::V6(b)) if b.is_unicast_link_local() => true,
            (IpAddr::V6(a), IpAddr::V6(b)) => {
                let shift = 128 - u32::from(self.prefix);
                u128::from(a).checked_shr(shift) == u128::from(b).checked_shr(shift)
            }
            _ => false,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ip, self.prefix)
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let (ip, prefix) = text.split_once('/')?;
            let (ip, prefix): (IpAddr, u8) = (ip.parse().ok()?, prefix.parse().ok()?);
            let longest = if ip.is_ipv4() { 32 } else { 128 };
            ((1..=longest).contains(&prefix) && !ip.is_unspecified() && !ip.is_multicast())
                .then_some(Self { ip, prefix })
        };
        parse().ok_or_else(|| "expected an address with its network, such as 192.0.2.10/24".to_owned())
    }
}

/// 1 to 4094.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u16")]
pub struct VlanId(u16);

impl TryFrom<u16> for VlanId {
    type Error = String;

    fn try_from(id: u16) -> Result<Self, String> {
        if (1..=4094).contains(&id) {
            Ok(Self(id))
        } else {
            Err("a VLAN is a number from 1 to 4094".to_owned())
        }
    }
}

impl fmt::Display for VlanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum BondMode {
    #[serde(rename = "active-backup")]
    ActiveBackup,
    /// LACP: the switch must speak it too.
    #[serde(rename = "802.3ad")]
    Lacp,
}

impl BondMode {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ActiveBackup => "active-backup",
            Self::Lacp => "802.3ad",
        }
    }
}

/// `name:port`, `192.0.2.1:8444`, `[::1]:8444`.
#[must_use]
pub fn is_host_and_port(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        let plain = host.chars().all(|c| c.is_ascii_alphanumeric() || ".-".contains(c));
        let bracketed = host.starts_with('[') && host.ends_with(']');
        !host.is_empty() && (plain || bracketed) && port.parse::<u16>().is_ok_and(|port| port > 0)
    })
}
