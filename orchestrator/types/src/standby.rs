//! Standby VMs: off, elsewhere, and as another VM was when it was backed up last.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use xenith_common_ids::{HostId, RepositoryId, VmId};
use xenith_hypervisor_agent_types::VmName;

use crate::Reference;

/// A VM that stands by for another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Standby {
    /// The VM that stands by.
    pub vm: VmId,
    pub name: String,
    /// The VM that it stands by for.
    pub of: VmId,
    /// `None`: that VM was deleted.
    pub of_name: Option<String>,
    /// Whose backups it follows.
    pub repository: RepositoryId,
    pub repository_name: String,
    /// Where it is.
    pub host: HostId,
    pub status: StandbyStatus,
    /// What it would start with.
    pub backup: Option<String>,
    /// When that was made.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub backup_created: Option<OffsetDateTime>,
    /// When the newest backup was made that it could be brought to.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub newest: Option<OffsetDateTime>,
    /// Whether it is brought to each new backup by itself.
    pub automatic: bool,
    /// Whether a fail-over takes the MAC addresses along.
    pub keep_macs: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StandbyStatus {
    /// It can take over.
    Ready,
    /// It is being worked on; the VM's task says what.
    Busy,
    /// Its disks do not hold one backup: it has followed none yet, or was stopped in the middle. The next `standby.follow`
    /// mends that.
    Incomplete,
}

impl StandbyStatus {
    /// All of them, as they are written.
    pub const NAMES: &'static [&'static str] = &["ready", "busy", "incomplete"];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Busy => "busy",
            Self::Incomplete => "incomplete",
        }
    }
}

/// Makes a VM that stands by for another, and brings it to that one's newest backup.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateStandby {
    /// The VM to stand by for.
    pub vm: Reference,
    /// Whose backups of it are followed.
    pub repository: Reference,
    /// Without one, the VM's name with `-standby`.
    #[serde(default)]
    pub name: Option<VmName>,
    /// Where to, in any pool.
    pub host: Reference,
    /// One that the host has; without one, its local SR.
    #[serde(default)]
    pub sr: Option<Reference>,
    /// For networks of the VM, those of its standby; empty: without that network card. One that is not named stays in the
    /// same pool; in another it is the network of the same name.
    #[serde(default)]
    pub networks: BTreeMap<Reference, Reference>,
    /// A fail-over takes the VM's MAC addresses along; without it the standby has its own.
    #[serde(default)]
    pub keep_macs: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StandbyRef {
    /// The VM that stands by.
    pub standby: Reference,
}

/// Lets a standby take over, with what its VM was when it was backed up last.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FailOverStandby {
    /// The VM that stands by.
    pub standby: Reference,
    /// Also while the VM runs, or nobody knows whether it does.
    #[serde(default)]
    pub force: bool,
}

/// Lets a standby take over without losing anything: the VM is shut down, backed up once more, and the standby brought to
/// that.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FailBackStandby {
    /// The VM that stands by: after a fail-over, the original.
    pub standby: Reference,
    /// How long the guest may take to shut down, in seconds; 0 stands for 120.
    #[serde(default)]
    pub deadline_s: u32,
    /// Power it off when it does not.
    #[serde(default)]
    pub force: bool,
}
