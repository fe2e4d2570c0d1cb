//! Bringing backups back: into the VM, as a new one, or as disks, on this host or another, in this pool or another.

use std::collections::BTreeSet;

use time::OffsetDateTime;
use time::macros::format_description;
use xenith_common_ids::{HostId, IncarnationId, PoolId, SagaId, SrId, VdiId, VmId};
use xenith_common_text::counted;
use xenith_hypervisor_agent_types::{CdDrive, DiskSpec, NicSpec, VdiSize, VmName};
use xenith_orchestrator_api::Call;
use xenith_orchestrator_store::Transaction;
use xenith_orchestrator_types::backup::{RestoreBackup, RestoreTarget};
use xenith_orchestrator_types::task::TaskStarted;
use xenith_orchestrator_types::{ApiError, Permission, Reason};

use super::App;
use super::begin::{About, free};
use super::standby_plan::Unmapped;
use super::vm_spec::validated;
use crate::catalogue::Definition;
use crate::errors::store_error;
use crate::model::{BackupRecord, VmRecord};
use crate::placement::Wish;
use crate::records;
use crate::sagas::NewVdi;
use crate::sagas::backup_restore::{BackupRestore, Params, Vm};

/// A restore on its way to its saga.
pub(super) struct Plan {
    pub params: Params,
    pub commit: Transaction,
    pub title: String,
    pub object: Option<String>,
}

impl App {
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
        if start.is_some() {
            self.may_start_on(call, found.value.host).await?;
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

    /// A host that was asked for: one on which the caller may make what the backup is of.
    pub(super) async fn host_for(
        &self,
        call: &Call,
        reference: &str,
        record: &BackupRecord,
    ) -> Result<HostId, ApiError> {
        let host = self.find_host(call, reference).await?;
        if makes_in(call, host.value.pool, record) {
            Ok(host.key)
        } else {
            Err(call.caller.forbidden(Permission::Provision))
        }
    }

    /// Where something new goes: the host that was asked for, the one where the VM was, or any; and its SR.
    async fn place_for(
        &self,
        call: &Call,
        request: &RestoreBackup,
        record: &BackupRecord,
    ) -> Result<(HostId, SrId), ApiError> {
        let host = match &request.host {
            Some(reference) => self.host_for(call, reference, record).await?,
            None => {
                let was = record.definition.as_ref().and_then(|definition| self.views.vm(definition.vm));
                let host = self.any_host(was.map(|record| record.host))?;
                // Any is any of all, where the one that the VM was on is away.
                if !makes_in(call, self.pool_of(host)?, record) {
                    let text =
                        "the host where the VM was cannot be reached; wait for it, or name another one";
                    return Err(ApiError::new(Reason::HostUnreachable, text));
                }
                host
            }
        };
        Ok((host, self.sr_on(call, host, request.sr.as_deref()).await?))
    }

    /// New VDIs that no VM has.
    async fn plan_disks(
        &self,
        call: &Call,
        (request, record): (&RestoreBackup, &BackupRecord),
        disks: &[(String, u64)],
    ) -> Result<(Plan, SagaId), ApiError> {
        let (host, sr) = self.place_for(call, request, record).await?;
        let saga = SagaId::new();
        let new_vdis = new_vdis((record, disks), sr, "")?;
        let mut commit = Transaction::new();
        for new in &new_vdis {
            commit = self.insert_vdi(commit, new, host, super::vdi::MadeFor::Itself(saga));
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
        let title = format!("Restore {} of {}", counted(disks.len(), "disk"), stamp(record.created));
        Ok((Plan { params, commit, title, object: None }, saga))
    }

    /// A new VM around new VDIs, with new addresses.
    async fn plan_vm(
        &self,
        call: &Call,
        (request, record): (&RestoreBackup, &BackupRecord),
        disks: &[(String, u64)],
    ) -> Result<(Plan, SagaId), ApiError> {
        let (host, sr) = self.place_for(call, request, record).await?;
        let pool = self.pool_of(host)?;
        let mapped = self.mapped_networks(call, &request.networks).await?;
        let mut nics = Vec::new();
        for nic in &definition(record)?.spec.nics {
            // A network that is gone takes its NIC along.
            let network = self.network_in(pool, &mapped, (nic.network, Unmapped::Refused)).await?;
            if let Some(network) = network {
                nics.push(NicSpec {
                    mac: self.free_mac().await?,
                    network: network.id,
                    bridge: network.bridge,
                });
            }
        }
        self.plan_vm_on((host, sr), (request, record), (disks, nics)).await
    }

    fn pool_of(&self, host: HostId) -> Result<PoolId, ApiError> {
        let record = self.views.host(host).ok_or_else(|| ApiError::not_found("host", &host.to_string()))?;
        Ok(record.pool)
    }

    /// The same, where it is known which host, which SR and which network cards.
    pub(super) async fn plan_vm_on(
        &self,
        (wanted, sr): (HostId, SrId),
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
        let pool = self.pool_of(host)?;
        if self.db.vm_names.get(&(name.to_string(), pool)).await.map_err(|e| store_error(&e))?.is_some() {
            let message = format_args!("there is a VM {name} in this pool already; give another name");
            return Err(ApiError::new(Reason::Conflict, message));
        }
        let new_vdis = new_vdis((record, disks), sr, name.as_str())?;
        spec.disks = disks_of(definition, disks, &new_vdis);
        let spec = validated(spec)?;
        let (id, saga) = (VmId::new(), SagaId::new());
        let vm = VmRecord {
            description: definition.description.clone(),
            tags: definition.tags.clone(),
            held_by: Some(saga),
            ..VmRecord::new(spec, (pool, host))
        };
        let made: BTreeSet<VdiId> = new_vdis.iter().map(|new| new.vdi).collect();
        let mut commit = self.db.vms.insert_in(Transaction::new(), &id, &vm);
        commit = records::follow(&self.db, commit, id, (None, Some(&vm)), &made)
            .await
            .map_err(|e| store_error(&e))?;
        for new in &new_vdis {
            commit = self.insert_vdi(commit, new, host, super::vdi::MadeFor::Vm(id));
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

    pub(super) async fn restore_backup(
        &self,
        call: &Call,
        request: RestoreBackup,
    ) -> Result<TaskStarted, ApiError> {
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
        let in_place = request.target == RestoreTarget::InPlace;
        if in_place && (request.host.is_some() || request.sr.is_some()) {
            return Err(ApiError::invalid("target", "what goes into its VM stays on that one's host and SR"));
        }
        if !request.networks.is_empty() && !matches!(request.target, RestoreTarget::NewVm { .. }) {
            return Err(ApiError::invalid("networks", "only a new VM gets other networks"));
        }
        if request.bandwidth > 0 && !request.instant {
            return Err(ApiError::invalid("bandwidth", "only an instant restore has a limit"));
        }
        let (plan, saga) = match &request.target {
            RestoreTarget::InPlace => {
                let start = request.start.then(IncarnationId::new);
                self.plan_in_place(call, (&record, &disks), start).await?
            }
            RestoreTarget::Disks => self.plan_disks(call, (&request, &record), &disks).await?,
            RestoreTarget::NewVm { .. } => self.plan_vm(call, (&request, &record), &disks).await?,
        };
        if call.dry_run {
            return Err(call.planned(self.restore_told((&request, &record), &plan).await?));
        }
        let mut subjects = vec![format!("host/{}", plan.params.host)];
        subjects.extend(plan.params.vm.as_ref().map(|vm| format!("vm/{}", vm.id)));
        let object = plan.object.as_deref();
        let about = About { method: "backup.restore", title: plan.title, subjects, object };
        self.begin::<BackupRestore>(call, (saga, &plan.params), about, plan.commit).await
    }
}

/// Whether the caller may make in a pool what the backup is of.
fn makes_in(call: &Call, pool: PoolId, record: &BackupRecord) -> bool {
    let tags = record.definition.iter().flat_map(|definition| &definition.tags);
    call.caller.sight(Permission::Provision).covers(Some(pool), tags)
}

fn new_vdis(
    (record, disks): (&BackupRecord, &[(String, u64)]),
    sr: SrId,
    prefix: &str,
) -> Result<Vec<NewVdi>, ApiError> {
    let make = |(name, size): &(String, u64)| -> Result<NewVdi, ApiError> {
        let size = VdiSize::holding(*size).map_err(ApiError::internal)?;
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
