//! An armed host keeps its lease and feeds its watchdog, starves it when it has nobody, and starts nothing unasked after a
//! boot.

use std::fs;
use std::path::PathBuf;

use xenith_common_ids::{AgentRunId, HostId, SrId, VmId};
use xenith_hypervisor_agent_api::{Command, MakeSr, StorageCommand};
use xenith_hypervisor_agent_client::AgentClientError;
use xenith_hypervisor_agent_sim::Operation;
use xenith_hypervisor_agent_storage::{LEASES, LeaseFolder};
use xenith_hypervisor_agent_types::ha::{
    ArmedState, Arms, HaAnswer, HaRequest, LeaseMark, SeenLease, Timing,
};
use xenith_hypervisor_agent_types::{Autostart, Fault, FaultReason, Power, SrSpec};

use crate::harness::{Lab, spec, start, until};

/// A host with an SR that others could have, too.
struct Armoury {
    lab: Lab,
    sr: SrId,
    path: PathBuf,
}

impl Armoury {
    async fn new() -> Self {
        let lab = Lab::new().await;
        let (sr, path) = (SrId::new(), lab.config.storage.with_file_name("shared"));
        let spec = SrSpec::Folder { path: path.to_str().unwrap().to_owned() };
        lab.execute(Command::Storage(StorageCommand::Attach { sr, spec, make: MakeSr::New })).await.unwrap();
        Self { lab, sr, path }
    }

    /// The shortest that is allowed: it is starved after three seconds.
    fn arms(&self) -> Arms {
        Arms { sr: self.sr, timing: Timing::new(6, 1, 1).unwrap() }
    }

    async fn ask(&self, request: HaRequest) -> Result<HaAnswer, Fault> {
        match self.lab.client().ha(self.lab.epoch, &request).await {
            Ok(answer) => Ok(answer),
            Err(AgentClientError::Refused(fault)) => Err(fault),
            Err(other) => panic!("{other}"),
        }
    }

    async fn arm(&self) {
        let armed = self.ask(HaRequest::Arm(self.arms())).await;
        assert!(matches!(&armed, Ok(HaAnswer::Here(state)) if state.armed.is_some()), "{armed:?}");
    }

    async fn beat(
        &self,
        challenge: Option<u64>,
        allow_autostart: Option<AgentRunId>,
    ) -> (AgentRunId, Option<ArmedState>) {
        match self.ask(HaRequest::Beat { challenge, allow_autostart }).await.unwrap() {
            HaAnswer::Here(state) => (state.run, state.armed),
            other @ HaAnswer::Leases(_) => panic!("{other:?}"),
        }
    }

    fn lease(&self) -> Option<LeaseMark> {
        LeaseFolder::open(self.sr, &self.path).unwrap().read(self.lab.host).unwrap()
    }

    /// Its lease cannot be written from now on.
    fn lose_lease(&self) {
        let lease = self.path.join(LEASES).join(format!("{}.json", self.lab.host));
        // Until it was not written in between.
        while fs::create_dir(&lease).is_err() {
            fs::remove_file(&lease).unwrap();
        }
    }

    /// Asked with a VM that is not there: who may start one is told so.
    async fn may_start(&self) -> bool {
        match self.lab.refused(VmId::new(), start()).await {
            FaultReason::NotFound => true,
            FaultReason::NotReady => false,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_has_neither_lease_nor_orchestrator_starves_its_watchdog() {
    let host = Armoury::new().await;
    host.arm().await;
    assert!(host.may_start().await);
    let first = host.lease().unwrap();
    until("the next lease", async || host.lease().is_some_and(|lease| lease.sequence > first.sequence)).await;
    // Others see it, and none of a host that has none.
    let stranger = HostId::new();
    let looked =
        host.ask(HaRequest::Look { sr: host.sr, hosts: vec![host.lab.host, stranger] }).await.unwrap();
    let HaAnswer::Leases(leases) = looked else { panic!("{looked:?}") };
    assert!(leases[0].mark.is_some_and(|mark| mark.run == first.run), "{leases:?}");
    assert_eq!(leases[1], SeenLease { host: stranger, mark: None });

    host.lose_lease();
    until("starts to be refused", async || !host.may_start().await).await;
    let feeds = host.lab.sim.watchdog().feeds;
    let bites_at = host.lab.sim.watchdog().bites_at.expect("it runs on");
    until("the bite", async || std::time::Instant::now() >= bites_at).await;
    assert_eq!(host.lab.sim.watchdog().feeds, feeds, "it was fed although nobody allowed it");

    // Contact alone is enough, if it is granted.
    let (_, armed) = host.beat(None, None).await;
    let armed = armed.unwrap();
    assert!(armed.lease_problem.is_some(), "{armed:?}");
    assert!(!host.may_start().await);
    host.beat(Some(armed.challenge), None).await;
    until("food", async || host.lab.sim.watchdog().feeds > feeds).await;
    assert!(host.may_start().await);

    // Without both for as long as a lease lasts it is over. What comes later is too late, also to disarm it.
    let state = async || host.beat(None, None).await.1.unwrap();
    until("its end", async || state().await.watchdog_problem.is_some()).await;
    host.beat(Some(state().await.challenge), None).await;
    assert!(!host.may_start().await);
    let challenge = state().await.challenge;
    let refused = host.ask(HaRequest::Disarm { challenge }).await.unwrap_err();
    assert_eq!(refused.reason, FaultReason::NotReady, "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_boot_an_armed_host_starts_nothing_before_it_may() {
    let mut host = Armoury::new().await;
    let mut at_boot = spec("at-boot");
    at_boot.autostart = Some(Autostart { order: 0, delay_s: 0 });
    let vm = host.lab.define_as(at_boot).await;
    host.arm().await;
    host.lab.kill().await;
    host.lab.sim.reboot_host();
    host.lab.boot = "second boot".to_owned();
    host.lab.start().await;
    until("the lease after the boot", async || {
        host.beat(None, None).await.1.is_some_and(|armed| armed.watchdog_problem.is_none())
    })
    .await;
    // Of another run of the agent: a word that was meant for the one before the boot.
    let (run, armed) = host.beat(None, Some(AgentRunId::new())).await;
    assert!(armed.is_some_and(|armed| armed.autostart_waits));
    assert!(!host.may_start().await, "an order of before the boot");
    assert_eq!(host.lab.sim.calls(Operation::Create), 0);
    host.beat(None, Some(run)).await;
    host.lab.becomes(vm, Power::Running).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_armed_is_not_and_disarming_lets_go() {
    let host = Armoury::new().await;
    let elsewhere = Arms { sr: SrId::new(), ..host.arms() };
    assert_eq!(host.ask(HaRequest::Arm(elsewhere)).await.unwrap_err().reason, FaultReason::NotFound);
    host.arm().await;
    assert_eq!(host.ask(HaRequest::Arm(elsewhere)).await.unwrap_err().reason, FaultReason::WrongState);
    let (_, armed) = host.beat(None, None).await;
    let old = armed.unwrap().challenge;
    let (_, armed) = host.beat(None, None).await;
    let late = host.ask(HaRequest::Disarm { challenge: old }).await.unwrap_err();
    assert_eq!(late.reason, FaultReason::WrongState, "{late}");
    host.ask(HaRequest::Disarm { challenge: armed.unwrap().challenge }).await.unwrap();
    assert_eq!(host.lab.sim.watchdog().bites_at, None);
    assert_eq!(host.beat(None, None).await.1, None);
    host.lab.sim.break_watchdog();
    let broken = host.ask(HaRequest::Arm(host.arms())).await.unwrap_err();
    assert!(broken.message.contains("broken"), "{broken}");
    assert_eq!(host.beat(None, None).await.1, None);
    assert!(host.may_start().await);
}
