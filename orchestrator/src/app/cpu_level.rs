//! The level of CPU features of a pool: who sets it, what its hosts have, and that a host with less is told of.
//!
//! The hosts of a record are written by the look that [`crate::background`] takes every few seconds, and whenever a level
//! is set. A crash between that write and the event loses the event; the status shows the same.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use xenith_common_ids::{HostId, PoolId, VmId};
use xenith_common_text::counted;
use xenith_hypervisor_agent_types::CpuFeatures;
use xenith_orchestrator_api::Call;
use xenith_orchestrator_store::{StoreError, Transaction};
use xenith_orchestrator_types::cpu_level::{CpuLevelMode, CpuLevelStatus, HostCpu, SetCpuLevel};
use xenith_orchestrator_types::event::Severity;
use xenith_orchestrator_types::pool::PoolRef;
use xenith_orchestrator_types::{ApiError, Reason};

use super::App;
use super::find::administers;
use crate::cpu_level::CpuLevelRecord;
use crate::errors::store_error;
use crate::events::Happened;
use crate::placement::{Wish, some_of, unlike};

/// VMs that a plan names; a pool may have ten thousand.
const NAMED: usize = 100;

impl App {
    pub(super) async fn cpu_level_of(
        &self,
        call: &Call,
        request: PoolRef,
    ) -> Result<CpuLevelStatus, ApiError> {
        let pool = self.find_whole_pool(call, &request.pool)?;
        let found = self.db.cpu_levels.get(&pool.id).await.map_err(|error| store_error(&error))?;
        Ok(self.cpu_status(pool.id, found.map(|found| found.value).unwrap_or_default()))
    }

    pub(super) async fn set_cpu_level_of(
        &self,
        call: &Call,
        request: SetCpuLevel,
    ) -> Result<CpuLevelStatus, ApiError> {
        let pool = self.find_pool(call, Some(&request.pool))?;
        administers(call, pool.id)?;
        let found = self.db.cpu_levels.get(&pool.id).await.map_err(|error| store_error(&error))?;
        let mut record = found.as_ref().map(|found| found.value.clone()).unwrap_or_default();
        let before = record.clone();
        record.mode = request.mode;
        record.hosts = self.cpus_of(pool.id, &record);
        if let CpuLevelMode::Set { features } = &record.mode
            && !record.hosts.is_empty()
            && record.hosts.values().all(|host| host.maker() != features.maker())
        {
            let problem = format_args!("no host of {} has processors of {}", pool.name, features.maker());
            return Err(ApiError::invalid("mode", problem));
        }
        if call.dry_run {
            let title = format!("Set the CPU level of {}", pool.name);
            return Err(call.planned(self.planned_level(pool.id, &title, (before, record))));
        }
        let commit = self.require_pool_in(Transaction::new(), pool.id);
        let commit = match &found {
            Some(found) => self.db.cpu_levels.update_in(commit, found, &record),
            None => self.db.cpu_levels.insert_in(commit, &pool.id, &record),
        };
        match self.db.store.commit(commit).await {
            Err(error) if error.is_conflict() => {
                let message = format_args!("{} was changed at the same time; try again", pool.name);
                Err(ApiError::new(Reason::Conflict, message))
            }
            ended => ended.map(|_| self.cpu_status(pool.id, record)).map_err(|error| store_error(&error)),
        }
    }

    /// What another level would change, and for whom only after a restart.
    fn planned_level(
        &self,
        pool: PoolId,
        title: &str,
        (before, after): (CpuLevelRecord, CpuLevelRecord),
    ) -> Value {
        let above = self.run_above(&after);
        let restart = above.iter().take(NAMED).map(|(name, vm)| json!({ "vm": vm, "name": name }));
        let restart: Vec<Value> = restart.collect();
        let before = self.cpu_status(pool, before);
        let after = self.cpu_status(pool, after);
        json!({
            "title": title,
            "levels_before": before.levels,
            "levels": after.levels,
            "hosts": after.hosts,
            "restart_total": above.len(),
            "restart": restart,
        })
    }

    /// VMs that run with more than they would be given now, by name.
    fn run_above(&self, record: &CpuLevelRecord) -> Vec<(String, VmId)> {
        let mut above = Vec::new();
        for (host, features) in &record.hosts {
            for (vm, known) in self.views.vms_of(*host) {
                let Some((_, seen)) = self.fleet.vm(vm).filter(|(_, seen)| seen.power.has_domain()) else {
                    continue;
                };
                if record.is_above(features, seen.cpu_given.as_deref()) {
                    above.push((known.name.to_string(), vm));
                }
            }
        }
        above.sort();
        above
    }

    fn cpu_status(&self, pool: PoolId, mut record: CpuLevelRecord) -> CpuLevelStatus {
        record.hosts = self.cpus_of(pool, &record);
        let levels = record.levels();
        let mut hosts: Vec<HostCpu> = Vec::new();
        for (host, known) in self.views.hosts() {
            if known.pool != pool {
                continue;
            }
            let features = record.hosts.get(&host).copied();
            let level = features.and_then(|features| Some((features, record.level_of(&features)?)));
            hosts.push(HostCpu {
                host,
                name: known.name.clone(),
                features,
                hidden: level.map(|(features, level)| level.lacks(&features)).unwrap_or_default(),
                lacking: level.map(|(features, level)| features.lacks(&level)).unwrap_or_default(),
            });
        }
        hosts.sort_by(|a, b| a.name.cmp(&b.name));
        CpuLevelStatus { pool, mode: record.mode, levels, hosts }
    }

    /// What the hosts of a pool have; those that have not told since the orchestrator began, as `record` has it.
    fn cpus_of(&self, pool: PoolId, record: &CpuLevelRecord) -> BTreeMap<HostId, CpuFeatures> {
        let hosts = self.views.hosts().into_iter().filter(|(_, known)| known.pool == pool);
        let features = |host: HostId| {
            let told = self.fleet.facts(host).and_then(|facts| facts.cpu_features);
            told.or_else(|| record.hosts.get(&host).copied())
        };
        hosts.filter_map(|(host, _)| Some((host, features(host)?))).collect()
    }

    /// Writes down what hosts have, of pools with a level, and tells of those that have less.
    pub async fn look_at_cpu_levels(&self) -> Result<(), StoreError> {
        let (records, _) = self.db.cpu_levels.all().await?;
        for found in records.into_iter().filter(|found| found.value.mode != CpuLevelMode::Off) {
            let hosts = self.cpus_of(found.key, &found.value);
            if hosts == found.value.hosts {
                continue;
            }
            let now = CpuLevelRecord { hosts, ..found.value.clone() };
            let commit = self.db.cpu_levels.update_in(Transaction::new(), &found, &now);
            match self.db.store.commit(commit).await {
                Ok(_) => self.tell_of_lesser(found.key, &found.value, &now).await,
                // Somebody set it meanwhile: looked at again the next time.
                Err(error) if error.is_conflict() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn tell_of_lesser(&self, pool: PoolId, before: &CpuLevelRecord, now: &CpuLevelRecord) {
        let levels = before.levels();
        let changed = now.hosts.iter().filter(|(host, features)| before.hosts.get(*host) != Some(*features));
        for (host, features) in changed {
            let (Some(known), Some(of)) = (self.views.host(*host), self.views.pool(pool)) else { continue };
            let lacking = levels.iter().find(|level| level.maker() == features.maker());
            let lacking = lacking.map(|level| features.lacks(level)).unwrap_or_default();
            let stuck = self.cannot_run_on(pool, *host);
            if lacking.is_empty() && stuck.is_empty() {
                continue;
            }
            let mut said = Vec::new();
            if !lacking.is_empty() {
                let from_now_on = match now.mode {
                    CpuLevelMode::Auto => "; VMs that start from now on get none of it",
                    CpuLevelMode::Off | CpuLevelMode::Set { .. } => "",
                };
                said.push(format!("it lacks {}{from_now_on}", some_of(&lacking)));
            }
            if !stuck.is_empty() {
                let count = counted(stuck.len(), "VM");
                said.push(format!(
                    "{count} cannot move there before they are shut down and started: {}",
                    some_of(&stuck)
                ));
            }
            let message = format!(
                "{} has fewer CPU features than VMs of {} run with: {}",
                known.name,
                of.name,
                said.join(". ")
            );
            let (severity, kind, subject) =
                (Severity::Warning, "pool.cpu_level_lacking", format!("host/{host}"));
            self.events.note(Happened { severity, kind, subject, message, pool: Some(pool) }).await;
        }
    }

    /// The names of VMs of the pool that run elsewhere, and cannot run on, on this host, for its processors.
    fn cannot_run_on(&self, pool: PoolId, host: HostId) -> Vec<String> {
        let machine = |host: HostId| {
            let known = self.views.host(host)?;
            self.host_view(host, &known, BTreeSet::new()).machine
        };
        let here = machine(host);
        let mut names = Vec::new();
        for (other, _) in
            self.views.hosts().into_iter().filter(|(at, known)| *at != host && known.pool == pool)
        {
            let like = machine(other);
            for (vm, known) in self.views.vms_of(other) {
                let Some((_, seen)) = self.fleet.vm(vm).filter(|(_, seen)| seen.power.has_domain()) else {
                    continue;
                };
                let wish =
                    Wish { like: like.clone(), given: seen.cpu_given.as_deref().copied(), ..Wish::default() };
                if unlike(&wish, here.as_ref()).is_some() {
                    names.push(known.name.to_string());
                }
            }
        }
        names.sort();
        names
    }
}
