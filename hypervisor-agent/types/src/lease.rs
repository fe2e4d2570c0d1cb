//! Who may write a VDI that more than one host reaches.
//!
//! What always holds: a VDI has one lease or none. Who has none writes nothing.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use xenith_common_ids::{HostId, IncarnationId, VmId};

/// As it lies beside the VDI.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VdiLease {
    pub host: HostId,
    /// For people: what the host is called.
    pub host_name: String,
    /// `None`: the agent itself writes the VDI.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vm: Option<LeasedTo>,
}

/// The run of a VM that writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LeasedTo {
    pub vm: VmId,
    /// For people.
    pub name: String,
    pub run: IncarnationId,
    /// All of its memory is on another host, which takes the lease when it is told to let the run go on. Until one of the
    /// two does, nobody writes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sent: bool,
}

impl fmt::Display for VdiLease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, host_name, vm } = self;
        match vm {
            Some(to) if to.sent => write!(f, "host {host_name} ({host}), from where VM {} was sent", to.name),
            Some(to) => write!(f, "host {host_name} ({host}) for VM {} ({})", to.name, to.vm),
            None => write!(f, "host {host_name} ({host}), which works on it"),
        }
    }
}
