//! The system that a host runs from one of its two slots, and how the other one is filled and started.
//!
//! Commands and answers cross as JSON inside one field of the gRPC contract; a command with a field that an older agent
//! does not know is refused, not half understood.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One of the two systems of a host that was installed from the medium.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SystemSlot {
    A,
    B,
}

impl SystemSlot {
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }

    /// Its place in an array of both.
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::A => 0,
            Self::B => 1,
        }
    }
}

impl FromStr for SystemSlot {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "a" => Ok(Self::A),
            "b" => Ok(Self::B),
            _ => Err(format!("{text:?} is no slot; it is a or b")),
        }
    }
}

impl fmt::Display for SystemSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What it means that a system runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SystemStanding {
    /// It is the one that starts.
    Good,
    /// Started for the first time, and not found healthy yet.
    OnTrial,
    /// The other one was tried, and did not come up.
    FellBack,
    /// Somebody chose it in the boot menu. The next start is the other one.
    ByHand,
}

/// What runs now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostSystem {
    pub slot: SystemSlot,
    /// Of the running system.
    pub version: String,
    /// The kernel's id of this boot.
    pub boot: String,
    pub standing: SystemStanding,
}

/// The packages of a host's system are up to date.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackagesDone {
    /// What runs is older than what is installed: Xen, the kernel, or what starts them.
    pub restart: bool,
}

/// Each is safe to repeat: asked again when it holds already, it answers at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case", tag = "do")]
pub enum SystemCommand {
    Look,
    /// Downloads the image in this folder of a web server, and verifies it. Takes as long as it takes: see
    /// `AgentClient::progress`. What is here of it is taken up.
    Fetch {
        url: String,
    },
    /// Puts what was fetched into the slot that does not run.
    Fill,
    /// Drops what was fetched.
    Drop,
    /// Which boot it is. Of any host, with slots or without.
    Boot,
    /// Starts the host anew, as it is. Nothing where it has started since `boot`. Refused while guests run.
    Restart {
        boot: String,
    },
    /// Switches the host off. Nothing where it has started since `boot`. Refused while guests run.
    PowerOff {
        boot: String,
    },
    /// Brings the packages of a host that was not installed from the medium up to date. Takes minutes.
    UpdatePackages,
    /// Starts the host anew, into this slot, which is tried once. Nothing where the host has started since `boot`.
    /// Refused while guests run.
    Start {
        slot: SystemSlot,
        boot: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "done")]
pub enum SystemReply {
    System(HostSystem),
    /// An image with a good signature is here, whole.
    Fetched {
        version: String,
    },
    /// The kernel's id of this boot.
    Boot {
        boot: String,
    },
    Packages(PackagesDone),
    Nothing,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_read_as_it_is_written() {
        for (place, slot) in [SystemSlot::A, SystemSlot::B].into_iter().enumerate() {
            assert_eq!(slot.to_string().parse::<SystemSlot>(), Ok(slot));
            assert_eq!(serde_json::to_string(&slot).unwrap(), format!("\"{slot}\""));
            assert_eq!((slot.index(), slot.other().index()), (place, 1 - place));
        }
        for text in ["", "A", "c", "ab"] {
            assert!(text.parse::<SystemSlot>().is_err(), "{text}");
        }
    }
}
