//! The system that a host runs from one of its two slots, and how the other one is filled and started.
//!
//! Commands and answers cross as JSON inside one field of the gRPC contract; a command with a field that an older agent
//! does not know is refused, not half understood.

use std::fmt;

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
    Nothing,
}
