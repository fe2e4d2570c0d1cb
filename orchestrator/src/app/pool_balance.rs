//! Balancing a pool: what is given to the planner, and what becomes of its plan.
//!
//! The planner itself is [`crate::balance`], the moves are made by [`crate::sagas::pool_balance`]. Here is who may, what the
//! limits leave, and that a pool has one such task at a time: its record names it, set in the commit that begins it.

use std::collections::HashSet;

use async_trait::async_trait;
use serde_json::json;
use time::OffsetDateTime;
use xenith_common_ids::{PoolId, SagaId, TaskId, VmId};
use xenith_common_text::counted;
use xenith_orchestrator_api::{Call, Caller};
use xenith_orchestrator_saga::{Outcome, Phase, SagaError, StepError};
use xenith_orchestrator_store::{Record, Transaction};
use xenith_orchestrator_types::balance::{
    AsleepHost, BalanceGoal, BalancePlan, BalancePolicy, BalancePool, BalanceStatus, PlannedMove, SetBalance,
};
use xenith_orchestrator_types::pool::{Pool, PoolRef};
use xenith_orchestrator_types::task::TaskStarted;
use xenith_orchestrator_types::{ApiError, Binding, Permission, Reason, Role, Scope};

use super::App;
use super::balance_view::Look;
use super::begin::{About, held};
use super::find::administers;
use crate::balance::Settings;
use crate::errors::{saga_error, store_error};
use crate::model::{AsleepRecord, BalanceRecord};
use crate::sagas::host_steps::LocalDisks;
use crate::sagas::pool_balance::{Begun, Mover, Order, Params, PoolBalance};

const HOUR: time::Duration = time::Duration::HOUR;

/// The record of a pool, if it has one.
pub(super) type Found = Option<Record<PoolId, BalanceRecord>>;

pub(super) fn value(found: &Found) -> BalanceRecord {
    found.as_ref().map(|found| found.value.clone()).unwrap_or_default()
}

impl BalanceRecord {
    /// Moves that began within the last hour.
    fn lately(&self, now: OffsetDateTime) -> u32 {
        let count = self.moved.iter().filter(|moved| now - moved.at < HOUR).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// Moves that a plan may have by what is left of the hour.
    pub(super) fn budget(&self, now: OffsetDateTime) -> u32 {
        self.policy.moves.min(self.policy.per_hour.saturating_sub(self.lately(now)))
    }

    /// VMs that were moved too short a while ago.
    pub(super) fn cooling(&self, now: OffsetDateTime) -> HashSet<VmId> {
        let cool_down = time::Duration::minutes(i64::from(self.policy.cool_down_minutes));
        self.moved.iter().filter(|moved| now - moved.at < cool_down).map(|moved| moved.vm).collect()
    }
}

pub(super) fn settings(policy: &BalancePolicy, goal: BalanceGoal, most: u32) -> Settings {
    let thousandths = |percent: u8| u64::from(percent) * 10;
    Settings {
        goal,
        threshold: thousandths(policy.threshold_percent),
        min_gain: thousandths(policy.min_gain_percent),
        ceiling: thousandths(policy.ceiling_percent),
        most: usize::try_from(most).unwrap_or(usize::MAX),
    }
}

/// A setting within its bounds, or the one before.
fn within<T: Copy + PartialOrd + std::fmt::Display>(
    field: &str,
    new: Option<T>,
    old: T,
    (least, most): (T, T),
) -> Result<T, ApiError> {
    match new {
        None => Ok(old),
        Some(new) if new >= least && new <= most => Ok(new),
        Some(_) => Err(ApiError::invalid(field, format_args!("give {least} to {most}"))),
    }
}

fn changed(old: &BalancePolicy, new: &SetBalance) -> Result<BalancePolicy, ApiError> {
    let (threshold, gain, ceiling) = (new.threshold_percent, new.min_gain_percent, new.ceiling_percent);
    Ok(BalancePolicy {
        mode: new.mode.unwrap_or(old.mode),
        goal: new.goal.unwrap_or(old.goal),
        threshold_percent: within("threshold_percent", threshold, old.threshold_percent, (1, 100))?,
        min_gain_percent: within("min_gain_percent", gain, old.min_gain_percent, (0, 100))?,
        ceiling_percent: within("ceiling_percent", ceiling, old.ceiling_percent, (1, 100))?,
        moves: within("moves", new.moves, old.moves, (1, 500))?,
        at_once: within("at_once", new.at_once, old.at_once, (1, 100))?,
        per_host: within("per_host", new.per_host, old.per_host, (1, 100))?,
        per_hour: within("per_hour", new.per_hour, old.per_hour, (1, 1000))?,
        cool_down_minutes: within(
            "cool_down_minutes",
            new.cool_down_minutes,
            old.cool_down_minutes,
            (0, 10_080),
        )?,
        power_hosts: new.power_hosts.unwrap_or(old.power_hosts),
        hosts_on: within("hosts_on", new.hosts_on, old.hosts_on, (1, 1000))?,
        power_cool_down_minutes: within(
            "power_cool_down_minutes",
            new.power_cool_down_minutes,
            old.power_cool_down_minutes,
            (0, 10_080),
        )?,
    })
}

impl App {
    pub(super) async fn balance_record(&self, pool: PoolId) -> Result<Found, ApiError> {
        self.db.balances.get(&pool).await.map_err(|error| store_error(&error))
    }

    /// What moves VMs in the pool, or updates its hosts. One that is over and was left as it was moves nothing.
    pub(super) async fn balancing(&self, record: &BalanceRecord) -> Result<Option<SagaId>, ApiError> {
        let updates = record.update.as_ref().map(|update| update.held_by);
        for saga in record.held_by.into_iter().chain(updates) {
            if self.is_under_way(saga).await? {
                return Ok(Some(saga));
            }
        }
        Ok(None)
    }

    pub(super) async fn is_under_way(&self, saga: SagaId) -> Result<bool, ApiError> {
        match self.engine.get(saga).await {
            Ok(found) => Ok(!matches!(found.phase, Phase::Ended { .. })),
            Err(SagaError::NotFound(_)) => Ok(false),
            Err(error) => Err(saga_error(&error)),
        }
    }

    /// A pool whose hosts the caller sees: the names of VMs and how full hosts are belong to those.
    pub(super) fn find_whole_pool(&self, call: &Call, reference: &str) -> Result<Pool, ApiError> {
        let pool = self.find_pool(call, Some(reference))?;
        let whole = call.caller.sight(Permission::View).covers(Some(pool.id), []);
        if whole { Ok(pool) } else { Err(call.caller.forbidden(Permission::View)) }
    }

    async fn status_of(&self, pool: PoolId, record: BalanceRecord) -> Result<BalanceStatus, ApiError> {
        let task = self.balancing(&record).await?.map(TaskId::from);
        let moved_last_hour = record.lately(OffsetDateTime::now_utc());
        let BalanceRecord { policy, proposal, asleep, .. } = record;
        let host = |asleep: AsleepRecord| AsleepHost {
            host: asleep.host,
            name: self.views.host(asleep.host).map_or_else(String::new, |host| host.name.clone()),
            since: asleep.since,
            comes_up: asleep.woken.is_some(),
        };
        let asleep = asleep.into_iter().map(host).collect();
        Ok(BalanceStatus { pool, policy, task, moved_last_hour, proposal, asleep })
    }

    pub(super) async fn balance_status_of(
        &self,
        call: &Call,
        request: PoolRef,
    ) -> Result<BalanceStatus, ApiError> {
        let pool = self.find_whole_pool(call, &request.pool)?;
        let found = self.balance_record(pool.id).await?;
        self.status_of(pool.id, value(&found)).await
    }

    pub(super) async fn set_balance_of(
        &self,
        call: &Call,
        request: SetBalance,
    ) -> Result<BalanceStatus, ApiError> {
        let pool = self.find_pool(call, Some(&request.pool))?;
        administers(call, pool.id)?;
        let found = self.balance_record(pool.id).await?;
        let mut record = value(&found);
        record.policy = changed(&record.policy, &request)?;
        // It was made by other rules.
        record.proposal = None;
        self.put_balance(&pool, &found, &record).await?;
        self.status_of(pool.id, record).await
    }

    /// Adds to a transaction: the record as it was read becomes this.
    pub(super) fn balance_in(&self, pool: &Pool, found: &Found, record: &BalanceRecord) -> Transaction {
        let commit = self.require_pool_in(Transaction::new(), pool.id);
        match found {
            Some(found) => self.db.balances.update_in(commit, found, record),
            None => self.db.balances.insert_in(commit, &pool.id, record),
        }
    }

    pub(super) async fn put_balance(
        &self,
        pool: &Pool,
        found: &Found,
        record: &BalanceRecord,
    ) -> Result<(), ApiError> {
        let commit = self.balance_in(pool, found, record);
        self.db.store.commit(commit).await.map_err(|error| store_error(&error))?;
        Ok(())
    }

    pub(super) async fn balance_pool(
        &self,
        call: &Call,
        request: BalancePool,
    ) -> Result<TaskStarted, ApiError> {
        let pool = self.find_pool(call, Some(&request.pool))?;
        administers(call, pool.id)?;
        let found = self.balance_record(pool.id).await?;
        let record = value(&found);
        let now = OffsetDateTime::now_utc();
        let settings =
            settings(&record.policy, request.goal.unwrap_or(record.policy.goal), record.budget(now));
        let mut plan = self.plan_balance(pool.id, &record.cooling(now), &settings, Look::Everywhere).await?;
        if settings.most == 0 {
            let most = counted(record.policy.per_hour, "move");
            plan.notes.insert(0, format!("the {most} that an hour may have began in the last one"));
        }
        if call.dry_run {
            let mut told = serde_json::to_value(&plan).map_err(ApiError::internal)?;
            told["title"] = json!(title(&pool));
            return Err(call.planned(told));
        }
        self.begin_balance(call, &pool, &found, plan).await
    }

    /// Makes the moves of a plan, unless others are under way in the pool.
    pub(super) async fn begin_balance(
        &self,
        call: &Call,
        pool: &Pool,
        found: &Found,
        plan: BalancePlan,
    ) -> Result<TaskStarted, ApiError> {
        let record = value(found);
        if let Some(saga) = self.balancing(&record).await? {
            return Err(held(format_args!("the pool {}", pool.name), saga));
        }
        if plan.moves.is_empty() {
            let message = format_args!("no VM of the pool {} is to be moved", pool.name);
            let mut error = ApiError::new(Reason::WrongState, message);
            error.data.detail = plan.notes;
            return Err(error);
        }
        let mut hosts: Vec<String> =
            plan.moves.iter().flat_map(|one| [one.from, one.to]).map(|host| format!("host/{host}")).collect();
        hosts.sort_unstable();
        hosts.dedup();
        let order = |one: PlannedMove| Order {
            vm: one.vm,
            name: one.name,
            from: one.from,
            to: one.to,
            to_name: one.to_name,
        };
        let params = Params {
            pool: pool.id,
            pool_name: pool.name.clone(),
            moves: plan.moves.into_iter().map(order).collect(),
            at_once: record.policy.at_once,
            per_host: record.policy.per_host,
            who: call.caller.name.clone(),
            user: call.caller.user,
        };
        let saga = SagaId::new();
        let taken = BalanceRecord { held_by: Some(saga), proposal: None, ..record };
        let hold = self.balance_in(pool, found, &taken);
        let id = pool.id.to_string();
        let about = About { method: "pool.balance", title: title(pool), subjects: hosts, object: Some(&id) };
        self.begin::<PoolBalance>(call, (saga, &params), about, hold).await
    }
}

fn title(pool: &Pool) -> String {
    format!("Balance {}", pool.name)
}

/// Who moves VMs of a pool: what was allowed when the plan was begun is carried out, within the pool.
pub(super) fn mover(pool: PoolId, name: &str) -> Caller {
    let bindings = vec![Binding { role: Role::Operator, scope: Scope::Pool(pool) }];
    Caller { name: name.to_owned(), bindings, ..Caller::anonymous(None) }
}

fn saga_step(error: &SagaError) -> StepError {
    StepError::retryable(error.to_string())
}

#[async_trait]
impl Mover for App {
    async fn begin_move(&self, saga: SagaId, order: &Order, plan: &Params) -> Result<Begun, StepError> {
        match self.engine.get(saga).await {
            Ok(_) => return Ok(Begun::Moving),
            Err(SagaError::NotFound(_)) => {}
            Err(error) => return Err(saga_step(&error)),
        }
        let caller = Caller { user: plan.user, ..mover(plan.pool, &plan.who) };
        let call = Call::new(caller, None);
        match self.move_by_plan(&call, saga, order, LocalDisks::Stay).await {
            Ok(_) => Ok(Begun::Moving),
            // Nobody refused anything.
            Err(error) if matches!(error.reason(), Reason::ReadOnly | Reason::Throttled) => {
                Err(StepError::retryable(error.message))
            }
            Err(error) => {
                let why = std::iter::once(error.message).chain(error.data.detail);
                Ok(Begun::Refused(why.collect::<Vec<_>>().join(": ")))
            }
        }
    }

    async fn wait_for_move(&self, saga: SagaId) -> Result<Option<Outcome>, StepError> {
        self.engine.wait(saga).await.map_err(|error| saga_step(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::MovedRecord;

    #[test]
    fn settings_stay_within_their_bounds() {
        let old = BalancePolicy::default();
        let set = |change: fn(&mut SetBalance)| {
            let mut set = SetBalance::default();
            change(&mut set);
            changed(&old, &set)
        };
        assert_eq!(set(|_| {}).unwrap(), old, "what is not given stays");
        assert_eq!(set(|set| set.moves = Some(7)).unwrap(), BalancePolicy { moves: 7, ..old });
        let refused: [(&str, fn(&mut SetBalance)); 7] = [
            ("hosts_on", |set| set.hosts_on = Some(0)),
            ("power_cool_down_minutes", |set| set.power_cool_down_minutes = Some(10_081)),
            ("threshold_percent", |set| set.threshold_percent = Some(0)),
            ("ceiling_percent", |set| set.ceiling_percent = Some(101)),
            ("at_once", |set| set.at_once = Some(0)),
            ("per_hour", |set| set.per_hour = Some(1001)),
            ("cool_down_minutes", |set| set.cool_down_minutes = Some(10_081)),
        ];
        for (field, change) in refused {
            let error = set(change).unwrap_err();
            assert_eq!(error.data.field.as_deref(), Some(field), "{error}");
        }
    }

    #[test]
    fn an_hour_has_so_many_moves_and_who_moved_cools_down() {
        let now = OffsetDateTime::UNIX_EPOCH + time::Duration::days(365);
        let moved = |minutes: i64| MovedRecord {
            vm: VmId::new(),
            saga: SagaId::new(),
            at: now - time::Duration::minutes(minutes),
        };
        let mut record =
            BalanceRecord { moved: vec![moved(1), moved(59), moved(61)], ..BalanceRecord::default() };
        record.policy = BalancePolicy { moves: 20, per_hour: 10, cool_down_minutes: 60, ..record.policy };
        assert_eq!((record.lately(now), record.budget(now)), (2, 8));
        assert_eq!(record.cooling(now), HashSet::from([record.moved[0].vm, record.moved[1].vm]));
        record.policy = BalancePolicy { per_hour: 2, cool_down_minutes: 90, ..record.policy };
        assert_eq!((record.budget(now), record.cooling(now).len()), (0, 3));
        record.policy = BalancePolicy { moves: 5, per_hour: 1000, cool_down_minutes: 0, ..record.policy };
        assert_eq!((record.budget(now), record.cooling(now).len()), (5, 0));
    }
}
