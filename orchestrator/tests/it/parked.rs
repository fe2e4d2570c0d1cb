//! Tasks that wait for a person, as a person finds them: retried, or left as they are.

use std::path::PathBuf;

use xenith_common_ids::TaskId;
use xenith_hypervisor_agent_sim::SimHypervisor;
use xenith_orchestrator_api::{audit, task, vm};
use xenith_orchestrator_types::audit::{AuditPhase, ListAudit};
use xenith_orchestrator_types::task::{ListTasks, StepStatus, Task, TaskRef, TaskStatus};
use xenith_orchestrator_types::vm::{DeleteVm, StartVm, VmRef};
use xenith_orchestrator_types::{ListRequest, Reason};

use crate::harness::{EMPTY, Installation, api_error, small, until};

/// Something that is in the way of deleting the disk of `web-1`, and the deletion that has stopped at it: behind the
/// point from which it cannot be rolled back.
async fn stuck(all: &Installation) -> (PathBuf, Task) {
    let disk = all.vm("web-1").await.spec.unwrap().disks[0].vdi;
    let in_the_way = all.hosts[0].folder().join(format!("sr/{disk}.snap"));
    std::fs::create_dir(&in_the_way).unwrap();
    let task = all.run::<vm::Delete>(&delete()).await;
    assert_eq!(task.status, TaskStatus::Parked, "{:?}", task.message);
    let why = task.message.as_deref().unwrap();
    assert!(why.contains("cannot be rolled back"), "{why}");
    let done = task.steps.iter().filter(|step| step.status == StepStatus::Done).count();
    assert_eq!(done, 2, "held and forgotten: {:?}", task.steps);
    (in_the_way, task)
}

fn delete() -> DeleteVm {
    DeleteVm { vm: "web-1".into(), keep_disks: false }
}

/// Until the list of those that are parked is this.
async fn parked(all: &Installation, expected: &[TaskId]) {
    let request = ListTasks { filter: "status:parked".into(), ..ListTasks::default() };
    until("the list of parked tasks", async || {
        let listed = all.admin.call::<task::List>(&request).await.unwrap().items;
        listed.iter().map(|task| task.id).eq(expected.iter().copied()).then_some(())
    })
    .await;
}

/// What the audit log says of calls of a method, oldest first.
async fn audited(all: &Installation, method: &str) -> Vec<AuditPhase> {
    let request = ListAudit { sort: "sequence".into(), limit: 1000, ..ListAudit::default() };
    let records = all.admin.call::<audit::List>(&request).await.unwrap().items;
    records.into_iter().filter(|record| record.method == method).map(|record| record.phase).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parked_task_is_retried_until_what_was_in_its_way_is_gone() {
    let mut all = Installation::with_host(SimHypervisor::builder()).await;
    all.run::<vm::Create>(&small("web-1")).await;
    let (in_the_way, task) = stuck(&all).await;
    let of = TaskRef { task: task.id };
    // It waits over a restart too, and holds its VM.
    all.restart().await;
    parked(&all, &[task.id]).await;
    let held = api_error(all.admin.call::<vm::Start>(&StartVm { vm: "web-1".into() }).await);
    assert_eq!(held.reason(), Reason::WrongState);
    assert!(held.message.contains(&task.id.to_string()), "{held}");

    // As it is, it stops at the same place.
    all.admin.call::<task::Retry>(&of).await.unwrap();
    let again = all.wait_task(task.id).await;
    assert_eq!((again.status, again.message), (TaskStatus::Parked, task.message));

    std::fs::remove_dir(&in_the_way).unwrap();
    all.admin.call::<task::Retry>(&of).await.unwrap();
    let done = all.wait_task(task.id).await;
    assert_eq!(done.status, TaskStatus::Done, "{:?}", done.message);
    parked(&all, &[]).await;
    let gone = all.admin.call::<vm::Get>(&VmRef { vm: "web-1".into() }).await;
    assert_eq!(api_error(gone).reason(), Reason::NotFound);
    assert_eq!(audited(&all, "task.retry").await, [AuditPhase::Asked, AuditPhase::Done].repeat(2));

    let over = api_error(all.admin.call::<task::Retry>(&of).await);
    assert_eq!(over.reason(), Reason::WrongState, "{over}");
    all.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_abandoned_task_lets_go_of_its_vm_and_is_over() {
    let all = Installation::with_host(SimHypervisor::builder()).await;
    all.run::<vm::Create>(&small("web-1")).await;
    let (in_the_way, task) = stuck(&all).await;
    let of = TaskRef { task: task.id };
    let left = all.admin.call::<task::Abandon>(&of).await.unwrap();
    assert_eq!(left.status, TaskStatus::Abandoned);
    let why = left.message.unwrap();
    assert!(why.starts_with("abandoned by admin; was parked: "), "{why}");
    assert_eq!(audited(&all, "task.abandon").await, [AuditPhase::Asked, AuditPhase::Done]);
    for refused in [
        all.admin.call::<task::Retry>(&of).await,
        all.admin.call::<task::Abandon>(&of).await,
        all.admin.call::<task::Cancel>(&of).await,
    ] {
        assert_eq!(api_error(refused).reason(), Reason::WrongState);
    }

    // Nobody holds the VM: the same again, when it can be done.
    std::fs::remove_dir(&in_the_way).unwrap();
    assert_eq!(all.run::<vm::Delete>(&delete()).await.status, TaskStatus::Done);
    until("no VM is listed", async || {
        let left = all.admin.call::<vm::List>(&ListRequest::default()).await.unwrap();
        (left.total == 0).then_some(())
    })
    .await;
    let verified = all.admin.call::<audit::Verify>(&EMPTY).await.unwrap();
    assert_eq!(verified.broken_at, None);
    all.stop().await;
}
