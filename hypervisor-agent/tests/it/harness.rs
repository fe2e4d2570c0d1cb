//! One simulated host with an agent that can be stopped, killed and started again, and an orchestrator's
//! end of the line.
//!
//! The agent has a runtime of its own: [`Lab::kill`] drops that with everything that is under way, as a
//! `kill -9` does, while the simulated host lives on in the test's runtime. The port stays the same.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use tempfile::TempDir;
use time::OffsetDateTime;
use tokio::runtime::Runtime;
use xenith_common_ids::{Epoch, Generation, HostId, IncarnationId, OperationId, VmId};
use xenith_common_pki::{Authority, KeyAndRequest, LiveIdentity, Peer, client_config};
use xenith_common_units::MemoryMiB;
use xenith_hypervisor_agent::agent::{Agent, AgentError, Backend};
use xenith_hypervisor_agent::backends;
use xenith_hypervisor_agent::config::Config;
use xenith_hypervisor_agent::identity::Identity;
use xenith_hypervisor_agent::instant::Launcher;
use xenith_hypervisor_agent::vm::registry::Settings;
use xenith_hypervisor_agent_api::{Changes, Command, CommandResult, Envelope, ShutdownKind, VmAction};
use xenith_hypervisor_agent_client::{AgentAddress, AgentClient, AgentClientError};
use xenith_hypervisor_agent_sim::{Operation, SimBuilder, SimHypervisor};
pub use xenith_hypervisor_agent_types::test_support::small as spec;
use xenith_hypervisor_agent_types::{Fault, FaultReason, ObservedVm, Power, ValidVmSpec, VmSpec};
use xenith_vmware_import::guest::helper::machine::Kit;

/// All of it takes milliseconds; only a failure, or a machine that is very slow, waits so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// Polls real time, for what other tasks bring about.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !holds().await {
        assert!(tokio::time::Instant::now() < deadline, "waited {PATIENCE:?} for {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub struct LabBuilder {
    sim: SimBuilder,
    sample: Duration,
}

pub struct Lab {
    _folder: TempDir,
    pub config: Config,
    pub sim: Arc<SimHypervisor>,
    pub authority: Authority,
    pub host: HostId,
    pub epoch: Epoch,
    pub boot: String,
    sample: Duration,
    pub disk_servers: Launcher,
    /// What helper VMs are made of; without it, there are none.
    pub helpers: Option<Kit>,
    running: Option<(Runtime, Agent)>,
}

impl LabBuilder {
    pub fn sim(mut self, change: impl FnOnce(SimBuilder) -> SimBuilder) -> Self {
        self.sim = change(self.sim);
        self
    }

    /// How often the agent lists domains when nothing happens.
    pub fn sample(mut self, sample: Duration) -> Self {
        self.sample = sample;
        self
    }

    /// A joined host whose agent does not run yet.
    pub fn build(self) -> Lab {
        xenith_common_pki::install_provider();
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let config = Config {
            listen: ([127, 0, 0, 1], 0).into(),
            boot: folder.path().join("boot"),
            storage: folder.path().join("sr"),
            join_token: folder.path().join("token"),
            state,
            ..Config::default()
        };
        std::fs::create_dir_all(&config.boot).unwrap();
        std::fs::write(config.boot.join("vmlinuz"), b"kernel").unwrap();
        let authority = Authority::generate().unwrap().0;
        let host = HostId::new();
        let key = KeyAndRequest::generate().unwrap();
        let certificate = certify(&authority, &key, Peer::Host(host), Duration::from_secs(86_400));
        let authority_pem = authority.certificate_pem().to_owned();
        Identity::enrol(&config.state, host, &key, certificate, authority_pem).unwrap();
        Lab {
            _folder: folder,
            config,
            sim: self.sim.build(),
            authority,
            host,
            epoch: Epoch(1),
            boot: "first boot".to_owned(),
            sample: self.sample,
            disk_servers: Launcher::Inside,
            helpers: None,
            running: None,
        }
    }

    pub async fn start(self) -> Lab {
        let mut lab = self.build();
        lab.start().await;
        lab
    }
}

/// A certificate (PEM) that ends in `life`; a past one for `Duration::ZERO`.
pub fn certify(authority: &Authority, key: &KeyAndRequest, peer: Peer, life: Duration) -> String {
    let end = match life {
        Duration::ZERO => OffsetDateTime::now_utc() - Duration::from_secs(60),
        life => OffsetDateTime::now_utc() + life,
    };
    authority.issue(&key.request_pem, peer, end).unwrap().certificate_pem
}

impl Lab {
    pub fn builder() -> LabBuilder {
        LabBuilder { sim: SimHypervisor::builder(), sample: Duration::from_secs(10) }
    }

    pub async fn new() -> Self {
        Self::builder().start().await
    }

    pub async fn start(&mut self) {
        self.try_start().await.unwrap();
    }

    pub async fn try_start(&mut self) -> Result<(), AgentError> {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (config, sim, boot) = (self.config.clone(), Arc::clone(&self.sim), self.boot.clone());
        let settings = Settings { sample: self.sample, ..Settings::default() };
        let disk_servers = self.disk_servers.clone();
        let helpers = self.helpers.clone();
        let started = runtime.spawn(async move {
            let identity = Arc::new(Identity::load(&config.state).unwrap().unwrap());
            let mut backend = backends::over(&sim, settings, &boot);
            if let Some(kit) = helpers {
                backend.helpers = Ok(kit);
            }
            Agent::start(&config, identity, Backend { disk_servers, ..backend }).await
        });
        match started.await.unwrap() {
            Ok(agent) => {
                self.config.listen = agent.address;
                self.running = Some((runtime, agent));
                Ok(())
            }
            Err(error) => {
                runtime.shutdown_background();
                Err(error)
            }
        }
    }

    /// `kill -9`: nothing of the agent goes on or is told.
    pub async fn kill(&mut self) {
        let (runtime, agent) = self.running.take().unwrap();
        drop(agent);
        tokio::task::spawn_blocking(move || runtime.shutdown_timeout(PATIENCE)).await.unwrap();
    }

    pub async fn stop(&mut self) {
        let (runtime, agent) = self.running.take().unwrap();
        runtime.spawn(agent.stop()).await.unwrap().unwrap();
        runtime.shutdown_background();
    }

    pub async fn restart(&mut self) {
        self.kill().await;
        self.start().await;
    }

    pub fn record_of(&self, vm: VmId) -> PathBuf {
        self.config.state.join("vms").join(format!("{vm}.json"))
    }

    pub fn address(&self) -> AgentAddress {
        AgentAddress { host: self.host, address: self.config.listen.to_string() }
    }

    /// The orchestrator's connection.
    pub fn client(&self) -> AgentClient {
        self.client_of(&self.authority, Peer::Orchestrator, Duration::from_secs(3600))
    }

    /// A connection of somebody else, or of the orchestrator with another certificate.
    pub fn client_of(&self, signer: &Authority, peer: Peer, life: Duration) -> AgentClient {
        let key = KeyAndRequest::generate().unwrap();
        let certificate = certify(signer, &key, peer, life);
        let identity = LiveIdentity::new(&key.key_pem, &certificate).unwrap();
        let tls = client_config(identity, self.authority.certificate()).unwrap();
        AgentClient::connect(self.address(), Arc::new(tls), Arc::new(|_| Ok(())))
    }

    pub fn envelope(&self, command: Command) -> Envelope {
        Envelope { operation: OperationId::new(), epoch: self.epoch, command }
    }

    pub async fn execute(&self, command: Command) -> Result<CommandResult, AgentClientError> {
        self.client().execute(&self.envelope(command)).await
    }

    pub async fn vm(&self, vm: VmId, action: VmAction) -> Result<CommandResult, Fault> {
        match self.execute(Command::Vm { vm, action }).await {
            Ok(result) => Ok(result),
            Err(AgentClientError::Refused(fault)) => Err(fault),
            Err(other) => panic!("{other}"),
        }
    }

    /// The VM after a command that must work.
    pub async fn done(&self, vm: VmId, action: VmAction) -> ObservedVm {
        let shown = format!("{action:?}");
        match self.vm(vm, action).await {
            Ok(CommandResult::Vm(vm) | CommandResult::Applied { vm, .. }) => *vm,
            other => panic!("{shown}: {other:?}"),
        }
    }

    /// Why a command is refused that must be.
    pub async fn refused(&self, vm: VmId, action: VmAction) -> FaultReason {
        let shown = format!("{action:?}");
        match self.vm(vm, action).await {
            Err(fault) => fault.reason,
            Ok(result) => panic!("{shown} was not refused: {result:?}"),
        }
    }

    pub async fn define(&self, name: &str) -> VmId {
        self.define_as(spec(name)).await
    }

    pub async fn define_as(&self, spec: VmSpec) -> VmId {
        let vm = VmId::new();
        self.done(vm, define(1, spec)).await;
        vm
    }

    /// A VM that runs, its guest booted.
    pub async fn running(&self, name: &str) -> ObservedVm {
        let vm = self.define(name).await;
        self.done(vm, start()).await
    }

    /// Everything, as a new subscriber sees it.
    pub async fn list(&self) -> Changes {
        let stream = self.client().watch("", Generation(0)).await.unwrap();
        let mut stream = std::pin::pin!(stream);
        stream.next().await.unwrap().unwrap()
    }

    pub async fn look(&self, vm: VmId) -> Option<ObservedVm> {
        self.list().await.vms.into_iter().find(|observed| observed.vm == vm)
    }

    /// Waits until the VM is so.
    pub async fn becomes(&self, vm: VmId, power: Power) -> ObservedVm {
        let mut seen = None;
        until(&format!("{vm} to be {power}"), async || {
            seen = self.look(vm).await.filter(|observed| observed.power == power);
            seen.is_some()
        })
        .await;
        seen.unwrap()
    }

    /// Waits until the simulated host got `operation` once more than `before`.
    pub async fn called(&self, operation: Operation, before: u64) {
        until(&format!("{operation}"), async || self.sim.calls(operation) > before).await;
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Some((runtime, _)) = self.running.take() {
            runtime.shutdown_background();
        }
    }
}

pub fn mib(mib: u64) -> MemoryMiB {
    MemoryMiB::new(mib).unwrap()
}

pub fn define(definition: u64, spec: VmSpec) -> VmAction {
    VmAction::Define { definition, spec: Box::new(ValidVmSpec::try_from(spec).unwrap()) }
}

pub fn start() -> VmAction {
    VmAction::Start { incarnation: IncarnationId::new(), cpu_level: None }
}

pub fn resume() -> VmAction {
    VmAction::Resume { incarnation: IncarnationId::new() }
}

pub fn power_off() -> VmAction {
    VmAction::Shutdown { kind: ShutdownKind::PowerOff, deadline: Duration::from_secs(20) }
}
