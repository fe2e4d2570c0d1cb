//! What the sagas share that work on one host: its VMs leave it, it is taken out of high availability, it ends a boot.
//!
//! What always holds: the host is *held* (`HostRecord::held_by`) and in maintenance from the transaction that starts the
//! saga to its release. It is told to go down only when none of its VMs is left, and when nobody goes by its lease any more:
//! a host that starts anew is then not taken for one that died, and no watchdog bites while it goes down.
//!
//! What never leaves (an unmanaged domain, a dead one, a VM whose task is parked) is named at once and waited for
//! [`PASSES_WITHIN`], so that somebody can end it; then the saga ends.
//!
//! A step that waits asks again and again, within its deadline. VMs are moved and shut down by sagas of their own, begun by
//! the application as if somebody had asked for it ([`Guests`]); begun twice, the second is refused, for the first holds
//! the VM. A VM is not moved more than [`MOVES`] times for one saga, whatever becomes of that.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use xenith_common_ids::{HostId, OperationId, SagaId, UserId, VmId};
use xenith_common_text::counted;
use xenith_hypervisor_agent_api::{Command, CommandResult};
use xenith_hypervisor_agent_client::AgentClientError;
use xenith_hypervisor_agent_types::FaultReason;
use xenith_hypervisor_agent_types::system::{SystemCommand, SystemReply};
use xenith_orchestrator_saga::{RetryPolicy, Saga, StepCtx, StepError};
use xenith_orchestrator_types::event::Severity;
use xenith_orchestrator_types::power::MachinePower;

use super::{Deps, host_removed, step_error};
use crate::events::Happened;
use crate::model::HostRecord;
use crate::placement::some_of;
use crate::power::Controller;

/// What the agent answers at once. A host that goes down may take a connection and say nothing.
const ANSWERS_WITHIN: Duration = Duration::from_secs(20);
/// Half a gigabyte over a slow line; and large VMs that leave one after the other.
pub const PATIENCE: Duration = Duration::from_secs(24 * 3600);
/// Twice through the firmware of a large server, and ten minutes in which a new system may become healthy.
pub const HOST_RETURNS: Duration = Duration::from_secs(3600);
/// Rounds of high availability are seconds apart; a host that is not heard keeps them waiting.
pub const DISARMED_WITHIN: Duration = Duration::from_secs(600);
/// An order that is answered at once, by a host that may be away for a moment.
pub const ORDERED_WITHIN: Duration = Duration::from_secs(600);
/// What never leaves by itself somebody may end, or the helper of an import that looks like it ends by itself.
const PASSES_WITHIN: Duration = Duration::from_secs(600);
/// How often that is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Domains in one message.
const NAMED: usize = 3;
/// Asked again until the deadline of the step.
pub const ASK_AGAIN: RetryPolicy =
    RetryPolicy { attempts: 100_000, first: Duration::from_millis(200), most: Duration::from_secs(5) };
/// What stops the move of a VM may pass. What does not would be tried all day, with a task for each time.
pub const MOVES: u8 = 3;

/// The host that a saga works on, for its steps.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OnHost {
    pub host: HostId,
    pub name: String,
    /// Whether the host was in maintenance before; it is again afterwards.
    pub maintenance: bool,
}

/// Who asked: what is done to VMs on the way is theirs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Behalf {
    pub who: String,
    pub user: Option<UserId>,
}

/// How the VMs that run on a host leave it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Leave {
    /// They are moved to other hosts.
    Move(Behalf),
    /// The same, with the disks that no other host reaches.
    MoveWithDisks(Behalf),
    /// Their guests are shut down, by priority.
    ShutDown(Behalf),
}

/// Whether a domain leaves a host that is to be empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goes {
    ByItself,
    /// When somebody moves it, or shuts it down.
    WhenSent,
    Never,
}

/// A domain that is still there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Staying {
    pub vm: VmId,
    pub name: String,
    pub goes: Goes,
    /// "is worked on by task …".
    pub why: String,
}

impl fmt::Display for Staying {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.why)
    }
}

/// Those that never go first, and of many some.
fn named(staying: &[Staying]) -> String {
    let mut order: Vec<&Staying> = staying.iter().collect();
    order.sort_by_key(|one| one.goes != Goes::Never);
    let named: Vec<String> = order.iter().take(NAMED).map(ToString::to_string).collect();
    let more = order.len().saturating_sub(NAMED);
    let rest = if more > 0 { format!("; and {more} more") } else { String::new() };
    format!("{}{rest}", named.join("; "))
}

fn never_go(staying: &[Staying]) -> BTreeSet<VmId> {
    staying.iter().filter(|one| one.goes == Goes::Never).map(|one| one.vm).collect()
}

/// What becomes of disks of VMs that are moved which no other host reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LocalDisks {
    /// Their VMs stay with them.
    #[default]
    Stay,
    GoAlong,
}

/// As a request says it.
impl From<bool> for LocalDisks {
    fn from(move_disks: bool) -> Self {
        if move_disks { Self::GoAlong } else { Self::Stay }
    }
}

impl LocalDisks {
    #[must_use]
    pub fn leave(self, behalf: Behalf) -> Leave {
        match self {
            Self::Stay => Leave::Move(behalf),
            Self::GoAlong => Leave::MoveWithDisks(behalf),
        }
    }
}

/// What moves a VM away for `saga`, after so many moves that it did not leave by: the same whenever it is asked for.
#[must_use]
pub fn leave_id(saga: SagaId, vm: VmId, before: u8) -> SagaId {
    let mut hasher = blake3::Hasher::new_derive_key("xenith 2026 host, a VM leaves");
    id_of(hasher.update(saga.as_bytes()).update(vm.as_bytes()).update(&[before]))
}

/// For a saga that another one begins, and has to find again.
pub(super) fn id_of(hasher: &blake3::Hasher) -> SagaId {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    // As a UUID of a form of our own (RFC 9562, version 8).
    bytes[6] = (bytes[6] & 0x0f) | 0x80;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    SagaId::from_bytes(bytes)
}

/// What these steps ask of the application.
#[async_trait]
pub trait Guests: Send + Sync {
    /// The VMs that have a domain on the host, as it was heard.
    fn running(&self, host: HostId) -> Vec<VmId>;

    /// All that its agent lists as domains there, and whether they go.
    async fn staying(&self, host: HostId) -> Result<Vec<Staying>, StepError>;

    /// VMs whose moves away from the host, or there, have not ended, whoever began them. They may have no domain there: they
    /// are off, have not come yet, or have left, and what was left of them, such as disks that went along, is deleted last.
    async fn moving(&self, host: HostId) -> Result<Vec<Staying>, StepError>;

    /// Begins to move what runs on the host and nobody works on, each VM by the sagas that [`leave_id`] names, one after
    /// the other. An error says which VM stays, and why.
    async fn move_away(
        &self,
        on: (SagaId, HostId),
        disks: LocalDisks,
        behalf: &Behalf,
    ) -> Result<(), StepError>;

    /// Shuts down what runs on the host, what is restarted last first, and waits for it.
    async fn shut_down(&self, host: HostId, behalf: &Behalf) -> Result<(), StepError>;
}

impl Deps {
    /// Who moves and shuts down VMs for others. Until then those wait.
    pub fn set_guests(&self, guests: Weak<dyn Guests>) {
        let _set_before = self.guests.set(guests);
    }

    fn guests(&self) -> Result<Arc<dyn Guests>, StepError> {
        let guests = self.guests.get().and_then(Weak::upgrade);
        guests.ok_or_else(|| StepError::retryable("the orchestrator is starting"))
    }

    /// Under an id of its own each time: what was answered a moment ago is not asked for.
    pub(super) async fn about_system<S: Saga>(
        &self,
        ctx: &StepCtx<S>,
        on: &OnHost,
        command: SystemCommand,
    ) -> Result<SystemReply, StepError> {
        let sent = self.send_as(ctx, OperationId::new(), on.host, Command::System(command));
        let Ok(answer) = tokio::time::timeout(ANSWERS_WITHIN, sent).await else {
            return Err(StepError::retryable(format!("{} does not answer", on.name)));
        };
        let removed = || host_removed(on.host);
        replied(answer.map_err(|error| error.map_or_else(removed, |error| passing(&error)))?)
    }

    /// The boot that the host is in.
    pub(super) async fn boot_of<S: Saga>(&self, ctx: &StepCtx<S>, on: &OnHost) -> Result<String, StepError> {
        match self.about_system(ctx, on, SystemCommand::Boot).await? {
            SystemReply::Boot { boot } => Ok(boot),
            other => Err(something_else(&other)),
        }
    }

    /// Also the undo of the hold. Said again after a crash, the host may be another saga's by then.
    pub(super) async fn release_host<S: Saga>(&self, ctx: &StepCtx<S>, on: &OnHost) -> Result<(), StepError> {
        let (ours, maintenance) = (ctx.saga(), on.maintenance);
        let free = |record: &mut HostRecord| {
            if record.held_by == Some(ours) {
                record.maintenance = maintenance;
                record.let_go(ours);
            }
        };
        self.db.hosts.modify(&on.host, free).await?;
        Ok(())
    }

    /// It is not heard; or is not one of ours any more.
    pub(super) fn is_silent(&self, on: &OnHost) -> Result<bool, StepError> {
        Ok(self.silence_of(on)?.is_some())
    }

    /// How long it has not been heard. `None`: it is heard.
    pub(super) fn silence_of(&self, on: &OnHost) -> Result<Option<Duration>, StepError> {
        Ok(self.fleet()?.state(on.host).map_or(Some(Duration::MAX), |state| state.silence()))
    }

    /// What the power control of a host says now, or why it says nothing. `None`: it has none.
    pub(super) async fn power_of(
        &self,
        on: &OnHost,
    ) -> Result<Option<Result<MachinePower, String>>, StepError> {
        let record = self.db.hosts.get(&on.host).await?.and_then(|found| found.value.power);
        let Some(record) = record else { return Ok(None) };
        let said = match Controller::open(&record, self.vault()?) {
            Ok(controller) => controller.power().await,
            Err(error) => Err(error),
        };
        Ok(Some(said.map_err(|error| error.to_string())))
    }

    /// The VMs that run there now, to be brought back afterwards.
    pub(super) fn running_on(&self, on: &OnHost) -> Result<Vec<VmId>, StepError> {
        Ok(self.guests()?.running(on.host))
    }

    /// VMs leave, by themselves where nobody sends them. One that stays is an error.
    pub(super) async fn empty_host<S: Saga>(
        &self,
        ctx: &StepCtx<S>,
        on: &OnHost,
        leave: Option<&Leave>,
    ) -> Result<(), StepError> {
        let state = self.fleet()?.state(on.host).ok_or_else(|| host_removed(on.host))?;
        let name = &on.name;
        if !state.is_heard() {
            return Err(StepError::retryable(format!("{name} is not heard")));
        }
        if state.vms().iter().all(|seen| seen.domid.is_none()) {
            return self.moves_ended(ctx, on).await;
        }
        let guests = self.guests()?;
        let there = guests.staying(on.host).await?;
        match leave {
            Some(Leave::Move(behalf)) => {
                guests.move_away((ctx.saga(), on.host), LocalDisks::Stay, behalf).await?;
            }
            Some(Leave::MoveWithDisks(behalf)) => {
                guests.move_away((ctx.saga(), on.host), LocalDisks::GoAlong, behalf).await?;
            }
            Some(Leave::ShutDown(behalf)) => {
                let count = counted(there.len(), "VM");
                ctx.progress(0, format!("{name} is emptied: {count} to shut down"));
                tokio::select! {
                    done = guests.shut_down(on.host, behalf) => done?,
                    () = ctx.cancelled().cancelled() => return Err(StepError::Cancelled),
                }
            }
            None => {
                if let Some(stays) = there.iter().find(|one| one.goes != Goes::ByItself) {
                    let message = format!("{stays} on {name}; move it away, or shut it down");
                    return Err(StepError::permanent(message));
                }
            }
        }
        let left = guests.staying(on.host).await?;
        if left.is_empty() {
            return self.moves_ended(ctx, on).await;
        }
        let waits = format!("{name} is not empty yet: {}", named(&left));
        ctx.progress(0, waits.clone());
        drop(guests);
        self.until_others_stay(ctx, on, &left).await?;
        Err(StepError::retryable(waits))
    }

    /// A host that goes off would keep moves at the step that they are at, and their VMs held.
    async fn moves_ended<S: Saga>(&self, ctx: &StepCtx<S>, on: &OnHost) -> Result<(), StepError> {
        let moving = self.guests()?.moving(on.host).await?;
        if moving.is_empty() {
            return Ok(());
        }
        let waits = format!("{} is not empty yet: {}", on.name, named(&moving));
        ctx.progress(0, waits.clone());
        Err(StepError::retryable(waits))
    }

    /// Waits where something never goes by itself, until that is so no more, or for something else. An error when it lasts.
    async fn until_others_stay<S: Saga>(
        &self,
        ctx: &StepCtx<S>,
        on: &OnHost,
        left: &[Staying],
    ) -> Result<(), StepError> {
        let (stuck, deadline) = (never_go(left), Instant::now() + PASSES_WITHIN);
        if stuck.is_empty() {
            return Ok(());
        }
        while Instant::now() < deadline {
            tokio::select! {
                () = ctx.cancelled().cancelled() => return Err(StepError::Cancelled),
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            if never_go(&self.guests()?.staying(on.host).await?) != stuck {
                return Ok(());
            }
        }
        let minutes = PASSES_WITHIN.as_secs() / 60;
        let message = format!("{} is not empty after {minutes} minutes: {}", on.name, named(left));
        Err(StepError::permanent(message))
    }

    /// High availability goes by the host's lease no more, and its watchdog is let go. Until the host is released.
    pub(super) async fn disarm_host(&self, on: &OnHost) -> Result<(), StepError> {
        let kept = self.db.ha_hosts.get(&on.host).await?;
        if let Some(kept) = kept.filter(|kept| !kept.value.restart.is_empty()) {
            let names = self.names_of(&kept.value.restart).await?;
            let message = format!("what went down with {} is still to run again: {names}", on.name);
            return Err(StepError::retryable(message));
        }
        self.db.hosts.modify(&on.host, |record| record.disarmed = true).await?;
        // Behind that write, which whoever is about to arm the host trips over.
        match self.db.ha_hosts.get(&on.host).await? {
            // What was restored from a backup is told nothing, and is armed or not: nobody goes by its lease.
            Some(kept) if !kept.value.rests => {
                Err(StepError::retryable(format!("{} is armed still for high availability", on.name)))
            }
            _ => Ok(()),
        }
    }

    async fn names_of(&self, vms: &BTreeSet<VmId>) -> Result<String, StepError> {
        let mut names = Vec::with_capacity(vms.len());
        for vm in vms {
            let found = self.db.vms.get(vm).await?;
            names.push(found.map_or_else(|| vm.to_string(), |found| found.value.spec.name.to_string()));
        }
        Ok(some_of(&names))
    }

    pub(super) async fn tell_of_host(
        &self,
        on: &OnHost,
        (severity, kind): (Severity, &'static str),
        message: String,
    ) -> Result<(), StepError> {
        let pool = self.db.hosts.get(&on.host).await?.map(|record| record.value.pool);
        self.tell(Happened { severity, kind, subject: format!("host/{}", on.host), message, pool }).await;
        Ok(())
    }
}

/// A host that has just started may not have mounted yet what its boot menu is on.
fn passing(error: &AgentClientError) -> StepError {
    match error {
        AgentClientError::Refused(fault) if fault.reason == FaultReason::Hypervisor => {
            StepError::retryable(fault.to_string())
        }
        other => step_error(other),
    }
}

pub(super) fn replied(result: CommandResult) -> Result<SystemReply, StepError> {
    match result {
        CommandResult::System(reply) => Ok(reply),
        other => Err(something_else(&other)),
    }
}

pub(super) fn something_else(answer: &dyn std::fmt::Debug) -> StepError {
    StepError::permanent(format!("the host answered something else: {answer:?}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use time::OffsetDateTime;
    use xenith_common_ids::PoolId;
    use xenith_orchestrator_store::MemoryStore;

    use super::*;
    use crate::db::Db;
    use crate::ha::HaHostRecord;
    use crate::model::VmRecord;

    #[tokio::test]
    async fn what_is_to_run_again_before_a_host_is_disarmed_is_named() {
        let db = Db::over(Arc::new(MemoryStore::new(&crate::db::schema())));
        let (host, known, gone) = (HostId::new(), VmId::new(), VmId::new());
        let record: VmRecord = serde_json::from_value(json!({
            "spec": {
                "name": "db-1", "platform": { "kind": "pvh", "boot": { "kernel": "vmlinuz" } },
                "vcpus": { "online": 1, "max": 1 }, "memory": { "target": 128, "max": 128 },
                "disks": [], "nics": [],
            },
            "definition": 1, "description": "", "tags": [], "pool": PoolId::new(), "host": host,
            "created": serde_json::to_value(OffsetDateTime::UNIX_EPOCH).unwrap(),
            "apart_from": [], "together_with": [], "pending_restart": [], "held_by": null,
        }))
        .unwrap();
        db.vms.insert(&known, &record).await.unwrap();
        let kept = HaHostRecord { restart: BTreeSet::from([known, gone]), ..HaHostRecord::default() };
        db.ha_hosts.insert(&host, &kept).await.unwrap();
        let deps = Deps::new(db);
        let on = OnHost { host, name: "xen1".to_owned(), maintenance: false };
        let waits = deps.disarm_host(&on).await.unwrap_err().to_string();
        for word in ["xen1", "db-1", &gone.to_string()] {
            assert!(waits.contains(word), "{waits}");
        }
    }

    #[test]
    fn what_never_goes_is_named_first() {
        let one =
            |name: &str, goes| Staying { vm: VmId::new(), name: name.into(), goes, why: "is there".into() };
        let few = [one("a", Goes::ByItself), one("b", Goes::Never)];
        assert_eq!(named(&few), "b is there; a is there");
        assert_eq!(never_go(&few), BTreeSet::from([few[1].vm]));
        let many = ["a", "b", "c", "d", "e"].map(|name| one(name, Goes::WhenSent));
        assert_eq!(named(&many), "a is there; b is there; c is there; and 2 more");
        assert!(never_go(&many).is_empty());
    }

    #[test]
    fn each_move_of_a_vm_has_an_id_of_its_own() {
        let (saga, vm) = (SagaId::new(), VmId::new());
        assert_eq!(leave_id(saga, vm, 0), leave_id(saga, vm, 0));
        assert_ne!(leave_id(saga, vm, 0), leave_id(saga, vm, 1));
        assert_ne!(leave_id(saga, vm, 0), leave_id(saga, VmId::new(), 0));
        assert_ne!(leave_id(saga, vm, 0), leave_id(SagaId::new(), vm, 0));
    }
}
