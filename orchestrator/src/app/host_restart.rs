//! A host that starts anew, or goes off: what speaks against it is told before anything is touched, and its VMs leave.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde_json::json;
use xenith_common_ids::{HostId, SagaId, VmId};
use xenith_hypervisor_agent_types::system::{SystemCommand, SystemReply};
use xenith_orchestrator_api::{Call, Caller};
use xenith_orchestrator_saga::{Outcome, StepError};
use xenith_orchestrator_store::{Record, Transaction};
use xenith_orchestrator_types::ha::RestartPriority;
use xenith_orchestrator_types::host::{EndBoot, EvacuatedVm, HostGuests};
use xenith_orchestrator_types::task::TaskStarted;
use xenith_orchestrator_types::{ApiError, Reason};

use super::App;
use super::begin::About;
use super::host_upgrade::unheld;
use super::pool_balance::mover;
use super::vm_migrate::Evacuating;
use crate::errors::store_error;
use crate::model::HostRecord;
use crate::sagas::host_restart::{HostRestart, Params, Work};
use crate::sagas::host_steps::{Behalf, Guests, Leave, LocalDisks, OnHost, Staying};
use crate::sagas::vm_act::Act;

/// How long a guest may take to shut down with its host, in seconds. One that takes longer runs on, and so does the host.
const GUEST_DOWN_S: u32 = 300;

/// How a saga about a host is begun and called.
pub(super) struct Begin {
    pub saga: SagaId,
    pub method: &'static str,
    pub title: String,
}

pub(super) fn behalf(call: &Call) -> Behalf {
    Behalf { who: call.caller.name.clone(), user: call.caller.user }
}

impl App {
    pub(super) async fn end_boot(
        &self,
        call: &Call,
        request: EndBoot,
        work: Work,
    ) -> Result<TaskStarted, ApiError> {
        let found = self.find_own_host(call, &request.host).await?;
        unheld(&found.value)?;
        self.boot_of(found.key).await?;
        let disks = LocalDisks::from(request.move_disks);
        let moves = match request.guests {
            HostGuests::Evacuate => self.would_leave(call, &found, disks).await,
            HostGuests::Refuse | HostGuests::ShutDown => vec![],
        };
        if request.guests != HostGuests::ShutDown {
            self.nobody_stays(&found, &moves)?;
        }
        let (verb, method) = match work {
            Work::ShutDown => ("Shut down", "host.shutdown"),
            Work::Reboot | Work::Update => ("Reboot", "host.reboot"),
        };
        let title = format!("{verb} {}", found.value.name);
        if call.dry_run {
            let downs = match request.guests {
                HostGuests::ShutDown => self.shutdown_order(found.key).await?.concat(),
                HostGuests::Refuse | HostGuests::Evacuate => vec![],
            };
            let downs: Vec<String> = downs.into_iter().map(|(_, name)| name).collect();
            return Err(call.planned(json!({
                "title": title,
                "maintenance": true,
                "vms": moves,
                "shut_down": downs,
            })));
        }
        let leave = match request.guests {
            HostGuests::Refuse => None,
            HostGuests::Evacuate => Some(disks.leave(behalf(call))),
            HostGuests::ShutDown => Some(Leave::ShutDown(behalf(call))),
        };
        let about = Begin { saga: SagaId::new(), method, title };
        self.begin_restart_of(call, &found, (work, leave), about).await
    }

    pub(super) async fn begin_restart_of(
        &self,
        call: &Call,
        found: &Record<HostId, HostRecord>,
        (work, leave): (Work, Option<Leave>),
        Begin { saga, method, title }: Begin,
    ) -> Result<TaskStarted, ApiError> {
        let (on, hold) = self.taken_by(found, saga);
        let params = Params { on, work, leave };
        let id = found.key.to_string();
        let about = About { method, title, subjects: vec![format!("host/{id}")], object: Some(&id) };
        self.begin::<HostRestart>(call, (saga, &params), about, hold).await
    }

    /// The write that gives a host to a saga, in maintenance.
    pub(super) fn taken_by(&self, found: &Record<HostId, HostRecord>, saga: SagaId) -> (OnHost, Transaction) {
        let HostRecord { name, maintenance, .. } = found.value.clone();
        // What an earlier program left behind when its saga was abandoned would disarm it before its VMs have left.
        let held =
            HostRecord { held_by: Some(saga), disarmed: false, maintenance: true, ..found.value.clone() };
        let hold = self.db.hosts.update_in(Transaction::new(), found, &held);
        (OnHost { host: found.key, name, maintenance }, hold)
    }

    /// Which boot it is in; or why it cannot be told to end it.
    async fn boot_of(&self, host: HostId) -> Result<String, ApiError> {
        match self.asked_of_system(host, SystemCommand::Boot).await? {
            SystemReply::Boot { boot } => Ok(boot),
            other => Err(ApiError::internal(format_args!("the host answered something else: {other:?}"))),
        }
    }

    /// Where the VMs that run on a host would go, or why one stays.
    pub(super) async fn would_leave(
        &self,
        call: &Call,
        found: &Record<HostId, HostRecord>,
        disks: LocalDisks,
    ) -> Vec<EvacuatedVm> {
        let running = self.fleet.state(found.key).map(|state| state.with_domain()).unwrap_or_default();
        let mut moves = self.evacuate_vms(call, found, (Evacuating::Planned, disks)).await;
        moves.retain(|moved| running.contains(&moved.vm));
        self.with_those_that_stay(found.key, &mut moves).await;
        moves
    }

    /// What runs on a host and what it is called: what is restarted last goes down first, all of one priority together.
    async fn shutdown_order(&self, host: HostId) -> Result<Vec<Vec<(VmId, String)>>, ApiError> {
        let running = self.fleet.state(host).map(|state| state.with_domain()).unwrap_or_default();
        let mut order: BTreeMap<std::cmp::Reverse<RestartPriority>, Vec<(VmId, String)>> = BTreeMap::new();
        let pool = self.views.host(host).map(|known| known.pool);
        let priorities = match pool {
            Some(pool) => self.db.ha_pools.get(&pool).await.map_err(|e| store_error(&e))?,
            None => None,
        };
        let priorities = priorities.map(|record| record.value.priorities).unwrap_or_default();
        for (vm, known) in self.views.vms_of(host).into_iter().filter(|(vm, _)| running.contains(vm)) {
            let priority = priorities.get(&vm).copied().unwrap_or_default();
            order.entry(std::cmp::Reverse(priority)).or_default().push((vm, known.name.to_string()));
        }
        for together in order.values_mut() {
            together.sort_by(|(_, a), (_, b)| a.cmp(b));
        }
        Ok(order.into_values().collect())
    }

    /// Begins to shut a VM down; what is done with it already is waited for.
    async fn going_down(&self, call: &Call, vm: VmId) -> Result<Option<SagaId>, ApiError> {
        let Some(found) = self.db.vms.get(&vm).await.map_err(|e| store_error(&e))? else { return Ok(None) };
        if let Some(saga) = found.value.held_by {
            return Ok(Some(saga));
        }
        let act = Act::Shutdown { deadline_s: GUEST_DOWN_S, force: false };
        let task = self.act(call, &vm.to_string(), act, "vm.shutdown").await?.task;
        Ok(Some(SagaId::from_bytes(*task.as_bytes())))
    }

    /// All of one priority. An error says which VM runs on.
    async fn all_down(&self, call: &Call, together: &[(VmId, String)]) -> Result<(), StepError> {
        let mut going = Vec::new();
        for (vm, name) in together {
            match self.going_down(call, *vm).await {
                Ok(saga) => going.extend(saga.map(|saga| (saga, name))),
                Err(error) => return Err(stays(&format!("{name} is not shut down"), error)),
            }
        }
        for (saga, name) in going {
            let ended = self.engine.wait(saga).await;
            match ended.map_err(|error| StepError::retryable(error.to_string()))? {
                // Whether it was that which was waited for, the next look says.
                Some(Outcome::Done) => {}
                Some(
                    Outcome::RolledBack { reason }
                    | Outcome::Parked { reason }
                    | Outcome::Abandoned { reason },
                ) => return Err(StepError::permanent(format!("{name} was not shut down: {reason}"))),
                None => return Err(StepError::retryable("the orchestrator is stopping")),
            }
        }
        Ok(())
    }

    /// Somebody who acts for who began a saga about this host.
    pub(super) async fn acting(
        &self,
        host: HostId,
        behalf: &Behalf,
    ) -> Result<(Call, Record<HostId, HostRecord>), StepError> {
        let found = self.db.hosts.get(&host).await?;
        let found = found.ok_or_else(|| StepError::permanent(format!("host {host} was removed")))?;
        let caller = Caller { user: behalf.user, ..mover(found.value.pool, &behalf.who) };
        Ok((Call::new(caller, None), found))
    }
}

/// What passes by itself is tried again.
pub(super) fn stays(what: &str, error: ApiError) -> StepError {
    let reason = error.reason();
    let why = std::iter::once(error.message).chain(error.data.detail);
    let message = format!("{what}: {}", why.collect::<Vec<_>>().join(": "));
    match reason {
        Reason::ReadOnly | Reason::Throttled | Reason::Conflict | Reason::HostUnreachable => {
            StepError::retryable(message)
        }
        _ => StepError::permanent(message),
    }
}

#[async_trait]
impl Guests for App {
    fn running(&self, host: HostId) -> Vec<VmId> {
        self.fleet.state(host).map(|state| state.with_domain().into_iter().collect()).unwrap_or_default()
    }

    async fn staying(&self, host: HostId) -> Result<Vec<Staying>, StepError> {
        let staying = self.staying_on(host).await;
        staying.map_err(|error| stays("it is not known what runs on the host", error))
    }

    async fn moving(&self, host: HostId) -> Result<Vec<Staying>, StepError> {
        let moving = self.moving_at(host).await;
        moving.map_err(|error| stays("it is not known what moves from the host or there", error))
    }

    async fn move_away(
        &self,
        (saga, host): (SagaId, HostId),
        disks: LocalDisks,
        behalf: &Behalf,
    ) -> Result<(), StepError> {
        let (call, found) = self.acting(host, behalf).await?;
        let name = found.value.name.clone();
        let moved = self.empty_of_running(&call, &found, (saga, disks)).await;
        moved.map_err(|error| stays(&format!("not all VMs can leave {name}"), error))
    }

    async fn shut_down(&self, host: HostId, behalf: &Behalf) -> Result<(), StepError> {
        let (call, _) = self.acting(host, behalf).await?;
        let order = self.shutdown_order(host).await;
        let order = order.map_err(|error| stays("the VMs of the host are not known", error))?;
        for together in order {
            self.all_down(&call, &together).await?;
        }
        Ok(())
    }
}
