//! Where a VM can move to, and that it does. What speaks against it is told before anything is touched.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::json;
use xenith_common_ids::{HostId, IncarnationId, SagaId, VmId};
use xenith_hypervisor_agent_types::{PlatformKind, Power};
use xenith_orchestrator_api::Call;
use xenith_orchestrator_saga::{Outcome, Saga, SagaError, SagaRecord};
use xenith_orchestrator_store::{Expect, Record, Transaction};
use xenith_orchestrator_types::host::{EvacuateHost, EvacuatedVm, Evacuation};
use xenith_orchestrator_types::task::TaskStarted;
use xenith_orchestrator_types::vm::{MigrateVm, Placement};
use xenith_orchestrator_types::{ApiError, Permission, Reason};

use super::App;
use super::begin::{About, free, held};
use super::vm::protected;
use super::vm_disks_go::{DisksGo, Going};
use super::vm_spec::Disks;
use crate::errors::{saga_error, store_error};
use crate::model::{HostRecord, VmRecord};
use crate::placement::{HostView, NeededSr, Wish, company};
use crate::sagas::backup_restore::BackupRestore;
use crate::sagas::host_steps::{LocalDisks, MOVES, leave_id};
use crate::sagas::mirror::Rest;
use crate::sagas::pool_balance::Order;
use crate::sagas::vm_migrate::{Params, VmMigrate};

/// Sagas that have not ended, read at a time.
const PAGE: usize = 500;

/// Whether VMs are moved, or only their places looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Evacuating {
    Planned,
    Begun,
}

/// One that can be begun.
struct Migration {
    found: Record<VmId, VmRecord>,
    to: HostId,
    placement: Placement,
    /// Of a VM that runs on.
    run: Option<IncarnationId>,
    wish: Wish,
    /// Disks that go along.
    going: Going,
    bandwidth: u64,
}

impl App {
    pub(super) async fn migrate_vm(&self, call: &Call, request: MigrateVm) -> Result<TaskStarted, ApiError> {
        let found = self.find_vm(call, &request.vm, Permission::Provision).await?;
        let mut views = self.host_views();
        if let Some(reference) = &request.host {
            let host = self.find_host(call, reference).await?;
            if !call.caller.sight(Permission::Provision).covers(Some(host.value.pool), []) {
                return Err(call.caller.forbidden(Permission::Provision));
            }
            if host.key == found.value.host {
                let problem = format_args!("{} is there already", found.value.spec.name);
                return Err(ApiError::invalid("host", problem));
            }
            views.retain(|view| view.host == host.key);
        }
        let migration = self.migration(call, found, &views, &DisksGo::from(&request)).await?;
        if call.dry_run {
            let Migration { found, to, placement, run, going, bandwidth, .. } = &migration;
            return Err(call.planned(json!({
                "title": self.title_of(&migration),
                "from": found.value.host,
                "to": to,
                "how": how(*run, going),
                "along": self.told_of_going(going, *bandwidth),
                "placement": placement,
            })));
        }
        self.begin_migration(call, migration, (SagaId::new(), "vm.migrate")).await
    }

    fn title_of(&self, migration: &Migration) -> String {
        let name =
            self.views.host(migration.to).map_or_else(|| migration.to.to_string(), |host| host.name.clone());
        format!("Move {} to {name}", migration.found.value.spec.name)
    }

    /// Checks everything, and chooses among `views`.
    async fn migration(
        &self,
        call: &Call,
        found: Record<VmId, VmRecord>,
        views: &[HostView],
        disks: &DisksGo,
    ) -> Result<Migration, ApiError> {
        let record = &found.value;
        free(record)?;
        if record.protection.migration {
            return Err(protected(record, "migration"));
        }
        let run = self.run_to_move(&found)?;
        self.nothing_comes_in(&found).await?;
        let mut wish = Wish {
            vcpus: record.spec.vcpus.online.get(),
            pool: Some(record.pool),
            bridges: record.spec.nics.iter().map(|nic| nic.bridge.clone()).collect(),
            apart_from: record.apart_from.iter().copied().collect(),
            together_with: record.together_with.iter().copied().collect(),
            srs: match disks {
                DisksGo::No => self.srs_of(found.key, record).await?,
                DisksGo::Yes { sr, .. } => self.srs_without_disks(call, &found, sr.as_deref()).await?,
            },
            not: Some(record.host),
            ..Wish::default()
        };
        if run.is_some() {
            wish.memory = record.spec.memory.target.mib();
            let here = self.views.host(record.host);
            let here = here.map(|host| self.host_view(record.host, &host, BTreeSet::new()));
            wish.like = here.and_then(|view| view.machine);
            let seen = self.fleet.vm(found.key);
            wish.given = seen.and_then(|(_, seen)| seen.cpu_given.as_deref().copied());
        }
        let (to, placement) = Self::placed_among(&wish, views, self.visible_hosts(call))?;
        let (going, bandwidth) = match disks {
            DisksGo::No => (Vec::new(), 0),
            DisksGo::Yes { sr, bandwidth } => {
                (self.disks_that_go(call, record, (to, sr.as_deref())).await?, *bandwidth)
            }
        };
        Ok(Migration { found, to, placement, run, wish, going, bandwidth })
    }

    /// The run that goes along, if there is one; or why the VM cannot move as it is.
    fn run_to_move(&self, found: &Record<VmId, VmRecord>) -> Result<Option<IncarnationId>, ApiError> {
        let record = &found.value;
        let name = &record.spec.name;
        let refuse = |message: std::fmt::Arguments<'_>| Err(ApiError::new(Reason::WrongState, message));
        if !record.spec.hardware.pci.is_empty() {
            return refuse(format_args!(
                "{name} has PCI devices of its host; take them from it first (xenith vm update), or leave it there"
            ));
        }
        let Some((host, observed)) = self.fleet.vm(found.key) else {
            let message = format_args!(
                "nobody knows whether {name} runs: its host is not heard, or has not told of it yet; try again"
            );
            return Err(ApiError::new(Reason::HostUnreachable, message));
        };
        if host != record.host {
            return refuse(format_args!(
                "{name} is on another host than is recorded; look at `xenith orphan list`"
            ));
        }
        match observed.power {
            Power::Stopped | Power::Crashed if observed.domid.is_none() => Ok(None),
            Power::Running if record.spec.platform.kind() == PlatformKind::Pv => refuse(format_args!(
                "{name} is a pv guest, which this Xen cannot copy while it runs; shut it down and move it then"
            )),
            Power::Running => match observed.incarnation {
                Some(run) => Ok(Some(run)),
                None => refuse(format_args!("{name} is not known to its host any more; shut it down first")),
            },
            Power::Paused => {
                refuse(format_args!("{name} is paused; unpause it first: its guest helps to move it"))
            }
            Power::Suspended => refuse(format_args!(
                "{name} is suspended, and its memory is on its host's disk; resume it first, or power it off with the \
                 loss of that memory: xenith vm power-off {name} --discard-memory"
            )),
            power => refuse(format_args!("{name} is {power}; wait until that is over, or power it off")),
        }
    }

    /// Refuses while one of its disks is being filled or changed by an operation that does not hold the VM.
    pub(super) async fn nothing_comes_in(&self, found: &Record<VmId, VmRecord>) -> Result<(), ApiError> {
        let disks: Vec<String> =
            found.value.spec.disks.iter().map(|disk| format!("vdi/{}", disk.vdi)).collect();
        if disks.is_empty() {
            return Ok(());
        }
        let vm = format!("vm/{}", found.key);
        let comes_in = |record: &SagaRecord| {
            let subjects = &record.meta.subjects;
            let fills = record.kind == BackupRestore::KIND && subjects.contains(&vm);
            fills || subjects.iter().any(|subject| disks.contains(subject))
        };
        match self.unfinished(comes_in).await? {
            Some(saga) => Err(held(format_args!("a disk of {}", found.value.spec.name), saga)),
            None => Ok(()),
        }
    }

    /// Refuses while a VM is on its way to the host or from it: with a host that is forgotten in the middle, nobody could
    /// bring the move to an end, and the VM would stand suspended on the other one.
    pub(super) async fn nothing_moves(&self, host: HostId, name: &str) -> Result<(), ApiError> {
        let subject = format!("host/{host}");
        let moves =
            |record: &SagaRecord| record.kind == VmMigrate::KIND && record.meta.subjects.contains(&subject);
        match self.unfinished(moves).await? {
            Some(saga) => Err(held(name, saga)),
            None => Ok(()),
        }
    }

    /// The oldest saga that has not ended and is wanted.
    async fn unfinished(
        &self,
        wanted: impl Fn(&SagaRecord) -> bool + Send,
    ) -> Result<Option<SagaId>, ApiError> {
        self.first_unfinished(move |saga, record| wanted(record).then_some(saga)).await
    }

    /// What `look` finds first in the sagas that have not ended, parked ones too, the oldest first.
    pub(super) async fn first_unfinished<T>(
        &self,
        mut look: impl FnMut(SagaId, &SagaRecord) -> Option<T> + Send,
    ) -> Result<Option<T>, ApiError> {
        let mut after = None;
        loop {
            let (sagas, next) = self.engine.active(after, PAGE).await.map_err(|e| saga_error(&e))?;
            let found = sagas.iter().find_map(|(saga, record)| look(*saga, record));
            if found.is_some() {
                return Ok(found);
            }
            match next {
                Some(more) => after = Some(more),
                None => return Ok(None),
            }
        }
    }

    /// Where its disks are, what its snapshots keep of them, and the ISO in its drive.
    pub(super) async fn srs_of(&self, vm: VmId, record: &VmRecord) -> Result<Vec<NeededSr>, ApiError> {
        let mut disks = Disks::default();
        let cd = record.spec.hardware.cd.and_then(|cd| cd.vdi);
        for vdi in record.spec.disks.iter().map(|disk| disk.vdi).chain(cd) {
            if let Some(vdi) = self.db.vdis.get(&vdi).await.map_err(|e| store_error(&e))? {
                disks.need(self.reach_of(&vdi.value).await?);
            }
        }
        for snapshot in self.snapshots_of(vm).await? {
            let kept: Vec<_> = snapshot.value.kept().collect();
            for (_, sr) in kept {
                let found = self.sr_record(sr).await?;
                let here =
                    || NeededSr { name: sr.to_string(), hosts: Arc::new(BTreeSet::from([record.host])) };
                disks.need(
                    found.map_or_else(here, |sr| NeededSr { name: sr.name, hosts: Arc::new(sr.hosts) }),
                );
            }
        }
        Ok(disks.srs)
    }

    async fn begin_migration(
        &self,
        call: &Call,
        migration: Migration,
        (saga, method): (SagaId, &'static str),
    ) -> Result<TaskStarted, ApiError> {
        let title = self.title_of(&migration);
        let Migration { found, to, run, wish, going, bandwidth, .. } = migration;
        let record = &found.value;
        let commit = self.takes_in(Transaction::new(), to).await?;
        self.promise(to, wish.memory);
        // A host may have a newer one than an orchestrator that was restored from a backup.
        let on_host = self.fleet.vm(found.key).map_or(0, |(_, seen)| seen.definition);
        let definition = record.definition.max(on_host);
        let held = VmRecord { held_by: Some(saga), definition, ..record.clone() };
        let hold = self.db.vms.update_in(commit, &found, &held);
        let hold = self.with_copies(hold, &going, (to, saga));
        let rest = if run.is_some() { Rest::Sent } else { Rest::Off };
        let params = Params {
            vm: found.key,
            from: record.host,
            to,
            definition,
            spec: record.spec.clone(),
            run,
            authority_pem: self.certificates.authority().certificate_pem().to_owned(),
            mirror: self.mirror_of((found.key, record), going, (to, rest), bandwidth),
        };
        let id = found.key.to_string();
        let subjects = vec![format!("vm/{id}"), format!("host/{}", record.host), format!("host/{to}")];
        self.begin::<VmMigrate>(
            call,
            (saga, &params),
            About { method, title, subjects, object: Some(&id) },
            hold,
        )
        .await
    }

    /// Adds to what begins a move that the host takes VMs in. It was chosen from what the read model knew, and an evacuation has
    /// begun many moves since. A host that goes off says so in its record first, and then waits for the moves that it finds:
    /// either it finds this one, or there is none.
    async fn takes_in(&self, commit: Transaction, to: HostId) -> Result<Transaction, ApiError> {
        let found = self.db.hosts.get(&to).await.map_err(|e| store_error(&e))?;
        match found.filter(|found| !found.value.maintenance) {
            Some(found) => Ok(self.db.hosts.require_in(commit, &to, Expect::At(found.revision))),
            None => Err(ApiError::new(
                Reason::Conflict,
                "the host that was chosen takes no VMs any more: it is in maintenance by now, or was removed; try again",
            )),
        }
    }

    /// One move of a plan, if it can still be made as it was planned.
    pub(super) async fn move_by_plan(
        &self,
        call: &Call,
        saga: SagaId,
        order: &Order,
        disks: LocalDisks,
    ) -> Result<TaskStarted, ApiError> {
        let found = self.find_vm(call, &order.vm.to_string(), Permission::Provision).await?;
        if found.value.host != order.from {
            let message = format_args!("{} is on another host than when this was planned", order.name);
            return Err(ApiError::new(Reason::WrongState, message));
        }
        let there = self.views.host(order.to).ok_or_else(|| ApiError::not_found("host", &order.to_name))?;
        let running = self.fleet.state(order.to).map(|state| state.vms()).unwrap_or_default();
        let running = running.iter().filter(|vm| vm.power.has_domain()).map(|vm| vm.vm).collect();
        let view = self.host_view(order.to, &there, running);
        let migration = self.migration_with(call, found, std::slice::from_ref(&view), disks).await?;
        if company(&migration.wish, &view).0 > 0 {
            let message = format_args!(
                "{} has got one of the VMs that {} is to stay apart from",
                order.to_name, order.name
            );
            return Err(ApiError::new(Reason::WrongState, message));
        }
        self.begin_migration(call, migration, (saga, "pool.balance")).await
    }

    /// It has disks that went along with it, or would have to.
    pub(super) fn has_local_disks(&self, record: &VmRecord) -> bool {
        let Some(local) = self.views.host(record.host).and_then(|host| host.local_sr) else { return false };
        record.spec.disks.iter().any(|disk| self.views.vdi(disk.vdi).is_some_and(|vdi| vdi.sr == local))
    }

    /// As it is; and where that finds no host, with the disks that go along, if they may.
    async fn migration_with(
        &self,
        call: &Call,
        found: Record<VmId, VmRecord>,
        views: &[HostView],
        disks: LocalDisks,
    ) -> Result<Migration, ApiError> {
        let same = found.clone();
        match self.migration(call, found, views, &DisksGo::No).await {
            Err(error) if error.reason() == Reason::NoPlacement && disks == LocalDisks::GoAlong => {
                let along = DisksGo::Yes { sr: None, bandwidth: 0 };
                Box::pin(self.migration(call, same, views, &along)).await
            }
            found => found,
        }
    }

    pub(super) async fn evacuate_host(
        &self,
        call: &Call,
        request: &EvacuateHost,
    ) -> Result<Evacuation, ApiError> {
        let host = self.find_own_host(call, &request.host).await?;
        let disks = LocalDisks::from(request.move_disks);
        if call.dry_run {
            let vms = self.evacuate_vms(call, &host, (Evacuating::Planned, disks)).await;
            let title = format!("Evacuate {}", host.value.name);
            let bytes: u64 = vms.iter().map(|vm| vm.disk_bytes).sum();
            let plan = json!({ "title": title, "maintenance": true, "vms": vms, "disk_bytes": bytes });
            return Err(call.planned(plan));
        }
        self.begin_maintenance(&host).await?;
        let vms = self.evacuate_vms(call, &host, (Evacuating::Begun, disks)).await;
        Ok(Evacuation { host: host.key, vms })
    }

    pub(super) async fn begin_maintenance(&self, host: &Record<HostId, HostRecord>) -> Result<(), ApiError> {
        if !host.value.maintenance {
            let changed = HostRecord { maintenance: true, ..host.value.clone() };
            self.db.hosts.update(host, &changed).await.map_err(|e| store_error(&e))?;
        }
        Ok(())
    }

    /// Largest first: what is large finds a place while there is room.
    pub(super) async fn evacuate_vms(
        &self,
        call: &Call,
        host: &Record<HostId, HostRecord>,
        (how, disks): (Evacuating, LocalDisks),
    ) -> Vec<EvacuatedVm> {
        let mut vms = self.views.vms_of(host.key);
        vms.sort_by(|(_, a), (_, b)| b.memory.cmp(&a.memory).then_with(|| a.name.cmp(&b.name)));
        let mut views = self.host_views();
        let mut told = Vec::with_capacity(vms.len());
        for (vm, known) in vms {
            let begun = (how == Evacuating::Begun).then(SagaId::new);
            let one = self.evacuate_vm(call, vm, &mut views, (begun, disks)).await;
            let name = known.name.to_string();
            told.push(one.unwrap_or_else(|error| EvacuatedVm {
                vm,
                name,
                to: None,
                to_name: None,
                task: None,
                error: Some(error.message),
                detail: error.data.detail,
                disk_bytes: 0,
            }));
        }
        told
    }

    /// Moves what runs on a host and nobody works on. The first that cannot go is the error, with the reasons.
    pub(super) async fn empty_of_running(
        &self,
        call: &Call,
        host: &Record<HostId, HostRecord>,
        (saga, disks): (SagaId, LocalDisks),
    ) -> Result<(), ApiError> {
        let running = self.fleet.state(host.key).map(|state| state.with_domain()).unwrap_or_default();
        let mut vms = self.views.vms_of(host.key);
        vms.retain(|(vm, _)| running.contains(vm));
        vms.sort_by(|(_, a), (_, b)| b.memory.cmp(&a.memory).then_with(|| a.name.cmp(&b.name)));
        let mut views = self.host_views();
        for (vm, known) in vms {
            if self.is_free_on(host.key, vm).await?
                && let Some(leave) = self.next_leave(saga, (vm, &*known.name)).await?
                && let Err(error) = self.evacuate_vm(call, vm, &mut views, (Some(leave), disks)).await
                && self.is_free_on(host.key, vm).await?
            {
                return Err(error);
            }
        }
        Ok(())
    }

    /// It is there, and nobody works on it. What somebody works on is looked at again when that is over.
    async fn is_free_on(&self, host: HostId, vm: VmId) -> Result<bool, ApiError> {
        let found = self.db.vms.get(&vm).await.map_err(|e| store_error(&e))?;
        Ok(found.is_some_and(|found| found.value.held_by.is_none() && found.value.host == host))
    }

    /// The saga that is to move a VM next for `saga`; `None` while one is at its end. An error says how the last one ended.
    async fn next_leave(&self, saga: SagaId, (vm, name): (VmId, &str)) -> Result<Option<SagaId>, ApiError> {
        let mut last = String::new();
        for before in 0..MOVES {
            let leave = leave_id(saga, vm, before);
            let phase = match self.engine.get(leave).await {
                Ok(record) => record.phase,
                Err(SagaError::NotFound(_)) => return Ok(Some(leave)),
                Err(error) => return Err(saga_error(&error)),
            };
            last = match phase.outcome() {
                None => return Ok(None),
                Some(Outcome::Done) => "it was moved, and came back".to_owned(),
                Some(
                    Outcome::RolledBack { reason }
                    | Outcome::Parked { reason }
                    | Outcome::Abandoned { reason },
                ) => reason,
            };
        }
        let message = format_args!(
            "{name} was to move {MOVES} times, and is there still ({last}); move it yourself, or shut it down"
        );
        Err(ApiError::new(Reason::WrongState, message))
    }

    /// Without `begun`, only its place is looked for.
    async fn evacuate_vm(
        &self,
        call: &Call,
        vm: VmId,
        views: &mut [HostView],
        (begun, disks): (Option<SagaId>, LocalDisks),
    ) -> Result<EvacuatedVm, ApiError> {
        let found = self.find_vm(call, &vm.to_string(), Permission::Provision).await?;
        let name = found.value.spec.name.to_string();
        let migration = self.migration_with(call, found, views, disks).await?;
        let to = migration.to;
        let disk_bytes: u64 = migration.going.iter().map(|(found, _)| found.value.size.bytes()).sum();
        let room = (migration.wish.memory, migration.wish.vcpus);
        let task = match begun {
            None => None,
            Some(saga) => Some(self.begin_migration(call, migration, (saga, "host.evacuate")).await?.task),
        };
        let mut to_name = None;
        if let Some(view) = views.iter_mut().find(|view| view.host == to) {
            view.memory_free = view.memory_free.saturating_sub(room.0);
            view.vcpus_used += room.1;
            view.vms.insert(vm);
            to_name = Some(view.name.clone());
        }
        Ok(EvacuatedVm { vm, name, to: Some(to), to_name, task, error: None, detail: vec![], disk_bytes })
    }
}

fn how(run: Option<IncarnationId>, going: &Going) -> &'static str {
    match (run, going.is_empty()) {
        (Some(_), true) => {
            "as it runs: its memory is copied meanwhile, and it stands for a moment at the end"
        }
        (Some(_), false) => {
            "as it runs: its disks and then its memory are copied meanwhile, and it stands for a moment at the end"
        }
        (None, true) => "it is off: its definition moves, and its disks stay where they are",
        (None, false) => "it is off: its disks are copied, and it is held meanwhile",
    }
}
