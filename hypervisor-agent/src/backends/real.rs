//! Real Xen: libxl for the domains, xenstore for what guests say.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use xenith_common_tasks::TaskSet;
use xenith_hypervisor_agent_backend::HypervisorError;
use xenith_hypervisor_agent_libxl as libxl;
use xenith_hypervisor_agent_xenstore::{self as xenstore, Xenstore, XenstoreError};
use xenith_vmware_import::guest::helper::machine::Kit;

use super::machine::HostMachine;
use super::slots::InstalledSlots;
use super::{BackendError, Opened, StoreFacts};
use crate::agent::{Backend, boot_id};
use crate::config::Config;
use crate::ha::KernelWatchdog;
use crate::instant::Launcher;
use crate::instant::control::Attach;
use crate::management::InstalledManagement;
use crate::metrics::SysMeters;
use crate::network::KernelDevices;
use crate::proof::KernelNetworks;
use crate::vm::registry::Settings;

pub(super) async fn open(config: &Config) -> Result<Opened, BackendError> {
    let tasks = TaskSet::new();
    let store = Xenstore::connect(xenstore::Options::default(), &tasks).await.map_err(no_store)?;
    let dom0_memory = config.dom0_memory_min.map_or(libxl::Dom0Memory::Fixed, libxl::Dom0Memory::GivesDownTo);
    let options = libxl::Options { dom0_memory, scripts: Some(config.state.join("scripts")) };
    let hypervisor = libxl::Libxl::open(options, store.clone(), &tasks).await?;
    tracing::info!(library = hypervisor.library_name(), "Xen is there");
    let backend = Backend {
        hypervisor: Arc::new(hypervisor.clone()),
        facts: Arc::new(StoreFacts::new(store)),
        meters: Arc::new(SysMeters::new(Path::new("/"))),
        proof_networks: Arc::new(KernelNetworks),
        network_devices: Arc::new(KernelDevices),
        slots: Arc::new(InstalledSlots),
        machine: Arc::new(HostMachine),
        management: Arc::new(InstalledManagement::default()),
        watchdog: Arc::new(KernelWatchdog::default()),
        settings: Settings::default(),
        boot_id: boot_id(),
        disk_servers: Launcher::this_program(Attach::Kernel),
        helpers: helpers(config),
    };
    Ok(Opened { backend, tasks, libxl: Some(hypervisor) })
}

fn helpers(config: &Config) -> Result<Kit, String> {
    let mut kit = Kit::of_this_host().map_err(|error| error.to_string())?;
    if let Some(kernel) = &config.helper_kernel {
        kit.kernel.clone_from(kernel);
    }
    Ok(kit)
}

fn no_store(error: XenstoreError) -> HypervisorError {
    let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
    HypervisorError::NotAXenHost { detail: format!("{error}{cause}; `xenith-agent doctor` says more") }
}
