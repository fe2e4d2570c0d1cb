//! Repositories that are not what they were: not mounted, or damaged.

use std::path::{Path, PathBuf};

use serde_json::json;
use xenith_orchestrator_api::{backup, repository};
use xenith_orchestrator_types::task::TaskStatus;

use crate::backups::{MIB, Scene, noise, write};

/// The largest file in a folder and those below it.
pub fn largest(folder: &Path) -> PathBuf {
    let mut folders = vec![folder.to_owned()];
    let mut found: Option<(u64, PathBuf)> = None;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let (path, meta) = entry.map(|entry| (entry.path(), entry.metadata().unwrap())).unwrap();
            if meta.is_dir() {
                folders.push(path);
            } else if found.as_ref().is_none_or(|(size, _)| *size < meta.len()) {
                found = Some((meta.len(), path));
            }
        }
    }
    found.unwrap().1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_is_away_is_not_made_anew_and_one_that_is_damaged_is_mended() {
    let scene = Scene::new(4).await;
    let image = scene.image("web-1").await;
    write(&image, 0, &noise(1, 2 * MIB));
    scene.run().await;

    let (mounted, away) = (scene.folder("repository"), scene.folder("away"));
    std::fs::rename(&mounted, &away).unwrap();
    std::fs::create_dir(&mounted).unwrap();
    let main = serde_json::from_value(json!({ "repository": "main" })).unwrap();
    let task = scene.installation.run::<repository::Test>(&main).await;
    assert_ne!(task.status, TaskStatus::Done);
    assert!(task.message.as_deref().unwrap_or_default().contains("mounted"), "{:?}", task.message);
    assert_eq!(std::fs::read_dir(&mounted).unwrap().count(), 0, "a repository was made under the share");
    assert_eq!(scene.backups().await.len(), 1, "what is known of it stays");
    std::fs::remove_dir(&mounted).unwrap();
    std::fs::rename(&away, &mounted).unwrap();
    scene.done::<repository::Test>(json!({ "repository": "main" })).await;

    let pack = largest(&mounted.join("packs"));
    let byte = std::fs::read(&pack).unwrap()[5000];
    write(&pack, 5000, &[byte ^ 1]);
    let all = serde_json::from_value(json!({ "repository": "main", "deep": false })).unwrap();
    let task = scene.installation.run::<repository::Verify>(&all).await;
    assert_ne!(task.status, TaskStatus::Done, "{:?}", task.message);
    let mended = |run: &xenith_orchestrator_types::backup::BackupRun| {
        run.vms[0].whole_because.iter().any(|why| why.contains("was found to have lost"))
    };
    let run = scene.run().await;
    assert!(mended(&run), "{run:?}");
    for (backup, name) in scene.backups().await.iter().zip(["newest", "older"]) {
        let target = json!({ "kind": "new_vm", "name": name });
        scene.done::<backup::Restore>(json!({ "backup": backup.id, "target": target })).await;
        assert!(std::fs::read(scene.image(name).await).unwrap() == std::fs::read(&image).unwrap(), "{name}");
    }
    let run = scene.run().await;
    assert!(!mended(&run), "once is enough: {run:?}");
    scene.installation.stop().await;
}
