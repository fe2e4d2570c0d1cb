//! Snapshots of a VM's disks: the guest stands for a moment and runs on, whatever happens.

use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use xenith_common_block::{BlockSink, BlockSource};
use xenith_common_ids::{SrId, VdiId, VmId};
use xenith_hypervisor_agent::disk::{InUse, Storage};
use xenith_hypervisor_agent_api::{Command, CommandResult, MakeSr, Snapshotted, StorageCommand, VmAction};
use xenith_hypervisor_agent_client::AgentClientError;
use xenith_hypervisor_agent_sim::{Failure, FaultRule, Operation};
use xenith_hypervisor_agent_storage::file::FileDriver;
use xenith_hypervisor_agent_types::{
    DiskAccess, DiskDevice, DiskSpec, FaultReason, Power, Quiesce, SnapshotOf, SrSpec, VdiFacts, VdiSize,
    VmSpec,
};

use crate::harness::{Lab, spec, start};

const LONG: Duration = Duration::from_secs(600);

/// A VM with two disks of 8 MiB, stopped.
pub async fn with_disks(lab: &Lab) -> (VmId, SrId, [VdiId; 2]) {
    with_disks_as(lab, spec("v")).await
}

pub async fn with_disks_as(lab: &Lab, mut with_disks: VmSpec) -> (VmId, SrId, [VdiId; 2]) {
    let sr = lab.client().hello(lab.epoch, "test").await.unwrap().local_sr;
    let vdis = [VdiId::new(), VdiId::new()];
    for (index, vdi) in (0..).zip(vdis) {
        let size = VdiSize::from_bytes(8 << 20).unwrap();
        lab.execute(Command::EnsureVdi { vdi, sr, size }).await.unwrap();
        let device = DiskDevice::nth(index).unwrap();
        with_disks.disks.push(DiskSpec { device, vdi, access: DiskAccess::ReadWrite });
    }
    (lab.define_as(with_disks).await, sr, vdis)
}

/// What a guest would do.
pub fn write(lab: &Lab, vdi: VdiId, byte: u8) {
    let image =
        std::fs::File::options().write(true).open(lab.config.storage.join(format!("{vdi}.raw"))).unwrap();
    image.write_all_at(&[byte; 4096], 0).unwrap();
}

pub fn first_byte(lab: &Lab, name: &str) -> u8 {
    let mut byte = [0];
    std::fs::File::open(lab.config.storage.join(name)).unwrap().read_exact_at(&mut byte, 0).unwrap();
    byte[0]
}

pub fn each(vdis: [VdiId; 2]) -> Vec<SnapshotOf> {
    vdis.map(|vdi| SnapshotOf { vdi, snapshot: VdiId::new() }).to_vec()
}

async fn snapshot(lab: &Lab, vm: VmId, disks: &[SnapshotOf]) -> Snapshotted {
    match lab.vm(vm, VmAction::Snapshot { disks: disks.to_vec(), quiesce: Quiesce::Never }).await.unwrap() {
        CommandResult::Snapshotted(made) => made,
        other => panic!("{other:?}"),
    }
}

pub fn files(lab: &Lab, ending: &str) -> usize {
    let names = std::fs::read_dir(&lab.config.storage).unwrap();
    names.filter(|name| name.as_ref().unwrap().file_name().to_string_lossy().ends_with(ending)).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_vm_is_paused_and_runs_on() {
    let lab = Lab::new().await;
    let (vm, sr, vdis) = with_disks(&lab).await;
    let up = lab.done(vm, start()).await;
    for (byte, vdi) in (1..).zip(vdis) {
        write(&lab, vdi, byte);
    }
    let disks = each(vdis);
    let made = snapshot(&lab, vm, &disks).await;
    assert!(!made.paused.is_zero(), "it stood for a moment");
    let of: Vec<_> = made.snapshots.iter().map(|facts| (facts.vdi, facts.snapshot_of)).collect();
    assert_eq!(of, disks.iter().map(|of| (of.snapshot, Some(of.vdi))).collect::<Vec<_>>());
    let after = lab.look(vm).await.unwrap();
    assert_eq!((after.power, after.domid), (Power::Running, up.domid));
    assert_eq!((lab.sim.calls(Operation::Pause), lab.sim.calls(Operation::Unpause)), (1, 2));
    write(&lab, vdis[0], 9);
    assert_eq!(first_byte(&lab, &format!("{}.snap", disks[0].snapshot)), 1);
    assert_eq!(first_byte(&lab, &format!("{}.snap", disks[1].snapshot)), 2);
    // Repeated under another operation id: done already.
    assert_eq!(snapshot(&lab, vm, &disks).await.snapshots, made.snapshots);
    lab.execute(Command::DeleteVdi { vdi: disks[0].snapshot, sr }).await.unwrap();
    assert_eq!(files(&lab, ".snap"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_crash_left_in_one_sr_is_not_taken_for_the_whole() {
    let lab = Lab::new().await;
    let first = lab.client().hello(lab.epoch, "test").await.unwrap().local_sr;
    let second = SrId::new();
    let path = lab.config.storage.with_file_name("second").to_str().unwrap().to_owned();
    let attach = StorageCommand::Attach { sr: second, spec: SrSpec::Folder { path }, make: MakeSr::New };
    lab.execute(Command::Storage(attach)).await.unwrap();
    let vdis = [VdiId::new(), VdiId::new()];
    let mut in_two = spec("v");
    for ((index, vdi), sr) in (0..).zip(vdis).zip([first, second]) {
        let size = VdiSize::from_bytes(8 << 20).unwrap();
        lab.execute(Command::EnsureVdi { vdi, sr, size }).await.unwrap();
        let device = DiskDevice::nth(index).unwrap();
        in_two.disks.push(DiskSpec { device, vdi, access: DiskAccess::ReadWrite });
    }
    let vm = lab.define_as(in_two).await;
    let disks = each(vdis);
    write(&lab, vdis[0], 1);
    snapshot(&lab, vm, &disks).await;
    lab.execute(Command::DeleteVdi { vdi: disks[1].snapshot, sr: second }).await.unwrap();
    write(&lab, vdis[0], 2);
    assert_eq!(snapshot(&lab, vm, &disks).await.snapshots.len(), 2);
    assert_eq!(first_byte(&lab, &format!("{}.snap", disks[0].snapshot)), 2, "both are of one moment");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vm_that_stands_is_left_standing() {
    let lab = Lab::new().await;
    let (vm, _, vdis) = with_disks(&lab).await;
    assert!(snapshot(&lab, vm, &each(vdis)).await.paused.is_zero());
    lab.done(vm, start()).await;
    lab.done(vm, VmAction::Pause).await;
    snapshot(&lab, vm, &each(vdis)).await;
    assert_eq!(lab.look(vm).await.unwrap().power, Power::Paused);
    lab.done(vm, VmAction::Unpause).await;
    lab.done(vm, VmAction::Suspend).await;
    snapshot(&lab, vm, &each(vdis)).await;
    assert_eq!(lab.look(vm).await.unwrap().power, Power::Suspended);
    assert_eq!(files(&lab, ".snap"), 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_dies_meanwhile_leaves_a_guest_that_runs() {
    let mut lab = Lab::new().await;
    let (vm, _, vdis) = with_disks(&lab).await;
    let up = lab.done(vm, start()).await;
    let disks = each(vdis);
    for at in [Operation::Pause, Operation::Unpause] {
        lab.sim.inject(FaultRule::hang(at, LONG));
        let before = lab.sim.calls(at);
        let action = VmAction::Snapshot { disks: disks.clone(), quiesce: Quiesce::Never };
        let (client, envelope) = (lab.client(), lab.envelope(Command::Vm { vm, action }));
        let sent = tokio::spawn(async move { client.execute(&envelope).await });
        lab.called(at, before).await;
        lab.kill().await;
        assert!(sent.await.unwrap().is_err());
        lab.sim.clear_faults();
        lab.start().await;
        let after = lab.becomes(vm, Power::Running).await;
        assert_eq!(after.domid, up.domid);
        assert_eq!(files(&lab, ".snap"), 0, "{at}: nobody was told of one");
    }
    snapshot(&lab, vm, &disks).await;
    assert_eq!((files(&lab, ".snap"), files(&lab, ".partial")), (2, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_leaves_no_snapshot_and_a_guest_that_runs() {
    let lab = Lab::new().await;
    let (vm, _, vdis) = with_disks(&lab).await;
    lab.done(vm, start()).await;
    lab.sim.inject(FaultRule::fail(Operation::Pause, Failure::Failed));
    let action = || VmAction::Snapshot { disks: each(vdis), quiesce: Quiesce::Never };
    assert_eq!(lab.refused(vm, action()).await, FaultReason::Hypervisor);
    assert_eq!(lab.look(vm).await.unwrap().power, Power::Running);
    // An answer that was lost: it stands, and is let run.
    lab.sim.inject(FaultRule::spoil(Operation::Pause, Failure::TimedOut));
    assert_eq!(lab.refused(vm, action()).await, FaultReason::Hypervisor);
    assert_eq!(lab.look(vm).await.unwrap().power, Power::Running);
    lab.sim.inject(FaultRule::fail(Operation::Unpause, Failure::Failed));
    let fault = lab.vm(vm, action()).await.unwrap_err();
    assert!(fault.message.contains("stays so"), "{fault}");
    assert_eq!(lab.look(vm).await.unwrap().power, Power::Paused);
    lab.done(vm, VmAction::Unpause).await;
    let foreign = vec![SnapshotOf { vdi: VdiId::new(), snapshot: VdiId::new() }];
    let fault = lab.vm(vm, VmAction::Snapshot { disks: foreign, quiesce: Quiesce::Never }).await.unwrap_err();
    assert_eq!((fault.reason, fault.field.as_deref()), (FaultReason::Invalid, Some("disks[0].vdi")));
    assert_eq!((files(&lab, ".snap"), files(&lab, ".partial")), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vdis_grow_are_cloned_and_reverted() {
    let lab = Lab::new().await;
    let (vm, sr, vdis) = with_disks(&lab).await;
    let tell = async |command| lab.execute(Command::Storage(command)).await;
    let facts = |result| match result {
        Ok(CommandResult::Vdi(facts)) => facts,
        other => panic!("{other:?}"),
    };
    let refused = |result| match result {
        Err(AgentClientError::Refused(fault)) => fault.reason,
        other => panic!("{other:?}"),
    };
    write(&lab, vdis[0], 1);
    let snapshot = VdiId::new();
    tell(StorageCommand::Snapshot { disks: vec![SnapshotOf { vdi: vdis[0], snapshot }] }).await.unwrap();
    write(&lab, vdis[0], 2);
    lab.done(vm, start()).await;
    let size = VdiSize::from_bytes(16 << 20).unwrap();
    let grown: VdiFacts = facts(tell(StorageCommand::Grow { vdi: vdis[0], sr, size }).await);
    assert_eq!(grown.size, size);
    // What a VM writes is not cloned, reverted or snapshotted behind its back; a snapshot is.
    let clone = |from| StorageCommand::Clone { from, to: VdiId::new(), sr };
    let revert = StorageCommand::Revert { vdi: vdis[0], snapshot, sr };
    let behind = StorageCommand::Snapshot { disks: each(vdis) };
    for command in [clone(vdis[0]), revert.clone(), behind] {
        assert_eq!(refused(tell(command).await), FaultReason::WrongState);
    }
    let cloned = facts(tell(clone(snapshot)).await);
    assert_eq!(first_byte(&lab, &format!("{}.raw", cloned.vdi)), 1);
    lab.done(vm, VmAction::Destroy).await;
    assert_eq!(facts(tell(revert).await).size, VdiSize::from_bytes(8 << 20).unwrap());
    assert_eq!(first_byte(&lab, &format!("{}.raw", vdis[0])), 1);
}

/// What the agent's own readers and writers get.
#[test]
fn one_writes_or_many_read() {
    let folder = tempfile::tempdir().unwrap();
    let in_use = InUse::default();
    let driver = FileDriver::open(SrId::new(), folder.path().to_owned());
    let storage = Storage::new(Arc::new(driver), in_use.clone());
    let (vdi, snapshot, vm) = (VdiId::new(), VdiId::new(), VmId::new());
    storage.ensure(storage.local(), vdi, VdiSize::from_bytes(1 << 20).unwrap()).unwrap();
    let sink: Arc<dyn BlockSink> = storage.open_sink(vdi).unwrap();
    sink.write_at(0, &[7; 512]).unwrap();
    for refused in [
        storage.open_sink(vdi).err(),
        storage.open_source(vdi).err(),
        storage.delete(storage.local(), vdi).err(),
        storage.path_for_domain(vdi, DiskAccess::ReadWrite).err(),
        storage.snapshot_closed(&[SnapshotOf { vdi, snapshot }]).err(),
    ] {
        let fault = refused.unwrap();
        assert!(fault.message.contains("being written"), "{fault}");
    }
    drop(sink);
    in_use.set(vm, vec![vdi]);
    assert!(storage.open_sink(vdi).is_err() && storage.open_source(vdi).is_err());
    in_use.set(vm, vec![]);
    storage.snapshot_closed(&[SnapshotOf { vdi, snapshot }]).unwrap();
    in_use.set(vm, vec![vdi, snapshot]);
    let source: Arc<dyn BlockSource> = storage.open_source(snapshot).unwrap();
    let fault = storage.delete(storage.local(), snapshot).unwrap_err();
    assert!(fault.message.contains("being read"), "{fault}");
    let mut byte = [0];
    source.read_at(0, &mut byte).unwrap();
    assert_eq!(byte, [7]);
    drop(source);
    in_use.set(vm, vec![]);
    storage.delete(storage.local(), snapshot).unwrap();
}
