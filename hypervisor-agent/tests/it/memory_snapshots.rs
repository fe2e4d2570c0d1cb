//! Snapshots with memory: the guest runs on whatever happens, and goes back to that instant or not at all.

use std::os::unix::fs::FileExt;
use std::time::Duration;

use xenith_common_ids::{IncarnationId, SrId, VdiId, VmId};
use xenith_hypervisor_agent_api::{Command, CommandResult, RevertPart, Snapshotted, VmAction};
use xenith_hypervisor_agent_sim::{Failure, FaultRule, Operation};
use xenith_hypervisor_agent_types::{
    Fault, FaultReason, MemoryOf, MemorySpec, Power, SnapshotOf, VmSpec, WrittenWhile,
};

use crate::harness::{Lab, define, mib, spec, start};
use crate::snapshots::{each, files, first_byte, with_disks, write};

const LONG: Duration = Duration::from_secs(600);

struct Scene {
    vm: VmId,
    vdis: [VdiId; 2],
    disks: Vec<SnapshotOf>,
    memory: MemoryOf,
}

impl Scene {
    /// A VM that runs, with 1 at the beginning of its first disk.
    async fn running(lab: &Lab) -> Self {
        let (vm, sr, vdis): (VmId, SrId, [VdiId; 2]) = with_disks(lab).await;
        lab.done(vm, start()).await;
        write(lab, vdis[0], 1);
        Self { vm, vdis, disks: each(vdis), memory: MemoryOf { vdi: VdiId::new(), sr } }
    }

    fn take(&self) -> VmAction {
        VmAction::SnapshotWithMemory { disks: self.disks.clone(), memory: self.memory }
    }

    async fn taken(&self, lab: &Lab) -> Result<Snapshotted, Fault> {
        match lab.vm(self.vm, self.take()).await? {
            CommandResult::Snapshotted(made) => Ok(made),
            other => panic!("{other:?}"),
        }
    }

    fn back(&self, incarnation: IncarnationId, part: RevertPart) -> VmAction {
        let (disks, memory) = (self.disks.clone(), self.memory);
        VmAction::RevertWithMemory { incarnation, disks, memory, part }
    }

    fn on_disk(&self, lab: &Lab) -> u8 {
        first_byte(lab, &format!("{}.raw", self.vdis[0]))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_goes_back_to_the_instant_that_was_kept() {
    let lab = Lab::new().await;
    let scene = Scene::running(&lab).await;
    let before = lab.look(scene.vm).await.unwrap();
    let made = scene.taken(&lab).await.unwrap();
    let kept = made.memory.clone().unwrap();
    assert_eq!(kept.written_while, WrittenWhile::Running);
    assert!(kept.bytes > 0 && made.snapshots.len() == 2, "{made:?}");
    let after = lab.look(scene.vm).await.unwrap();
    assert_eq!((after.power, after.domid), (Power::Running, before.domid), "it runs on in place");
    assert_eq!((files(&lab, ".snap"), files(&lab, ".raw"), files(&lab, ".partial")), (2, 3, 0));
    // Said again under another id, as after an answer that was lost: the same, and nothing is suspended for it.
    let suspends = lab.sim.calls(Operation::SuspendLive);
    assert_eq!(scene.taken(&lab).await.unwrap(), made);
    assert_eq!(lab.sim.calls(Operation::SuspendLive), suspends);

    write(&lab, scene.vdis[0], 9);
    let run = IncarnationId::new();
    let fault = lab.vm(scene.vm, scene.back(run, RevertPart::Whole)).await.unwrap_err();
    assert_eq!(fault.reason, FaultReason::WrongState, "it runs: {fault}");
    lab.done(scene.vm, VmAction::Destroy).await;
    assert_eq!(lab.done(scene.vm, scene.back(run, RevertPart::Check)).await.power, Power::Stopped);
    assert_eq!(scene.on_disk(&lab), 9, "nothing is changed by the question");
    let back = lab.done(scene.vm, scene.back(run, RevertPart::Whole)).await;
    assert_eq!((back.power, back.incarnation), (Power::Running, Some(run)));
    assert_eq!(scene.on_disk(&lab), 1);
    // The run has been let run: nothing brings it back a second time, over disks that others wrote since.
    lab.done(scene.vm, VmAction::Destroy).await;
    write(&lab, scene.vdis[0], 7);
    assert_eq!(
        lab.refused(scene.vm, scene.back(run, RevertPart::Whole)).await,
        FaultReason::IncarnationEnded
    );
    assert_eq!(scene.on_disk(&lab), 7);
    // The memory is there for the next time, and goes when it is deleted.
    lab.done(scene.vm, scene.back(IncarnationId::new(), RevertPart::Whole)).await;
    let MemoryOf { vdi, sr } = scene.memory;
    lab.execute(Command::DeleteVdi { vdi, sr }).await.unwrap();
    assert_eq!(files(&lab, ".raw"), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_dies_meanwhile_leaves_a_guest_that_runs_and_no_snapshot() {
    let mut lab = Lab::new().await;
    let scene = Scene::running(&lab).await;
    let domid = lab.look(scene.vm).await.unwrap().domid;
    // A thread of the agent's reads the memory, and the kill waits for its threads.
    lab.sim.streams_die_with_caller();
    for at in [Operation::SuspendLive, Operation::CancelSuspend] {
        lab.sim.inject(FaultRule::hang(at, LONG));
        let before = lab.sim.calls(at);
        let envelope = lab.envelope(Command::Vm { vm: scene.vm, action: scene.take() });
        let client = lab.client();
        let sent = tokio::spawn(async move { client.execute(&envelope).await });
        lab.called(at, before).await;
        lab.kill().await;
        assert!(sent.await.unwrap().is_err());
        lab.sim.clear_faults();
        lab.start().await;
        assert_eq!(lab.becomes(scene.vm, Power::Running).await.domid, domid, "{at}");
        assert_eq!(files(&lab, ".snap"), 0, "{at}: nobody was told of one");
    }
    scene.taken(&lab).await.unwrap();
    assert_eq!((files(&lab, ".snap"), files(&lab, ".raw"), files(&lab, ".partial")), (2, 3, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_leaves_a_guest_that_runs_and_nothing_else() {
    let lab = Lab::new().await;
    let scene = Scene::running(&lab).await;
    let nothing_is_left = async |case: &str| {
        assert_eq!(lab.becomes(scene.vm, Power::Running).await.power, Power::Running, "{case}");
        let left = (files(&lab, ".snap"), files(&lab, ".raw"), files(&lab, ".partial"));
        assert_eq!(left, (0, 2, 0), "{case}");
    };
    for (case, rule) in [
        ("a suspend that fails", FaultRule::fail(Operation::SuspendLive, Failure::Failed)),
        ("one whose answer is lost", FaultRule::spoil(Operation::SuspendLive, Failure::TimedOut)),
    ] {
        lab.sim.inject(rule);
        assert_eq!(lab.refused(scene.vm, scene.take()).await, FaultReason::Hypervisor, "{case}");
        nothing_is_left(case).await;
    }
    let foreign = vec![SnapshotOf { vdi: VdiId::new(), snapshot: VdiId::new() }];
    let action = VmAction::SnapshotWithMemory { disks: foreign, memory: scene.memory };
    assert_eq!(lab.refused(scene.vm, action).await, FaultReason::Invalid);
    nothing_is_left("a disk of another VM").await;
    // It waits for its next start: then the memory would be of another machine than the definition's.
    let more = VmSpec { memory: MemorySpec { target: mib(256), max: mib(1024) }, ..defined(&scene) };
    lab.done(scene.vm, define(2, more)).await;
    let fault = lab.vm(scene.vm, scene.take()).await.unwrap_err();
    assert!(fault.message.contains("the memory") && fault.message.contains("restart it"), "{fault}");
    nothing_is_left("settings that wait").await;
    lab.done(scene.vm, define(3, defined(&scene))).await;
    // A first try to let it run on that fails is not the last one.
    lab.sim.inject(FaultRule::fail(Operation::CancelSuspend, Failure::Failed));
    // And a guest that cannot be followed while it runs stands for all of it.
    lab.sim.inject(FaultRule::fail(Operation::SuspendLive, Failure::Unsupported));
    let made = scene.taken(&lab).await.unwrap();
    assert_eq!(made.memory.unwrap().written_while, WrittenWhile::Standing);
    assert_eq!(lab.look(scene.vm).await.unwrap().power, Power::Running);
}

/// The VM as the first definition had it.
fn defined(scene: &Scene) -> VmSpec {
    use xenith_hypervisor_agent_types::{DiskAccess, DiskDevice, DiskSpec};
    let disk = |(index, vdi): (u8, VdiId)| DiskSpec {
        device: DiskDevice::nth(index).unwrap(),
        vdi,
        access: DiskAccess::ReadWrite,
    };
    VmSpec { disks: (0..).zip(scene.vdis).map(disk).collect(), ..spec("v") }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revert_that_cannot_be_whole_touches_no_disk() {
    let mut lab = Lab::new().await;
    let scene = Scene::running(&lab).await;
    scene.taken(&lab).await.unwrap();
    write(&lab, scene.vdis[0], 9);
    lab.done(scene.vm, VmAction::Destroy).await;
    let refused = async |lab: &Lab, action: VmAction, says: &str| {
        let fault = lab.vm(scene.vm, action).await.unwrap_err();
        assert!(fault.message.contains(says), "{fault}");
        assert_eq!(
            (scene.on_disk(lab), lab.look(scene.vm).await.unwrap().power),
            (9, Power::Stopped),
            "{says}"
        );
    };
    let whole = || scene.back(IncarnationId::new(), RevertPart::Whole);

    let more = VmSpec { memory: MemorySpec { target: mib(256), max: mib(1024) }, ..defined(&scene) };
    lab.done(scene.vm, define(2, more)).await;
    refused(&lab, whole(), "the memory of the VM are not what they were").await;
    lab.done(scene.vm, define(3, defined(&scene))).await;

    let others = VmAction::RevertWithMemory {
        incarnation: IncarnationId::new(),
        disks: each(scene.vdis),
        memory: scene.memory,
        part: RevertPart::Whole,
    };
    refused(&lab, others, "of another instant than the disks").await;
    let elsewhere = MemoryOf { vdi: VdiId::new(), ..scene.memory };
    let gone = VmAction::RevertWithMemory {
        incarnation: IncarnationId::new(),
        disks: scene.disks.clone(),
        memory: elsewhere,
        part: RevertPart::Check,
    };
    refused(&lab, gone, "revert its disks only").await;

    // Killed while the domain is built: it is off, and the same command made again brings it back.
    lab.sim.inject(FaultRule::hang(Operation::Resume, LONG));
    let before = lab.sim.calls(Operation::Resume);
    let envelope = lab.envelope(Command::Vm { vm: scene.vm, action: whole() });
    let again = envelope.clone();
    let client = lab.client();
    let sent = tokio::spawn(async move { client.execute(&envelope).await });
    lab.called(Operation::Resume, before).await;
    lab.kill().await;
    assert!(sent.await.unwrap().is_err());
    lab.sim.clear_faults();
    lab.start().await;
    lab.becomes(scene.vm, Power::Stopped).await;
    lab.client().execute(&again).await.unwrap();
    assert_eq!((scene.on_disk(&lab), lab.look(scene.vm).await.unwrap().power), (1, Power::Running));

    lab.done(scene.vm, VmAction::Destroy).await;
    write(&lab, scene.vdis[0], 9);
    let image = lab.config.storage.join(format!("{}.raw", scene.memory.vdi));
    let image = std::fs::File::options().write(true).open(image).unwrap();
    image.write_all_at(&[0xa5; 8], (64 << 10) + 20).unwrap();
    refused(&lab, scene.back(IncarnationId::new(), RevertPart::Check), "not what was written").await;
}
