//! A standby VM takes over: the *rising* VM is started, the *falling* one stands by from now on.
//!
//! The two records of VMs and the two of standbys change in one transaction. The falling VM's host may be gone; it is told
//! at the end, where it can be, and otherwise when its VM begins to follow.

use serde::{Deserialize, Serialize};
use xenith_common_ids::{HostId, IncarnationId, OperationId, VmId};
use xenith_hypervisor_agent_api::{Command, VmAction};
use xenith_hypervisor_agent_types::{ValidVmSpec, VmSpec};
use xenith_orchestrator_saga::{Step, StepCtx, StepError};
use xenith_orchestrator_store::Transaction;

use super::standby_act::{Change, StandbyAct};
use crate::db::Db;
use crate::model::{StandbyRecord, VmRecord};

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Switch {
    pub rising: Change,
    /// `None`: it was deleted.
    pub falling: Option<Falling>,
    pub incarnation: IncarnationId,
    /// Of the rising VM.
    pub before: StandbyRecord,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Falling {
    pub vm: VmId,
    pub host: HostId,
    pub change: Change,
    pub standby: StandbyRecord,
}

pub(super) fn steps() -> Vec<Step<StandbyAct>> {
    vec![
        Step::new("switch", switch).undo(switch_back),
        Step::new("define", define).undo(define_old),
        Step::new("start", start).undo(power_off).deadline(std::time::Duration::from_secs(1800)),
    ]
}

fn parts(ctx: &StepCtx<StandbyAct>) -> Result<&Switch, StepError> {
    ctx.params().switch.as_ref().ok_or_else(|| StepError::permanent("no switch is among the parameters"))
}

/// What a VM is made.
struct Made<'a> {
    spec: &'a VmSpec,
    definition: u64,
    standby_of: Option<VmId>,
}

async fn change_in(db: &Db, commit: Transaction, vm: VmId, made: Made<'_>) -> Result<Transaction, StepError> {
    let Some(found) = db.vms.get(&vm).await? else { return Ok(commit) };
    let changed = VmRecord {
        spec: made.spec.clone(),
        definition: made.definition,
        standby_of: made.standby_of,
        ..found.value.clone()
    };
    // The addresses are exchanged between the two: the index needs no place that is free.
    let macs = changed.spec.nics.iter().map(|nic| nic.mac.to_string());
    let commit = macs.fold(commit, |commit, mac| db.macs.put_in(commit, &mac, &vm));
    Ok(db.vms.update_in(commit, &found, &changed))
}

async fn switch(saga: &StandbyAct, ctx: &StepCtx<StandbyAct>) -> Result<(), StepError> {
    let (db, rises) = (&saga.0.db, ctx.params().standby);
    let Switch { rising, falling, .. } = parts(ctx)?;
    if db.standbys.get(&rises).await?.is_none() {
        return Ok(());
    }
    let mut commit = db.standbys.delete_in(Transaction::new(), &rises);
    let made = Made { spec: &rising.new, definition: rising.definition, standby_of: None };
    commit = change_in(db, commit, rises, made).await?;
    if let Some(Falling { vm, change, standby, .. }) = falling {
        let made = Made { spec: &change.new, definition: change.definition, standby_of: Some(rises) };
        commit = change_in(db, commit, *vm, made).await?;
        commit = db.standbys.put_in(commit, vm, standby);
    }
    db.store.commit(commit).await?;
    Ok(())
}

async fn switch_back(saga: &StandbyAct, ctx: &StepCtx<StandbyAct>) -> Result<(), StepError> {
    let (db, rises) = (&saga.0.db, ctx.params().standby);
    let Switch { rising, falling, before, .. } = parts(ctx)?;
    if db.standbys.get(&rises).await?.is_some() {
        return Ok(());
    }
    let mut commit = db.standbys.put_in(Transaction::new(), &rises, before);
    let made = Made { spec: &rising.old, definition: rising.definition + 1, standby_of: Some(before.of) };
    commit = change_in(db, commit, rises, made).await?;
    if let Some(Falling { vm, change, .. }) = falling {
        let made = Made { spec: &change.old, definition: change.definition + 1, standby_of: None };
        commit = change_in(db, commit, *vm, made).await?;
        commit = db.standbys.delete_in(commit, vm);
    }
    db.store.commit(commit).await?;
    Ok(())
}

async fn define(saga: &StandbyAct, ctx: &StepCtx<StandbyAct>) -> Result<(), StepError> {
    let (params, rising) = (ctx.params(), &parts(ctx)?.rising);
    saga.0.define(ctx, (params.host, params.standby), rising.definition, &rising.new).await
}

async fn define_old(saga: &StandbyAct, ctx: &StepCtx<StandbyAct>) -> Result<(), StepError> {
    let (params, rising) = (ctx.params(), &parts(ctx)?.rising);
    saga.0.define(ctx, (params.host, params.standby), rising.definition + 1, &rising.old).await
}

async fn start(saga: &StandbyAct, ctx: &StepCtx<StandbyAct>) -> Result<(), StepError> {
    let (params, incarnation) = (ctx.params(), parts(ctx)?.incarnation);
    saga.0.start(ctx, (params.host, params.standby), incarnation).await
}

async fn power_off(saga: &StandbyAct, ctx: &StepCtx<StandbyAct>) -> Result<(), StepError> {
    let params = ctx.params();
    saga.0.tell_vm(ctx, params.host, params.standby, VmAction::Destroy).await.map(drop)
}

/// So that its host does not start it by itself. One that is away is told later.
pub(super) async fn define_falling(saga: &StandbyAct, ctx: &StepCtx<StandbyAct>) -> Result<(), StepError> {
    let Some(Falling { vm, host, change, .. }) = &parts(ctx)?.falling else { return Ok(()) };
    let spec = ValidVmSpec::try_from(change.new.clone());
    let spec = Box::new(spec.map_err(|error| StepError::permanent(error.to_string()))?);
    let action = VmAction::Define { definition: change.definition, spec };
    let operation = OperationId::from_uuid(ctx.derived_uuid("tell the other"));
    if let Err(error) = saga.0.send_as(ctx, operation, *host, Command::Vm { vm: *vm, action }).await {
        let error = error.map_or_else(|| "it was removed".to_owned(), |error| error.to_string());
        tracing::warn!(%vm, %host, error, "the host of a VM that was replaced was not told");
    }
    Ok(())
}
