//! High availability of a pool: on, off, and how it is. What follows from it is in [`super::ha_keep`].

use async_trait::async_trait;
use xenith_common_ha::{Timing, Verdict};
use xenith_common_ids::{HostId, PoolId, VmId};
use xenith_common_text::counted;
use xenith_hypervisor_agent_types::ha::Arms;
use xenith_orchestrator_api::Call;
use xenith_orchestrator_api::ha::HaApi;
use xenith_orchestrator_store::{Expect, Transaction};
use xenith_orchestrator_types::ha::{
    EnableHa, HaHost, HaHostState, HaRef, HaSettings, HaVm, PoolHa, RestartPriority, SetRestartPriority,
};
use xenith_orchestrator_types::pool::Pool;
use xenith_orchestrator_types::{ApiError, Permission, Reason};

use super::App;
use super::find::administers;
use super::pool_balance::value;
use crate::alarms::{Trouble, Wrong};
use crate::errors::store_error;
use crate::ha::{HaHostRecord, HaPoolRecord};
use crate::model::HostRecord;

fn settings(arms: &Arms) -> HaSettings {
    let seconds = |time: std::time::Duration| u16::try_from(time.as_secs()).unwrap_or(u16::MAX);
    HaSettings {
        sr: arms.sr,
        lease_s: seconds(arms.timing.lease()),
        watchdog_s: seconds(arms.timing.watchdog()),
        beat_s: seconds(arms.timing.beat()),
    }
}

/// VMs that are named in one message.
const NAMED: usize = 5;

fn wrongs_of(host: &HaHost, pool: PoolId, name: impl Fn(VmId) -> String) -> Vec<Wrong> {
    let why = host.problem.as_ref().map(|problem| format!(": {problem}")).unwrap_or_default();
    let mut found = match host.state {
        HaHostState::Armed => vec![],
        HaHostState::Unarmed => {
            vec![(Trouble::NotArmed, format!("its VMs would not be restarted elsewhere if it died{why}"))]
        }
        HaHostState::Suspected => vec![
            (Trouble::Lost, format!("nothing is heard of it{why}")),
            (
                Trouble::NotFenced,
                format!("it cannot be proved to run nothing, so its VMs are not restarted elsewhere{why}"),
            ),
        ],
        HaHostState::Fenced => {
            vec![(Trouble::Fenced, "it was proved to run nothing, and is not back".to_owned())]
        }
    };
    let waiting = host.waiting.len();
    if waiting > 0 {
        let mut named: Vec<String> = host.waiting.iter().take(NAMED).map(|vm| name(*vm)).collect();
        if waiting > NAMED {
            named.push("…".to_owned());
        }
        let (waiting, named) = (counted(waiting, "VM"), named.join(", "));
        let message = format!("what went down with it does not run again, {waiting}: {named}");
        found.push((Trouble::NotRestarted, message));
    }
    let wrong =
        |(trouble, message)| Wrong { trouble, host: host.host, name: host.name.clone(), pool, message };
    found.into_iter().map(wrong).collect()
}

#[async_trait]
impl HaApi for App {
    async fn show(&self, call: &Call, request: HaRef) -> Result<PoolHa, ApiError> {
        let pool = self.find_ha_pool(call, &request.pool)?;
        self.ha_of(pool.id).await
    }

    async fn enable(&self, call: &Call, request: EnableHa) -> Result<PoolHa, ApiError> {
        let pool = self.find_ha_pool(call, &request.pool)?;
        administers(call, pool.id)?;
        let or = |given: u16, usual: u16| if given == 0 { usual } else { given };
        let timing = Timing::new(or(request.lease_s, 60), or(request.watchdog_s, 10), or(request.beat_s, 5))
            .map_err(|error| ApiError::invalid("lease_s", error))?;
        let sr = self.find_sr(call, &request.sr).await?;
        if sr.is_local() || sr.record.pool != pool.id {
            let problem = "give a shared SR of this pool; the disks of one host say nothing to the others";
            return Err(ApiError::invalid("sr", problem));
        }
        let arms = Arms { sr: sr.id, timing };
        let found = self.db.ha_pools.get(&pool.id).await.map_err(|e| store_error(&e))?;
        let commit = self.require_pool_in(Transaction::new(), pool.id);
        let commit = self.db.srs.require_in(commit, &sr.id, Expect::Present);
        let commit = match &found {
            Some(found) if found.value.arms != arms => {
                let message = format_args!(
                    "high availability of {} is on with other settings; turn it off first (xenith ha disable {})",
                    pool.name, pool.name
                );
                return Err(ApiError::new(Reason::WrongState, message));
            }
            Some(_) => return self.ha_of(pool.id).await,
            None => self.db.ha_pools.insert_in(
                commit,
                &pool.id,
                &HaPoolRecord { arms, priorities: Default::default() },
            ),
        };
        self.db.store.commit(commit).await.map_err(|error| Self::pool_gone(&error, &pool.name))?;
        for (host, _) in self.views.hosts().into_iter().filter(|(_, known)| known.pool == pool.id) {
            self.db.ha_hosts.modify(&host, |kept| kept.rests = false).await.map_err(|e| store_error(&e))?;
        }
        self.ha_of(pool.id).await
    }

    async fn disable(&self, call: &Call, request: HaRef) -> Result<PoolHa, ApiError> {
        let pool = self.find_ha_pool(call, &request.pool)?;
        administers(call, pool.id)?;
        if let Some(found) = self.db.ha_pools.get(&pool.id).await.map_err(|e| store_error(&e))? {
            self.db.ha_pools.delete(&found).await.map_err(|e| store_error(&e))?;
        }
        self.ha_of(pool.id).await
    }

    async fn set_priority(&self, call: &Call, request: SetRestartPriority) -> Result<PoolHa, ApiError> {
        let found = self.find_vm(call, &request.vm, Permission::Provision).await?;
        let (vm, pool, priority) = (found.key, found.value.pool, request.priority);
        let change = |record: &mut HaPoolRecord| {
            if priority == RestartPriority::default() {
                record.priorities.remove(&vm);
            } else {
                record.priorities.insert(vm, priority);
            }
        };
        let changed = self.db.ha_pools.modify(&pool, change).await.map_err(|e| store_error(&e))?;
        if changed.is_none() {
            let message = "high availability of its pool is off; turn it on first (xenith ha enable)";
            return Err(ApiError::new(Reason::WrongState, message));
        }
        let sees = call.caller.sight(Permission::View);
        if sees.covers(Some(pool), []) {
            return self.ha_of(pool).await;
        }
        // Who sees VMs by their tag is told of this one, and not of the pool's hosts.
        let name = found.value.spec.name.to_string();
        Ok(PoolHa { pool, armed: None, hosts: vec![], priorities: vec![HaVm { vm, name, priority }] })
    }
}

impl App {
    /// A pool whose hosts the caller sees.
    fn find_ha_pool(&self, call: &Call, reference: &str) -> Result<Pool, ApiError> {
        let pool = self.find_pool(call, Some(reference))?;
        let sees = call.caller.sight(Permission::View).covers(Some(pool.id), []);
        if sees { Ok(pool) } else { Err(ApiError::not_found("pool", reference)) }
    }

    pub(super) async fn ha_of(&self, pool: PoolId) -> Result<PoolHa, ApiError> {
        let record = self.db.ha_pools.get(&pool).await.map_err(|e| store_error(&e))?;
        let mut hosts = Vec::new();
        for (host, known) in self.views.hosts().into_iter().filter(|(_, known)| known.pool == pool) {
            let kept = self.db.ha_hosts.get(&host).await.map_err(|e| store_error(&e))?;
            hosts.push(self.ha_host(host, &known, kept.map(|kept| kept.value).unwrap_or_default()));
        }
        hosts.sort_by(|a, b| a.name.cmp(&b.name));
        let priorities = record.as_ref().map(|record| record.value.priorities.clone()).unwrap_or_default();
        let named = priorities.into_iter().filter_map(|(vm, priority)| {
            let name = self.views.vm(vm)?.name.to_string();
            Some(HaVm { vm, name, priority })
        });
        let armed = record.map(|record| settings(&record.value.arms));
        Ok(PoolHa { pool, armed, hosts, priorities: named.collect() })
    }

    /// What people have to know of hosts in pools where it is on. A host whose boot a saga ends is left out, and one that is
    /// off because the others do without it.
    pub(crate) async fn ha_wrongs(&self) -> Result<Vec<Wrong>, ApiError> {
        let (pools, _) = self.db.ha_pools.all().await.map_err(|e| store_error(&e))?;
        let name =
            |vm: VmId| self.views.vm(vm).map_or_else(|| vm.to_string(), |known| known.name.to_string());
        let mut wrongs = Vec::new();
        for pool in pools {
            let asleep = value(&self.balance_record(pool.key).await?).asleep;
            for host in self.ha_of(pool.key).await?.hosts {
                let is_asleep = asleep.iter().any(|asleep| asleep.host == host.host);
                if !is_asleep && self.views.host(host.host).is_some_and(|known| !known.is_disarmed()) {
                    wrongs.extend(wrongs_of(&host, pool.key, name));
                }
            }
        }
        Ok(wrongs)
    }

    fn ha_host(&self, host: HostId, known: &HostRecord, kept: HaHostRecord) -> HaHost {
        let state = match (&kept.fenced, &kept.believed, self.ha.verdict(host)) {
            (Some(_), _, _) => HaHostState::Fenced,
            (None, None, _) => HaHostState::Unarmed,
            (None, Some(_), Some(Verdict::Heard)) => HaHostState::Armed,
            (None, Some(_), _) => HaHostState::Suspected,
        };
        let waiting = kept.restart.into_iter().collect();
        HaHost { host, name: known.name.clone(), state, problem: self.ha.problem(host), waiting }
    }
}
