//! Updating the hosts of a pool: the order and what speaks against it, which is told before anything is touched, and what
//! the saga asks for on the way ([`crate::sagas::pool_update`]).

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::time::Instant;
use xenith_common_ids::{HostId, PoolId, SagaId, TaskId, VmId};
use xenith_common_text::counted;
use xenith_orchestrator_api::Call;
use xenith_orchestrator_saga::{Outcome, SagaError, StepError};
use xenith_orchestrator_store::Record;
use xenith_orchestrator_types::ha::HaHostState;
use xenith_orchestrator_types::host::EvacuatedVm;
use xenith_orchestrator_types::pool::{HostUpdate, Pool, PoolRef, PoolUpdateStatus, UpdatePool};
use xenith_orchestrator_types::task::TaskStarted;
use xenith_orchestrator_types::{ApiError, Reason};

use super::App;
use super::begin::{About, held};
use super::find::administers;
use super::host_restart::{Begin, behalf, stays};
use super::pool_balance::value;
use super::vdi::checked_source;
use crate::errors::store_error;
use crate::model::{BalanceRecord, HostRecord, PoolUpdateRecord};
use crate::sagas::host_restart::Work;
use crate::sagas::host_steps::LocalDisks;
use crate::sagas::pool_balance::Order;
use crate::sagas::pool_update::{Afterwards, Begun, HostUpdates, Params, PoolUpdate, Target, back_id};

/// How long a host that is back may take until it reaches its SRs and networks again.
const SETTLES: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Whether an update that is under way begins further hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pause {
    On,
    Off,
}

/// A host of a plan.
struct Planned {
    found: Record<HostId, HostRecord>,
    /// What runs there, and where it would go.
    vms: Vec<EvacuatedVm>,
}

/// The order of an update, and who is left out of it.
struct Plan {
    hosts: Vec<Planned>,
    left_out: Vec<(String, String)>,
}

impl Plan {
    fn json(&self) -> Value {
        let host = |(place, planned): (usize, &Planned)| {
            let reason = match planned.vms.len() {
                0 => "no VM runs there".to_owned(),
                1 => "1 VM leaves it first".to_owned(),
                vms => format!("{vms} VMs leave it first"),
            };
            let (id, name) = (planned.found.key, &planned.found.value.name);
            let bytes: u64 = planned.vms.iter().map(|vm| vm.disk_bytes).sum();
            json!({
                "place": place + 1, "host": id, "name": name, "reason": reason, "vms": planned.vms,
                "disk_bytes": bytes,
            })
        };
        let left_out = self.left_out.iter().map(|(name, why)| json!({ "name": name, "why": why }));
        json!({
            "hosts": self.hosts.iter().enumerate().map(host).collect::<Vec<_>>(),
            "left_out": left_out.collect::<Vec<_>>(),
        })
    }

    /// VMs that cannot leave their host. What somebody works on is waited for.
    fn stuck(&self, is_held: impl Fn(VmId) -> bool) -> Vec<String> {
        let of = |planned: &Planned| {
            let host = planned.found.value.name.clone();
            let free = planned.vms.iter().filter(|vm| !is_held(vm.vm));
            let stuck = free.filter_map(|vm| Some((&vm.name, vm.error.as_ref()?)));
            stuck.map(|(vm, why)| format!("{vm} cannot leave {host}: {why}")).collect::<Vec<_>>()
        };
        self.hosts.iter().flat_map(of).collect()
    }
}

impl App {
    pub(super) async fn update_pool(
        &self,
        call: &Call,
        request: UpdatePool,
    ) -> Result<TaskStarted, ApiError> {
        let pool = self.find_pool(call, Some(&request.pool))?;
        administers(call, pool.id)?;
        if let HostUpdate::Image { url } = &request.what {
            checked_source(url, "")?;
        }
        let at_once = self.at_once(&pool, request.at_once).await?;
        let plan = self.update_plan(call, &pool, &request).await?;
        let title = format!("Update {}", pool.name);
        if call.dry_run {
            let mut told = plan.json();
            told["title"] = json!(title);
            told["what"] = json!(request.what);
            told["at_once"] = json!(at_once);
            return Err(call.planned(told));
        }
        let is_held = |vm: VmId| self.views.vm(vm).is_some_and(|known| known.held_by().is_some());
        refuse_stuck(&pool, plan.stuck(is_held))?;
        let found = self.balance_record(pool.id).await?;
        let record = value(&found);
        if let Some(saga) = self.balancing(&record).await? {
            return Err(held(format_args!("the pool {}", pool.name), saga));
        }
        let saga = SagaId::new();
        let update = Some(PoolUpdateRecord { held_by: saga, paused: false });
        let taken = BalanceRecord { update, proposal: None, ..record };
        let hold = self.balance_in(&pool, &found, &taken);
        let target = |planned: Planned| Target { host: planned.found.key, name: planned.found.value.name };
        let hosts: Vec<Target> = plan.hosts.into_iter().map(target).collect();
        let subjects = hosts.iter().map(|target| format!("host/{}", target.host)).collect();
        let afterwards = if request.vms_stay { Afterwards::Stay } else { Afterwards::ComeBack };
        let params = Params {
            pool: pool.id,
            pool_name: pool.name.clone(),
            hosts,
            what: request.what,
            at_once,
            afterwards,
            local_disks: LocalDisks::from(request.move_disks),
            behalf: behalf(call),
        };
        let id = pool.id.to_string();
        let about = About { method: "pool.update", title, subjects, object: Some(&id) };
        self.begin::<PoolUpdate>(call, (saga, &params), about, hold).await
    }

    /// One host has to stay for the VMs; two where high availability is on, of which each sees the other's lease.
    async fn at_once(&self, pool: &Pool, wanted: u32) -> Result<u32, ApiError> {
        let hosts = self.views.hosts().iter().filter(|(_, known)| known.pool == pool.id).count();
        let ha = self.db.ha_pools.get(&pool.id).await.map_err(|e| store_error(&e))?;
        let remain = if ha.is_some() { 2 } else { 1 };
        let most = u32::try_from(hosts.saturating_sub(remain)).unwrap_or(u32::MAX).max(1);
        if wanted > most {
            let message = format_args!(
                "{} has {}, of which {remain} must stay; give 1 to {most}",
                pool.name,
                counted(hosts, "host")
            );
            return Err(ApiError::invalid("at_once", message));
        }
        Ok(wanted.max(1))
    }

    /// The hosts that least leaves, first: what is wrong with the update shows there.
    async fn update_plan(&self, call: &Call, pool: &Pool, request: &UpdatePool) -> Result<Plan, ApiError> {
        let mut wanted = BTreeSet::new();
        for reference in &request.hosts {
            let found = self.find_own_host(call, reference).await?;
            if found.value.pool != pool.id {
                let problem = format_args!("{} is not in the pool {}", found.value.name, pool.name);
                return Err(ApiError::invalid("hosts", problem));
            }
            wanted.insert(found.key);
        }
        let (all, _) = self.db.hosts.all().await.map_err(|e| store_error(&e))?;
        let of_pool = all.into_iter().filter(|host| host.value.pool == pool.id);
        let of_pool = of_pool.filter(|host| wanted.is_empty() || wanted.contains(&host.key));
        let mut plan = Plan { hosts: Vec::new(), left_out: Vec::new() };
        for found in of_pool {
            match self.left_out(&found, &request.what).await {
                Some(why) => plan.left_out.push((found.value.name, why)),
                None => {
                    let disks = LocalDisks::from(request.move_disks);
                    let vms = self.would_leave(call, &found, disks).await;
                    plan.hosts.push(Planned { found, vms });
                }
            }
        }
        let order = |a: &Planned, b: &Planned| {
            (a.vms.len(), &a.found.value.name).cmp(&(b.vms.len(), &b.found.value.name))
        };
        plan.hosts.sort_by(order);
        plan.left_out.sort();
        if plan.hosts.is_empty() {
            let message = format_args!("no host of the pool {} can be updated so", pool.name);
            let mut error = ApiError::new(Reason::WrongState, message);
            error.data.detail = plan.left_out.iter().map(|(name, why)| format!("{name}: {why}")).collect();
            return Err(error);
        }
        Ok(plan)
    }

    /// Why a host is not updated with the others.
    async fn left_out(&self, found: &Record<HostId, HostRecord>, what: &HostUpdate) -> Option<String> {
        if let Some(saga) = found.value.held_by {
            return Some(held(&found.value.name, saga).message);
        }
        match (what, self.system_of(found.key).await) {
            (_, Err(error)) if error.reason() == Reason::HostUnreachable => Some(error.message),
            (HostUpdate::Image { .. }, Err(error)) => Some(error.message),
            (HostUpdate::Packages, Ok(_)) => {
                Some("it was installed from the medium: give it an image".to_owned())
            }
            _ => None,
        }
    }

    pub(super) async fn update_status_of(&self, pool: PoolId) -> Result<PoolUpdateStatus, ApiError> {
        let record = value(&self.balance_record(pool).await?);
        match record.update {
            Some(update) if self.is_under_way(update.held_by).await? => {
                let task = Some(TaskId::from(update.held_by));
                Ok(PoolUpdateStatus { pool, task, paused: update.paused })
            }
            _ => Ok(PoolUpdateStatus { pool, task: None, paused: false }),
        }
    }

    pub(super) async fn pause_pool_update(
        &self,
        call: &Call,
        request: &PoolRef,
        pause: Pause,
    ) -> Result<PoolUpdateStatus, ApiError> {
        let pool = self.find_pool(call, Some(&request.pool))?;
        administers(call, pool.id)?;
        if self.update_status_of(pool.id).await?.task.is_none() {
            let message = format_args!("the hosts of the pool {} are not being updated", pool.name);
            return Err(ApiError::new(Reason::WrongState, message));
        }
        let paused = pause == Pause::On;
        let change = |record: &mut BalanceRecord| {
            if let Some(update) = &mut record.update {
                update.paused = paused;
            }
        };
        self.db.balances.modify(&pool.id, change).await.map_err(|e| store_error(&e))?;
        self.update_status_of(pool.id).await
    }

    /// A host that was updated before this one is armed again for high availability, where that is on: no two are away.
    async fn not_armed_yet(&self, place: usize, params: &Params) -> Result<Option<String>, StepError> {
        let ha = self.ha_of(params.pool).await;
        let ha = ha.map_err(|error| stays("high availability is not known", error))?;
        if ha.armed.is_none() {
            return Ok(None);
        }
        for before in &params.hosts[..place] {
            let free =
                self.db.hosts.get(&before.host).await?.is_some_and(|host| host.value.held_by.is_none());
            let armed = ha.hosts.iter().any(|it| it.host == before.host && it.state == HaHostState::Armed);
            if free && !armed {
                return Ok(Some(format!("{} is not armed again for high availability", before.name)));
            }
        }
        Ok(None)
    }

    /// One that is back is free, and takes VMs.
    async fn until_free(&self, host: HostId, saga: SagaId) {
        let deadline = Instant::now() + SETTLES;
        let is_held = || self.views.host(host).is_some_and(|known| known.held_by == Some(saga));
        while is_held() && Instant::now() < deadline {
            tokio::time::sleep(LOOK_EVERY / 10).await;
        }
    }

    /// Begins to move a VM back. `None`: it is there.
    async fn begin_return(
        &self,
        call: &Call,
        (vm, saga): (VmId, SagaId),
        to: &Target,
        (disks, deadline): (LocalDisks, Instant),
    ) -> Result<Option<SagaId>, ApiError> {
        loop {
            let Some(found) = self.db.vms.get(&vm).await.map_err(|e| store_error(&e))? else {
                return Ok(None);
            };
            if found.value.host == to.host {
                return Ok(None);
            }
            let along = if self.has_local_disks(&found.value) { disks } else { LocalDisks::Stay };
            let name = found.value.spec.name.to_string();
            let (from, to_name) = (found.value.host, to.name.clone());
            let order = Order { vm, name, from, to: to.host, to_name };
            match self.move_by_plan(call, saga, &order, along).await {
                Ok(_) => return Ok(Some(saga)),
                // Its SRs and networks come back with its agent, and its record is written meanwhile.
                Err(error)
                    if matches!(error.reason(), Reason::NoPlacement | Reason::Conflict)
                        && Instant::now() < deadline => {}
                Err(error) => return Err(error),
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

fn refuse_stuck(pool: &Pool, stuck: Vec<String>) -> Result<(), ApiError> {
    if stuck.is_empty() {
        return Ok(());
    }
    let message = format_args!(
        "{} of the pool {} cannot leave the host; shut down what that is first, or name the hosts that are to be updated",
        counted(stuck.len(), "VM"),
        pool.name
    );
    let mut error = ApiError::new(Reason::WrongState, message);
    error.data.detail = stuck;
    Err(error)
}

fn of_engine(error: &SagaError) -> StepError {
    StepError::retryable(error.to_string())
}

#[async_trait]
impl HostUpdates for App {
    async fn has_begun(&self, saga: SagaId) -> Result<bool, StepError> {
        match self.engine.get(saga).await {
            Ok(_) => Ok(true),
            Err(SagaError::NotFound(_)) => Ok(false),
            Err(error) => Err(of_engine(&error)),
        }
    }

    async fn begin_host(&self, saga: SagaId, place: usize, params: &Params) -> Result<Begun, StepError> {
        if self.has_begun(saga).await? {
            return Ok(Begun::Going);
        }
        let Target { host, name } = &params.hosts[place];
        let (call, found) = match self.acting(*host, &params.behalf).await {
            Ok(acting) => acting,
            Err(StepError::Permanent { message, .. }) => return Ok(Begun::Refused(message)),
            Err(error) => return Err(error),
        };
        if let Some(other) = found.value.held_by {
            return Ok(Begun::NotYet(held(name, other).message));
        }
        let heard = self.fleet.state(*host).is_some_and(|state| state.is_heard());
        if !heard {
            return Ok(Begun::NotYet(format!("{name} is not heard")));
        }
        if let Some(why) = self.not_armed_yet(place, params).await? {
            return Ok(Begun::NotYet(why));
        }
        let leaving = self.would_leave(&call, &found, params.local_disks).await;
        if let Some((vm, why)) = leaving.iter().find_map(|vm| Some((&vm.name, vm.error.as_ref()?))) {
            return Ok(Begun::NotYet(format!("{vm} cannot leave {name}: {why}")));
        }
        let leave = Some(params.local_disks.leave(params.behalf.clone()));
        let title = |verb: &str| format!("{verb} {name}");
        let begun = match &params.what {
            HostUpdate::Image { url } => {
                let begin = Begin { saga, method: "pool.update", title: title("Upgrade") };
                self.begin_upgrade(&call, &found, (url.clone(), leave), begin).await
            }
            HostUpdate::Packages => {
                let begin = Begin { saga, method: "pool.update", title: title("Update") };
                self.begin_restart_of(&call, &found, (Work::Update, leave), begin).await
            }
            HostUpdate::Reboot => {
                let begin = Begin { saga, method: "pool.update", title: title("Reboot") };
                self.begin_restart_of(&call, &found, (Work::Reboot, leave), begin).await
            }
        };
        match begun {
            Ok(_) => Ok(Begun::Going),
            Err(error) => match stays(&format!("{name} is not updated"), error) {
                passing @ StepError::Retryable { .. } => Err(passing),
                other => Ok(Begun::Refused(other.to_string())),
            },
        }
    }

    fn progress_of(&self, saga: SagaId) -> Option<String> {
        self.engine.progress(saga).map(|progress| progress.message).filter(|message| !message.is_empty())
    }

    async fn wait_for_host(&self, saga: SagaId) -> Result<Option<Outcome>, StepError> {
        self.engine.wait(saga).await.map_err(|error| of_engine(&error))
    }

    async fn bring_back(
        &self,
        saga: SagaId,
        place: usize,
        params: &Params,
    ) -> Result<Vec<String>, StepError> {
        let record = self.engine.get(saga).await.map_err(|error| of_engine(&error))?;
        let noted = record.outputs.get("note").cloned().unwrap_or_default();
        let vms: Vec<VmId> = serde_json::from_value(noted).unwrap_or_default();
        let target = &params.hosts[place];
        self.until_free(target.host, saga).await;
        let (call, _) = self.acting(target.host, &params.behalf).await?;
        let deadline = Instant::now() + SETTLES;
        let (mut away, mut coming) = (Vec::new(), Vec::new());
        for vm in vms {
            let back = back_id(saga, vm);
            if self.has_begun(back).await? {
                coming.push((vm, back));
                continue;
            }
            match self.begin_return(&call, (vm, back), target, (params.local_disks, deadline)).await {
                Ok(begun) => coming.extend(begun.map(|back| (vm, back))),
                Err(error) => away.push((vm, error.message)),
            }
        }
        for (vm, back) in coming {
            match self.wait_for_host(back).await? {
                Some(Outcome::Done) => {}
                Some(
                    Outcome::RolledBack { reason }
                    | Outcome::Parked { reason }
                    | Outcome::Abandoned { reason },
                ) => away.push((vm, reason)),
                None => return Err(StepError::retryable("the orchestrator is stopping")),
            }
        }
        let name =
            |vm: VmId| self.views.vm(vm).map_or_else(|| vm.to_string(), |known| known.name.to_string());
        Ok(away
            .into_iter()
            .map(|(vm, why)| format!("{} is not back on {}: {why}", name(vm), target.name))
            .collect())
    }
}
