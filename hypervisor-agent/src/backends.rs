//! What runs the domains, chosen at the start: real Xen, or a host in memory.

mod guest_facts;
mod machine;
mod real;
mod slots;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;
use xenith_common_tasks::TaskSet;
use xenith_hypervisor_agent_backend::HypervisorError;
use xenith_hypervisor_agent_libxl::Libxl;
use xenith_hypervisor_agent_sim::{ConfigError, SimConfig, SimHypervisor};

use crate::agent::Backend;
use crate::config::Config;
use crate::instant::Launcher;
use crate::instant::control::Attach;
use crate::vm::registry::Settings;

pub use guest_facts::StoreFacts;

/// Why a simulated host runs no helper VMs.
const SIMULATED: &str = "this host is simulated: nothing runs in its VMs";

/// Names the file with the simulator's settings.
pub const SIM_CONFIG: &str = "XENITH_SIM_CONFIG";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Libxl,
    Sim,
}

#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// No Xen, or not its control domain.
    #[error(transparent)]
    NoXen(#[from] HypervisorError),
    #[error("cannot read {path} ({SIM_CONFIG})")]
    SimFile {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{path} ({SIM_CONFIG}) cannot be used")]
    SimConfig {
        path: PathBuf,
        #[source]
        source: ConfigError,
    },
}

/// An open hypervisor, and what must be closed after the agent.
#[derive(Debug)]
pub struct Opened {
    pub backend: Backend,
    tasks: TaskSet,
    libxl: Option<Libxl>,
}

impl Opened {
    /// Waits for the calls that run, then ends the back-end's tasks. Domains are left alone.
    pub async fn close(self) {
        if let Some(libxl) = &self.libxl {
            libxl.close().await;
        }
        if let Err(stragglers) = self.tasks.shut_down(Duration::from_secs(3)).await {
            tracing::warn!(%stragglers, "the hypervisor's tasks did not end in time");
        }
    }
}

pub async fn open(kind: Kind, config: &Config) -> Result<Opened, BackendError> {
    match kind {
        Kind::Libxl => real::open(config).await,
        Kind::Sim => simulated(),
    }
}

/// With a boot id of its own each time: the domains of a simulated host end with its process.
fn simulated() -> Result<Opened, BackendError> {
    let settings = match std::env::var_os(SIM_CONFIG).map(PathBuf::from) {
        None => SimConfig::default(),
        Some(path) => {
            let text = std::fs::read_to_string(&path)
                .map_err(|source| BackendError::SimFile { path: path.clone(), source })?;
            SimConfig::from_toml(&text).map_err(|source| BackendError::SimConfig { path, source })?
        }
    };
    let tasks = TaskSet::new();
    let sim = SimHypervisor::builder().config(settings).tasks(&tasks).build();
    let boot_id = Uuid::new_v4().to_string();
    let disk_servers = Launcher::this_program(Attach::Socket);
    let backend = Backend { disk_servers, ..over(&sim, Settings::default(), &boot_id) };
    Ok(Opened { backend, tasks, libxl: None })
}

/// The same for tests and programs that keep the simulated host.
#[must_use]
pub fn over(sim: &Arc<SimHypervisor>, settings: Settings, boot_id: &str) -> Backend {
    Backend {
        hypervisor: sim.clone(),
        facts: sim.clone(),
        meters: sim.clone(),
        proof_networks: sim.clone(),
        network_devices: sim.clone(),
        slots: sim.clone(),
        machine: sim.clone(),
        management: sim.clone(),
        watchdog: sim.clone(),
        settings,
        boot_id: boot_id.to_owned(),
        disk_servers: Launcher::Inside,
        helpers: Err(SIMULATED.to_owned()),
    }
}
