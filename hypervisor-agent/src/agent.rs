//! The agent as a whole: from settings and a hypervisor to a server that runs until it is told to stop.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tonic::transport::Server;
use uuid::Uuid;
use xenith_common_ids::{Epoch, SrId};
use xenith_common_pki::server_config;
use xenith_common_tasks::{Stragglers, TaskSet};
use xenith_hypervisor_agent_backend::{GuestFactsSource, Hypervisor};
use xenith_hypervisor_agent_types::Fault;

use crate::config::Config;
use crate::disk::FileSr;
use crate::fence::Fence;
use crate::identity::{Identity, IdentityError};
use crate::journal::{HostRecord, Journal, JournalError};
use crate::operations::Operations;
use crate::server::{Service, accept};
use crate::vm::domain_spec::Resolver;
use crate::vm::driver::Driver;
use crate::vm::owner::Shared;
use crate::vm::publisher::Publisher;
use crate::vm::registry::{Domids, HostBoot, Registry, Settings};

#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error("cannot listen on {address}")]
    Listen {
        address: SocketAddr,
        #[source]
        source: std::io::Error,
    },
    #[error("cannot create {path}")]
    Folder {
        path: std::path::PathBuf,
        #[source]
        source: std::io::Error,
    },
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
    pub settings: Settings,
    /// Names the boot of the host: VMs are autostarted once for each.
    pub boot_id: String,
}

/// A running agent.
pub struct Agent {
    tasks: TaskSet,
    pub address: SocketAddr,
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
        let journal = Journal::open(&config.state)?;
        let (record, boot) = host_record(&journal, &backend.boot_id)?;
        let tasks = TaskSet::new();
        let sr = FileSr { id: record.local_sr, folder: config.storage.clone() };
        let publisher = Arc::new(Publisher::new());
        let driver = Driver {
            hypervisor: backend.hypervisor,
            journal: journal.clone(),
            resolver: Resolver { boot: config.boot.clone(), sr: sr.clone() },
        };
        let shared = Arc::new(Shared {
            driver: Arc::new(driver),
            facts: backend.facts,
            publisher: Arc::clone(&publisher),
            domids: Domids::default(),
        });
        let registry = Registry::start(shared, tasks.child(), backend.settings, boot)
            .await
            .map_err(AgentError::Adopt)?;
        let listen = |source| AgentError::Listen { address: config.listen, source };
        let listener = TcpListener::bind(config.listen).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let tls = server_config(Arc::clone(&identity.live), &identity.authority()?)?;
        let service = Service {
            registry,
            publisher,
            operations: Arc::new(Operations::new(tasks.child())),
            fence: Arc::new(Fence::new(journal, record)),
            identity,
            sr,
        };
        let incoming = accept(listener, tls, &tasks);
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
        tracing::info!(%address, "the agent serves");
        Ok(Self { tasks, address })
    }

    /// Stops serving. Domains are left alone.
    pub async fn stop(self) -> Result<(), Stragglers> {
        // Watch streams never end by themselves, and tonic waits for them: give commands a moment, then go.
        self.tasks.shut_down(Duration::from_secs(3)).await
    }
}

/// The kernel's id of this boot.
#[must_use]
pub fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map_or_else(|_| Uuid::new_v4().to_string(), |text| text.trim().to_owned())
}

fn host_record(journal: &Journal, boot_id: &str) -> Result<(HostRecord, HostBoot), JournalError> {
    let before = journal.load_host()?;
    let boot = match &before {
        Some(record) if record.boot == boot_id => HostBoot::Continued,
        _ => HostBoot::Fresh,
    };
    let record = HostRecord {
        format: Journal::FORMAT,
        epoch: before.as_ref().map_or(Epoch(0), |record| record.epoch),
        boot: boot_id.to_owned(),
        local_sr: before.map_or_else(SrId::new, |record| record.local_sr),
    };
    journal.save_host(&record)?;
    Ok((record, boot))
}

/// Reads the join token and forgets it when it is spent.
pub fn read_join_token(path: &Path) -> std::io::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
