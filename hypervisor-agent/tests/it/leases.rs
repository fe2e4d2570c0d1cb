//! Two hosts reach an SR, and one of them writes a VDI of it, whatever they are told and whoever is killed.

use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;
use xenith_common_ids::{HostId, SrId, VdiId, VmId};
use xenith_hypervisor_agent_api::{
    Command, CommandResult, Exchanged, LeaseFound, MakeSr, StorageCommand, VmAction,
};
use xenith_hypervisor_agent_backend::Hypervisor;
use xenith_hypervisor_agent_client::AgentClientError;
use xenith_hypervisor_agent_sim::{Failure, FaultRule, Foreign, Operation};
use xenith_hypervisor_agent_storage::{Taking, VdiLeases};
use xenith_hypervisor_agent_types::{
    DeathReason, DiskAccess, DiskDevice, DiskSpec, DomainStatus, Fault, FaultReason, ObservedVm, Power,
    SrSpec, VdiLease, VdiSize, VmSpec,
};

use crate::adoption::killed;
use crate::harness::{Lab, define, resume, spec, start, until};
use crate::migrations::send;

/// An SR in a folder that both hosts have attached, as a mount of the same export would be, and a VDI in it.
struct Shared {
    folder: TempDir,
    sr: SrId,
    vdi: VdiId,
    here: Lab,
    there: Lab,
}

fn path(folder: &TempDir) -> PathBuf {
    folder.path().join("nas")
}

async fn tell(lab: &Lab, command: StorageCommand) -> Result<CommandResult, Fault> {
    match lab.execute(Command::Storage(command)).await {
        Ok(result) => Ok(result),
        Err(AgentClientError::Refused(fault)) => Err(fault),
        Err(other) => panic!("{other}"),
    }
}

impl Shared {
    async fn new() -> Self {
        let (folder, sr, vdi) = (tempfile::tempdir().unwrap(), SrId::new(), VdiId::new());
        let shared = Self { folder, sr, vdi, here: Lab::new().await, there: Lab::new().await };
        for (lab, make) in [(&shared.here, MakeSr::New), (&shared.there, MakeSr::MustExist)] {
            let spec = SrSpec::Folder { path: path(&shared.folder).to_str().unwrap().to_owned() };
            tell(lab, StorageCommand::Attach { sr, spec, make }).await.unwrap();
        }
        let size = VdiSize::from_bytes(8 << 20).unwrap();
        shared.here.execute(Command::EnsureVdi { vdi, sr, size }).await.unwrap();
        shared
    }

    fn disk(&self, access: DiskAccess) -> DiskSpec {
        DiskSpec { device: DiskDevice::nth(0).unwrap(), vdi: self.vdi, access }
    }

    fn spec(&self, name: &str) -> VmSpec {
        VmSpec { disks: vec![self.disk(DiskAccess::ReadWrite)], ..spec(name) }
    }

    /// A VM that both hosts know, as after an orchestrator that was restored from an old backup.
    async fn known_to_both(&self) -> VmId {
        let vm = VmId::new();
        for lab in [&self.here, &self.there] {
            lab.done(vm, define(1, self.spec("web-1"))).await;
        }
        vm
    }

    fn lease(&self) -> Option<VdiLease> {
        VdiLeases::new(self.sr, path(&self.folder)).read(self.vdi).unwrap()
    }

    fn holder(&self) -> Option<HostId> {
        self.lease().map(|lease| lease.host)
    }

    async fn is_free(&self) {
        until("the lease to be given up", async || self.lease().is_none()).await;
    }

    async fn break_lease(&self, lab: &Lab, of: Vec<HostId>) -> Result<LeaseFound, Fault> {
        let command = StorageCommand::BreakLease { vdi: self.vdi, sr: self.sr, of };
        match tell(lab, command).await? {
            CommandResult::Lease(found) => Ok(*found),
            other => panic!("{other:?}"),
        }
    }
}

/// What a command that is refused says.
async fn refusal(lab: &Lab, vm: VmId, action: VmAction) -> Fault {
    let fault = lab.vm(vm, action).await.unwrap_err();
    assert_eq!(fault.reason, FaultReason::LeasedElsewhere, "{fault}");
    fault
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_host_is_refused_until_the_first_has_let_go() {
    let shared = Shared::new().await;
    let (here, there) = (&shared.here, &shared.there);
    assert_eq!(shared.lease(), None, "a VDI that nobody writes has none");
    let vm = shared.known_to_both().await;
    here.done(vm, start()).await;
    let lease = shared.lease().unwrap();
    let to = lease.vm.unwrap();
    assert_eq!((lease.host, to.vm, to.name.as_str(), to.sent), (here.host, vm, "web-1", false));

    let fault = refusal(there, vm, start()).await;
    for word in ["web-1", &here.host.to_string(), "break-lease"] {
        assert!(fault.message.contains(word), "{fault}");
    }
    there.becomes(vm, Power::Stopped).await;
    // Neither does its agent write.
    let size = VdiSize::from_bytes(16 << 20).unwrap();
    let grow = StorageCommand::Grow { vdi: shared.vdi, sr: shared.sr, size };
    assert_eq!(tell(there, grow.clone()).await.unwrap_err().reason, FaultReason::LeasedElsewhere);
    let delete = there.execute(Command::DeleteVdi { vdi: shared.vdi, sr: shared.sr }).await;
    assert!(
        matches!(&delete, Err(AgentClientError::Refused(fault)) if fault.reason == FaultReason::LeasedElsewhere)
    );
    tell(here, grow).await.unwrap();
    assert_eq!(shared.holder(), Some(here.host), "its VM has it still");

    here.done(vm, VmAction::Destroy).await;
    assert_eq!(shared.lease(), None, "given up before the VM is said to be off");
    there.done(vm, start()).await;
    assert_eq!(shared.holder(), Some(there.host));
    there.done(vm, VmAction::Destroy).await;
    there.execute(Command::DeleteVdi { vdi: shared.vdi, sr: shared.sr }).await.unwrap();
    assert_eq!(shared.lease(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_need_no_lease_and_a_suspended_vm_keeps_its_own() {
    let shared = Shared::new().await;
    let (here, there) = (&shared.here, &shared.there);
    let reads = VmSpec { disks: vec![shared.disk(DiskAccess::ReadOnly)], ..spec("reader") };
    for lab in [here, there] {
        let vm = lab.define_as(reads.clone()).await;
        lab.done(vm, start()).await;
        assert_eq!(shared.lease(), None);
        lab.done(vm, VmAction::Destroy).await;
    }
    let vm = shared.known_to_both().await;
    here.done(vm, start()).await;
    here.done(vm, VmAction::Suspend).await;
    // With other contents of its disks, its memory would ruin them.
    refusal(there, vm, start()).await;
    here.done(vm, VmAction::DiscardSuspended).await;
    assert_eq!(shared.lease(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn saved_memory_that_gets_another_disk_has_the_lease_of_that() {
    let shared = Shared::new().await;
    let (here, there) = (&shared.here, &shared.there);
    let vm = shared.known_to_both().await;
    here.done(vm, start()).await;
    here.done(vm, VmAction::Suspend).await;
    let (to, size) = (VdiId::new(), VdiSize::from_bytes(8 << 20).unwrap());
    here.execute(Command::EnsureVdi { vdi: to, sr: shared.sr, size }).await.unwrap();
    let leases = VdiLeases::new(shared.sr, path(&shared.folder));
    let theirs = VdiLease { host: there.host, host_name: "xen2".to_owned(), vm: None };
    leases.take(to, &theirs, Taking::ToWrite, &|| true).unwrap();
    let exchange = VmAction::Exchange(Exchanged { from: shared.vdi, to });
    refusal(here, vm, exchange.clone()).await;
    assert_eq!(shared.holder(), Some(here.host), "it has the disk that it had");
    leases.give_up(to, there.host, &|| false).unwrap();
    here.done(vm, exchange).await;
    assert_eq!(leases.read(to).unwrap().map(|lease| lease.host), Some(here.host));
    assert_eq!(shared.lease(), None);
    here.done(vm, resume()).await;
    here.done(vm, VmAction::Destroy).await;
    assert_eq!(leases.read(to).unwrap(), None);
}

/// That its memory is of before.
async fn is_not_resumed(lab: &Lab, vm: VmId) {
    let fault = lab.vm(vm, resume()).await.unwrap_err();
    assert_eq!(fault.reason, FaultReason::WrongState, "{fault}");
    assert!(fault.message.contains("--discard-memory"), "{fault}");
    lab.becomes(vm, Power::Suspended).await;
}

/// Its host is taken for dead, and the disk is written elsewhere. With the memory of before it would be ruined.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn saved_memory_whose_lease_was_lost_meanwhile_is_not_resumed() {
    let mut shared = Shared::new().await;
    let vm = shared.known_to_both().await;
    let here = shared.here.host;
    shared.here.done(vm, start()).await;
    shared.here.done(vm, VmAction::Suspend).await;
    shared.here.kill().await;
    assert!(shared.break_lease(&shared.there, vec![here]).await.unwrap().broken);
    shared.there.done(vm, start()).await;
    shared.here.start().await;
    is_not_resumed(&shared.here, vm).await;
    shared.there.done(vm, VmAction::Destroy).await;
    assert_eq!(shared.lease(), None);
    is_not_resumed(&shared.here, vm).await;
    shared.here.restart().await;
    is_not_resumed(&shared.here, vm).await;
    assert_eq!(shared.lease(), None, "and none is taken");
    shared.here.done(vm, VmAction::DiscardSuspended).await;
    shared.here.done(vm, start()).await;
    assert_eq!(shared.holder(), Some(here));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_was_killed_as_it_saved_memory_knows_that_it_had_the_lease() {
    for is_lost in [false, true] {
        let mut shared = Shared::new().await;
        let vm = shared.known_to_both().await;
        shared.here.done(vm, start()).await;
        // The image has its name, and the record does not say yet that it counts.
        killed(&mut shared.here, vm, VmAction::Suspend, Operation::Destroy).await;
        if is_lost {
            assert!(shared.break_lease(&shared.there, vec![shared.here.host]).await.unwrap().broken);
        }
        shared.here.start().await;
        shared.here.becomes(vm, Power::Suspended).await;
        match is_lost {
            true => is_not_resumed(&shared.here, vm).await,
            false => drop(shared.here.done(vm, resume()).await),
        }
    }
}

/// Which took no leases, and said nothing of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_that_an_earlier_agent_has_saved_is_resumed() {
    let mut shared = Shared::new().await;
    let vm = shared.known_to_both().await;
    shared.here.done(vm, start()).await;
    shared.here.done(vm, VmAction::Suspend).await;
    shared.here.kill().await;
    let path = shared.here.record_of(vm);
    let mut record: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(record["saved"].as_object_mut().unwrap().remove("leased"), Some(true.into()));
    std::fs::write(&path, record.to_string()).unwrap();
    assert!(shared.break_lease(&shared.there, vec![shared.here.host]).await.unwrap().broken);
    shared.here.start().await;
    shared.here.done(vm, resume()).await;
    assert_eq!(shared.holder(), Some(shared.here.host));
}

/// What it has in memory would be kept for a disk that another host writes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vm_that_has_lost_its_lease_is_not_suspended() {
    let shared = Shared::new().await;
    let vm = shared.known_to_both().await;
    shared.here.done(vm, start()).await;
    let (leases, third) = (VdiLeases::new(shared.sr, path(&shared.folder)), HostId::new());
    assert!(leases.break_of(shared.vdi, third, &[shared.here.host]).unwrap().broken);
    let theirs = VdiLease { host: third, host_name: "xen3".to_owned(), vm: None };
    leases.take(shared.vdi, &theirs, Taking::ToWrite, &|| true).unwrap();
    let suspends = shared.here.sim.calls(Operation::Suspend);
    shared.here.vm(vm, VmAction::Suspend).await.unwrap_err();
    assert_eq!(shared.here.sim.calls(Operation::Suspend), suspends);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_is_plugged_in_is_leased_and_given_up_when_it_is_taken_out() {
    let shared = Shared::new().await;
    let (here, there) = (&shared.here, &shared.there);
    let (ours, theirs) = (here.running("ours").await.vm, there.running("theirs").await.vm);
    here.done(ours, define(2, shared.spec("ours"))).await;
    here.done(ours, VmAction::Apply).await;
    assert_eq!(shared.holder(), Some(here.host));
    there.done(theirs, define(2, shared.spec("theirs"))).await;
    refusal(there, theirs, VmAction::Apply).await;
    there.becomes(theirs, Power::Running).await;
    here.done(ours, define(3, spec("ours"))).await;
    assert_eq!(shared.holder(), Some(here.host), "the guest has it still");
    here.done(ours, VmAction::Apply).await;
    assert_eq!(shared.lease(), None);
    there.done(theirs, VmAction::Apply).await;
    assert_eq!(shared.holder(), Some(there.host));
}

/// It was plugged in, and its answer was lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_a_guest_may_have_keeps_its_lease() {
    let shared = Shared::new().await;
    let (here, there) = (&shared.here, &shared.there);
    let (up, theirs) = (here.running("ours").await, there.running("theirs").await.vm);
    here.done(up.vm, define(2, shared.spec("ours"))).await;
    there.done(theirs, define(2, shared.spec("theirs"))).await;
    let plugged_in = || here.sim.devices(up.domid.unwrap()).unwrap().disks.len();
    let lost = || here.sim.inject(FaultRule::spoil(Operation::AttachDisk, Failure::TimedOut));
    lost();
    here.vm(up.vm, VmAction::Apply).await.unwrap_err();
    assert_eq!(plugged_in(), 0, "it was taken out again");
    here.done(up.vm, define(3, spec("ours"))).await;
    assert_eq!(shared.lease(), None);

    here.done(up.vm, define(4, shared.spec("ours"))).await;
    lost();
    here.sim.inject(FaultRule::fail(Operation::DetachDisk, Failure::Unresponsive));
    here.vm(up.vm, VmAction::Apply).await.unwrap_err();
    // Who asked for it takes its wish back, and the guest has it.
    here.done(up.vm, define(5, spec("ours"))).await;
    assert_eq!((plugged_in(), shared.holder()), (1, Some(here.host)));
    refusal(there, theirs, VmAction::Apply).await;
    here.done(up.vm, VmAction::Apply).await;
    assert_eq!((plugged_in(), shared.lease()), (0, None));
    there.done(theirs, VmAction::Apply).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_was_killed_keeps_what_runs_and_gives_up_what_does_not() {
    let mut shared = Shared::new().await;
    let vm = shared.known_to_both().await;
    shared.here.done(vm, start()).await;
    let before = shared.lease();
    shared.here.restart().await;
    assert_eq!(shared.here.look(vm).await.unwrap().power, Power::Running);
    refusal(&shared.there, vm, start()).await;
    assert_eq!(shared.lease(), before);

    // Its host goes down with it, and is back.
    shared.here.kill().await;
    shared.here.sim.reboot_host();
    refusal(&shared.there, vm, start()).await;
    shared.here.boot = "second boot".to_owned();
    shared.here.start().await;
    shared.is_free().await;
    shared.there.done(vm, start()).await;
    refusal(&shared.here, vm, start()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_between_the_lease_and_the_domain_it_takes_it_again() {
    let mut shared = Shared::new().await;
    let vm = shared.known_to_both().await;
    for again in [true, false] {
        shared.here.sim.inject(FaultRule::hang(Operation::Create, Duration::from_secs(600)));
        let before = shared.here.sim.calls(Operation::Create);
        let envelope = shared.here.envelope(Command::Vm { vm, action: start() });
        let client = shared.here.client();
        let starting = tokio::spawn(async move { client.execute(&envelope).await });
        shared.here.called(Operation::Create, before).await;
        shared.here.kill().await;
        assert!(starting.await.unwrap().is_err());
        assert_eq!(shared.holder(), Some(shared.here.host));
        shared.here.sim.clear_faults();
        shared.here.start().await;
        shared.here.becomes(vm, Power::Stopped).await;
        if again {
            shared.here.done(vm, start()).await;
            shared.here.done(vm, VmAction::Destroy).await;
            assert_eq!(shared.lease(), None);
        } else {
            shared.is_free().await;
            shared.there.done(vm, start()).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_fails_leaves_no_lease() {
    let shared = Shared::new().await;
    let vm = shared.known_to_both().await;
    shared.here.sim.inject(FaultRule::fail(Operation::Create, Failure::Failed));
    assert_eq!(shared.here.refused(vm, start()).await, FaultReason::Hypervisor);
    assert_eq!(shared.lease(), None);
    shared.there.done(vm, start()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vm_that_moves_takes_its_lease_along() {
    let shared = Shared::new().await;
    let (here, there) = (&shared.here, &shared.there);
    let vm = shared.known_to_both().await;
    let up = here.done(vm, start()).await;
    send(here, there, &up).await.unwrap();
    let lease = shared.lease().unwrap();
    assert_eq!((lease.host, lease.vm.unwrap().sent), (here.host, true), "nobody writes, and nobody else may");
    let size = VdiSize::from_bytes(16 << 20).unwrap();
    let grow = StorageCommand::Grow { vdi: shared.vdi, sr: shared.sr, size };
    assert_eq!(tell(there, grow).await.unwrap_err().reason, FaultReason::LeasedElsewhere);

    there.done(vm, VmAction::Unpause).await;
    let lease = shared.lease().unwrap();
    let to = lease.vm.unwrap();
    assert_eq!((lease.host, Some(to.run), to.sent), (there.host, up.incarnation, false));
    refusal(here, vm, VmAction::TakeBack).await;
    assert_eq!(here.look(vm).await.unwrap().power, Power::Suspending, "it runs there");
    here.done(vm, VmAction::Destroy).await;
    here.vm(vm, VmAction::Forget).await.unwrap();
    assert_eq!(shared.holder(), Some(there.host), "who has not got it does not give it up");
    there.done(vm, VmAction::Destroy).await;
    assert_eq!(shared.lease(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vm_that_is_taken_back_has_its_lease_again() {
    let mut shared = Shared::new().await;
    let vm = shared.known_to_both().await;
    let up = shared.here.done(vm, start()).await;
    send(&shared.here, &shared.there, &up).await.unwrap();
    // Both agents come back to it as they left it.
    shared.here.restart().await;
    shared.there.restart().await;
    assert!(shared.lease().unwrap().vm.unwrap().sent);
    shared.there.done(vm, VmAction::Destroy).await;
    shared.here.done(vm, VmAction::TakeBack).await;
    let lease = shared.lease().unwrap();
    assert_eq!((lease.host, lease.vm.unwrap().sent), (shared.here.host, false));
    // A move that fails leaves it as it was.
    shared.there.sim.inject(FaultRule::fail(Operation::Resume, Failure::NoMemory));
    send(&shared.here, &shared.there, &up).await.unwrap_err();
    shared.here.becomes(vm, Power::Running).await;
    let lease = shared.lease().unwrap();
    assert_eq!((lease.host, lease.vm.unwrap().sent), (shared.here.host, false));
}

/// It was broken by mistake while the VM was sent. Neither host lets it run, before somebody says so and it may.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vm_that_loses_its_lease_on_its_way_stands_until_it_is_let_run() {
    let mut shared = Shared::new().await;
    let vm = shared.known_to_both().await;
    let up = shared.here.done(vm, start()).await;
    let (leases, third) = (VdiLeases::new(shared.sr, path(&shared.folder)), HostId::new());
    shared.here.sim.inject(FaultRule::hang(Operation::SuspendLive, Duration::from_secs(600)));
    let meanwhile = async {
        shared.here.called(Operation::SuspendLive, 0).await;
        // It has looked at the leases.
        shared.there.called(Operation::Resume, 0).await;
        assert!(leases.break_of(shared.vdi, third, &[shared.here.host]).unwrap().broken);
        let theirs = VdiLease { host: third, host_name: "xen3".to_owned(), vm: None };
        leases.take(shared.vdi, &theirs, Taking::ToWrite, &|| true).unwrap();
        shared.here.sim.hurry();
    };
    let (sent, ()) = tokio::join!(send(&shared.here, &shared.there, &up), meanwhile);
    assert_eq!(sent.unwrap_err().reason, FaultReason::LeasedElsewhere);
    // As the move's task does.
    shared.there.done(vm, VmAction::Destroy).await;
    shared.here.done(vm, VmAction::TakeBack).await;
    refusal(&shared.here, vm, VmAction::Unpause).await;
    assert!(!leases.give_up(shared.vdi, third, &|| false).unwrap());
    // Nobody knows here what has become of the disk: it does not run by itself.
    shared.here.restart().await;
    shared.here.becomes(vm, Power::Paused).await;
    let status = async || shared.here.sim.domain(up.domid.unwrap()).await.unwrap().status;
    assert_eq!(status().await, DomainStatus::Dead(DeathReason::Suspend));
    let runs = shared.here.done(vm, VmAction::Unpause).await;
    assert_eq!((runs.power, runs.incarnation), (Power::Running, up.incarnation));
    assert_eq!(status().await, DomainStatus::Running);
    assert_eq!(shared.holder(), Some(shared.here.host));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_was_broken_is_lost() {
    let mut shared = Shared::new().await;
    let vm = shared.known_to_both().await;
    shared.here.done(vm, start()).await;
    let (here, there) = (shared.here.host, shared.there.host);
    let looked = shared.break_lease(&shared.there, vec![]).await.unwrap();
    assert_eq!((looked.lease.map(|lease| lease.host), looked.broken), (Some(here), false));
    assert!(!shared.break_lease(&shared.there, vec![there]).await.unwrap().broken, "another one was meant");
    let own = shared.break_lease(&shared.here, vec![here]).await.unwrap_err();
    assert_eq!(own.reason, FaultReason::WrongState, "{own}");

    // Somebody is wrong about a host that is alive: its VM runs, and now a second time.
    shared.here.kill().await;
    let broken = shared.break_lease(&shared.there, vec![here]).await.unwrap();
    assert_eq!((broken.lease.map(|lease| lease.host), broken.broken), (Some(here), true));
    shared.there.done(vm, start()).await;
    shared.here.start().await;
    let paused = shared.here.becomes(vm, Power::Paused).await;
    let told = paused.failure.unwrap().message;
    assert!(told.contains("paused") && told.contains(&there.to_string()), "{told}");
    refusal(&shared.here, vm, VmAction::Unpause).await;
    assert_eq!(shared.holder(), Some(there));
    // Whoever sees to it lets one of the two go.
    shared.there.done(vm, VmAction::Destroy).await;
    shared.here.done(vm, VmAction::Unpause).await;
    assert_eq!(shared.holder(), Some(here));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_it_stops_a_vm_that_lost_its_lease_it_does_not_let_it_run() {
    let mut shared = Shared::new().await;
    let vm = shared.known_to_both().await;
    let domid = shared.here.done(vm, start()).await.domid.unwrap();
    let (here, there) = (shared.here.host, shared.there.host);
    shared.here.kill().await;
    assert!(shared.break_lease(&shared.there, vec![here]).await.unwrap().broken);
    shared.there.done(vm, start()).await;
    shared.here.sim.inject(FaultRule::hang(Operation::Pause, Duration::from_secs(600)));
    let before = shared.here.sim.calls(Operation::Pause);
    shared.here.start().await;
    shared.here.called(Operation::Pause, before).await;
    shared.here.kill().await;
    shared.here.sim.hurry();
    // The guest stands, and the journal says that it runs.
    let stands = async || shared.here.sim.domain(domid).await.unwrap().status == DomainStatus::Paused;
    until("the guest to stand", stands).await;
    let unpaused = shared.here.sim.calls(Operation::Unpause);
    shared.here.start().await;
    let paused = shared.here.becomes(vm, Power::Paused).await;
    assert!(paused.failure.unwrap().message.contains(&there.to_string()));
    assert_eq!(shared.here.sim.calls(Operation::Unpause), unpaused, "it was never let run");
    refusal(&shared.here, vm, VmAction::Unpause).await;
    let record = std::fs::read(shared.here.record_of(vm)).unwrap();
    let record: serde_json::Value = serde_json::from_slice(&record).unwrap();
    assert_eq!(record["run"]["phase"], "paused", "an agent that cannot look at the lease would let it run");
    shared.there.done(vm, VmAction::Destroy).await;
    shared.here.done(vm, VmAction::Unpause).await;
    assert_eq!(shared.holder(), Some(here));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_it_suspends_a_vm_whose_lease_is_lost_then_it_does_not_let_it_run_on() {
    let mut shared = Shared::new().await;
    let vm = shared.known_to_both().await;
    let domid = shared.here.done(vm, start()).await.domid.unwrap();
    let (here, there) = (shared.here.host, shared.there.host);
    // The guest is suspended, and there is no image of it.
    shared.here.sim.inject(FaultRule::spoil(Operation::Suspend, Failure::Failed));
    killed(&mut shared.here, vm, VmAction::Suspend, Operation::CancelSuspend).await;
    assert!(shared.break_lease(&shared.there, vec![here]).await.unwrap().broken);
    shared.there.done(vm, start()).await;
    let cancelled = shared.here.sim.calls(Operation::CancelSuspend);
    shared.here.start().await;
    let paused = shared.here.becomes(vm, Power::Paused).await;
    assert!(paused.failure.unwrap().message.contains(&there.to_string()));
    refusal(&shared.here, vm, VmAction::Unpause).await;
    assert_eq!(shared.here.sim.calls(Operation::CancelSuspend), cancelled, "it was never let run");
    shared.there.done(vm, VmAction::Destroy).await;
    shared.here.done(vm, VmAction::Unpause).await;
    let status = shared.here.sim.domain(domid).await.unwrap().status;
    assert_eq!((status, shared.holder()), (DomainStatus::Running, Some(here)));
}

/// Which no journal has said: it counts as one that runs all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vm_that_somebody_else_lets_run_without_its_lease_stands_again() {
    let shared = Shared::new().await;
    let vm = shared.known_to_both().await;
    let domid = shared.here.done(vm, start()).await.domid.unwrap();
    shared.here.done(vm, VmAction::Pause).await;
    let (leases, third) = (VdiLeases::new(shared.sr, path(&shared.folder)), HostId::new());
    assert!(leases.break_of(shared.vdi, third, &[shared.here.host]).unwrap().broken);
    let theirs = VdiLease { host: third, host_name: "xen3".to_owned(), vm: None };
    leases.take(shared.vdi, &theirs, Taking::ToWrite, &|| true).unwrap();
    // `xl unpause`
    shared.here.sim.unpause(domid).await.unwrap();
    shared.here.sim.make_foreign(&Foreign::named("theirs")).unwrap();
    let is_told = |seen: ObservedVm| seen.failure.is_some_and(|told| told.message.contains("xen3"));
    until("it to be told", async || shared.here.look(vm).await.is_some_and(is_told)).await;
    shared.here.becomes(vm, Power::Paused).await;
}

/// As its way back leaves it where the SR did not answer: the host that it was sent to would be let run it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_says_sent_of_a_vm_that_runs_is_taken_again() {
    let mut shared = Shared::new().await;
    let vm = shared.known_to_both().await;
    shared.here.done(vm, start()).await;
    shared.here.kill().await;
    let mut lease = shared.lease().unwrap();
    lease.vm.as_mut().unwrap().sent = true;
    let leases = VdiLeases::new(shared.sr, path(&shared.folder));
    leases.take(shared.vdi, &lease, Taking::ToRun, &|| true).unwrap();
    assert!(shared.lease().unwrap().vm.unwrap().sent);
    shared.here.start().await;
    until("the mark to be off", async || shared.lease().is_some_and(|lease| !lease.vm.unwrap().sent)).await;
    assert_eq!(shared.holder(), Some(shared.here.host));
    shared.here.becomes(vm, Power::Running).await;
}

/// Its record cannot be read, and which domains have no owner is not known at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vm_without_an_owner_keeps_its_lease_before_the_domains_are_listed() {
    let mut shared = Shared::new().await;
    let vm = shared.known_to_both().await;
    shared.here.done(vm, start()).await;
    shared.here.kill().await;
    std::fs::write(shared.here.record_of(vm), b"{ torn").unwrap();
    // The first list is for who adopts.
    shared.here.sim.inject(FaultRule::fail(Operation::Domains, Failure::Failed).nth(2));
    let before = shared.here.sim.calls(Operation::Domains);
    shared.here.start().await;
    assert_eq!(shared.here.look(vm).await, None, "the second list failed");
    // Something happens on the host: the domains are listed again.
    shared.here.sim.make_foreign(&Foreign::named("theirs")).unwrap();
    until("the VM to be listed", async || shared.here.look(vm).await.is_some()).await;
    assert!(shared.here.sim.calls(Operation::Domains) > before + 2);
    assert_eq!(shared.holder(), Some(shared.here.host), "its guest writes");
    refusal(&shared.there, vm, start()).await;
}

/// What its record says is not known: the memory is resumed when that can be read again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suspended_vm_whose_record_cannot_be_read_keeps_its_lease() {
    let mut shared = Shared::new().await;
    let vm = shared.known_to_both().await;
    shared.here.done(vm, start()).await;
    shared.here.done(vm, VmAction::Suspend).await;
    shared.here.kill().await;
    let record = std::fs::read(shared.here.record_of(vm)).unwrap();
    std::fs::write(shared.here.record_of(vm), b"{ torn").unwrap();
    // One that nobody needs tells when the agent has looked at all of them.
    let (idle, leases) = (VdiId::new(), VdiLeases::new(shared.sr, path(&shared.folder)));
    let of_nobody = VdiLease { vm: None, ..shared.lease().unwrap() };
    leases.take(idle, &of_nobody, Taking::ToWrite, &|| true).unwrap();
    shared.here.start().await;
    until("the leases to be looked at", async || leases.read(idle).unwrap().is_none()).await;
    assert_eq!(shared.holder(), Some(shared.here.host));
    refusal(&shared.there, vm, start()).await;
    std::fs::write(shared.here.record_of(vm), record).unwrap();
    assert_eq!(shared.here.done(vm, define(2, shared.spec("web-1"))).await.power, Power::Suspended);
    shared.here.done(vm, resume()).await;
    shared.here.done(vm, VmAction::Destroy).await;
    assert_eq!(shared.lease(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_sr_that_is_detached_keeps_no_lease_of_its_host() {
    let shared = Shared::new().await;
    let vm = shared.known_to_both().await;
    shared.here.done(vm, start()).await;
    let detach = StorageCommand::Detach { sr: shared.sr };
    assert_eq!(tell(&shared.here, detach.clone()).await.unwrap_err().reason, FaultReason::WrongState);
    assert_eq!(shared.holder(), Some(shared.here.host));
    shared.here.done(vm, VmAction::Destroy).await;
    tell(&shared.here, detach).await.unwrap();
    shared.there.done(vm, start()).await;
}
