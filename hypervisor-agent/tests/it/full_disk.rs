//! A full disk. `/dev/full` plays it: a file that is about to be written is a link to it.

use std::os::unix::fs::symlink;

use xenith_hypervisor_agent_api::VmAction;
use xenith_hypervisor_agent_backend::Hypervisor;
use xenith_hypervisor_agent_types::{FaultReason, Power};

use crate::harness::{Lab, define, mib, spec, start};

fn fill(path: &std::path::Path) {
    symlink("/dev/full", path).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_cannot_be_written_down_is_not_made() {
    let lab = Lab::new().await;
    let up = lab.running("v").await;
    let partial = lab.record_of(up.vm).with_extension("partial");
    let mut changed = spec("v");
    changed.memory.target = mib(300);
    fill(&partial);
    assert_eq!(lab.refused(up.vm, define(2, changed.clone())).await, FaultReason::StorageFull);
    assert_eq!(lab.look(up.vm).await.unwrap().definition, 1);
    // There is room again.
    lab.done(up.vm, define(2, changed)).await;
    // A VM can be stopped all the same.
    fill(&partial);
    assert_eq!(lab.refused(up.vm, VmAction::Destroy).await, FaultReason::StorageFull);
    assert_eq!(lab.look(up.vm).await.unwrap().power, Power::Stopped);
    fill(&partial);
    assert_eq!(lab.refused(up.vm, start()).await, FaultReason::StorageFull);
    assert!(lab.sim.domains().await.unwrap().is_empty());
    lab.done(up.vm, start()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_whose_memory_does_not_fit_runs_on() {
    let lab = Lab::new().await;
    let up = lab.running("v").await;
    let image = lab.config.state.join("suspended").join(format!("{}.partial", up.vm));
    fill(&image);
    let fault = lab.vm(up.vm, VmAction::Suspend).await.unwrap_err();
    assert!(fault.message.contains("No space left"), "{fault}");
    let after = lab.look(up.vm).await.unwrap();
    assert_eq!((after.power, after.domid), (Power::Running, up.domid));
    assert!(after.failure.is_some());
    assert!(!image.exists());
    lab.done(up.vm, VmAction::Suspend).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_epoch_that_cannot_be_written_down_does_not_count() {
    let mut lab = Lab::new().await;
    let vm = lab.running("v").await.vm;
    fill(&lab.config.state.join("host.partial"));
    lab.epoch = xenith_common_ids::Epoch(9);
    assert_eq!(lab.refused(vm, VmAction::Pause).await, FaultReason::StorageFull);
    lab.epoch = xenith_common_ids::Epoch(1);
    lab.done(vm, VmAction::Pause).await;
}
