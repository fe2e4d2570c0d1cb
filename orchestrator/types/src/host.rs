//! Physical machines.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use xenith_common_ids::{HostId, PoolId, SrId, TaskId, VmId};
use xenith_hypervisor_agent_types::HostFacts;
pub use xenith_hypervisor_agent_types::HostHardware;
use xenith_hypervisor_agent_types::management::{Addressing, BondChoice};
use xenith_hypervisor_agent_types::network::InterfaceName;

use crate::Reference;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum HostStatus {
    Connected,
    /// Not heard: nothing is known about it and its VMs.
    Unknown,
    /// Has joined, was not reached yet.
    Enrolling,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Host {
    pub id: HostId,
    pub name: String,
    pub pool: PoolId,
    /// Where the orchestrator reaches its agent.
    pub address: String,
    /// Where other hosts reach it, when not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_address: Option<String>,
    pub status: HostStatus,
    /// Why it is unknown.
    pub problem: Option<String>,
    /// Takes no new VMs.
    pub maintenance: bool,
    pub agent_version: Option<String>,
    pub local_sr: Option<SrId>,
    /// As last heard.
    pub facts: Option<HostFacts>,
    pub vms: u32,
    #[serde(with = "time::serde::rfc3339::option")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub last_heard: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub certificate_expires: OffsetDateTime,
}

/// Asks for a join token.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AddHost {
    /// The name it gets; without one, its own host name.
    #[serde(default)]
    pub name: Option<String>,
    /// Without one, the pool `default`.
    #[serde(default)]
    pub pool: Option<Reference>,
    /// How long the token works, in minutes; 1 to 10080. 0 stands for 60.
    #[serde(default)]
    pub minutes: u32,
}

#[derive(Clone, Serialize, Deserialize, JsonSchema)]
pub struct JoinTokenIssued {
    /// For `xenith-agent join`.
    pub token: String,
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub expires: OffsetDateTime,
}

impl std::fmt::Debug for JoinTokenIssued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JoinTokenIssued").field("expires", &self.expires).finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HostRef {
    pub host: Reference,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HostMaintenance {
    pub host: Reference,
    pub maintenance: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EvacuateHost {
    pub host: Reference,
    /// VMs with disks that no other host reaches go, too: those are copied to the local SR of the other host.
    #[serde(default)]
    pub move_disks: bool,
}

/// What becomes of the VMs of a host that is emptied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Evacuation {
    pub host: HostId,
    pub vms: Vec<EvacuatedVm>,
}

/// One that goes, or why it stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EvacuatedVm {
    pub vm: VmId,
    pub name: String,
    /// Where it goes.
    pub to: Option<HostId>,
    pub to_name: Option<String>,
    /// What moves it.
    pub task: Option<TaskId>,
    /// Why it stays.
    pub error: Option<String>,
    /// More of that, host by host.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub detail: Vec<String>,
    /// Of disks that are copied along, in bytes.
    #[serde(default)]
    pub disk_bytes: u64,
}

/// A new system for a host.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpgradeHost {
    pub host: Reference,
    /// Of a folder with the image as it is on the medium in `live` (http or https): `image.json`, its signature, and
    /// `filesystem.squashfs`. The host downloads it.
    pub url: String,
    /// First moves its VMs to other hosts. Without it, none may run.
    #[serde(default)]
    pub evacuate: bool,
    /// Evacuated, they take disks along that no other host reaches.
    #[serde(default)]
    pub move_disks: bool,
}

/// What becomes of the VMs that run on a host that goes down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum HostGuests {
    /// None may run.
    #[default]
    Refuse,
    /// They are moved to other hosts first.
    Evacuate,
    /// They are shut down first, by restart priority: the low ones first, the high ones last.
    ShutDown,
}

/// A host that is to start anew, or to go off.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EndBoot {
    pub host: Reference,
    #[serde(default)]
    pub guests: HostGuests,
    /// Evacuated, they take disks along that no other host reaches.
    #[serde(default)]
    pub move_disks: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HostAddress {
    pub host: Reference,
    /// `address:port` of its agent, as the orchestrator reaches it.
    pub address: String,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HostPeerAddress {
    pub host: Reference,
    /// Without a port: what hosts send each other has ports of its own. Without one, the orchestrator's way is theirs too.
    #[serde(default)]
    pub address: Option<String>,
}

/// Another management interface for a host; what is left out stays. The host goes back by itself when it is not heard over
/// it within a minute.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HostManagement {
    pub host: Reference,
    /// `dhcp`, or an address with its network, such as 192.0.2.10/24.
    #[serde(default)]
    pub address: Option<Addressing>,
    #[serde(default)]
    pub gateway: Option<IpAddr>,
    /// All of them.
    #[serde(default)]
    pub dns: Option<Vec<IpAddr>>,
    /// 0: none.
    #[serde(default)]
    pub vlan: Option<u32>,
    #[serde(default)]
    pub bond: Option<BondChoice>,
    /// The network cards below it.
    #[serde(default)]
    pub interfaces: Option<Vec<InterfaceName>>,
    /// `address:port` of its agent afterwards. Without it: a name stays, and an address that was the management interface's
    /// follows.
    #[serde(default)]
    pub agent_address: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RemoveHost {
    pub host: Reference,
    /// Also when VMs are defined on it: they are forgotten here, and run on there.
    #[serde(default)]
    pub force: bool,
}
