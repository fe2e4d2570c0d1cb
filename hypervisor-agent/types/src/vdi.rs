//! Virtual disk images.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use xenith_common_ids::{SrId, VdiId};

/// A disk's size in bytes: a whole number of MiB, 1 MiB to 64 TiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct VdiSize(u64);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VdiSizeError {
    #[error("{0} bytes is not the size of a disk; give a whole number of MiB from 1 MiB to 64 TiB")]
    Range(u64),
    #[error("{0:?} is not the size of a disk; write a number with MiB, GiB or TiB, such as 20GiB")]
    Syntax(String),
}

impl VdiSize {
    pub const MAX: u64 = 64 << 40;

    pub const fn from_bytes(bytes: u64) -> Result<Self, VdiSizeError> {
        if bytes == 0 || bytes > Self::MAX || !bytes.is_multiple_of(1 << 20) {
            return Err(VdiSizeError::Range(bytes));
        }
        Ok(Self(bytes))
    }

    /// The smallest disk for so many bytes, which may be anything: images and people say what they like.
    pub const fn holding(bytes: u64) -> Result<Self, VdiSizeError> {
        match bytes.checked_next_multiple_of(1 << 20) {
            Some(whole) => Self::from_bytes(whole),
            None => Err(VdiSizeError::Range(bytes)),
        }
    }

    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl TryFrom<u64> for VdiSize {
    type Error = VdiSizeError;

    fn try_from(bytes: u64) -> Result<Self, VdiSizeError> {
        Self::from_bytes(bytes)
    }
}

impl From<VdiSize> for u64 {
    fn from(size: VdiSize) -> Self {
        size.0
    }
}

impl FromStr for VdiSize {
    type Err = VdiSizeError;

    /// `512MiB`, `20GiB`, `20G`, `1TiB`; a bare number is bytes.
    fn from_str(text: &str) -> Result<Self, VdiSizeError> {
        let syntax = || VdiSizeError::Syntax(text.to_owned());
        let trimmed = text.trim();
        let digits = trimmed.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = trimmed[..digits].parse().map_err(|_| syntax())?;
        let shift = match trimmed[digits..].trim().to_ascii_lowercase().as_str() {
            "" | "b" => 0,
            "m" | "mib" => 20,
            "g" | "gib" => 30,
            "t" | "tib" => 40,
            _ => return Err(syntax()),
        };
        Self::from_bytes(number.checked_mul(1 << shift).ok_or_else(syntax)?)
    }
}

impl JsonSchema for VdiSize {
    fn schema_name() -> Cow<'static, str> {
        Cow::Borrowed("VdiSize")
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": 1_048_576, "maximum": 70_368_744_177_664_u64, "multipleOf": 1_048_576, "description": "bytes" })
    }
}

impl fmt::Display for VdiSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 >> 20 {
            mib if mib.is_multiple_of(1 << 20) => write!(f, "{} TiB", mib >> 20),
            mib if mib.is_multiple_of(1 << 10) => write!(f, "{} GiB", mib >> 10),
            mib => write!(f, "{mib} MiB"),
        }
    }
}

/// A VDI as the agent finds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VdiFacts {
    pub vdi: VdiId,
    pub sr: SrId,
    pub size: VdiSize,
    /// Bytes that it takes from its SR.
    pub physical: u64,
    /// Set for a snapshot, which never changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot_of: Option<VdiId>,
}

/// One disk of a snapshot: the VDI, and the id under which its contents are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SnapshotOf {
    pub vdi: VdiId,
    pub snapshot: VdiId,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, shown) in [
            ("20GiB", Some("20 GiB")),
            ("512m", Some("512 MiB")),
            ("2T", Some("2 TiB")),
            ("1048576", Some("1 MiB")),
            ("1000", None),
            ("0", None),
            ("65TiB", None),
            ("big", None),
            ("99999999999TiB", None),
        ] {
            let size = text.parse::<VdiSize>().ok().map(|size| size.to_string());
            assert_eq!(size.as_deref(), shown, "{text}");
        }
    }

    #[test]
    fn what_holds_any_number_of_bytes() {
        for (bytes, size) in [
            (0, None),
            (1, Some(1 << 20)),
            (1 << 20, Some(1 << 20)),
            ((1 << 20) + 1, Some(2 << 20)),
            (VdiSize::MAX, Some(VdiSize::MAX)),
            (VdiSize::MAX + 1, None),
            (u64::MAX, None),
        ] {
            assert_eq!(VdiSize::holding(bytes).ok().map(VdiSize::bytes), size, "{bytes}");
        }
    }
}
