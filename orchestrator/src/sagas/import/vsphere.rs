//! Take a VM from ESXi or vCenter: copied while it runs, followed until the cut-over, then made here.
//!
//! ```text
//! record check disk* source copy follow shutdown last [verify] [prepare] define [start] clean release
//! ```
//!
//! The host's agent reads; we steer the source: it is tracked and asked to shut down by us, and set right by us when all is undone,
//! whether the host is there or not: one that does not answer is asked to end its pass a few times, then the source is set
//! right, and the host asked again. Undone, the source runs again if we stopped it, and has none of our snapshots.
//! The commit point is the begin of `clean`: from then on the VM here is the one that is written to, and a source that is
//! away or gone undoes nothing any more. Before it the source has to be off at each step from the last pass on.
//! A crash of the agent or of ours repeats at most what came after its last checkpoint; a crash of the host, too.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use xenith_common_ids::{HostId, ImportId, ImportSourceId, IncarnationId, OperationId, VmId};
use xenith_hypervisor_agent_api::{
    Command, CommandResult, DiskPassed, ImportCommand, ImportDisk, ImportPass, PassKind, VmAction,
    VsphereAccess,
};
use xenith_hypervisor_agent_client::AgentClientError;
use xenith_hypervisor_agent_types::FaultReason;
use xenith_orchestrator_saga::{RetryPolicy, Saga, Step, StepCtx, StepError};
use xenith_orchestrator_types::import::{ImportOrigin, ImportPass as ApiPass, ImportPhase};
use xenith_vmware_import::plan::inventory::Power;
use xenith_vmware_import::vsphere::snapshots::SNAPSHOT;
use xenith_vmware_import::vsphere::source::{self, Asked, Started, Tracking};

use super::super::{Deps, NewVdi, host_removed, nothing, step_error};
use super::guest::Guest;
use crate::app::vm_reference;
use crate::model::{ImportRecord, VmRecord};
use crate::vsphere::{self, with_source};

#[derive(Clone)]
pub struct ImportVsphere(pub Arc<Deps>);

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct VsphereParams {
    pub import: ImportId,
    pub vm: VmId,
    pub record: VmRecord,
    pub new_vdis: Vec<NewVdi>,
    pub source: ImportSourceId,
    /// The VM's managed object id there.
    pub reference: String,
    pub datacenter: String,
    /// The source ran when the import began.
    pub was_on: bool,
    pub downtime_s: Option<u32>,
    pub interval_s: u32,
    pub shutdown_s: u32,
    pub force: bool,
    pub verify: bool,
    /// Switch changed-block tracking on where it is off.
    #[serde(default)]
    pub track: bool,
    /// Make its guest ready to boot here.
    #[serde(default)]
    pub prepare: bool,
    pub start: bool,
}

const DAY: Duration = Duration::from_secs(86_400);
/// Passes kept for people to look at.
const KEPT_PASSES: usize = 64;
/// A source or host that is away for a night is back in the morning; the copy so far is worth the wait.
const PATIENT: RetryPolicy =
    RetryPolicy { attempts: 50_000, first: Duration::from_secs(1), most: Duration::from_secs(60) };
/// How often the source is asked for what is left to clean, over some minutes; then its administrator is told.
const CLEANINGS: u32 = 10;
/// How often a host is asked to end its pass before the source is set right without it.
const STOPS: u32 = 3;
/// Between two looks at the power of a source, at most: each signs in there. And at the wish of who waits for a turn.
const LOOK: Duration = Duration::from_secs(10);

type Ctx = StepCtx<ImportVsphere>;

impl Saga for ImportVsphere {
    const KIND: &'static str = "import_vsphere";
    type Params = VsphereParams;

    fn steps(params: &VsphereParams) -> Vec<Step<Self>> {
        let long = |step: Step<Self>| step.deadline(DAY * 30).retry(PATIENT);
        let mut steps = vec![Step::new("record", nothing).undo(erase), Step::new("check", check)];
        for new in &params.new_vdis {
            steps.push(Step::new("disk", ensure_disk).undo(delete_disk).for_item(new.vdi.to_string()));
        }
        // Undone after everything that reads the source has ended.
        steps.push(Step::new("source", track).undo(restore).undo_retry(PATIENT).deadline(DAY));
        steps.push(long(Step::new("copy", copy)).undo(stop));
        steps.push(long(Step::new("follow", follow)));
        steps.push(long(Step::new("shutdown", shutdown)));
        steps.push(long(Step::new("last", last)));
        if params.verify {
            steps.push(long(Step::new("verify", verify)));
        }
        if params.prepare {
            steps.push(long(Step::new("prepare", prepare)));
        }
        steps.push(Step::new("define", define).undo(forget));
        if params.start {
            steps.push(Step::new("start", start).undo(power_off));
        }
        let clean = Step::new("clean", clean).retry(PATIENT).deadline(DAY);
        steps.push(clean.cannot_be_undone("the VM has moved: what is written now is written here"));
        steps.push(Step::new("release", release).cannot_be_undone(super::super::RELEASED));
        steps
    }
}

async fn erase(saga: &ImportVsphere, ctx: &Ctx) -> Result<(), StepError> {
    let params = ctx.params();
    let made: BTreeSet<_> = params.new_vdis.iter().map(|new| new.vdi).collect();
    saga.0.erase_vm(params.vm, &made).await?;
    saga.0.imports.forget(params.import);
    saga.0.import_phase(params.import, ImportPhase::RolledBack).await?;
    Ok(())
}

impl ImportVsphere {
    async fn opened(&self, ctx: &Ctx) -> Result<vsphere::Opened, StepError> {
        let found = self.0.db.import_sources.get(&ctx.params().source).await?;
        let found = found.ok_or_else(|| StepError::permanent("the import source was removed"))?;
        if self.0.imports.was_refused(found.key, &found.value.sealed_password) {
            return Err(StepError::retryable(vsphere::refused_before(&found.value)));
        }
        let vault = self.0.vault()?;
        vsphere::open(vault, &found.value).map_err(|error| StepError::permanent(error.to_string()))
    }

    /// Does something at the source.
    async fn there<T: Send + 'static>(
        &self,
        ctx: &Ctx,
        work: impl FnOnce(&xenith_vmware_import::vsphere::Vim) -> xenith_vmware_import::Result<T> + Send + 'static,
    ) -> Result<T, StepError> {
        let opened = self.opened(ctx).await?;
        let sealed = opened.sealed_password.clone();
        with_source(opened, move |vim| work(vim)).await.map_err(|error| {
            self.heard(ctx, sealed, &error.to_string());
            vsphere::step_error(&error)
        })
    }

    /// Of an error at the source: a password that it refused is not tried again and again.
    fn heard(&self, ctx: &Ctx, sealed: Vec<u8>, message: &str) {
        if vsphere::is_refused_login(message) {
            self.0.imports.note_refused(ctx.params().source, sealed);
        }
    }

    /// A pass of the agent, with its progress; writes down what it did.
    async fn pass(
        &self,
        ctx: &Ctx,
        operation: OperationId,
        kind: PassKind,
    ) -> Result<Vec<DiskPassed>, StepError> {
        let params = ctx.params();
        let host = params.record.host;
        let record = self.0.import(params.import).await?;
        let opened = self.opened(ctx).await?;
        let sealed = opened.sealed_password;
        let pass = ImportPass {
            import: params.import,
            source: VsphereAccess {
                address: opened.address,
                user: opened.credentials.user,
                password: opened.credentials.password,
                fingerprint: opened.fingerprint,
                datacenter: params.datacenter.clone(),
            },
            vm: params.reference.clone(),
            disks: pass_disks(params, &record)?,
            kind,
        };
        let command = Command::Import(ImportCommand::Pass(Box::new(pass)));
        let answer = tokio::select! {
            answer = self.0.send_as(ctx, operation, host, command) => answer,
            never = self.watch(ctx, &record) => never,
            () = ctx.cancelled().cancelled() => return Err(StepError::Cancelled),
        };
        let passed = match answer {
            Ok(CommandResult::ImportPassed(passed)) => passed,
            Ok(_) => return Err(StepError::permanent("the host answered something else")),
            Err(error) => {
                if let Some(AgentClientError::Refused(fault)) = &error {
                    self.heard(ctx, sealed, &fault.message);
                }
                return Err(self.broke_off(params, error).await?);
            }
        };
        let api = |passed: &DiskPassed| ApiPass {
            disk: record
                .disks
                .iter()
                .find(|disk| disk.key == Some(passed.key))
                .map_or_else(|| passed.key.to_string(), |disk| disk.name.clone()),
            method: passed.method.clone(),
            reason: passed.reason.clone(),
            read: passed.read,
            written: passed.written,
            milliseconds: u64::try_from(passed.took.as_millis()).unwrap_or(u64::MAX),
        };
        let done: Vec<ApiPass> = passed.iter().map(api).collect();
        self.0
            .note_import(params.import, move |record| {
                record.passes.extend(done.iter().cloned());
                let surplus = record.passes.len().saturating_sub(KEPT_PASSES);
                record.passes.drain(..surplus);
            })
            .await?;
        Ok(passed)
    }

    /// What a pass that broke off means for its step; one that waits says for what.
    async fn broke_off(
        &self,
        params: &VsphereParams,
        error: Option<AgentClientError>,
    ) -> Result<StepError, StepError> {
        let error = match error {
            // Somebody may make room, and then it goes on where it was.
            Some(AgentClientError::Refused(fault)) if fault.reason == FaultReason::StorageFull => {
                StepError::retryable(fault.message)
            }
            Some(error) => step_error(&error),
            None => host_removed(params.record.host),
        };
        if matches!(error, StepError::Retryable { .. }) {
            let text = format!(
                "it waits: {}; it goes on by itself, and until then a snapshot of ours may grow at the source",
                error.chain()
            );
            self.0.note_import(params.import, move |record| record.message = Some(text.clone())).await?;
        }
        Ok(error)
    }

    /// Asks the agent how far it is, for ever.
    async fn watch<T>(&self, ctx: &Ctx, record: &ImportRecord) -> T {
        let params = ctx.params();
        let vdis: Vec<_> = record.disks.iter().map(|disk| disk.vdi).collect();
        let total: u64 = record.disks.iter().map(|disk| disk.capacity).sum();
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let client = self.0.fleet.get().and_then(|fleet| fleet.client(params.record.host));
            // A host that does not answer now is asked again.
            let Some(client) = client else { continue };
            let Ok(progress) = client.import_progress(&vdis).await else { continue };
            for disk in &progress {
                self.0.imports.set(params.import, disk.vdi, disk.done);
            }
            let done: u64 = self.0.imports.of(params.import).values().sum();
            let percent = u8::try_from(done * 100 / total.max(1)).unwrap_or(100);
            ctx.progress(percent, format!("{} of {} MiB are behind us", done >> 20, total >> 20));
        }
    }
}

fn pass_disks(params: &VsphereParams, record: &ImportRecord) -> Result<Vec<ImportDisk>, StepError> {
    let lost = || StepError::permanent("a disk is not in the parameters");
    let disk = |disk: &crate::model::ImportDiskRecord| {
        let sr = params.new_vdis.iter().find(|new| new.vdi == disk.vdi).map(|new| new.sr);
        Some(ImportDisk { key: disk.key?, vdi: disk.vdi, sr: sr?, capacity: disk.capacity })
    };
    record.disks.iter().map(|record| disk(record).ok_or_else(lost)).collect()
}

/// Whether the source is still what the import was begun with.
async fn check(saga: &ImportVsphere, ctx: &Ctx) -> Result<(), StepError> {
    let reference = vm_reference(&ctx.params().reference);
    let record = saga.0.import(ctx.params().import).await?;
    let now = saga.there(ctx, move |vim| source::describe(vim, &reference)).await?;
    let then: BTreeSet<_> = record.disks.iter().map(|disk| (disk.key, disk.capacity)).collect();
    let found: BTreeSet<_> = now.disks.iter().map(|disk| (Some(disk.key), disk.capacity)).collect();
    if then == found {
        return Ok(());
    }
    Err(StepError::permanent(
        "the disks of the source have changed since the import was asked for; begin again",
    ))
}

async fn ensure_disk(saga: &ImportVsphere, ctx: &Ctx) -> Result<(), StepError> {
    saga.0.ensure_disk(ctx, ctx.params().record.host, &ctx.params().new_vdis).await
}

async fn delete_disk(saga: &ImportVsphere, ctx: &Ctx) -> Result<(), StepError> {
    saga.0.delete_disk(ctx, ctx.params().record.host, &ctx.params().new_vdis).await
}

async fn restore(saga: &ImportVsphere, ctx: &Ctx) -> Result<(), StepError> {
    let params = ctx.params();
    set_right(saga, ctx).await?;
    // Only now, and for as long as it takes: the source does not wait for a host that is away.
    forget_at_host(saga, ctx, params.record.host).await?;
    // What its pass took there in the meantime.
    let reference = vm_reference(&params.reference);
    saga.there(ctx, move |vim| source::restore(vim, &reference, Started::AsItIs)).await
}

/// Once: who switches the source off after that, while a host is waited for, means it.
async fn set_right(saga: &ImportVsphere, ctx: &Ctx) -> Result<(), StepError> {
    let params = ctx.params();
    let reference = vm_reference(&params.reference);
    let record = saga.0.import(params.import).await?;
    // Also one that was off when the import began: somebody had switched it on by the time that we stopped it.
    let again = record.stopped_source;
    let started = if again { Started::Again } else { Started::AsItIs };
    let tracked = record.tracked_source;
    saga.there(ctx, move |vim| {
        source::restore(vim, &reference, started)?;
        if tracked { source::set_tracking(vim, &reference, Tracking::Off) } else { Ok(()) }
    })
    .await?;
    if again || tracked {
        let done = |record: &mut ImportRecord| {
            (record.stopped_source, record.tracked_source) = (false, false);
        };
        saga.0.note_import(params.import, done).await?;
    }
    Ok(())
}

/// Written down before it is done: a crash between leaves nothing that a roll-back does not set right.
async fn track(saga: &ImportVsphere, ctx: &Ctx) -> Result<(), StepError> {
    let params = ctx.params();
    if !params.track {
        return Ok(());
    }
    let reference = vm_reference(&params.reference);
    let at = reference.clone();
    if saga.there(ctx, move |vim| source::tracking(vim, &at)).await? == Tracking::On {
        return Ok(());
    }
    saga.0.note_import(params.import, |record| record.tracked_source = true).await?;
    saga.there(ctx, move |vim| source::set_tracking(vim, &reference, Tracking::On)).await
}

async fn copy(saga: &ImportVsphere, ctx: &Ctx) -> Result<(), StepError> {
    saga.0.import_phase(ctx.params().import, ImportPhase::Copying).await?;
    // An orchestrator that comes back joins the pass that runs; a try after a failure is another pass.
    let operation = OperationId::from_uuid(ctx.derived_uuid(&format!("try {}", ctx.attempt())));
    saga.pass(ctx, operation, PassKind::Copy).await.map(|_| ())
}

/// A host that cannot be asked must not keep the source off: [`restore`] comes next, and asks it again.
async fn stop(saga: &ImportVsphere, ctx: &Ctx) -> Result<(), StepError> {
    match forget_at_host(saga, ctx, ctx.params().record.host).await {
        Err(StepError::Cancelled) => Err(StepError::Cancelled),
        Err(error @ StepError::Retryable { .. }) if ctx.attempt() < STOPS => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

async fn forget_at_host(saga: &ImportVsphere, ctx: &Ctx, host: HostId) -> Result<(), StepError> {
    let command = Command::Import(ImportCommand::Stop(ctx.params().import));
    saga.0.send(ctx, host, command).await.map(|_| ())
}

/// How long the step waits before its first pass. One that is tried again goes on with a pass that broke off: the snapshot of
/// that grows at the source for as long as it waits, and an interval may be a day.
const fn until_the_first(attempt: u32, interval: Duration) -> Duration {
    if attempt > 1 { Duration::ZERO } else { interval }
}

async fn follow(saga: &ImportVsphere, ctx: &Ctx) -> Result<(), StepError> {
    let (deps, params) = (&saga.0, ctx.params());
    if !params.was_on {
        return Ok(());
    }
    deps.import_phase(params.import, ImportPhase::Following).await?;
    let interval = Duration::from_secs(params.interval_s.into());
    let mut next = tokio::time::Instant::now() + until_the_first(ctx.attempt(), interval);
    loop {
        let nudged = deps.imports.nudged();
        let wish = deps.import(params.import).await?.cut_over;
        // Who wishes something else nudges.
        let due = async {
            match wish {
                Some(wish) => {
                    let wait = Duration::try_from(wish.at - OffsetDateTime::now_utc()).unwrap_or_default();
                    // The clock may be set meanwhile: a long wait is looked at again.
                    tokio::time::sleep(wait.min(Duration::from_secs(60))).await;
                }
                None => std::future::pending().await,
            }
        };
        if wish.is_some_and(|wish| wish.at <= OffsetDateTime::now_utc()) {
            return Ok(());
        }
        ctx.progress(50, "follows the source until the cut-over");
        tokio::select! {
            () = ctx.cancelled().cancelled() => return Err(StepError::Cancelled),
            () = nudged => {}
            () = due => {}
            () = tokio::time::sleep_until(next) => {
                let turn = tokio::select! {
                    turn = deps.imports.following(params.source).acquire_owned() => turn,
                    () = ctx.cancelled().cancelled() => return Err(StepError::Cancelled),
                    // A cut-over that is wished for, or due, waits for no turn.
                    () = deps.imports.nudged() => continue,
                    () = tokio::time::sleep(LOOK) => continue,
                };
                let _turn = turn.map_err(|_| StepError::retryable("there are no more turns"))?;
                let passed = saga.pass(ctx, OperationId::new(), PassKind::Copy).await?;
                let took: Duration = passed.iter().map(|disk| disk.took).sum();
                if params.downtime_s.is_some_and(|most| took <= Duration::from_secs(most.into())) {
                    return Ok(());
                }
                next = tokio::time::Instant::now() + interval;
            }
        }
    }
}

async fn shutdown(saga: &ImportVsphere, ctx: &Ctx) -> Result<(), StepError> {
    let (deps, params) = (&saga.0, ctx.params());
    let reference = vm_reference(&params.reference);
    let at = reference.clone();
    if saga.there(ctx, move |vim| source::power(vim, &at)).await? == Power::Off {
        return Ok(());
    }
    deps.note_import(params.import, |record| {
        record.stopped_source = true;
        record.phase = ImportPhase::CuttingOver;
    })
    .await?;
    let at = reference.clone();
    let asked = saga.there(ctx, move |vim| source::ask_to_shut_down(vim, &at)).await?;
    let mut deadline = tokio::time::Instant::now();
    let why = match asked {
        Asked::Yes => {
            deadline += Duration::from_secs(params.shutdown_s.into());
            "the guest has not shut down".to_owned()
        }
        // Nothing is to be waited for.
        Asked::Refused(reason) => format!("the guest cannot be asked to shut down ({reason})"),
    };
    let mut pause = Duration::from_secs(1);
    loop {
        let nudged = deps.imports.nudged();
        let at = reference.clone();
        if saga.there(ctx, move |vim| source::power(vim, &at)).await? == Power::Off {
            return Ok(());
        }
        let record = deps.import(params.import).await?;
        if tokio::time::Instant::now() >= deadline {
            if params.force || record.cut_over.is_some_and(|wish| wish.force) {
                let at = reference.clone();
                return saga.there(ctx, move |vim| source::power_off(vim, &at)).await;
            }
            if record.phase != ImportPhase::WaitingForShutdown {
                let message = format!("{why}; shut it down there, cut over again with force, or roll back");
                wait_for_shutdown(deps, params.import, message).await?;
            }
        }
        ctx.progress(50, "waits for the guest to shut down");
        tokio::select! {
            () = ctx.cancelled().cancelled() => return Err(StepError::Cancelled),
            () = nudged => {}
            () = tokio::time::sleep(pause) => {}
        }
        pause = (pause * 2).min(LOOK);
    }
}

async fn wait_for_shutdown(deps: &Deps, import: ImportId, message: String) -> Result<(), StepError> {
    let waits = move |record: &mut ImportRecord| {
        record.phase = ImportPhase::WaitingForShutdown;
        record.message = Some(message.clone());
    };
    deps.note_import(import, waits).await?;
    Ok(())
}

async fn is_off(saga: &ImportVsphere, ctx: &Ctx) -> Result<bool, StepError> {
    let reference = vm_reference(&ctx.params().reference);
    let power = saga.there(ctx, move |vim| source::power(vim, &reference)).await?;
    Ok(power == Power::Off)
}

/// A source that somebody has switched on again writes what no pass brings: nothing goes on before it is off.
async fn ensure_off(saga: &ImportVsphere, ctx: &Ctx) -> Result<(), StepError> {
    if is_off(saga, ctx).await? {
        return Ok(());
    }
    let message = "the source was switched on again; shut it down there, or roll back";
    wait_for_shutdown(&saga.0, ctx.params().import, message.to_owned()).await?;
    Err(StepError::retryable(message))
}

async fn last(saga: &ImportVsphere, ctx: &Ctx) -> Result<(), StepError> {
    ensure_off(saga, ctx).await?;
    saga.0.import_phase(ctx.params().import, ImportPhase::CuttingOver).await?;
    let kind = if ctx.params().verify { PassKind::Copy } else { PassKind::Last };
    let operation = OperationId::from_uuid(ctx.derived_uuid(&format!("try {}", ctx.attempt())));
    saga.pass(ctx, operation, kind).await.map(|_| ())
}

/// Both sides read: what the last pass left different is an error, not something to be mended in silence.
async fn verify(saga: &ImportVsphere, ctx: &Ctx) -> Result<(), StepError> {
    ensure_off(saga, ctx).await?;
    saga.0.import_phase(ctx.params().import, ImportPhase::CuttingOver).await?;
    let operation = OperationId::from_uuid(ctx.derived_uuid(&format!("try {}", ctx.attempt())));
    let passed = saga.pass(ctx, operation, PassKind::Compare).await?;
    let written: u64 = passed.iter().map(|disk| disk.written).sum();
    if written == 0 {
        return Ok(());
    }
    let text = format!(
        "{written} bytes differed from the source after the last pass: its changed-block tracking is not to be trusted"
    );
    Err(StepError::permanent(text))
}

fn guest(ctx: &Ctx) -> Guest<'_> {
    let VsphereParams { import, record, new_vdis, .. } = ctx.params();
    Guest { import: *import, record, new_vdis }
}

async fn prepare(saga: &ImportVsphere, ctx: &Ctx) -> Result<(), StepError> {
    guest(ctx).prepare(&saga.0, ctx).await
}

async fn define(saga: &ImportVsphere, ctx: &Ctx) -> Result<(), StepError> {
    let VsphereParams { import, vm, record, .. } = ctx.params();
    // One that cannot be asked now was off at the end of its last pass.
    if let Ok(false) = is_off(saga, ctx).await {
        return Err(StepError::permanent(
            "the source was switched on again after its last pass, so what it wrote since is not here; begin again",
        ));
    }
    saga.0.import_phase(*import, ImportPhase::Finishing).await?;
    saga.0.define(ctx, (record.host, *vm), record.definition, &record.spec).await
}

async fn forget(saga: &ImportVsphere, ctx: &Ctx) -> Result<(), StepError> {
    let VsphereParams { vm, record, .. } = ctx.params();
    saga.0.tell_vm(ctx, record.host, *vm, VmAction::Forget).await.map(|_| ())
}

async fn start(saga: &ImportVsphere, ctx: &Ctx) -> Result<(), StepError> {
    let VsphereParams { vm, record, .. } = ctx.params();
    let incarnation = IncarnationId::from_uuid(ctx.derived_uuid("incarnation"));
    saga.0.start_made(ctx, (record.host, *vm), incarnation).await
}

async fn power_off(saga: &ImportVsphere, ctx: &Ctx) -> Result<(), StepError> {
    let VsphereParams { vm, record, .. } = ctx.params();
    saga.0.tell_vm(ctx, record.host, *vm, VmAction::Destroy).await.map(|_| ())
}

/// The source keeps nothing of ours, and stays off. A source that is taken down right after the move is no fault.
async fn clean(saga: &ImportVsphere, ctx: &Ctx) -> Result<(), StepError> {
    let (deps, params) = (&saga.0, ctx.params());
    // Who has taken the source out of here wants nothing of it any more.
    if deps.db.import_sources.get(&params.source).await?.is_some() {
        let reference = vm_reference(&params.reference);
        let cleaned = saga.there(ctx, move |vim| source::restore(vim, &reference, Started::AsItIs)).await;
        match cleaned {
            Err(error @ StepError::Retryable { .. }) if ctx.attempt() < CLEANINGS => return Err(error),
            Err(StepError::Cancelled) => return Err(StepError::Cancelled),
            Err(error) => {
                let error = error.chain();
                let left = move |record: &mut ImportRecord| {
                    record.message = Some(left_there(&record.origin, &error));
                    record.left_at_source = true;
                };
                deps.note_import(params.import, left).await?;
            }
            Ok(()) => {}
        }
    }
    forget_at_host(saga, ctx, params.record.host).await
}

/// What an administrator has to know of a source that keeps something of ours, and what leads on.
fn left_there(origin: &ImportOrigin, error: &str) -> String {
    let ImportOrigin::Vsphere { source_name, vm_name, .. } = origin else {
        return format!("the VM has moved: {error}");
    };
    format!(
        "the VM has moved, but {vm_name} at {source_name} keeps our snapshots, which are called {SNAPSHOT:?} and grow with \
         what is written there: {error}. They are removed from here when that works again; a new password is told with \
         `xenith import connect {source_name}`. Or delete them there"
    )
}

async fn release(saga: &ImportVsphere, ctx: &Ctx) -> Result<(), StepError> {
    let VsphereParams { import, vm, .. } = ctx.params();
    saga.0.release(*vm, ctx.saga()).await?;
    saga.0.imports.forget(*import);
    // What is left to do at the source stays to be read.
    let left = saga.0.import(*import).await?.message;
    saga.0.import_phase(*import, ImportPhase::Done).await?;
    if left.is_some() {
        saga.0.note_import(*import, move |record| record.message.clone_from(&left)).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_at_a_source_is_named_with_what_leads_on() {
        let origin = ImportOrigin::Vsphere {
            source: ImportSourceId::new(),
            source_name: "vc".into(),
            vm: "vm-7".into(),
            vm_name: "web".into(),
        };
        let told = left_there(&origin, "it refused the password");
        for part in ["web at vc", "\"xenith-import\"", "it refused the password", "xenith import connect vc"]
        {
            assert!(told.contains(part), "{told}");
        }
    }

    #[test]
    fn a_pass_that_broke_off_waits_for_no_interval() {
        assert_eq!(until_the_first(1, DAY), DAY);
        assert_eq!(until_the_first(2, DAY), Duration::ZERO);
    }
}
