//! Why an agent refused or failed a command: the one error that crosses the wire.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A stable word for programs and the manual (docs/errors.md).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FaultReason {
    /// The VM, VDI or SR is not on this host.
    NotFound,
    /// Not while the VM does what it does now.
    WrongState,
    /// Its domain ended, or was paused or let run by somebody else, in the middle of what was done with it.
    WrongStatus,
    /// Another domain of the host has the name of the VM, which was not touched.
    NameTaken,
    /// Another host may write the VDI; the message names it.
    LeasedElsewhere,
    /// The request itself is wrong; `field` says where.
    Invalid,
    /// An orchestrator with a newer epoch has taken over.
    StaleEpoch,
    /// A newer definition is in the journal already.
    StaleDefinition,
    /// This run of the VM has ended; a new start needs a new incarnation.
    IncarnationEnded,
    NoMemory,
    StorageFull,
    /// The guest did not answer in time, as far as can be told.
    GuestUnresponsive,
    /// The guest took the request up and was not done in time.
    GuestShuttingDown,
    Unsupported,
    /// Xen or a device failed; the message holds what the toolstack wrote.
    Hypervisor,
    /// The agent is starting or stopping.
    NotReady,
    /// The caller is not who may do this.
    Forbidden,
    /// A bug or a broken disk; the agent's log has more.
    Internal,
}

impl FaultReason {
    pub const ALL: [Self; 18] = [
        Self::NotFound,
        Self::WrongState,
        Self::WrongStatus,
        Self::NameTaken,
        Self::LeasedElsewhere,
        Self::Invalid,
        Self::StaleEpoch,
        Self::StaleDefinition,
        Self::IncarnationEnded,
        Self::NoMemory,
        Self::StorageFull,
        Self::GuestUnresponsive,
        Self::GuestShuttingDown,
        Self::Unsupported,
        Self::Hypervisor,
        Self::NotReady,
        Self::Forbidden,
        Self::Internal,
    ];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "not-found",
            Self::WrongState => "wrong-state",
            Self::WrongStatus => "wrong-status",
            Self::NameTaken => "name-taken",
            Self::LeasedElsewhere => "leased-elsewhere",
            Self::Invalid => "invalid",
            Self::StaleEpoch => "stale-epoch",
            Self::StaleDefinition => "stale-definition",
            Self::IncarnationEnded => "incarnation-ended",
            Self::NoMemory => "no-memory",
            Self::StorageFull => "storage-full",
            Self::GuestUnresponsive => "guest-unresponsive",
            Self::GuestShuttingDown => "guest-shutting-down",
            Self::Unsupported => "unsupported",
            Self::Hypervisor => "hypervisor",
            Self::NotReady => "not-ready",
            Self::Forbidden => "forbidden",
            Self::Internal => "internal",
        }
    }

    /// Whether the same call may succeed later without anybody mending something.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        matches!(
            self,
            Self::WrongState
                | Self::LeasedElsewhere
                | Self::NoMemory
                | Self::GuestUnresponsive
                | Self::GuestShuttingDown
                | Self::Hypervisor
                | Self::NotReady
        )
    }
}

impl fmt::Display for FaultReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for FaultReason {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|reason| reason.as_str() == text)
            .ok_or_else(|| format!("{text:?} is not a reason that this version knows"))
    }
}

/// A refusal or failure, in an administrator's words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error, JsonSchema)]
#[error("{message}")]
pub struct Fault {
    pub reason: FaultReason,
    pub message: String,
    /// The field of the request that is wrong, for [`FaultReason::Invalid`].
    pub field: Option<String>,
}

impl Fault {
    #[must_use]
    pub fn new(reason: FaultReason, message: impl fmt::Display) -> Self {
        Self { reason, message: message.to_string(), field: None }
    }

    #[must_use]
    pub fn invalid(field: impl Into<String>, problem: impl fmt::Display) -> Self {
        let field = field.into();
        Self { reason: FaultReason::Invalid, message: format!("{field}: {problem}"), field: Some(field) }
    }

    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        self.reason.is_retryable()
    }
}
