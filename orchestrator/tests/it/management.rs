//! The management interface of a host is changed, kept when it was heard over that, and otherwise as it was.

use serde_json::{Value, json};
use xenith_hypervisor_agent_sim::{NewWay, SimHypervisor};
use xenith_hypervisor_agent_types::management::Addressing;
use xenith_orchestrator_api::{event, ha, host, task};
use xenith_orchestrator_types::Reason;
use xenith_orchestrator_types::event::ListEvents;
use xenith_orchestrator_types::ha::HaHostState;
use xenith_orchestrator_types::host::{Host, HostRef, HostStatus};
use xenith_orchestrator_types::task::{Task, TaskRef, TaskStatus};

use crate::ha::is;
use crate::harness::{Installation, api_error, until};
use crate::shared_storage::{of, sharing};

fn change(more: Value) -> Value {
    let mut params = json!({ "host": "xen1" });
    params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    params
}

async fn ended(all: &Installation, more: Value) -> Task {
    let begun = all.admin.call::<host::SetManagement>(&of(change(more))).await.unwrap().task;
    all.wait_task(begun).await
}

async fn xen1(all: &Installation) -> Host {
    all.admin.call::<host::Get>(&HostRef { host: "xen1".into() }).await.unwrap()
}

async fn events(all: &Installation, kind: &str) -> u64 {
    let request = ListEvents { filter: format!("kind:{kind}"), ..ListEvents::default() };
    all.admin.call::<event::List>(&request).await.unwrap().total
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_is_heard_keeps_its_new_interface_and_others_go_back() {
    let all = Installation::with_host(SimHypervisor::builder()).await;
    let sim = &all.hosts[0].sim;
    let before = sim.management().management;
    let (_, port) =
        xen1(&all).await.address.rsplit_once(':').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    // Heard there as well, under another name.
    let moved = format!("localhost:{port}");
    let wanted =
        json!({ "address": "192.0.2.6/24", "gateway": "192.0.2.1", "vlan": 7, "agent_address": moved });

    let plan = all.admin.plan::<host::SetManagement>(&of(change(wanted.clone()))).await.unwrap();
    assert!(plan["then"].as_str().unwrap().contains("VLAN 7: 192.0.2.6/24, gateway 192.0.2.1"), "{plan}");
    for (more, field) in [
        (json!({ "interfaces": ["eth9"] }), "interfaces"),
        (json!({ "interfaces": ["eth0", "eth1"] }), "bond"),
        (json!({ "address": "192.0.2.6/24", "gateway": "10.0.0.1" }), "gateway"),
        (json!({ "vlan": 7, "agent_address": "nowhere" }), "agent_address"),
    ] {
        let error = api_error(all.admin.call::<host::SetManagement>(&of(change(more))).await);
        assert_eq!((error.reason(), error.data.field.as_deref()), (Reason::Invalid, Some(field)));
    }
    assert_eq!(sim.management().management, before, "nothing of that was carried out");

    sim.set_new_way(NewWay::LeadsNowhere);
    let task = ended(&all, wanted.clone()).await;
    assert_eq!(task.status, TaskStatus::RolledBack);
    assert!(task.message.as_deref().unwrap_or_default().contains("went back"), "{task:?}");
    assert_eq!((sim.management().management, sim.management().kept), (before.clone(), None));
    assert!(!xen1(&all).await.address.starts_with("localhost"));
    assert_eq!(events(&all, "host.management_went_back").await, 1);

    sim.set_new_way(NewWay::Works);
    let task = ended(&all, wanted.clone()).await;
    assert_eq!(task.status, TaskStatus::Done, "{:?}", task.message);
    let now = sim.management();
    assert_eq!(now.management.address, "192.0.2.6/24".parse::<Addressing>().unwrap());
    assert_eq!((now.management.dns, now.on_trial), (before.dns, None), "what is left out stays");
    assert_eq!(xen1(&all).await.address, moved);
    all.wait_host("xen1", HostStatus::Connected).await;
    let error = api_error(all.admin.call::<host::SetManagement>(&of(change(wanted))).await);
    assert_eq!(error.reason(), Reason::WrongState, "it is so already, and nobody holds the host: {error}");

    sim.set_new_way(NewWay::NotOurs);
    let error = api_error(all.admin.call::<host::SetManagement>(&of(change(json!({ "vlan": 0 })))).await);
    assert_eq!(error.reason(), Reason::WrongState);
    assert!(error.message.contains("/etc/network/interfaces"), "{error}");
    all.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn high_availability_waits_for_a_host_whose_interface_is_on_trial() {
    let all = sharing().await;
    // It is on trial there, and not heard.
    let wanted = change(json!({ "vlan": 7, "agent_address": "127.0.0.1:1" }));
    let begun = all.admin.call::<host::SetManagement>(&of(wanted)).await.unwrap().task;
    let enable = json!({ "pool": "default", "sr": "nas", "lease_s": 9, "watchdog_s": 1, "beat_s": 1 });
    all.admin.call::<ha::Enable>(&of(enable)).await.unwrap();
    // Not armed, for nobody else sees its lease meanwhile; but it was told to be.
    until("the other host to feed its watchdog", async || {
        all.hosts[1].sim.watchdog().bites_at.is_some().then_some(())
    })
    .await;
    is(&all, "xen1", HaHostState::Unarmed).await;
    assert!(all.hosts[0].sim.watchdog().bites_at.is_none());
    let db = all.orchestrator.as_ref().unwrap().app.db.clone();
    let record = db.hosts.get(&xen1(&all).await.id).await.unwrap().unwrap().value;
    assert!(record.is_disarmed(), "nobody goes by its lease: {record:?}");

    all.admin.call::<task::Cancel>(&TaskRef { task: begun }).await.unwrap();
    assert_eq!(all.wait_task(begun).await.status, TaskStatus::RolledBack);
    is(&all, "xen1", HaHostState::Armed).await;
    let error = api_error(all.admin.call::<host::SetManagement>(&of(change(json!({ "vlan": 7 })))).await);
    assert!(error.reason() == Reason::WrongState && error.message.contains("ha disable"), "{error}");
    all.stop().await;
}
