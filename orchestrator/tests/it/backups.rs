//! Backups through the API: real agents over simulated hosts, real images, a repository in a folder.

use std::path::{Path, PathBuf};

use serde_json::json;
use xenith_common_ids::BackupRunId;
use xenith_hypervisor_agent_sim::{Manners, SimBuilder, SimHypervisor};
use xenith_hypervisor_agent_types::{Power, VmSpec};
use xenith_orchestrator_api::{
    Method, backup, backup_job, backup_run, event, mail, network, pool, repository, sr, task, vm,
};
use xenith_orchestrator_types::Reason;
use xenith_orchestrator_types::backup::{
    Backup, BackupJobRef, BackupRef, BackupRun, BackupRunRef, ListBackups, RepositoryRef, RunStatus,
};
use xenith_orchestrator_types::task::{TaskRef, TaskStatus};
use xenith_orchestrator_types::vm::VmRef;

use crate::harness::{Installation, api_error, small, until};

pub const MIB: usize = 1 << 20;

/// Bytes that do not shrink, the same each time.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

pub struct Scene {
    pub installation: Installation,
}

impl Scene {
    /// A host, a repository `main` in a folder, a running VM `web-1` with a disk of `size` MiB, a job `nightly`.
    pub async fn new(size: usize) -> Self {
        Self::on(SimHypervisor::builder(), size).await
    }

    async fn on(sim: SimBuilder, size: usize) -> Self {
        let installation = Installation::with_host(sim).await;
        let scene = Self { installation };
        let place = scene.folder("repository");
        scene
            .done::<repository::Create>(
                json!({ "name": "main", "place": { "kind": "folder", "path": place } }),
            )
            .await;
        let mut create = serde_json::to_value(small("web-1")).unwrap();
        create["disks"] = json!([{ "size": size * MIB }]);
        create["start"] = json!(true);
        scene.done::<vm::Create>(create).await;
        scene.job(json!({})).await;
        scene
    }

    pub fn folder(&self, name: &str) -> PathBuf {
        self.installation.hosts[0].folder().join(name)
    }

    async fn job(&self, more: serde_json::Value) {
        let mut settings = json!({ "name": "nightly", "filter": "name:web-1", "repositories": ["main"] });
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.call::<backup_job::Create>(settings).await;
    }

    pub async fn call<M: Method>(&self, params: serde_json::Value) -> M::Result {
        let params: M::Params = serde_json::from_value(params).unwrap();
        self.installation
            .admin
            .call::<M>(&params)
            .await
            .unwrap_or_else(|error| panic!("{}: {error}", M::NAME))
    }

    pub async fn done<M: Method<Result = xenith_orchestrator_types::task::TaskStarted>>(
        &self,
        params: serde_json::Value,
    ) {
        let params: M::Params = serde_json::from_value(params).unwrap();
        let task = self.installation.run::<M>(&params).await;
        assert_eq!(task.status, TaskStatus::Done, "{}: {:?}", task.title, task.message);
    }

    pub async fn begin(&self) -> BackupRunId {
        let job = BackupJobRef { job: "nightly".into() };
        self.installation.admin.call::<backup_job::Run>(&job).await.unwrap().run
    }

    pub async fn over(&self, run: BackupRunId) -> BackupRun {
        until("the run is over", async || {
            let run = self.installation.admin.call::<backup_run::Get>(&BackupRunRef { run }).await.ok()?;
            run.status.is_over().then_some(run)
        })
        .await
    }

    pub async fn run(&self) -> BackupRun {
        let run = self.over(self.begin().await).await;
        assert_eq!(run.status, RunStatus::Done, "{run:?}");
        run
    }

    pub async fn backups(&self) -> Vec<Backup> {
        self.installation.admin.call::<backup::List>(&ListBackups::default()).await.unwrap().items
    }

    async fn spec(&self, name: &str) -> VmSpec {
        self.installation.vm(name).await.spec.unwrap()
    }

    pub async fn image(&self, name: &str) -> PathBuf {
        let spec = self.spec(name).await;
        self.folder("sr").join(format!("{}.raw", spec.disks[0].vdi))
    }

    /// Images and snapshots in the SR.
    pub fn images(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.folder("sr")).unwrap();
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
    }
}

pub fn write(path: &Path, at: usize, bytes: &[u8]) {
    use std::os::unix::fs::FileExt;
    std::fs::OpenOptions::new().write(true).open(path).unwrap().write_all_at(bytes, at as u64).unwrap();
}

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
    assert_eq!(scene.installation.vm("web-2").await.power, Power::Running);

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
    scene.done::<backup::Restore>(json!({ "backup": backups[0].id })).await;
    let again = scene.spec("web-2").await;
    assert_eq!(again.memory, old.memory);
    scene.installation.stop().await;
}

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
    let vm = scene.installation.admin.call::<vm::Get>(&VmRef { vm: "web-1".into() }).await.unwrap();
    assert_eq!(vm.power, Power::Running);
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_found_and_fetched_from_the_host() {
    let scene = Scene::new(16).await;
    let image = scene.image("web-1").await;
    let tree = tempfile::tempdir().unwrap();
    std::fs::create_dir(tree.path().join("etc")).unwrap();
    std::fs::write(tree.path().join("etc/hostname"), b"web-1\n").unwrap();
    std::fs::write(tree.path().join("etc/big"), noise(5, 2 * MIB)).unwrap();
    let made = std::process::Command::new("mke2fs")
        .args(["-q", "-t", "ext4", "-F", "-d"])
        .arg(tree.path())
        .arg(&image)
        .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
        .status();
    if !made.is_ok_and(|status| status.success()) {
        eprintln!("mke2fs is not installed: nothing is tested");
        return;
    }
    scene.run().await;
    let volumes = scene.call::<backup::Files>(json!({ "backup": "web-1@latest" })).await;
    assert_eq!(volumes.volumes[0].name, "disk");
    let ask = json!({ "backup": "web-1@latest", "at": "disk:/etc" });
    let names = |found: xenith_orchestrator_types::backup::BackupFiles| -> Vec<String> {
        found.entries.into_iter().map(|entry| entry.name).collect()
    };
    assert_eq!(names(scene.call::<backup::Files>(ask.clone()).await), ["big", "hostname"]);
    let mut rest = ask.clone();
    rest["after"] = json!("big");
    assert_eq!(names(scene.call::<backup::Files>(rest).await), ["hostname"]);
    let missing = json!({ "backup": "web-1@latest", "at": "disk:/nowhere" });
    let missing = serde_json::from_value(missing).unwrap();
    assert_eq!(
        api_error(scene.installation.admin.call::<backup::Files>(&missing).await).reason(),
        Reason::NotFound
    );

    let mut ask = ask;
    ask["archive"] = json!("tar");
    let ticket = scene.call::<backup::Download>(ask).await;
    let fetch = |ticket: xenith_orchestrator_types::backup::DownloadTicket| async move {
        tokio::task::spawn_blocking(move || {
            let (_, port) = ticket.address.rsplit_once(':').unwrap();
            let tls =
                xenith_common_pki::authority_client_config(&ticket.authority_pem, &[b"http/1.1"]).unwrap();
            let address: std::net::SocketAddr = format!("127.0.0.1:{port}").parse().unwrap();
            let http = reqwest::blocking::Client::builder()
                .tls_backend_preconfigured(tls)
                .resolve_to_addrs(&ticket.server_name, &[address])
                .no_proxy()
                .build()
                .unwrap();
            let url = format!("https://{}:{port}/v1/files", ticket.server_name);
            let answer = http.get(url).bearer_auth(ticket.ticket).send().unwrap();
            (answer.status().as_u16(), answer.bytes().unwrap().to_vec())
        })
        .await
        .unwrap()
    };
    let (status, archive) = fetch(ticket.clone()).await;
    assert_eq!(status, 200);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.tar"), archive).unwrap();
    let unpacked =
        std::process::Command::new("tar").args(["xf", "a.tar"]).current_dir(folder.path()).status();
    assert!(unpacked.unwrap().success());
    assert_eq!(std::fs::read(folder.path().join("etc/hostname")).unwrap(), b"web-1\n");
    assert!(std::fs::read(folder.path().join("etc/big")).unwrap() == noise(5, 2 * MIB));
    let (status, _) = fetch(ticket).await;
    assert_eq!(status, 401, "a ticket opens once");
    scene.installation.stop().await;
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
    // A guest that says nothing is a verdict, too.
    let task = scene.call::<backup::Prove>(json!({ "backup": "web-1@latest", "minutes": 1 })).await.task;
    let name = until("it runs", async || {
        let vms = scene.call::<vm::List>(json!({})).await;
        vms.items.into_iter().find(|vm| vm.name.starts_with("proof-")).map(|vm| vm.name)
    })
    .await;
    assert_eq!(scene.spec(&name).await.nics, [], "two of one kind must not meet");
    assert_eq!(scene.installation.wait_task(task).await.status, TaskStatus::Done);
    let told = events(&scene, "backup.proof").await;
    assert_eq!(told.len(), 2, "each verdict is told: {told:?}");
    scene.installation.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_has_to_answer() {
    // Long enough to be seen while it is proved.
    let sim = SimHypervisor::builder().boot(std::time::Duration::from_secs(2));
    let scene = Scene::on(sim, 8).await;
    write(&scene.image("web-1").await, 0, &noise(1, 4 * MIB));
    scene.call::<backup_job::Update>(json!({ "job": "nightly", "prove": 1, "prove_ports": [22, 22] })).await;
    let run = scene.run().await.id;
    let name = until("it runs", async || {
        let vms = scene.call::<vm::List>(json!({})).await;
        vms.items.into_iter().find(|vm| vm.name.starts_with("proof-")).map(|vm| vm.name)
    })
    .await;
    assert_eq!(scene.spec(&name).await.nics, [], "its card is on no network of anybody's");
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

/// The messages of one kind, newest first.
async fn events(scene: &Scene, kind: &str) -> Vec<String> {
    let page = scene.call::<event::List>(json!({ "filter": format!("kind:{kind}") })).await;
    page.items.into_iter().map(|event| event.message).collect()
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_is_told_by_mail() {
    use crate::mail::{Kind, Server};
    let scene = Scene::new(4).await;
    let server = Server::start(Kind::Open).await;
    let settings = json!({
        "server": "127.0.0.1", "port": server.port, "security": "none", "from": "xenith@example.org",
    });
    scene.call::<mail::Set>(settings).await;
    let mail_to = json!(["ops@example.org", "\"Smith, Anna\" <anna@example.org>"]);
    scene.call::<backup_job::Update>(json!({ "job": "nightly", "mail_to": mail_to })).await;
    let told = async || {
        until("a mail has come", async || {
            let seen = server.seen();
            seen.into_iter().find(|line| line.contains("Subject:"))
        })
        .await
    };
    scene.run().await;
    let letter = told().await;
    for part in [
        "[Xenith] backup done: nightly",
        "ops@example.org",
        "anna@example.org",
        "web-1: done",
        "1 VM backed up",
        "crash-consistent",
    ] {
        assert!(letter.contains(part), "{part}: {letter}");
    }
    // Only what went wrong, from now on.
    scene.call::<backup_job::Update>(json!({ "job": "nightly", "mail_on": "problems" })).await;
    scene.run().await;
    std::fs::rename(scene.folder("repository"), scene.folder("elsewhere")).unwrap();
    scene.over(scene.begin().await).await;
    let letter = told().await;
    assert!(letter.contains("backup failed: nightly") && letter.contains("web-1: failed"), "{letter}");
    let bad = serde_json::from_value(json!({ "job": "nightly", "mail_to": ["nobody"] })).unwrap();
    assert_eq!(
        api_error(scene.installation.admin.call::<backup_job::Update>(&bad).await).reason(),
        Reason::Invalid
    );
    scene.installation.stop().await;
}

/// Takes a POST, and answers with `status`; `None` hangs up at the end of the request.
async fn listener(answers: Vec<Option<u16>>) -> (String, tokio::task::JoinHandle<Vec<String>>) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook?secret=1", socket.local_addr().unwrap());
    let taken = tokio::spawn(async move {
        let mut bodies = Vec::new();
        for answer in answers {
            let (mut stream, _) = socket.accept().await.unwrap();
            let mut request = Vec::new();
            let mut buffer = [0; 4096];
            let body = loop {
                let len = stream.read(&mut buffer).await.unwrap();
                request.extend_from_slice(&buffer[..len]);
                let text = String::from_utf8_lossy(&request).into_owned();
                let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                let length = head
                    .lines()
                    .find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
                if body.len() >= length.unwrap_or(0) || len == 0 {
                    break body.to_owned();
                }
            };
            bodies.push(body);
            if let Some(status) = answer {
                let reply = format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                stream.write_all(reply.as_bytes()).await.unwrap();
            }
        }
        bodies
    });
    (url, taken)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_listens_slowly_holds_nothing_up_and_a_report_is_not_lost() {
    let mut scene = Scene::new(4).await;
    // Takes connections and never answers.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let webhook = format!("http://{}/", silent.local_addr().unwrap());
    scene.call::<backup_job::Update>(json!({ "job": "nightly", "webhook": webhook })).await;
    // The second begins and ends while the report of the first waits for its answer.
    scene.run().await;
    scene.run().await;
    let owed = async |scene: &Scene| {
        scene.installation.orchestrator.as_ref().unwrap().app.db.reports.all().await.unwrap().0
    };
    assert_eq!(owed(&scene).await.len(), 2);
    // Both are delivered by the next orchestrator, to where they were to go; the first try of one fails.
    drop(silent);
    scene.installation.restart().await;
    until("they were tried and it was told", async || {
        let told = events(&scene, "backup.report").await;
        (told.len() == 2).then_some(told)
    })
    .await;
    let (url, taken) = listener(vec![Some(200), Some(204)]).await;
    for report in owed(&scene).await {
        let now = time::OffsetDateTime::now_utc();
        let due = |record: &mut xenith_orchestrator::model::ReportRecord| {
            record.next = now;
            record.to.clone_from(&url);
        };
        let db = scene.installation.orchestrator.as_ref().unwrap().app.db.clone();
        db.reports.modify(&report.key, due).await.unwrap();
    }
    until("nothing is owed", async || owed(&scene).await.is_empty().then_some(())).await;
    for body in taken.await.unwrap() {
        let run: BackupRun = serde_json::from_str(&body).unwrap();
        assert_eq!((run.job_name.as_str(), run.status), ("nightly", RunStatus::Done));
    }
    // One that refuses is told of once, without what may be a secret in its address.
    let (url, taken) = listener(vec![Some(500)]).await;
    scene.call::<backup_job::Update>(json!({ "job": "nightly", "webhook": url })).await;
    let run = scene.run().await;
    let notes = until("it is noted", async || {
        let found = scene.call::<backup_run::Get>(json!({ "run": run.id })).await;
        (!found.notes.is_empty()).then_some(found.notes)
    })
    .await;
    assert!(notes[0].contains("500") && !notes[0].contains("secret"), "{notes:?}");
    taken.await.unwrap();
    scene.installation.stop().await;
}

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
