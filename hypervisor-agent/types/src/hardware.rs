//! What a VM has besides virtual CPUs, memory, disks and NICs: a CD drive, a video card, its share of the host's
//! CPUs, and PCI devices of the host. And what of it a host has to give.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use xenith_common_ids::VdiId;
use xenith_common_units::MemoryMiB;

use crate::DiskDevice;

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hardware {
    /// HVM only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cd: Option<CdDrive>,
    /// HVM only; without it, Xen's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub video: Option<Video>,
    #[serde(default, skip_serializing_if = "CpuShare::is_plain")]
    pub cpu: CpuShare,
    /// Devices of the host that the guest drives itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pci: Vec<PciAddress>,
    /// A channel to the QEMU guest agent in the guest, which backups ask to freeze filesystems. Costs a PV or PVH guest a
    /// QEMU process on its host.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub guest_agent: bool,
}

impl Hardware {
    /// Nothing that every VM has not.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        *self == Self::default()
    }
}

/// An emulated CD drive, with a medium or empty. The medium may be in several drives at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CdDrive {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vdi: Option<VdiId>,
}

impl CdDrive {
    /// Xen's name for the drive: the last of the four places that are emulated as IDE.
    pub const VDEV: &'static str = "hdd";

    /// The disk that would be in the same place.
    #[must_use]
    pub const fn place() -> DiskDevice {
        DiskDevice::nth(3).expect("there are 26")
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Video {
    pub adapter: VideoAdapter,
    pub memory: MemoryMiB,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum VideoAdapter {
    /// VGA with VESA extensions: large screens.
    Std,
    /// For systems that know nothing newer.
    Cirrus,
}

impl Video {
    /// What libxl takes for an adapter (`libxl__domain_build_info_setdefault`), and QEMU's most.
    #[must_use]
    pub const fn range(adapter: VideoAdapter) -> (u64, u64) {
        match adapter {
            VideoAdapter::Std => (16, 256),
            VideoAdapter::Cirrus => (8, 16),
        }
    }
}

/// How much of the host's CPUs a VM gets.
#[derive(Debug, Clone, PartialEq, Eq, Default, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CpuShare {
    /// Against others when there is too little for all: twice as much gets twice the time. Without it, 256.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u16>,
    /// Hundredths of one CPU that it gets at most, also when others sleep: 250 are two and a half CPUs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cap: Option<u16>,
    /// The CPUs of the host that it may run on; without it, all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin: Option<CpuSet>,
}

impl CpuShare {
    /// Xen's default.
    pub const WEIGHT: u16 = 256;

    #[must_use]
    pub fn is_plain(&self) -> bool {
        *self == Self::default()
    }
}

/// CPUs of a host, as `0-3,8`. Never empty.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CpuSet(BTreeSet<u16>);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} names no CPUs; write numbers and ranges from 0 to 4095, such as 0-3,8")]
pub struct ParseCpuSetError(String);

impl CpuSet {
    /// Xen has no host with more.
    const MOST: u16 = 4096;

    pub fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        self.0.iter().copied()
    }

    /// The highest of them.
    #[must_use]
    pub fn last(&self) -> u16 {
        self.0.last().copied().unwrap_or_default()
    }
}

impl FromStr for CpuSet {
    type Err = ParseCpuSetError;

    fn from_str(text: &str) -> Result<Self, ParseCpuSetError> {
        let wrong = || ParseCpuSetError(text.to_owned());
        let number = |part: &str| part.parse::<u16>().ok().filter(|cpu| *cpu < Self::MOST).ok_or_else(wrong);
        let mut cpus = BTreeSet::new();
        for part in text.split(',').map(str::trim) {
            let (from, to) = part.split_once('-').unwrap_or((part, part));
            let (from, to) = (number(from)?, number(to)?);
            if from > to {
                return Err(wrong());
            }
            cpus.extend(from..=to);
        }
        Ok(Self(cpus))
    }
}

impl TryFrom<String> for CpuSet {
    type Error = ParseCpuSetError;

    fn try_from(text: String) -> Result<Self, ParseCpuSetError> {
        text.parse()
    }
}

impl From<CpuSet> for String {
    fn from(cpus: CpuSet) -> Self {
        cpus.to_string()
    }
}

impl fmt::Display for CpuSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.iter().copied().peekable();
        let mut separator = "";
        while let Some(first) = rest.next() {
            let mut last = first;
            while let Some(next) = rest.next_if(|next| *next == last + 1) {
                last = next;
            }
            match last {
                last if last == first => write!(f, "{separator}{first}")?,
                last => write!(f, "{separator}{first}-{last}")?,
            }
            separator = ",";
        }
        Ok(())
    }
}

impl JsonSchema for CpuSet {
    fn schema_name() -> Cow<'static, str> {
        Cow::Borrowed("CpuSet")
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*$" })
    }
}

/// Where a PCI device sits: `0000:03:00.0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PciAddress {
    pub domain: u16,
    pub bus: u8,
    pub device: u8,
    pub function: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the address of a PCI device; write it as 0000:03:00.0")]
pub struct ParsePciAddressError(String);

impl FromStr for PciAddress {
    type Err = ParsePciAddressError;

    /// The domain may be left out, as `lspci` does.
    fn from_str(text: &str) -> Result<Self, ParsePciAddressError> {
        let parse = || {
            let (rest, function) = text.split_once('.')?;
            let (rest, device) = rest.rsplit_once(':')?;
            let (domain, bus) = rest.rsplit_once(':').unwrap_or(("0000", rest));
            let hex = |part: &str, most: u16| {
                let digits =
                    !part.is_empty() && part.len() <= 4 && part.bytes().all(|b| b.is_ascii_hexdigit());
                u16::from_str_radix(part, 16).ok().filter(|value| digits && *value <= most)
            };
            Some(Self {
                domain: hex(domain, u16::MAX)?,
                bus: u8::try_from(hex(bus, 0xff)?).ok()?,
                device: u8::try_from(hex(device, 0x1f)?).ok()?,
                function: u8::try_from(hex(function, 7)?).ok()?,
            })
        };
        parse().ok_or_else(|| ParsePciAddressError(text.to_owned()))
    }
}

impl TryFrom<String> for PciAddress {
    type Error = ParsePciAddressError;

    fn try_from(text: String) -> Result<Self, ParsePciAddressError> {
        text.parse()
    }
}

impl From<PciAddress> for String {
    fn from(address: PciAddress) -> Self {
        address.to_string()
    }
}

impl fmt::Display for PciAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { domain, bus, device, function } = self;
        write!(f, "{domain:04x}:{bus:02x}:{device:02x}.{function}")
    }
}

impl JsonSchema for PciAddress {
    fn schema_name() -> Cow<'static, str> {
        Cow::Borrowed("PciAddress")
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^([0-9a-fA-F]{1,4}:)?[0-9a-fA-F]{1,2}:[01]?[0-9a-fA-F]\\.[0-7]$" })
    }
}

/// What a host has that VMs can be bound to; asked for, not streamed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct HostHardware {
    pub numa: Vec<NumaNode>,
    pub pci: Vec<PciDevice>,
    /// Why PCI devices cannot be given to guests here; `None`: they can.
    pub passthrough_problem: Option<String>,
}

/// CPUs with the memory that is near to them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NumaNode {
    pub node: u32,
    pub memory_total: MemoryMiB,
    pub memory_free: MemoryMiB,
    pub cpus: Option<CpuSet>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PciDevice {
    pub address: PciAddress,
    /// `8086:1533`: who made it, and what it is.
    pub id: String,
    /// What kind of device, in words.
    pub class: String,
    /// The driver of the host that has it; `pciback` holds it for guests.
    pub driver: Option<String>,
}

impl FromIterator<u16> for CpuSet {
    /// The caller gives at least one.
    fn from_iter<T: IntoIterator<Item = u16>>(cpus: T) -> Self {
        Self(cpus.into_iter().filter(|cpu| *cpu < Self::MOST).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_sets() {
        for (text, shown) in [
            ("0-3,8", Some("0-3,8")),
            ("8, 3,2,1,0", Some("0-3,8")),
            ("5", Some("5")),
            ("3-1", None),
            ("", None),
            ("1,,2", None),
            ("0-4096", None),
            ("a", None),
            ("-1", None),
        ] {
            let parsed = text.parse::<CpuSet>().ok().map(|cpus| cpus.to_string());
            assert_eq!(parsed.as_deref(), shown, "{text}");
        }
    }

    #[test]
    fn pci_addresses() {
        for (text, shown) in [
            ("0000:03:00.0", Some("0000:03:00.0")),
            ("03:1f.7", Some("0000:03:1f.7")),
            ("abcd:ff:00.1", Some("abcd:ff:00.1")),
            ("03:20.0", None),
            ("03:00.8", None),
            ("03:00", None),
            ("../03:00.0", None),
            ("12345:03:00.0", None),
            ("+3:00.0", None),
        ] {
            let parsed = text.parse::<PciAddress>().ok().map(|address| address.to_string());
            assert_eq!(parsed.as_deref(), shown, "{text}");
        }
    }
}
