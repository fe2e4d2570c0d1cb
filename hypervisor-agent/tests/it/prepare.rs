//! Guests are prepared in helper VMs: what the agent does when one tells, dies, hangs on or is not wanted any more. The
//! test is the helper: it writes reports to the work disk and ends the domain.

use std::fs::File;
use std::path::PathBuf;

use xenith_common_ids::{DomId, ImportId, SrId, VdiId};
use xenith_hypervisor_agent_api::{
    Command, CommandResult, GuestPrepared, ImportCommand, MakeSr, PrepareGuest, PrepareOutcome,
    StorageCommand,
};
use xenith_hypervisor_agent_backend::Hypervisor;
use xenith_hypervisor_agent_client::{AgentClient, AgentClientError};
use xenith_hypervisor_agent_sim::{Failure, FaultRule, Operation};
use xenith_hypervisor_agent_storage::{Taking, VdiLeases};
use xenith_hypervisor_agent_types::{DeathReason, FaultReason, SrSpec, VdiLease, VdiSize};
use xenith_vmware_import::guest::helper::machine::Kit;
use xenith_vmware_import::guest::helper::report::{self, Phase, Report};

use crate::harness::{Lab, until};

struct Scene {
    lab: Lab,
    wanted: PrepareGuest,
}

impl Scene {
    async fn set() -> Self {
        let mut lab = Lab::builder().build();
        let modules = lab.config.boot.join("modules");
        std::fs::create_dir_all(&modules).unwrap();
        std::fs::write(modules.join("modules.dep"), "").unwrap();
        // Any program with libraries does: nothing runs in a simulated domain.
        let program = std::env::current_exe().unwrap();
        lab.helpers =
            Some(Kit { kernel: lab.config.boot.join("vmlinuz"), modules, program, tools: Vec::new() });
        lab.start().await;
        let (vdi, sr) = (VdiId::new(), lab.client().hello(lab.epoch, "test").await.unwrap().local_sr);
        let size = VdiSize::from_bytes(1 << 20).unwrap();
        lab.execute(Command::EnsureVdi { vdi, sr, size }).await.unwrap();
        let macs = vec!["00:50:56:AA:BB:01".parse().unwrap()];
        Self { lab, wanted: PrepareGuest { import: ImportId::new(), disks: vec![(vdi, sr)], macs } }
    }

    fn command(&self) -> Command {
        Command::Import(ImportCommand::Prepare(self.wanted.clone()))
    }

    /// Asks in the background.
    fn ask(&self) -> tokio::task::JoinHandle<Result<GuestPrepared, AgentClientError>> {
        let (client, envelope): (AgentClient, _) = (self.lab.client(), self.lab.envelope(self.command()));
        tokio::spawn(async move {
            match client.execute(&envelope).await? {
                CommandResult::GuestPrepared(prepared) => Ok(*prepared),
                other => panic!("{other:?}"),
            }
        })
    }

    async fn helpers(&self) -> Vec<DomId> {
        let domains = self.lab.sim.domains().await.unwrap();
        domains
            .iter()
            .filter(|domain| domain.name.starts_with("xenith-prepare-"))
            .map(|domain| domain.domid)
            .collect()
    }

    /// The helper's domain, once it runs and is not `before`.
    async fn helper(&self, before: Option<DomId>) -> DomId {
        until("a helper to run", async || self.helpers().await.iter().any(|domid| Some(*domid) != before))
            .await;
        self.helpers().await[0]
    }

    fn work(&self) -> PathBuf {
        self.lab.config.state.join("imports").join(format!("{}.work", self.wanted.import))
    }

    fn tell(&self, last: u64, report: &Report) -> u64 {
        let disk = File::options().read(true).write(true).open(self.work()).unwrap();
        report::write(&disk, last, report).unwrap()
    }

    /// What a preparation leaves on the host.
    async fn rest(&self) -> (Vec<DomId>, Vec<PathBuf>) {
        let entries = std::fs::read_dir(self.lab.config.state.join("imports")).into_iter().flatten();
        (self.helpers().await, entries.map(|entry| entry.unwrap().path()).collect())
    }

    fn disk(&self) -> (VdiId, SrId) {
        self.wanted.disks[0]
    }
}

fn done() -> Report {
    Report {
        phase: Phase::Done,
        os: "Debian".to_owned(),
        changes: vec!["write /etc/fstab: disks are named".to_owned()],
        ..Report::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_helper_has_the_disks_alone_and_its_report_is_the_answer() {
    let scene = Scene::set().await;
    let asked = scene.ask();
    let helper = scene.helper(None).await;
    let devices = scene.lab.sim.devices(helper).unwrap();
    assert_eq!(devices.disks.len(), 2, "the guest's and the work disk");
    assert!(devices.nics.is_empty(), "a stranger's programs run in there");
    let (vdi, sr) = scene.disk();
    match scene.lab.execute(Command::DeleteVdi { vdi, sr }).await {
        Err(AgentClientError::Refused(fault)) => assert!(fault.message.contains("being prepared"), "{fault}"),
        other => panic!("{other:?}"),
    }
    scene.tell(0, &done());
    scene.lab.sim.end_guest(helper, DeathReason::PowerOff).unwrap();
    let prepared = asked.await.unwrap().unwrap();
    assert_eq!((prepared.outcome, prepared.os.as_str()), (PrepareOutcome::Prepared, "Debian"));
    assert_eq!(prepared.changes.len(), 1);
    assert_eq!(scene.rest().await, (vec![], vec![]));
    scene.lab.execute(Command::DeleteVdi { vdi, sr }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_helper_that_dies_or_fails_says_why_and_is_cleared_away() {
    let scene = Scene::set().await;
    let failed = Report { phase: Phase::Failed, error: "no room in /boot".to_owned(), ..Report::default() };
    let working = Report { doing: "looks for the root".to_owned(), ..Report::default() };
    let nothing = Report { phase: Phase::Done, ..Report::default() };
    for (name, report, outcome, said) in [
        ("nothing said", None, PrepareOutcome::Failed, "ended before it was done"),
        ("died at work", Some(working), PrepareOutcome::Failed, "looks for the root"),
        ("failed", Some(failed), PrepareOutcome::Failed, "no room in /boot"),
        ("nothing to do", Some(nothing), PrepareOutcome::Unchanged, ""),
    ] {
        let asked = scene.ask();
        let helper = scene.helper(None).await;
        if let Some(report) = report {
            scene.tell(0, &report);
        }
        scene.lab.sim.crash(helper).unwrap();
        let prepared = asked.await.unwrap().unwrap();
        assert_eq!(prepared.outcome, outcome, "{name}: {prepared:?}");
        assert!(prepared.message.contains(said), "{name}: {prepared:?}");
        assert_eq!(scene.rest().await, (vec![], vec![]), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_merge_that_was_broken_off_goes_on_after_a_kill_of_the_agent() {
    let mut scene = Scene::set().await;
    let asked = scene.ask();
    let first = scene.helper(None).await;
    let merging = Report { phase: Phase::Merging, ..done() };
    let number = scene.tell(0, &merging);
    scene.lab.kill().await;
    assert!(asked.await.unwrap().is_err());
    scene.lab.start().await;
    let asked = scene.ask();
    let second = scene.helper(Some(first)).await;
    assert_eq!(scene.helpers().await, [second], "the first one was ended: two write one disk");
    let kept = report::read(&File::open(scene.work()).unwrap()).unwrap().unwrap();
    assert_eq!(kept, (number, merging), "the work disk is the one that the helper wrote to");
    // This one dies, too: not an end, and nothing is thrown away.
    scene.lab.sim.crash(second).unwrap();
    let prepared = asked.await.unwrap().unwrap();
    assert_eq!(prepared.outcome, PrepareOutcome::HalfWritten, "{prepared:?}");
    assert!(scene.work().exists());
    let asked = scene.ask();
    let third = scene.helper(None).await;
    scene.tell(number, &done());
    scene.lab.sim.end_guest(third, DeathReason::PowerOff).unwrap();
    assert_eq!(asked.await.unwrap().unwrap().outcome, PrepareOutcome::Prepared);
    assert_eq!(scene.rest().await, (vec![], vec![]));
}

/// In an SR that other hosts have, too: they must not start on a disk that is written still.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_helper_that_outlives_its_agent_keeps_the_lease_of_its_disk() {
    let mut scene = Scene::set().await;
    let (folder, sr, vdi) = (tempfile::tempdir().unwrap(), SrId::new(), VdiId::new());
    let path = folder.path().to_str().unwrap().to_owned();
    let attach = StorageCommand::Attach { sr, spec: SrSpec::Folder { path }, make: MakeSr::New };
    scene.lab.execute(Command::Storage(attach)).await.unwrap();
    let size = VdiSize::from_bytes(1 << 20).unwrap();
    scene.lab.execute(Command::EnsureVdi { vdi, sr, size }).await.unwrap();
    scene.wanted.disks = vec![(vdi, sr)];
    let leases = VdiLeases::new(sr, folder.path().to_owned());
    let asked = scene.ask();
    let helper = scene.helper(None).await;
    let lease = leases.read(vdi).unwrap().unwrap();
    assert!(lease.vm.as_ref().unwrap().name.starts_with("xenith-prepare-"), "{lease:?}");
    scene.lab.kill().await;
    assert!(asked.await.unwrap().is_err());
    // A process that is killed gives nothing up, as the one of this test has. A lease that nobody needs tells when the
    // agent has looked at all of them.
    let (idle, of_nobody) = (VdiId::new(), VdiLease { vm: None, ..lease.clone() });
    for (vdi, left) in [(vdi, &lease), (idle, &of_nobody)] {
        leases.take(vdi, left, Taking::ToWrite, &|| true).unwrap();
    }
    scene.lab.start().await;
    until("the leases to be looked at", async || leases.read(idle).unwrap().is_none()).await;
    assert_eq!(leases.read(vdi).unwrap(), Some(lease));
    assert_eq!(scene.helpers().await, [helper]);
    // The same order goes on with it.
    let asked = scene.ask();
    let second = scene.helper(Some(helper)).await;
    scene.tell(0, &done());
    scene.lab.sim.end_guest(second, DeathReason::PowerOff).unwrap();
    assert_eq!(asked.await.unwrap().unwrap().outcome, PrepareOutcome::Prepared);
    assert_eq!(leases.read(vdi).unwrap(), None);
}

/// Also one whose domain is there, because the answer was lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_helper_that_cannot_be_started_leaves_no_domain_and_no_lease() {
    let mut scene = Scene::set().await;
    let (folder, sr, vdi) = (tempfile::tempdir().unwrap(), SrId::new(), VdiId::new());
    let path = folder.path().to_str().unwrap().to_owned();
    let attach = StorageCommand::Attach { sr, spec: SrSpec::Folder { path }, make: MakeSr::New };
    scene.lab.execute(Command::Storage(attach)).await.unwrap();
    let size = VdiSize::from_bytes(1 << 20).unwrap();
    scene.lab.execute(Command::EnsureVdi { vdi, sr, size }).await.unwrap();
    scene.wanted.disks = vec![(vdi, sr)];
    for fault in [
        FaultRule::fail(Operation::Create, Failure::NoMemory),
        FaultRule::spoil(Operation::Create, Failure::TimedOut),
    ] {
        scene.lab.sim.inject(fault);
        assert!(matches!(scene.ask().await.unwrap(), Err(AgentClientError::Refused(_))));
        assert_eq!(scene.helpers().await, []);
        assert_eq!(VdiLeases::new(sr, folder.path().to_owned()).read(vdi).unwrap(), None);
    }
    scene.lab.execute(Command::DeleteVdi { vdi, sr }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_that_is_stopped_has_no_helper_and_no_files() {
    let scene = Scene::set().await;
    let asked = scene.ask();
    scene.helper(None).await;
    scene.lab.execute(Command::Import(ImportCommand::Stop(scene.wanted.import))).await.unwrap();
    match asked.await.unwrap() {
        Err(AgentClientError::Refused(fault)) => assert_eq!(fault.reason, FaultReason::WrongState, "{fault}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(scene.rest().await, (vec![], vec![]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_without_helpers_says_so_and_changes_nothing() {
    let lab = Lab::new().await;
    let wanted = PrepareGuest { import: ImportId::new(), disks: vec![], macs: vec![] };
    match lab.execute(Command::Import(ImportCommand::Prepare(wanted))).await.unwrap() {
        CommandResult::GuestPrepared(prepared) => {
            assert_eq!(prepared.outcome, PrepareOutcome::Skipped);
            assert!(prepared.message.contains("simulated"), "{prepared:?}");
        }
        other => panic!("{other:?}"),
    }
}
