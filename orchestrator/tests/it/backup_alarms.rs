//! Alarms about backups: by no rule, listed while they are true, and told to everybody who is told of anything.

use serde_json::json;
use time::Duration;
use xenith_orchestrator::db::Db;
use xenith_orchestrator::model::{JobRecord, VmRecord};
use xenith_orchestrator_api::{alarm, alarm_rule, backup_job};

use crate::backups::{MIB, Scene, noise, write};
use crate::harness::until;

fn db(scene: &Scene) -> Db {
    scene.installation.orchestrator.as_ref().unwrap().app.db.clone()
}

/// Which are listed of `web-1`, in order.
async fn wrong(scene: &Scene) -> Vec<String> {
    let found = scene.call::<alarm::List>(json!({ "filter": "of:vm name:web-1" })).await.items;
    assert!(found.iter().all(|alarm| alarm.rule.is_none() && alarm.message.is_some()), "{found:?}");
    let mut names: Vec<String> = found.into_iter().map(|alarm| alarm.rule_name).collect();
    names.sort();
    // What looks for these only now and then is woken.
    scene.installation.orchestrator.as_ref().unwrap().app.runner.notify_one();
    names
}

/// Who is owed what about these alarms: nobody takes it.
async fn owed(scene: &Scene) -> Vec<(String, bool)> {
    let (notices, _) = db(scene).alarm_notices.all().await.unwrap();
    let mut owed: Vec<_> =
        notices.into_iter().map(|notice| (notice.value.alarm.rule_name, notice.value.raised)).collect();
    owed.sort();
    owed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vm_without_a_new_backup_raises_alarms_until_it_has_one() {
    let mut scene = Scene::new(4).await;
    write(&scene.image("web-1").await, 0, &noise(1, MIB));
    // About hosts: it watches no VM, and names whom to tell. Nobody listens there.
    let rule = json!({ "name": "who", "of": "host", "metric": "dom0.memory", "threshold": 1e15,
                       "webhook": "http://127.0.0.1:1/" });
    scene.call::<alarm_rule::Create>(rule).await;
    let job = scene.call::<backup_job::Update>(json!({ "job": "nightly", "rpo_minutes": 60 })).await;
    assert_eq!(wrong(&scene).await, [""; 0]);

    // All of it was made two hours ago.
    let vm = scene.installation.vm("web-1").await.id;
    let earlier = Duration::hours(2);
    db(&scene).vms.modify(&vm, |record: &mut VmRecord| record.created -= earlier).await.unwrap();
    let older = |record: &mut JobRecord| record.created -= earlier;
    db(&scene).backup_jobs.modify(&job.id, older).await.unwrap();
    scene.installation.restart().await;
    let both = ["backup-overdue", "backup-unprotected"];
    until("both are raised", async || (wrong(&scene).await == both).then_some(())).await;
    let raised = [(both[0].to_owned(), true), (both[1].to_owned(), true)];
    until("somebody has to be told of both", async || (owed(&scene).await == raised).then_some(())).await;
    scene.installation.restart().await;
    assert_eq!(wrong(&scene).await, both, "they are raised still");

    scene.run().await;
    scene.installation.restart().await;
    // No job with a schedule covers it, so that is wrong still.
    until("one is over", async || (wrong(&scene).await == both[1..]).then_some(())).await;
    let told = [(both[0].to_owned(), false), (both[0].to_owned(), true), (both[1].to_owned(), true)];
    until("that it is over has to be told", async || (owed(&scene).await == told).then_some(())).await;
    scene.installation.stop().await;
}
