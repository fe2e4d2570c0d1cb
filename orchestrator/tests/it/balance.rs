//! A pool whose hosts are unlike full: what is proposed, what is moved when somebody asks, and what without being asked.

use serde_json::{Value, json};
use xenith_common_ids::HostId;
use xenith_hypervisor_agent_sim::SimHypervisor;
use xenith_hypervisor_agent_types::Power;
use xenith_orchestrator::app::{App, Looks};
use xenith_orchestrator_api::{event, pool, task, vm};
use xenith_orchestrator_types::Reason;
use xenith_orchestrator_types::balance::BalanceStatus;
use xenith_orchestrator_types::event::ListEvents;
use xenith_orchestrator_types::pool::PoolRef;
use xenith_orchestrator_types::task::{ListTasks, TaskStatus};

use crate::harness::{Installation, api_error, small, until};
use crate::shared_storage::{done, id, of};

const VMS: [&str; 6] = ["web-1", "web-2", "web-3", "web-4", "web-5", "web-6"];

fn app(all: &Installation) -> &App {
    &all.orchestrator.as_ref().unwrap().app
}

/// Two hosts of 64 GiB; on the first six VMs of 5 GiB, without disks, so that both hosts reach what they need. (What starts is
/// counted twice for a moment, as memory that is used and that is promised: more would not be let in so fast.)
async fn lopsided() -> Installation {
    let mut all = Installation::with_host(SimHypervisor::builder()).await;
    all.add_host("xen2", SimHypervisor::builder()).await;
    for name in VMS {
        let mut new = serde_json::to_value(small(name)).unwrap();
        new["memory"] = json!({ "target": 5120, "max": 5120 });
        new["vcpus"] = json!({ "online": 1, "max": 1 });
        (new["disks"], new["host"], new["start"]) = (json!([]), json!("xen1"), json!(true));
        done::<vm::Create>(&all, new).await;
    }
    for name in VMS {
        until("it to run", async || (all.vm(name).await.power == Power::Running).then_some(())).await;
    }
    all
}

async fn status(all: &Installation) -> BalanceStatus {
    all.admin.call::<pool::BalanceStatus>(&PoolRef { pool: "default".into() }).await.unwrap()
}

async fn set(all: &Installation, mut change: Value) {
    change["pool"] = json!("default");
    all.admin.call::<pool::SetBalance>(&of(change)).await.unwrap();
}

async fn plan(all: &Installation) -> Value {
    all.admin.plan::<pool::Balance>(&of(json!({ "pool": "default" }))).await.unwrap()
}

/// Once the hosts have told of their memory as it is now.
async fn until_moves(all: &Installation, count: usize) -> Value {
    until(&format!("a plan has {count} moves"), async || {
        let plan = plan(all).await;
        (plan["moves"].as_array().unwrap().len() == count).then_some(plan)
    })
    .await
}

/// VMs that are recorded on a host.
async fn count_on(all: &Installation, host: HostId) -> usize {
    let mut count = 0;
    for name in VMS {
        count += usize::from(all.vm(name).await.host == Some(host));
    }
    count
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vms_go_from_a_full_host_to_an_empty_one_as_far_as_the_limits_allow() {
    let all = lopsided().await;
    let xen2 = id(&all, "xen2").await;
    set(&all, json!({ "threshold_percent": 5 })).await;
    let told = until_moves(&all, 3).await;
    assert_eq!(told["title"], "Balance default", "{told}");
    let first = &told["moves"][0];
    assert!(first["from_name"] == "xen1" && first["to_name"] == "xen2", "{told}");
    assert!(first["reason"].as_str().unwrap().contains("of its memory, the pool at"), "{told}");
    assert_eq!(told["hosts"].as_array().unwrap().len(), 2, "{told}");

    // Nobody asks: it is proposed, and nothing moves.
    set(&all, json!({ "mode": "propose" })).await;
    let proposal = until("it is proposed", async || {
        app(&all).look_at_balance(&mut Looks::default()).await.unwrap();
        status(&all).await.proposal.filter(|proposal| proposal.moves.len() == 3)
    })
    .await;
    assert_eq!(proposal.moves[0].to, xen2);
    assert_eq!(count_on(&all, xen2).await, 0);

    // An hour has two moves; then no more.
    set(&all, json!({ "mode": "off", "per_hour": 2 })).await;
    assert_eq!(status(&all).await.proposal, None, "it was made by other rules");
    let task = done::<pool::Balance>(&all, json!({ "pool": "default" })).await;
    assert_eq!((task.method.as_str(), task.user_name.as_str()), ("pool.balance", "admin"));
    assert_eq!(count_on(&all, xen2).await, 2);
    let now = status(&all).await;
    assert_eq!((now.moved_last_hour, now.task), (2, None));
    let told = until_moves(&all, 0).await;
    assert!(told["notes"][0].as_str().unwrap().contains("the 2 moves that an hour may have"), "{told}");
    let error = api_error(all.admin.call::<pool::Balance>(&of(json!({ "pool": "default" }))).await);
    assert_eq!(error.reason(), Reason::WrongState, "{error}");

    // The rest goes without being asked, once the host was found too full some times.
    set(&all, json!({ "per_hour": 60 })).await;
    until_moves(&all, 1).await;
    set(&all, json!({ "mode": "automatic" })).await;
    // As some minutes later: nobody plans while hosts may still tell of what has left them.
    let pool = status(&all).await.pool;
    app(&all).db.balances.modify(&pool, |record| record.moved.clear()).await.unwrap();
    let mut looks = Looks::default();
    until("a VM moves by itself", async || {
        app(&all).look_at_balance(&mut looks).await.unwrap();
        let now = status(&all).await;
        (now.moved_last_hour == 1 && now.task.is_none()).then_some(())
    })
    .await;
    assert_eq!(count_on(&all, xen2).await, 3);
    let tasks = all.admin.call::<task::List>(&ListTasks::default()).await.unwrap().items;
    let by_itself = tasks.iter().find(|task| task.title == "Balance default").unwrap().id;
    let by_itself = all.wait_task(by_itself).await;
    assert_eq!((by_itself.user_name.as_str(), by_itself.status), ("pool balancing", TaskStatus::Done));
    for kind in ["pool.balance_proposed", "pool.balanced"] {
        until(&format!("{kind} is told"), async || {
            let events = all.admin.call::<event::List>(&ListEvents::default()).await.unwrap().items;
            events.iter().any(|event| event.kind == kind).then_some(())
        })
        .await;
    }
    all.stop().await;
}
