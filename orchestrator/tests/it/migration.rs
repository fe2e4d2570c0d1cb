//! A VM moves between hosts that reach its disks, and what speaks against it is said before.

use std::time::Duration;

use serde_json::{Value, json};
use xenith_hypervisor_agent_backend::Hypervisor;
use xenith_hypervisor_agent_sim::{Failure, FaultRule, Operation, SimHypervisor};
use xenith_hypervisor_agent_types::{DomainStatus, Power};
use xenith_orchestrator_api::{host, vdi, vm};
use xenith_orchestrator_types::Reason;
use xenith_orchestrator_types::host::Evacuation;
use xenith_orchestrator_types::task::TaskStatus;
use xenith_orchestrator_types::vdi::{Vdi, VdiRef};

use crate::harness::{Installation, api_error, small, until};
use crate::shared_storage::{done, id, of, sharing};

/// Domains that run, on each host.
pub async fn running(all: &Installation) -> Vec<usize> {
    let mut counts = Vec::new();
    for host in &all.hosts {
        let domains = host.sim.domains().await.unwrap();
        counts.push(domains.iter().filter(|domain| domain.status == DomainStatus::Running).count());
    }
    counts
}

/// On xen1, with a disk in the SR that both hosts have.
pub async fn web(all: &Installation) {
    done::<vdi::Create>(all, json!({ "name": "data", "host": "xen1", "sr": "nas", "size": 1 << 20 })).await;
    let mut create = serde_json::to_value(small("web-1")).unwrap();
    create["disks"] = json!([{ "vdi": "data" }]);
    create["host"] = json!("xen1");
    done::<vm::Create>(all, create).await;
    until("its host to tell of it", async || {
        let told = all.vm("web-1").await.observed.is_some();
        told.then_some(())
    })
    .await;
}

pub async fn becomes(all: &Installation, power: Power) {
    until("its power", async || (all.vm("web-1").await.power == power).then_some(())).await;
}

async fn refused(all: &Installation, params: Value) -> (Reason, String) {
    let error = api_error(all.admin.plan::<vm::Migrate>(&of(params)).await);
    let detail = error.data.detail.join("; ");
    (error.reason(), format!("{} {detail}", error.message))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vm_moves_off_and_running_and_its_disk_with_it() {
    let all = sharing().await;
    let (xen1, xen2) = (id(&all, "xen1").await, id(&all, "xen2").await);
    web(&all).await;
    let disk = async || -> Vdi { all.admin.call::<vdi::Get>(&VdiRef { vdi: "data".into() }).await.unwrap() };

    let plan = all.admin.plan::<vm::Migrate>(&of(json!({ "vm": "web-1" }))).await.unwrap();
    assert_eq!((&plan["from"], &plan["to"]), (&json!(xen1), &json!(xen2)), "{plan}");
    assert!(plan["how"].as_str().unwrap().contains("it is off"), "{plan}");
    assert_eq!(all.vm("web-1").await.host, Some(xen1), "a plan changes nothing");

    done::<vm::Migrate>(&all, json!({ "vm": "web-1" })).await;
    assert_eq!((all.vm("web-1").await.host, disk().await.host), (Some(xen2), xen2));
    done::<vm::Start>(&all, json!({ "vm": "web-1" })).await;
    becomes(&all, Power::Running).await;
    let run = all.vm("web-1").await.observed.unwrap().incarnation;
    assert_eq!(running(&all).await, [0, 1]);

    let plan = all.admin.plan::<vm::Migrate>(&of(json!({ "vm": "web-1" }))).await.unwrap();
    assert!(plan["how"].as_str().unwrap().contains("as it runs"), "{plan}");
    // Hosts may reach each other by a way of their own.
    let peers = |address: Value| of(json!({ "host": "xen1", "address": address }));
    let wrong = api_error(all.admin.call::<host::SetPeerAddress>(&peers(json!("10.0.0.1:8444"))).await);
    assert_eq!((wrong.reason(), wrong.data.field.as_deref()), (Reason::Invalid, Some("address")));
    let told = all.admin.call::<host::SetPeerAddress>(&peers(json!("127.0.0.1"))).await.unwrap();
    assert_eq!(told.peer_address.as_deref(), Some("127.0.0.1"));
    done::<vm::Migrate>(&all, json!({ "vm": "web-1", "host": "xen1" })).await;
    let told = all.admin.call::<host::SetPeerAddress>(&peers(Value::Null)).await.unwrap();
    assert_eq!(told.peer_address, None);
    let moved = until("the new host to tell of it", async || {
        let vm = all.vm("web-1").await;
        (vm.power == Power::Running && vm.host == Some(xen1)).then_some(vm)
    })
    .await;
    assert_eq!(moved.observed.unwrap().incarnation, run, "the same run goes on");
    assert_eq!((running(&all).await, disk().await.host), (vec![1, 0], xen1));
    assert_eq!(disk().await.leased_to.map(|lease| lease.host), Some(xen1), "its lease went along");

    // What fails on the way leaves it where it is.
    all.hosts[1].sim.inject(FaultRule::fail(Operation::Resume, Failure::NoMemory));
    let failed = all.run::<vm::Migrate>(&of(json!({ "vm": "web-1" }))).await;
    assert_eq!(failed.status, TaskStatus::RolledBack, "{:?}", failed.message);
    until("it to run on", async || (running(&all).await == [1, 0]).then_some(())).await;
    becomes(&all, Power::Running).await;
    assert_eq!(all.vm("web-1").await.host, Some(xen1));

    // And then the whole host.
    let plan = all.admin.plan::<host::Evacuate>(&of(json!({ "host": "xen1" }))).await.unwrap();
    assert_eq!((&plan["vms"][0]["name"], &plan["vms"][0]["to_name"]), (&json!("web-1"), &json!("xen2")));
    let there = &all.hosts[1].sim;
    there.inject(FaultRule::hang(Operation::Resume, Duration::from_secs(600)));
    let before = there.calls(Operation::Resume);
    let evacuated: Evacuation =
        all.admin.call::<host::Evacuate>(&of(json!({ "host": "xen1" }))).await.unwrap();
    // Neither of the two is forgotten in the middle.
    for host in ["xen1", "xen2"] {
        let remove = of(json!({ "host": host, "force": true }));
        let error = api_error(all.admin.call::<host::Remove>(&remove).await);
        assert!(error.reason() == Reason::WrongState && error.message.contains("by task"), "{host}: {error}");
    }
    until("it to be built there", async || (there.calls(Operation::Resume) > before).then_some(())).await;
    there.hurry();
    let task = all.wait_task(evacuated.vms[0].task.unwrap()).await;
    assert_eq!(task.status, TaskStatus::Done, "{:?}", task.message);
    assert_eq!(running(&all).await, [0, 1]);
    assert!(all.wait_host("xen1", xenith_orchestrator_types::host::HostStatus::Connected).await.maintenance);
    all.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_speaks_against_it_is_said_before() {
    let mut all = Installation::with_host(SimHypervisor::builder()).await;
    all.add_host("xen2", SimHypervisor::builder()).await;
    let mut local = serde_json::to_value(small("web-1")).unwrap();
    local["disks"] = json!([{ "size": 1 << 20 }]);
    (local["host"], local["start"]) = (json!("xen1"), json!(true));
    done::<vm::Create>(&all, local).await;
    let mut pv = serde_json::to_value(small("old-1")).unwrap();
    pv["platform"] = json!({ "kind": "pv", "boot": { "kernel": "vmlinuz" } });
    (pv["host"], pv["start"]) = (json!("xen1"), json!(true));
    done::<vm::Create>(&all, pv).await;
    for name in ["web-1", "old-1"] {
        until("it to run", async || (all.vm(name).await.power == Power::Running).then_some(())).await;
    }
    let migrate = |vm: &str| json!({ "vm": vm });

    let (reason, said) = refused(&all, migrate("web-1")).await;
    assert_eq!(reason, Reason::NoPlacement, "{said}");
    assert!(said.contains("xen2 does not reach SR local-xen1"), "{said}");
    let (reason, said) = refused(&all, migrate("old-1")).await;
    assert_eq!(reason, Reason::WrongState, "{said}");
    assert!(said.contains("pv guest"), "{said}");
    let (reason, said) = refused(&all, json!({ "vm": "old-1", "host": "xen1" })).await;
    assert!(reason == Reason::Invalid && said.contains("is there already"), "{said}");
    done::<vm::Pause>(&all, migrate("web-1")).await;
    until("it to be paused", async || (all.vm("web-1").await.power == Power::Paused).then_some(())).await;
    let (reason, said) = refused(&all, migrate("web-1")).await;
    assert!(reason == Reason::WrongState && said.contains("unpause it first"), "{said}");
    let protect = json!({ "vm": "web-1", "protection": { "migration": true } });
    done::<vm::Update>(&all, protect).await;
    let (reason, said) = refused(&all, migrate("web-1")).await;
    assert!(reason == Reason::WrongState && said.contains("protected against migration"), "{said}");

    // Each that stays is named, with the reason.
    let plan = all.admin.plan::<host::Evacuate>(&of(json!({ "host": "xen1" }))).await.unwrap();
    let vms = plan["vms"].as_array().unwrap();
    assert!(vms.len() == 2 && vms.iter().all(|vm| vm["error"].is_string()), "{plan}");
    all.stop().await;
}

/// What a host is chosen from is a moment old, and in an evacuation older than that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_vm_begins_to_move_to_a_host_that_has_just_gone_into_maintenance() {
    let all = sharing().await;
    let xen2 = id(&all, "xen2").await;
    web(&all).await;
    let hosts = &all.orchestrator.as_ref().unwrap().app.db.hosts;
    let there = of(json!({ "vm": "web-1", "host": "xen2" }));
    for _ in 0..20 {
        hosts.modify(&xen2, |record| record.maintenance = true).await.unwrap();
        let refused = api_error(all.admin.call::<vm::Migrate>(&there).await);
        assert!([Reason::Conflict, Reason::NoPlacement].contains(&refused.reason()), "{refused}");
        hosts.modify(&xen2, |record| record.maintenance = false).await.unwrap();
        until("xen2 to take VMs again", async || all.admin.plan::<vm::Migrate>(&there).await.ok()).await;
    }
    all.stop().await;
}
