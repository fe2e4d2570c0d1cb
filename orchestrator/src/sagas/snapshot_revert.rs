//! Give a stopped VM's disks the contents of a snapshot. What they held is gone with the first disk, so from there
//! the saga only goes forward. Before it, it is made sure that all of them can go: a VM with disks of two moments is
//! worth nothing.
//!
//! With memory the host does it all in one command, and lets the VM go on: nobody starts it in between. Its check reads
//! all of the memory, and anything that is wrong rolls the saga back before a disk was touched.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use xenith_common_ids::{HostId, IncarnationId, OperationId, SnapshotId, SrId, VdiId, VmId};
use xenith_hypervisor_agent_api::{Command, CommandResult, RevertPart, StorageCommand, VmAction};
use xenith_hypervisor_agent_types::{MemoryOf, SnapshotOf, SrFacts};
use xenith_orchestrator_saga::{Saga, Step, StepCtx, StepError};
use xenith_orchestrator_types::snapshot::SnapshotDisk;

use super::{Deps, host_removed, step_error};

#[derive(Clone)]
pub struct SnapshotRevert(pub Arc<Deps>);

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Params {
    pub snapshot: SnapshotId,
    pub vm: VmId,
    pub host: HostId,
    pub disks: Vec<SnapshotDisk>,
    /// It goes on from its memory of that instant.
    #[serde(default)]
    pub going: Option<GoingOn>,
}

/// How a VM goes on from the memory of a snapshot.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct GoingOn {
    pub memory: MemoryOf,
    pub incarnation: IncarnationId,
}

const PATIENCE: Duration = Duration::from_secs(4 * 3600);

impl Saga for SnapshotRevert {
    const KIND: &'static str = "snapshot_revert";
    type Params = Params;

    fn steps(params: &Params) -> Vec<Step<Self>> {
        let mut steps = vec![Step::new("hold", look).undo(release_only)];
        if params.going.is_some() {
            steps.push(Step::new("check", check).deadline(PATIENCE));
            let step = Step::new("go_back", go_back).cannot_be_undone("what the disks held is gone");
            steps.push(step.deadline(PATIENCE));
        }
        for disk in params.disks.iter().filter(|_| params.going.is_none()) {
            let step = Step::new("revert", revert).cannot_be_undone("what the disk held is gone");
            steps.push(step.for_item(disk.snapshot.to_string()).deadline(PATIENCE));
        }
        steps.push(Step::new("release", release).cannot_be_undone(super::RELEASED));
        steps
    }
}

async fn look(saga: &SnapshotRevert, ctx: &StepCtx<SnapshotRevert>) -> Result<(), StepError> {
    let Params { host, vm, disks, .. } = ctx.params();
    // Here, where what is refused can be undone. No other host takes them meanwhile: the VM is held.
    let written: Vec<VdiId> = disks.iter().map(|disk| disk.vdi).collect();
    saga.0.end_leases_of_fenced(ctx, (*host, *vm), &written).await?;
    let srs: BTreeSet<SrId> = disks.iter().map(|disk| disk.sr).collect();
    for sr in srs {
        // Never the same question twice: the answer changes.
        let command = Command::Storage(StorageCommand::Scan { sr });
        let facts = match saga.0.send_as(ctx, OperationId::new(), *host, command).await {
            Ok(CommandResult::Sr(facts)) => facts,
            Ok(_) => return Err(StepError::permanent("the host answered something else")),
            Err(error) => return Err(error.map_or_else(|| host_removed(*host), |error| step_error(&error))),
        };
        let here: Vec<&SnapshotDisk> = disks.iter().filter(|disk| disk.sr == sr).collect();
        can_revert(&facts, &here).map_err(StepError::permanent)?;
    }
    Ok(())
}

/// The copies of an SR that shares no blocks are made one after the other, each beside what it replaces.
fn can_revert(facts: &SrFacts, disks: &[&SnapshotDisk]) -> Result<(), String> {
    let found = |vdi: VdiId| facts.vdis.iter().find(|facts| facts.vdi == vdi);
    let (mut more, mut most) = (0, 0);
    for disk in disks {
        let now = found(disk.vdi).map_or(0, |facts| facts.physical);
        let Some(kept) = found(disk.snapshot) else {
            let damaged = facts.damaged.iter().find(|damaged| damaged.vdi == disk.snapshot);
            let problem = damaged.map_or("it is not in its SR any more", |damaged| damaged.problem.as_str());
            return Err(format!(
                "what the snapshot keeps of the disk {} cannot be used, and nothing was reverted: {problem}",
                disk.device
            ));
        };
        // What it takes while both are there, beyond what those before it took or gave back.
        most = most.max(more + i128::from(kept.physical));
        more += i128::from(kept.physical) - i128::from(now);
    }
    if !facts.copy_on_write && most > i128::from(facts.space.free) {
        let mib = (most >> 20) + 1;
        return Err(format!(
            "SR {} needs {mib} MiB to revert, and {} MiB are free; free space in it, nothing was reverted",
            facts.sr,
            facts.space.free >> 20
        ));
    }
    Ok(())
}

async fn release_only(saga: &SnapshotRevert, ctx: &StepCtx<SnapshotRevert>) -> Result<(), StepError> {
    saga.0.release(ctx.params().vm, ctx.saga()).await?;
    Ok(())
}

async fn revert(saga: &SnapshotRevert, ctx: &StepCtx<SnapshotRevert>) -> Result<(), StepError> {
    let wanted = ctx.item().unwrap_or_default();
    let disk = ctx.params().disks.iter().find(|disk| disk.snapshot.to_string() == wanted);
    let disk =
        disk.ok_or_else(|| StepError::permanent("the step names a disk that is not in the parameters"))?;
    let command = StorageCommand::Revert { vdi: disk.vdi, snapshot: disk.snapshot, sr: disk.sr };
    saga.0.send(ctx, ctx.params().host, Command::Storage(command)).await?;
    let size = disk.size;
    saga.0.db.vdis.modify(&disk.vdi, |vdi| vdi.size = size).await?;
    Ok(())
}

fn revert_command(params: &Params, part: RevertPart) -> Result<Command, StepError> {
    let GoingOn { memory, incarnation } =
        params.going.clone().ok_or_else(|| StepError::permanent("the parameters name no memory"))?;
    let of = |disk: &SnapshotDisk| SnapshotOf { vdi: disk.vdi, snapshot: disk.snapshot };
    let disks = params.disks.iter().map(of).collect();
    Ok(Command::Vm { vm: params.vm, action: VmAction::RevertWithMemory { incarnation, disks, memory, part } })
}

async fn check(saga: &SnapshotRevert, ctx: &StepCtx<SnapshotRevert>) -> Result<(), StepError> {
    let params = ctx.params();
    saga.0.rules_first(params.host, params.vm).await?;
    let command = revert_command(params, RevertPart::Check)?;
    saga.0.send_long(ctx, params.host, command).await.map(|_| ())
}

async fn go_back(saga: &SnapshotRevert, ctx: &StepCtx<SnapshotRevert>) -> Result<(), StepError> {
    let params = ctx.params();
    saga.0.rules_first(params.host, params.vm).await?;
    let command = revert_command(params, RevertPart::Whole)?;
    saga.0.send(ctx, params.host, command).await?;
    for disk in &params.disks {
        let size = disk.size;
        saga.0.db.vdis.modify(&disk.vdi, |vdi| vdi.size = size).await?;
    }
    Ok(())
}

async fn release(saga: &SnapshotRevert, ctx: &StepCtx<SnapshotRevert>) -> Result<(), StepError> {
    let snapshot = ctx.params().snapshot;
    saga.0.release_with(ctx.params().vm, ctx.saga(), |vm| vm.snapshot = Some(snapshot)).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use xenith_hypervisor_agent_types::{DamagedVdi, DiskDevice, SrSpace, VdiFacts, VdiSize};

    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn all_disks_can_go_back_or_none_does() {
        let (sr, size) = (SrId::new(), VdiSize::from_bytes(64 * MIB).unwrap());
        let disk = |index| {
            let device = DiskDevice::nth(index).unwrap();
            SnapshotDisk { device, vdi: VdiId::new(), snapshot: VdiId::new(), sr, size }
        };
        let (first, second) = (disk(0), disk(1));
        let kept = |disk: &SnapshotDisk, mib: u64| VdiFacts {
            vdi: disk.snapshot,
            sr,
            size,
            physical: mib * MIB,
            snapshot_of: Some(disk.vdi),
        };
        let now =
            |disk: &SnapshotDisk, mib: u64| VdiFacts { vdi: disk.vdi, snapshot_of: None, ..kept(disk, mib) };
        let facts = |free: u64, copy_on_write: bool, vdis: Vec<VdiFacts>| SrFacts {
            sr,
            copy_on_write,
            space: SrSpace { total: 1000 * MIB, free: free * MIB, physical: 0, promised: 0 },
            vdis,
            left_overs: vec![],
            damaged: vec![],
        };
        let both = vec![now(&first, 20), kept(&first, 10), now(&second, 5), kept(&second, 30)];
        let disks = [&first, &second];
        // 10 beside 20, of which 20 go; then 30 where there are 10 more than before.
        can_revert(&facts(20, false, both.clone()), &disks).unwrap();
        let full = can_revert(&facts(19, false, both.clone()), &disks).unwrap_err();
        assert!(full.contains("nothing was reverted"), "{full}");
        can_revert(&facts(0, true, both.clone()), &disks).unwrap();
        let mut damaged = facts(100, true, both[..3].to_vec());
        let gone = can_revert(&damaged, &disks).unwrap_err();
        assert!(gone.contains("xvdb") && gone.contains("not in its SR"), "{gone}");
        damaged.damaged.push(DamagedVdi { vdi: second.snapshot, problem: "it was cut off".to_owned() });
        let cut = can_revert(&damaged, &disks).unwrap_err();
        assert!(cut.contains("cut off"), "{cut}");
    }
}
