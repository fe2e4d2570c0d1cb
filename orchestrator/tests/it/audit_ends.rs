//! How tasks ended, in the audit log: each task of a call once, whatever ends in between.

use std::time::Duration;

use serde_json::json;
use xenith_common_ids::{SagaId, TaskId};
use xenith_hypervisor_agent_sim::{Failure, FaultRule, Operation, SimHypervisor};
use xenith_orchestrator::model::AuditedTask;
use xenith_orchestrator_api::{Caller, audit, pool, task, vm};
use xenith_orchestrator_types::audit::{AuditPhase, AuditRecord, ListAudit};
use xenith_orchestrator_types::pool::CreatePool;
use xenith_orchestrator_types::task::{TaskRef, TaskStatus};
use xenith_orchestrator_types::vm::StartVm;

use crate::harness::{EMPTY, Installation, small, until};

async fn records(all: &Installation) -> Vec<AuditRecord> {
    let request = ListAudit { sort: "sequence".into(), limit: 1000, ..ListAudit::default() };
    all.admin.call::<audit::List>(&request).await.unwrap().items
}

/// The records of ends that name the task.
async fn ends(all: &Installation, task: TaskId) -> Vec<AuditRecord> {
    let mut records = records(all).await;
    let named = |record: &AuditRecord| {
        let outcome = record.outcome.as_deref().unwrap_or_default();
        record.phase != AuditPhase::Begun && outcome.contains(&task.to_string())
    };
    records.retain(named);
    records
}

async fn end(all: &Installation, task: TaskId) -> AuditRecord {
    until("the end is in the audit log", async || ends(all, task).await.pop()).await
}

/// The one end of a task, tied to the call that began it.
async fn told(all: &Installation, task: TaskId, method: &str) -> AuditRecord {
    let end = end(all, task).await;
    let all = records(all).await;
    let begun = all.iter().find(|record| {
        record.phase == AuditPhase::Begun && record.outcome.as_deref() == Some(&*format!("task {task}"))
    });
    assert_eq!(end.of, begun.unwrap().of, "tied to the call");
    assert_eq!((end.method.as_str(), end.user_name.as_str()), (method, "admin"));
    end
}

async fn whole(all: &Installation) {
    let verified = all.admin.call::<audit::Verify>(&EMPTY).await.unwrap();
    assert_eq!((verified.broken_at, verified.problem), (None, None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_fails_is_not_told_as_done() {
    let all = Installation::with_host(SimHypervisor::builder()).await;
    let create = all.run::<vm::Create>(&small("web-1")).await;
    assert_eq!(told(&all, create.id, "vm.create").await.phase, AuditPhase::Done);

    all.hosts[0].sim.inject(FaultRule::fail(Operation::Create, Failure::NoMemory).every());
    let start = StartVm { vm: "web-1".into() };
    let failed = all.run::<vm::Start>(&start).await;
    assert_eq!(failed.status, TaskStatus::RolledBack);
    let end = told(&all, failed.id, "vm.start").await;
    assert_eq!(end.phase, AuditPhase::Failed);
    let reason = failed.message.unwrap();
    assert!(end.outcome.as_ref().unwrap().contains(&reason), "{end:?} has no {reason:?}");

    let sim = &all.hosts[0].sim;
    sim.clear_faults();
    sim.inject(FaultRule::hang(Operation::Create, Duration::from_secs(600)));
    let before = sim.calls(Operation::Create);
    let hanging = all.admin.call::<vm::Start>(&start).await.unwrap().task;
    until("it is being built", async || (sim.calls(Operation::Create) > before).then_some(())).await;
    all.admin.call::<task::Cancel>(&TaskRef { task: hanging }).await.unwrap();
    sim.hurry();
    let cancelled = all.wait_task(hanging).await;
    assert_eq!(cancelled.status, TaskStatus::RolledBack, "{cancelled:?}");
    let end = told(&all, hanging, "vm.start").await;
    assert_eq!(end.phase, AuditPhase::Cancelled);
    assert!(end.outcome.unwrap().contains("cancelled by admin"));
    let failed =
        ListAudit { filter: "phase:failed,cancelled method:vm.start".into(), ..ListAudit::default() };
    assert_eq!(all.admin.call::<audit::List>(&failed).await.unwrap().items.len(), 2);
    whole(&all).await;
    all.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_the_orchestrator_ended_in_has_an_end_after_the_next_start() {
    let mut all = Installation::start().await;
    let create = CreatePool { name: "east".into(), description: String::new() };
    all.admin.call::<pool::Create>(&create).await.unwrap();
    // It got as far as this.
    let lost = {
        let app = &all.orchestrator.as_ref().unwrap().app;
        let anna = Caller { name: "anna".into(), ..Caller::anonymous(None) };
        app.audit.ask(&anna, "user.update", &json!({ "user": "dora" })).await.unwrap()
    };
    for _ in 0..2 {
        all.restart().await;
        let ends = until("it has an end", async || {
            let mut records = records(&all).await;
            records.retain(|record| record.of == Some(lost));
            (!records.is_empty()).then_some(records)
        })
        .await;
        let [end] = &*ends else { panic!("{ends:?}") };
        assert_eq!((end.phase, &*end.user_name, &*end.method), (AuditPhase::Failed, "anna", "user.update"));
        assert!(end.outcome.as_ref().unwrap().starts_with("unknown: "), "{end:?}");
    }
    // Of those that had one, none has another.
    let records = records(&all).await;
    for asked in records.iter().filter(|record| record.phase == AuditPhase::Asked) {
        let ends = records.iter().filter(|record| record.of == Some(asked.sequence)).count();
        assert_eq!(ends, 1, "{asked:?}");
    }
    whole(&all).await;
    all.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_is_told_once_whenever_the_orchestrator_ends() {
    let slow = SimHypervisor::builder().delay(Operation::Create, Duration::from_millis(800));
    let mut all = Installation::with_host(slow).await;
    let create = all.run::<vm::Create>(&small("web-1")).await;
    let created = told(&all, create.id, "vm.create").await;
    // It ends within the task.
    let start = all.admin.call::<vm::Start>(&StartVm { vm: "web-1".into() }).await.unwrap().task;
    all.restart().await;
    assert_eq!(all.wait_task(start).await.status, TaskStatus::Done);
    assert_eq!(told(&all, start, "vm.start").await.phase, AuditPhase::Done);

    // It ended between the end of a task and the record of that: as if that of the first task was not written.
    let db = all.orchestrator.as_ref().unwrap().app.db.clone();
    let open = AuditedTask {
        of: created.of.unwrap(),
        user: created.user,
        user_name: created.user_name.clone(),
        from: created.from.clone(),
        method: created.method.clone(),
    };
    let saga = SagaId::from_bytes(*create.id.as_bytes());
    let gone = SagaId::new();
    for task in [&saga, &gone] {
        db.audit_open.insert(task, &open).await.unwrap();
    }
    drop(db);
    all.restart().await;
    until("it is made good", async || (ends(&all, create.id).await.len() == 2).then_some(())).await;
    // A task of which there is nothing any more.
    let unknown = end(&all, TaskId::from_bytes(*gone.as_bytes())).await;
    assert!(unknown.outcome.unwrap().contains("is not known"));

    for _ in 0..2 {
        all.restart().await;
    }
    let db = all.orchestrator.as_ref().unwrap().app.db.clone();
    assert!(db.audit_open.all().await.unwrap().0.is_empty());
    drop(db);
    assert_eq!((ends(&all, create.id).await.len(), ends(&all, start).await.len()), (2, 1));
    whole(&all).await;
    all.stop().await;
}
