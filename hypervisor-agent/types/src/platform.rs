//! How a guest is virtualised and what boots it.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A kernel that the toolstack loads itself. File names, not paths: they are looked up in the host's boot
/// folder, so that nobody reads another file of the host through them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DirectBoot {
    pub kernel: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ramdisk: Option<String>,
    #[serde(default)]
    pub cmdline: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Firmware {
    #[default]
    Bios,
    Uefi,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BootDevice {
    Disk,
    Cdrom,
    Network,
}

/// Each variant holds just what that kind of guest can have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Platform {
    /// Paravirtualised: needs no hardware support, cannot migrate live on Xen without shadow paging.
    Pv { boot: DirectBoot },
    /// Hardware-assisted without emulated devices: the default for Linux.
    Pvh { boot: DirectBoot },
    /// A whole emulated machine: installs any operating system.
    Hvm {
        #[serde(default)]
        firmware: Firmware,
        /// Tried in this order; empty means disk, then CD.
        #[serde(default)]
        boot_order: Vec<BootDevice>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PlatformKind {
    Pv,
    Pvh,
    Hvm,
}

impl Platform {
    #[must_use]
    pub const fn kind(&self) -> PlatformKind {
        match self {
            Self::Pv { .. } => PlatformKind::Pv,
            Self::Pvh { .. } => PlatformKind::Pvh,
            Self::Hvm { .. } => PlatformKind::Hvm,
        }
    }

    /// The kernel that the toolstack loads, if it does.
    #[must_use]
    pub const fn direct_boot(&self) -> Option<&DirectBoot> {
        match self {
            Self::Pv { boot } | Self::Pvh { boot } => Some(boot),
            Self::Hvm { .. } => None,
        }
    }
}

impl PlatformKind {
    pub const ALL: [Self; 3] = [Self::Pv, Self::Pvh, Self::Hvm];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pv => "pv",
            Self::Pvh => "pvh",
            Self::Hvm => "hvm",
        }
    }
}

impl fmt::Display for PlatformKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for PlatformKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| format!("{text:?} is not a kind of guest; use pv, pvh or hvm"))
    }
}
