//! Lists of backups and runs, and of the VMs that nothing protects.

use serde_json::json;
use xenith_orchestrator_api::{backup, backup_job, backup_run, repository, vm};
use xenith_orchestrator_types::Reason;

use super::Scene;
use crate::harness::api_error;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backups_and_runs_are_filtered_sorted_and_paged() {
    let scene = Scene::new(1).await;
    let mut ran = Vec::new();
    for _ in 0..3 {
        ran.push(scene.run().await.id);
    }
    let other = scene.folder("other");
    scene
        .done::<repository::Create>(json!({ "name": "other", "place": { "kind": "folder", "path": other } }))
        .await;
    scene.done::<backup::Create>(json!({ "vm": "web-1", "repositories": ["other"] })).await;

    for (params, wanted) in [
        (json!({}), 4),
        (json!({ "filter": "vm:web age:<1h size:1MiB host:none" }), 0),
        (json!({ "filter": "vm:web age:<1h size:1MiB held:no proof:none" }), 4),
        (json!({ "filter": "repository:other" }), 1),
        (json!({ "repository": "main" }), 3),
        (json!({ "vm": "web-1", "filter": "-repository:main" }), 1),
        (json!({ "vm": "web" }), 0),
    ] {
        assert_eq!(scene.call::<backup::List>(params.clone()).await.total, wanted, "{params}");
    }
    // Page by page every one once, by whatever order.
    for sort in ["", "created", "-repository", "stored"] {
        let (mut seen, mut cursor) = (Vec::new(), None);
        loop {
            let page =
                scene.call::<backup::List>(json!({ "sort": sort, "limit": 1, "cursor": cursor })).await;
            assert_eq!((page.items.len(), page.total), (1, 4), "{sort}");
            seen.extend(page.items.into_iter().map(|backup| (backup.repository_name, backup.id)));
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        if sort == "-repository" {
            assert_eq!(seen[0].0, "other");
        }
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 4, "{sort}");
    }

    let runs = async |params| {
        let page = scene.call::<backup_run::List>(params).await;
        (page.items.into_iter().map(|run| run.id).collect::<Vec<_>>(), page.total, page.next)
    };
    let (newest, total, next) = runs(json!({ "limit": 2 })).await;
    assert_eq!((newest, total), (vec![ran[2], ran[1]], 3));
    assert_eq!(runs(json!({ "limit": 2, "cursor": next })).await, (vec![ran[0]], 3, None));
    assert_eq!(runs(json!({ "sort": "started", "job": "nightly" })).await.0, ran);
    assert_eq!(runs(json!({ "filter": "job:nightly status:done ended:none" })).await.1, 0);
    assert_eq!(runs(json!({ "filter": "job:nightly status:done age:<1h" })).await.1, 3);
    for (wrong, field) in [(json!({ "filter": "vms:3" }), "filter"), (json!({ "sort": "read" }), "sort")] {
        let params = serde_json::from_value(wrong).unwrap();
        let error = api_error(scene.installation.admin.call::<backup_run::List>(&params).await);
        assert_eq!((error.reason(), error.data.field.as_deref()), (Reason::Invalid, Some(field)), "{error}");
    }
    scene.installation.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_not_protected_is_found() {
    let scene = Scene::new(4).await;
    let names = async |older_than: u32| -> Vec<(String, String)> {
        let found = scene.call::<backup::Unprotected>(json!({ "older_than_minutes": older_than })).await;
        found.items.into_iter().map(|row| (row.name, format!("{:?}", row.why))).collect()
    };
    let only = |why: &str| vec![("web-1".to_owned(), why.to_owned())];
    assert_eq!(names(0).await, only("NoJob"), "a job that nobody starts protects nothing");
    for (filter, expected) in [("why:no_job vm:web newest:none", 1), ("why:too_old", 0)] {
        let page = scene.call::<backup::Unprotected>(json!({ "filter": filter, "limit": 1 })).await;
        assert_eq!((page.total, page.items.len()), (expected, expected as usize), "{filter}");
    }
    scene.call::<backup_job::Update>(json!({ "job": "nightly", "schedule": "0 3 1 1 *" })).await;
    assert_eq!(names(0).await, only("NoBackup"));
    scene.run().await;
    assert_eq!(names(60).await, []);
    scene.call::<backup_job::Update>(json!({ "job": "nightly", "enabled": false })).await;
    assert_eq!(names(0).await, only("NoJob"));
    scene.done::<vm::Update>(json!({ "vm": "web-1", "tags": ["no-backup"] })).await;
    assert_eq!(names(0).await, [], "it was said that this is meant");
    scene.installation.stop().await;
}
