//! Runs of jobs: what they outlive, what fails in them, and which run follows which.

use serde_json::json;
use xenith_hypervisor_agent_types::Power;
use xenith_orchestrator_api::{backup, backup_job, backup_run, vm};
use xenith_orchestrator_types::Reason;
use xenith_orchestrator_types::backup::{BackupJobRef, BackupRun, RunStatus};

use super::{MIB, Scene, noise, write};
use crate::harness::{api_error, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_survives_the_agent_and_the_orchestrator() {
    let mut scene = Scene::new(48).await;
    let image = scene.image("web-1").await;
    // Off: where the file system cannot share blocks, copying so much would hold a running guest up.
    scene.done::<vm::PowerOff>(json!({ "vm": "web-1" })).await;
    write(&image, 0, &noise(1, 40 * MIB));
    let run = scene.begin().await;
    scene.installation.restart().await;
    scene.installation.hosts[0].stop_agent().await;
    scene.installation.hosts[0].start_agent().await;
    let run = scene.over(run).await;
    assert_eq!(run.status, RunStatus::Done, "{run:?}");
    assert_eq!(scene.backups().await.len(), 1, "it was made once");
    let snapshots = scene.images().iter().filter(|name| name.ends_with(".snap")).count();
    assert!(snapshots <= 1, "{:?}", scene.images());
    scene
        .done::<backup::Restore>(json!({
            "backup": scene.backups().await[0].id, "target": { "kind": "disks" },
        }))
        .await;
    let bytes = std::fs::read(&image).unwrap();
    let same = scene
        .images()
        .iter()
        .filter(|name| name.ends_with(".raw"))
        .filter(|name| std::fs::read(scene.folder("sr").join(name)).unwrap() == bytes)
        .count();
    assert_eq!(same, 2, "the disk and its copy");
    scene.installation.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_is_said_and_leaves_nothing() {
    let scene = Scene::new(4).await;
    let images = scene.images().len();
    // The repository's folder is gone, as when an NFS server is.
    std::fs::rename(scene.folder("repository"), scene.folder("elsewhere")).unwrap();
    let run = scene.over(scene.begin().await).await;
    assert_eq!(run.status, RunStatus::Failed, "{run:?}");
    assert!(run.vms[0].message.is_some());
    assert_eq!(scene.images().len(), images, "no snapshot was left: {:?}", scene.images());
    std::fs::rename(scene.folder("elsewhere"), scene.folder("repository")).unwrap();
    scene.run().await;
    // Cancelled at once: either it was over already, or nothing is left of it.
    let run = scene.begin().await;
    scene.call::<backup_run::Cancel>(json!({ "run": run })).await;
    let run = scene.over(run).await;
    assert!(matches!(run.status, RunStatus::Cancelled | RunStatus::Done), "{run:?}");
    scene.installation.becomes("web-1", Power::Running).await;
    scene.installation.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_follows_another_and_has_one_run_at_a_time() {
    let mut scene = Scene::new(4).await;
    let second =
        json!({ "name": "second", "filter": "name:web-1", "repositories": ["main"], "after": "nightly" });
    scene.call::<backup_job::Create>(second).await;
    let runs = async |scene: &Scene, job: &str| -> Vec<BackupRun> {
        scene.call::<backup_run::List>(json!({ "job": job })).await.items
    };
    let circle = serde_json::from_value(json!({ "job": "nightly", "after": "second" })).unwrap();
    let refused = api_error(scene.installation.admin.call::<backup_job::Update>(&circle).await);
    assert_eq!(refused.reason(), Reason::Invalid);
    let followed = BackupJobRef { job: "nightly".into() };
    let refused = api_error(scene.installation.admin.call::<backup_job::Delete>(&followed).await);
    assert_eq!(refused.reason(), Reason::WrongState);
    // Begun twice at one moment: one of the two.
    let job = BackupJobRef { job: "nightly".into() };
    let (a, b) = tokio::join!(
        scene.installation.admin.call::<backup_job::Run>(&job),
        scene.installation.admin.call::<backup_job::Run>(&job),
    );
    assert!(a.is_ok() != b.is_ok(), "{a:?} {b:?}");
    // What follows is not forgotten over a restart.
    scene.installation.restart().await;
    let followed = until("the second job has run", async || {
        let found = runs(&scene, "second").await;
        found.first().is_some_and(|run| run.status.is_over()).then_some(found)
    })
    .await;
    assert_eq!(followed[0].status, RunStatus::Done, "{followed:?}");
    assert_eq!((runs(&scene, "nightly").await.len(), followed.len()), (1, 1));
    assert_eq!(scene.backups().await.len(), 2);
    scene.run().await;
    until("it follows the next run, too", async || (runs(&scene, "second").await.len() == 2).then_some(()))
        .await;
    scene.installation.stop().await;
}
