//! Backups that are seen to boot, or not.

use std::time::Duration;

use serde_json::json;
use xenith_hypervisor_agent_sim::{FaultRule, Manners, Operation, SimHypervisor};
use xenith_hypervisor_agent_types::NicSpec;
use xenith_orchestrator_api::{backup, backup_job, backup_run, vm};
use xenith_orchestrator_types::Reason;
use xenith_orchestrator_types::task::TaskStatus;

use super::{MIB, Scene, events, noise, write};
use crate::harness::{api_error, until};

/// The next VM that proves a backup is not up before it was looked at. How many had been built before it.
fn held_up(scene: &Scene) -> u64 {
    let sim = &scene.installation.hosts[0].sim;
    sim.inject(FaultRule::hang(Operation::Create, Duration::from_secs(600)).of("proof-*"));
    sim.calls(Operation::Create)
}

/// The network cards of the VM that was held up, which then goes on.
async fn proving(scene: &Scene, built: u64) -> Vec<NicSpec> {
    let name = until("it is there", async || {
        let vms = scene.call::<vm::List>(json!({})).await;
        vms.items.into_iter().find(|vm| vm.name.starts_with("proof-")).map(|vm| vm.name)
    })
    .await;
    let nics = scene.spec(&name).await.nics;
    let sim = &scene.installation.hosts[0].sim;
    until("it is built", async || (sim.calls(Operation::Create) > built).then_some(())).await;
    sim.hurry();
    nics
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_is_proved_and_nothing_stays() {
    let scene = Scene::new(8).await;
    write(&scene.image("web-1").await, 0, &noise(1, 4 * MIB));
    scene.call::<backup_job::Update>(json!({ "job": "nightly", "prove": 1 })).await;
    let images = scene.images().len();
    scene.run().await;
    let proved = until("the backup is proved", async || scene.backups().await[0].proof.clone()).await;
    assert!(proved.answered && !proved.said.is_empty(), "{proved:?}");
    until("the VM is gone", async || {
        let vms = scene.call::<vm::List>(json!({})).await;
        (vms.total == 1).then_some(())
    })
    .await;
    until("its disk is gone", async || {
        // The snapshot that the next increment counts from stays.
        (scene.images().iter().filter(|name| name.ends_with(".raw")).count() == 1).then_some(())
    })
    .await;
    assert!(scene.images().len() > images, "{:?}", scene.images());
    let started = held_up(&scene);
    let task = scene.call::<backup::Prove>(json!({ "backup": "web-1@latest", "minutes": 1 })).await.task;
    assert_eq!(proving(&scene, started).await, [], "two of one kind must not meet");
    assert_eq!(scene.installation.wait_task(task).await.status, TaskStatus::Done);
    let told = events(&scene, "backup.proof").await;
    assert_eq!(told.len(), 2, "each verdict is told: {told:?}");
    scene.installation.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_has_to_answer() {
    let scene = Scene::new(8).await;
    write(&scene.image("web-1").await, 0, &noise(1, 4 * MIB));
    scene.call::<backup_job::Update>(json!({ "job": "nightly", "prove": 1, "prove_ports": [22, 22] })).await;
    let started = held_up(&scene);
    let run = scene.run().await.id;
    assert_eq!(proving(&scene, started).await, [], "its card is on no network of anybody's");
    let proof = until("the run has the verdict", async || {
        let run = scene.call::<backup_run::Get>(json!({ "run": run })).await;
        run.proofs.into_iter().find_map(|of| of.proof)
    })
    .await;
    assert!(proof.answered, "{proof:?}");
    let ports: Vec<_> = proof.ports.iter().map(|port| (port.port.get(), port.answered)).collect();
    assert_eq!(ports, [(22, true)], "{proof:?}");
    let listed = scene.call::<backup_run::List>(json!({})).await.items;
    assert_eq!(listed[0].proofs[0].proof, Some(proof.clone()), "lists have it, too");
    assert_eq!(scene.backups().await[0].proof, Some(proof));
    until("its bridge is gone", async || {
        scene.installation.hosts[0].sim.proof_bridges().is_empty().then_some(())
    })
    .await;
    let many: Vec<u16> = (1..=17).collect();
    let params = serde_json::from_value(json!({ "backup": "web-1@latest", "ports": many })).unwrap();
    let refused = api_error(scene.installation.admin.call::<backup::Prove>(&params).await);
    assert_eq!(refused.reason(), Reason::Invalid);
    scene.installation.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_that_does_not_answer_is_a_verdict() {
    let sim = SimHypervisor::builder().manners("proof-*", Manners::PowersOffAtBoot);
    let scene = Scene::on(sim, 4).await;
    scene.run().await;
    scene.done::<backup::Prove>(json!({ "backup": "web-1@latest", "minutes": 1, "ports": [443] })).await;
    let proof = scene.backups().await[0].proof.clone().unwrap();
    assert!(!proof.answered && proof.said.contains("port 443 did not answer"), "{proof:?}");
    let told = events(&scene, "backup.proof").await;
    assert!(told[0].contains("was not seen to boot"), "{told:?}");
    scene.installation.stop().await;
}
