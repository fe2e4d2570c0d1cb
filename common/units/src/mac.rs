//! Ethernet addresses of virtual NICs.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A unicast MAC address that is not all zeros. Shown as `00:16:3e:12:34:56`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MacAddr([u8; 6]);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseMacError {
    #[error("{0:?} is not a MAC address such as 00:16:3e:12:34:56")]
    Syntax(String),
    #[error("{0} is a multicast address; the lowest bit of the first byte must be 0")]
    Multicast(String),
    #[error("00:00:00:00:00:00 cannot be the address of a NIC")]
    Zero,
}

impl MacAddr {
    /// The block that the IEEE gave to Xen: addresses in it never clash with hardware.
    pub const XEN_OUI: [u8; 3] = [0x00, 0x16, 0x3e];

    /// An address in Xen's block from 24 random bits.
    #[must_use]
    pub const fn from_xen_block(random: [u8; 3]) -> Self {
        let [a, b, c] = Self::XEN_OUI;
        Self([a, b, c, random[0], random[1], random[2]])
    }

    #[must_use]
    pub const fn octets(self) -> [u8; 6] {
        self.0
    }
}

impl TryFrom<[u8; 6]> for MacAddr {
    type Error = ParseMacError;

    fn try_from(octets: [u8; 6]) -> Result<Self, ParseMacError> {
        let mac = Self(octets);
        if octets == [0; 6] {
            return Err(ParseMacError::Zero);
        }
        if octets[0] & 1 == 1 {
            return Err(ParseMacError::Multicast(mac.to_string()));
        }
        Ok(mac)
    }
}

impl FromStr for MacAddr {
    type Err = ParseMacError;

    /// Six hexadecimal pairs separated by `:` or `-`.
    fn from_str(text: &str) -> Result<Self, ParseMacError> {
        let syntax = || ParseMacError::Syntax(text.to_owned());
        let mut octets = [0; 6];
        let mut parts = text.split([':', '-']);
        for octet in &mut octets {
            let part = parts.next().filter(|part| part.len() == 2).ok_or_else(syntax)?;
            *octet = u8::from_str_radix(part, 16).map_err(|_| syntax())?;
        }
        if parts.next().is_some() {
            return Err(syntax());
        }
        Self::try_from(octets)
    }
}

impl TryFrom<String> for MacAddr {
    type Error = ParseMacError;

    fn try_from(text: String) -> Result<Self, ParseMacError> {
        text.parse()
    }
}

impl From<MacAddr> for String {
    fn from(mac: MacAddr) -> Self {
        mac.to_string()
    }
}

impl JsonSchema for MacAddr {
    fn schema_name() -> Cow<'static, str> {
        Cow::Borrowed("MacAddr")
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^([0-9a-f]{2}:){5}[0-9a-f]{2}$" })
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table() {
        for (text, valid) in [
            ("00:16:3e:12:34:56", true),
            ("00-16-3E-12-34-56", true),
            ("00:16:3e:12:34", false),
            ("00:16:3e:12:34:56:78", false),
            ("01:00:5e:00:00:01", false),
            ("00:00:00:00:00:00", false),
            ("0:16:3e:12:34:56", false),
            ("+1:16:3e:12:34:56", false),
            ("", false),
        ] {
            assert_eq!(text.parse::<MacAddr>().is_ok(), valid, "{text}");
        }
    }
}
