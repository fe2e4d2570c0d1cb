//! What an orchestrator and an agent say to each other about high availability.
//!
//! What always holds: nothing here has to be done only once, and nothing is kept for an answer that was lost. What the words
//! mean is in `xenith-common-ha`.

use serde::{Deserialize, Serialize};
pub use xenith_common_ha::{LeaseMark, Timing};
use xenith_common_ids::{AgentRunId, HostId, SrId, VmId};

/// What a host is armed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Arms {
    /// Where its lease is.
    pub sr: SrId,
    pub timing: Timing,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum HaRequest {
    /// A sign of life. `challenge` is the one that the host gave last, if it is granted; `allow_autostart` names the run of
    /// the agent that may start what starts with the host.
    Beat { challenge: Option<u64>, allow_autostart: Option<AgentRunId> },
    /// From its answer on, the host resets itself when it has neither the orchestrator nor its lease.
    Arm(Arms),
    /// Not any more. Only when nobody goes by its lease any more. `challenge` is the one that the host gave last: a wish that
    /// was long on its way is refused, when the host has said since that it is armed.
    Disarm { challenge: u64 },
    /// The leases of others.
    Look { sr: SrId, hosts: Vec<HostId> },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HaAnswer {
    /// To a beat, and to what arms and disarms.
    Here(HaState),
    Leases(Vec<SeenLease>),
}

/// How the agent is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HaState {
    pub run: AgentRunId,
    /// VMs that it has a definition of, looked at after it was asked.
    pub vms: Vec<VmId>,
    /// `None`: it is not armed.
    pub armed: Option<ArmedState>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArmedState {
    pub arms: Arms,
    /// To be sent back with the next beat, if it is granted.
    pub challenge: u64,
    /// Whether it starts nothing before the orchestrator's word after a boot.
    pub autostart_waits: bool,
    /// Why its lease was not written last.
    pub lease_problem: Option<String>,
    /// Why its watchdog does not run.
    pub watchdog_problem: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenLease {
    pub host: HostId,
    /// `None`: there is none, or it cannot be read.
    pub mark: Option<LeaseMark>,
}
