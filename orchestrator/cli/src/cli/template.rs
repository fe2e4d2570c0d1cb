//! What VMs are made from.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use xenith_common_units::{MemoryMiB, VcpuCount};
use xenith_hypervisor_agent_types::{VdiSize, VmName};

use super::devices::KeyValue;
use super::vm::vcpus;
use super::{Confirm, Keyed, Listing, NicFlag, Planned, Tasked};

#[derive(Debug, Subcommand)]
pub enum TemplateCommand {
    /// List templates.
    List(Listing),
    /// Show one template.
    #[command(visible_alias = "show")]
    Get {
        #[arg(value_name = "TEMPLATE")]
        template: String,
    },
    /// Make a template from a VM, which stays as it is.
    Create {
        #[arg(value_name = "VM")]
        vm: String,
        #[arg(value_name = "NAME")]
        name: String,
        #[arg(long, default_value = "", hide_default_value = true)]
        description: String,
        #[command(flatten)]
        tasked: Tasked,
    },
    /// Make a template from an image that a web server has, such as a distribution's cloud image.
    Import(Box<ImportArgs>),
    /// Delete a template; VMs that were made from it stay.
    Delete {
        #[arg(value_name = "TEMPLATE")]
        template: String,
        #[command(flatten)]
        confirm: Confirm,
        #[command(flatten)]
        planned: Planned,
    },
    /// Make a VM from a template, with what its cloud-init is told.
    Deploy(Box<DeployArgs>),
    /// Say which fragments the VMs that are made from a template get from now on.
    SetFragments {
        #[arg(value_name = "TEMPLATE")]
        template: String,
        /// Stored parts of user data, in the order in which they count; none: it has none.
        #[arg(value_name = "FRAGMENT")]
        fragments: Vec<String>,
        #[command(flatten)]
        keyed: Keyed,
    },
}

#[derive(Debug, Args)]
pub struct ImportArgs {
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Raw, qcow2, VHD, VHDX or VMDK, recognised by its contents.
    #[arg(value_name = "URL")]
    pub url: String,
    /// Of the file; checked where it is given.
    #[arg(long, value_name = "HEX", default_value = "", hide_default_value = true)]
    pub sha256: String,
    #[arg(long)]
    pub host: String,
    /// An SR of the host, instead of its local one.
    #[arg(long)]
    pub sr: Option<String>,
    /// UEFI instead of BIOS.
    #[arg(long)]
    pub uefi: bool,
    /// What a VM gets that asks for nothing else.
    #[arg(long, default_value = "1GiB")]
    pub memory: MemoryMiB,
    #[arg(long, default_value = "1", value_parser = vcpus)]
    pub vcpus: VcpuCount,
    #[arg(long, default_value = "", hide_default_value = true)]
    pub description: String,
    #[command(flatten)]
    pub tasked: Tasked,
}

#[derive(Debug, Args)]
pub struct DeployArgs {
    #[arg(value_name = "TEMPLATE")]
    pub template: String,
    /// Of the VM.
    #[arg(value_name = "NAME")]
    pub name: VmName,
    /// Instead of the template's.
    #[arg(long)]
    pub memory: Option<MemoryMiB>,
    /// Instead of the template's.
    #[arg(long, value_parser = vcpus)]
    pub vcpus: Option<VcpuCount>,
    /// Of the first disk, which grows to it.
    #[arg(long)]
    pub disk_size: Option<VdiSize>,
    /// A NIC: NETWORK[,mac=MAC]. May be given several times.
    #[arg(long = "nic", value_name = "NETWORK")]
    pub nics: Vec<NicFlag>,
    /// The guest's name, where it is not the VM's.
    #[arg(long)]
    pub hostname: Option<String>,
    /// A file with a public key for the image's default user. May be given several times.
    #[arg(long = "ssh-key", value_name = "FILE")]
    pub ssh_keys: Vec<PathBuf>,
    /// A stored part of user-data, behind those of the template. May be given several times; the later one counts for more.
    #[arg(long = "fragment", value_name = "FRAGMENT")]
    pub fragments: Vec<String>,
    /// A file with user-data for cloud-init, given to the guest as it is but for its variables.
    #[arg(long, value_name = "FILE", conflicts_with = "ssh_keys")]
    pub user_data: Option<PathBuf>,
    /// A file with cloud-init's network configuration.
    #[arg(long, value_name = "FILE")]
    pub network_config: Option<PathBuf>,
    /// What ${KEY} becomes in these files and in fragments; ${name} and ${hostname} are the VM's. May be given several times.
    #[arg(long = "variable", value_name = "KEY=VALUE")]
    pub variables: Vec<KeyValue>,
    /// Give the guest no disk for cloud-init.
    #[arg(long, conflicts_with_all = ["hostname", "ssh_keys", "fragments", "user_data", "network_config", "variables"])]
    pub no_cloud_init: bool,
    #[arg(long = "tag", value_name = "TAG")]
    pub tags: Vec<String>,
    #[arg(long, default_value = "", hide_default_value = true)]
    pub description: String,
    /// Start it when it is made.
    #[arg(long)]
    pub start: bool,
    #[command(flatten)]
    pub planned: Planned,
}
