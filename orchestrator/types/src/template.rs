//! What VMs are made from.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use xenith_common_ids::{FragmentId, HostId, PoolId, SrId, TemplateId, VdiId};
use xenith_hypervisor_agent_types::{DiskDevice, Graphics, MemorySpec, Platform, VcpuSpec, VdiSize, VmName};

use crate::Reference;
use crate::vm::NewNic;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Template {
    pub id: TemplateId,
    pub name: String,
    pub description: String,
    pub pool: PoolId,
    /// Where its disks are, and so the VMs made from it.
    pub host: HostId,
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub created: OffsetDateTime,
    /// What a VM gets that asks for nothing else.
    pub platform: Platform,
    pub vcpus: VcpuSpec,
    pub memory: MemorySpec,
    pub graphics: Graphics,
    pub disks: Vec<TemplateDisk>,
    /// What cloud-init is told in each VM made from it, in this order and before all else.
    #[serde(default)]
    pub fragments: Vec<FragmentId>,
    /// Not before its disks are complete.
    pub ready: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TemplateDisk {
    pub device: DiskDevice,
    pub vdi: VdiId,
    pub sr: SrId,
    /// `None`: not known before it is imported.
    pub size: Option<VdiSize>,
}

/// A template from a VM, which stays as it is.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateTemplate {
    pub vm: Reference,
    pub name: String,
    #[serde(default)]
    pub description: String,
}

/// A template from an image that a web server has, such as a distribution's cloud image.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportTemplate {
    pub name: String,
    #[serde(default)]
    pub description: String,
    /// In the local SR of this host, unless `sr` says otherwise.
    pub host: Reference,
    #[serde(default)]
    pub sr: Option<Reference>,
    /// `https://…`; raw, qcow2, VHD, VHDX or VMDK, recognised by its contents.
    pub url: String,
    /// Of the file, in hexadecimal; checked where it is given.
    #[serde(default)]
    pub sha256: String,
    pub platform: Platform,
    pub vcpus: VcpuSpec,
    pub memory: MemorySpec,
    #[serde(default)]
    pub graphics: Graphics,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TemplateRef {
    pub template: Reference,
}

/// The fragments of a template are replaced by these.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetTemplateFragments {
    pub template: Reference,
    /// Of its pool, in the order in which they count; none: it has none.
    pub fragments: Vec<Reference>,
}

/// A VM from a template.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeployTemplate {
    pub template: Reference,
    pub name: VmName,
    #[serde(default)]
    pub vcpus: Option<VcpuSpec>,
    #[serde(default)]
    pub memory: Option<MemorySpec>,
    /// Of the first disk, which grows to it.
    #[serde(default)]
    pub disk_size: Option<VdiSize>,
    #[serde(default)]
    pub nics: Vec<NewNic>,
    #[serde(default)]
    pub cloud_init: Option<CloudInit>,
    #[serde(default)]
    pub description: String,
    #[serde(default)]
    pub tags: BTreeSet<String>,
    /// Start it when it is made.
    #[serde(default)]
    pub start: bool,
}

/// What cloud-init in the guest is told at its first boot, by a small disk (NoCloud).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CloudInit {
    /// The VM's name, unless it says otherwise.
    #[serde(default)]
    pub hostname: Option<String>,
    /// Stored parts of the user data, of the template's pool. They come after the template's own, in this order, and
    /// before the rest of what is said here.
    #[serde(default)]
    pub fragments: Vec<Reference>,
    /// Public keys of the image's default user; not together with `user_data`.
    #[serde(default)]
    pub ssh_keys: Vec<String>,
    /// The whole of it, or what is added to the fragments: `#cloud-config`, a script, or what else cloud-init takes.
    /// `${name}`, `${hostname}` and the variables are replaced.
    #[serde(default)]
    pub user_data: Option<String>,
    /// Version 1 or 2 of cloud-init's network configuration, in YAML; the same is replaced in it.
    #[serde(default)]
    pub network_config: Option<String>,
    /// What `${KEY}` is replaced with in these two and in fragments. Another `${…}` is left as it is, for scripts have their own.
    #[serde(default)]
    pub variables: BTreeMap<String, String>,
}
