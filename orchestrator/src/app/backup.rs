//! Backups that are there, and bringing them back.

use std::collections::BTreeSet;

use async_trait::async_trait;
use time::OffsetDateTime;
use time::macros::format_description;
use xenith_common_ids::{HostId, IncarnationId, RepositoryId, SagaId, SrId, VdiId, VmId};
use xenith_hypervisor_agent_types::{CdDrive, DiskSpec, NicSpec, VdiSize, VmName};
use xenith_orchestrator_api::backup::BackupApi;
use xenith_orchestrator_api::{Call, Sight};
use xenith_orchestrator_store::Transaction;
use xenith_orchestrator_types::backup::{
    Backup, BackupFiles, BackupRef, CreateBackup, DownloadFiles, DownloadTicket, HoldBackup, ListBackupFiles,
    ListBackups, ListUnprotected, ProveBackup, RestoreBackup, RestoreTarget, UnprotectedVm,
};
use xenith_orchestrator_types::task::TaskStarted;
use xenith_orchestrator_types::{ApiError, ListRequest, Permission, Reason};

use super::App;
use super::begin::{About, free};
use super::vm_spec::validated;
use crate::backup_runner;
use crate::catalogue::{self, Definition};
use crate::errors::store_error;
use crate::model::{BackupRecord, VmRecord};
use crate::placement::Wish;
use crate::protection;
use crate::records;
use crate::sagas::NewVdi;
use crate::sagas::backup_restore::{BackupRestore, Params, Vm};
use crate::sagas::backup_vm::BackupVm;
use crate::sagas::repository_act::Act;

/// A restore on its way to its saga.
pub(super) struct Plan {
    pub params: Params,
    pub commit: Transaction,
    pub title: String,
    pub object: Option<String>,
}

impl App {
    fn sees_backup(&self, sight: &Sight, record: &BackupRecord) -> bool {
        let vm = record.definition.as_ref().and_then(|definition| self.views.vm(definition.vm));
        match vm {
            Some(vm) => sight.covers(Some(vm.pool), &*vm.tags),
            None => *sight == Sight::All,
        }
    }

    async fn view_backup(&self, record: BackupRecord) -> Result<Backup, ApiError> {
        let repository = self.db.repositories.get(&record.repository).await.map_err(|e| store_error(&e))?;
        let key = (record.repository, record.facts.id.clone());
        let proof = self.db.proofs.get(&key).await.map_err(|e| store_error(&e))?;
        let (vm, vm_name) = match &record.definition {
            Some(definition) => (Some(definition.vm), definition.spec.name.to_string()),
            None => (None, record.facts.disks.first().map(|disk| disk.name.clone()).unwrap_or_default()),
        };
        Ok(Backup {
            id: record.facts.id,
            repository: record.repository,
            repository_name: repository.map(|found| found.value.repository.name).unwrap_or_default(),
            vm,
            vm_name,
            created: record.created,
            disks: record.facts.disks,
            held: record.facts.held,
            proof: proof.map(|found| found.value),
        })
    }

    /// The backups among which those are that are asked for: of a VM that is named by its id so many of the newest, by
    /// its name (which others may have had) and without a VM all of the repository, or of all.
    async fn candidates(
        &self,
        of: Option<RepositoryId>,
        vm: Option<(&str, usize)>,
    ) -> Result<Vec<BackupRecord>, ApiError> {
        let found = match (vm.and_then(|(vm, most)| Some((vm.parse().ok()?, most))), of) {
            (Some((vm, most)), Some(of)) => catalogue::of_vm(&self.db, vm, &[of], most).await,
            (Some((vm, most)), None) => catalogue::of_vm(&self.db, vm, &[], most).await,
            (None, Some(of)) => catalogue::of_repository(&self.db, of).await,
            (None, None) => catalogue::all(&self.db).await,
        };
        found.map_err(|e| store_error(&e))
    }

    /// One backup by the first digits of its id.
    pub(super) async fn find_backup(
        &self,
        call: &Call,
        (backup, repository): (&str, Option<&str>),
        permission: Permission,
    ) -> Result<BackupRecord, ApiError> {
        let of = match repository {
            Some(reference) => Some(self.find_repository(reference).await?.key),
            None => None,
        };
        let (sees, may) = (call.caller.sight(Permission::View), call.caller.sight(permission));
        let newest_of = backup.strip_suffix("@latest");
        let mut found = self.candidates(of, newest_of.map(|vm| (vm, 1))).await?;
        found.retain(|record| self.sees_backup(&sees, record));
        match newest_of {
            Some(vm) => {
                found.retain(|record| is_of(record, vm));
                found.sort_by_key(|record| record.created);
                found.drain(..found.len().saturating_sub(1));
            }
            None => found.retain(|record| !backup.is_empty() && record.facts.id.starts_with(backup)),
        }
        if found.len() > 1 {
            let text = "several backups begin with these digits; give more of them, or the repository";
            return Err(ApiError::new(Reason::Ambiguous, text));
        }
        let record = found.pop().ok_or_else(|| ApiError::not_found("backup", backup))?;
        if self.sees_backup(&may, &record) { Ok(record) } else { Err(call.caller.forbidden(permission)) }
    }

    async fn act_on_backup(
        &self,
        call: &Call,
        record: &BackupRecord,
        (act, method, title): (Act, &'static str, String),
    ) -> Result<TaskStarted, ApiError> {
        let found = self.find_repository(&record.repository.to_string()).await?;
        self.act_on(call, &found, (act, method, title)).await
    }

    fn sr_of(&self, host: HostId) -> Result<SrId, ApiError> {
        self.views.host(host).and_then(|record| record.local_sr).ok_or_else(|| {
            ApiError::new(Reason::HostUnreachable, "the host's storage is not known yet; try again")
        })
    }

    /// Back into the disks of the stopped VM that it is of.
    async fn plan_in_place(
        &self,
        call: &Call,
        (record, disks): (&BackupRecord, &[(String, u64)]),
        start: Option<IncarnationId>,
    ) -> Result<(Plan, SagaId), ApiError> {
        let definition = definition(record)?;
        let found = self.find_vm(call, &definition.vm.to_string(), Permission::Provision).await?;
        free(&found.value)?;
        let name = &found.value.spec.name;
        if let Some((_, observed)) = self.fleet.vm(found.key)
            && observed.power.has_domain()
        {
            let message = format_args!("{name} is {}; shut it down or power it off first", observed.power);
            return Err(ApiError::new(Reason::WrongState, message));
        }
        let mut targets = Vec::new();
        for (disk, size) in disks {
            let was = definition.disks.iter().find(|(_, named)| named == disk).map(|(vdi, _)| *vdi);
            let still = was.filter(|vdi| found.value.spec.disks.iter().any(|spec| spec.vdi == *vdi));
            let vdi = still.ok_or_else(|| {
                let text =
                    format_args!("{name} does not have the disk {disk} any more; restore it as a new disk");
                ApiError::new(Reason::WrongState, text)
            })?;
            let vdi = self.find_vdi(call, &vdi.to_string()).await?;
            if vdi.value.size.bytes() < *size {
                return Err(ApiError::new(Reason::WrongState, format_args!("{disk} is larger than its VDI")));
            }
            targets.push((disk.clone(), vdi.key));
        }
        let saga = SagaId::new();
        let held = VmRecord { held_by: Some(saga), ..found.value.clone() };
        let commit = self.db.vms.update_in(Transaction::new(), &found, &held);
        let params = Params {
            proof: None,
            repository: record.repository,
            backup: record.facts.id.clone(),
            host: found.value.host,
            disks: targets,
            new_vdis: vec![],
            vm: Some(Vm { id: found.key, new: None }),
            start,
            instant: false,
            bandwidth: 0,
        };
        let title = format!("Restore {name} to its backup of {}", stamp(record.created));
        Ok((Plan { params, commit, title, object: Some(found.key.to_string()) }, saga))
    }

    /// The host for something new: the one that was asked for, the one where the VM was, or any.
    async fn host_for(
        &self,
        call: &Call,
        request: &RestoreBackup,
        record: &BackupRecord,
    ) -> Result<HostId, ApiError> {
        if let Some(reference) = &request.host {
            return Ok(self.find_host(call, reference).await?.key);
        }
        let was = record.definition.as_ref().and_then(|definition| self.views.vm(definition.vm));
        self.any_host(was.map(|record| record.host))
    }

    fn new_vdis(
        &self,
        (record, disks): (&BackupRecord, &[(String, u64)]),
        host: HostId,
        prefix: &str,
    ) -> Result<Vec<NewVdi>, ApiError> {
        let sr = self.sr_of(host)?;
        let make = |(name, size): &(String, u64)| -> Result<NewVdi, ApiError> {
            let size = VdiSize::from_bytes(size.next_multiple_of(1 << 20)).map_err(ApiError::internal)?;
            let short = name.split('.').nth(1).unwrap_or("disk");
            let name = if prefix.is_empty() {
                format!("{name}-{}", stamp(record.created))
            } else {
                format!("{prefix}-{short}")
            };
            let name = name.chars().take(128).collect();
            Ok(NewVdi { vdi: VdiId::new(), sr, size, name, from: None, seed: None })
        };
        disks.iter().map(make).collect()
    }

    /// New VDIs that no VM has.
    async fn plan_disks(
        &self,
        call: &Call,
        (request, record): (&RestoreBackup, &BackupRecord),
        disks: &[(String, u64)],
    ) -> Result<Plan, ApiError> {
        let host = self.host_for(call, request, record).await?;
        let new_vdis = self.new_vdis((record, disks), host, "")?;
        let mut commit = Transaction::new();
        for new in &new_vdis {
            commit = self.insert_vdi(commit, new, host, None);
        }
        let targets = disks.iter().zip(&new_vdis).map(|((name, _), new)| (name.clone(), new.vdi)).collect();
        let params = Params {
            proof: None,
            repository: record.repository,
            backup: record.facts.id.clone(),
            host,
            disks: targets,
            new_vdis,
            vm: None,
            start: None,
            instant: false,
            bandwidth: 0,
        };
        let title = format!("Restore {} disks of {}", disks.len(), stamp(record.created));
        Ok(Plan { params, commit, title, object: None })
    }

    /// A new VM around new VDIs, with new addresses.
    async fn plan_vm(
        &self,
        call: &Call,
        (request, record): (&RestoreBackup, &BackupRecord),
        disks: &[(String, u64)],
    ) -> Result<(Plan, SagaId), ApiError> {
        let wanted = self.host_for(call, request, record).await?;
        let mut nics = Vec::new();
        for nic in &definition(record)?.spec.nics {
            // A network that is gone takes its NIC along.
            if let Some(network) = self.db.networks.get(&nic.network).await.map_err(|e| store_error(&e))? {
                let new =
                    xenith_orchestrator_types::vm::NewNic { network: network.key.to_string(), mac: None };
                nics.extend(self.nics(call, std::slice::from_ref(&new)).await?);
            }
        }
        self.plan_vm_on(wanted, (request, record), (disks, nics)).await
    }

    /// The same, where it is known which host and which network cards.
    pub(super) async fn plan_vm_on(
        &self,
        wanted: HostId,
        (request, record): (&RestoreBackup, &BackupRecord),
        (disks, nics): (&[(String, u64)], Vec<NicSpec>),
    ) -> Result<(Plan, SagaId), ApiError> {
        let definition = definition(record)?;
        let name = new_name(&request.target, definition, record.created)?;
        let mut spec = definition.spec.clone();
        spec.name = name.clone();
        spec.autostart = None;
        spec.nics = nics;
        // The host's own, and what was in the drive: neither is in a backup.
        spec.hardware.pci.clear();
        spec.hardware.cd = spec.hardware.cd.map(|_| CdDrive::default());
        let wish = Wish {
            memory: if request.start || request.instant { spec.memory.target.mib() } else { 0 },
            vcpus: spec.vcpus.online.get(),
            bridges: spec.nics.iter().map(|nic| nic.bridge.clone()).collect(),
            only: Some(wanted),
            ..Wish::default()
        };
        let (host, _) = self.placed(&wish, |host| host == wanted)?;
        let pool = self.views.host(host).map(|record| record.pool);
        let pool = pool.ok_or_else(|| ApiError::not_found("host", &host.to_string()))?;
        if self.db.vm_names.get(&(name.to_string(), pool)).await.map_err(|e| store_error(&e))?.is_some() {
            let message = format_args!("there is a VM {name} in this pool already; give another name");
            return Err(ApiError::new(Reason::Conflict, message));
        }
        let new_vdis = self.new_vdis((record, disks), host, name.as_str())?;
        spec.disks = disks_of(definition, disks, &new_vdis);
        let spec = validated(spec)?;
        let (id, saga) = (VmId::new(), SagaId::new());
        let vm = VmRecord {
            spec,
            definition: 1,
            description: definition.description.clone(),
            tags: definition.tags.clone(),
            pool,
            host,
            created: OffsetDateTime::now_utc(),
            apart_from: vec![],
            together_with: vec![],
            pending_restart: vec![],
            held_by: Some(saga),
            snapshot: None,
            protection: Default::default(),
            custom: Default::default(),
            standby_of: None,
        };
        let made: BTreeSet<VdiId> = new_vdis.iter().map(|new| new.vdi).collect();
        let mut commit = self.db.vms.insert_in(Transaction::new(), &id, &vm);
        commit = records::follow(&self.db, commit, id, (None, Some(&vm)), &made)
            .await
            .map_err(|e| store_error(&e))?;
        for new in &new_vdis {
            commit = self.insert_vdi(commit, new, host, Some(id));
        }
        let targets = disks.iter().zip(&new_vdis).map(|((name, _), new)| (name.clone(), new.vdi)).collect();
        let params = Params {
            proof: None,
            repository: record.repository,
            backup: record.facts.id.clone(),
            host,
            disks: targets,
            new_vdis,
            vm: Some(Vm { id, new: Some(vm) }),
            start: (request.start || request.instant).then(IncarnationId::new),
            instant: request.instant,
            bandwidth: request.bandwidth,
        };
        let title = format!("Restore {name} from its backup of {}", stamp(record.created));
        Ok((Plan { params, commit, title, object: Some(id.to_string()) }, saga))
    }
}

/// The disks of the definition that are restored, each with its new VDI.
fn disks_of(definition: &Definition, disks: &[(String, u64)], new: &[NewVdi]) -> Vec<DiskSpec> {
    let named = disks.iter().map(|(name, _)| name).zip(new);
    let spec_of = |(name, new): (&String, &NewVdi)| {
        let (old, _) = definition.disks.iter().find(|(_, named)| named == name)?;
        let spec = definition.spec.disks.iter().find(|spec| spec.vdi == *old)?;
        Some(DiskSpec { device: spec.device, vdi: new.vdi, access: spec.access })
    };
    named.filter_map(spec_of).collect()
}

pub(super) fn definition(record: &BackupRecord) -> Result<&Definition, ApiError> {
    record.definition.as_ref().ok_or_else(|| {
        let text = "this backup does not say which VM it is of; restore its disks";
        ApiError::new(Reason::WrongState, text)
    })
}

/// Whether it is a backup of the VM with this name or id.
fn is_of(record: &BackupRecord, vm: &str) -> bool {
    let of = record.definition.as_ref();
    of.is_some_and(|definition| definition.spec.name.as_str() == vm || definition.vm.to_string() == vm)
}

pub(super) fn stamp(at: OffsetDateTime) -> String {
    at.format(format_description!("[year][month][day]-[hour][minute][second]")).unwrap_or_default()
}

fn new_name(
    target: &RestoreTarget,
    definition: &Definition,
    created: OffsetDateTime,
) -> Result<VmName, ApiError> {
    if let RestoreTarget::NewVm { name: Some(name) } = target {
        return Ok(name.clone());
    }
    let suffix = format!("-{}", stamp(created));
    let room = VmName::MAX_LEN - suffix.len();
    let old: String = definition.spec.name.as_str().chars().take(room).collect();
    format!("{old}{suffix}").parse().map_err(|error| ApiError::invalid("target.name", error))
}

#[async_trait]
impl BackupApi for App {
    async fn list(&self, call: &Call, request: ListBackups) -> Result<Vec<Backup>, ApiError> {
        let of = match &request.repository {
            Some(reference) => Some(self.find_repository(reference).await?.key),
            None => None,
        };
        let sight = call.caller.sight(Permission::View);
        let limit = ListRequest { limit: request.limit, ..ListRequest::default() }.effective_limit();
        let mut found = self.candidates(of, request.vm.as_deref().map(|vm| (vm, limit))).await?;
        found.retain(|record| {
            request.vm.as_ref().is_none_or(|vm| is_of(record, vm)) && self.sees_backup(&sight, record)
        });
        found.sort_by(|a, b| (b.created, &b.facts.id).cmp(&(a.created, &a.facts.id)));
        found.truncate(limit);
        let mut backups = Vec::with_capacity(found.len());
        for record in found {
            backups.push(self.view_backup(record).await?);
        }
        Ok(backups)
    }

    async fn get(&self, call: &Call, request: BackupRef) -> Result<Backup, ApiError> {
        let which = (request.backup.as_str(), request.repository.as_deref());
        let record = self.find_backup(call, which, Permission::View).await?;
        self.view_backup(record).await
    }

    async fn unprotected(
        &self,
        call: &Call,
        request: ListUnprotected,
    ) -> Result<Vec<UnprotectedVm>, ApiError> {
        let minutes = i64::from(request.older_than_minutes);
        let older_than = (minutes > 0).then(|| time::Duration::minutes(minutes));
        let sight = call.caller.sight(Permission::View);
        let mut found = protection::unprotected(self, older_than).await?;
        found.retain(|row| self.views.vm(row.vm).is_some_and(|vm| sight.covers(Some(vm.pool), &*vm.tags)));
        Ok(found)
    }

    async fn files(&self, call: &Call, request: ListBackupFiles) -> Result<BackupFiles, ApiError> {
        self.backup_files(call, request).await
    }

    async fn download(&self, call: &Call, request: DownloadFiles) -> Result<DownloadTicket, ApiError> {
        self.backup_download(call, request).await
    }

    async fn create(&self, call: &Call, request: CreateBackup) -> Result<TaskStarted, ApiError> {
        let found = self.find_vm(call, &request.vm, Permission::Operate).await?;
        let mut repositories = Vec::new();
        for reference in &request.repositories {
            repositories.push(self.find_repository(reference).await?.key);
        }
        repositories.sort_unstable();
        repositories.dedup();
        if repositories.is_empty() {
            return Err(ApiError::invalid("repositories", "name at least one"));
        }
        let what = backup_runner::What {
            repositories: &repositories,
            exclude_disks: &request.exclude_disks,
            include_disks: &[],
            bandwidth: 0,
            tags: vec!["by-hand".to_owned()],
        };
        let name = found.value.spec.name.to_string();
        let params = backup_runner::params(self, (found.key, &name), &what).await?;
        let params =
            params.map_err(|why| ApiError::new(Reason::WrongState, format_args!("{name}: {why}")))?;
        let subjects = vec![format!("vm/{}", found.key), format!("host/{}", params.host)];
        let id = found.key.to_string();
        let title = format!("Back up {name}");
        let about = About { method: "backup.create", title, subjects, object: Some(&id) };
        self.begin::<BackupVm>(call, (SagaId::new(), &params), about, Transaction::new()).await
    }

    async fn hold(&self, call: &Call, request: HoldBackup) -> Result<TaskStarted, ApiError> {
        let which = (request.backup.as_str(), request.repository.as_deref());
        let record = self.find_backup(call, which, Permission::Administer).await?;
        let verb = if request.held { "Hold" } else { "Release" };
        let act = Act::Hold { backup: record.facts.id.clone(), held: request.held };
        let title = format!("{verb} the backup of {}", stamp(record.created));
        self.act_on_backup(call, &record, (act, "backup.hold", title)).await
    }

    async fn delete(&self, call: &Call, request: BackupRef) -> Result<TaskStarted, ApiError> {
        let which = (request.backup.as_str(), request.repository.as_deref());
        let record = self.find_backup(call, which, Permission::Administer).await?;
        if record.facts.held {
            return Err(ApiError::new(Reason::WrongState, "this backup is held; release it first"));
        }
        let act = Act::Forget { backups: vec![record.facts.id.clone()] };
        let title = format!("Delete the backup of {}", stamp(record.created));
        self.act_on_backup(call, &record, (act, "backup.delete", title)).await
    }

    async fn prove(&self, call: &Call, request: ProveBackup) -> Result<TaskStarted, ApiError> {
        self.prove_backup(call, request).await
    }

    async fn restore(&self, call: &Call, request: RestoreBackup) -> Result<TaskStarted, ApiError> {
        let which = (request.backup.as_str(), request.repository.as_deref());
        let record = self.find_backup(call, which, Permission::Provision).await?;
        if let Some(unknown) =
            request.disks.iter().find(|name| !record.facts.disks.iter().any(|disk| disk.name == **name))
        {
            return Err(ApiError::not_found("disk in the backup", unknown));
        }
        let wanted = |name: &String| request.disks.is_empty() || request.disks.contains(name);
        let disks: Vec<(String, u64)> = record
            .facts
            .disks
            .iter()
            .filter(|disk| wanted(&disk.name))
            .map(|disk| (disk.name.clone(), disk.size))
            .collect();
        if request.instant && !matches!(request.target, RestoreTarget::NewVm { .. }) {
            let text = "only a new VM can be started before its disks are there";
            return Err(ApiError::invalid("instant", text));
        }
        if request.bandwidth > 0 && !request.instant {
            return Err(ApiError::invalid("bandwidth", "only an instant restore has a limit"));
        }
        let (plan, saga) = match &request.target {
            RestoreTarget::InPlace => {
                let start = request.start.then(IncarnationId::new);
                self.plan_in_place(call, (&record, &disks), start).await?
            }
            RestoreTarget::Disks => {
                (self.plan_disks(call, (&request, &record), &disks).await?, SagaId::new())
            }
            RestoreTarget::NewVm { .. } => self.plan_vm(call, (&request, &record), &disks).await?,
        };
        let mut subjects = vec![format!("host/{}", plan.params.host)];
        subjects.extend(plan.params.vm.as_ref().map(|vm| format!("vm/{}", vm.id)));
        let object = plan.object.as_deref();
        let about = About { method: "backup.restore", title: plan.title, subjects, object };
        self.begin::<BackupRestore>(call, (saga, &plan.params), about, plan.commit).await
    }
}
