//! The orchestrator as a whole: from settings to a server that runs until it is told to stop.
//!
//! The order of a start: store, keys, saga engine (which takes the next fencing epoch), fleet, read model,
//! recovery of sagas, and only then the port: who can call finds everything in place.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use jsonrpsee::server::ServerHandle;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use xenith_common_ids::PoolId;
use xenith_common_pki::{PkiError, client_config, web_server_config};
use xenith_common_tasks::{Stragglers, TaskSet};
use xenith_orchestrator_saga::{EngineConfig, SagaEngine, SagaError};
use xenith_orchestrator_store::StoreError;
use xenith_orchestrator_types::ApiError;
use xenith_orchestrator_types::pool::Pool;

use crate::app::{App, DEFAULT_POOL};
use crate::audit::Audit;
use crate::authn::Authn;
use crate::authority::{AuthorityError, Certificates};
use crate::config::Config;
use crate::db::Db;
use crate::enrol::Enrol;
use crate::events::Events;
use crate::fleet::Fleet;
use crate::http::{WebCertificates, router, serve};
use crate::identities::Identities;
use crate::metering::Metering;
use crate::networking::Networking;
use crate::readers::Readers;
use crate::rpc::RateLimit;
use crate::sagas::host_steps::Guests;
use crate::sagas::pool_balance::Mover;
use crate::sagas::pool_update::HostUpdates;
use crate::sagas::{Deps, registry};
use crate::secret::{SecretError, Vault};
use crate::views::{TaskList, Views};

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot {action} {path}")]
    Io {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("cannot listen on {address}; find who has it (ss -tlnp), or choose another one with --listen")]
    Listen {
        address: SocketAddr,
        #[source]
        source: std::io::Error,
    },
    #[error("the threads that read the inventory cannot be started")]
    Threads(#[source] std::io::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    #[error(transparent)]
    Pki(#[from] PkiError),
    #[error(transparent)]
    Saga(#[from] SagaError),
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error("the API cannot be put together (an error of the program): {0}")]
    Register(String),
}

/// A running orchestrator.
pub struct Orchestrator {
    tasks: TaskSet,
    rpc: ServerHandle,
    pub address: SocketAddr,
    /// Set at the very first start.
    pub first_password: Option<String>,
    pub fingerprint: String,
    /// What is shown to whoever connects.
    pub identities: Arc<Identities>,
    pub app: Arc<App>,
}

impl Orchestrator {
    /// All of it on the runtime that this is called on.
    pub async fn start(config: &Config) -> Result<Self, StartError> {
        Self::start_beside(config, Handle::current()).await
    }

    /// What hosts tell, and what nobody waits for, runs in the `background`; calls are answered on the runtime that
    /// this is called on.
    pub async fn start_beside(config: &Config, background: Handle) -> Result<Self, StartError> {
        fs::create_dir_all(&config.data).map_err(|source| StartError::Io {
            action: "create",
            path: config.data.clone(),
            source,
        })?;
        let tasks = TaskSet::new();
        let unhurried = tasks.on(background);
        let folder = config.data.join("store");
        let db =
            tokio::task::spawn_blocking(move || Db::open(&folder)).await.map_err(ApiError::internal)??;
        // Before anything runs on the store: where this fails, that is closed again.
        let metering = Metering::open(&config.data.join("metrics")).await?;
        let vault = Arc::new(Vault::open(&config.data.join("master.key"))?);
        let certificates = Certificates::open(db.clone(), &vault).await?;
        let listen = |source| StartError::Listen { address: config.listen, source };
        let listener = TcpListener::bind(config.listen).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let identities = Arc::new(Identities::make(config, &certificates)?);
        let parts = (db, vault, metering);
        let app =
            assemble(config, parts, (&certificates, &identities), address, (&tasks, &unhurried)).await?;
        let first_password = app.authn.first_admin().await?;

        let shown =
            WebCertificates { internal: Arc::clone(&identities.own), web: Arc::clone(&identities.web) };
        let tls = web_server_config(Arc::new(shown))?;
        let module =
            crate::rpc::module(&app, &tasks).map_err(|error| StartError::Register(error.to_string()))?;
        let enrol = Enrol {
            db: app.db.clone(),
            certificates: Arc::clone(&certificates),
            fleet: Arc::clone(&app.fleet),
            events: app.events.clone(),
            audit: Arc::clone(&app.audit),
        };
        let (router, rpc) = router(&app, module, enrol);
        crate::audit::start(&app, &tasks);
        crate::background::start(&app, &unhurried);
        let (token, keeper) = (tasks.token(), Arc::clone(&identities));
        tasks.spawn("certificate-keeper", async move {
            tokio::select! {
                () = token.cancelled() => {}
                () = keeper.keep() => {}
            }
        });
        crate::backup_runner::start(&app, &unhurried);
        crate::metering::start(&app, &unhurried);
        crate::alarms::start(&app, &unhurried);
        serve(listener, tls, router, &tasks);
        if let Some(path) = &config.first_host_token
            && let Err(error) = crate::own_host::offer(&app, path).await
        {
            tracing::error!(%error, "this host does not join by itself; `xenith host add` makes a token for it");
        }
        tracing::info!(%address, epoch = app.fleet.epoch().0, "the orchestrator serves");
        let fingerprint = certificates.authority().fingerprint().to_string();
        Ok(Self { tasks, rpc, address, first_password, fingerprint, identities, app })
    }

    /// For a person and for programs that start it: where it listens, its authority, and at the very first start a
    /// password. One text, to be written at once: who has read one line of it has the others too.
    #[must_use]
    pub fn first_words(&self) -> String {
        let password = self.first_password.as_deref().map_or_else(String::new, |password| {
            format!("password   {password}  (of the user admin; shown this once)\n")
        });
        format!("listening  https://{}\nauthority  {}\n{password}", self.address, self.fingerprint)
    }

    /// Ends everything. Sagas stop where they are and go on at the next start.
    pub async fn stop(self) -> Result<(), Stragglers> {
        // An error says that it has stopped already.
        let _stopped_before = self.rpc.stop();
        self.tasks.shut_down(Duration::from_secs(5)).await
    }
}

async fn assemble(
    config: &Config,
    (db, vault, metering): (Db, Arc<Vault>, Arc<Metering>),
    (certificates, identities): (&Arc<Certificates>, &Arc<Identities>),
    address: SocketAddr,
    (tasks, unhurried): (&TaskSet, &TaskSet),
) -> Result<Arc<App>, StartError> {
    make_ready(&db).await?;
    // The engine wants its sagas, the sagas want the fleet, the fleet wants the engine's epoch: the registry
    // gets its dependencies through a cell that is filled before anything runs.
    let deps = Arc::new(Deps::new(db.clone()));
    let engine =
        SagaEngine::open(Arc::clone(&db.store), registry(&deps), EngineConfig::default(), tasks).await?;
    let tls = Arc::new(client_config(Arc::clone(&identities.own), certificates.authority().certificate())?);
    let renewal = Arc::clone(certificates) as Arc<dyn crate::fleet::Renewal>;
    let fleet = Fleet::new(db.clone(), engine.epoch(), tls, (renewal, Arc::clone(&metering)), unhurried);
    deps.set_fleet(&fleet);
    deps.set_vault(&vault);
    let events = Events::open(db.clone(), tasks).await?;
    deps.set_events(&events);
    let views = Views::start(&db, &fleet, unhurried).await?;
    for (host, record) in views.hosts() {
        fleet.watch(host, &record);
    }
    let networking = Networking::new(db.clone(), Arc::clone(&fleet), Arc::clone(&views), events.clone());
    deps.set_networking(&networking);
    let task_list = TaskList::start(&engine, &views, tasks).await?;
    engine.recover().await?;
    let app = Arc::new(App {
        authn: Authn::requiring(db.clone(), config.require_second_factor.clone()).await?,
        rate: RateLimit::new(config.limits),
        audit: Arc::new(Audit::open(db.clone()).await?),
        events,
        certificates: Arc::clone(certificates),
        identities: Arc::clone(identities),
        join_address: config.join_address(address.port()),
        promises: Default::default(),
        no_room: Default::default(),
        imports: Arc::clone(&deps.imports),
        tickets: Default::default(),
        vault,
        name_changes: Default::default(),
        user_changes: Default::default(),
        readers: Readers::start().map_err(StartError::Threads)?,
        metering,
        networking,
        ha: Default::default(),
        runs: Default::default(),
        runner: Default::default(),
        changes: Default::default(),
        orphans: Default::default(),
        tasks: task_list,
        fleet,
        views,
        engine,
        db,
    });
    let mover: Weak<dyn Mover> = Arc::<App>::downgrade(&app);
    deps.set_mover(mover);
    let guests: Weak<dyn Guests> = Arc::<App>::downgrade(&app);
    deps.set_guests(guests);
    let updates: Weak<dyn HostUpdates> = Arc::<App>::downgrade(&app);
    deps.set_host_updates(updates);
    Ok(app)
}

/// What a store needs before anything runs on it.
async fn make_ready(db: &Db) -> Result<(), StoreError> {
    ensure_default_pool(db).await?;
    if let Some(checkpoints) = db.checkpoints.clone()
        && let Ok(Err(error)) =
            tokio::task::spawn_blocking(move || crate::own_backup::clean(&checkpoints)).await
    {
        tracing::warn!(%error, "a checkpoint that was left of a backup could not be deleted");
    }
    crate::catalogue::ensure_index(db).await?;
    crate::snapshots::ensure_index(db).await?;
    crate::backup_runner::ensure_live_runs(db).await?;
    Ok(())
}

async fn ensure_default_pool(db: &Db) -> Result<(), StoreError> {
    let (pools, _) = db.pools.all().await?;
    if pools.is_empty() {
        let description = "Hosts that were put into no other pool".to_owned();
        let pool = Pool { id: PoolId::new(), name: DEFAULT_POOL.to_owned(), description };
        db.pools.insert(&pool.id, &pool).await?;
    }
    Ok(())
}
