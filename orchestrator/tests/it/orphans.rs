//! What hosts and records do not agree on is found, told, and left alone.

use xenith_common_ids::SagaId;
use xenith_hypervisor_agent_backend::Hypervisor;
use xenith_hypervisor_agent_sim::SimHypervisor;
use xenith_orchestrator::app::App;
use xenith_orchestrator::background::orphans::{Holds, look_at_hosts, look_at_records, release};
use xenith_orchestrator::background::storage;
use xenith_orchestrator::model::VmRecord;
use xenith_orchestrator_api::{event, orphan, sr, vdi, vm};
use xenith_orchestrator_types::ListRequest;
use xenith_orchestrator_types::event::ListEvents;
use xenith_orchestrator_types::sr::AdoptVdi;
use xenith_orchestrator_types::vdi::{CreateVdi, VdiRef};

use crate::harness::{Installation, small, until};

fn app(installation: &Installation) -> &App {
    &installation.orchestrator.as_ref().unwrap().app
}

/// Kind and name of each, after looking twice.
async fn found(installation: &Installation, filter: &str) -> Vec<String> {
    let mut levels = std::collections::HashMap::new();
    for _ in 0..2 {
        look_at_hosts(app(installation)).await;
        storage::look(app(installation), &mut levels).await;
        look_at_records(app(installation)).await;
    }
    let request = ListRequest { filter: filter.into(), sort: "name".into(), ..ListRequest::default() };
    let page = installation.admin.call::<orphan::List>(&request).await.unwrap();
    page.items.iter().map(|orphan| format!("{} {}", orphan.kind.as_str(), orphan.name)).collect()
}

async fn finds(installation: &Installation, filter: &str, wanted: &[&str]) {
    // The read model is told a moment after the store.
    until(&format!("{wanted:?} is found"), async || {
        (found(installation, filter).await == wanted).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_record_knows_is_told_and_left_alone() {
    let all = Installation::with_host(SimHypervisor::builder()).await;
    let mut create = small("web-1");
    create.start = true;
    all.run::<vm::Create>(&create).await;
    all.run::<vm::Create>(&small("web-2")).await;
    finds(&all, "", &[]).await;

    // As after the orchestrator was restored from a backup that is older than web-1.
    let db = &app(&all).db;
    let (vms, _) = db.vms.all().await.unwrap();
    let web = vms.iter().find(|vm| vm.value.spec.name.to_string() == "web-1").unwrap();
    let disk = web.value.spec.disks[0].vdi;
    db.vms.delete(web).await.unwrap();
    db.vdis.delete(&db.vdis.get(&disk).await.unwrap().unwrap()).await.unwrap();
    let mac = web.value.spec.nics[0].mac.to_string();
    let mut wanted = [
        format!("image {disk}"),
        format!("record {mac}"),
        "record web-1".to_owned(),
        "definition web-1".to_owned(),
    ];
    until("all of it is found", async || {
        let mut found = found(&all, "").await;
        found.sort();
        wanted.sort();
        (found == wanted).then_some(())
    })
    .await;
    assert_eq!(all.hosts[0].sim.domains().await.unwrap().len(), 1, "the guest runs on");
    // The orchestrator looks by itself, too, and tells what it has listed.
    let told = ListEvents { filter: "kind:orphan".into(), ..ListEvents::default() };
    until("each is told once", async || {
        (all.admin.call::<event::List>(&told).await.unwrap().total == 4).then_some(())
    })
    .await;

    // What can be done about an image: it becomes a VDI again, which can be looked at and deleted.
    let adopt = AdoptVdi { sr: "local-xen1".into(), vdi: disk, name: "web-1-xvda".into() };
    all.admin.call::<sr::Adopt>(&adopt).await.unwrap();
    finds(&all, "kind:image", &[]).await;
    all.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_its_host_does_not_bear_out_is_told() {
    let all = Installation::with_host(SimHypervisor::builder()).await;
    let size = (64 << 20).try_into().unwrap();
    all.run::<vdi::Create>(&CreateVdi { name: "data".into(), size, host: "xen1".into(), sr: None }).await;
    all.run::<vm::Create>(&small("web-1")).await;
    let db = &app(&all).db;
    // A record of a VM that the host never heard of.
    let (vms, _) = db.vms.all().await.unwrap();
    let mut spec = vms[0].value.spec.clone();
    spec.name = "ghost".parse().unwrap();
    let ghost = VmRecord { spec, ..vms[0].value.clone() };
    db.vms.insert(&xenith_common_ids::VmId::new(), &ghost).await.unwrap();
    // And an image that somebody removed.
    let data = all.admin.call::<vdi::Get>(&VdiRef { vdi: "data".into() }).await.unwrap();
    let folder = all.hosts[0].folder().join("sr");
    let mut removed = 0;
    for entry in std::fs::read_dir(&folder).unwrap().flatten() {
        if entry.file_name().to_string_lossy().contains(&data.id.to_string()) {
            std::fs::remove_file(entry.path()).unwrap();
            removed += 1;
        }
    }
    assert!(removed > 0, "the image is a file in {}", folder.display());
    finds(&all, "host:xen1", &["missing data", "lost ghost"]).await;
    all.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vm_that_a_dead_saga_holds_is_let_go_of() {
    let all = Installation::with_host(SimHypervisor::builder()).await;
    let created = all.run::<vm::Create>(&small("web-1")).await;
    let db = &app(&all).db;
    let (vms, _) = db.vms.all().await.unwrap();
    let hold = async |saga: SagaId| {
        db.vms.modify(&vms[0].key, |record: &mut VmRecord| record.held_by = Some(saga)).await.unwrap();
        until("the read model knows", async || {
            (app(&all).views.vm(vms[0].key)?.held_by() == Some(saga)).then_some(())
        })
        .await;
    };
    // One that has ended, and one that is in no log.
    for saga in [SagaId::from_bytes(*created.id.as_bytes()), SagaId::new()] {
        hold(saga).await;
        let mut before = Holds::default();
        release(app(&all), &mut before).await;
        assert_eq!(db.vms.get(&vms[0].key).await.unwrap().unwrap().value.held_by, Some(saga), "not at once");
        release(app(&all), &mut before).await;
        assert_eq!(db.vms.get(&vms[0].key).await.unwrap().unwrap().value.held_by, None);
    }
    let told = ListEvents { filter: "kind:vm.released".into(), ..ListEvents::default() };
    assert_eq!(all.admin.call::<event::List>(&told).await.unwrap().total, 2);
    all.stop().await;
}
