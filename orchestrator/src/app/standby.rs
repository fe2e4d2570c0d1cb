//! Standby VMs: making them, bringing them to newer backups, letting them take over.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde_json::json;
use time::OffsetDateTime;
use xenith_common_ids::{IncarnationId, NetworkId, SagaId, TaskId, VdiId, VmId};
use xenith_hypervisor_agent_types::{Quiesce, VdiSize, VmName};
use xenith_orchestrator_api::Call;
use xenith_orchestrator_api::standby::StandbyApi;
use xenith_orchestrator_saga::Meta;
use xenith_orchestrator_store::{Record, Transaction};
use xenith_orchestrator_types::standby::{
    CreateStandby, FailBackStandby, FailOverStandby, Standby, StandbyRef, StandbyStatus,
};
use xenith_orchestrator_types::task::TaskStarted;
use xenith_orchestrator_types::{ApiError, Empty, ListRequest, Page, Permission, Reason};

use super::App;
use super::begin::{About, free, unheld};
use super::listings::backups::StandbyRow;
use super::listings::filtered;
use super::standby_plan::{Followed, Place, Unmapped};
use super::vm::{Fate, SHUTDOWN_S, protected};
use super::vm_new::NewVm;
use crate::backup_runner;
use crate::errors::{saga_error, store_error};
use crate::model::{StandbyRecord, VmRecord};
use crate::sagas::standby_act::{Last, Params, StandbyAct, Stop};
use crate::sagas::vm_create::{Params as CreateParams, VmCreate};

type Vm = Record<VmId, VmRecord>;

/// Both records of a VM that stands by.
struct Found {
    vm: Vm,
    standby: Record<VmId, StandbyRecord>,
}

impl Found {
    fn name(&self) -> &VmName {
        &self.vm.value.spec.name
    }
}

fn wrong_state(message: impl std::fmt::Display) -> ApiError {
    ApiError::new(Reason::WrongState, message)
}

/// `web-1` becomes `web-1-standby`.
fn standby_name(of: &VmName) -> Result<VmName, ApiError> {
    const SUFFIX: &str = "-standby";
    let short: String = of.as_str().chars().take(VmName::MAX_LEN - SUFFIX.len()).collect();
    format!("{short}{SUFFIX}").parse().map_err(|error| ApiError::invalid("name", error))
}

impl App {
    async fn find_standby(
        &self,
        call: &Call,
        reference: &str,
        permission: Permission,
    ) -> Result<Found, ApiError> {
        let vm = self.find_vm(call, reference, permission).await?;
        let standby = self.db.standbys.get(&vm.key).await.map_err(|e| store_error(&e))?;
        let standby = standby
            .ok_or_else(|| wrong_state(format_args!("{} stands by for no other VM", vm.value.spec.name)))?;
        Ok(Found { vm, standby })
    }

    /// Who may let a standby take over may operate both. `None`: the VM was deleted.
    async fn stood_by_for(&self, call: &Call, record: &StandbyRecord) -> Result<Option<Vm>, ApiError> {
        if self.views.vm(record.of).is_none() {
            return Ok(None);
        }
        self.find_vm(call, &record.of.to_string(), Permission::Operate).await.map(Some)
    }

    async fn view_standby(&self, vm: VmId, record: &StandbyRecord) -> Result<Option<Standby>, ApiError> {
        let Some(known) = self.views.vm(vm) else { return Ok(None) };
        let repository = self.db.repositories.get(&record.repository).await.map_err(|e| store_error(&e))?;
        let status = match (&record.holds, known.held_by()) {
            (_, Some(_)) => StandbyStatus::Busy,
            (Some(_), None) => StandbyStatus::Ready,
            (None, None) => StandbyStatus::Incomplete,
        };
        Ok(Some(Standby {
            vm,
            name: known.name.to_string(),
            of: record.of,
            of_name: self.views.vm(record.of).map(|of| of.name.to_string()),
            repository: record.repository,
            repository_name: repository.map(|found| found.value.repository.name).unwrap_or_default(),
            host: known.host,
            status,
            backup: record.holds.as_ref().map(|holds| holds.backup.clone()),
            backup_created: record.holds.as_ref().map(|holds| holds.created),
            newest: self.newest_for(record).await?.map(|backup| backup.created),
            automatic: record.automatic,
            keep_macs: record.keep_macs,
        }))
    }

    /// Refuses a VM that is up, or may be.
    fn surely_off(&self, vm: &Vm, otherwise: &str) -> Result<(), ApiError> {
        let (record, name) = (&vm.value, &vm.value.spec.name);
        if !self.fleet.state(record.host).is_some_and(|state| state.is_heard()) {
            let host = self.views.host(record.host).map(|host| host.name.clone()).unwrap_or_default();
            return Err(wrong_state(format_args!(
                "the host {host} cannot be reached, so nobody knows whether {name} still runs; {otherwise}"
            )));
        }
        match self.fleet.vm(vm.key) {
            Some((_, observed)) if observed.power.has_domain() => {
                Err(wrong_state(format_args!("{name} is {}; {otherwise}", observed.power)))
            }
            _ => Ok(()),
        }
    }

    /// For networks of a VM, by name or id, those that stand for them; `None`: without that card.
    pub(super) async fn mapped_networks(
        &self,
        call: &Call,
        wanted: &BTreeMap<String, String>,
    ) -> Result<Vec<(NetworkId, Option<NetworkId>)>, ApiError> {
        let mut networks = Vec::new();
        for (theirs, ours) in wanted {
            let theirs = self.find_network(call, theirs).await?.key;
            let ours = match ours.as_str() {
                "" => None,
                ours => Some(self.find_network(call, ours).await?.key),
            };
            networks.push((theirs, ours));
        }
        Ok(networks)
    }

    /// VDIs of a VM with their sizes.
    async fn sizes(&self, record: &VmRecord) -> Result<Vec<(VdiId, u64)>, ApiError> {
        let mut sizes = Vec::new();
        for disk in &record.spec.disks {
            let found = self.db.vdis.get(&disk.vdi).await.map_err(|e| store_error(&e))?;
            sizes.extend(found.map(|found| (found.key, VdiSize::bytes(found.value.size))));
        }
        Ok(sizes)
    }

    async fn create_standby(&self, call: &Call, request: CreateStandby) -> Result<TaskStarted, ApiError> {
        let of = self.find_vm(call, &request.vm, Permission::Provision).await?;
        let source = &of.value;
        if source.standby_of.is_some() {
            return Err(wrong_state(format_args!("{} stands by for another VM itself", source.spec.name)));
        }
        let host = self.find_host(call, &request.host).await?;
        let pool = host.value.pool;
        if !call.caller.sight(Permission::Provision).covers(Some(pool), &source.tags) {
            return Err(call.caller.forbidden(Permission::Provision));
        }
        let standby = StandbyRecord {
            of: of.key,
            repository: self.find_repository(&request.repository).await?.key,
            sr: self.sr_on(call, host.key, request.sr.as_deref()).await?,
            networks: self.mapped_networks(call, &request.networks).await?,
            keep_macs: request.keep_macs,
            automatic: true,
            holds: None,
        };
        let name = request.name.map_or_else(|| standby_name(&source.spec.name), Ok)?;
        if self.db.vm_names.get(&(name.to_string(), pool)).await.map_err(|e| store_error(&e))?.is_some() {
            let message = format_args!("there is a VM {name} in this pool already; give another name");
            return Err(ApiError::new(Reason::Conflict, message));
        }
        // As it is now, until there is a backup: what that says comes with the first one.
        let newest = self.newest_for(&standby).await?;
        let followed = match newest.as_ref().and_then(Followed::backup) {
            Some(followed) => followed,
            None => Followed { spec: &source.spec, disks: self.sizes(source).await?, target: None },
        };
        let place =
            Place { name: name.clone(), host: host.key, pool, record: &standby, disks: &[], nics: &[] };
        let shape = self.standby_shape(&place, &followed, Unmapped::Refused).await?;
        let (vm, saga) = (VmId::new(), SagaId::new());
        let record = VmRecord {
            spec: shape.spec,
            definition: 1,
            pool,
            host: host.key,
            created: OffsetDateTime::now_utc(),
            apart_from: vec![],
            pending_restart: vec![],
            held_by: Some(saga),
            snapshot: None,
            protection: Default::default(),
            standby_of: Some(of.key),
            ..source.clone()
        };
        let new = NewVm { vm, record, new_vdis: shape.new_vdis, placement: Default::default() };
        let commit = self.db.standbys.insert_in(self.insert_vm(&new).await?, &vm, &standby);
        let id = vm.to_string();
        let about = About {
            method: "standby.create",
            title: format!("Make {name} stand by for {}", source.spec.name),
            subjects: vec![format!("vm/{id}"), format!("vm/{}", of.key), format!("host/{}", host.key)],
            object: Some(&id),
        };
        let NewVm { record, new_vdis, .. } = new;
        let params = CreateParams { vm, record, new_vdis, start: None, source: None };
        self.begin::<VmCreate>(call, (saga, &params), about, commit).await
    }

    /// What brings a standby to the newest backup; an error says why that cannot be.
    async fn plan_newest(&self, found: &Found) -> Result<(SagaId, Params, Transaction), ApiError> {
        unheld(&found.vm.value)?;
        self.surely_off(&found.vm, "it follows only while it is off: power it off")?;
        let newest = self.newest_for(&found.standby.value).await?;
        let followed = newest.as_ref().and_then(Followed::backup).ok_or_else(|| {
            wrong_state("the repository has no backup yet that it could be brought to; make one first")
        })?;
        let saga = SagaId::new();
        let (follow, _, commit) = self.plan_follow((&found.vm, &found.standby), &followed, saga).await?;
        let params = Params {
            standby: found.vm.key,
            host: found.vm.value.host,
            repository: found.standby.value.repository,
            last: None,
            follow: Some(follow),
            switch: None,
        };
        Ok((saga, params, commit))
    }

    /// On behalf of the backup runner.
    pub(crate) async fn follow_for(&self, who: &str, vm: VmId) -> Result<TaskId, ApiError> {
        let record = self.db.vms.get(&vm).await.map_err(|e| store_error(&e))?;
        let standby = self.db.standbys.get(&vm).await.map_err(|e| store_error(&e))?;
        let both = record.zip(standby).ok_or_else(|| ApiError::not_found("standby", &vm.to_string()))?;
        let found = Found { vm: both.0, standby: both.1 };
        let (saga, params, commit) = self.plan_newest(&found).await?;
        let meta = Meta {
            title: follow_title(&found),
            who: who.to_owned(),
            subjects: vec![format!("vm/{vm}"), format!("host/{}", params.host)],
            labels: [("method".to_owned(), "standby.follow".to_owned())].into(),
        };
        let started = self.engine.start_with::<StandbyAct>(saga, &params, meta, commit).await;
        started.map(|_| TaskId::from(saga)).map_err(|error| saga_error(&error))
    }

    async fn fail_standby_over(
        &self,
        call: &Call,
        request: FailOverStandby,
    ) -> Result<TaskStarted, ApiError> {
        let found = self.find_standby(call, &request.standby, Permission::Operate).await?;
        unheld(&found.vm.value)?;
        let (name, record) = (found.name(), &found.standby.value);
        let Some(behind) = Self::behind(record, OffsetDateTime::now_utc()) else {
            let message = format_args!(
                "the disks of {name} do not hold a whole backup; `xenith standby follow {name}`"
            );
            return Err(wrong_state(message));
        };
        if found.vm.value.protection.start {
            return Err(protected(&found.vm.value, "start"));
        }
        let falling = self.stood_by_for(call, record).await?;
        if let Some(falling) = &falling
            && !request.force
        {
            unheld(&falling.value)?;
            let otherwise = "power it off, or give it over without a loss with `xenith standby fail-back`; if both is \
                             impossible and you know what runs: --force";
            self.surely_off(falling, otherwise)?;
        }
        let switch = self.plan_switch((found.vm.key, &found.vm.value), record, falling.as_ref()).await?;
        let title = format!("Fail over to {name}");
        if call.dry_run {
            let holds = record.holds.as_ref();
            return Err(call.planned(json!({
                "title": title,
                "host": found.vm.value.host,
                "backup": holds.map(|holds| &holds.backup),
                "made": holds.map(|holds| holds.created.to_string()),
                "lost_seconds": behind.whole_seconds(),
                "takes_mac_addresses": record.keep_macs,
                "stands_by_then": falling.as_ref().map(|falling| falling.value.spec.name.to_string()),
            })));
        }
        let saga = SagaId::new();
        let held = VmRecord { held_by: Some(saga), ..found.vm.value.clone() };
        let mut commit = self.db.vms.update_in(Transaction::new(), &found.vm, &held);
        if let Some(falling) = falling.as_ref().filter(|falling| falling.value.held_by.is_none()) {
            let held = VmRecord { held_by: Some(saga), ..falling.value.clone() };
            commit = self.db.vms.update_in(commit, falling, &held);
        }
        self.promise(found.vm.value.host, found.vm.value.spec.memory.target.mib());
        let params = Params {
            standby: found.vm.key,
            host: found.vm.value.host,
            repository: record.repository,
            last: None,
            follow: None,
            switch: Some(switch),
        };
        self.begin_act(call, (saga, params), ("standby.fail_over", title), commit).await
    }

    async fn fail_standby_back(
        &self,
        call: &Call,
        request: FailBackStandby,
    ) -> Result<TaskStarted, ApiError> {
        let found = self.find_standby(call, &request.standby, Permission::Operate).await?;
        let (name, record) = (found.name().clone(), &found.standby.value);
        unheld(&found.vm.value)?;
        self.surely_off(&found.vm, "it takes over only from off: power it off")?;
        if found.vm.value.protection.start {
            return Err(protected(&found.vm.value, "start"));
        }
        let falling = self.stood_by_for(call, record).await?;
        let falling = falling.ok_or_else(|| {
            wrong_state(format_args!(
                "the VM that {name} stands by for was deleted; `xenith standby fail-over {name}`"
            ))
        })?;
        free(&falling.value)?;
        if !self.fleet.state(falling.value.host).is_some_and(|state| state.is_heard()) {
            let other = &falling.value.spec.name;
            let message = format_args!(
                "the host of {other} cannot be reached, so it cannot be backed up; wait, or lose what it wrote since its \
                 last backup with `xenith standby fail-over {name}`"
            );
            return Err(wrong_state(message));
        }
        let last = self.plan_last(&falling, &found, &request).await?;
        let followed =
            Followed { spec: &falling.value.spec, disks: self.sizes(&falling.value).await?, target: None };
        let saga = SagaId::new();
        let (follow, rising, commit) = self.plan_follow((&found.vm, &found.standby), &followed, saga).await?;
        let nothing = StandbyRecord { holds: None, automatic: true, ..record.clone() };
        let mut switch = self.plan_switch((found.vm.key, &rising), &nothing, Some(&falling)).await?;
        if let Some(falling) = &mut switch.falling {
            // It was backed up as it is: nothing of it is lost when it follows.
            falling.standby.automatic = true;
        }
        let held = VmRecord { held_by: Some(saga), ..falling.value.clone() };
        let commit = self.db.vms.update_in(commit, &falling, &held);
        self.promise(rising.host, rising.spec.memory.target.mib());
        let params = Params {
            standby: found.vm.key,
            host: rising.host,
            repository: record.repository,
            last: Some(last),
            follow: Some(follow),
            switch: Some(switch),
        };
        let title = format!("Fail back to {name}");
        self.begin_act(call, (saga, params), ("standby.fail_back", title), commit).await
    }

    /// The last backup of the VM that runs: of all its disks, also those that no job backs up.
    async fn plan_last(
        &self,
        falling: &Vm,
        found: &Found,
        request: &FailBackStandby,
    ) -> Result<Last, ApiError> {
        let name = falling.value.spec.name.to_string();
        let repositories = [found.standby.value.repository];
        let what = backup_runner::What {
            repositories: &repositories,
            exclude_disks: &[],
            include_disks: &[],
            bandwidth: 0,
            tags: vec!["fail-back".to_owned()],
            quiesce: Quiesce::Try,
        };
        let params = backup_runner::params(self, (falling.key, &name), &what).await?;
        let backup = params.map_err(|why| wrong_state(format_args!("{name}: {why}")))?;
        let is_up = self.fleet.vm(falling.key).is_some_and(|(_, observed)| observed.power.has_domain());
        let stop = is_up.then(|| Stop {
            deadline_s: if request.deadline_s == 0 { SHUTDOWN_S } else { request.deadline_s },
            force: request.force,
            incarnation: IncarnationId::new(),
        });
        Ok(Last { stop, backup })
    }

    async fn begin_act(
        &self,
        call: &Call,
        (saga, params): (SagaId, Params),
        (method, title): (&'static str, String),
        commit: Transaction,
    ) -> Result<TaskStarted, ApiError> {
        let id = params.standby.to_string();
        let mut subjects = vec![format!("vm/{id}"), format!("host/{}", params.host)];
        let falling = params.switch.as_ref().and_then(|switch| switch.falling.as_ref());
        subjects.extend(falling.map(|falling| format!("vm/{}", falling.vm)));
        let about = About { method, title, subjects, object: Some(&id) };
        self.begin::<StandbyAct>(call, (saga, &params), about, commit).await
    }
}

fn follow_title(found: &Found) -> String {
    format!("Bring {} to the newest backup", found.name())
}

#[async_trait]
impl StandbyApi for App {
    async fn list(&self, call: &Call, request: ListRequest) -> Result<Page<Standby>, ApiError> {
        let sight = call.caller.sight(Permission::View);
        let (records, _) = self.db.standbys.all().await.map_err(|e| store_error(&e))?;
        let mut rows = Vec::new();
        for record in records {
            let vm = self.views.vm(record.key);
            if vm.is_some_and(|vm| sight.covers(Some(vm.pool), &*vm.tags)) {
                let shown = self.view_standby(record.key, &record.value).await?;
                rows.extend(shown.map(|standby| StandbyRow { host: self.host_name(standby.host), standby }));
            }
        }
        Ok(filtered(rows, &request)?.map(|row| row.standby))
    }

    async fn get(&self, call: &Call, request: StandbyRef) -> Result<Standby, ApiError> {
        let found = self.find_standby(call, &request.standby, Permission::View).await?;
        let shown = self.view_standby(found.vm.key, &found.standby.value).await?;
        shown.ok_or_else(|| ApiError::not_found("standby", &request.standby))
    }

    async fn create(&self, call: &Call, request: CreateStandby) -> Result<TaskStarted, ApiError> {
        self.create_standby(call, request).await
    }

    async fn follow(&self, call: &Call, request: StandbyRef) -> Result<TaskStarted, ApiError> {
        let found = self.find_standby(call, &request.standby, Permission::Operate).await?;
        let (saga, params, commit) = self.plan_newest(&found).await?;
        self.begin_act(call, (saga, params), ("standby.follow", follow_title(&found)), commit).await
    }

    async fn fail_over(&self, call: &Call, request: FailOverStandby) -> Result<TaskStarted, ApiError> {
        self.fail_standby_over(call, request).await
    }

    async fn fail_back(&self, call: &Call, request: FailBackStandby) -> Result<TaskStarted, ApiError> {
        self.fail_standby_back(call, request).await
    }

    async fn release(&self, call: &Call, request: StandbyRef) -> Result<Empty, ApiError> {
        let found = self.find_standby(call, &request.standby, Permission::Provision).await?;
        unheld(&found.vm.value)?;
        let free = VmRecord { standby_of: None, ..found.vm.value.clone() };
        let commit = self.db.vms.update_in(Transaction::new(), &found.vm, &free);
        let commit = self.db.standbys.delete_in(commit, &found.vm.key);
        self.db.store.commit(commit).await.map_err(|e| store_error(&e))?;
        Ok(Empty {})
    }

    async fn delete(&self, call: &Call, request: StandbyRef) -> Result<TaskStarted, ApiError> {
        let found = self.find_standby(call, &request.standby, Permission::Provision).await?;
        unheld(&found.vm.value)?;
        if found.vm.value.protection.delete {
            return Err(protected(&found.vm.value, "delete"));
        }
        self.delete_vm(call, &found.vm, ("standby.delete", Fate::Deleted)).await
    }
}
