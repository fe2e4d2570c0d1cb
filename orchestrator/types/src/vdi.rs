//! Virtual disk images.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use xenith_common_ids::{HostId, SrId, TaskId, VdiId, VmId};
use xenith_hypervisor_agent_types::{VdiLease, VdiSize};

use crate::Reference;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Vdi {
    pub id: VdiId,
    pub name: String,
    pub size: VdiSize,
    pub sr: SrId,
    /// The host that works on it: that of its VM. Only in a shared SR may it become another one.
    pub host: HostId,
    pub attached_to: Option<VmId>,
    /// The task that still makes it, fills it or takes it from its VM: nothing uses it before that is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_by: Option<TaskId>,
    /// Of a VDI that several hosts reach: which of them may write it. Only where one VDI is asked for, and the SR answers.
    // Behind a pointer: what is kept of every VDI has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leased_to: Option<Box<VdiLease>>,
}

/// Takes the lease of a VDI from a host that is dead for good.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BreakLease {
    pub vdi: Reference,
    /// The host that is dead; without one, that which has the lease.
    #[serde(default)]
    pub host: Option<Reference>,
}

/// Of a host that had it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BrokenLease {
    pub vdi: VdiId,
    pub was: VdiLease,
    /// What to make sure of.
    pub warning: String,
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

/// A new VDI with the contents of another, anywhere.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CopyVdi {
    pub vdi: Reference,
    /// Of the new one.
    pub name: String,
    /// Without one, the host that it is on.
    #[serde(default)]
    pub host: Option<Reference>,
    /// Without one, the local SR of the host.
    #[serde(default)]
    pub sr: Option<Reference>,
}

/// Moves a VDI to another SR or host. It gets a new id. That of a running VM goes to another SR of its host: it is copied
/// while the VM runs, which stands at the end while its memory is saved and resumed.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MigrateVdi {
    pub vdi: Reference,
    /// Without one, the host that it is on.
    #[serde(default)]
    pub host: Option<Reference>,
    /// Without one, the local SR of the host.
    #[serde(default)]
    pub sr: Option<Reference>,
    /// Bytes per second; 0 for no limit. What a VM has to stand for goes without one.
    #[serde(default)]
    pub bandwidth: u64,
}

/// A VDI whose contents somebody sends.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UploadVdi {
    pub name: String,
    /// In the local SR of this host, unless `sr` says otherwise.
    pub host: Reference,
    #[serde(default)]
    pub sr: Option<Reference>,
    /// Bytes of the disk that comes. The VDI has the next whole MiB.
    pub capacity: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExportVdi {
    pub vdi: Reference,
    /// What this snapshot holds of it, instead of what it holds now: also while a VM runs on it.
    #[serde(default)]
    pub snapshot: Option<Reference>,
}

/// The right to read a VDI from its host. `https://ADDRESS/v1/images/VDI/raw`, `Authorization: Bearer TICKET`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VdiDownload {
    /// The id of the contents: the VDI's, or what the snapshot keeps them as.
    pub vdi: VdiId,
    pub size: VdiSize,
    /// Shown this once; a new one replaces it.
    pub ticket: String,
    /// `host:port` of the host that gives it.
    pub address: String,
    /// The name in the host's certificate.
    pub server_name: String,
    /// Who signed that certificate (PEM).
    pub authority_pem: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The orchestrator holds one for each disk of a fleet. With the counts of an `Arc` it fits into 160 bytes, which is a
    /// size that allocators have.
    #[test]
    fn a_fleet_of_them_is_small() {
        let bytes = size_of::<Vdi>();
        assert!(bytes <= 144, "{bytes} bytes; put what few VDIs have behind a pointer");
    }
}
