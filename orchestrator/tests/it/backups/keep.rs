//! What a repository keeps: rules, held backups, keys.

use std::path::PathBuf;

use serde_json::json;
use xenith_common_ids::{RepositoryId, VdiId};
use xenith_hypervisor_agent_sim::SimHypervisor;
use xenith_orchestrator::model::BaseRecord;
use xenith_orchestrator_api::{backup, backup_job, repository, vdi};
use xenith_orchestrator_types::Reason;
use xenith_orchestrator_types::backup::{BackupRef, RepositoryRef};
use xenith_orchestrator_types::task::TaskStatus;
use xenith_orchestrator_types::vdi::{CreateVdi, VdiRef};

use super::{MIB, Scene, noise, write};
use crate::harness::{Installation, api_error, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_holds_and_a_fresh_catalogue() {
    let scene = Scene::new(4).await;
    let image = scene.image("web-1").await;
    let keep = json!({ "job": "nightly", "keep": { "last": 1 } });
    for round in 0..3u64 {
        write(&image, 0, &noise(round, MIB));
        scene.run().await;
        if round == 0 {
            let backup = scene.backups().await[0].id.clone();
            scene.done::<backup::Hold>(json!({ "backup": backup })).await;
        }
    }
    assert_eq!(scene.backups().await.len(), 3, "without rules all stay");
    scene.call::<backup_job::Update>(keep).await;
    scene.run().await;
    let left = until("the rules were applied", async || {
        let left = scene.backups().await;
        (left.len() == 2).then_some(left)
    })
    .await;
    assert!(left[1].held && !left[0].held, "the newest and the held one: {left:?}");
    let held = BackupRef { backup: left[1].id.clone(), repository: None };
    let refused = api_error(scene.installation.admin.call::<backup::Delete>(&held).await);
    assert_eq!(refused.reason(), Reason::WrongState);
    // Somebody who has only the place and the key finds everything, and what the VM was.
    let main = RepositoryRef { repository: "main".into() };
    let key = scene.installation.admin.call::<repository::Key>(&main).await.unwrap();
    assert_eq!((key.kind.as_str(), key.secret.len()), ("key file", 64));
    scene.call::<backup_job::Delete>(json!({ "job": "nightly" })).await;
    scene.call::<repository::Delete>(json!({ "repository": "main" })).await;
    assert!(scene.backups().await.is_empty());
    let place = json!({ "kind": "folder", "path": scene.folder("repository") });
    let wrong = json!({ "name": "again", "place": place, "key": "0".repeat(64) });
    let task = scene.installation.run::<repository::Create>(&serde_json::from_value(wrong).unwrap()).await;
    assert_eq!(task.status, TaskStatus::RolledBack, "another key opens nothing");
    assert!(scene.installation.admin.all::<repository::List, _>("").await.unwrap().is_empty());
    scene.done::<repository::Create>(json!({ "name": "again", "place": place, "key": key.secret })).await;
    let found = scene.backups().await;
    assert_eq!(found.len(), 2);
    assert!(found[1].held && found[1].vm_name == "web-1", "{found:?}");
    scene.done::<repository::Verify>(json!({ "repository": "again", "deep": true })).await;
    scene.installation.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hosts_of_a_sealed_repository_only_add() {
    let scene = Scene::new(2).await;
    let image = scene.image("web-1").await;
    write(&image, 4096, &noise(1, MIB));
    let place = scene.folder("vault");
    let made = json!({ "name": "vault", "place": { "kind": "folder", "path": place }, "sealed": true });
    scene.done::<repository::Create>(made).await;
    let slots: Vec<PathBuf> =
        std::fs::read_dir(place.join("keys")).unwrap().map(|e| e.unwrap().path()).collect();
    let own = |slot: &&PathBuf| !std::fs::read_to_string(slot).unwrap().contains("write_only");
    let own = slots.iter().find(own).expect("one slot is the repository's own").clone();
    assert_eq!(slots.len(), 2);

    // A backup needs no more than the write-only key; the repository's own opens nothing for the moment.
    let aside = scene.folder("aside");
    std::fs::rename(&own, &aside).unwrap();
    let backup = json!({ "vm": "web-1", "repositories": ["vault"] });
    scene.done::<backup::Create>(backup.clone()).await;
    scene.done::<backup::Create>(backup).await;
    let made = scene.backups().await;
    assert_eq!(made.len(), 2);
    let restore = json!({ "backup": made[1].id, "target": { "kind": "new_vm", "name": "web-2" } });
    let params = serde_json::from_value(restore.clone()).unwrap();
    let task = scene.installation.run::<backup::Restore>(&params).await;
    assert_ne!(task.status, TaskStatus::Done, "{task:?}");
    assert!(task.message.clone().unwrap_or_default().contains("key"), "{task:?}");

    std::fs::rename(&aside, &own).unwrap();
    scene.done::<backup::Restore>(restore).await;
    assert!(std::fs::read(scene.image("web-2").await).unwrap() == std::fs::read(&image).unwrap());
    scene.done::<repository::Verify>(json!({ "repository": "vault", "deep": true })).await;

    // One that is there and was not made so cannot become it.
    let place = scene.folder("repository");
    let there = json!({
        "name": "again", "place": { "kind": "folder", "path": place }, "sealed": true,
        "key": scene.call::<repository::Key>(json!({ "repository": "main" })).await.secret,
    });
    let task = scene.installation.run::<repository::Create>(&serde_json::from_value(there).unwrap()).await;
    assert_ne!(task.status, TaskStatus::Done, "{task:?}");
    assert!(task.message.clone().unwrap_or_default().contains("not sealed"), "{task:?}");
    scene.installation.stop().await;
}

/// Of more repositories than a page has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_bases_of_a_disk_go_with_it() {
    let all = Installation::with_host(SimHypervisor::builder()).await;
    let data =
        CreateVdi { name: "data".into(), size: (1 << 20).try_into().unwrap(), host: "xen1".into(), sr: None };
    all.run::<vdi::Create>(&data).await;
    let db = all.orchestrator.as_ref().unwrap().app.db.clone();
    let disk = db.vdis.all().await.unwrap().0.remove(0);
    for _ in 0..300 {
        let base = BaseRecord {
            snapshot: VdiId::new(),
            sr: disk.value.sr,
            host: disk.value.host,
            backup: "b".into(),
            disk_name: "data".into(),
            doubted: false,
        };
        db.bases.insert(&(disk.key, RepositoryId::new()), &base).await.unwrap();
    }
    let task = all.run::<vdi::Delete>(&VdiRef { vdi: "data".into() }).await;
    assert_eq!(task.status, TaskStatus::Done, "{:?}", task.message);
    let (bases, old) = (db.bases.all().await.unwrap().0, db.old_snapshots.all().await.unwrap().0);
    assert_eq!((bases.len(), old.len()), (0, 0));
    all.stop().await;
}
