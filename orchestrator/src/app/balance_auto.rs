//! Pools that are balanced without being asked: plans are proposed, or carried out.
//!
//! A look costs as much as has changed. It reads the sums of the hosts, which are kept with every change, and looks into
//! hosts only that were too full some looks in a row, and into those whose VMs are others than at the last look, where a
//! rule between VMs may be broken: [`HOSTS`] of each kind at a time. What comes of it is a plan as anybody's; the limits,
//! the cool-down and the one task of a pool are the same.
//!
//! Where VMs were on their way a moment ago, a look waits for the next one.
//!
//! What a look remembers is in memory. An orchestrator that starts looks into every host once, a few at a time.

use std::collections::{HashMap, HashSet};

use time::OffsetDateTime;
use xenith_common_ids::{HostId, PoolId};
use xenith_common_text::counted;
use xenith_orchestrator_api::Call;
use xenith_orchestrator_store::Record;
use xenith_orchestrator_types::ApiError;
use xenith_orchestrator_types::balance::{BalanceMode, BalancePlan};
use xenith_orchestrator_types::event::Severity;
use xenith_orchestrator_types::pool::Pool;

use super::App;
use super::balance_view::Look;
use super::pool_balance::{mover, settings};
use crate::balance::{HostLoad, over};
use crate::errors::store_error;
use crate::events::Happened;
use crate::model::BalanceRecord;

/// Looks in a row that find a host too full before it gives VMs away: a peak of a minute is nobody's fault.
const IN_A_ROW: u8 = 3;
/// What hosts tell of their memory is some seconds behind what moved: nobody plans from that.
const SETTLES: time::Duration = time::Duration::MINUTE;
/// Hosts that are looked into at a time.
const HOSTS: usize = 32;
/// Who moves VMs when nobody asked, in the list of tasks.
pub(super) const WHO: &str = "pool balancing";

/// What earlier looks found.
#[derive(Debug, Default)]
pub struct Looks(HashMap<PoolId, PoolLooks>);

#[derive(Debug, Default)]
struct PoolLooks {
    /// Too full, so many looks in a row.
    hot: HashMap<HostId, u8>,
    /// What [`crate::views::Views::moves_of`] said when a host was looked into last.
    seen: HashMap<HostId, u64>,
    /// The last look found VMs on their way.
    busy: bool,
}

impl PoolLooks {
    /// The hosts to look into now, by which are too full and how often they changed.
    fn due(&mut self, too_full: &[HostId], changes: &[(HostId, u64)]) -> HashSet<HostId> {
        self.hot.retain(|host, _| too_full.contains(host));
        for host in too_full {
            let looks = self.hot.entry(*host).or_default();
            *looks = looks.saturating_add(1);
        }
        let hot = self.hot.iter().filter(|(_, looks)| **looks >= IN_A_ROW).map(|(host, _)| *host);
        let mut due: HashSet<HostId> = hot.collect();
        // Whatever comes of this look, the next one that finds them so is some looks away.
        self.hot.retain(|host, _| !due.contains(host));
        self.seen.retain(|host, _| changes.iter().any(|(known, _)| known == host));
        let changed = changes.iter().filter(|(host, count)| self.seen.get(host) != Some(count));
        let changed: Vec<(HostId, u64)> = changed.take(HOSTS).copied().collect();
        for (host, count) in changed {
            self.seen.insert(host, count);
            due.insert(host);
        }
        due
    }
}

impl App {
    /// One look at every pool that is balanced without being asked. Repeated, it does nothing twice: what is under way is
    /// in the pool's record.
    pub async fn look_at_balance(&self, looks: &mut Looks) -> Result<(), ApiError> {
        let (balances, _) = self.db.balances.all().await.map_err(|error| store_error(&error))?;
        let asked = balances.into_iter().filter(|found| found.value.policy.mode != BalanceMode::Off);
        let asked: Vec<Record<PoolId, BalanceRecord>> = asked.collect();
        looks.0.retain(|pool, _| asked.iter().any(|found| found.key == *pool));
        for found in asked {
            let Some(pool) = self.views.pool(found.key) else { continue };
            let looks = looks.0.entry(pool.id).or_default();
            if let Err(error) = self.look_at_pool(&pool, found, looks).await {
                tracing::warn!(pool = pool.name, %error, "a pool cannot be balanced now");
            }
        }
        Ok(())
    }

    async fn look_at_pool(
        &self,
        pool: &Pool,
        found: Record<PoolId, BalanceRecord>,
        looks: &mut PoolLooks,
    ) -> Result<(), ApiError> {
        let (record, now) = (found.value.clone(), OffsetDateTime::now_utc());
        let automatic = record.policy.mode == BalanceMode::Automatic;
        // A proposal moves nothing, so no limit of an hour holds for it.
        let most = if automatic { record.budget(now) } else { record.policy.moves };
        if self.balancing(&record).await?.is_some() {
            looks.busy = true;
            return Ok(());
        }
        let settling = record.moved.iter().any(|moved| now - moved.at < SETTLES);
        if std::mem::take(&mut looks.busy) || settling || most == 0 {
            return Ok(());
        }
        let settings = settings(&record.policy, record.policy.goal, most);
        let sums = self.sums(pool.id);
        let too_full = over(&sums, &settings, HOSTS);
        let mut due = looks.due(&too_full, &self.changes_of(&sums));
        if due.is_empty() {
            // Nothing is too full any more: what was proposed is no longer wanted.
            let stale = too_full.is_empty() && record.proposal.is_some();
            return if stale { self.propose(pool, found, None).await } else { Ok(()) };
        }
        if !automatic {
            // What is proposed is all that could be done, not what is new of it.
            due.extend(&too_full);
        }
        let plan = self.plan_balance(pool.id, &record.cooling(now), &settings, Look::Into(due)).await?;
        if !automatic {
            return self.propose(pool, found, Some(plan).filter(|plan| !plan.moves.is_empty())).await;
        }
        if !plan.moves.is_empty() {
            let call = Call::new(mover(pool.id, WHO), None);
            self.begin_balance(&call, pool, &Some(found), plan).await?;
        }
        Ok(())
    }

    fn changes_of(&self, sums: &[HostLoad]) -> Vec<(HostId, u64)> {
        // One that is not heard is looked into when it is again.
        let open = sums.iter().filter(|sum| sum.is_open()).map(|sum| sum.view.host);
        open.map(|host| (host, self.views.moves_of(host))).collect()
    }

    /// Writes a proposal down where it is another one, and tells of the first.
    async fn propose(
        &self,
        pool: &Pool,
        found: Record<PoolId, BalanceRecord>,
        plan: Option<BalancePlan>,
    ) -> Result<(), ApiError> {
        let moves = |plan: &Option<BalancePlan>| plan.as_ref().map(|plan| plan.moves.clone());
        if moves(&found.value.proposal) == moves(&plan) {
            return Ok(());
        }
        let first = found.value.proposal.is_none();
        let count = plan.as_ref().map_or(0, |plan| plan.moves.len());
        let record = BalanceRecord { proposal: plan, ..found.value.clone() };
        self.put_balance(pool, &Some(found), &record).await?;
        if first {
            let name = &pool.name;
            let message = format!(
                "{} of the pool {name} should be elsewhere; look at the plan with `xenith pool \
                 balance-status {name}`, and carry one out with `xenith pool balance {name}`",
                counted(count, "VM")
            );
            let (severity, kind) = (Severity::Info, "pool.balance_proposed");
            let (subject, pool) = (format!("pool/{}", pool.id), Some(pool.id));
            self.events.note(Happened { severity, kind, subject, message, pool }).await;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_looked_into_when_it_was_too_full_for_long_or_its_vms_changed() {
        let (a, b) = (HostId::new(), HostId::new());
        let mut looks = PoolLooks::default();
        type Case<'a> = (&'a str, &'a [HostId], [(HostId, u64); 2], Vec<HostId>);
        let table: [Case<'_>; 9] = [
            ("at the start every host once", &[], [(a, 0), (b, 4)], vec![a, b]),
            ("nothing changed", &[], [(a, 0), (b, 4)], vec![]),
            ("too full, once", &[a], [(a, 0), (b, 4)], vec![]),
            ("twice", &[a], [(a, 0), (b, 4)], vec![]),
            ("not any more", &[], [(a, 0), (b, 4)], vec![]),
            ("again, once", &[a], [(a, 0), (b, 4)], vec![]),
            ("a VM came meanwhile, twice", &[a], [(a, 0), (b, 5)], vec![b]),
            ("three times", &[a], [(a, 0), (b, 5)], vec![a]),
            ("and anew from the start", &[a], [(a, 0), (b, 5)], vec![]),
        ];
        for (case, too_full, changes, expected) in table {
            let expected: HashSet<HostId> = expected.into_iter().collect();
            assert_eq!(looks.due(too_full, &changes), expected, "{case}");
        }
    }

    #[test]
    fn so_many_hosts_at_a_time() {
        let changes: Vec<(HostId, u64)> = (0..40).map(|_| (HostId::new(), 1)).collect();
        let mut looks = PoolLooks::default();
        assert_eq!([32, 8, 0], [(); 3].map(|()| looks.due(&[], &changes).len()));
    }
}
