//! One orchestrator and its hosts, each with a folder of its own that outlives a restart.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use xenith_common_ids::TaskId;
use xenith_common_pki::Fingerprint;
use xenith_hypervisor_agent::agent::Agent;
use xenith_hypervisor_agent::backends::over;
use xenith_hypervisor_agent::config::Config as AgentConfig;
use xenith_hypervisor_agent::enrol::join_once;
use xenith_hypervisor_agent::identity::Identity;
use xenith_hypervisor_agent::vm::registry::Settings;
use xenith_hypervisor_agent_sim::{SimBuilder, SimHypervisor, unclaimed_address};
use xenith_hypervisor_agent_types::Power;
use xenith_orchestrator::config::{Config, Limits};
use xenith_orchestrator::db::Db;
use xenith_orchestrator::orchestrator::Orchestrator;
use xenith_orchestrator_api::{Method, auth, host, network, task, vdi, vm};
use xenith_orchestrator_client::{Client, ClientError, Credential, Endpoint, Trust};
use xenith_orchestrator_types::auth::Credentials;
use xenith_orchestrator_types::host::{AddHost, Host, HostRef, HostStatus};
use xenith_orchestrator_types::network::CreateNetwork;
use xenith_orchestrator_types::task::{Task, TaskRef, TaskStarted};
use xenith_orchestrator_types::vm::{CreateVm, Vm, VmRef};
use xenith_orchestrator_types::{ApiError, Empty, ListRequest};
use xenith_vmware_import::guest::helper::machine::Kit;

/// Everything here takes milliseconds; a busy machine gets a minute.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Looks again until it is so.
pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.unwrap_or_else(|_| panic!("not in time: {what}"))
}

pub struct TestHost {
    folder: TempDir,
    pub sim: Arc<SimHypervisor>,
    pub agent: Option<Agent>,
    /// What helper VMs are made of; without it, there are none.
    pub helpers: Option<Kit>,
    config: AgentConfig,
}

impl TestHost {
    pub async fn start_agent(&mut self) {
        let identity = Identity::load(&self.config.state).unwrap().unwrap();
        let settings = Settings { sample: Duration::from_millis(200), metrics: Duration::from_millis(200) };
        let mut backend = over(&self.sim, settings, "boot-1");
        if let Some(kit) = &self.helpers {
            backend.helpers = Ok(kit.clone());
        }
        self.agent = Some(Agent::start(&self.config, Arc::new(identity), backend).await.unwrap());
    }

    pub async fn stop_agent(&mut self) {
        if let Some(agent) = self.agent.take() {
            agent.stop().await.unwrap();
        }
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its agent listens under another address from its next start on.
    pub fn move_to(&mut self, listen: SocketAddr) {
        self.config.listen = listen;
        self.config.advertise = listen.to_string();
    }
}

pub struct Installation {
    folder: TempDir,
    pub orchestrator: Option<Orchestrator>,
    pub address: SocketAddr,
    pub fingerprint: Fingerprint,
    pub admin: Client,
    password: String,
    pub hosts: Vec<TestHost>,
}

fn config(folder: &Path, listen: SocketAddr) -> Config {
    Config { listen, data: folder.join("data"), join_address: String::new(), ..Config::default() }
}

impl Installation {
    pub async fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap()).await
    }

    pub async fn start_in(folder: TempDir) -> Self {
        Self::start_limited(folder, Limits::default()).await
    }

    /// Until it is restarted, calls are limited like this.
    pub async fn start_limited(folder: TempDir, limits: Limits) -> Self {
        Self::start_with(folder, |config| config.limits = limits).await
    }

    /// Until it is restarted, its settings are changed like this.
    pub async fn start_with(folder: TempDir, change: impl FnOnce(&mut Config)) -> Self {
        xenith_common_pki::install_provider();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut config = config(folder.path(), any);
        change(&mut config);
        let orchestrator = Orchestrator::start(&config).await.unwrap();
        let address = orchestrator.address;
        let password = orchestrator.first_password.clone().unwrap();
        let fingerprint = orchestrator.fingerprint.parse().unwrap();
        let nobody = client(address, fingerprint, Credential::None).await;
        let credentials = Credentials { name: "admin".into(), password: password.clone(), code: None };
        let session = nobody.call::<auth::Login>(&credentials).await.unwrap().session;
        let admin = client(address, fingerprint, Credential::Bearer(session)).await;
        Self {
            folder,
            orchestrator: Some(orchestrator),
            address,
            fingerprint,
            admin,
            password,
            hosts: vec![],
        }
    }

    /// With one host and a network `default`.
    pub async fn with_host(sim: SimBuilder) -> Self {
        let mut installation = Self::start().await;
        installation.add_host("xen1", sim).await;
        let network =
            CreateNetwork { name: "default".into(), bridge: "xenbr0".into(), ..CreateNetwork::default() };
        installation.admin.call::<network::Create>(&network).await.unwrap();
        installation
    }

    /// Of the first admin.
    pub fn password(&self) -> &str {
        &self.password
    }

    /// Of the orchestrator.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    pub async fn client(&self, credential: Credential) -> Client {
        client(self.address, self.fingerprint, credential).await
    }

    pub async fn login(&self, name: &str, password: &str) -> Result<Client, ClientError> {
        let nobody = self.client(Credential::None).await;
        let credentials = Credentials { name: name.into(), password: password.into(), code: None };
        let session = nobody.call::<auth::Login>(&credentials).await?.session;
        Ok(self.client(Credential::Bearer(session)).await)
    }

    pub async fn join_token(&self, name: &str) -> String {
        let request = AddHost { name: Some(name.into()), pool: None, minutes: 0 };
        self.admin.call::<host::Add>(&request).await.unwrap().token
    }

    pub async fn add_host(&mut self, name: &str, sim: SimBuilder) {
        self.add_host_to(None, name, sim).await;
    }

    /// Without a pool, to the default one.
    pub async fn add_host_to(&mut self, pool: Option<&str>, name: &str, sim: SimBuilder) {
        self.add_host_reached(pool, name, sim, |address| address).await;
    }

    /// The orchestrator reaches its agent where `way` says, given where the agent listens.
    pub async fn add_host_reached(
        &mut self,
        pool: Option<&str>,
        name: &str,
        sim: SimBuilder,
        way: impl FnOnce(SocketAddr) -> SocketAddr,
    ) {
        let folder = tempfile::tempdir().unwrap();
        // The agent must come back under it after a restart.
        let listen = unclaimed_address();
        let config = AgentConfig {
            listen,
            advertise: way(listen).to_string(),
            state: folder.path().join("state"),
            boot: folder.path().join("boot"),
            storage: folder.path().join("sr"),
            join_token: folder.path().join("join-token"),
            ..AgentConfig::default()
        };
        std::fs::create_dir_all(&config.boot).unwrap();
        std::fs::write(config.boot.join("vmlinuz"), b"kernel").unwrap();
        let request = AddHost { name: Some(name.into()), pool: pool.map(Into::into), minutes: 0 };
        let token = self.admin.call::<host::Add>(&request).await.unwrap().token;
        join_once(&config, &token).await.unwrap();
        let mut host = TestHost { folder, sim: sim.build(), agent: None, helpers: None, config };
        host.start_agent().await;
        self.hosts.push(host);
        self.wait_host(name, HostStatus::Connected).await;
    }

    pub async fn wait_host(&self, name: &str, status: HostStatus) -> Host {
        until(&format!("{name} is {status:?}"), async || {
            let host = self.admin.call::<host::Get>(&HostRef { host: name.into() }).await.ok()?;
            (host.status == status).then_some(host)
        })
        .await
    }

    /// Ends the orchestrator as a crash would, as far as sagas can tell, and starts it again.
    pub async fn restart(&mut self) {
        self.orchestrator.take().unwrap().stop().await.unwrap();
        self.come_back().await;
    }

    /// Ends the orchestrator and waits until nobody writes into its folder any more: a thread that reads the store
    /// may outlive it by a moment.
    pub async fn release(&mut self) {
        self.orchestrator.take().unwrap().stop().await.unwrap();
        let store = self.folder.path().join("data/store");
        drop(until("the store is released", async || Db::open(&store).ok()).await);
    }

    /// Starts the orchestrator that was stopped, on what its folder has by now.
    pub async fn come_back(&mut self) {
        let again = config(self.folder.path(), self.address);
        self.orchestrator =
            Some(until("the store is released", async || Orchestrator::start(&again).await.ok()).await);
        assert_eq!(self.orchestrator.as_ref().unwrap().first_password, None, "shown once");
    }

    pub async fn wait_task(&self, task: TaskId) -> Task {
        until("the task is over", async || {
            let task = self.admin.call::<task::Get>(&TaskRef { task }).await.ok()?;
            task.status.is_over().then_some(task)
        })
        .await
    }

    /// A mutation that starts a task, to its end.
    pub async fn run<M: Method<Result = TaskStarted>>(&self, params: &M::Params) -> Task {
        let started =
            self.admin.call::<M>(params).await.unwrap_or_else(|error| panic!("{}: {error}", M::NAME));
        self.wait_task(started.task).await
    }

    /// Until that many VDIs are listed: lists are told a moment after the store.
    pub async fn lists_vdis(&self, count: u64) {
        until(&format!("{count} VDIs are listed"), async || {
            let vdis = self.admin.call::<vdi::List>(&ListRequest::default()).await.ok()?;
            (vdis.total == count).then_some(())
        })
        .await;
    }

    pub async fn vm(&self, name: &str) -> Vm {
        self.admin.call::<vm::Get>(&VmRef { vm: name.into() }).await.unwrap()
    }

    /// Waits until the VM is so: what its host says of it may come a moment after a task ended.
    pub async fn becomes(&self, name: &str, power: Power) -> Vm {
        until(&format!("{name} is {power}"), async || {
            let vm = self.vm(name).await;
            (vm.power == power).then_some(vm)
        })
        .await
    }

    pub async fn stop(mut self) {
        for host in &mut self.hosts {
            host.stop_agent().await;
        }
        if let Some(orchestrator) = self.orchestrator.take() {
            orchestrator.stop().await.unwrap();
        }
    }
}

async fn client(address: SocketAddr, fingerprint: Fingerprint, credential: Credential) -> Client {
    let endpoint: Endpoint = format!("https://{address}").parse().unwrap();
    until("the orchestrator answers", async || {
        Client::connect(endpoint.clone(), Trust::Pinned(fingerprint), credential.clone()).await.ok()
    })
    .await
}

pub fn api_error<T: std::fmt::Debug>(result: Result<T, ClientError>) -> ApiError {
    match result {
        Err(ClientError::Api(error)) => error,
        other => panic!("not an answer of the API: {other:?}"),
    }
}

/// A small PVH guest with one disk and one NIC.
pub fn small(name: &str) -> CreateVm {
    serde_json::from_value(serde_json::json!({
        "name": name,
        "platform": { "kind": "pvh", "boot": { "kernel": "vmlinuz" } },
        "vcpus": { "online": 1, "max": 2 },
        "memory": { "target": 128, "max": 256 },
        "disks": [{ "size": 1 << 30 }],
        "nics": [{ "network": "default" }],
    }))
    .unwrap()
}

pub const EMPTY: Empty = Empty {};
