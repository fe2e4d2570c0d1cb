//! Subscriptions that go on from where another one, or a page, was.

use serde_json::json;
use xenith_hypervisor_agent_sim::SimHypervisor;
use xenith_orchestrator_api::{InventoryChange, WatchEvents, WatchRows, WatchTasks, event, pool, vdi, vm};
use xenith_orchestrator_client::{EventChanges, Subscription, TaskChanges, Update, VdiChanges, Watch};
use xenith_orchestrator_types::task::TaskStatus;
use xenith_orchestrator_types::vdi::{CreateVdi, VdiRef};
use xenith_orchestrator_types::{ListRequest, Reason};

use crate::harness::{Installation, PATIENCE, api_error, small, until};

async fn create(of: &Installation, name: &str) {
    let size = (64 << 20).try_into().unwrap();
    of.run::<vdi::Create>(&CreateVdi { name: name.into(), size, host: "xen1".into(), sr: None }).await;
}

async fn from(of: &Installation, since: &str) -> Watch<VdiChanges> {
    let params = WatchRows { filter: String::new(), only_changes: true, since: Some(since.to_owned()) };
    of.admin.watch(&params).await.unwrap()
}

async fn item<S: Subscription>(watch: &mut Watch<S>) -> S::Item {
    let next = tokio::time::timeout(PATIENCE, watch.next()).await.expect("it is told in time");
    match next.unwrap() {
        Some(Update::Item(item)) => item,
        Some(Update::Interrupted) => panic!("the connection broke"),
        Some(Update::Continued | Update::Resumed) | None => panic!("nobody interrupted it"),
    }
}

/// What is told up to the next revision, and that revision.
async fn told(watch: &mut Watch<VdiChanges>) -> (Vec<String>, String) {
    let mut told = Vec::new();
    loop {
        match item(watch).await {
            InventoryChange::Added(vdi) => told.push(format!("+{}", vdi.name)),
            InventoryChange::Changed(vdi) => told.push(format!("={}", vdi.name)),
            InventoryChange::Removed(_) => told.push("-".to_owned()),
            InventoryChange::Resync => told.push("resync".to_owned()),
            InventoryChange::Ready { revision, .. } | InventoryChange::Seen { revision } => {
                told.sort_unstable();
                told.dedup();
                return (told, revision);
            }
        }
    }
}

/// The first that is told but `again`: what changed just before may be told once more.
async fn told_but(watch: &mut Watch<VdiChanges>, again: &[&str]) -> (Vec<String>, String) {
    loop {
        let (mut changes, revision) = told(watch).await;
        changes.retain(|change| !again.contains(&change.as_str()));
        if !changes.is_empty() {
            return (changes, revision);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_goes_on_from_a_page_and_from_itself() {
    let mut all = Installation::with_host(SimHypervisor::builder()).await;
    create(&all, "before").await;
    let listed = async |count: u64| {
        until("the list has them", async || {
            let page = all.admin.call::<vdi::List>(&ListRequest::default()).await.ok()?;
            (page.total == count).then_some(page.revision.expect("VDIs can be followed"))
        })
        .await
    };
    let page = listed(1).await;
    // Between the page and the subscription.
    create(&all, "gone").await;
    create(&all, "stays").await;
    all.run::<vdi::Delete>(&VdiRef { vdi: "gone".into() }).await;
    listed(2).await;
    let mut watch = from(&all, &page).await;
    assert_eq!(told(&mut watch).await, (vec![], page.clone()), "the page was good");
    let (changes, seen) = told_but(&mut watch, &["=before"]).await;
    assert_eq!(changes, ["-", "=stays"]);
    drop(watch);

    // From what the subscription said itself; while nobody listens something happens again.
    create(&all, "later").await;
    listed(3).await;
    let mut watch = from(&all, &seen).await;
    assert_eq!(told(&mut watch).await.0, Vec::<String>::new());
    assert_eq!(told_but(&mut watch, &["-", "=before", "=stays"]).await.0, ["=later"]);
    create(&all, "live").await;
    let (changes, seen) = told_but(&mut watch, &["-", "=stays", "=later"]).await;
    assert_eq!(changes, ["+live"]);
    drop(watch);

    let wrong = WatchRows { since: Some("yesterday".into()), ..WatchRows::default() };
    let mut watch: Watch<VdiChanges> = all.admin.watch(&wrong).await.unwrap();
    let refused = tokio::time::timeout(PATIENCE, watch.next()).await.unwrap();
    let error = api_error(refused);
    assert_eq!((error.reason(), error.data.field.as_deref()), (Reason::Invalid, Some("since")));

    all.restart().await;
    let mut watch = from(&all, &seen).await;
    let (changes, _) = told(&mut watch).await;
    assert_eq!(changes, ["resync"], "another process counts anew");
    all.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_survives_a_restart_by_itself() {
    let mut all = Installation::with_host(SimHypervisor::builder()).await;
    create(&all, "data").await;
    let mut watch: Watch<VdiChanges> = all.admin.watch(&WatchRows::default()).await.unwrap();
    assert_eq!(told(&mut watch).await.0, ["+data"]);
    all.restart().await;
    let mut seen = Vec::new();
    let back = async {
        loop {
            match watch.next().await.unwrap().unwrap() {
                Update::Interrupted => seen.push("interrupted".to_owned()),
                Update::Continued => seen.push("continued".to_owned()),
                Update::Resumed => seen.push("resumed".to_owned()),
                Update::Item(InventoryChange::Resync) => seen.push("resync".to_owned()),
                Update::Item(InventoryChange::Added(vdi)) => seen.push(vdi.name),
                Update::Item(InventoryChange::Ready { total: 1, .. }) => break,
                // Told just before the restart.
                Update::Item(_) => {}
            }
        }
    };
    tokio::time::timeout(PATIENCE, back).await.expect("it comes back");
    assert_eq!(seen, ["interrupted", "continued", "resync", "data"]);
    all.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_filtered_and_go_on_from_the_last_one() {
    let mut all = Installation::with_host(SimHypervisor::builder()).await;
    let page =
        all.admin.call::<event::List>(&serde_json::from_value(json!({ "limit": 1 })).unwrap()).await.unwrap();
    let last = page.items.first().expect("the host joined").id;
    all.add_host("xen2", SimHypervisor::builder()).await;
    all.add_host("xen3", SimHypervisor::builder()).await;
    let params = WatchEvents { filter: "kind:host.joined".into(), since: Some(last) };
    let mut watch: Watch<EventChanges> = all.admin.watch(&params).await.unwrap();
    let first = item(&mut watch).await;
    let second = item(&mut watch).await;
    for (event, host) in [(&first, "xen2"), (&second, "xen3")] {
        assert!(event.kind == "host.joined" && event.message.contains(host), "{event:?}");
    }
    drop(watch);
    let params = WatchEvents { since: Some(first.id), ..params };
    let mut watch: Watch<EventChanges> = all.admin.watch(&params).await.unwrap();
    assert_eq!(item(&mut watch).await, second);
    all.add_host("xen4", SimHypervisor::builder()).await;
    let live = item(&mut watch).await;
    assert!(live.message.contains("xen4"), "neither twice nor left out: {live:?}");
    all.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_are_filtered_and_told_when_they_no_longer_pass() {
    let all = Installation::with_host(SimHypervisor::builder()).await;
    let params = WatchTasks { task: None, filter: "method:vm.create status:running".into() };
    let mut watch: Watch<TaskChanges> = all.admin.watch(&params).await.unwrap();
    create(&all, "not a VM").await;
    let vm = all.run::<vm::Create>(&small("web-1")).await;
    loop {
        let task = item(&mut watch).await;
        assert_eq!((task.id, task.method.as_str()), (vm.id, "vm.create"));
        if task.status == TaskStatus::Done {
            break;
        }
    }
    let both = WatchTasks { task: Some(vm.id), filter: "status:done".into() };
    let mut watch: Watch<TaskChanges> = all.admin.watch(&both).await.unwrap();
    let error = api_error(tokio::time::timeout(PATIENCE, watch.next()).await.unwrap());
    assert_eq!(error.data.field.as_deref(), Some("filter"), "{error}");
    // Pools are not followed: their pages say so.
    let pools = all.admin.call::<pool::List>(&ListRequest::default()).await.unwrap();
    assert_eq!(pools.revision, None);
    all.stop().await;
}
