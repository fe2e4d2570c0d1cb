//! Backups and snapshots for which guests hold their filesystems still, from what is asked to what the run, the backup and
//! the snapshot say.

use serde_json::json;
use xenith_common_ids::DomId;
use xenith_hypervisor_agent_backend::Hypervisor;
use xenith_hypervisor_agent_sim::GuestAgentManners;
use xenith_orchestrator_api::{backup_job, snapshot, vm};
use xenith_orchestrator_types::backup::{BackupRun, Consistency, RunStatus};
use xenith_orchestrator_types::task::TaskStatus;

use crate::backups::{MIB, Scene};
use crate::harness::small;

/// Beside `web-1` a running VM `db-1` whose guest has an agent, which the job backs up.
async fn scene() -> (Scene, DomId) {
    let scene = Scene::new(1).await;
    let mut create = serde_json::to_value(small("db-1")).unwrap();
    create["disks"] = json!([{ "size": 4 * MIB }]);
    create["hardware"] = json!({ "guest_agent": true });
    create["start"] = json!(true);
    scene.done::<vm::Create>(create).await;
    scene.call::<backup_job::Update>(json!({ "job": "nightly", "filter": "name:db-1" })).await;
    let domains = scene.installation.hosts[0].sim.domains().await.unwrap();
    let domid = domains.iter().find(|info| info.name.starts_with("db-1")).unwrap().domid;
    (scene, domid)
}

async fn ran(scene: &Scene) -> BackupRun {
    scene.over(scene.begin().await).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_with_an_agent_is_backed_up_whole() {
    let (scene, domid) = scene().await;
    let sim = &scene.installation.hosts[0].sim;
    let run = ran(&scene).await;
    let said = (run.consistency, run.vms[0].consistency, run.vms[0].not_quiesced_because.clone());
    let whole = Consistency::FilesystemConsistent;
    assert_eq!((run.status, said), (RunStatus::Done, (whole, Some(whole), None)));
    assert_eq!((sim.freezes(domid), sim.is_frozen(domid)), (1, false), "asked without being told to");
    assert_eq!(scene.backups().await[0].consistency, Some(whole));
    // A VM without a channel in the same run: the run promises no more than each of its backups.
    let filter = "name:db-1 or name:web-1";
    scene.call::<backup_job::Update>(json!({ "job": "nightly", "filter": filter })).await;
    let run = ran(&scene).await;
    assert_eq!((run.status, run.consistency), (RunStatus::Done, Consistency::CrashConsistent), "{run:?}");
    let because = run.vms.iter().find(|vm| vm.name == "web-1").unwrap().not_quiesced_because.clone();
    assert!(because.unwrap().contains("no channel"));
    scene
        .call::<backup_job::Update>(json!({ "job": "nightly", "quiesce": "never", "filter": "name:db-1" }))
        .await;
    let run = ran(&scene).await;
    assert_eq!(run.vms[0].consistency, Some(Consistency::CrashConsistent));
    assert_eq!(sim.freezes(domid), 2);
    // What is off needs none.
    scene.done::<vm::PowerOff>(json!({ "vm": "db-1" })).await;
    scene.call::<backup_job::Update>(json!({ "job": "nightly", "quiesce": "demand" })).await;
    let run = ran(&scene).await;
    assert_eq!((run.status, run.consistency), (RunStatus::Done, Consistency::Offline));
    scene.installation.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_refuses_is_told_of_or_not_backed_up() {
    let (scene, domid) = scene().await;
    let sim = &scene.installation.hosts[0].sim;
    sim.set_guest_agent(domid, GuestAgentManners::Refuses).unwrap();
    let run = ran(&scene).await;
    assert_eq!((run.status, run.consistency), (RunStatus::Done, Consistency::CrashConsistent));
    let because = run.vms[0].not_quiesced_because.clone().unwrap();
    assert!(because.contains("failed to freeze /srv"), "{because}");
    let mut images = scene.images();
    images.sort();
    scene.call::<backup_job::Update>(json!({ "job": "nightly", "quiesce": "demand" })).await;
    let run = ran(&scene).await;
    assert_eq!(run.status, RunStatus::Failed);
    let message = run.vms[0].message.clone().unwrap();
    assert!(message.contains("cannot be quiesced") && message.contains("/srv"), "{message}");
    assert_eq!(scene.backups().await.len(), 1);
    let mut after = scene.images();
    after.sort();
    assert_eq!(after, images, "nothing is half done");
    assert!(!sim.is_frozen(domid));
    sim.set_guest_agent(domid, GuestAgentManners::Answers).unwrap();
    assert_eq!(ran(&scene).await.consistency, Consistency::FilesystemConsistent);
    scene.installation.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_says_how_its_guest_stood() {
    let (scene, domid) = scene().await;
    let sim = &scene.installation.hosts[0].sim;
    let taken = async |name: &str, quiesce: &str| {
        let take = json!({ "vm": "db-1", "name": name, "quiesce": quiesce });
        let task = scene.installation.run::<snapshot::Create>(&serde_json::from_value(take).unwrap()).await;
        match task.status {
            TaskStatus::Done => {
                Ok(scene.call::<snapshot::Get>(json!({ "snapshot": name, "vm": "db-1" })).await)
            }
            _ => Err(task.message.unwrap_or_default()),
        }
    };
    let whole = taken("whole", "demand").await.unwrap();
    let said = (whole.consistency, whole.not_quiesced_because, sim.freezes(domid));
    assert_eq!(said, (Some(Consistency::FilesystemConsistent), None, 1));
    let unasked = taken("unasked", "never").await.unwrap();
    let said = (unasked.consistency, unasked.not_quiesced_because, sim.freezes(domid));
    assert_eq!(said, (Some(Consistency::CrashConsistent), None, 1));
    sim.set_guest_agent(domid, GuestAgentManners::Refuses).unwrap();
    let tried = taken("tried", "try").await.unwrap();
    assert!(tried.not_quiesced_because.unwrap().contains("/srv"));
    let images = scene.images().len();
    let message = taken("demanded", "demand").await.unwrap_err();
    assert!(message.contains("cannot be quiesced"), "{message}");
    assert_eq!(scene.images().len(), images, "nothing is half done");
    scene.installation.stop().await;
}
