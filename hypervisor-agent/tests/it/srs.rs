//! SRs are attached, survive a restart of the agent, and are let go of when nobody uses them.

use std::path::Path;

use xenith_common_ids::{SrId, VdiId};
use xenith_hypervisor_agent_api::{Command, CommandResult, MakeSr, StorageCommand, VmAction};
use xenith_hypervisor_agent_client::AgentClientError;
use xenith_hypervisor_agent_types::{
    DiskAccess, DiskDevice, DiskSpec, Fault, FaultReason, Power, SrFacts, SrSpec, VdiSize,
};

use crate::harness::{Lab, spec, start};

fn folder(path: &Path) -> SrSpec {
    SrSpec::Folder { path: path.to_str().unwrap().to_owned() }
}

async fn tell(lab: &Lab, command: StorageCommand) -> Result<CommandResult, Fault> {
    match lab.execute(Command::Storage(command)).await {
        Ok(result) => Ok(result),
        Err(AgentClientError::Refused(fault)) => Err(fault),
        Err(other) => panic!("{other}"),
    }
}

async fn facts(lab: &Lab, command: StorageCommand) -> SrFacts {
    match tell(lab, command).await.unwrap() {
        CommandResult::Sr(facts) => *facts,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_sr_is_attached_until_it_is_detached() {
    let mut lab = Lab::new().await;
    let path = lab.config.storage.with_file_name("second");
    let (sr, vdi) = (SrId::new(), VdiId::new());
    let attach = |make| StorageCommand::Attach { sr, spec: folder(&path), make };
    for _ in 0..2 {
        let made = facts(&lab, attach(MakeSr::New)).await;
        assert!(made.vdis.is_empty() && made.left_overs.is_empty() && made.space.total > 0, "{made:?}");
    }
    let size = VdiSize::from_bytes(8 << 20).unwrap();
    lab.execute(Command::EnsureVdi { vdi, sr, size }).await.unwrap();
    let mut with_disk = spec("v");
    with_disk.disks.push(DiskSpec {
        device: DiskDevice::nth(0).unwrap(),
        vdi,
        access: DiskAccess::ReadWrite,
    });
    let vm = lab.define_as(with_disk).await;
    lab.restart().await;
    assert_eq!(lab.done(vm, start()).await.power, Power::Running);
    let refused = tell(&lab, StorageCommand::Detach { sr }).await.unwrap_err();
    assert_eq!(refused.reason, FaultReason::WrongState, "{refused}");
    // A disk that cannot be looked at is no reason to let go of its SR.
    let image = std::fs::File::options().write(true).open(path.join(format!("{vdi}.raw"))).unwrap();
    image.set_len(1 << 20).unwrap();
    let refused = tell(&lab, StorageCommand::Detach { sr }).await.unwrap_err();
    assert_eq!(refused.reason, FaultReason::WrongState, "{refused}");
    image.set_len(size.bytes()).unwrap();
    lab.done(vm, VmAction::Destroy).await;
    std::fs::write(path.join("notes.txt"), b"left").unwrap();
    let scanned = facts(&lab, StorageCommand::Scan { sr }).await;
    assert_eq!((scanned.vdis.len(), scanned.left_overs.len()), (1, 1), "{scanned:?}");
    assert_eq!(scanned.space.promised, size.bytes());
    for _ in 0..2 {
        tell(&lab, StorageCommand::Detach { sr }).await.unwrap();
    }
    assert_eq!(lab.refused(vm, start()).await, FaultReason::NotFound);
    lab.restart().await;
    assert_eq!(lab.refused(vm, start()).await, FaultReason::NotFound);
    // What was in it is there when it is attached again.
    assert_eq!(facts(&lab, attach(MakeSr::MustExist)).await.vdis.len(), 1);
    lab.done(vm, start()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_is_no_sr_or_another_is_not_attached() {
    let lab = Lab::new().await;
    let (first, second) = (lab.config.storage.with_file_name("a"), lab.config.storage.with_file_name("b"));
    std::fs::create_dir(&second).unwrap();
    let sr = SrId::new();
    let attach = |sr, path: &Path, make| StorageCommand::Attach { sr, spec: folder(path), make };
    facts(&lab, attach(sr, &first, MakeSr::New)).await;
    for (command, words) in [
        (attach(SrId::new(), &second, MakeSr::MustExist), "mounted"),
        (attach(SrId::new(), &first, MakeSr::New), "already"),
        (attach(SrId::new(), &first, MakeSr::MustExist), "another SR"),
        (attach(sr, &second, MakeSr::New), "attached already"),
        (StorageCommand::Scan { sr: SrId::new() }, "not on this host"),
    ] {
        let fault = tell(&lab, command).await.unwrap_err();
        assert!(fault.message.contains(words), "{fault}");
    }
    let local = lab.client().hello(lab.epoch, "test").await.unwrap().local_sr;
    assert!(tell(&lab, StorageCommand::Detach { sr: local }).await.is_err());
    assert!(facts(&lab, StorageCommand::Scan { sr: local }).await.vdis.is_empty());
    let nowhere = StorageCommand::Attach {
        sr: SrId::new(),
        spec: SrSpec::Folder { path: "vms".to_owned() },
        make: MakeSr::New,
    };
    assert_eq!(tell(&lab, nowhere).await.unwrap_err().field.as_deref(), Some("spec.path"));
}

/// Its disk was pulled, or not mounted after a boot: the SR is not there, the agent is, and finds it again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_sr_whose_folder_is_away_is_found_again() {
    let mut lab = Lab::new().await;
    let (path, away) = (lab.config.storage.with_file_name("c"), lab.config.storage.with_file_name("away"));
    let sr = SrId::new();
    facts(&lab, StorageCommand::Attach { sr, spec: folder(&path), make: MakeSr::New }).await;
    lab.kill().await;
    std::fs::rename(&path, &away).unwrap();
    lab.start().await;
    let fault = tell(&lab, StorageCommand::Scan { sr }).await.unwrap_err();
    assert!(fault.message.contains("mounted"), "{fault}");
    std::fs::rename(&away, &path).unwrap();
    facts(&lab, StorageCommand::Scan { sr }).await;
}
