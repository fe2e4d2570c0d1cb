//! Whether a guest makes its filesystems whole before its disks are snapshotted, and whether it did.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is asked of a running guest before its disks are snapshotted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Quiesce {
    /// Nothing.
    Never,
    /// To freeze its filesystems. One that cannot is snapshotted as it is, and the result says why.
    #[default]
    Try,
    /// The same; without it there is no snapshot.
    Demand,
}

impl Quiesce {
    pub const ALL: [Self; 3] = [Self::Never, Self::Try, Self::Demand];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::Try => "try",
            Self::Demand => "demand",
        }
    }
}

impl fmt::Display for Quiesce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Quiesce {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|known| known.as_str() == text)
            .ok_or_else(|| format!("{text:?} is not known; use never, try or demand"))
    }
}

/// In which state a guest's disks are in a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Consistency {
    /// As after a power cut: what a running guest had not written yet is missing.
    #[default]
    CrashConsistent,
    /// The guest had written everything and held its filesystems still.
    FilesystemConsistent,
    /// The VM was off: the disks are as the guest left them.
    Offline,
}

impl Consistency {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CrashConsistent => "crash-consistent",
            Self::FilesystemConsistent => "filesystem-consistent",
            Self::Offline => "offline",
        }
    }
}

/// What came of a [`Quiesce`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Quiesced {
    pub consistency: Consistency,
    /// Why the guest was not quiesced although that was tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
}

impl Quiesced {
    pub const OFFLINE: Self = Self { consistency: Consistency::Offline, because: None };
    pub const FROZEN: Self = Self { consistency: Consistency::FilesystemConsistent, because: None };

    #[must_use]
    pub fn not(because: impl fmt::Display) -> Self {
        Self { consistency: Consistency::CrashConsistent, because: Some(because.to_string()) }
    }
}
