//! Hosts of pools that are balanced for density go off by themselves when the others do without them, and come on again when
//! there is too little room.
//!
//! What always holds: what is switched off stands in the pool's record ([`AsleepRecord`]) from the commit that begins the
//! saga which shuts the host down; only what stands there is woken. A host that somebody else switched off, or that high
//! availability did, is left alone. Which host is next says [`power`], which does no IO.
//!
//! A look can be repeated and interrupted anywhere: a host that was noted as woken and was not told so is told at the next
//! look, and one that is heard again is let out of maintenance and forgotten here. What a look remembers is how many looks
//! in a row found something so.

use std::collections::{HashMap, HashSet};
use std::sync::PoisonError;
use std::time::Instant;

use time::OffsetDateTime;
use xenith_common_ids::{HostId, PoolId, SagaId};
use xenith_orchestrator_api::Call;
use xenith_orchestrator_saga::SagaRecord;
use xenith_orchestrator_types::ApiError;
use xenith_orchestrator_types::balance::{BalanceGoal, BalanceMode, BalancePolicy};
use xenith_orchestrator_types::event::Severity;
use xenith_orchestrator_types::pool::Pool;
use xenith_orchestrator_types::power::{MachinePower, PowerOrder};

use super::App;
use super::balance_auto::WHO;
use super::begin::About;
use super::pool_balance::{mover, value};
use crate::balance::HostLoad;
use crate::balance::power::{self, HostPower, Limits, Off, Standing, Step, Turn};
use crate::errors::store_error;
use crate::model::{AsleepRecord, BalanceRecord, HostRecord};
use crate::placement::{HostView, Wish, fits};
use crate::power::{Controller, PowerError};
use crate::sagas::host_restart::{HostRestart, Params, Work};

/// Looks in a row that find a host bare before it goes off: one that has just come is given time to get VMs.
const BARE_LOOKS: u8 = 5;
/// Looks in a row that want a host before it comes on. A peak that ends by itself wakes nobody.
const WANTED_LOOKS: u8 = 2;
/// Twice through the firmware of a large server.
const WAKES_WITHIN: time::Duration = time::Duration::minutes(30);
/// A host that did not come on is tried again after so long.
const FAILED_RESTS: time::Duration = time::Duration::hours(1);
/// How long a VM that found no room is remembered.
const NO_ROOM_S: u64 = 300;

/// What found no room lately, by pool: the newest.
#[derive(Debug, Default)]
pub struct NoRoom(HashMap<PoolId, (Instant, Wish)>);

/// What earlier looks found.
#[derive(Debug, Default)]
pub struct PowerLooks(HashMap<PoolId, InARow>);

#[derive(Debug, Default)]
struct InARow {
    bare: HashMap<HostId, u8>,
    /// A host is to come on.
    wanted: u8,
}

impl InARow {
    fn note_bare(&mut self, hosts: &mut [HostPower]) {
        let is_bare = |host: &HostPower| host.standing == Standing::On && host.load.count == 0;
        self.bare.retain(|known, _| hosts.iter().any(|host| host.load.view.host == *known && is_bare(host)));
        for host in hosts.iter_mut().filter(|host| is_bare(host)) {
            let looks = self.bare.entry(host.load.view.host).or_default();
            *looks = looks.saturating_add(1);
            if *looks < BARE_LOOKS {
                host.stays = host.stays.or(Some("had VMs a short while ago"));
            }
        }
    }

    /// Whether it is taken.
    fn is_due(&mut self, step: &Step) -> bool {
        self.wanted = if step.turn == Turn::On { self.wanted.saturating_add(1) } else { 0 };
        let due = step.turn == Turn::Off || self.wanted >= WANTED_LOOKS;
        if due {
            self.wanted = 0;
        }
        due
    }
}

/// What became of a host that was switched off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Became {
    /// It is off, or on its way.
    Same,
    /// It was told to come on; so it is again, where it did not hear that.
    Woken,
    /// It does not come on.
    Failed,
    /// It is heard again.
    Back,
    /// It never went off, or is no host of ours any more.
    Nothing,
}

/// A host as it is now.
#[derive(Debug, Clone, Copy)]
struct Seen {
    is_heard: bool,
    is_held: bool,
    in_maintenance: bool,
}

fn became(asleep: &AsleepRecord, seen: Option<Seen>, now: OffsetDateTime) -> Became {
    match (seen, asleep.woken) {
        (None, _) => Became::Nothing,
        (Some(Seen { is_held: true, .. }), _) => Became::Same,
        (Some(Seen { is_heard: true, in_maintenance: true, .. }), _) => Became::Back,
        (Some(Seen { is_heard: true, .. }), _) => Became::Nothing,
        (Some(_), None) => Became::Same,
        (Some(_), Some(woken)) if now - woken > WAKES_WITHIN => Became::Failed,
        (Some(_), Some(_)) => Became::Woken,
    }
}

fn switches(policy: &BalancePolicy) -> bool {
    policy.power_hosts && policy.mode == BalanceMode::Automatic && policy.goal == BalanceGoal::Density
}

fn standing(
    load: &HostLoad,
    host: &HostRecord,
    asleep: Option<&AsleepRecord>,
    now: OffsetDateTime,
) -> Standing {
    match asleep {
        Some(_) if host.held_by.is_some() => Standing::GoesDown,
        Some(asleep) if asleep.woken.is_some() => Standing::ComesUp,
        Some(asleep) if asleep.failed.is_some_and(|failed| now - failed < FAILED_RESTS) => Standing::Out,
        Some(_) => Standing::Asleep,
        None if load.is_open() && host.held_by.is_none() => Standing::On,
        None => Standing::Out,
    }
}

impl App {
    /// A VM of a pool found no room: perhaps a host that is off would have some.
    pub(super) fn note_no_room(&self, wish: &Wish) {
        let Some(pool) = wish.pool else { return };
        let mut no_room = self.no_room.lock().unwrap_or_else(PoisonError::into_inner);
        no_room.0.insert(pool, (Instant::now(), wish.clone()));
    }

    fn without_room(&self, pool: PoolId) -> Option<Wish> {
        let mut no_room = self.no_room.lock().unwrap_or_else(PoisonError::into_inner);
        no_room.0.retain(|_, (at, _)| at.elapsed().as_secs() < NO_ROOM_S);
        no_room.0.get(&pool).map(|(_, wish)| wish.clone())
    }

    /// One look at every pool whose hosts are switched by load. Repeated, it does nothing twice.
    pub async fn look_at_power(&self, looks: &mut PowerLooks) -> Result<(), ApiError> {
        let (balances, _) = self.db.balances.all().await.map_err(|error| store_error(&error))?;
        let wanted = |record: &BalanceRecord| switches(&record.policy) || !record.asleep.is_empty();
        let pools: Vec<PoolId> =
            balances.into_iter().filter(|found| wanted(&found.value)).map(|found| found.key).collect();
        looks.0.retain(|pool, _| pools.contains(pool));
        for pool in pools.into_iter().filter_map(|pool| self.views.pool(pool)) {
            let looks = looks.0.entry(pool.id).or_default();
            if let Err(error) = self.switch_hosts(&pool, looks).await {
                tracing::warn!(pool = pool.name, %error, "no host of a pool can be switched now");
            }
        }
        Ok(())
    }

    async fn switch_hosts(&self, pool: &Pool, looks: &mut InARow) -> Result<(), ApiError> {
        self.settle(pool).await?;
        let found = self.balance_record(pool.id).await?;
        let record = value(&found);
        let mut hosts = self.powers(pool.id, &record).await?;
        looks.note_bare(&mut hosts);
        let limits = self.power_limits(pool.id, &record).await?;
        let Some(step) = power::next(&hosts, &limits) else {
            looks.wanted = 0;
            return Ok(());
        };
        if !looks.is_due(&step) {
            return Ok(());
        }
        match step.turn {
            Turn::On => self.wake(pool, &step).await,
            Turn::Off => self.put_to_sleep(pool, record, &step).await,
        }
    }

    async fn power_limits(&self, pool: PoolId, record: &BalanceRecord) -> Result<Limits, ApiError> {
        let policy = &record.policy;
        let ha = self.db.ha_pools.get(&pool).await.map_err(|error| store_error(&error))?;
        let rests = time::Duration::minutes(i64::from(policy.power_cool_down_minutes));
        let rests = record.switched.is_some_and(|at| OffsetDateTime::now_utc() - at < rests);
        let off = match (switches(policy), rests || self.balancing(record).await?.is_some()) {
            (false, _) => Off::Ended,
            (true, true) => Off::Waits,
            (true, false) => Off::May,
        };
        let hosts_on = usize::try_from(policy.hosts_on).unwrap_or(usize::MAX);
        // Where it is on, hosts see each other's leases.
        let least = if ha.is_some() { hosts_on.max(2) } else { hosts_on };
        let thousandths = |percent: u8| u64::from(percent) * 10;
        let (ceiling, spare) = (thousandths(policy.ceiling_percent), thousandths(policy.threshold_percent));
        Ok(Limits { least, ceiling, spare, off })
    }

    /// Those that are asleep first, the one that went off first before others.
    async fn powers(&self, pool: PoolId, record: &BalanceRecord) -> Result<Vec<HostPower>, ApiError> {
        let (now, wish) = (OffsetDateTime::now_utc(), self.without_room(pool));
        let (own, busy) = (self.hosts_with_own_disks().await?, self.hosts_at_work().await?);
        let mut hosts = Vec::new();
        for load in self.sums(pool) {
            let Some(host) = self.views.host(load.view.host) else { continue };
            let asleep = record.asleep.iter().find(|asleep| asleep.host == load.view.host);
            let standing = standing(&load, &host, asleep, now);
            let stays = if own.contains(&load.view.host) {
                Some("has disks in an SR that no other host reaches")
            } else if busy.contains(&load.view.host) {
                Some("is at work for a task")
            } else {
                self.stays_on(&load, &host)
            };
            let is_wanted = wish.as_ref().is_some_and(|wish| fits(wish, &as_if_on(&load.view)));
            hosts.push(HostPower { load, standing, stays, is_wanted });
        }
        let place = |host: &HostPower| {
            let asleep = record.asleep.iter().position(|asleep| asleep.host == host.load.view.host);
            (asleep.unwrap_or(usize::MAX), host.load.view.name.clone())
        };
        hosts.sort_by_cached_key(place);
        Ok(hosts)
    }

    /// Why an empty host is not switched off.
    fn stays_on(&self, load: &HostLoad, host: &HostRecord) -> Option<&'static str> {
        let seen = self.fleet.state(load.view.host).map(|state| state.vms()).unwrap_or_default();
        if host.power.is_none() {
            return Some("has no power control");
        }
        if self.promised(load.view.host) > 0 {
            return Some("is about to get a VM");
        }
        seen.iter().any(|seen| seen.domid.is_some()).then_some("runs an unmanaged domain")
    }

    /// Hosts with disks, ISOs or templates that nobody would reach without them.
    async fn hosts_with_own_disks(&self) -> Result<Vec<HostId>, ApiError> {
        let srs = self.all_srs().await?;
        let own = srs.iter().filter(|sr| sr.record.hosts.len() == 1 && self.views.count_in(sr.id) > 0);
        Ok(own.flat_map(|sr| sr.record.hosts.iter().copied()).collect())
    }

    /// Hosts that tasks are about which have not ended: VMs move there, or disks in an SR that others reach, too, are filled
    /// there. All of it would break off with the host.
    async fn hosts_at_work(&self) -> Result<HashSet<HostId>, ApiError> {
        let mut hosts = HashSet::new();
        let note = |_: SagaId, record: &SagaRecord| {
            let named = record.meta.subjects.iter().filter_map(|subject| subject.strip_prefix("host/"));
            hosts.extend(named.filter_map(|host| host.parse::<HostId>().ok()));
            None::<()>
        };
        self.first_unfinished(note).await?;
        Ok(hosts)
    }

    async fn put_to_sleep(&self, pool: &Pool, record: BalanceRecord, step: &Step) -> Result<(), ApiError> {
        let found = self.db.balances.get(&pool.id).await.map_err(|error| store_error(&error))?;
        let host = self.db.hosts.get(&step.host).await.map_err(|error| store_error(&error))?;
        let (Some(found), Some(host)) = (found.filter(|found| found.value == record), host) else {
            return Ok(());
        };
        if host.value.held_by.is_some() || host.value.maintenance {
            return Ok(());
        }
        if self.hosts_at_work().await?.contains(&step.host) {
            return Ok(());
        }
        let now = OffsetDateTime::now_utc();
        let mut taken = record;
        taken.asleep.push(AsleepRecord { host: step.host, since: now, woken: None, failed: None });
        taken.switched = Some(now);
        let saga = SagaId::new();
        let (on, hold) = self.taken_by(&host, saga);
        let hold = self.db.balances.update_in(hold, &found, &taken);
        let params = Params { on, work: Work::ShutDown, leave: None };
        let id = step.host.to_string();
        let about = About {
            method: "host.shutdown",
            title: format!("Shut down {}", step.name),
            subjects: vec![format!("host/{id}")],
            object: Some(&id),
        };
        let call = Call::new(mover(pool.id, WHO), None);
        self.begin::<HostRestart>(&call, (saga, &params), about, hold).await?;
        let message = format!("{} is switched off: {}", step.name, step.reason);
        self.ha_event((Severity::Info, "host.put_to_sleep"), (step.host, pool.id), message).await;
        Ok(())
    }

    /// It is noted first: what was noted and not told is told at the next look.
    async fn wake(&self, pool: &Pool, step: &Step) -> Result<(), ApiError> {
        let now = OffsetDateTime::now_utc();
        self.change_asleep(pool.id, step.host, |asleep| {
            (asleep.woken, asleep.failed) = (Some(now), None);
        })
        .await?;
        let message = format!("{} is switched on: {}", step.name, step.reason);
        self.ha_event((Severity::Info, "host.woken"), (step.host, pool.id), message).await;
        self.switch_on(step.host).await;
        Ok(())
    }

    async fn switch_on(&self, host: HostId) {
        if let Err(error) = self.try_switch_on(host).await {
            tracing::warn!(%host, %error, "a host cannot be switched on; it is tried again");
        }
    }

    async fn try_switch_on(&self, host: HostId) -> Result<(), PowerError> {
        let Some(record) = self.views.host(host).and_then(|known| known.power.clone()) else {
            tracing::warn!(%host, "a host that was switched off has no power control any more: switch it on by hand");
            return Ok(());
        };
        let controller = Controller::open(&record, &self.vault)?;
        if controller.power().await? == MachinePower::Off {
            controller.order(PowerOrder::On).await?;
        }
        Ok(())
    }

    /// What became of hosts that were switched off.
    async fn settle(&self, pool: &Pool) -> Result<(), ApiError> {
        let record = value(&self.balance_record(pool.id).await?);
        for asleep in &record.asleep {
            let host = self.db.hosts.get(&asleep.host).await.map_err(|error| store_error(&error))?;
            let host = host.map(|host| host.value).filter(|host| host.pool == pool.id);
            let seen = host.as_ref().map(|host| Seen {
                is_heard: self.fleet.state(asleep.host).is_some_and(|state| state.is_heard()),
                is_held: host.held_by.is_some(),
                in_maintenance: host.maintenance,
            });
            let name = host.map(|host| host.name).unwrap_or_default();
            let (about, now) = ((asleep.host, pool.id), OffsetDateTime::now_utc());
            match became(asleep, seen, now) {
                Became::Same => {}
                Became::Woken => self.switch_on(asleep.host).await,
                Became::Failed => {
                    self.change_asleep(pool.id, asleep.host, |asleep| {
                        (asleep.woken, asleep.failed) = (None, Some(now));
                    })
                    .await?;
                    let minutes = WAKES_WITHIN.whole_minutes();
                    let message = format!("{name} was switched on and is not heard after {minutes} minutes");
                    self.ha_event((Severity::Error, "host.not_woken"), about, message).await;
                }
                Became::Back => {
                    // Nobody else's maintenance: this put it into one.
                    let free = |record: &mut HostRecord| {
                        record.maintenance = record.held_by.is_some() && record.maintenance;
                    };
                    self.db.hosts.modify(&asleep.host, free).await.map_err(|error| store_error(&error))?;
                    self.forget_asleep(pool.id, asleep.host).await?;
                    let message = format!("{name} is on again, and takes VMs");
                    self.ha_event((Severity::Info, "host.awake"), about, message).await;
                }
                Became::Nothing => self.forget_asleep(pool.id, asleep.host).await?,
            }
        }
        Ok(())
    }

    async fn change_asleep(
        &self,
        pool: PoolId,
        host: HostId,
        change: impl Fn(&mut AsleepRecord) + Send + Sync,
    ) -> Result<(), ApiError> {
        let now = OffsetDateTime::now_utc();
        let change = |record: &mut BalanceRecord| {
            record.switched = Some(now);
            record.asleep.iter_mut().filter(|asleep| asleep.host == host).for_each(&change);
        };
        self.db.balances.modify(&pool, change).await.map_err(|error| store_error(&error))?;
        Ok(())
    }

    async fn forget_asleep(&self, pool: PoolId, host: HostId) -> Result<(), ApiError> {
        let now = OffsetDateTime::now_utc();
        let forget = |record: &mut BalanceRecord| {
            record.switched = Some(now);
            record.asleep.retain(|asleep| asleep.host != host);
        };
        self.db.balances.modify(&pool, forget).await.map_err(|error| store_error(&error))?;
        Ok(())
    }
}

/// As it would be without what keeps it out while it is off.
fn as_if_on(view: &HostView) -> HostView {
    HostView {
        heard: true,
        maintenance: false,
        memory_free: view.memory_total,
        vcpus_used: 0,
        ..view.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asleep(woken: Option<OffsetDateTime>) -> AsleepRecord {
        AsleepRecord { host: HostId::new(), since: OffsetDateTime::UNIX_EPOCH, woken, failed: None }
    }

    #[test]
    fn what_became_of_a_host_that_was_switched_off() {
        let now = OffsetDateTime::UNIX_EPOCH + time::Duration::days(365);
        let seen = |is_heard, is_held, in_maintenance| Some(Seen { is_heard, is_held, in_maintenance });
        let (lately, long_ago) = (Some(now - time::Duration::MINUTE), Some(now - time::Duration::DAY));
        for (case, seen, woken, expected) in [
            ("it goes down", seen(true, true, true), None, Became::Same),
            ("it is off", seen(false, false, true), None, Became::Same),
            ("it did not go down", seen(true, false, false), None, Became::Nothing),
            ("it comes up", seen(false, false, true), lately, Became::Woken),
            ("it does not", seen(false, false, true), long_ago, Became::Failed),
            ("it is back", seen(true, false, true), lately, Became::Back),
            ("somebody switched it on", seen(true, false, true), None, Became::Back),
            ("it was removed", None, None, Became::Nothing),
        ] {
            assert_eq!(became(&asleep(woken), seen, now), expected, "{case}");
        }
    }

    #[test]
    fn a_host_is_wanted_some_looks_in_a_row() {
        let step = |turn| Step { turn, host: HostId::new(), name: "xen3".into(), reason: String::new() };
        let mut looks = InARow::default();
        let table =
            [(Turn::On, false), (Turn::Off, true), (Turn::On, false), (Turn::On, true), (Turn::On, false)];
        for (place, (turn, due)) in table.into_iter().enumerate() {
            assert_eq!(looks.is_due(&step(turn)), due, "{place}");
        }
    }
}
