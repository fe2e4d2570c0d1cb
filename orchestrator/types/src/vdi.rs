//! Virtual disk images.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use xenith_common_ids::{HostId, SrId, VdiId, VmId};
use xenith_hypervisor_agent_types::VdiSize;

use crate::Reference;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Vdi {
    pub id: VdiId,
    pub name: String,
    pub size: VdiSize,
    pub sr: SrId,
    /// Whose local SR it is in.
    pub host: HostId,
    pub attached_to: Option<VmId>,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateVdi {
    pub name: String,
    pub size: VdiSize,
    /// In the local SR of this host.
    pub host: Reference,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VdiRef {
    pub vdi: Reference,
}
