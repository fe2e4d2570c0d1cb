//! Domains that are not ours, and those that we no longer know.

use std::time::Duration;

use xenith_common_ids::{IncarnationId, SrId, VdiId};
use xenith_hypervisor_agent_api::{Exchanged, RevertPart, SendVm, ShutdownKind, VmAction};
use xenith_hypervisor_agent_backend::Hypervisor;
use xenith_hypervisor_agent_sim::Foreign;
use xenith_hypervisor_agent_types::{DomainStatus, FaultReason, MemoryOf, Power, Quiesce, SnapshotOf};

use crate::harness::{Lab, define, power_off, resume, spec, start, until};

/// All that a VM can be told, but its definition and that it is to be forgotten.
fn commands() -> Vec<VmAction> {
    let (vdi, other) = (VdiId::new(), VdiId::new());
    let disks = || vec![SnapshotOf { vdi, snapshot: other }];
    let memory = MemoryOf { vdi, sr: SrId::new() };
    let send = SendVm {
        address: "127.0.0.1:9".into(),
        server_name: "there".into(),
        authority_pem: "none".into(),
        ticket: "none".into(),
        exchanged: vec![],
    };
    vec![
        start(),
        resume(),
        power_off(),
        VmAction::Shutdown { kind: ShutdownKind::Reboot, deadline: Duration::from_secs(1) },
        VmAction::Destroy,
        VmAction::Pause,
        VmAction::Unpause,
        VmAction::Suspend,
        VmAction::DiscardSuspended,
        VmAction::Snapshot { disks: disks(), quiesce: Quiesce::Never },
        VmAction::SnapshotWithMemory { disks: disks(), memory },
        VmAction::RevertWithMemory {
            incarnation: IncarnationId::new(),
            disks: disks(),
            memory,
            part: RevertPart::Whole,
        },
        VmAction::SnapshotSent { disks: disks() },
        VmAction::Exchange(Exchanged { from: vdi, to: other }),
        VmAction::Apply,
        VmAction::Send(Box::new(send)),
        VmAction::TakeBack,
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_domain_is_listed_and_never_touched() {
    let mut lab = Lab::new().await;
    let domid = lab.sim.make_foreign(&Foreign::named("theirs")).unwrap();
    until("it to be listed", async || !lab.list().await.vms.is_empty()).await;
    let listed = lab.list().await.vms.remove(0);
    assert_eq!((listed.name.as_str(), listed.managed, listed.power), ("theirs", false, Power::Running));
    for restarted in [false, true] {
        if restarted {
            lab.restart().await;
        }
        for action in commands() {
            assert_eq!(lab.refused(listed.vm, action).await, FaultReason::NotFound);
        }
        lab.vm(listed.vm, VmAction::Forget).await.unwrap();
        assert_eq!(lab.look(listed.vm).await.map(|vm| vm.managed), Some(false), "the same id: {restarted}");
    }
    assert_eq!(lab.sim.domain(domid).await.unwrap().status, DomainStatus::Running);
    // Another VM cannot take its name, and one that is defined by its UUID is not started beside it.
    let other = lab.define("theirs").await;
    assert_eq!(lab.refused(other, start()).await, FaultReason::NameTaken);
    lab.vm(other, VmAction::Forget).await.unwrap();
    lab.done(listed.vm, define(1, spec("theirs"))).await;
    for action in [start(), VmAction::Forget] {
        assert_eq!(lab.refused(listed.vm, action).await, FaultReason::WrongState);
    }
    assert_eq!(lab.sim.domain(domid).await.unwrap().status, DomainStatus::Running);
    lab.sim.destroy_from_outside(domid).unwrap();
    lab.becomes(listed.vm, Power::Stopped).await;
    lab.vm(listed.vm, VmAction::Forget).await.unwrap();
    until("it to be gone", async || lab.list().await.vms.is_empty()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_vm_whose_record_was_lost_is_adopted_when_it_is_defined_again() {
    let mut lab = Lab::builder().sample(Duration::from_millis(100)).start().await;
    let up = lab.running("v").await;
    lab.kill().await;
    std::fs::remove_file(lab.record_of(up.vm)).unwrap();
    lab.start().await;
    let listed = lab.look(up.vm).await.unwrap();
    assert!(!listed.managed);
    assert_eq!(lab.refused(up.vm, VmAction::Destroy).await, FaultReason::NotFound);
    let again = lab.done(up.vm, define(7, spec("v"))).await;
    assert_eq!((again.managed, again.power, again.domid), (true, Power::Running, up.domid));
    lab.done(up.vm, VmAction::Destroy).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_record_is_left_alone_with_its_domain() {
    let mut lab = Lab::new().await;
    let up = lab.running("v").await;
    lab.kill().await;
    std::fs::write(lab.record_of(up.vm), b"{ torn").unwrap();
    lab.start().await;
    assert!(!lab.look(up.vm).await.unwrap().managed);
    assert!(lab.sim.is_up(up.domid.unwrap()));
    // Also where the orchestrator has something to say of it: it may be of a newer agent, and of a VM that was suspended.
    let fault = lab.vm(up.vm, define(2, spec("v"))).await.unwrap_err();
    assert!(fault.message.contains("is damaged") && fault.message.contains("move it away"), "{fault}");
    assert_eq!(std::fs::read(lab.record_of(up.vm)).unwrap(), b"{ torn");
    std::fs::remove_file(lab.record_of(up.vm)).unwrap();
    lab.done(up.vm, define(2, spec("v"))).await;
    assert_eq!(lab.becomes(up.vm, Power::Running).await.domid, up.domid);
}

/// As the refusal of a damaged one says.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_was_put_back_counts() {
    let mut lab = Lab::new().await;
    let vm = lab.running("v").await.vm;
    lab.done(vm, VmAction::Suspend).await;
    lab.kill().await;
    let record = std::fs::read(lab.record_of(vm)).unwrap();
    std::fs::write(lab.record_of(vm), b"{ torn").unwrap();
    lab.start().await;
    std::fs::write(lab.record_of(vm), record).unwrap();
    assert_eq!(lab.done(vm, define(2, spec("v"))).await.power, Power::Suspended);
    lab.done(vm, resume()).await;
}
