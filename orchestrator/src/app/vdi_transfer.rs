//! VDIs on their way: copied and moved between SRs and hosts, sent by and given to people.

use serde_json::json;
use xenith_common_ids::{HostId, OperationId, SagaId, VdiId, VmId};
use xenith_common_pki::Peer;
use xenith_hypervisor_agent_api::{Command, CommandResult, Envelope, TransferCommand};
use xenith_hypervisor_agent_types::{Power, VdiSize};
use xenith_orchestrator_api::Call;
use xenith_orchestrator_store::{Expect, Record, Transaction};
use xenith_orchestrator_types::import::{ImportDisk, UploadTicket};
use xenith_orchestrator_types::snapshot::SnapshotRef;
use xenith_orchestrator_types::sr::SrContent;
use xenith_orchestrator_types::task::TaskStarted;
use xenith_orchestrator_types::vdi::{CopyVdi, ExportVdi, MigrateVdi, UploadVdi, Vdi, VdiDownload, VdiRef};
use xenith_orchestrator_types::{ApiError, Permission, Reason};

use super::App;
use super::begin::{About, free};
use super::vdi::{MadeFor, checked_name, whole};
use crate::authn::{new_secret, secret_hash};
use crate::errors::store_error;
use crate::model::VmRecord;
use crate::sagas::NewVdi;
use crate::sagas::vdi_copy::{Moved, Params as CopyParams, VdiCopy};
use crate::sagas::vdi_upload::{Params as UploadParams, VdiUpload};

/// What the VM does whose disk is moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meanwhile {
    Off,
    Runs,
}

/// A ticket that nobody uses ends.
const TICKET_IDLE: std::time::Duration = std::time::Duration::from_secs(3600);

impl App {
    /// Where a copy of `found` goes: the named host or the one it is on, the named SR or the local one.
    async fn destination(
        &self,
        call: &Call,
        found: &Record<VdiId, Vdi>,
        (host, sr): (Option<&str>, Option<&str>),
    ) -> Result<(HostId, NewVdi), ApiError> {
        let host = match host {
            Some(host) => self.find_host(call, host).await?,
            None => self.find_host(call, &found.value.host.to_string()).await?,
        };
        if !call.caller.sight(Permission::Provision).covers(Some(host.value.pool), []) {
            return Err(call.caller.forbidden(Permission::Provision));
        }
        let sr = self.sr_on(call, host.key, sr).await?;
        let Vdi { name, size, .. } = &found.value;
        let to = NewVdi { vdi: VdiId::new(), sr, size: *size, name: name.clone(), from: None, seed: None };
        Ok((host.key, to))
    }

    pub(super) async fn copy_vdi(&self, call: &Call, request: CopyVdi) -> Result<TaskStarted, ApiError> {
        checked_name(&request.name)?;
        let found = self.find_vdi(call, &request.vdi).await?;
        self.may_provision(call, &found.value)?;
        whole(&found)?;
        self.within_reach(&found.value).await?;
        let to = (request.host.as_deref(), request.sr.as_deref());
        let (host, to) = self.destination(call, &found, to).await?;
        let to = NewVdi { name: request.name, ..to };
        let up = |vm: &VmId| self.fleet.vm(*vm).is_some_and(|(_, observed)| observed.power.has_domain());
        // A copy on its own host keeps a VM that is off from being started; one to another host goes on after
        // interruptions, and must find the same contents.
        let elsewhere = host != found.value.host;
        let of_snapshot = |vm: &VmId| elsewhere || up(vm);
        let snapshot = found.value.attached_to.filter(of_snapshot).map(|vm| (vm, VdiId::new()));
        let saga = SagaId::new();
        let record = self.insert_vdi(Transaction::new(), &to, host, MadeFor::Itself(saga));
        let id = to.vdi.to_string();
        let about = About {
            method: "vdi.copy",
            title: format!("Copy VDI {} as {}", found.value.name, to.name),
            subjects: vec![format!("vdi/{id}"), format!("vdi/{}", found.key), format!("host/{host}")],
            object: Some(&id),
        };
        let authority_pem = self.certificates.authority().certificate_pem().to_owned();
        let revision = Some(found.revision);
        let params = CopyParams {
            from: found.value,
            snapshot,
            to,
            host,
            authority_pem,
            moved: None,
            revision,
            bandwidth: 0,
        };
        self.begin::<VdiCopy>(call, (saga, &params), about, record).await
    }

    pub(super) async fn migrate_vdi(
        &self,
        call: &Call,
        request: MigrateVdi,
    ) -> Result<TaskStarted, ApiError> {
        let found = self.find_vdi(call, &request.vdi).await?;
        self.may_provision(call, &found.value)?;
        whole(&found)?;
        self.within_reach(&found.value).await?;
        let Vdi { name, sr, host: from, .. } = &found.value;
        if let Some(drive) = self.drive_with(found.key) {
            let message = format_args!("it is in the CD drive of {drive}; eject it first");
            return Err(ApiError::new(Reason::WrongState, message));
        }
        let to = (request.host.as_deref(), request.sr.as_deref());
        let (host, to) = self.destination(call, &found, to).await?;
        if (host, to.sr) == (*from, *sr) {
            return Err(ApiError::invalid("sr", format_args!("{name} is there already")));
        }
        let (snapshots, _) = self.db.snapshots.all().await.map_err(|e| store_error(&e))?;
        let kept = snapshots.iter().find(|one| one.value.disks.iter().any(|disk| disk.vdi == found.key));
        if let Some(snapshot) = kept {
            let message = format_args!(
                "the snapshot {} is of it and stays where it is; delete that first, or copy the VDI",
                snapshot.value.name
            );
            return Err(ApiError::new(Reason::WrongState, message));
        }
        let of = match self.vm_that_has(&found.value, host).await? {
            Some((record, Meanwhile::Runs)) => {
                return self.move_running(call, (found, record), (to, request.bandwidth)).await;
            }
            Some((record, Meanwhile::Off)) => Some(record),
            None => None,
        };
        let saga = SagaId::new();
        let mut commit = self.insert_vdi(Transaction::new(), &to, host, MadeFor::Itself(saga));
        commit = self.db.vdis.require_in(commit, &found.key, Expect::At(found.revision));
        let mut subjects =
            vec![format!("vdi/{}", found.key), format!("vdi/{}", to.vdi), format!("host/{host}")];
        let mut vm = None;
        if let Some(record) = of {
            let id = record.key;
            let held = VmRecord { held_by: Some(saga), ..record.value.clone() };
            commit = self.db.vms.update_in(commit, &record, &held);
            subjects.push(format!("vm/{id}"));
            vm = Some((id, record.value.definition, record.value.spec.clone()));
        }
        let title = format!("Move VDI {name}");
        if call.dry_run {
            let of = vm.as_ref().map(|(_, _, spec)| format!("{}: its disk is the new VDI then", spec.name));
            return Err(call.planned(json!({
                "title": title,
                "size": to.size,
                "from": { "host": from, "sr": sr, "vdi": found.key },
                "to": { "host": host, "sr": to.sr },
                "vm": of,
                "made": ["a VDI with a new id, which has the name and the contents of this one"],
                "lost": ["this VDI and its id, once all of it is there"],
            })));
        }
        let id = to.vdi.to_string();
        let about = About { method: "vdi.migrate", title, subjects, object: Some(&id) };
        let authority_pem = self.certificates.authority().certificate_pem().to_owned();
        let moved = Some(Moved { vm });
        let (revision, bandwidth) = (Some(found.revision), request.bandwidth);
        let params = CopyParams {
            from: found.value,
            snapshot: None,
            to,
            host,
            authority_pem,
            moved,
            revision,
            bandwidth,
        };
        self.begin::<VdiCopy>(call, (saga, &params), about, commit).await
    }

    /// Whose disk it is, if that may be moved.
    async fn vm_that_has(
        &self,
        vdi: &Vdi,
        to: HostId,
    ) -> Result<Option<(Record<VmId, VmRecord>, Meanwhile)>, ApiError> {
        let Some(id) = vdi.attached_to else { return Ok(None) };
        let record = self.db.vms.get(&id).await.map_err(|e| store_error(&e))?;
        let record = record.ok_or_else(|| ApiError::not_found("VM", &id.to_string()))?;
        let meanwhile = self.may_move_disk_of(&record, to)?;
        Ok(Some((record, meanwhile)))
    }

    fn may_move_disk_of(&self, vm: &Record<VmId, VmRecord>, to: HostId) -> Result<Meanwhile, ApiError> {
        let record = &vm.value;
        free(record)?;
        let name = &record.spec.name;
        if record.protection.migration {
            return Err(super::vm::protected(record, "migration"));
        }
        if record.host != to {
            let message = format_args!("it is a disk of {name}, which needs its disks on its own host");
            return Err(ApiError::new(Reason::WrongState, message));
        }
        match self.fleet.vm(vm.key) {
            Some((_, observed)) if observed.power == Power::Running => Ok(Meanwhile::Runs),
            Some((_, observed)) if observed.power.has_domain() => {
                let message = format_args!(
                    "{name} is {}; let it run or shut it down first, or copy the VDI",
                    observed.power
                );
                Err(ApiError::new(Reason::WrongState, message))
            }
            _ => Ok(Meanwhile::Off),
        }
    }

    pub(super) async fn upload_vdi(&self, call: &Call, request: UploadVdi) -> Result<TaskStarted, ApiError> {
        checked_name(&request.name)?;
        let host = self.find_host(call, &request.host).await?;
        if !call.caller.sight(Permission::Provision).covers(Some(host.value.pool), []) {
            return Err(call.caller.forbidden(Permission::Provision));
        }
        if request.capacity == 0 {
            return Err(ApiError::invalid("capacity", "an empty disk need not be sent"));
        }
        let sr = self.sr_on(call, host.key, request.sr.as_deref()).await?;
        let size =
            VdiSize::holding(request.capacity).map_err(|error| ApiError::invalid("capacity", error))?;
        let vdi = NewVdi { vdi: VdiId::new(), sr, size, name: request.name, from: None, seed: None };
        let saga = SagaId::new();
        let record = self.insert_vdi(Transaction::new(), &vdi, host.key, MadeFor::Itself(saga));
        let id = vdi.vdi.to_string();
        let about = About {
            method: "vdi.upload",
            title: format!("Receive VDI {}", vdi.name),
            subjects: vec![format!("vdi/{id}"), format!("host/{}", host.key)],
            object: Some(&id),
        };
        let params = UploadParams { host: host.key, vdi, capacity: request.capacity };
        self.begin::<VdiUpload>(call, (saga, &params), about, record).await
    }

    pub(super) async fn upload_ticket(&self, call: &Call, request: VdiRef) -> Result<UploadTicket, ApiError> {
        let found = self.find_vdi(call, &request.vdi).await?;
        self.may_provision(call, &found.value)?;
        let vdi = &found.value;
        let ticket = new_secret()?;
        let port = self.imports.port(vdi.host);
        let waits = self.imports.set_ticket(vdi.id, secret_hash(&ticket));
        let port = port.filter(|_| waits).ok_or_else(|| {
            let message =
                "no upload of it is open, or its host has not said yet where it takes them; try again";
            ApiError::new(Reason::WrongState, message)
        })?;
        // The saga tells the host; whoever has the ticket need not wait for its next round.
        self.imports.nudge();
        let (address, server_name, authority_pem) = self.way_to(vdi.host, port)?;
        let disks =
            vec![ImportDisk { name: vdi.name.clone(), vdi: vdi.id, capacity: vdi.size.bytes(), done: 0 }];
        Ok(UploadTicket { ticket, address, server_name, authority_pem, disks })
    }

    pub(super) async fn export_vdi(&self, call: &Call, request: ExportVdi) -> Result<VdiDownload, ApiError> {
        let found = self.find_vdi(call, &request.vdi).await?;
        self.may_provision(call, &found.value)?;
        whole(&found)?;
        self.within_reach(&found.value).await?;
        let host = found.value.host;
        let (vdi, size) = match &request.snapshot {
            None => (found.key, found.value.size),
            Some(snapshot) => self.kept_of(call, &found.value, snapshot).await?,
        };
        let client = self.fleet.client(host);
        let client = client.ok_or_else(|| ApiError::new(Reason::HostUnreachable, "the host was removed"))?;
        let ticket = new_secret()?;
        let command =
            TransferCommand::OpenDownload { vdi, ticket_hash: secret_hash(&ticket), idle: TICKET_IDLE };
        let envelope = Envelope {
            operation: OperationId::new(),
            epoch: self.fleet.epoch(),
            command: Command::Transfer(command),
        };
        let answer = client.execute(&envelope).await.map_err(|error| crate::errors::agent_error(&error))?;
        let CommandResult::UploadOpen(open) = answer else {
            return Err(ApiError::internal("the host answered something else"));
        };
        let (address, server_name, authority_pem) = self.way_to(host, open.port)?;
        Ok(VdiDownload { vdi, size, ticket, address, server_name, authority_pem })
    }

    /// What a snapshot keeps a VDI's contents as, and how many there are.
    async fn kept_of(&self, call: &Call, vdi: &Vdi, snapshot: &str) -> Result<(VdiId, VdiSize), ApiError> {
        let vm = vdi.attached_to.map(|vm| vm.to_string());
        let reference = SnapshotRef { snapshot: snapshot.to_owned(), vm };
        let (found, _) = self.find_snapshot(call, &reference, Permission::View).await?;
        let kept = found.value.disks.iter().find(|disk| disk.vdi == vdi.id).ok_or_else(|| {
            ApiError::invalid("snapshot", format_args!("{snapshot:?} holds nothing of VDI {}", vdi.name))
        })?;
        Ok((kept.snapshot, kept.size))
    }

    /// Address, name in its certificate, and who signed that.
    fn way_to(&self, host: HostId, port: u16) -> Result<(String, String, String), ApiError> {
        let record = self.views.host(host);
        let record = record.ok_or_else(|| ApiError::new(Reason::HostUnreachable, "the host was removed"))?;
        Ok((
            record.at(port),
            Peer::Host(host).server_name().to_str().into_owned(),
            self.certificates.authority().certificate_pem().to_owned(),
        ))
    }

    /// Refuses an SR that is for ISO images only.
    pub(super) async fn not_a_library(&self, sr: xenith_common_ids::SrId) -> Result<(), ApiError> {
        if self.sr_record(sr).await?.is_some_and(|sr| sr.content == SrContent::Iso) {
            return Err(ApiError::invalid("sr", "is a library of ISO images; an empty disk is none"));
        }
        Ok(())
    }
}
