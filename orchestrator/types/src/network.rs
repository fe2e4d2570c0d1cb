//! What NICs plug into: a bridge that the hosts of a pool have under one name, made by them or by somebody else.

use std::collections::BTreeSet;
use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use xenith_common_ids::{HostId, NetworkId, PoolId};
use xenith_common_units::MacAddr;
use xenith_hypervisor_agent_types::filter::{VifLink, VifLock, VifSettings};
use xenith_hypervisor_agent_types::mesh::Encryption;
use xenith_hypervisor_agent_types::network::{Mtu, Uplink};

use crate::Reference;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Network {
    pub id: NetworkId,
    pub name: String,
    pub pool: PoolId,
    pub bridge: String,
    #[serde(default)]
    pub description: String,
    /// What the hosts make it of. Without: the bridge is not ours, and each host has to have it.
    #[serde(default)]
    pub uplink: Option<Uplink>,
    #[serde(default)]
    pub mtu: Option<Mtu>,
    /// Of a private network: whether it can be read between the hosts.
    #[serde(default)]
    pub encryption: Encryption,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateNetwork {
    pub name: String,
    /// One that the hosts have. Leave it out to have one made.
    #[serde(default)]
    pub bridge: String,
    #[serde(default)]
    pub pool: Option<Reference>,
    #[serde(default)]
    pub description: String,
    /// What the hosts are to make it of.
    #[serde(default)]
    pub uplink: Option<Uplink>,
    /// Without: 1500, 1450 for a private network, and 1350 for an encrypted one.
    #[serde(default)]
    pub mtu: Option<Mtu>,
    /// Of a private network.
    #[serde(default, skip_serializing_if = "Encryption::is_none")]
    pub encryption: Encryption,
}

/// Encrypts a private network between its hosts, or does so no more. It takes effect at once.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NetworkEncryption {
    pub network: Reference,
    pub encryption: Encryption,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NetworkRef {
    pub network: Reference,
}

/// A network on the hosts of its pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NetworkStatus {
    pub network: NetworkId,
    pub hosts: Vec<NetworkOnHost>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NetworkOnHost {
    pub host: HostId,
    pub name: String,
    pub state: NetworkState,
    /// Why it is not there, or why that is not known.
    pub reason: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum NetworkState {
    Realised,
    Failed,
    Unknown,
}

impl NetworkState {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Realised => "realised",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }
}

/// Changes what may pass a NIC; what is left out stays. It takes effect at once, and no definition changes.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NicChange {
    pub vm: Reference,
    pub mac: MacAddr,
    #[serde(default)]
    pub lock: Option<VifLock>,
    /// All of the guest's addresses there.
    #[serde(default)]
    pub addresses: Option<BTreeSet<IpAddr>>,
    #[serde(default)]
    pub link: Option<VifLink>,
    /// 0: no limit.
    #[serde(default)]
    pub rate_mbit: Option<u32>,
}

/// What may pass a NIC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NicSettings {
    pub mac: MacAddr,
    pub network: NetworkId,
    pub settings: VifSettings,
    /// The security groups that its VM is in, by name.
    pub security_groups: Vec<String>,
}
