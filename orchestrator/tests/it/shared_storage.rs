//! An SR that several hosts reach: where a VM with a disk in it may go.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use xenith_common_ids::HostId;
use xenith_hypervisor_agent_sim::{SimBuilder, SimHypervisor};
use xenith_hypervisor_agent_types::Power;
use xenith_orchestrator::db::Db;
use xenith_orchestrator_api::{Method, host, sr, vdi, vm};
use xenith_orchestrator_types::Reason;
use xenith_orchestrator_types::host::HostStatus;
use xenith_orchestrator_types::task::{Task, TaskStarted, TaskStatus};
use xenith_orchestrator_types::vdi::{Vdi, VdiRef};
use xenith_orchestrator_types::vm::{PlaceVm, Placement};

use crate::harness::{Installation, api_error, small, until};

pub fn of<T: serde::de::DeserializeOwned>(params: Value) -> T {
    serde_json::from_value(params).unwrap()
}

pub async fn done<M: Method<Result = TaskStarted>>(all: &Installation, params: Value) -> Task {
    let task = all.run::<M>(&of(params)).await;
    assert_eq!(task.status, TaskStatus::Done, "{}: {:?}", task.title, task.message);
    task
}

/// Two hosts, and the SR `nas` that both have attached: the same folder, as a mount of the same export would be.
pub async fn sharing() -> Installation {
    sharing_of(SimHypervisor::builder(), SimHypervisor::builder()).await
}

pub async fn sharing_of(xen1: SimBuilder, xen2: SimBuilder) -> Installation {
    let mut all = Installation::with_host(xen1).await;
    all.add_host("xen2", xen2).await;
    let path = all.hosts[0].folder().join("nas");
    let spec = json!({ "kind": "folder", "path": path });
    done::<sr::Create>(&all, json!({ "name": "nas", "host": "xen1", "spec": spec })).await;
    let nas = all.admin.call::<sr::Get>(&of(json!({ "sr": "nas" }))).await.unwrap().id;
    // No test mounts NFS: the second host and the orchestrator are told by hand.
    all.release().await;
    let db = Db::open(&all.folder().join("data/store")).unwrap();
    let hosts: BTreeSet<HostId> = db.hosts.all().await.unwrap().0.iter().map(|host| host.key).collect();
    db.srs.modify(&nas, |record| record.hosts.clone_from(&hosts)).await.unwrap();
    drop(db);
    all.hosts[1].stop_agent().await;
    let file = all.hosts[1].folder().join(format!("state/srs/{nas}.json"));
    std::fs::write(file, json!({ "sr": nas, "spec": spec }).to_string()).unwrap();
    all.hosts[1].start_agent().await;
    all.come_back().await;
    for name in ["xen1", "xen2"] {
        all.wait_host(name, HostStatus::Connected).await;
    }
    all
}

pub async fn data(all: &Installation) -> Vdi {
    all.admin.call::<vdi::Get>(&VdiRef { vdi: "data".into() }).await.unwrap()
}

pub async fn id(all: &Installation, host: &str) -> HostId {
    all.wait_host(host, HostStatus::Connected).await.id
}

fn reasons<'a>(placement: &'a Placement, host: &str) -> &'a [String] {
    &placement.candidates.iter().find(|candidate| candidate.name == host).unwrap().reasons
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vm_goes_to_any_host_that_reaches_all_of_its_srs() {
    let all = sharing().await;
    let (xen1, xen2) = (id(&all, "xen1").await, id(&all, "xen2").await);
    let new = json!({ "name": "data", "host": "xen1", "sr": "nas", "size": 1 << 20 });
    done::<vdi::Create>(&all, new).await;
    let made = data(&all).await;
    assert_eq!(made.host, xen1);
    let maintenance = of(json!({ "host": "xen1", "maintenance": true }));
    all.admin.call::<host::SetMaintenance>(&maintenance).await.unwrap();

    let wish: PlaceVm = of(json!({ "memory": 128, "vcpus": 1, "vdis": [made.id] }));
    let placement = until("xen1 is out", async || {
        let placement = all.admin.call::<vm::Place>(&wish).await.unwrap();
        (reasons(&placement, "xen1") == ["is in maintenance"]).then_some(placement)
    })
    .await;
    assert_eq!(placement.host, Some(xen2), "{placement:?}");
    assert!(
        reasons(&placement, "xen2").contains(&"reaches all SRs that it needs: nas".into()),
        "{placement:?}"
    );

    let mut create = serde_json::to_value(small("web-1")).unwrap();
    create["disks"] = json!([{ "vdi": "data" }]);
    create["start"] = json!(true);
    let plan = all.admin.plan::<vm::Create>(&of(create.clone())).await.unwrap();
    assert_eq!(plan["placement"]["host"], json!(xen2), "{plan}");
    assert_eq!(data(&all).await, made, "a plan changes nothing");

    done::<vm::Create>(&all, create).await;
    let web = all.becomes("web-1", Power::Running).await;
    assert_eq!(web.host, Some(xen2));
    // Where the VM is, its disk is worked on.
    let with_it = data(&all).await;
    assert_eq!((with_it.host, with_it.attached_to), (xen2, Some(web.id)));

    // A disk that only one of the two has decides.
    let maintenance = of(json!({ "host": "xen1", "maintenance": false }));
    all.admin.call::<host::SetMaintenance>(&maintenance).await.unwrap();
    done::<vdi::Create>(&all, json!({ "name": "local", "host": "xen1", "size": 1 << 20 })).await;
    done::<vdi::Create>(&all, json!({ "name": "shared", "host": "xen2", "sr": "nas", "size": 1 << 20 }))
        .await;
    let mut both = serde_json::to_value(small("web-2")).unwrap();
    both["disks"] = json!([{ "vdi": "shared" }, { "vdi": "local" }]);
    let plan =
        until("xen1 is back", async || all.admin.plan::<vm::Create>(&of(both.clone())).await.ok()).await;
    assert_eq!(plan["placement"]["host"], json!(xen1), "{plan}");
    both["host"] = json!("xen2");
    let error = api_error(all.admin.plan::<vm::Create>(&of(both)).await);
    assert_eq!((error.reason(), error.data.field.as_deref()), (Reason::Invalid, Some("host")));
    assert!(error.message.contains("does not reach SR local-xen1"), "{error}");
    all.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vdi_is_worked_on_by_a_host_that_reaches_it() {
    let all = sharing().await;
    let (xen1, xen2) = (id(&all, "xen1").await, id(&all, "xen2").await);
    done::<vdi::Create>(&all, json!({ "name": "data", "host": "xen1", "sr": "nas", "size": 1 << 20 })).await;
    assert_eq!(data(&all).await.host, xen1);
    done::<sr::Detach>(&all, json!({ "sr": "nas", "host": "xen1" })).await;
    assert_eq!(data(&all).await.host, xen2);
    done::<vdi::Resize>(&all, json!({ "vdi": "data", "size": 2 << 20 })).await;

    // Where nobody reaches it, it is refused before its record is gone.
    done::<sr::Detach>(&all, json!({ "sr": "nas", "host": "xen2" })).await;
    let error = api_error(all.admin.call::<vdi::Delete>(&VdiRef { vdi: "data".into() }).await);
    assert_eq!(error.reason(), Reason::WrongState, "{error}");
    assert!(error.message.contains("attach it first"), "{error}");
    done::<sr::Attach>(&all, json!({ "sr": "nas", "host": "xen1" })).await;
    assert_eq!(data(&all).await.host, xen1);
    done::<vdi::Delete>(&all, json!({ "vdi": "data" })).await;
    all.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_is_nobody_elses_while_it_is_being_unplugged() {
    let mut all = sharing().await;
    let new = json!({ "name": "data", "host": "xen1", "sr": "nas", "size": 1 << 20 });
    done::<vdi::Create>(&all, new).await;
    let mut create = serde_json::to_value(small("web-1")).unwrap();
    create["disks"] = json!([{ "size": 1 << 20 }, { "vdi": "data" }]);
    (create["host"], create["start"]) = (json!("xen1"), json!(true));
    done::<vm::Create>(&all, create).await;

    // Nobody unplugs it as long as there is no agent.
    all.hosts[0].stop_agent().await;
    let detach = json!({ "vm": "web-1", "device": "xvdb" });
    let task = all.admin.call::<vm::DetachDisk>(&of(detach.clone())).await.unwrap().task;
    let mut other = serde_json::to_value(small("web-2")).unwrap();
    (other["host"], other["disks"]) = (json!("xen2"), json!([{ "vdi": "data" }]));
    let error = api_error(all.admin.call::<vm::Create>(&of(other.clone())).await);
    assert_eq!(error.reason(), Reason::WrongState, "{error}");
    assert!(error.message.contains(&task.to_string()), "{error}");

    all.hosts[0].start_agent().await;
    let over = all.wait_task(task).await;
    assert_eq!(data(&all).await.held_by, None, "{:?}", over.message);
    if over.status != TaskStatus::Done {
        // The agent was back too late: it is as it was.
        assert_eq!(data(&all).await.attached_to, Some(all.vm("web-1").await.id));
        done::<vm::DetachDisk>(&all, detach).await;
    }
    done::<vm::Create>(&all, other).await;
    assert_eq!(data(&all).await.host, id(&all, "xen2").await);
    all.stop().await;
}
