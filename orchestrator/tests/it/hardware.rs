//! What a VM has besides the usual, what it is protected against, and many VMs at once.

use serde_json::{Value, json};
use xenith_hypervisor_agent_sim::SimHypervisor;
use xenith_hypervisor_agent_types::Power;
use xenith_orchestrator_api::{Method, host, iso, sr, task, vdi, vm};
use xenith_orchestrator_client::Client;
use xenith_orchestrator_types::task::{Task, TaskStarted, TaskStatus};
use xenith_orchestrator_types::{ApiError, Binding, Reason, Role, Scope};

use crate::admins::{call, somebody};
use crate::harness::{Installation, api_error, small};

fn done(task: &Task) {
    assert_eq!(task.status, TaskStatus::Done, "{}: {:?}", task.title, task.message);
}

async fn run<M: Method<Result = TaskStarted>>(installation: &Installation, params: Value) {
    let task = installation.run::<M>(&serde_json::from_value(params).unwrap()).await;
    done(&task);
}

async fn refused<M: Method>(installation: &Installation, params: Value) -> ApiError
where
    M::Result: std::fmt::Debug,
{
    api_error(installation.admin.call::<M>(&serde_json::from_value(params).unwrap()).await)
}

fn player(name: &str) -> Value {
    let mut create = serde_json::to_value(small(name)).unwrap();
    create["platform"] = json!({ "kind": "hvm", "boot_order": ["disk", "cdrom"] });
    create["hardware"] = json!({ "cd": { "iso": "debian" }, "video": { "adapter": "std", "memory": 16 } });
    create
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_is_installed_from_a_library() {
    let installation = Installation::with_host(SimHypervisor::builder()).await;
    let folder = tempfile::tempdir().unwrap();
    let spec = json!({ "kind": "folder", "path": folder.path().join("isos") });
    run::<sr::Create>(
        &installation,
        json!({ "name": "isos", "host": "xen1", "spec": spec, "content": "iso" }),
    )
    .await;
    let disk = json!({ "name": "data", "host": "xen1", "size": 1 << 20, "sr": "isos" });
    assert_eq!(refused::<vdi::Create>(&installation, disk).await.reason(), Reason::Invalid);
    // What is in it comes as the library's user brings it; here, as a file that is adopted.
    run::<vdi::Create>(&installation, json!({ "name": "debian", "host": "xen1", "size": 1 << 20 })).await;
    run::<vdi::Copy>(&installation, json!({ "vdi": "debian", "name": "netinst", "sr": "isos" })).await;
    let isos = installation.admin.all::<iso::List, _>("").await.unwrap();
    assert_eq!(isos.iter().map(|iso| iso.name.as_str()).collect::<Vec<_>>(), ["netinst"]);

    run::<vm::Create>(&installation, player("web-1")).await;
    run::<vm::Create>(&installation, player("web-2")).await;
    run::<vm::Start>(&installation, json!({ "vm": "web-1" })).await;
    let gone = refused::<vdi::Delete>(&installation, json!({ "vdi": "debian" })).await;
    assert!(gone.reason() == Reason::WrongState && gone.message.contains("eject"), "{gone}");
    run::<vm::InsertCd>(&installation, json!({ "vm": "web-1", "iso": "netinst" })).await;
    let vm = installation.vm("web-1").await;
    assert_eq!(vm.spec.unwrap().hardware.cd.unwrap().vdi, Some(isos[0].id));
    assert_eq!(vm.pending_restart, Vec::<String>::new());
    for vm in ["web-1", "web-2"] {
        run::<vm::EjectCd>(&installation, json!({ "vm": vm })).await;
    }
    run::<vdi::Delete>(&installation, json!({ "vdi": "debian" })).await;
    let without = serde_json::to_value(small("web-3")).unwrap();
    run::<vm::Create>(&installation, without).await;
    let error = refused::<vm::InsertCd>(&installation, json!({ "vm": "web-3", "iso": "netinst" })).await;
    assert!(error.message.contains("no CD drive"), "{error}");
    installation.stop().await;
}

/// A guest that began on half an image would have it changed under it, or taken away when the sender gives up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_uses_a_vdi_that_is_still_being_filled() {
    let installation = Installation::with_host(SimHypervisor::builder()).await;
    let params = json!({ "name": "debian", "host": "xen1", "capacity": 4 << 20 });
    let begun =
        installation.admin.call::<vdi::Upload>(&serde_json::from_value(params).unwrap()).await.unwrap();
    let task = begun.task.to_string();

    let mut disk = serde_json::to_value(small("web-1")).unwrap();
    disk["disks"] = json!([{ "vdi": "debian" }]);
    let named = json!({ "vdi": "debian" });
    let other = json!({ "vdi": "debian", "name": "other" });
    let errors = [
        refused::<vm::Create>(&installation, disk.clone()).await,
        refused::<vm::Create>(&installation, player("web-2")).await,
        refused::<vdi::Clone>(&installation, other.clone()).await,
        refused::<vdi::Copy>(&installation, other).await,
        refused::<vdi::Export>(&installation, named.clone()).await,
        refused::<vdi::Delete>(&installation, named.clone()).await,
    ];
    for error in errors {
        assert!(error.reason() == Reason::WrongState && error.message.contains(&task), "{error}");
    }
    let get = serde_json::from_value(named.clone()).unwrap();
    assert_eq!(installation.admin.call::<vdi::Get>(&get).await.unwrap().held_by, Some(begun.task));

    installation
        .admin
        .call::<task::Cancel>(&serde_json::from_value(json!({ "task": task })).unwrap())
        .await
        .unwrap();
    installation.wait_task(begun.task).await;
    assert_eq!(refused::<vm::Create>(&installation, disk.clone()).await.reason(), Reason::NotFound);
    run::<vdi::Create>(&installation, json!({ "name": "debian", "host": "xen1", "size": 4 << 20 })).await;
    assert_eq!(installation.admin.call::<vdi::Get>(&get).await.unwrap().held_by, None);
    run::<vm::Create>(&installation, disk).await;
    installation.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_vm_is_protected_against_is_refused() {
    let installation = Installation::with_host(SimHypervisor::builder()).await;
    let mut create = serde_json::to_value(small("web-1")).unwrap();
    create["protection"] = json!({ "delete": true, "start": true });
    create["custom"] = json!({ "owner": "ann" });
    create["hardware"] = json!({ "cpu": { "weight": 512 } });
    run::<vm::Create>(&installation, create).await;
    for error in [
        refused::<vm::Start>(&installation, json!({ "vm": "web-1" })).await,
        refused::<vm::Delete>(&installation, json!({ "vm": "web-1" })).await,
    ] {
        assert!(error.reason() == Reason::WrongState && error.message.contains("protected"), "{error}");
    }
    run::<vm::Update>(&installation, json!({ "vm": "web-1", "protection": { "migration": true } })).await;
    let folder = tempfile::tempdir().unwrap();
    let spec = json!({ "kind": "folder", "path": folder.path().join("fast") });
    run::<sr::Create>(&installation, json!({ "name": "fast", "host": "xen1", "spec": spec })).await;
    let moved = refused::<vdi::Migrate>(&installation, json!({ "vdi": "web-1-xvda", "sr": "fast" })).await;
    assert!(moved.reason() == Reason::WrongState && moved.message.contains("migration"), "{moved}");
    let vm = installation.vm("web-1").await;
    assert_eq!((vm.custom["owner"].as_str(), vm.protection.delete), ("ann", false));
    run::<vm::Update>(&installation, json!({ "vm": "web-1", "protection": {} })).await;
    run::<vm::Start>(&installation, json!({ "vm": "web-1" })).await;
    let share = json!({ "vm": "web-1", "hardware": { "cpu": { "weight": 1024, "cap": 50, "pin": "0" } } });
    run::<vm::Update>(&installation, share).await;
    assert_eq!(installation.vm("web-1").await.pending_restart, Vec::<String>::new());
    let absent = json!({ "vm": "web-1", "hardware": { "cpu": { "pin": "4000" } } });
    let task = installation.run::<vm::Update>(&serde_json::from_value(absent).unwrap()).await;
    assert_eq!(task.status, TaskStatus::RolledBack);
    let cpu = installation.vm("web-1").await.spec.unwrap().hardware.cpu;
    assert_eq!((cpu.weight, cpu.cap), (Some(1024), Some(50)), "the share before");
    for (hardware, words) in [
        (json!({ "tpm": true }), "TPM"),
        (json!({ "secure_boot": true }), "Secure Boot"),
        (json!({ "usb": ["1-1"] }), "USB controller"),
        (json!({ "pci": ["03:00.0"] }), "pvh"),
    ] {
        let error =
            refused::<vm::Update>(&installation, json!({ "vm": "web-1", "hardware": hardware })).await;
        assert!(error.message.contains(words), "{error}");
    }
    let xen1 = serde_json::from_value(json!({ "host": "xen1" })).unwrap();
    assert_eq!(installation.admin.call::<host::Hardware>(&xen1).await.unwrap().numa.len(), 1);
    installation.stop().await;
}

/// It may be what the disks of all others are on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_of_the_host_is_given_by_who_administers_it() {
    let all = Installation::with_host(SimHypervisor::builder()).await;
    let operator = Binding { role: Role::Operator, scope: Scope::All };
    let olga = somebody(&all, "olga", vec![operator]).await;
    // She has what an admin may do with VMs, and no hosts.
    let by_tag = Binding { role: Role::Admin, scope: Scope::Tag("dev".into()) };
    let dora = somebody(&all, "dora", vec![by_tag]).await;
    let mut new = serde_json::to_value(small("gpu-1")).unwrap();
    (new["platform"], new["tags"]) = (json!({ "kind": "hvm" }), json!(["dev"]));
    run::<vm::Create>(&all, new.clone()).await;
    let device = json!({ "pci": ["0000:03:00.0"] });
    (new["name"], new["hardware"]) = (json!("gpu-2"), device.clone());
    let update = json!({ "vm": "gpu-1", "hardware": device });
    let plan = async |who: &Client, method: &str, params: &Value| {
        let mut params = params.clone();
        params["dry_run"] = json!(true);
        call(who, method, params).await
    };
    for (method, params) in [("vm.create", &new), ("vm.update", &update)] {
        for who in [&olga, &dora] {
            let error = api_error(plan(who, method, params).await);
            assert_eq!(error.reason(), Reason::Forbidden, "{method}: {error}");
        }
        assert!(plan(&all.admin, method, params).await.is_ok(), "{method}");
    }
    // What the VM has, who may change it keeps.
    run::<vm::Update>(&all, update).await;
    let kept = json!({ "vm": "gpu-1", "hardware": { "pci": ["0000:03:00.0"], "cd": {} } });
    assert!(plan(&olga, "vm.update", &kept).await.is_ok());
    all.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_vms_at_once_each_with_its_result() {
    let installation = Installation::with_host(SimHypervisor::builder()).await;
    for name in ["web-1", "web-2", "db-1"] {
        run::<vm::Create>(&installation, serde_json::to_value(small(name)).unwrap()).await;
    }
    run::<vm::Update>(&installation, json!({ "vm": "web-2", "protection": { "start": true } })).await;
    let start = json!({ "vms": ["nobody", "web-1"], "filter": "name:/^web/", "action": "start" });
    let results = installation.admin.call::<vm::Bulk>(&serde_json::from_value(start).unwrap()).await.unwrap();
    let shown: Vec<_> = results
        .iter()
        .map(|result| {
            (result.name.as_deref().unwrap_or(&result.vm), result.task.is_some(), result.error.is_some())
        })
        .collect();
    assert_eq!(
        shown,
        [("nobody", false, true), ("web-1", true, false), ("web-2", false, true)],
        "{results:?}"
    );
    installation.wait_task(results[1].task.unwrap()).await;
    installation.becomes("web-1", Power::Running).await;
    assert_eq!(installation.vm("db-1").await.power, Power::Stopped);
    let nobody = refused::<vm::Bulk>(&installation, json!({ "action": "start", "filter": "name:x" })).await;
    assert_eq!(nobody.reason(), Reason::Invalid);
    installation.stop().await;
}
