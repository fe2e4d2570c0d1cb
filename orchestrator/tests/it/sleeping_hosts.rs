//! A host that the others do without goes off by itself, and comes on again when there is too little room.

use serde_json::{Value, json};
use xenith_hypervisor_agent_sim::SimHypervisor;
use xenith_orchestrator::app::PowerLooks;
use xenith_orchestrator_api::{event, host, pool, task, vdi};
use xenith_orchestrator_types::balance::BalanceStatus;
use xenith_orchestrator_types::event::ListEvents;
use xenith_orchestrator_types::host::{Host, HostRef, HostStatus};
use xenith_orchestrator_types::pool::PoolRef;
use xenith_orchestrator_types::task::{ListTasks, TaskRef, TaskStatus};

use crate::harness::{Installation, until};
use crate::power::Fake;
use crate::shared_storage::{of, sharing};

async fn status(all: &Installation) -> BalanceStatus {
    all.admin.call::<pool::BalanceStatus>(&PoolRef { pool: "default".into() }).await.unwrap()
}

async fn set(all: &Installation, mut change: Value) {
    change["pool"] = json!("default");
    all.admin.call::<pool::SetBalance>(&of(change)).await.unwrap();
}

async fn look(all: &Installation, looks: &mut PowerLooks) {
    all.orchestrator.as_ref().unwrap().app.look_at_power(looks).await.unwrap();
}

async fn xen2(all: &Installation) -> Host {
    all.admin.call::<host::Get>(&HostRef { host: "xen2".into() }).await.unwrap()
}

/// Two hosts without VMs, of which the second has power control.
async fn pair() -> (Installation, Fake) {
    let mut all = Installation::with_host(SimHypervisor::builder()).await;
    all.add_host("xen2", SimHypervisor::builder()).await;
    let fake = Fake::new().await;
    all.admin.call::<host::SetPowerControl>(&of(fake.settings("xen2", "right"))).await.unwrap();
    (all, fake)
}

/// What is told of xen2, by kind.
async fn reason(all: &Installation, kind: &str) -> String {
    until(&format!("something is told of {kind}"), async || {
        let events = all.admin.call::<event::List>(&ListEvents::default()).await.unwrap().items;
        events.into_iter().find(|event| event.kind == kind).map(|event| event.message)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_sleeps_while_the_others_do_without_it() {
    let (mut all, fake) = pair().await;
    let mut looks = PowerLooks::default();
    set(&all, json!({ "mode": "automatic", "goal": "density", "hosts_on": 1, "power_cool_down_minutes": 0 }))
        .await;
    for _ in 0..8 {
        look(&all, &mut looks).await;
    }
    assert!(!all.hosts[1].sim.is_off(), "nobody asked for it");

    set(&all, json!({ "power_hosts": true })).await;
    until("the host without VMs goes off", async || {
        look(&all, &mut looks).await;
        all.hosts[1].sim.is_off().then_some(())
    })
    .await;
    fake.says(|says| says.power = "Off".into());
    all.hosts[1].stop_agent().await;
    until("its task is done", async || {
        let tasks = all.admin.call::<task::List>(&ListTasks::default()).await.unwrap().items;
        let task = tasks.into_iter().find(|task| task.title == "Shut down xen2")?;
        assert_eq!(task.user_name, "pool balancing");
        (task.status == TaskStatus::Done).then_some(())
    })
    .await;
    let asleep = status(&all).await.asleep;
    assert_eq!((asleep[0].host, asleep[0].comes_up), (xen2(&all).await.id, false));
    assert!(xen2(&all).await.maintenance && !all.hosts[0].sim.is_off(), "xen1 has no power control");
    let said = reason(&all, "host.put_to_sleep").await;
    assert!(said.starts_with("xen2 is switched off: no VM is defined there, and without it"), "{said}");
    for _ in 0..4 {
        look(&all, &mut looks).await;
    }
    assert!(fake.told().is_empty(), "there is room");

    // Two hosts must be on now. It is told so once, however often it is looked at.
    set(&all, json!({ "hosts_on": 2 })).await;
    until("it is switched on", async || {
        look(&all, &mut looks).await;
        (fake.told() == ["On"]).then_some(())
    })
    .await;
    look(&all, &mut looks).await;
    assert_eq!(fake.told(), ["On"]);
    assert!(status(&all).await.asleep[0].comes_up);
    all.hosts[1].start_agent().await;
    all.wait_host("xen2", HostStatus::Connected).await;
    until("it takes VMs again", async || {
        look(&all, &mut looks).await;
        (!xen2(&all).await.maintenance && status(&all).await.asleep.is_empty()).then_some(())
    })
    .await;
    let said = reason(&all, "host.woken").await;
    assert_eq!(said, "xen2 is switched on: of the pool 1 host is on, and 2 must be");
    reason(&all, "host.awake").await;
    all.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_fills_a_disk_stays_up() {
    let (all, fake) = (sharing().await, Fake::new().await);
    all.admin.call::<host::SetPowerControl>(&of(fake.settings("xen2", "right"))).await.unwrap();
    // In an SR that the other host reaches, too, and waiting for who sends it.
    let upload = json!({ "name": "data", "host": "xen2", "sr": "nas", "capacity": 1 << 20 });
    let fills = all.admin.call::<vdi::Upload>(&of(upload)).await.unwrap().task;
    let mut looks = PowerLooks::default();
    let by_load = json!({ "mode": "automatic", "goal": "density", "power_hosts": true });
    set(&all, by_load).await;
    set(&all, json!({ "hosts_on": 1, "power_cool_down_minutes": 0 })).await;
    for _ in 0..8 {
        look(&all, &mut looks).await;
    }
    assert!(status(&all).await.asleep.is_empty(), "a disk is filled there");

    all.admin.call::<task::Cancel>(&TaskRef { task: fills }).await.unwrap();
    let task = all.wait_task(fills).await;
    assert_eq!(task.status, TaskStatus::RolledBack, "{:?}", task.message);
    until("it goes off", async || {
        look(&all, &mut looks).await;
        all.hosts[1].sim.is_off().then_some(())
    })
    .await;
    all.stop().await;
}
