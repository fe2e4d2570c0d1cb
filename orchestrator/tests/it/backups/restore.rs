//! Restores: a new VM, in place, from nothing but the backup, at once while the data comes, and into another pool.

use std::sync::Arc;

use serde_json::json;
use xenith_common_ids::SagaId;
use xenith_hypervisor_agent_sim::SimHypervisor;
use xenith_hypervisor_agent_types::Power;
use xenith_orchestrator::app::RestoreHolds;
use xenith_orchestrator::sagas::backup_restore::Params;
use xenith_orchestrator_api::{backup, network, pool, sr, task, vm};
use xenith_orchestrator_types::Reason;
use xenith_orchestrator_types::task::{TaskRef, TaskStatus};
use xenith_orchestrator_types::vm::VmRef;

use super::{MIB, Scene, noise, write};
use crate::harness::{api_error, until};
use crate::repositories::largest;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vm_is_backed_up_twice_and_comes_back() {
    let scene = Scene::new(12).await;
    let image = scene.image("web-1").await;
    write(&image, MIB, &noise(1, 4 * MIB));
    let first = scene.run().await;
    let before = std::fs::read(&image).unwrap();
    assert!(first.vms[0].new_bytes >= 4 * MIB as u64, "{first:?}");
    write(&image, 9 * MIB, b"changed");
    let second = scene.run().await;
    let vm = &second.vms[0];
    assert!(vm.new_bytes <= 512 * 1024, "only what is new is stored: {second:?}");
    // Where the file system can share blocks only what changed is read; elsewhere it says why not.
    assert!(vm.read < 2 * MIB as u64 || !vm.whole_because.is_empty(), "{second:?}");
    assert_eq!(scene.installation.vm("web-1").await.power, Power::Running);
    let snapshots = scene.images().iter().filter(|name| name.ends_with(".snap")).count();
    assert!(snapshots <= 1, "only the base of the next increment is kept: {:?}", scene.images());

    let backups = scene.backups().await;
    assert_eq!(backups.len(), 2);
    let older = &backups[1];
    scene
        .done::<backup::Restore>(json!({
            "backup": older.id, "target": { "kind": "new_vm", "name": "web-2" }, "start": true,
        }))
        .await;
    assert!(std::fs::read(scene.image("web-2").await).unwrap() == before, "byte for byte, as it was then");
    let (old, new) = (scene.spec("web-1").await, scene.spec("web-2").await);
    assert_ne!(old.nics[0].mac, new.nics[0].mac, "two VMs with one address");
    scene.installation.becomes("web-2", Power::Running).await;

    // In place, only into a stopped VM.
    let in_place = json!({ "backup": older.id, "target": { "kind": "in_place" } });
    let params = serde_json::from_value(in_place.clone()).unwrap();
    let refused = api_error(scene.installation.admin.call::<backup::Restore>(&params).await);
    assert_eq!(refused.reason(), Reason::WrongState);
    scene.done::<vm::PowerOff>(json!({ "vm": "web-1" })).await;
    write(&image, 0, &noise(7, 12 * MIB));
    scene.done::<backup::Restore>(in_place).await;
    assert!(std::fs::read(&image).unwrap() == before);

    // A VM that is gone comes back from what its backup says of it.
    scene.done::<vm::Delete>(json!({ "vm": "web-1" })).await;
    let left = scene.images();
    assert!(
        !left.iter().any(|name| name.ends_with(".snap")),
        "what an increment counts from goes, too: {left:?}"
    );
    scene.done::<backup::Restore>(json!({ "backup": backups[0].id })).await;
    let again = scene.spec("web-2").await;
    assert_eq!(again.memory, old.memory);
    scene.installation.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vm_boots_from_its_backup_at_once() {
    let mut scene = Scene::new(24).await;
    let image = scene.image("web-1").await;
    write(&image, 0, &noise(1, 20 * MIB));
    scene.run().await;
    let bytes = std::fs::read(&image).unwrap();
    let ask = |name: &str, bandwidth: u64| {
        let ask = json!({
            "backup": "web-1@latest", "target": { "kind": "new_vm", "name": name }, "instant": true,
            "bandwidth": bandwidth,
        });
        serde_json::from_value(ask).unwrap()
    };
    // Slow enough to see it run before its disk is there.
    let task = scene.installation.admin.call::<backup::Restore>(&ask("web-2", 4 << 20)).await.unwrap().task;
    until("it runs", async || {
        let found = scene.installation.admin.call::<vm::Get>(&VmRef { vm: "web-2".into() }).await.ok()?;
        (found.power == Power::Running).then_some(())
    })
    .await;
    let running = scene.installation.admin.call::<task::Get>(&TaskRef { task }).await.unwrap();
    assert_eq!(running.status, TaskStatus::Running, "{:?}", running.message);
    scene.installation.hosts[0].stop_agent().await;
    scene.installation.hosts[0].start_agent().await;
    let over = scene.installation.wait_task(task).await;
    assert_eq!(over.status, TaskStatus::Done, "{:?}", over.message);
    assert!(std::fs::read(scene.image("web-2").await).unwrap() == bytes);
    // The next start is from the plain disk, and it can be backed up.
    scene.done::<backup::Create>(json!({ "vm": "web-2", "repositories": ["main"] })).await;
    scene.done::<vm::PowerOff>(json!({ "vm": "web-2" })).await;
    scene.done::<vm::Start>(json!({ "vm": "web-2" })).await;

    // Deleted half way: the rest is not brought in for nobody, and the task says so by ending.
    let task = scene.installation.admin.call::<backup::Restore>(&ask("web-3", 1 << 18)).await.unwrap().task;
    until("it runs", async || {
        let found = scene.installation.admin.call::<vm::Get>(&VmRef { vm: "web-3".into() }).await.ok()?;
        (found.power == Power::Running).then_some(())
    })
    .await;
    let third = scene.image("web-3").await;
    scene.done::<vm::PowerOff>(json!({ "vm": "web-3" })).await;
    scene.done::<vm::Delete>(json!({ "vm": "web-3" })).await;
    let over = scene.installation.wait_task(task).await;
    assert_eq!(over.status, TaskStatus::Done, "{:?}", over.message);
    assert!(!third.exists());
    let in_place = json!({ "backup": "web-1@latest", "target": { "kind": "in_place" }, "instant": true });
    let refused = api_error(
        scene.installation.admin.call::<backup::Restore>(&serde_json::from_value(in_place).unwrap()).await,
    );
    assert_eq!(refused.reason(), Reason::Invalid);
    scene.installation.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_comes_back_in_another_pool() {
    let mut scene = Scene::new(2).await;
    let image = scene.image("web-1").await;
    write(&image, 4096, &noise(1, MIB));
    scene.run().await;
    scene.call::<pool::Create>(json!({ "name": "edge" })).await;
    scene.installation.add_host_to(Some("edge"), "xen2", SimHypervisor::builder()).await;
    let was = scene.spec("web-1").await.nics[0].network.to_string();
    let wish = |more: serde_json::Value| {
        let mut wish = json!({
            "backup": "web-1@latest", "host": "xen2", "target": { "kind": "new_vm", "name": "web-2" },
        });
        wish.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        wish
    };
    let refused = async |more| {
        let params = serde_json::from_value(wish(more)).unwrap();
        api_error(scene.installation.admin.call::<backup::Restore>(&params).await)
    };
    // Nobody knows what stands there for the network that it had.
    let error = refused(json!({})).await;
    assert_eq!((error.reason(), error.data.field.as_deref()), (Reason::Invalid, Some("networks")), "{error}");
    for (wrong, field) in [
        (json!({ "target": { "kind": "in_place" } }), "target"),
        (json!({ "target": { "kind": "disks" }, "networks": { "dmz": "" } }), "networks"),
        (json!({ "sr": "local-xen1", "networks": { was.as_str(): "" } }), "sr"),
        // It is a network of the pool that the VM was in.
        (json!({ "networks": { was.as_str(): was.as_str() } }), "networks"),
    ] {
        let error = refused(wrong).await;
        assert_eq!((error.reason(), error.data.field.as_deref()), (Reason::Invalid, Some(field)), "{error}");
    }

    scene.call::<network::Create>(json!({ "name": "dmz", "bridge": "xenbr0", "pool": "edge" })).await;
    let fast = scene.folder("fast");
    let make = json!({ "name": "fast", "host": "xen2", "spec": { "kind": "folder", "path": fast } });
    scene.done::<sr::Create>(make).await;
    scene
        .done::<backup::Restore>(wish(
            json!({ "sr": "fast", "networks": { was.as_str(): "dmz" }, "start": true }),
        ))
        .await;
    let (old, new) = (scene.installation.vm("web-1").await, scene.installation.vm("web-2").await);
    assert_ne!(new.pool, old.pool);
    let spec = new.spec.unwrap();
    let (nic, before) = (&spec.nics[0], &old.spec.unwrap().nics[0]);
    assert!(nic.network != before.network && nic.mac != before.mac, "{nic:?}");
    let came = std::fs::read(fast.join(format!("{}.raw", spec.disks[0].vdi))).unwrap();
    assert!(came == std::fs::read(&image).unwrap(), "byte for byte, in that SR");

    let alone = json!({ "target": { "kind": "new_vm", "name": "web-3" }, "networks": { was: "" } });
    scene.done::<backup::Restore>(wish(alone)).await;
    assert_eq!(scene.spec("web-3").await.nics, []);
    scene.installation.stop().await;
}

/// As after a kill of its host, when the task was over before the host was back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_restore_that_was_given_up_held_is_let_go() {
    let scene = Scene::new(4).await;
    let image = scene.image("web-1").await;
    write(&image, 0, &noise(1, 2 * MIB));
    scene.run().await;
    let (repository, backup) = (scene.folder("repository"), scene.backups().await[0].id.clone());
    let pack = largest(&repository.join("packs"));
    let byte = std::fs::read(&pack).unwrap()[5000];
    write(&pack, 5000, &[byte ^ 1]);
    let wish = json!({ "backup": backup, "target": { "kind": "new_vm", "name": "web-2" } });
    let task = scene.installation.run::<backup::Restore>(&serde_json::from_value(wish).unwrap()).await;
    assert_eq!(task.status, TaskStatus::RolledBack, "{:?}", task.message);

    let app = Arc::clone(&scene.installation.orchestrator.as_ref().unwrap().app);
    let saga = app.engine.get(SagaId::from(task.id)).await.unwrap();
    let params: Params = serde_json::from_value(saga.params).unwrap();
    let held = |holder: String| {
        let hold = repository.join("holds").join(format!("{backup}.{holder}"));
        std::fs::create_dir_all(hold.parent().unwrap()).unwrap();
        std::fs::write(&hold, b"held\n").unwrap();
        hold
    };
    let own = held(format!("restore-{}", params.disks[0].1));
    let of_another = held(format!("restore-{}", params.repository));
    app.tasks.caught_up().await;
    app.lift_restore_holds(&mut RestoreHolds::default()).await;
    assert!(!own.exists() && of_another.exists());
    drop(app);
    scene.installation.stop().await;
}
