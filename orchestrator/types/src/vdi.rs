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
    /// In the local SR of this host, unless `sr` says otherwise.
    pub host: Reference,
    /// An SR that is attached to the host.
    #[serde(default)]
    pub sr: Option<Reference>,
}

/// A VDI from an image that a web server has.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportVdi {
    pub name: String,
    /// In the local SR of this host, unless `sr` says otherwise.
    pub host: Reference,
    #[serde(default)]
    pub sr: Option<Reference>,
    /// `https://…`; raw, ISO, qcow2, VHD, VHDX or VMDK, recognised by its contents.
    pub url: String,
    /// Of the file, in hexadecimal; checked where it is given.
    #[serde(default)]
    pub sha256: String,
}

/// Makes a VDI larger; a running guest sees it at once.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResizeVdi {
    pub vdi: Reference,
    pub size: VdiSize,
}

/// A new VDI with the contents of another, in the same SR.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CloneVdi {
    pub vdi: Reference,
    /// Of the new one.
    pub name: String,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VdiRef {
    pub vdi: Reference,
}
