//! Disks and NICs of a VM, as an administrator asks for them.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use xenith_common_ids::{NetworkId, VdiId};
use xenith_common_units::MacAddr;

/// The name under which a guest sees a disk: `xvda` to `xvdz`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DiskDevice(u8);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a disk device; use xvda to xvdz")]
pub struct ParseDiskDeviceError(String);

impl DiskDevice {
    /// How many there are.
    pub const COUNT: u8 = 26;

    /// The `index`th device, 0 being `xvda`; `None` past `xvdz`.
    #[must_use]
    pub const fn nth(index: u8) -> Option<Self> {
        if index < Self::COUNT { Some(Self(index)) } else { None }
    }

    #[must_use]
    pub const fn index(self) -> u8 {
        self.0
    }
}

impl JsonSchema for DiskDevice {
    fn schema_name() -> Cow<'static, str> {
        Cow::Borrowed("DiskDevice")
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^xvd[a-z]$" })
    }
}

impl fmt::Display for DiskDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "xvd{}", char::from(b'a' + self.0))
    }
}

impl FromStr for DiskDevice {
    type Err = ParseDiskDeviceError;

    fn from_str(text: &str) -> Result<Self, ParseDiskDeviceError> {
        match text.as_bytes() {
            [b'x', b'v', b'd', letter @ b'a'..=b'z'] => Ok(Self(letter - b'a')),
            _ => Err(ParseDiskDeviceError(text.to_owned())),
        }
    }
}

impl TryFrom<String> for DiskDevice {
    type Error = ParseDiskDeviceError;

    fn try_from(text: String) -> Result<Self, ParseDiskDeviceError> {
        text.parse()
    }
}

impl From<DiskDevice> for String {
    fn from(device: DiskDevice) -> Self {
        device.to_string()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DiskAccess {
    #[default]
    ReadWrite,
    ReadOnly,
}

/// A VDI attached to a VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DiskSpec {
    pub device: DiskDevice,
    pub vdi: VdiId,
    #[serde(default)]
    pub access: DiskAccess,
}

/// A NIC plugged into a network. `bridge` is the network's bridge on the host, filled in by the
/// orchestrator when it places the VM; one MAC per pool, checked by the orchestrator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NicSpec {
    pub mac: MacAddr,
    pub network: NetworkId,
    pub bridge: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices() {
        for (text, valid) in [
            ("xvda", true),
            ("xvdz", true),
            ("xvd", false),
            ("xvdA", false),
            ("xvdaa", false),
            ("sda", false),
        ] {
            assert_eq!(text.parse::<DiskDevice>().is_ok(), valid, "{text}");
        }
        assert_eq!(DiskDevice::nth(1).map(|d| d.to_string()).as_deref(), Some("xvdb"));
        assert_eq!(DiskDevice::nth(26), None);
    }
}
