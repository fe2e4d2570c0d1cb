//! Update the hosts of a pool, one after the other or so many at once.
//!
//! ```text
//! hold -> update -> release
//! ```
//!
//! Each host is a saga of its own ([`super::host_upgrade`], [`super::host_restart`]) under an id that follows from this
//! one's: its VMs leave, it is updated and starts anew, it is found healthy. What had begun when the orchestrator died is
//! found again, and nothing begins twice. Then the VMs that were there come back; one that cannot is told of, and keeps
//! nothing from going on. The first host that fails ends the saga: no further one is begun, and those under way are waited
//! for. Cancelled, no further one is begun either, and those under way go on by themselves.
//!
//! While it is *paused* (`PoolUpdateRecord::paused`) no host is begun. While it runs, nobody balances the pool: both are in
//! one record, and whoever begins either demands it as it was read.
//!
//! Who checks and begins is the application, as if somebody had asked for it: [`HostUpdates`].

use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::{FuturesUnordered, StreamExt};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use xenith_common_ids::{HostId, PoolId, SagaId, VmId};
use xenith_common_text::counted;
use xenith_orchestrator_saga::{Outcome, Saga, Step, StepCtx, StepError};
use xenith_orchestrator_types::event::Severity;
use xenith_orchestrator_types::pool::HostUpdate;

use super::host_steps::{ASK_AGAIN, Behalf, LocalDisks, id_of};
use super::{Deps, nothing};
use crate::events::Happened;
use crate::model::BalanceRecord;

#[derive(Clone)]
pub struct PoolUpdate(pub Arc<Deps>);

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Params {
    pub pool: PoolId,
    pub pool_name: String,
    /// In the order in which they are updated.
    pub hosts: Vec<Target>,
    pub what: HostUpdate,
    pub at_once: u32,
    pub afterwards: Afterwards,
    #[serde(default)]
    pub local_disks: LocalDisks,
    pub behalf: Behalf,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Target {
    pub host: HostId,
    pub name: String,
}

/// What becomes of the VMs that had to leave a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Afterwards {
    ComeBack,
    Stay,
}

/// What became of the wish to begin a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begun {
    Going,
    /// Something has to pass first: a host before it is not ready, or there is no room for its VMs.
    NotYet(String),
    Refused(String),
}

/// Begins hosts, and waits for them.
#[async_trait]
pub trait HostUpdates: Send + Sync {
    async fn has_begun(&self, saga: SagaId) -> Result<bool, StepError>;

    /// The host at this place in the order, under this id; one that has begun already is not begun again.
    async fn begin_host(&self, saga: SagaId, place: usize, params: &Params) -> Result<Begun, StepError>;

    /// What a host under way does or waits for; nothing where it has not said.
    fn progress_of(&self, saga: SagaId) -> Option<String>;

    /// How it ended. `None`: the orchestrator stops.
    async fn wait_for_host(&self, saga: SagaId) -> Result<Option<Outcome>, StepError>;

    /// The VMs that were there when `saga` began are moved back, each by the saga that [`back_id`] names. Of those that stay
    /// where they are: why.
    async fn bring_back(&self, saga: SagaId, place: usize, params: &Params)
    -> Result<Vec<String>, StepError>;
}

/// What brings a VM back to the host that `host` has updated: the same whenever it is asked for.
#[must_use]
pub fn back_id(host: SagaId, vm: VmId) -> SagaId {
    let mut hasher = blake3::Hasher::new_derive_key("xenith 2026 pool update, a VM comes back");
    id_of(hasher.update(host.as_bytes()).update(vm.as_bytes()))
}

/// What was done.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Report {
    pub updated: Vec<String>,
    /// VMs that did not come back, and why.
    pub away: Vec<String>,
}

/// A hundred hosts, one after the other, with all that runs on them.
const PATIENCE: Duration = Duration::from_secs(30 * 86_400);
/// How long it is waited for what has to pass before the next host, where nothing else is under way: a host that is armed
/// again, a backup of a VM that has to move.
const READY_WITHIN: Duration = Duration::from_secs(1800);
/// How often that, and whether it is paused, is looked at.
const LOOK_EVERY: Duration = if cfg!(test) { Duration::from_millis(5) } else { Duration::from_secs(2) };
/// VMs in one message.
const NAMED: usize = 3;

impl Saga for PoolUpdate {
    const KIND: &'static str = "pool_update";
    type Params = Params;

    fn steps(_: &Params) -> Vec<Step<Self>> {
        vec![
            Step::new("hold", nothing).undo(release),
            Step::new("update", update).retry(ASK_AGAIN).deadline(PATIENCE),
            Step::new("release", release).cannot_be_undone("the pool is free for the next update"),
        ]
    }
}

type Ctx = StepCtx<PoolUpdate>;

async fn release(saga: &PoolUpdate, ctx: &Ctx) -> Result<(), StepError> {
    let ours = ctx.saga();
    let release = |record: &mut BalanceRecord| {
        record.update = record.update.take().filter(|update| update.held_by != ours);
    };
    saga.0.db.balances.modify(&ctx.params().pool, release).await?;
    Ok(())
}

/// How far it is.
struct Way<'a> {
    params: &'a Params,
    /// Hosts before it have begun.
    next: usize,
    under_way: Vec<usize>,
    report: Report,
    /// No further host is begun, and why.
    stopped: Option<String>,
    /// Why no host begins now.
    held_back: Option<String>,
    waits_since: Option<Instant>,
}

impl<'a> Way<'a> {
    fn new(params: &'a Params) -> Self {
        Self {
            params,
            next: 0,
            under_way: Vec::new(),
            report: Report::default(),
            stopped: None,
            held_back: None,
            waits_since: None,
        }
    }

    fn name(&self, place: usize) -> &'a str {
        &self.params.hosts[place].name
    }

    fn may_begin(&self) -> bool {
        let most = usize::try_from(self.params.at_once).unwrap_or(usize::MAX).max(1);
        self.stopped.is_none() && self.next < self.params.hosts.len() && self.under_way.len() < most
    }

    fn is_over(&self) -> bool {
        self.under_way.is_empty() && (self.stopped.is_some() || self.next == self.params.hosts.len())
    }

    fn began(&mut self) {
        self.under_way.push(self.next);
        self.next += 1;
        (self.held_back, self.waits_since) = (None, None);
    }

    fn not_yet(&mut self, why: String, now: Instant) {
        let since = *self.waits_since.get_or_insert(now);
        if self.under_way.is_empty() && now.duration_since(since) > READY_WITHIN {
            self.stop(self.next, &why);
        }
        self.held_back = Some(why);
    }

    /// The first counts.
    fn stop(&mut self, place: usize, why: &str) {
        if self.stopped.is_none() {
            self.stopped = Some(format!("{}: {why}", self.name(place)));
        }
    }

    fn ended(&mut self, place: usize, ended: Ended) {
        self.under_way.retain(|other| *other != place);
        match ended {
            Ended::Updated { away } => {
                self.report.updated.push(self.name(place).to_owned());
                self.report.away.extend(away);
            }
            Ended::Failed(why) => self.stop(place, &why),
        }
    }

    /// "1 of 3 hosts updated; under way: xen2 (it starts anew)".
    fn words(&self, doing: impl Fn(usize) -> Option<String>) -> String {
        let count = counted(self.params.hosts.len(), "host");
        let mut text = format!("{} of {count} updated", self.report.updated.len());
        let under_way = self.under_way.iter().map(|place| match doing(*place) {
            Some(doing) => format!("{} ({doing})", self.name(*place)),
            None => self.name(*place).to_owned(),
        });
        let under_way: Vec<String> = under_way.collect();
        if !under_way.is_empty() {
            text.push_str(&format!("; under way: {}", under_way.join(", ")));
        }
        if let Some(why) = self.stopped.as_ref().or(self.held_back.as_ref()) {
            text.push_str(&format!("; {why}"));
        }
        text
    }

    fn percent(&self) -> u8 {
        let percent = self.report.updated.len() * 100 / self.params.hosts.len().max(1);
        u8::try_from(percent).unwrap_or(100)
    }

    /// What a person has to know of an update that stopped.
    fn state(&self, why: &str) -> String {
        let or_none = |names: Vec<&str>| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        let updated = or_none(self.report.updated.iter().map(String::as_str).collect());
        let untouched = or_none((self.next..self.params.hosts.len()).map(|place| self.name(place)).collect());
        format!("stopped at {why} (updated: {updated}; not begun: {untouched}); see to it, then begin again")
    }
}

/// How a host ended.
enum Ended {
    Updated { away: Vec<String> },
    Failed(String),
}

async fn update(saga: &PoolUpdate, ctx: &Ctx) -> Result<Report, StepError> {
    let (deps, params) = (&saga.0, ctx.params());
    let updates = deps.host_updates()?;
    let mut way = Way::new(params);
    let mut going = FuturesUnordered::new();
    loop {
        while way.may_begin() {
            if ctx.cancelled().is_cancelled() {
                return Err(StepError::Cancelled);
            }
            let place = way.next;
            let child = child_of(ctx, place);
            if deps.is_paused(params.pool).await? && !updates.has_begun(child).await? {
                way.held_back = Some("paused".to_owned());
                break;
            }
            match updates.begin_host(child, place, params).await? {
                Begun::Going => {
                    way.began();
                    going.push(one_host(Arc::clone(&updates), params, (child, place)));
                }
                Begun::NotYet(why) => {
                    way.not_yet(why, Instant::now());
                    break;
                }
                Begun::Refused(why) => way.stop(place, &why),
            }
        }
        ctx.progress(way.percent(), way.words(|place| updates.progress_of(child_of(ctx, place))));
        if way.is_over() {
            break;
        }
        tokio::select! {
            () = ctx.cancelled().cancelled() => return Err(StepError::Cancelled),
            Some((place, ended)) = going.next() => way.ended(place, ended?),
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
    deps.tell_updated(&way).await;
    match &way.stopped {
        Some(why) => Err(StepError::permanent(way.state(why))),
        None => Ok(way.report),
    }
}

/// The saga of a host.
fn child_of(ctx: &Ctx, place: usize) -> SagaId {
    SagaId::from_uuid(ctx.derived_uuid(&ctx.params().hosts[place].host.to_string()))
}

async fn one_host(
    updates: Arc<dyn HostUpdates>,
    params: &Params,
    (child, place): (SagaId, usize),
) -> (usize, Result<Ended, StepError>) {
    (place, ended(&*updates, params, (child, place)).await)
}

async fn ended(
    updates: &dyn HostUpdates,
    params: &Params,
    (child, place): (SagaId, usize),
) -> Result<Ended, StepError> {
    match updates.wait_for_host(child).await? {
        Some(Outcome::Done) => {}
        Some(Outcome::RolledBack { reason } | Outcome::Parked { reason } | Outcome::Abandoned { reason }) => {
            return Ok(Ended::Failed(reason));
        }
        None => return Err(StepError::retryable("the orchestrator is stopping")),
    }
    if params.afterwards == Afterwards::Stay {
        return Ok(Ended::Updated { away: Vec::new() });
    }
    let away = updates.bring_back(child, place, params).await?;
    Ok(Ended::Updated { away })
}

impl Deps {
    /// Who begins hosts. Until then updates wait.
    pub fn set_host_updates(&self, updates: Weak<dyn HostUpdates>) {
        let _set_before = self.host_updates.set(updates);
    }

    fn host_updates(&self) -> Result<Arc<dyn HostUpdates>, StepError> {
        let updates = self.host_updates.get().and_then(Weak::upgrade);
        updates.ok_or_else(|| StepError::retryable("the orchestrator is starting"))
    }

    async fn is_paused(&self, pool: PoolId) -> Result<bool, StepError> {
        let record = self.db.balances.get(&pool).await?;
        Ok(record.and_then(|record| record.value.update).is_some_and(|update| update.paused))
    }

    async fn tell_updated(&self, way: &Way<'_>) {
        let Params { pool, pool_name, hosts, .. } = way.params;
        let (severity, kind, mut message) = match &way.stopped {
            Some(why) => {
                let message = format!("the update of the pool {pool_name} {}", way.state(why));
                (Severity::Error, "pool.update_stopped", message)
            }
            None => {
                let message = match hosts.as_slice() {
                    [host] => format!("the host {} of the pool {pool_name} is updated", host.name),
                    hosts => format!("the {} hosts of the pool {pool_name} are updated", hosts.len()),
                };
                (Severity::Info, "pool.updated", message)
            }
        };
        let away = &way.report.away;
        if !away.is_empty() {
            let named: Vec<&str> = away.iter().take(NAMED).map(String::as_str).collect();
            let count = counted(away.len(), "VM");
            message.push_str(&format!("; {count} did not come back: {}", named.join("; ")));
        }
        let (subject, pool) = (format!("pool/{pool}"), Some(*pool));
        self.tell(Happened { severity, kind, subject, message, pool }).await;
    }
}

#[cfg(test)]
mod tests;
