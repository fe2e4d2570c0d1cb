//! Back up one VM: snapshot all its disks at one instant, let the agent write each repository, keep what the next
//! increment counts from, delete the rest.
//!
//! The VM is not held: it goes on, and may be changed or deleted; the snapshots have ids of their own. The commit point
//! is the manifest in the repository. What dies when: before it, nothing is there but snapshots, which the undo deletes
//! and an agent's next try uses; after it, a repeated step finds the backup by its operation id.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use xenith_common_ids::{HostId, RepositoryId, SrId, VdiId, VmId};
use xenith_hypervisor_agent_types::backup::{
    BackupCommand, BackupFacts, BackupReply, BackupRun, RunBase, RunDisk,
};
use xenith_hypervisor_agent_types::{DiskDevice, Quiesce, Quiesced, SnapshotOf};
use xenith_orchestrator_saga::{RetryPolicy, Saga, Step, StepCtx, StepError};
use xenith_orchestrator_store::Transaction;

use super::Deps;
use super::snapshot_parts::Discarded;
use crate::catalogue::{self, Definition};
use crate::model::BaseRecord;

#[derive(Clone)]
pub struct BackupVm(pub Arc<Deps>);

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Params {
    pub vm: VmId,
    pub host: HostId,
    pub disks: Vec<Disk>,
    pub repositories: Vec<RepositoryId>,
    /// The VM as it was when the backup began; kept with it.
    pub definition: Definition,
    pub bandwidth: u64,
    pub tags: Vec<String>,
    /// Of its guest, for the snapshot.
    #[serde(default)]
    pub quiesce: Quiesce,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Disk {
    pub device: DiskDevice,
    pub vdi: VdiId,
    pub sr: SrId,
    pub snapshot: VdiId,
}

/// A host that restarts, a store that fails over, a switch that is replaced: a backup waits for an hour.
const PATIENT: RetryPolicy =
    RetryPolicy { attempts: 120, first: Duration::from_millis(500), most: Duration::from_secs(30) };

/// The step whose output says in which state the guest was ([`Quiesced`]).
pub const SNAPSHOT: &str = "snapshot";

impl Saga for BackupVm {
    const KIND: &'static str = "backup_vm";
    type Params = Params;

    fn steps(params: &Params) -> Vec<Step<Self>> {
        let week = Duration::from_secs(7 * 86_400);
        let mut steps = vec![Step::new(SNAPSHOT, snapshot).undo(drop_snapshots)];
        for repository in &params.repositories {
            let item = repository.to_string();
            steps.push(Step::new("transfer", transfer).for_item(&item).retry(PATIENT).deadline(week));
        }
        steps.push(Step::new("record", record).cannot_be_undone("the backup is in the catalogue"));
        steps.push(Step::new("tidy", tidy));
        steps
    }
}

async fn snapshot(saga: &BackupVm, ctx: &StepCtx<BackupVm>) -> Result<Quiesced, StepError> {
    saga.0.keep_disks(ctx, ctx.params()).await
}

async fn drop_snapshots(saga: &BackupVm, ctx: &StepCtx<BackupVm>) -> Result<(), StepError> {
    saga.0.drop_kept_disks(ctx, ctx.params()).await
}

fn repository(ctx: &StepCtx<BackupVm>) -> Result<RepositoryId, StepError> {
    let item = ctx.item().unwrap_or_default();
    item.parse().map_err(|_| StepError::permanent("the step names no repository"))
}

async fn transfer(saga: &BackupVm, ctx: &StepCtx<BackupVm>) -> Result<BackupFacts, StepError> {
    let repository = repository(ctx)?;
    saga.0.transfer_disks(ctx, ctx.params(), (repository, ctx.output(SNAPSHOT)?)).await
}

/// Into the catalogue, and as the base of the next: in one transaction.
async fn record(saga: &BackupVm, ctx: &StepCtx<BackupVm>) -> Result<(), StepError> {
    let (params, deps) = (ctx.params(), &saga.0);
    let mut commit = Transaction::new();
    for repository in &params.repositories {
        let made: BackupFacts = ctx.output(&format!("transfer:{repository}"))?;
        commit = deps.record_backup_in(params, (*repository, &made), commit).await?;
    }
    deps.db.store.commit(commit).await?;
    Ok(())
}

async fn tidy(saga: &BackupVm, ctx: &StepCtx<BackupVm>) -> Result<(), StepError> {
    saga.0.tidy_snapshots(ctx, ctx.params()).await
}

/// The name of a disk in repositories: readable, and the same as long as there is a base.
fn disk_name(params: &Params, disk: &Disk) -> String {
    let plain = |c: char| if c.is_control() || matches!(c, '@' | '=' | ',' | '/') { '-' } else { c };
    let vm: String = params.definition.spec.name.to_string().chars().map(plain).take(100).collect();
    // The last digits: the first ones of a UUIDv7 are a time that many share.
    let id = disk.vdi.as_uuid().simple().to_string();
    format!("{vm}.{}.{}", disk.device, &id[20..])
}

/// From where the host counts what changed.
fn run_base(base: BaseRecord) -> RunBase {
    let backup = if base.doubted { String::new() } else { base.backup };
    RunBase { snapshot: base.snapshot, backup }
}

/// The parts, for every saga that backs a VM up.
impl Deps {
    /// Snapshots all disks at one instant.
    pub(super) async fn keep_disks<S: Saga>(
        &self,
        ctx: &StepCtx<S>,
        params: &Params,
    ) -> Result<Quiesced, StepError> {
        let of = |disk: &Disk| SnapshotOf { vdi: disk.vdi, snapshot: disk.snapshot };
        let disks = params.disks.iter().map(of).collect();
        let whose = (params.host, params.vm);
        self.snapshot_quiesced(ctx, whose, disks, params.quiesce).await.map(|made| made.quiesced)
    }

    /// Those that became a base of a later backup stay.
    pub(super) async fn drop_kept_disks<S: Saga>(
        &self,
        ctx: &StepCtx<S>,
        params: &Params,
    ) -> Result<(), StepError> {
        let used = catalogue::base_snapshots(&self.db).await?;
        for disk in params.disks.iter().filter(|disk| !used.contains(&disk.snapshot)) {
            self.delete_snapshot(ctx, params.host, (disk.snapshot, disk.sr)).await?;
        }
        Ok(())
    }

    /// Into one repository. Nobody knows how a snapshot of an earlier version of this saga was made.
    pub(super) async fn transfer_disks<S: Saga>(
        &self,
        ctx: &StepCtx<S>,
        params: &Params,
        (repository, quiesced): (RepositoryId, Option<Quiesced>),
    ) -> Result<BackupFacts, StepError> {
        let access = self.access_to_add(repository).await?;
        let mut disks = Vec::new();
        for disk in &params.disks {
            let base = self.db.bases.get(&(disk.vdi, repository)).await?.map(|record| record.value);
            // A base on another host's disk is of no use here.
            let base = base.filter(|base| base.host == params.host);
            disks.push(RunDisk {
                name: base.as_ref().map_or_else(|| disk_name(params, disk), |base| base.disk_name.clone()),
                snapshot: disk.snapshot,
                base: base.map(run_base),
            });
        }
        let attachments = vec![params.definition.attachment(&params.disks, &disks, quiesced)?];
        let writer = self.writers.enter(repository, params.bandwidth);
        let bandwidth = writer.share(self.bandwidth_of(repository).await?);
        let run = BackupRun { access, disks, tags: params.tags.clone(), attachments, bandwidth };
        match self.paced_command(ctx, (params.host, BackupCommand::Run(run)), Some(&writer)).await? {
            BackupReply::Made { backup } => Ok(*backup),
            other => Err(StepError::permanent(format!("the host answered something else: {other:?}"))),
        }
    }

    /// Into the catalogue, and as what the next increment counts from.
    pub(super) async fn record_backup_in(
        &self,
        params: &Params,
        (repository, made): (RepositoryId, &BackupFacts),
        commit: Transaction,
    ) -> Result<Transaction, StepError> {
        let db = &self.db;
        let mut commit = catalogue::put_in(db, commit, repository, made);
        for (disk, stored) in params.disks.iter().zip(&made.disks) {
            let base = BaseRecord {
                snapshot: disk.snapshot,
                sr: disk.sr,
                host: params.host,
                backup: made.id.clone(),
                disk_name: stored.name.clone(),
                doubted: false,
            };
            if let Some(old) = db.bases.get(&(disk.vdi, repository)).await?
                && old.value.snapshot != disk.snapshot
            {
                let gone = BaseRecord { backup: String::new(), ..old.value };
                commit = db.old_snapshots.put_in(commit, &gone.snapshot, &gone);
            }
            commit = db.bases.put_in(commit, &(disk.vdi, repository), &base);
        }
        Ok(commit)
    }

    /// Nothing counts from the snapshots of a VDI that was deleted.
    async fn forget_gone(&self, host: HostId) -> Result<(), StepError> {
        let db = &self.db;
        let (bases, _) = db.bases.all().await?;
        for base in bases.into_iter().filter(|base| base.value.host == host) {
            if db.vdis.get(&base.key.0).await?.is_none() {
                let gone = BaseRecord { backup: String::new(), ..base.value };
                let commit = db.bases.delete_in(Transaction::new(), &base.key);
                db.store.commit(db.old_snapshots.put_in(commit, &gone.snapshot, &gone)).await?;
            }
        }
        Ok(())
    }

    /// What increments of a VDI that was deleted counted from goes with it. What cannot be deleted now is at the next backup
    /// on its host.
    pub(super) async fn drop_bases<S: Saga>(&self, ctx: &StepCtx<S>, vdi: VdiId) -> Result<(), StepError> {
        let db = &self.db;
        // One for each repository.
        for base in db.bases.all_under(&vdi).await? {
            let gone = BaseRecord { backup: String::new(), ..base.value };
            let commit = db.bases.delete_in(Transaction::new(), &base.key);
            db.store.commit(db.old_snapshots.put_in(commit, &gone.snapshot, &gone)).await?;
            match self.discard_snapshot(ctx, gone.host, (gone.snapshot, gone.sr)).await {
                Ok(Discarded::Gone) => {
                    let commit = db.old_snapshots.delete_in(Transaction::new(), &gone.snapshot);
                    db.store.commit(commit).await?;
                }
                Ok(Discarded::Busy) => {}
                Err(error) => tracing::warn!(%vdi, %error, "the base of its backups is not deleted yet"),
            }
        }
        Ok(())
    }

    /// Deletes snapshots that no increment counts from any more, those of earlier runs among them.
    pub(super) async fn tidy_snapshots<S: Saga>(
        &self,
        ctx: &StepCtx<S>,
        params: &Params,
    ) -> Result<(), StepError> {
        let db = &self.db;
        self.forget_gone(params.host).await?;
        let used = catalogue::base_snapshots(db).await?;
        let (old, _) = db.old_snapshots.all().await?;
        let mut gone: BTreeMap<VdiId, SrId> = old
            .into_iter()
            .filter(|record| record.value.host == params.host)
            .map(|record| (record.key, record.value.sr))
            .collect();
        gone.extend(params.disks.iter().map(|disk| (disk.snapshot, disk.sr)));
        for (snapshot, sr) in gone {
            if !used.contains(&snapshot)
                && self.discard_snapshot(ctx, params.host, (snapshot, sr)).await? == Discarded::Busy
            {
                // It stays in the list: whoever is at it strikes it off, or the next backup does.
                continue;
            }
            db.store.commit(db.old_snapshots.delete_in(Transaction::new(), &snapshot)).await?;
        }
        Ok(())
    }
}
