//! Memory in MiB, the unit in which an administrator thinks and Xen allocates comfortably.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// An amount of memory in MiB, at most 16 TiB (Xen's largest guest).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
#[serde(try_from = "u64", into = "u64")]
pub struct MemoryMiB(u64);

/// Why a text or number is not an amount of memory.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseMemoryError {
    #[error("{0:?} is not an amount of memory; write a number with MiB, GiB or TiB, such as 4GiB")]
    Syntax(String),
    #[error("{0} MiB is more than a Xen guest can have (16 TiB)")]
    TooLarge(u64),
}

impl MemoryMiB {
    pub const ZERO: Self = Self(0);
    /// Xen's limit for one guest.
    pub const MAX: Self = Self(16 * 1024 * 1024);

    pub const fn new(mib: u64) -> Result<Self, ParseMemoryError> {
        if mib > Self::MAX.0 {
            return Err(ParseMemoryError::TooLarge(mib));
        }
        Ok(Self(mib))
    }

    /// Rounds down: what is promised is never more than what is there. Saturates at [`Self::MAX`].
    #[must_use]
    pub const fn from_bytes_floor(bytes: u64) -> Self {
        let mib = bytes >> 20;
        Self(if mib > Self::MAX.0 { Self::MAX.0 } else { mib })
    }

    #[must_use]
    pub const fn mib(self) -> u64 {
        self.0
    }

    #[must_use]
    pub const fn kib(self) -> u64 {
        self.0 << 10
    }

    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0 << 20
    }

    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// The sum, saturating at [`Self::MAX`]... of one guest; sums over hosts use plain integers.
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        let sum = self.0.saturating_add(other.0);
        Self(if sum > Self::MAX.0 { Self::MAX.0 } else { sum })
    }
}

impl TryFrom<u64> for MemoryMiB {
    type Error = ParseMemoryError;

    fn try_from(mib: u64) -> Result<Self, ParseMemoryError> {
        Self::new(mib)
    }
}

impl From<MemoryMiB> for u64 {
    fn from(memory: MemoryMiB) -> Self {
        memory.0
    }
}

impl JsonSchema for MemoryMiB {
    fn schema_name() -> Cow<'static, str> {
        Cow::Borrowed("MemoryMiB")
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": 0, "maximum": 16_777_216, "description": "MiB" })
    }
}

impl fmt::Display for MemoryMiB {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            mib if mib >= 1024 && mib.is_multiple_of(1024) => write!(f, "{} GiB", mib / 1024),
            mib => write!(f, "{mib} MiB"),
        }
    }
}

impl FromStr for MemoryMiB {
    type Err = ParseMemoryError;

    /// `512`, `512MiB`, `512M`, `4GiB`, `4G`, `1TiB`; a bare number is MiB.
    fn from_str(text: &str) -> Result<Self, ParseMemoryError> {
        let syntax = || ParseMemoryError::Syntax(text.to_owned());
        let trimmed = text.trim();
        let digits = trimmed.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = trimmed[..digits].parse().map_err(|_| syntax())?;
        let shift = match trimmed[digits..].trim().to_ascii_lowercase().as_str() {
            "" | "m" | "mib" => 0,
            "g" | "gib" => 10,
            "t" | "tib" => 20,
            _ => return Err(syntax()),
        };
        let mib = number.checked_mul(1 << shift).ok_or_else(syntax)?;
        Self::new(mib)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_and_shows() {
        for (text, mib, shown) in [
            ("512", 512, "512 MiB"),
            ("512MiB", 512, "512 MiB"),
            ("4 GiB", 4096, "4 GiB"),
            ("1t", 1 << 20, "1024 GiB"),
            ("1536M", 1536, "1536 MiB"),
        ] {
            let memory: MemoryMiB = text.parse().unwrap();
            assert_eq!((memory.mib(), memory.to_string().as_str()), (mib, shown), "{text}");
        }
    }

    #[test]
    fn refuses() {
        for text in ["", "lots", "4GB!", "-1", "99999999999999999999", "17TiB", "1.5G"] {
            assert!(text.parse::<MemoryMiB>().is_err(), "{text}");
        }
    }
}
