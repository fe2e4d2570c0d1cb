//! Backups through the API: real agents over simulated hosts, real images, a repository in a folder. What the tests of each
//! idea share is here.

mod files;
mod keep;
mod lists;
mod proofs;
mod reports;
mod restore;
mod runs;

use std::path::{Path, PathBuf};

use serde_json::json;
use xenith_common_ids::BackupRunId;
use xenith_hypervisor_agent_sim::{SimBuilder, SimHypervisor};
use xenith_hypervisor_agent_types::VmSpec;
use xenith_orchestrator_api::{Method, backup, backup_job, backup_run, event, repository, vm};
use xenith_orchestrator_types::backup::{
    Backup, BackupJobRef, BackupRun, BackupRunRef, ListBackups, RunStatus,
};
use xenith_orchestrator_types::task::TaskStatus;

use crate::harness::{Installation, small, until};

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

/// The messages of one kind, newest first.
async fn events(scene: &Scene, kind: &str) -> Vec<String> {
    let page = scene.call::<event::List>(json!({ "filter": format!("kind:{kind}") })).await;
    page.items.into_iter().map(|event| event.message).collect()
}
