//! A host dies: it is proved to run nothing, its VM runs elsewhere, once, and it comes back without it.

use std::time::Instant;

use serde_json::json;
use xenith_common_ids::HostId;
use xenith_hypervisor_agent_types::Power;
use xenith_orchestrator_api::{event, ha, sr, vm};
use xenith_orchestrator_types::Reason;
use xenith_orchestrator_types::ha::{HaHostState, PoolHa};

use crate::harness::{Installation, api_error, until};
use crate::migration::{becomes, running, web};
use crate::shared_storage::{data, done, id, of, sharing};

async fn shown(all: &Installation) -> PoolHa {
    all.admin.call::<ha::Show>(&of(json!({ "pool": "default" }))).await.unwrap()
}

/// Who may write the disk.
async fn holder(all: &Installation) -> Option<HostId> {
    data(all).await.leased_to.map(|lease| lease.host)
}

pub async fn is(all: &Installation, name: &str, state: HaHostState) {
    until(&format!("{name} is {state:?}"), async || {
        let shown = shown(all).await;
        shown.hosts.iter().any(|host| host.name == name && host.state == state).then_some(())
    })
    .await;
}

/// The shortest times that a busy machine keeps: a host is fenced eleven seconds after it died.
pub async fn armed() -> Installation {
    armed_for(9).await
}

pub async fn armed_for(lease_s: u16) -> Installation {
    let all = sharing().await;
    arm(&all, lease_s).await;
    all
}

pub async fn arm(all: &Installation, lease_s: u16) {
    let enable = json!({ "pool": "default", "sr": "nas", "lease_s": lease_s, "watchdog_s": 1, "beat_s": 1 });
    all.admin.call::<ha::Enable>(&of(enable)).await.unwrap();
    is(all, "xen1", HaHostState::Armed).await;
    is(all, "xen2", HaHostState::Armed).await;
}

/// The orchestrator has written down that the VM runs there.
pub async fn is_known_to_run(all: &Installation, host: HostId) {
    let db = all.orchestrator.as_ref().unwrap().app.db.clone();
    until("it is known what runs there", async || {
        let record = db.ha_hosts.get(&host).await.unwrap()?;
        (!record.value.running.is_empty()).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_vm_of_a_dead_host_runs_elsewhere_and_only_there() {
    let mut all = armed().await;
    let (xen1, xen2) = (id(&all, "xen1").await, id(&all, "xen2").await);
    web(&all).await;
    done::<vm::Start>(&all, json!({ "vm": "web-1" })).await;
    becomes(&all, Power::Running).await;
    is_known_to_run(&all, xen1).await;
    assert_eq!(holder(&all).await, Some(xen1));
    let detached = api_error(all.admin.call::<sr::Detach>(&of(json!({ "sr": "nas", "host": "xen2" }))).await);
    assert!(detached.message.contains("leases"), "{detached}");

    // The agent goes first, which is the same to everybody else: nothing of the host is heard.
    let died = Instant::now();
    all.hosts[0].stop_agent().await;
    all.hosts[0].sim.reboot_host();
    let step = |what: &str| println!("{:>6.1} s  {what}", died.elapsed().as_secs_f64());
    is(&all, "xen1", HaHostState::Suspected).await;
    step("suspected: nothing was heard for three beats");
    assert_eq!(running(&all).await, [0, 0], "nobody starts it on a suspicion");
    is(&all, "xen1", HaHostState::Fenced).await;
    step("fenced: its lease has ended by any clock");
    until("web-1 to run on xen2", async || {
        let vm = all.vm("web-1").await;
        (vm.host == Some(xen2) && vm.power == Power::Running).then_some(())
    })
    .await;
    step("its VM runs elsewhere");
    assert_eq!(running(&all).await, [0, 1]);
    assert_eq!(holder(&all).await, Some(xen2), "the fenced host lost its lease");

    // It comes back with the VM in its journal, and gives it up.
    let record = all.hosts[0].folder().join(format!("state/vms/{}.json", all.vm("web-1").await.id));
    assert!(record.exists());
    all.hosts[0].start_agent().await;
    is(&all, "xen1", HaHostState::Armed).await;
    step("the dead host is back, and is a host again");
    assert!(!record.exists());
    assert_eq!(running(&all).await, [0, 1]);
    assert_eq!(holder(&all).await, Some(xen2), "and takes nothing when it is back");
    for kind in ["host.fenced", "vm.restarted", "host.welcomed"] {
        until(&format!("{kind} is told"), async || {
            let told = all.admin.call::<event::List>(&of(json!({}))).await.unwrap().items;
            told.iter().any(|event| event.kind == kind).then_some(())
        })
        .await;
    }
    all.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_orchestrator_that_starts_fences_nobody_and_off_is_off() {
    let mut all = armed().await;
    let xen1 = id(&all, "xen1").await;
    web(&all).await;
    done::<vm::Start>(&all, json!({ "vm": "web-1" })).await;
    is_known_to_run(&all, xen1).await;
    let priority = json!({ "vm": "web-1", "priority": "high" });
    let set = all.admin.call::<ha::SetPriority>(&of(priority.clone())).await.unwrap();
    assert_eq!(set.priorities.len(), 1);

    // An orchestrator that has just started has heard nobody: it waits.
    all.restart().await;
    is(&all, "xen1", HaHostState::Armed).await;
    assert_eq!(running(&all).await, [1, 0]);
    assert!(all.hosts[0].sim.watchdog().bites_at.is_some());

    let off = all.admin.call::<ha::Disable>(&of(json!({ "pool": "default" }))).await.unwrap();
    assert!(off.armed.is_none());
    for host in ["xen1", "xen2"] {
        is(&all, host, HaHostState::Unarmed).await;
    }
    until("the watchdogs are let go", async || {
        all.hosts.iter().all(|host| host.sim.watchdog().bites_at.is_none()).then_some(())
    })
    .await;
    let refused = api_error(all.admin.call::<ha::SetPriority>(&of(priority)).await);
    assert_eq!(refused.reason(), Reason::WrongState);
    assert_eq!(running(&all).await, [1, 0]);
    all.stop().await;
}
