//! One orchestrator without its port: store, fleet, read model and methods, and hosts with real agents.
//!
//! It outlives the saga engines that run in it, as hosts and the store's disk outlive a crash.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::future::BoxFuture;
use serde_json::Value;
use tempfile::TempDir;
use time::OffsetDateTime;
use tokio::sync::OnceCell;
use xenith_common_ids::{Epoch, HostId, NetworkId, PoolId, SagaId, UserId, VmId};
use xenith_common_pki::{KeyAndRequest, LiveIdentity, client_config};
use xenith_common_tasks::TaskSet;
use xenith_hypervisor_agent::agent::Agent;
use xenith_hypervisor_agent::backends::over;
use xenith_hypervisor_agent::config::Config as AgentConfig;
use xenith_hypervisor_agent::identity::Identity;
use xenith_hypervisor_agent::vm::registry::Settings;
use xenith_hypervisor_agent_backend::Hypervisor;
use xenith_hypervisor_agent_sim::SimHypervisor;
use xenith_hypervisor_agent_types::{DomainStatus, Power};
use xenith_orchestrator::app::App;
use xenith_orchestrator::audit::Audit;
use xenith_orchestrator::authn::Authn;
use xenith_orchestrator::authority::Certificates;
use xenith_orchestrator::config::Config;
use xenith_orchestrator::db::{self, Db};
use xenith_orchestrator::events::Events;
use xenith_orchestrator::fleet::Fleet;
use xenith_orchestrator::identities::Identities;
use xenith_orchestrator::metering::Metering;
use xenith_orchestrator::model::HostRecord;
use xenith_orchestrator::networking::Networking;
use xenith_orchestrator::readers::Readers;
use xenith_orchestrator::rpc::RateLimit;
use xenith_orchestrator::sagas::host_steps::{Behalf, Guests, LocalDisks, Staying};
use xenith_orchestrator::sagas::{Deps, registry};
use xenith_orchestrator::secret::Vault;
use xenith_orchestrator::views::{TaskList, Views};
use xenith_orchestrator_api::{Call, Caller, Method, Registrar};
use xenith_orchestrator_saga::harness::Subject;
use xenith_orchestrator_saga::{EngineConfig, Outcome, SagaEngine, SagaRegistry, StepError};
use xenith_orchestrator_store::{MemoryStore, ScanRequest, StateStore};
use xenith_orchestrator_types::network::Network;
use xenith_orchestrator_types::pool::Pool;
use xenith_orchestrator_types::task::TaskStarted;
use xenith_orchestrator_types::{ApiError, Binding, Reason, Role, Scope};

use crate::harness::PATIENCE;

/// One call of the API: a method's name and its parameters.
pub type ApiCall = (&'static str, Value);

/// Stands for a folder of the host `xen1`, in the parameters of a call.
pub const SECOND: &str = "/SECOND";

/// Where an image of 1 MiB is to be had, as long as the tests run.
pub fn image_server() -> &'static str {
    static URL: OnceLock<String> = OnceLock::new();
    URL.get_or_init(|| {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/image", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A caller that was killed is what the tests are about.
                let _caller_gone = serve_image(stream);
            }
        });
        url
    })
}

fn serve_image(mut stream: std::net::TcpStream) -> std::io::Result<()> {
    let mut head = BufReader::new(&stream).lines();
    let mut from = 0;
    while let Some(Ok(line)) = head.next().filter(|line| line.as_ref().is_ok_and(|line| !line.is_empty())) {
        if let Some(range) = line.to_lowercase().strip_prefix("range: bytes=") {
            from = range.trim_end_matches('-').parse().unwrap_or(0);
        }
    }
    let image = [7; 1 << 20];
    if from >= image.len() {
        return stream.write_all(b"HTTP/1.1 416 no\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    }
    let status = if from > 0 { "206 Partial Content" } else { "200 OK" };
    let rest = &image[from..];
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", rest.len())?;
    stream.write_all(rest)
}

/// One saga, as a user begins it.
pub struct Case {
    hosts: usize,
    before: Vec<ApiCall>,
    call: ApiCall,
    guest_decides: bool,
    sends: bool,
    told: bool,
}

impl Case {
    pub fn new(before: Vec<ApiCall>, call: ApiCall) -> Self {
        Self { hosts: 1, before, call, guest_decides: false, sends: false, told: false }
    }

    /// Hosts `xen1`, `xen2`, … of one pool.
    pub fn hosts(mut self, hosts: usize) -> Self {
        self.hosts = hosts;
        self
    }

    /// Somebody sends the disks of uploads.
    pub fn sends(mut self) -> Self {
        self.sends = true;
        self
    }

    /// The call asks what is heard of VMs, which comes a moment after what was done.
    pub fn told(mut self) -> Self {
        self.told = true;
        self
    }

    /// What the guest has done (it shut down, it runs on) is nobody's to take back: when the saga rolls back,
    /// whether there is a domain is left out of the comparison. Records, definitions and disks are not.
    pub fn guest_decides(mut self) -> Self {
        self.guest_decides = true;
        self
    }
}

/// A case on its way through the harness.
pub struct Proof(pub Arc<Case>);

impl Proof {
    /// That the call begins what its line says.
    pub async fn is_of_kind(&self, kind: &str) {
        let world = self.world().await;
        let (store, tasks) = (Arc::new(world.0.store.clone()), TaskSet::new());
        let engine =
            SagaEngine::open(store, world.registry(), EngineConfig::default(), &tasks).await.unwrap();
        let saga = world.call(&engine, &self.0.call).await;
        assert_eq!(engine.get(saga).await.unwrap().kind, kind);
        tasks.shut_down(Duration::from_secs(10)).await.unwrap();
    }
}

impl Subject for Proof {
    type World = World;

    async fn world(&self) -> World {
        let world = World::with_hosts(self.0.hosts).await;
        world.prepare(&self.0.before).await;
        if self.0.told {
            world.vms_are_told().await;
        }
        if self.0.sends {
            let inner = &world.0;
            let (db, imports) = (inner.db.clone(), Arc::clone(&inner.deps.imports));
            let authority = inner.certificates.authority().certificate_pem().to_owned();
            let token = inner.tasks.token();
            inner.tasks.spawn("sender", async move {
                tokio::select! {
                    () = token.cancelled() => {}
                    () = super::sender::send_all(db, imports, authority) => {}
                }
            });
        }
        world
    }

    fn store(&self, world: &World) -> MemoryStore {
        world.0.store.clone()
    }

    fn registry(&self, world: &World) -> SagaRegistry {
        world.registry()
    }

    async fn start(&self, world: &World, engine: &SagaEngine) -> SagaId {
        world.call(engine, &self.0.call).await
    }

    async fn effects(&self, world: &World) -> String {
        world.effects(Domains::Shown).await
    }

    async fn answers_for(&self, world: &World) -> String {
        world.effects(if self.0.guest_decides { Domains::Hidden } else { Domains::Shown }).await
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Domains {
    Shown,
    Hidden,
}

struct Host {
    folder: TempDir,
    sim: Arc<SimHypervisor>,
    agent: Option<Agent>,
}

/// Hosts that go down here have no VMs, and none moves. An application lives no longer than a call.
struct NoGuests;

#[async_trait]
impl Guests for NoGuests {
    fn running(&self, _: HostId) -> Vec<VmId> {
        vec![]
    }

    async fn staying(&self, _: HostId) -> Result<Vec<Staying>, StepError> {
        Ok(vec![])
    }

    async fn moving(&self, _: HostId) -> Result<Vec<Staying>, StepError> {
        Ok(vec![])
    }

    async fn move_away(&self, _: (SagaId, HostId), _: LocalDisks, _: &Behalf) -> Result<(), StepError> {
        Ok(())
    }

    async fn shut_down(&self, _: HostId, _: &Behalf) -> Result<(), StepError> {
        Ok(())
    }
}

struct Inner {
    _guests: Arc<dyn Guests>,
    folder: TempDir,
    store: MemoryStore,
    db: Db,
    deps: Arc<Deps>,
    vault: Arc<Vault>,
    fleet: Arc<Fleet>,
    metering: Arc<Metering>,
    networking: Arc<Networking>,
    views: Arc<Views>,
    certificates: Arc<Certificates>,
    hosts: Vec<Host>,
    tasks: TaskSet,
}

#[derive(Clone)]
pub struct World(Arc<Inner>);

impl Drop for Inner {
    fn drop(&mut self) {
        self.tasks.cancel();
        // Hundreds of worlds live in one test: their agents must not go on sampling.
        for host in &mut self.hosts {
            if let Some(agent) = host.agent.take() {
                tokio::spawn(agent.stop());
            }
        }
    }
}

/// In memory where there is room, unless `TMPDIR` says otherwise. A proof makes hundreds of worlds, in each of which
/// agents and repositories sync dozens of files: on a disk that is most of what it takes. A world outlives engines and
/// agents, never the machine, so what its disk would keep is nothing that a proof looks at.
fn memory_folder() -> TempDir {
    const MEMORY: &str = "/dev/shm";
    const ROOM: u64 = 1 << 30;
    let has_room = std::env::var_os("TMPDIR").is_none()
        && rustix::fs::statvfs(MEMORY).is_ok_and(|disk| disk.f_bavail * disk.f_frsize >= ROOM);
    let made = if has_room { tempfile::tempdir_in(MEMORY) } else { tempfile::tempdir() };
    made.unwrap()
}

impl World {
    /// Without hosts.
    pub async fn bare() -> Self {
        Self::with_hosts(0).await
    }

    async fn with_hosts(count: usize) -> Self {
        xenith_common_pki::install_provider();
        let folder = memory_folder();
        let store = MemoryStore::new(&db::schema());
        let db = Db::over(Arc::new(store.clone()));
        let vault = Arc::new(Vault::open(&folder.path().join("master.key")).unwrap());
        let certificates = Certificates::open(db.clone(), &vault).await.unwrap();
        let pool = Pool { id: PoolId::new(), name: "default".into(), description: String::new() };
        db.pools.insert(&pool.id, &pool).await.unwrap();
        let network = Network {
            id: NetworkId::new(),
            name: "default".into(),
            pool: pool.id,
            bridge: "xenbr0".into(),
            description: String::new(),
            uplink: None,
            mtu: None,
            encryption: Default::default(),
        };
        db.networks.insert(&network.id, &network).await.unwrap();
        let mut hosts = Vec::new();
        for number in 1..=count {
            hosts.push(Host::start(&db, &certificates, (pool.id, &format!("xen{number}"))).await);
        }
        let tasks = TaskSet::new();
        let deps = Arc::new(Deps::new(db.clone()));
        let (key, chain) = certificates.own_identity().unwrap();
        let own = LiveIdentity::new(&key, &chain).unwrap();
        let tls = Arc::new(client_config(own, certificates.authority().certificate()).unwrap());
        // Older than any engine here: its greetings fence nobody off.
        let metering =
            Metering::over(Arc::new(MemoryStore::new(&xenith_orchestrator_metrics::schema()))).await.unwrap();
        let fleet =
            Fleet::new(db.clone(), Epoch(0), tls, (certificates.clone(), Arc::clone(&metering)), &tasks);
        deps.set_fleet(&fleet);
        deps.set_vault(&vault);
        let views = Views::start(&db, &fleet, &tasks).await.unwrap();
        for (host, record) in views.hosts() {
            fleet.watch(host, &record);
        }
        let events = Events::open(db.clone(), &tasks).await.unwrap();
        let networking = Networking::new(db.clone(), Arc::clone(&fleet), Arc::clone(&views), events);
        deps.set_networking(&networking);
        let guests: Arc<dyn Guests> = Arc::new(NoGuests);
        deps.set_guests(Arc::downgrade(&guests));
        let world = Self(Arc::new(Inner {
            _guests: guests,
            folder,
            store,
            db,
            deps,
            vault,
            fleet,
            metering,
            networking,
            views,
            certificates,
            hosts,
            tasks,
        }));
        world.hosts_are_ready().await;
        world
    }

    async fn hosts_are_ready(&self) {
        let Inner { fleet, views, .. } = &*self.0;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let heard = fleet.states().iter().all(|(_, state)| state.is_heard());
            let known = views.hosts().iter().all(|(_, record)| record.local_sr.is_some());
            if heard && known {
                return;
            }
            assert!(Instant::now() < deadline, "the hosts are not heard");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Waits until every VM is heard to be what its host has it for.
    async fn vms_are_told(&self) {
        let Inner { fleet, db, hosts, .. } = &*self.0;
        let vms = db.vms.all().await.unwrap().0;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut running = 0;
            for host in hosts {
                let domains = host.sim.domains().await.unwrap();
                running += domains.iter().filter(|info| info.status == DomainStatus::Running).count();
            }
            let heard: Vec<_> = vms.iter().filter_map(|vm| fleet.vm(vm.key)).collect();
            let up = heard.iter().filter(|(_, vm)| vm.power == Power::Running && vm.domid.is_some()).count();
            if heard.len() == vms.len() && up == running {
                return;
            }
            assert!(Instant::now() < deadline, "what became of the VMs is not heard");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    pub fn registry(&self) -> SagaRegistry {
        registry(&self.0.deps)
    }

    /// Runs these calls to their end, and forgets that they ran.
    async fn prepare(&self, calls: &[ApiCall]) {
        if calls.is_empty() {
            return;
        }
        let (store, tasks) = (Arc::new(self.0.store.clone()), TaskSet::new());
        let engine = SagaEngine::open(store, self.registry(), EngineConfig::default(), &tasks).await.unwrap();
        let methods = self.methods(&engine).await;
        for call in calls {
            let saga = self.begin(&methods, call).await;
            let outcome = engine.wait(saga).await.unwrap();
            assert_eq!(outcome, Some(Outcome::Done), "{}, before the saga", call.0);
        }
        engine.prune_ended(OffsetDateTime::now_utc() + Duration::from_secs(60), 100).await.unwrap();
        tasks.shut_down(Duration::from_secs(10)).await.unwrap();
    }

    /// Calls a method that begins a saga in `engine`.
    async fn call(&self, engine: &SagaEngine, call: &ApiCall) -> SagaId {
        self.begin(&self.methods(engine).await, call).await
    }

    /// What can be called, of an orchestrator whose sagas run in `engine`.
    async fn methods(&self, engine: &SagaEngine) -> Methods {
        let inner = &*self.0;
        let app = Arc::new(App {
            db: inner.db.clone(),
            fleet: Arc::clone(&inner.fleet),
            views: Arc::clone(&inner.views),
            engine: engine.clone(),
            tasks: TaskList::start(engine, &inner.views, &TaskSet::new()).await.unwrap(),
            orphans: Default::default(),
            changes: Default::default(),
            metering: Arc::clone(&self.0.metering),
            networking: Arc::clone(&inner.networking),
            ha: Default::default(),
            certificates: Arc::clone(&inner.certificates),
            identities: Arc::new(Identities::make(&Config::default(), &inner.certificates).unwrap()),
            authn: nobody_signs_in().await,
            audit: Arc::new(Audit::open(inner.db.clone()).await.unwrap()),
            events: Events::open(inner.db.clone(), &inner.tasks).await.unwrap(),
            join_address: String::new(),
            promises: Default::default(),
            no_room: Default::default(),
            imports: Arc::clone(&inner.deps.imports),
            tickets: Default::default(),
            vault: Arc::clone(&inner.vault),
            name_changes: Default::default(),
            user_changes: Default::default(),
            readers: Readers::start().unwrap(),
            rate: RateLimit::new(Default::default()),
            runs: Default::default(),
            runner: Default::default(),
        });
        let mut methods = Methods::default();
        app.register(&mut methods);
        methods
    }

    async fn begin(&self, methods: &Methods, (method, params): &ApiCall) -> SagaId {
        let inner = &*self.0;
        let handler = methods.0.get(method).unwrap_or_else(|| panic!("no method {method}"));
        // Folders outside hosts are the world's own.
        let folder = inner.folder.path().display().to_string();
        let mut params: Value = serde_json::from_str(&params.to_string().replace("/WORLD", &folder)).unwrap();
        if let (Some(host), Some(path)) = (inner.hosts.first(), params.pointer_mut("/spec/path")) {
            let second = host.folder.path().join("second");
            *path = path.as_str().unwrap().replace(SECOND, second.to_str().unwrap()).into();
        }
        // Names are found in what is read from the store a moment after it was written.
        let began = Instant::now();
        let result = loop {
            match handler(params.clone()).await {
                Err(error) if error.reason() == Reason::NotFound && began.elapsed() < PATIENCE => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                done => break done,
            }
        };
        let result = result.unwrap_or_else(|error| panic!("{method}: {error}"));
        let started: TaskStarted = serde_json::from_value(result).unwrap();
        SagaId::from_bytes(*started.task.as_bytes())
    }

    /// Everything that a saga may change, one line each, without what differs from world to world.
    async fn effects(&self, domains: Domains) -> String {
        let mut lines = Vec::new();
        for keyspace in db::schema().keyspaces() {
            let name = keyspace.to_string();
            // The engine's own; and what tells of calls, not of the world.
            let told = ["audit", "event", "idempotency", "authority", "import"];
            if name.starts_with("saga.") || told.contains(&&*name) {
                continue;
            }
            let page = self.0.store.scan(ScanRequest::prefix(keyspace, [], 1000)).await.unwrap();
            for entry in page.entries {
                let value: Value = serde_json::from_slice(&entry.value).unwrap();
                lines.push(format!("{name}: {}", plain(value, &[])));
            }
        }
        for (number, host) in self.0.hosts.iter().enumerate() {
            lines.extend(
                host.effects(domains).await.into_iter().map(|line| format!("xen{}: {line}", number + 1)),
            );
        }
        lines.sort();
        lines.join("\n")
    }
}

/// Its decoy hash takes 19 MiB and a while; no case here signs in.
async fn nobody_signs_in() -> Arc<Authn> {
    static AUTHN: OnceCell<Arc<Authn>> = OnceCell::const_new();
    let make = async || Authn::new(Db::over(Arc::new(MemoryStore::new(&db::schema())))).await.unwrap();
    Arc::clone(AUTHN.get_or_init(make).await)
}

impl Host {
    async fn start(db: &Db, certificates: &Certificates, (pool, name): (PoolId, &str)) -> Self {
        let folder = memory_folder();
        let config = AgentConfig {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            state: folder.path().join("state"),
            boot: folder.path().join("boot"),
            storage: folder.path().join("sr"),
            join_token: folder.path().join("join-token"),
            ..AgentConfig::default()
        };
        std::fs::create_dir_all(&config.boot).unwrap();
        std::fs::write(config.boot.join("vmlinuz"), b"kernel").unwrap();
        let host = HostId::new();
        let key = KeyAndRequest::generate().unwrap();
        let issued = certificates.issue_for_host(&key.request_pem, host).unwrap();
        let authority = certificates.authority().certificate_pem().to_owned();
        Identity::enrol(&config.state, host, &key, issued.certificate_pem, authority).unwrap();
        let identity = Arc::new(Identity::load(&config.state).unwrap().unwrap());
        let sim = SimHypervisor::builder().build();
        let settings = Settings::default();
        let agent = Agent::start(&config, identity, over(&sim, settings, "boot-1")).await.unwrap();
        let record = HostRecord {
            name: name.to_owned(),
            pool,
            address: agent.address.to_string(),
            peer_address: None,
            maintenance: false,
            joined: OffsetDateTime::now_utc(),
            local_sr: None,
            certificate_serial: issued.details.serial,
            certificate_expires: issued.details.not_after,
            issued: vec![],
            previous_serial: None,
            any_certificate: false,
            held_by: None,
            disarmed: false,
            power: None,
        };
        certificates.admit(host, &record);
        db.hosts.insert(&host, &record).await.unwrap();
        db.host_names.insert(&record.name, &host).await.unwrap();
        Self { folder, sim, agent: Some(agent) }
    }

    async fn effects(&self, domains: Domains) -> Vec<String> {
        let mut lines = Vec::new();
        let hidden: &[&str] = if domains == Domains::Hidden { &["run", "saved"] } else { &[] };
        for (_, bytes) in files(&self.folder.path().join("state/vms")) {
            lines.push(format!("journal: {}", plain(serde_json::from_slice(&bytes).unwrap(), hidden)));
        }
        for (_, bytes) in files(&self.folder.path().join("sr")) {
            lines.push(format!("image of {} bytes", bytes.len()));
        }
        for (name, bytes) in files(&self.folder.path().join("second")) {
            let name = name.split_once('.').map_or("", |(_, ending)| ending);
            lines.push(format!("second: {name} of {} bytes", bytes.len()));
        }
        for (name, _) in files(&self.folder.path().join("state/srs")) {
            lines.push(format!("attached: {}", name.split('.').next_back().unwrap_or_default()));
        }
        lines.push(format!("{} downloads", files(&self.folder.path().join("sr/downloads")).len()));
        lines.push(format!("{} bridges of proofs", self.sim.proof_bridges().len()));
        let system = self.sim.system();
        lines.push(format!("the system in slot {} is {:?}", system.slot, system.standing));
        let interface = self.sim.management();
        lines.push(format!("{}, on trial: {}", interface.management, interface.on_trial.is_some()));
        if domains == Domains::Shown {
            for domain in self.sim.domains().await.unwrap() {
                lines.push(format!("domain {}: {:?}", domain.name, domain.status));
            }
            lines
                .push(format!("{} files of imports", files(&self.folder.path().join("state/imports")).len()));
            let images = files(&self.folder.path().join("state/suspended")).len();
            lines.push(format!("{images} memory images"));
        }
        lines
    }
}

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let Ok(entries) = std::fs::read_dir(folder) else { return BTreeMap::new() };
    // Folders hold nothing of their own.
    let entries = entries.filter(|entry| entry.as_ref().unwrap().path().is_file());
    let read = |entry: std::io::Result<std::fs::DirEntry>| {
        let entry = entry.unwrap();
        (entry.file_name().to_string_lossy().into_owned(), entry.path())
    };
    entries.map(read).map(|(name, path)| (name, std::fs::read(path).unwrap_or_default())).collect()
}

/// Without ids, addresses and times, which differ from world to world; without numbers of definitions, which
/// only go up, also when the old one comes back; and without how the run before ended.
fn plain(value: Value, hidden: &[&str]) -> Value {
    const LEFT_OUT: &[&str] = &[
        "definition",
        // What was asked of a VM, not what it is.
        "reached",
        "created",
        "joined",
        "started",
        "address",
        "certificate_serial",
        "certificate_expires",
        "last",
        "autostarted",
        "paused_ms",
        // A guest that was resumed is another domain.
        "domid",
        // An agent that was killed meanwhile does not know.
        "quiesced",
        "sealed_access",
        "place",
        "checked",
        "facts",
        "disk_name",
        "at",
        "seconds",
        // Of kept memory: a simulated guest's says how long it ran.
        "bytes",
    ];
    match value {
        Value::Object(fields) => {
            let kept = fields
                .into_iter()
                .filter(|(name, _)| !LEFT_OUT.contains(&&**name) && !hidden.contains(&&**name))
                .map(|(name, value)| match (&*name, value) {
                    // A port may answer before the guest has told its system: the verdict alone is the same.
                    ("said", Value::String(said)) => {
                        let verdict = said.split_once("; ").map_or(&*said, |(verdict, _)| verdict).into();
                        (name, Value::String(verdict))
                    }
                    (_, value) => (name, plain(value, hidden)),
                })
                .collect();
            Value::Object(kept)
        }
        Value::Array(items) => items.into_iter().map(|item| plain(item, hidden)).collect(),
        Value::String(text) if text.parse::<UserId>().is_ok() => "an id".into(),
        Value::String(text) if text.starts_with("00:16:3e:") => "a MAC".into(),
        Value::String(text) if text.starts_with('/') => "a path".into(),
        other => other,
    }
}

type Handler = Box<dyn Fn(Value) -> BoxFuture<'static, Result<Value, ApiError>> + Send + Sync>;

/// The methods by name, called as an admin of everything.
#[derive(Default)]
struct Methods(HashMap<&'static str, Handler>);

impl Registrar for Methods {
    fn method<M, F, Fut>(&mut self, handler: F)
    where
        M: Method,
        F: Fn(Arc<Call>, M::Params) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<M::Result, ApiError>> + Send + 'static,
    {
        let by_value = move |params: Value| -> BoxFuture<'static, Result<Value, ApiError>> {
            let handler = handler.clone();
            Box::pin(async move {
                let admin = Caller {
                    user: Some(UserId::new()),
                    name: "admin".into(),
                    bindings: vec![Binding { role: Role::Admin, scope: Scope::All }],
                    ..Caller::anonymous(None)
                };
                let params = serde_json::from_value(params).map_err(|e| ApiError::invalid("params", e))?;
                let result = handler(Arc::new(Call::new(admin, None)), params).await?;
                serde_json::to_value(result).map_err(ApiError::internal)
            })
        };
        self.0.insert(M::NAME, Box::new(by_value));
    }
}
