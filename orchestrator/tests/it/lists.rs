//! Hosts and VDIs in the filter language, and followed.

use std::collections::BTreeMap;

use xenith_hypervisor_agent_sim::SimHypervisor;
use xenith_hypervisor_agent_types::Power;
use xenith_orchestrator_api::{InventoryChange, Method, WatchRows, host, vdi, vm};
use xenith_orchestrator_client::{HostChanges, Subscription, Update, VdiChanges, VmChanges, Watch};
use xenith_orchestrator_types::host::{HostMaintenance, HostStatus};
use xenith_orchestrator_types::vdi::{CreateVdi, VdiRef};
use xenith_orchestrator_types::vm::{CompleteFilter, PowerOffVm, VmRow};
use xenith_orchestrator_types::{ListRequest, Page, Reason};

use crate::harness::{Installation, PATIENCE, api_error, small, until};

fn request(filter: &str, sort: &str) -> ListRequest {
    ListRequest { filter: filter.into(), sort: sort.into(), ..ListRequest::default() }
}

/// The names that a filter finds, in the order asked for.
async fn names<M, T>(of: &Installation, filter: &str, sort: &str, name: fn(T) -> String) -> String
where
    M: Method<Params = ListRequest, Result = Page<T>>,
{
    let page = of.admin.call::<M>(&request(filter, sort)).await.unwrap();
    page.items.into_iter().map(name).collect::<Vec<_>>().join(" ")
}

async fn create_vdi(of: &Installation, name: &str, mib: u64) {
    let size = (mib << 20).try_into().unwrap();
    of.run::<vdi::Create>(&CreateVdi { name: name.into(), size, host: "xen1".into(), sr: None }).await;
}

/// As `names`, until it is so: the read model is told a moment after the store.
async fn finds<M, T>(of: &Installation, (filter, sort): (&str, &str), name: fn(T) -> String, wanted: &str)
where
    M: Method<Params = ListRequest, Result = Page<T>>,
{
    until(&format!("{filter:?} by {sort:?} finds {wanted:?}"), async || {
        (names::<M, T>(of, filter, sort, name).await == wanted).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hosts_are_filtered_sorted_and_paged() {
    let mut all = Installation::with_host(SimHypervisor::builder()).await;
    all.add_host("xen2", SimHypervisor::builder()).await;
    let maintenance = HostMaintenance { host: "xen2".into(), maintenance: true };
    all.admin.call::<host::SetMaintenance>(&maintenance).await.unwrap();
    for (filter, sort, wanted) in [
        ("", "", "xen1 xen2"),
        ("", "-name", "xen2 xen1"),
        ("xen", "memory", "xen1 xen2"),
        ("status:connected maintenance:off", "", "xen1"),
        ("maintenance:on", "", "xen2"),
        ("pool:default name:/2$/", "", "xen2"),
        ("memory:>1GiB -xen1", "", "xen2"),
        ("status:unknown", "", ""),
    ] {
        finds::<host::List, _>(&all, (filter, sort), |host| host.name, wanted).await;
    }
    let first = ListRequest { limit: 1, ..request("", "-name") };
    let page = all.admin.call::<host::List>(&first).await.unwrap();
    assert_eq!((page.items[0].name.as_str(), page.total), ("xen2", 2));
    let second = ListRequest { cursor: page.next, ..first };
    let page = all.admin.call::<host::List>(&second).await.unwrap();
    assert_eq!((page.items[0].name.as_str(), page.next), ("xen1", None));
    for (wrong, field) in [(request("powr:on", ""), "filter"), (request("", "colour"), "sort")] {
        let error = api_error(all.admin.call::<host::List>(&wrong).await);
        assert_eq!((error.reason(), error.data.field.as_deref()), (Reason::Invalid, Some(field)), "{error}");
    }
    all.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vdis_are_filtered_by_what_they_are_and_who_has_them() {
    let all = Installation::with_host(SimHypervisor::builder()).await;
    create_vdi(&all, "data", 64).await;
    create_vdi(&all, "logs", 128).await;
    all.run::<vm::Create>(&small("web-1")).await;
    for (filter, sort, wanted) in [
        ("", "", "data logs web-1-xvda"),
        ("", "-size", "web-1-xvda logs data"),
        ("size:<100MiB", "", "data"),
        ("attached:no", "", "data logs"),
        ("vm:web", "", "web-1-xvda"),
        ("host:xen1 og", "", "logs"),
        ("pool:other", "", ""),
    ] {
        finds::<vdi::List, _>(&all, (filter, sort), |vdi| vdi.name, wanted).await;
    }
    all.stop().await;
}

/// What a subscriber knows by name, after each message.
async fn follow<S, T, Id>(
    watch: &mut Watch<S>,
    rows: &mut BTreeMap<String, T>,
    enough: impl Fn(&BTreeMap<String, T>) -> bool,
) where
    S: Subscription<Item = InventoryChange<T, Id>>,
    T: serde::Serialize,
    Id: ToString,
{
    let following = async {
        while !enough(rows) {
            match watch.next().await.unwrap().unwrap() {
                Update::Item(InventoryChange::Added(row) | InventoryChange::Changed(row)) => {
                    let shown = serde_json::to_value(&row).unwrap();
                    rows.insert(shown["id"].as_str().unwrap().to_owned(), row);
                }
                Update::Item(InventoryChange::Removed(id)) => {
                    rows.remove(&id.to_string()).expect("only what was told is taken back");
                }
                Update::Item(InventoryChange::Ready { total, .. }) => assert_eq!(total, rows.len() as u64),
                Update::Item(InventoryChange::Seen { .. }) => {}
                other => panic!(
                    "not expected on a connection that holds: {}",
                    matches!(other, Update::Interrupted)
                ),
            }
        }
    };
    tokio::time::timeout(PATIENCE, following).await.expect("the subscriber is told in time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hosts_and_vdis_are_followed() {
    let mut all = Installation::with_host(SimHypervisor::builder()).await;
    let everything = WatchRows::default();
    let mut hosts: Watch<HostChanges> = all.admin.watch(&everything).await.unwrap();
    let mut known = BTreeMap::new();
    let status = |known: &BTreeMap<_, xenith_orchestrator_types::host::Host>, status, maintenance| {
        known.values().any(|host| host.status == status && host.maintenance == maintenance)
    };
    follow::<HostChanges, _, _>(&mut hosts, &mut known, |known| status(known, HostStatus::Connected, false))
        .await;
    let maintenance = HostMaintenance { host: "xen1".into(), maintenance: true };
    all.admin.call::<host::SetMaintenance>(&maintenance).await.unwrap();
    follow::<HostChanges, _, _>(&mut hosts, &mut known, |known| status(known, HostStatus::Connected, true))
        .await;
    all.hosts[0].stop_agent().await;
    follow::<HostChanges, _, _>(&mut hosts, &mut known, |known| status(known, HostStatus::Unknown, true))
        .await;
    all.hosts[0].start_agent().await;
    follow::<HostChanges, _, _>(&mut hosts, &mut known, |known| status(known, HostStatus::Connected, true))
        .await;

    let filter = WatchRows { filter: "name:data".into(), ..WatchRows::default() };
    let mut vdis: Watch<VdiChanges> = all.admin.watch(&filter).await.unwrap();
    let mut known = BTreeMap::new();
    create_vdi(&all, "data", 64).await;
    create_vdi(&all, "logs", 64).await;
    follow::<VdiChanges, _, _>(&mut vdis, &mut known, |known| known.len() == 1).await;
    all.run::<vdi::Delete>(&VdiRef { vdi: "data".into() }).await;
    follow::<VdiChanges, _, _>(&mut vdis, &mut known, |known| known.is_empty()).await;
    all.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vms_are_counted_completed_and_followed() {
    let all = Installation::with_host(SimHypervisor::builder()).await;
    let mut web = small("web-1");
    web.tags.insert("prod".into());
    web.start = true;
    all.run::<vm::Create>(&web).await;
    all.run::<vm::Create>(&small("db-1")).await;
    for (filter, total, running) in [
        ("", 2, 1),
        ("name:db", 1, 0),
        ("tag:prod", 1, 1),
        ("tag:other", 0, 0),
        ("name:db or tag:prod", 2, 1),
    ] {
        until(&format!("{filter:?} counts {total}, of which {running} run"), async || {
            let count = all.admin.call::<vm::Count>(&request(filter, "")).await.unwrap();
            ((count.total, count.running) == (total, running)).then_some(())
        })
        .await;
    }
    let error = api_error(all.admin.call::<vm::Count>(&request("powr:on", "")).await);
    assert_eq!((error.reason(), error.data.field.as_deref()), (Reason::Invalid, Some("filter")), "{error}");

    for (text, from, expected) in [("power:runn", 6, "running"), ("db tag:", 7, "prod"), ("pow", 0, "power:")]
    {
        let told = all.admin.call::<vm::Complete>(&CompleteFilter { text: text.into() }).await.unwrap();
        let candidates: Vec<_> = told.candidates.iter().map(|candidate| candidate.text.as_str()).collect();
        assert!(told.from == from && candidates.contains(&expected), "{text}: {told:?}");
    }

    let filter = WatchRows { filter: "tag:prod".into(), ..WatchRows::default() };
    let mut vms: Watch<VmChanges> = all.admin.watch(&filter).await.unwrap();
    let mut known = BTreeMap::new();
    let only = |known: &BTreeMap<_, VmRow>, power| {
        known.len() == 1 && known.values().all(|vm| vm.name == "web-1" && vm.power == power)
    };
    follow::<VmChanges, _, _>(&mut vms, &mut known, |known| only(known, Power::Running)).await;
    all.run::<vm::PowerOff>(&PowerOffVm { vm: "web-1".into(), discard_memory: false }).await;
    follow::<VmChanges, _, _>(&mut vms, &mut known, |known| only(known, Power::Stopped)).await;
    // It no longer passes, so it is taken back.
    let update = serde_json::from_value(serde_json::json!({ "vm": "web-1", "tags": [] })).unwrap();
    all.run::<vm::Update>(&update).await;
    follow::<VmChanges, _, _>(&mut vms, &mut known, |known| known.is_empty()).await;
    all.stop().await;
}
