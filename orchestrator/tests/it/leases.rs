//! Hosts keep two of them from writing one VDI, also where the orchestrator does not know what it does.

use std::collections::BTreeSet;

use serde_json::json;
use time::OffsetDateTime;
use xenith_common_ha::Proof;
use xenith_hypervisor_agent_types::Power;
use xenith_orchestrator::db::Db;
use xenith_orchestrator::ha::{FencedRecord, HaHostRecord};
use xenith_orchestrator_api::{event, snapshot, vdi, vm};
use xenith_orchestrator_types::Reason;
use xenith_orchestrator_types::host::HostStatus;
use xenith_orchestrator_types::task::TaskStatus;

use crate::harness::{api_error, until};
use crate::migration::{becomes, running, web};
use crate::shared_storage::{data, done, id, of, sharing};

/// The record of the VM is put back to another host, as by a restore of the orchestrator from an old backup, while the
/// host that runs it is not heard.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_orchestrator_that_is_wrong_starts_no_vm_twice() {
    let mut all = sharing().await;
    let (xen1, xen2) = (id(&all, "xen1").await, id(&all, "xen2").await);
    web(&all).await;
    assert_eq!(data(&all).await.leased_to, None);
    done::<vm::Start>(&all, json!({ "vm": "web-1" })).await;
    becomes(&all, Power::Running).await;
    let lease = data(&all).await.leased_to.unwrap();
    assert_eq!((lease.host, lease.vm.unwrap().name.as_str()), (xen1, "web-1"));
    let breaks = of(json!({ "vdi": "data" }));
    let error = api_error(all.admin.call::<vdi::BreakLease>(&breaks).await);
    assert_eq!(error.reason(), Reason::WrongState, "{error}");
    assert!(error.message.contains("stop the VM"), "{error}");

    let web_1 = all.vm("web-1").await.id;
    all.hosts[0].stop_agent().await;
    all.release().await;
    let db = Db::open(&all.folder().join("data/store")).unwrap();
    db.vms.modify(&web_1, |record| record.host = xen2).await.unwrap();
    drop(db);
    all.come_back().await;
    all.wait_host("xen2", HostStatus::Connected).await;
    let start = of(json!({ "vm": "web-1" }));
    let refused = all.run::<vm::Start>(&start).await;
    assert_eq!(refused.status, TaskStatus::RolledBack, "{:?}", refused.message);
    let told = refused.message.unwrap_or_default();
    assert!(told.contains(&xen1.to_string()) && told.contains("break-lease"), "{told}");
    assert_eq!(running(&all).await, [1, 0]);

    // Somebody says that the host is dead, who is wrong.
    let plan = all.admin.plan::<vdi::BreakLease>(&breaks).await.unwrap();
    assert_eq!(plan["held_by"]["host"], json!(xen1), "{plan}");
    assert!(plan["warning"].as_str().unwrap().contains("xen1 is off"), "{plan}");
    assert_eq!(data(&all).await.leased_to.map(|lease| lease.host), Some(xen1), "a plan changes nothing");
    let other = of(json!({ "vdi": "data", "host": "xen2" }));
    let error = api_error(all.admin.call::<vdi::BreakLease>(&other).await);
    assert_eq!(error.reason(), Reason::WrongState, "{error}");
    let broken = all.admin.call::<vdi::BreakLease>(&breaks).await.unwrap();
    assert_eq!(broken.was.host, xen1);
    let told = all.admin.call::<event::List>(&of(json!({}))).await.unwrap().items;
    assert!(told.iter().any(|event| event.kind == "vdi.lease_broken" && event.message.contains("data")));
    let error = api_error(all.admin.call::<vdi::BreakLease>(&breaks).await);
    assert_eq!(error.reason(), Reason::WrongState, "nobody has it: {error}");
    done::<vm::Start>(&all, json!({ "vm": "web-1" })).await;
    assert_eq!(data(&all).await.leased_to.map(|lease| lease.host), Some(xen2));

    // The host is back, and finds that it has lost the lease.
    all.hosts[0].start_agent().await;
    until("the first one to stand", async || (running(&all).await == [0, 1]).then_some(())).await;
    all.stop().await;
}

/// A VM that was moved from a dead host, and whose start failed there: going back to a snapshot is a start like any other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vm_goes_back_where_it_was_moved_to_from_a_fenced_host() {
    let mut all = sharing().await;
    let (xen1, xen2) = (id(&all, "xen1").await, id(&all, "xen2").await);
    web(&all).await;
    done::<vm::Start>(&all, json!({ "vm": "web-1" })).await;
    becomes(&all, Power::Running).await;
    done::<snapshot::Create>(&all, json!({ "vm": "web-1", "name": "early", "memory": true })).await;
    let (web_1, disk) = (all.vm("web-1").await.id, data(&all).await.id);

    all.hosts[0].stop_agent().await;
    all.release().await;
    let db = Db::open(&all.folder().join("data/store")).unwrap();
    db.vms.modify(&web_1, |record| record.host = xen2).await.unwrap();
    db.vdis.modify(&disk, |record| record.host = xen2).await.unwrap();
    for snapshot in db.snapshots.all().await.unwrap().0 {
        db.snapshots.modify(&snapshot.key, |record| record.host = xen2).await.unwrap();
    }
    drop(db);
    all.come_back().await;
    all.wait_host("xen2", HostStatus::Connected).await;
    let refused = all.run::<vm::Start>(&of(json!({ "vm": "web-1" }))).await;
    assert_eq!(
        refused.status,
        TaskStatus::RolledBack,
        "nobody said that xen1 is dead: {:?}",
        refused.message
    );

    all.release().await;
    let db = Db::open(&all.folder().join("data/store")).unwrap();
    let fenced =
        FencedRecord { proof: Proof::Lease, at: OffsetDateTime::now_utc(), moved: BTreeSet::from([web_1]) };
    let record = HaHostRecord { fenced: Some(fenced), ..HaHostRecord::default() };
    db.ha_hosts.put(&xen1, &record).await.unwrap();
    drop(db);
    all.come_back().await;
    all.wait_host("xen2", HostStatus::Connected).await;
    done::<snapshot::Revert>(&all, json!({ "snapshot": "early", "vm": "web-1" })).await;
    assert_eq!(data(&all).await.leased_to.map(|lease| lease.host), Some(xen2));
    becomes(&all, Power::Running).await;

    // When the host is back, what it had of the VM ends.
    all.hosts[0].start_agent().await;
    until("the first one to end", async || (running(&all).await == [0, 1]).then_some(())).await;
    all.stop().await;
}

/// It has no domain, and its memory goes with the disk as it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lease_of_a_suspended_vm_is_its_hosts_as_long_as_that_is_heard() {
    let mut all = sharing().await;
    let (xen1, xen2) = (id(&all, "xen1").await, id(&all, "xen2").await);
    web(&all).await;
    done::<vm::Start>(&all, json!({ "vm": "web-1" })).await;
    done::<vm::Suspend>(&all, json!({ "vm": "web-1" })).await;
    becomes(&all, Power::Suspended).await;
    // The record of the VDI says another host, as after a restore of the orchestrator.
    let vdi = data(&all).await.id;
    all.release().await;
    let db = Db::open(&all.folder().join("data/store")).unwrap();
    db.vdis.modify(&vdi, |record| record.host = xen2).await.unwrap();
    drop(db);
    all.come_back().await;
    for host in ["xen1", "xen2"] {
        all.wait_host(host, HostStatus::Connected).await;
    }
    let error = api_error(all.admin.call::<vdi::BreakLease>(&of(json!({ "vdi": "data" }))).await);
    assert_eq!(error.reason(), Reason::WrongState, "{error}");
    assert!(error.message.contains("in use on this host"), "{error}");
    assert_eq!(data(&all).await.leased_to.map(|lease| lease.host), Some(xen1));
    all.stop().await;
}

/// It was suspended in the moment in which its host died, so another one starts it: nobody can tell the first one anything
/// of it by then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_fenced_host_has_saved_of_a_vm_ends_when_it_is_back() {
    let mut all = sharing().await;
    let (xen1, xen2) = (id(&all, "xen1").await, id(&all, "xen2").await);
    web(&all).await;
    done::<vm::Start>(&all, json!({ "vm": "web-1" })).await;
    done::<vm::Suspend>(&all, json!({ "vm": "web-1" })).await;
    becomes(&all, Power::Suspended).await;
    let (web_1, disk) = (all.vm("web-1").await.id, data(&all).await.id);
    all.hosts[0].stop_agent().await;
    all.release().await;
    let db = Db::open(&all.folder().join("data/store")).unwrap();
    db.vms.modify(&web_1, |record| record.host = xen2).await.unwrap();
    db.vdis.modify(&disk, |record| record.host = xen2).await.unwrap();
    let fenced =
        FencedRecord { proof: Proof::Lease, at: OffsetDateTime::now_utc(), moved: BTreeSet::from([web_1]) };
    let record = HaHostRecord { fenced: Some(fenced), ..HaHostRecord::default() };
    db.ha_hosts.put(&xen1, &record).await.unwrap();
    drop(db);
    all.come_back().await;
    all.wait_host("xen2", HostStatus::Connected).await;

    all.hosts[0].start_agent().await;
    let kept = &all.orchestrator.as_ref().unwrap().app.db.ha_hosts;
    until("xen1 to be a host again", async || {
        let found = kept.get(&xen1).await.unwrap();
        found.is_none_or(|kept| kept.value.fenced.is_none()).then_some(())
    })
    .await;
    until("the disk to be free", async || data(&all).await.leased_to.is_none().then_some(())).await;
    all.stop().await;
}
