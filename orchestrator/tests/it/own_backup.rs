//! The orchestrator's own backup, and an orchestrator that comes back from it.

use serde_json::{Value, json};
use xenith_hypervisor_agent_backend::Hypervisor as _;
use xenith_hypervisor_agent_sim::SimHypervisor;
use xenith_hypervisor_agent_types::Power;
use xenith_hypervisor_agent_types::backup::{RepositoryAccess, RepositoryKey, RepositoryPlace, Secret};
use xenith_orchestrator::own_backup::restore::{Restored, Which, restore};
use xenith_orchestrator::own_backup::{OwnBackupError, open};
use xenith_orchestrator::secret::MasterKey;
use xenith_orchestrator_api::{Method, backup, backup_job, backup_run, host, orphan, repository, task, vm};
use xenith_orchestrator_types::Reason;
use xenith_orchestrator_types::backup::{BackupRun, BackupRunRef, RepositoryRef, RunStatus};
use xenith_orchestrator_types::host::HostStatus;
use xenith_orchestrator_types::task::{TaskStarted, TaskStatus};

use crate::harness::{Installation, api_error, small, until};

struct Scene {
    installation: Installation,
    place: String,
}

impl Scene {
    /// A host, a repository `main`, a job `own` that backs up the orchestrator.
    async fn new() -> Self {
        let installation = Installation::with_host(SimHypervisor::builder()).await;
        let place = installation.hosts[0].folder().join("repository").display().to_string();
        let scene = Self { installation, place };
        let place = json!({ "name": "main", "place": { "kind": "folder", "path": scene.place } });
        scene.done::<repository::Create>(place).await;
        let job = json!({ "name": "own", "repositories": ["main"], "orchestrator": true });
        scene.call::<backup_job::Create>(job).await;
        scene
    }

    async fn call<M: Method>(&self, params: Value) -> M::Result {
        let params: M::Params = serde_json::from_value(params).unwrap();
        let called = self.installation.admin.call::<M>(&params).await;
        called.unwrap_or_else(|error| panic!("{}: {error}", M::NAME))
    }

    async fn done<M: Method<Result = TaskStarted>>(&self, params: Value) {
        let task = self.installation.run::<M>(&serde_json::from_value(params).unwrap()).await;
        assert_eq!(task.status, TaskStatus::Done, "{}: {:?}", task.title, task.message);
    }

    async fn make(&self, name: &str) {
        let mut create = serde_json::to_value(small(name)).unwrap();
        create["disks"] = json!([{ "size": 1 << 20 }]);
        create["start"] = json!(true);
        self.done::<vm::Create>(create).await;
    }

    async fn over(&self, run: xenith_common_ids::BackupRunId) -> BackupRun {
        until("the run is over", async || {
            let run = self.installation.admin.call::<backup_run::Get>(&BackupRunRef { run }).await.ok()?;
            run.status.is_over().then_some(run)
        })
        .await
    }

    async fn back_up(&self) -> BackupRun {
        let run = self.call::<backup_job::Run>(json!({ "job": "own" })).await.run;
        let run = self.over(run).await;
        assert_eq!(run.status, RunStatus::Done, "{run:?}");
        run
    }

    async fn key(&self) -> String {
        let main = RepositoryRef { repository: "main".into() };
        self.installation.admin.call::<repository::Key>(&main).await.unwrap().secret
    }

    fn master_key(&self) -> MasterKey {
        MasterKey::from_bytes(&std::fs::read(self.data().join("master.key")).unwrap()).unwrap()
    }

    fn data(&self) -> std::path::PathBuf {
        self.installation.folder().join("data")
    }

    /// The orchestrator that was restored is started. Sessions of then are worth nothing.
    async fn come_back(&mut self) {
        self.installation.come_back().await;
        let gone = self.installation.admin.call::<host::List>(&serde_json::from_str("{}").unwrap()).await;
        assert_eq!(api_error(gone).reason(), Reason::Unauthenticated);
        let password = self.installation.password().to_owned();
        self.installation.admin = self.installation.login("admin", &password).await.unwrap();
    }

    /// With nothing but the place and the keys.
    async fn restore(&self, key: &str, master: Option<MasterKey>) -> Result<Restored, OwnBackupError> {
        let access = RepositoryAccess {
            place: RepositoryPlace::Folder { path: self.place.clone() },
            key: RepositoryKey::Digits(Secret::new(key.to_owned())),
            writer: None,
        };
        let repo = tokio::task::spawn_blocking(move || open(&access)).await.unwrap()?;
        restore(repo, (Which::default(), master), &self.data()).await
    }

    /// Leaves the data folder empty.
    async fn refuses_what_cannot_be(&self, key: &str, master: &MasterKey) {
        let data = self.data();
        let refused = |result: Result<Restored, OwnBackupError>| match result {
            Err(OwnBackupError::Refused(text)) => text,
            other => panic!("{other:?}"),
        };
        let text = refused(self.restore(key, Some(master.clone())).await);
        assert!(text.contains("is there already"), "{text}");
        std::fs::remove_dir_all(&data).unwrap();
        std::fs::create_dir(&data).unwrap();
        let text = refused(self.restore(key, None).await);
        assert!(text.contains("xenith-orchestrator master-key"), "{text}");
        let other = "0".repeat(64);
        assert!(self.restore(&other, Some(master.clone())).await.is_err(), "another key opens nothing");
        let wrong = self.restore(key, MasterKey::from_digits(&other)).await;
        assert!(wrong.is_err() && !data.join("store").exists(), "{wrong:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_comes_back_onto_nothing_and_harms_no_vm() {
    let mut scene = Scene::new().await;
    scene.make("web-1").await;
    scene.make("web-2").await;
    scene.back_up().await;
    let run = scene.back_up().await;
    let part = run.orchestrator.unwrap();
    assert!(part.size > 0 && part.tries == 1, "{part:?}");
    let backups = scene.call::<backup::List>(json!({})).await.items;
    assert_eq!(backups.len(), 2);
    assert!(backups[0].vm.is_none() && backups[0].vm_name.starts_with("orchestrator."), "{backups:?}");
    let key = scene.key().await;

    // The world goes on: a VM is made, one is stopped, one is changed, the host gets a new certificate, and the
    // orchestrator starts a few times.
    scene.make("web-3").await;
    scene.done::<vm::PowerOff>(json!({ "vm": "web-2" })).await;
    scene.done::<vm::Update>(json!({ "vm": "web-1", "memory": { "target": 128, "max": 128 } })).await;
    let soon = time::OffsetDateTime::now_utc();
    let db = scene.installation.orchestrator.as_ref().unwrap().app.db.clone();
    let host = db.hosts.all().await.unwrap().0[0].key;
    db.hosts.modify(&host, |host| host.certificate_expires = soon).await.unwrap();
    let serial = db.hosts.get(&host).await.unwrap().unwrap().value.certificate_serial;
    drop(db);
    scene.installation.restart().await;
    let renewed = async |scene: &Scene| {
        let db = scene.installation.orchestrator.as_ref().unwrap().app.db.clone();
        db.hosts.get(&host).await.unwrap().unwrap().value
    };
    until("the host has a new certificate", async || {
        (renewed(&scene).await.certificate_serial != serial).then_some(())
    })
    .await;
    scene.installation.restart().await;
    scene.installation.wait_host("xen1", HostStatus::Connected).await;
    // Each with its number, which a domain that is made anew does not get.
    let running = async |scene: &Scene| -> Vec<_> {
        let domains = scene.installation.hosts[0].sim.domains().await.unwrap();
        domains.into_iter().map(|domain| domain.domid).collect()
    };
    let before = running(&scene).await;

    // It burns down.
    scene.installation.release().await;
    let master = scene.master_key();
    scene.refuses_what_cannot_be(&key, &master).await;
    let restored = scene.restore(&key, Some(master)).await.unwrap();
    assert_eq!(restored.backup, backups[0].id, "the newest");
    assert!(restored.abandoned >= 1, "the backup itself was under way when it was made");

    scene.come_back().await;
    scene.installation.wait_host("xen1", HostStatus::Connected).await;
    assert_eq!(running(&scene).await, before, "no domain was touched");
    scene.installation.becomes("web-1", Power::Running).await;
    scene.installation.becomes("web-2", Power::Stopped).await;
    // What it does not know is told, and left alone.
    let orphans = until("web-3 is found", async || {
        let found = scene.call::<orphan::List>(json!({})).await.items;
        found.iter().any(|orphan| orphan.name == "web-3").then_some(found)
    })
    .await;
    assert!(!orphans.iter().any(|orphan| orphan.name == "web-1"), "{orphans:?}");
    // The certificate that it could not know was taken, and replaced by one that it does.
    until("the host's certificate is known again", async || {
        (!renewed(&scene).await.any_certificate).then_some(())
    })
    .await;
    // And it is in charge: of a VM that was stopped, and of one whose definition is newer on the host.
    scene.done::<vm::Start>(json!({ "vm": "web-2" })).await;
    scene
        .done::<vm::Update>(
            json!({ "vm": "web-1", "description": "x", "memory": { "target": 128, "max": 256 } }),
        )
        .await;
    scene.done::<vm::PowerOff>(json!({ "vm": "web-1" })).await;
    scene.done::<vm::Start>(json!({ "vm": "web-1" })).await;
    scene.back_up().await;
    assert_eq!(running(&scene).await.len(), before.len() + 1);
    scene.installation.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_under_way_is_not_resumed() {
    let mut scene = Scene::new().await;
    scene.make("web-1").await;
    // A shutdown that a guest takes its time for is under way when the backup is made.
    scene.installation.hosts[0].stop_agent().await;
    let off = serde_json::from_value(json!({ "vm": "web-1" })).unwrap();
    let under_way = scene.installation.admin.call::<vm::PowerOff>(&off).await.unwrap().task;
    let run = scene.call::<backup_job::Run>(json!({ "job": "own" })).await.run;
    // In the middle of it the orchestrator starts anew: it is made once all the same.
    scene.installation.restart().await;
    let run = scene.over(run).await;
    assert_eq!(run.status, RunStatus::Done, "{run:?}");
    let key = scene.key().await;
    scene.installation.release().await;
    let data = scene.data();
    let program = |last: &[&str], master: &str| {
        let mut program = tokio::process::Command::new(env!("CARGO_BIN_EXE_xenith-orchestrator"));
        program.arg("--data").arg(&data).args(last).env("XENITH_KEY", &key).env("XENITH_MASTER_KEY", master);
        program.env_remove("XENITH_ORCHESTRATOR_CONFIG").kill_on_drop(true);
        async move {
            let output = program.output().await.unwrap();
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            (output.status.success(), text(&output.stdout), text(&output.stderr))
        }
    };
    let (done, master, error) = program(&["master-key"], "").await;
    assert!(done && master.trim().len() == 64, "{error}");
    std::fs::remove_dir_all(&data).unwrap();
    let (done, _, error) = program(&["restore", &scene.place], "").await;
    assert!(!done && error.contains("xenith-orchestrator master-key"), "{error}");
    let (done, told, error) = program(&["restore", &scene.place], master.trim()).await;
    assert!(done && told.contains("abandoned  "), "{told}{error}");
    scene.come_back().await;
    let task = scene.call::<task::Get>(json!({ "task": under_way })).await;
    assert_eq!(task.status, TaskStatus::Abandoned, "{task:?}");
    scene.installation.hosts[0].start_agent().await;
    scene.installation.wait_host("xen1", HostStatus::Connected).await;
    // Free for whoever means it today, and running until then.
    scene.installation.becomes("web-1", Power::Running).await;
    scene.done::<vm::Pause>(json!({ "vm": "web-1" })).await;
    let hosts = scene.call::<host::List>(json!({})).await;
    assert_eq!(hosts.total, 1);
    scene.installation.stop().await;
}
