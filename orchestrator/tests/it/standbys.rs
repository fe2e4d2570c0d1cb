//! Standby VMs through the API: two real agents over simulated hosts, real images, a repository in a folder.

use std::path::PathBuf;

use serde_json::json;
use xenith_hypervisor_agent_sim::SimHypervisor;
use xenith_hypervisor_agent_types::Power;
use xenith_orchestrator_api::{backup, standby, task, vm};
use xenith_orchestrator_types::Reason;
use xenith_orchestrator_types::host::HostStatus;
use xenith_orchestrator_types::standby::{FailOverStandby, Standby, StandbyRef, StandbyStatus};
use xenith_orchestrator_types::task::{TaskRef, TaskStatus};
use xenith_orchestrator_types::vm::VmRef;

use crate::backups::{MIB, Scene, noise, write};
use crate::harness::{api_error, until};

const STANDBY: &str = "web-1-standby";

/// A running VM with a disk of `size` MiB on one host, and one that stands by for it on another.
struct Pair(Scene);

impl Pair {
    async fn new(size: usize) -> Self {
        let mut scene = Scene::new(size).await;
        write(&scene.image("web-1").await, MIB, &noise(1, 4 * MIB));
        scene.installation.add_host("xen2", SimHypervisor::builder()).await;
        let create = json!({ "vm": "web-1", "host": "xen2", "repository": "main", "keep_macs": true });
        scene.done::<standby::Create>(create).await;
        Self(scene)
    }

    async fn image(&self, host: usize, vm: &str) -> PathBuf {
        let spec = self.0.installation.vm(vm).await.spec.unwrap();
        self.0.installation.hosts[host].folder().join("sr").join(format!("{}.raw", spec.disks[0].vdi))
    }

    async fn bytes(&self, host: usize, vm: &str) -> Vec<u8> {
        std::fs::read(self.image(host, vm).await).unwrap()
    }

    async fn get(&self, standby: &str) -> Standby {
        let standby = StandbyRef { standby: standby.to_owned() };
        self.0.installation.admin.call::<standby::Get>(&standby).await.unwrap()
    }

    /// Backs the VM up, and waits until its standby holds that.
    async fn followed(&self, standby: &str) {
        self.0.run().await;
        self.holds_newest(standby).await;
    }

    /// Who holds a VM, the read model is told a moment after the store.
    async fn becomes(&self, standby: &str, status: StandbyStatus) -> Standby {
        until(&format!("{standby} is {status:?}"), async || {
            let found = self.get(standby).await;
            (found.status == status).then_some(found)
        })
        .await
    }

    async fn holds_newest(&self, standby: &str) {
        let newest = self.0.backups().await[0].id.clone();
        until("the standby holds the newest backup", async || {
            let found = self.get(standby).await;
            (found.status == StandbyStatus::Ready && found.backup.as_ref() == Some(&newest)).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_follows_takes_over_and_gives_back() {
    let pair = Pair::new(12).await;
    let (scene, admin) = (&pair.0, &pair.0.installation.admin);
    assert_eq!(pair.get(STANDBY).await.status, StandbyStatus::Incomplete);
    pair.followed(STANDBY).await;
    let image = pair.image(0, "web-1").await;
    assert!(pair.bytes(1, STANDBY).await == pair.bytes(0, "web-1").await, "byte for byte");

    // Only what changed is written: what nobody should have touched is still there.
    let far = pair.image(1, STANDBY).await;
    let was = std::fs::read(&far).unwrap()[3 * MIB..3 * MIB + 7].to_vec();
    write(&far, 3 * MIB, b"witness");
    write(&image, 9 * MIB, b"changed");
    pair.followed(STANDBY).await;
    let bytes = std::fs::read(&far).unwrap();
    assert_eq!(
        (&bytes[9 * MIB..9 * MIB + 7], &bytes[3 * MIB..3 * MIB + 7]),
        (&b"changed"[..], &b"witness"[..])
    );
    write(&far, 3 * MIB, &was);

    // It is locked, and nobody's to back up.
    let reference = VmRef { vm: STANDBY.into() };
    let start = serde_json::from_value(json!({ "vm": STANDBY })).unwrap();
    assert_eq!(api_error(admin.call::<vm::Start>(&start).await).reason(), Reason::WrongState);
    let unprotected = scene.call::<backup::Unprotected>(json!({})).await;
    assert!(unprotected.items.iter().all(|vm| vm.name != STANDBY), "{unprotected:?}");
    for (filter, expected) in
        [("status:ready holds:>2026-01-01 repository:main", 1), ("status:incomplete", 0)]
    {
        let page = scene.call::<standby::List>(json!({ "filter": filter, "sort": "-holds" })).await;
        assert_eq!((page.total, page.items.len()), (expected, expected as usize), "{filter}");
    }

    // It does not take over while the VM runs; a dry run says what would be lost.
    let mut fail_over = FailOverStandby { standby: STANDBY.into(), force: false };
    let refused = api_error(admin.call::<standby::FailOver>(&fail_over).await);
    assert_eq!(refused.reason(), Reason::WrongState);
    assert!(refused.to_string().contains("web-1 is running"), "{refused}");
    fail_over.force = true;
    let plan = admin.plan::<standby::FailOver>(&fail_over).await.unwrap();
    assert!(plan["lost_seconds"].as_i64().unwrap() < 60, "{plan}");
    fail_over.force = false;
    scene.done::<vm::PowerOff>(json!({ "vm": "web-1" })).await;
    let (old, new) = (scene.installation.vm("web-1").await, scene.installation.vm(STANDBY).await);
    scene.done::<standby::FailOver>(serde_json::to_value(&fail_over).unwrap()).await;
    scene.installation.becomes(STANDBY, Power::Running).await;
    let taken = admin.call::<vm::Get>(&reference).await.unwrap();
    assert_eq!((taken.power, taken.standby_of), (Power::Running, None));
    let mac = |vm: &xenith_orchestrator_types::vm::Vm| vm.spec.as_ref().unwrap().nics[0].mac;
    assert_eq!(mac(&taken), mac(&old), "it took the address along");
    let stands_by = scene.installation.vm("web-1").await;
    assert_eq!((stands_by.standby_of, mac(&stands_by)), (Some(taken.id), mac(&new)));

    // The job that names the original backs up the one that took over; the original waits to be told to follow.
    write(&far, 10 * MIB, b"written there");
    write(&image, 11 * MIB, b"lost");
    let run = scene.run().await;
    assert_eq!(run.vms[0].name, STANDBY, "{run:?}");
    assert_eq!(pair.get("web-1").await.status, StandbyStatus::Incomplete);
    scene.done::<standby::Follow>(json!({ "standby": "web-1" })).await;
    assert!(
        pair.bytes(0, "web-1").await == pair.bytes(1, STANDBY).await,
        "what was lost is not there any more"
    );

    // The way back loses nothing.
    write(&far, 5 * MIB, b"at the last moment");
    scene.done::<standby::FailBack>(json!({ "standby": "web-1", "force": true })).await;
    let back = scene.installation.becomes("web-1", Power::Running).await;
    assert_eq!(mac(&back), mac(&old));
    assert_eq!(&pair.bytes(0, "web-1").await[5 * MIB..5 * MIB + 18], b"at the last moment");
    assert_eq!(scene.installation.vm(STANDBY).await.standby_of, Some(back.id));
    write(&image, 6 * MIB, b"and on");
    pair.followed(STANDBY).await;
    assert!(pair.bytes(1, STANDBY).await == pair.bytes(0, "web-1").await);

    // Let go of, it is a VM like any other.
    scene.call::<standby::Release>(json!({ "standby": STANDBY })).await;
    scene.done::<vm::Start>(json!({ "vm": STANDBY })).await;
    let gone = api_error(admin.call::<standby::Get>(&StandbyRef { standby: STANDBY.into() }).await);
    assert_eq!(gone.reason(), Reason::WrongState);
    pair.0.installation.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fail_back_survives_the_orchestrator_and_the_agent() {
    let mut pair = Pair::new(24).await;
    pair.followed(STANDBY).await;
    write(&pair.image(0, "web-1").await, 0, &noise(7, 20 * MIB));
    let fail_back = serde_json::from_value(json!({ "standby": STANDBY, "force": true })).unwrap();
    let begun = pair.0.installation.admin.call::<standby::FailBack>(&fail_back).await.unwrap();
    pair.0.installation.restart().await;
    pair.0.installation.hosts[1].stop_agent().await;
    pair.0.installation.hosts[1].start_agent().await;
    let task = pair.0.installation.wait_task(begun.task).await;
    assert_eq!(task.status, TaskStatus::Done, "{:?}", task.message);
    assert!(pair.bytes(1, STANDBY).await == pair.bytes(0, "web-1").await);
    let up = pair.0.installation.becomes(STANDBY, Power::Running).await;
    let off = pair.0.installation.vm("web-1").await;
    assert_eq!(off.standby_of, Some(up.id));
    assert!(!off.power.has_domain(), "never both");
    pair.0.installation.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_that_cannot_follow_can_still_take_over() {
    let mut pair = Pair::new(8).await;
    pair.followed(STANDBY).await;
    let (before, held) = (pair.bytes(1, STANDBY).await, pair.get(STANDBY).await.backup);
    pair.0.installation.hosts[1].stop_agent().await;
    pair.0.installation.wait_host("xen2", HostStatus::Unknown).await;
    write(&pair.image(0, "web-1").await, 0, &noise(9, MIB));
    pair.0.run().await;
    // The repository's folder goes away before the other host is back.
    let (place, aside) = (pair.0.folder("repository"), pair.0.folder("aside"));
    std::fs::rename(&place, &aside).unwrap();
    pair.0.installation.hosts[1].start_agent().await;
    pair.0.installation.wait_host("xen2", HostStatus::Connected).await;
    let follow = StandbyRef { standby: STANDBY.into() };
    // By us, or by itself just before.
    let _begun = pair.0.installation.admin.call::<standby::Follow>(&follow).await;
    let task = until("it is being followed", async || {
        let tasks = pair.0.call::<task::List>(json!({ "active": true })).await;
        tasks.items.into_iter().find(|task| task.title.contains("newest backup")).map(|task| task.id)
    })
    .await;
    pair.becomes(STANDBY, StandbyStatus::Busy).await;
    pair.0.installation.admin.call::<task::Cancel>(&TaskRef { task }).await.unwrap();
    let task = pair.0.installation.wait_task(task).await;
    assert_eq!(task.status, TaskStatus::RolledBack, "{:?}", task.message);
    assert_eq!(pair.becomes(STANDBY, StandbyStatus::Ready).await.backup, held);
    assert!(pair.bytes(1, STANDBY).await == before, "it is as it was");
    std::fs::rename(&aside, &place).unwrap();
    pair.0.done::<standby::Follow>(json!({ "standby": STANDBY })).await;
    assert!(pair.bytes(1, STANDBY).await == pair.bytes(0, "web-1").await);
    // With its disks, it can be had no more.
    pair.0.done::<standby::Delete>(json!({ "standby": STANDBY })).await;
    let gone = api_error(pair.0.installation.admin.call::<vm::Get>(&VmRef { vm: STANDBY.into() }).await);
    assert_eq!(gone.reason(), Reason::NotFound);
    pair.0.installation.stop().await;
}
