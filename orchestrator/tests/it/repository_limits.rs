//! How many backups a repository takes at a time, and how fast, whatever jobs they are of.

use serde_json::json;
use xenith_common_ids::BackupRunId;
use xenith_orchestrator_api::{backup_job, backup_run, repository, vm};
use xenith_orchestrator_types::backup::{BackupRun, BackupRunRef, RepositoryRef, RunStatus};

use crate::backups::{MIB, Scene, noise, write};
use crate::harness::{small, until};

/// Bytes per second: the first pack goes at once, and what follows it would take more than a minute.
const SLOW: u64 = 1 << 18;

fn statuses(run: &BackupRun) -> Vec<RunStatus> {
    run.vms.iter().map(|vm| vm.status).collect()
}

/// Until the first one runs and the second one says what it waits for.
async fn waits(scene: &Scene, run: BackupRunId) {
    until("the second one waits for its turn", async || {
        let found = scene.installation.admin.call::<backup_run::Get>(&BackupRunRef { run }).await.ok()?;
        let said = found.vms[1].message.as_deref().unwrap_or_default();
        let waits = said.contains("waits for its turn: main takes 1 at a time");
        (waits && statuses(&found) == [RunStatus::Running, RunStatus::Waiting]).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repository_takes_one_backup_at_a_time_and_a_new_speed_holds_at_once() {
    let mut scene = Scene::new(24).await;
    write(&scene.image("web-1").await, 0, &noise(1, 20 * MIB));
    let mut second = serde_json::to_value(small("web-2")).unwrap();
    second["disks"] = json!([{ "size": 4 * MIB }]);
    scene.done::<vm::Create>(second).await;
    let limits = json!({ "repository": "main", "concurrency": 1, "bandwidth": SLOW });
    let limited = scene.call::<repository::Update>(limits).await;
    assert_eq!((limited.concurrency, limited.bandwidth), (1, SLOW));
    let both =
        json!({ "name": "both", "vms": ["web-1", "web-2"], "repositories": ["main"], "concurrency": 2 });
    scene.call::<backup_job::Create>(both).await;
    let run = scene.call::<backup_job::Run>(json!({ "job": "both" })).await.run;

    waits(&scene, run).await;
    scene.installation.restart().await;
    let main = RepositoryRef { repository: "main".into() };
    let kept = scene.installation.admin.call::<repository::Get>(&main).await.unwrap();
    assert_eq!((kept.concurrency, kept.bandwidth), (1, SLOW), "limits survive a restart");
    waits(&scene, run).await;

    // The host that writes, from before the restart, hears of it.
    scene.call::<repository::Update>(json!({ "repository": "main", "bandwidth": 0 })).await;
    let over = until("the run is over, one VM after the other", async || {
        let found = scene.installation.admin.call::<backup_run::Get>(&BackupRunRef { run }).await.ok()?;
        assert_ne!(statuses(&found), [RunStatus::Running; 2], "no two of them at once");
        found.status.is_over().then_some(found)
    })
    .await;
    assert_eq!(statuses(&over), [RunStatus::Done; 2], "{over:?}");
    assert!(over.vms.iter().all(|vm| vm.message.is_none()), "{over:?}");
    scene.installation.stop().await;
}
