//! The agent as a whole: from settings and a hypervisor to a server that runs until it is told to stop.
//!
//! What always holds: one agent per state folder (a lock that dies with the process), and nothing is adopted
//! before that lock and the port are ours. A crash at any time leaves what [`crate::vm::adopt`] expects.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tonic::transport::Server;
use uuid::Uuid;
use xenith_common_ha::Autostart;
use xenith_common_ids::{Epoch, HostId, SrId};
use xenith_common_pki::server_config;
use xenith_common_tasks::{CancellationToken, Stragglers, TaskSet};
use xenith_hypervisor_agent_backend::{
    GuestFactsSource, Hypervisor, Machine, ManagementInterface, Meters, NetworkDevices, ProofNetworks,
    SystemSlots, Watchdog,
};
use xenith_hypervisor_agent_storage::file::FileDriver;
use xenith_hypervisor_agent_types::{Fault, FaultReason};
use xenith_vmware_import::guest::helper::machine::Kit;

use crate::backup::Backups;
use crate::config::Config;
use crate::console::Consoles;
use crate::disk::{Attachments, Here, InUse, SpaceGuard, Storage};
use crate::fence::Fence;
use crate::guest_agent::GuestAgents;
use crate::ha::Ha;
use crate::identity::{Identity, IdentityError};
use crate::import::{Helpers, Imports, http};
use crate::instant::Launcher;
use crate::journal::{HostRecord, Journal, JournalError};
use crate::lock::StateLock;
use crate::metrics::{Recorder, Sampler};
use crate::migration::Arrivals;
use crate::network::{Networks, Unfiltered};
use crate::operations::Operations;
use crate::proof::Proofs;
use crate::server::{Incoming, Service, accept};
use crate::system::Systems;
use crate::vm::domain_spec::Resolver;
use crate::vm::driver::{Driver, SENDS_AT_ONCE};
use crate::vm::owner::Shared;
use crate::vm::publisher::Publisher;
use crate::vm::registry::{Domids, Registry, Settings};

#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error(
        "cannot listen on {address}; find who has it (ss -tlnp), or set another one, `listen` in the settings"
    )]
    Listen {
        address: SocketAddr,
        #[source]
        source: std::io::Error,
    },
    #[error("cannot create {path}")]
    Folder {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("another agent runs on {path} already; stop it first (systemctl stop xenith-agent)")]
    Running { path: PathBuf },
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Pki(#[from] xenith_common_pki::PkiError),
    #[error("the VMs of this host cannot be taken over: {0}")]
    Adopt(Fault),
}

/// The hypervisor and what goes with it.
#[derive(Clone)]
pub struct Backend {
    pub hypervisor: Arc<dyn Hypervisor>,
    pub facts: Arc<dyn GuestFactsSource>,
    pub meters: Arc<dyn Meters>,
    pub proof_networks: Arc<dyn ProofNetworks>,
    pub network_devices: Arc<dyn NetworkDevices>,
    pub slots: Arc<dyn SystemSlots>,
    pub machine: Arc<dyn Machine>,
    pub management: Arc<dyn ManagementInterface>,
    pub watchdog: Arc<dyn Watchdog>,
    pub settings: Settings,
    /// Names the boot of the host: VMs are autostarted once for each.
    pub boot_id: String,
    /// Of disks that are used while they come in from their backups.
    pub disk_servers: Launcher,
    /// What helper VMs are made of, or why there are none.
    pub helpers: Result<Kit, String>,
}

impl std::fmt::Debug for Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Backend").field("boot_id", &self.boot_id).finish_non_exhaustive()
    }
}

/// A running agent. Dropping it ends nothing: [`Agent::stop`].
#[derive(Debug)]
pub struct Agent {
    tasks: TaskSet,
    pub address: SocketAddr,
    over: CancellationToken,
    _lock: StateLock,
}

impl Agent {
    /// Adopts the VMs of this host and serves. `identity` comes from a join.
    pub async fn start(
        config: &Config,
        identity: Arc<Identity>,
        backend: Backend,
    ) -> Result<Self, AgentError> {
        for path in [&config.state, &config.storage, &config.boot] {
            fs::create_dir_all(path).map_err(|source| AgentError::Folder { path: path.clone(), source })?;
        }
        let lock = StateLock::take(&config.state)?;
        let listen = |source| AgentError::Listen { address: config.listen, source };
        let listener = TcpListener::bind(config.listen).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let tls = server_config(Arc::clone(&identity.live), &identity.authority()?)?;
        let tasks = TaskSet::new();
        match adopt(config, Arc::clone(&identity), backend, &tasks).await {
            Ok(service) => {
                let over = service.ha.over();
                let served = (&service.imports, &service.backups, &service.arrivals);
                http::serve(served, &identity, config.uploads(address), &tasks).await;
                serve(service, accept(listener, tls, &tasks), &tasks);
                tracing::info!(%address, "the agent serves");
                Ok(Self { tasks, address, over, _lock: lock })
            }
            Err(error) => {
                tasks.cancel();
                Err(error)
            }
        }
    }

    /// Waits until it has to be stopped, because an armed host was cut off for too long. Mostly for ever.
    pub async fn over(&self) {
        self.over.cancelled().await;
    }

    /// Stops serving. Domains are left alone.
    pub async fn stop(self) -> Result<(), Stragglers> {
        self.tasks.shut_down(Duration::from_secs(3)).await
    }
}

/// Everything behind the calls, with the VMs of this host taken over.
async fn adopt(
    config: &Config,
    identity: Arc<Identity>,
    backend: Backend,
    tasks: &TaskSet,
) -> Result<Service, AgentError> {
    let journal = Journal::open(&config.state)?;
    let record = host_record(&journal)?;
    let (in_use, domids) = (InUse::default(), Domids::default());
    let place = (record.local_sr, backend.disk_servers);
    let here = here(identity.host(), &*backend.hypervisor).await;
    let storage = storage(config, place, (in_use.clone(), here)).await.map_err(AgentError::Adopt)?;
    let (arms, fresh_boot) = (record.arms, record.boot != backend.boot_id);
    let fence = Arc::new(Fence::new(journal.clone(), record));
    // Before any VM is looked at: what the host is armed with says what may start.
    let autostart = if fresh_boot { Autostart::Waits } else { Autostart::Allowed };
    let of_host = (identity.host(), storage.clone());
    let ha = Ha::start(of_host, backend.watchdog, Arc::clone(&fence), (arms, autostart), tasks.child());
    let publisher = Arc::new(Publisher::new());
    let of_system = (backend.slots, backend.machine);
    let systems = Systems::new(of_system, Arc::clone(&backend.hypervisor), &config.state);
    let guests = guest_agents(&backend.hypervisor, (journal.clone(), &config.state), tasks);
    let driver = Driver {
        hypervisor: backend.hypervisor,
        journal: journal.clone(),
        resolver: Resolver { boot: config.boot.clone(), storage: storage.clone() },
        guests,
        sends: Semaphore::new(SENDS_AT_ONCE),
        streams: config.streams(),
    };
    let helpers = Helpers { hypervisor: Arc::clone(&driver.hypervisor), kit: backend.helpers };
    let imports = Imports::new(&config.state, storage.clone(), (helpers, config.datastores.clone()));
    let consoles = Consoles::new(
        Arc::clone(&driver.hypervisor),
        domids.clone(),
        config.host_shell.clone(),
        tasks.child(),
    );
    let recorder = recorder(&driver.hypervisor, (backend.meters, backend.settings), tasks);
    let shared = Arc::new(Shared {
        driver: Arc::new(driver),
        facts: backend.facts,
        publisher: Arc::clone(&publisher),
        domids,
        in_use: in_use.clone(),
        ha: Arc::clone(&ha),
    });
    let networks = networks(backend.network_devices, journal.clone(), tasks).await;
    let registry =
        Registry::start(shared, tasks.child(), backend.settings).await.map_err(AgentError::Adopt)?;
    guard_space(config, (storage.clone(), in_use), (&registry, &publisher), tasks);
    if fresh_boot {
        let with = (Arc::clone(&fence), Arc::clone(&ha), tasks.token());
        let boot = (backend.boot_id, networks.unfiltered().await);
        tasks.spawn("autostart", start_what_starts(Arc::clone(&registry), with, boot));
    }
    let proofs = Proofs::new(backend.proof_networks, Arc::clone(&publisher));
    let backups = Arc::new(Backups::new(storage.clone(), proofs, tasks.token()));
    Ok(Service {
        arrivals: Arrivals::new(Arc::clone(&registry), Arc::clone(&imports), tasks.child(), config.streams()),
        backups,
        networks,
        registry,
        publisher,
        recorder,
        operations: Arc::new(Operations::new(tasks.child())),
        fence,
        ha,
        identity,
        storage,
        imports,
        systems,
        management: backend.management,
        consoles,
        tasks: tasks.child(),
        stopping: tasks.token(),
    })
}

/// Those that were frozen when the agent before this one ended are thawed.
fn guest_agents(hypervisor: &Arc<dyn Hypervisor>, state: (Journal, &Path), tasks: &TaskSet) -> GuestAgents {
    let guests = GuestAgents::new(Arc::clone(hypervisor), state, tasks.child());
    if let Err(error) = guests.recover() {
        tracing::error!(%error, "which guests are frozen cannot be read; look for VMs whose programs hang");
    }
    guests
}

/// VMs whose SR has no room left are paused from now on.
fn guard_space(
    config: &Config,
    disks: (Storage, InUse),
    (registry, publisher): (&Arc<Registry>, &Arc<Publisher>),
    tasks: &TaskSet,
) {
    let paused = config.state.join("paused-for-room.json");
    let guard = SpaceGuard::new(disks, Arc::clone(registry), Arc::clone(publisher), paused);
    tasks.spawn("space-guard", guard.watch(tasks.token()));
}

/// What is sampled from now on.
fn recorder(
    hypervisor: &Arc<dyn Hypervisor>,
    (meters, settings): (Arc<dyn Meters>, Settings),
    tasks: &TaskSet,
) -> Arc<Recorder> {
    let recorder = Arc::new(Recorder::default());
    let sampler = Sampler::new(Arc::clone(hypervisor), meters, Arc::clone(&recorder));
    tasks.spawn("sampler", sampler.run(settings.metrics, tasks.token()));
    recorder
}

/// The networks of this host as they were declared last. Before any VM is started: its bridge has to be there, and its
/// rules.
async fn networks(devices: Arc<dyn NetworkDevices>, journal: Journal, tasks: &TaskSet) -> Arc<Networks> {
    let networks = Networks::open(devices, journal);
    networks.repair().await;
    tasks.spawn("network-keeper", Arc::clone(&networks).keep(tasks.token()));
    networks
}

/// Starts what is to start with the host, as soon as it may. Noted at the end: an agent that dies half way goes on where
/// it was.
async fn start_what_starts(
    registry: Arc<Registry>,
    (fence, ha, stopping): (Arc<Fence>, Arc<Ha>, CancellationToken),
    (boot, unfiltered): (String, Unfiltered),
) {
    tokio::select! {
        () = stopping.cancelled() => return,
        () = ha.may_autostart() => {}
    }
    if registry.autostart(&boot, unfiltered.as_ref()).await.is_continue()
        && let Err(fault) = fence.note_boot(boot).await
    {
        tracing::error!(%fault, "that the VMs were autostarted cannot be written down");
    }
}

/// Its name is for people, who also know it by its id.
async fn here(host: HostId, hypervisor: &dyn Hypervisor) -> Here {
    let name = hypervisor.host().await.map_or_else(|_| host.to_string(), |facts| facts.hostname);
    Here { host, name }
}

/// The SRs of this host, with those that were attached before.
async fn storage(
    config: &Config,
    (local, launcher): (SrId, Launcher),
    (in_use, here): (InUse, Here),
) -> Result<Storage, Fault> {
    let (folder, state) = (config.storage.clone(), config.state.clone());
    let open = move || {
        let attachments = Attachments::open(&state, &folder)?;
        let mut storage = Storage::new(Arc::new(FileDriver::open(local, folder)), in_use);
        storage.lease_as(here);
        storage.remember(attachments);
        storage.adopt_instants(&state, launcher)?;
        storage.adopt_marks(&state)?;
        Ok(storage)
    };
    tokio::task::spawn_blocking(open).await.map_err(|error| Fault::new(FaultReason::Internal, error))?
}

fn serve(service: Service, incoming: Incoming, tasks: &TaskSet) {
    let token = tasks.token();
    tasks.spawn("grpc", async move {
        let server = Server::builder()
            .http2_keepalive_interval(Some(Duration::from_secs(5)))
            .http2_keepalive_timeout(Some(Duration::from_secs(10)))
            .add_service(service.into_server())
            .serve_with_incoming_shutdown(incoming, token.cancelled());
        if let Err(error) = server.await {
            tracing::error!(%error, "the gRPC server failed");
        }
    });
}

/// The kernel's id of this boot.
#[must_use]
pub fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map_or_else(|_| Uuid::new_v4().to_string(), |text| text.trim().to_owned())
}

fn host_record(journal: &Journal) -> Result<HostRecord, JournalError> {
    if let Some(record) = journal.load_host()? {
        return Ok(record);
    }
    let record = HostRecord {
        format: Journal::FORMAT,
        epoch: Epoch(0),
        boot: String::new(),
        local_sr: SrId::new(),
        arms: None,
    };
    journal.save_host(&record)?;
    Ok(record)
}
