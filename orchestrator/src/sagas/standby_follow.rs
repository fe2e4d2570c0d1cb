//! The disks of a standby VM are brought to a newer backup of the VM that it stands by for.
//!
//! What a disk holds to the byte is kept by its host, with the disk, and only what differs is written. A disk of a VM that
//! ran itself is first given back the snapshot that its own last backup was made of. Here it is only kept which backup
//! *all* disks hold: nothing from the transaction that starts the saga until *followed*.
//!
//! Where a snapshot costs nothing, the disks are snapshotted before they are written (the *checkpoint*), and a saga that is
//! taken back puts them back. Elsewhere they are left between two backups, and the next try goes on from there.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use xenith_common_ids::{OperationId, SrId, VdiId};
use xenith_hypervisor_agent_api::{Command, CommandResult, StorageCommand};
use xenith_hypervisor_agent_types::backup::{BackupCommand, BackupFacts, BackupReply, Rewind, RewindWhen};
use xenith_hypervisor_agent_types::{SnapshotOf, VdiSize};
use xenith_orchestrator_saga::{Step, StepCtx, StepError};
use xenith_orchestrator_store::Transaction;
use xenith_orchestrator_types::event::Severity;

use super::standby_act::{Change, PATIENT, StandbyAct, WEEK, item};
use super::{NewVdi, host_removed, step_error};
use crate::catalogue;
use crate::events::Happened;
use crate::model::{BaseRecord, HeldBackup, HeldDisk, StandbyRecord, VmRecord};
use crate::records;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Follow {
    /// `None`: the one that this saga makes.
    pub target: Option<Target>,
    pub disks: Vec<Disk>,
    pub new_vdis: Vec<NewVdi>,
    pub checkpoint: bool,
    /// Of the standby, before.
    pub before: StandbyRecord,
    /// The standby's definition follows the backup's.
    pub change: Change,
}

/// A backup.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Target {
    pub backup: String,
    pub created: OffsetDateTime,
    /// VDIs of the VM that was backed up, and what they are called in it.
    pub names: Vec<(VdiId, String)>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Disk {
    /// Of the VM that is stood by for.
    pub of: VdiId,
    pub vdi: VdiId,
    pub sr: SrId,
    pub size: VdiSize,
    /// What it is kept as until all is written.
    pub snapshot: VdiId,
    /// What its own last backup was made of.
    pub base: Option<BaseRecord>,
}

pub(super) fn steps(follow: &Follow) -> Vec<Step<StandbyAct>> {
    let mut steps = Vec::new();
    for new in &follow.new_vdis {
        steps.push(Step::new("disk", ensure_disk).undo(delete_disk).for_item(new.vdi.to_string()));
    }
    if follow.checkpoint {
        steps.push(Step::new("checkpoint", checkpoint).undo(drop_checkpoint));
    }
    for disk in &follow.disks {
        if disk.base.is_some() {
            steps.push(Step::new("rewind", rewind).for_item(disk.vdi.to_string()).deadline(WEEK));
        }
        let write = Step::new("write", write).undo(unwrite).for_item(disk.vdi.to_string());
        steps.push(write.retry(PATIENT).deadline(WEEK));
    }
    steps.push(Step::new("follow_definition", define).undo(define_old));
    steps.push(Step::new("followed", followed));
    steps
}

fn follow(ctx: &StepCtx<StandbyAct>) -> Result<&Follow, StepError> {
    ctx.params().follow.as_ref().ok_or_else(|| StepError::permanent("no follow is among the parameters"))
}

fn disk(ctx: &StepCtx<StandbyAct>) -> Result<&Disk, StepError> {
    let wanted = item(ctx)?;
    let found = follow(ctx)?.disks.iter().find(|disk| disk.vdi == wanted);
    found.ok_or_else(|| StepError::permanent("the step names a disk that is not in the parameters"))
}

fn target(ctx: &StepCtx<StandbyAct>) -> Result<Target, StepError> {
    if let Some(target) = &follow(ctx)?.target {
        return Ok(target.clone());
    }
    let made: BackupFacts = ctx.output("transfer")?;
    let backed_up = ctx.params().last.iter().flat_map(|last| &last.backup.disks);
    let names = backed_up.zip(&made.disks).map(|(disk, stored)| (disk.vdi, stored.name.clone())).collect();
    Ok(Target { backup: made.id, created: catalogue::moment(made.created), names })
}

/// As it was before, where the disks are; else a standby that holds nothing.
pub(super) async fn put_back(saga: &StandbyAct, ctx: &StepCtx<StandbyAct>) -> Result<(), StepError> {
    let (db, params, follow) = (&saga.0.db, ctx.params(), follow(ctx)?);
    let Some(found) = db.vms.get(&params.standby).await? else { return Ok(()) };
    if found.value.held_by != Some(ctx.saga()) {
        return Ok(());
    }
    let is_changed = follow.change.old != follow.change.new;
    // Definitions only go up: behind the new one, and behind those of a switch that was taken back.
    let definition = if is_changed { follow.change.definition + 3 } else { found.value.definition };
    let restored =
        VmRecord { spec: follow.change.old.clone(), definition, held_by: None, ..found.value.clone() };
    let made: BTreeSet<VdiId> = follow.new_vdis.iter().map(|new| new.vdi).collect();
    let mut commit = db.vms.update_in(Transaction::new(), &found, &restored);
    let change = (Some(&found.value), Some(&restored));
    commit = records::follow(db, commit, params.standby, change, &made).await?;
    for vdi in &made {
        commit = db.vdis.delete_in(commit, vdi);
    }
    let holds = follow.before.holds.clone().filter(|_| follow.checkpoint);
    commit = db.standbys.put_in(commit, &params.standby, &StandbyRecord { holds, ..follow.before.clone() });
    db.store.commit(commit).await?;
    let message = format!(
        "{} does not follow its VM: its disks could not be brought to a newer backup",
        follow.change.old.name
    );
    let (kind, subject) = ("backup.standby", format!("vm/{}", params.standby));
    let pool = Some(found.value.pool);
    saga.0.tell(Happened { severity: Severity::Error, kind, subject, message, pool }).await;
    Ok(())
}

async fn ensure_disk(saga: &StandbyAct, ctx: &StepCtx<StandbyAct>) -> Result<(), StepError> {
    saga.0.ensure_disk(ctx, ctx.params().host, &follow(ctx)?.new_vdis).await
}

async fn delete_disk(saga: &StandbyAct, ctx: &StepCtx<StandbyAct>) -> Result<(), StepError> {
    saga.0.delete_disk(ctx, ctx.params().host, &follow(ctx)?.new_vdis).await
}

/// Those that held something: what is new is not among them.
fn kept(ctx: &StepCtx<StandbyAct>) -> Result<Vec<&Disk>, StepError> {
    let Follow { disks, before, .. } = follow(ctx)?;
    let held: Vec<VdiId> = before.holds.iter().flat_map(|holds| &holds.disks).map(|disk| disk.vdi).collect();
    Ok(disks.iter().filter(|disk| held.contains(&disk.vdi)).collect())
}

async fn checkpoint(saga: &StandbyAct, ctx: &StepCtx<StandbyAct>) -> Result<(), StepError> {
    let of = |disk: &Disk| SnapshotOf { vdi: disk.vdi, snapshot: disk.snapshot };
    let disks = kept(ctx)?.into_iter().map(of).collect();
    saga.0.snapshot_disks(ctx, (ctx.params().host, ctx.params().standby), disks).await.map(drop)
}

pub(super) async fn drop_checkpoint(saga: &StandbyAct, ctx: &StepCtx<StandbyAct>) -> Result<(), StepError> {
    for disk in kept(ctx)? {
        saga.0.delete_snapshot(ctx, ctx.params().host, (disk.snapshot, disk.sr)).await?;
    }
    Ok(())
}

/// Only where its host does not know what the disk holds.
async fn rewind(saga: &StandbyAct, ctx: &StepCtx<StandbyAct>) -> Result<(), StepError> {
    let disk = disk(ctx)?;
    let Some(base) = &disk.base else { return Ok(()) };
    let rewind = Rewind {
        vdi: disk.vdi,
        snapshot: base.snapshot,
        backup: base.backup.clone(),
        disk: base.disk_name.clone(),
        when: RewindWhen::Unknown,
    };
    let command = Command::Backup(Box::new(BackupCommand::Rewind(rewind)));
    saga.0.send(ctx, ctx.params().host, command).await.map(drop)
}

/// What was written; why all of it was, when it was.
#[derive(Debug, Serialize, Deserialize)]
struct Written {
    bytes: u64,
    whole_because: Option<String>,
}

async fn write(saga: &StandbyAct, ctx: &StepCtx<StandbyAct>) -> Result<Written, StepError> {
    let (params, disk, target) = (ctx.params(), disk(ctx)?, target(ctx)?);
    let name = target.names.iter().find(|(of, _)| *of == disk.of).map(|(_, name)| name.clone());
    let name = name.ok_or_else(|| StepError::permanent(format!("VDI {} is not in the backup", disk.of)))?;
    let operation = OperationId::from_uuid(ctx.derived_uuid("grow"));
    let grow = Command::Storage(StorageCommand::Grow { vdi: disk.vdi, sr: disk.sr, size: disk.size });
    let grown = saga.0.send_as(ctx, operation, params.host, grow).await;
    grown.map_err(|error| error.map_or_else(|| host_removed(params.host), |error| step_error(&error)))?;
    let access = saga.0.access(params.repository).await?;
    let command = BackupCommand::Follow { access, backup: target.backup, disk: name, vdi: disk.vdi };
    match saga.0.backup_command(ctx, params.host, command).await? {
        BackupReply::Followed { written, whole_because } => Ok(Written { bytes: written, whole_because }),
        other => Err(StepError::permanent(format!("the host answered something else: {other:?}"))),
    }
}

/// Back to the checkpoint.
async fn unwrite(saga: &StandbyAct, ctx: &StepCtx<StandbyAct>) -> Result<(), StepError> {
    let (follow, disk) = (follow(ctx)?, disk(ctx)?);
    let Some(holds) = follow.before.holds.as_ref().filter(|_| follow.checkpoint) else { return Ok(()) };
    let Some(held) = holds.disks.iter().find(|held| held.vdi == disk.vdi) else { return Ok(()) };
    let rewind = Rewind {
        vdi: disk.vdi,
        snapshot: disk.snapshot,
        backup: holds.backup.clone(),
        disk: held.disk_name.clone(),
        when: RewindWhen::Always,
    };
    let command = Command::Backup(Box::new(BackupCommand::Rewind(rewind)));
    match saga.0.send(ctx, ctx.params().host, command).await? {
        CommandResult::Backup(reply) if matches!(*reply, BackupReply::Rewound { rewound: true }) => Ok(()),
        other => Err(StepError::permanent(format!("the host answered something else: {other:?}"))),
    }
}

async fn define(saga: &StandbyAct, ctx: &StepCtx<StandbyAct>) -> Result<(), StepError> {
    let (params, change) = (ctx.params(), &follow(ctx)?.change);
    saga.0.define(ctx, (params.host, params.standby), change.definition, &change.new).await
}

async fn define_old(saga: &StandbyAct, ctx: &StepCtx<StandbyAct>) -> Result<(), StepError> {
    let (params, change) = (ctx.params(), &follow(ctx)?.change);
    if change.old == change.new {
        return Ok(());
    }
    saga.0.define(ctx, (params.host, params.standby), change.definition + 3, &change.old).await
}

/// From here on it can take over with what it was brought to.
async fn followed(saga: &StandbyAct, ctx: &StepCtx<StandbyAct>) -> Result<(), StepError> {
    let (db, follow, target) = (&saga.0.db, follow(ctx)?, target(ctx)?);
    for disk in &follow.disks {
        db.vdis.modify(&disk.vdi, |vdi| vdi.size = vdi.size.max(disk.size)).await?;
    }
    let held = |disk: &Disk| {
        let (_, name) = target.names.iter().find(|(of, _)| *of == disk.of)?;
        Some(HeldDisk { vdi: disk.vdi, disk_name: name.clone() })
    };
    let holds = HeldBackup {
        backup: target.backup.clone(),
        created: target.created,
        disks: follow.disks.iter().filter_map(held).collect(),
    };
    db.standbys.modify(&ctx.params().standby, |record| record.holds = Some(holds.clone())).await?;
    Ok(())
}
