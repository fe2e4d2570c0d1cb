//! Points in time of VMs.

use async_trait::async_trait;
use serde_json::{Value, json};
use time::OffsetDateTime;
use xenith_common_ids::{IncarnationId, SagaId, SnapshotId, VdiId, VmId};
use xenith_hypervisor_agent_types::{DiskAccess, Power, Quiesce, VmSpec};
use xenith_orchestrator_api::Call;
use xenith_orchestrator_api::snapshot::SnapshotApi;
use xenith_orchestrator_store::{Record, Transaction};
use xenith_orchestrator_types::snapshot::{
    CloneSnapshot, CreateSnapshot, ListSnapshots, RevertSnapshot, Snapshot, SnapshotDisk, SnapshotRef,
};
use xenith_orchestrator_types::task::TaskStarted;
use xenith_orchestrator_types::{ApiError, ListRequest, Page, Permission, Reason};

use super::App;
use super::backup_plan::at;
use super::begin::{About, free};
use super::listings::filtered;
use super::listings::storage::SnapshotRow;
use super::snapshot_memory::{create_told, without_memory};
use crate::errors::store_error;
use crate::model::{SnapshotRecord, VmRecord};
use crate::sagas::NewVdi;
use crate::sagas::snapshot_create::{Params as CreateParams, SnapshotCreate};
use crate::sagas::snapshot_delete::{Params as DeleteParams, SnapshotDelete};
use crate::sagas::snapshot_revert::{GoingOn, Params as RevertParams, SnapshotRevert};
use crate::sagas::vm_create::{Params as VmParams, VmCreate};
use crate::{records, snapshots};

/// More would be a mistake of a script, and slow nobody down sooner.
const MOST_PER_VM: usize = 256;

type Found<K, V> = Record<K, V>;

fn api_snapshot(id: SnapshotId, record: SnapshotRecord, current: Option<SnapshotId>) -> Snapshot {
    Snapshot {
        id,
        name: record.name,
        description: record.description,
        vm: record.vm,
        host: record.host,
        parent: record.parent,
        current: current == Some(id),
        created: record.created,
        spec: record.spec,
        disks: record.disks,
        memory: record.memory,
        paused_ms: record.paused_ms,
        consistency: record.quiesced.as_ref().map(|quiesced| quiesced.consistency),
        not_quiesced_because: record.quiesced.and_then(|quiesced| quiesced.because),
    }
}

impl App {
    /// The snapshots of a VM.
    pub(super) async fn snapshots_of(
        &self,
        vm: VmId,
    ) -> Result<Vec<Found<SnapshotId, SnapshotRecord>>, ApiError> {
        snapshots::of_vm(&self.db, vm).await.map_err(|e| store_error(&e))
    }

    /// A snapshot and its VM, for which the caller has `permission`.
    pub(super) async fn find_snapshot(
        &self,
        call: &Call,
        request: &SnapshotRef,
        permission: Permission,
    ) -> Result<(Found<SnapshotId, SnapshotRecord>, Found<VmId, VmRecord>), ApiError> {
        let reference = &request.snapshot;
        let of = match &request.vm {
            Some(vm) => Some(self.find_vm(call, vm, Permission::View).await?.key),
            None => None,
        };
        let id = reference.parse::<SnapshotId>().ok();
        let all = match of {
            Some(vm) => self.snapshots_of(vm).await?,
            None => self.db.snapshots.all().await.map_err(|e| store_error(&e))?.0,
        };
        let wanted = |record: &Found<SnapshotId, SnapshotRecord>| {
            Some(record.key) == id || record.value.name == *reference
        };
        let mut found = Vec::new();
        for record in all.into_iter().filter(wanted) {
            // Of a VM that the caller does not see, there is none.
            match self.find_vm(call, &record.value.vm.to_string(), Permission::View).await {
                Ok(vm) => found.push((record, vm)),
                Err(error) if error.reason() == Reason::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        if found.len() > 1 {
            let message =
                format_args!("several VMs have a snapshot {reference:?}; name the VM, or use the id");
            let mut error = ApiError::new(Reason::Ambiguous, message);
            let shown = |(snapshot, vm): &(Found<SnapshotId, _>, Found<VmId, VmRecord>)| {
                format!("{} (VM {})", snapshot.key, vm.value.spec.name)
            };
            error.data.candidates = found.iter().map(shown).collect();
            return Err(error);
        }
        let (snapshot, _) = found.pop().ok_or_else(|| ApiError::not_found("snapshot", reference))?;
        let vm = self.find_vm(call, &snapshot.value.vm.to_string(), permission).await?;
        Ok((snapshot, vm))
    }

    /// Takes hold of a VM for a saga.
    fn hold(&self, vm: &Found<VmId, VmRecord>, saga: SagaId) -> Result<Transaction, ApiError> {
        free(&vm.value)?;
        let held = VmRecord { held_by: Some(saga), ..vm.value.clone() };
        Ok(self.db.vms.update_in(Transaction::new(), vm, &held))
    }
}

fn subjects(snapshot: SnapshotId, vm: &Found<VmId, VmRecord>) -> Vec<String> {
    vec![format!("snapshot/{snapshot}"), format!("vm/{}", vm.key), format!("host/{}", vm.value.host)]
}

fn made(snapshot: &Found<SnapshotId, SnapshotRecord>) -> Result<(), ApiError> {
    if snapshot.value.paused_ms.is_some() {
        return Ok(());
    }
    let message = format_args!("the snapshot {} is not complete", snapshot.value.name);
    Err(ApiError::new(Reason::WrongState, message))
}

/// What going back to a snapshot would lose, and what it leaves.
fn revert_told(
    title: &str,
    going: Option<&GoingOn>,
    (snapshot, vm): (&Found<SnapshotId, SnapshotRecord>, &VmRecord),
    all: &[Found<SnapshotId, SnapshotRecord>],
) -> Value {
    let taken = at(snapshot.value.created);
    let written = |disk: &SnapshotDisk| {
        format!("what the disk {} ({}) holds now: it is again as it was at {taken}", disk.device, disk.size)
    };
    let mut stays = vec!["memory, CPUs and network cards".to_owned()];
    if going.is_some() {
        stays = vec!["the VM's settings, which are what they were then".to_owned()];
    }
    let others =
        vm.spec.disks.iter().filter(|now| snapshot.value.disks.iter().all(|kept| kept.vdi != now.vdi));
    stays.extend(others.map(|disk| format!("the disk {}, which is not in the snapshot", disk.device)));
    let kept = all.iter().filter(|other| other.key != snapshot.key && other.value.paused_ms.is_some());
    stays.extend(kept.map(|other| {
        format!("the snapshot {} of {}: what it holds is not lost", other.value.name, at(other.value.created))
    }));
    json!({
        "title": title,
        "host": vm.host,
        "back_to": taken,
        "lost": snapshot.value.disks.iter().map(written).collect::<Vec<_>>(),
        "stays": stays,
        "then": match (going, &snapshot.value.memory) {
            (Some(_), _) => "the VM runs, from that instant",
            (None, Some(_)) => "the VM is off; the memory of that instant is left out",
            (None, None) => "the VM is off",
        },
    })
}

#[async_trait]
impl SnapshotApi for App {
    async fn list(&self, call: &Call, request: ListSnapshots) -> Result<Page<Snapshot>, ApiError> {
        let of = match &request.vm {
            Some(vm) => Some(self.find_vm(call, vm, Permission::View).await?.key),
            None => None,
        };
        let sees = call.caller.sight(Permission::View);
        let all = match of {
            Some(vm) => self.snapshots_of(vm).await?,
            None => self.db.snapshots.all().await.map_err(|e| store_error(&e))?.0,
        };
        let mut rows = Vec::new();
        for record in all {
            let Some(vm) = self.views.vm(record.value.vm) else { continue };
            if sees.covers(Some(vm.pool), &*vm.tags) {
                rows.push(SnapshotRow {
                    vm: vm.name.to_string(),
                    host: self.host_name(record.value.host),
                    snapshot: api_snapshot(record.key, record.value, vm.snapshot()),
                });
            }
        }
        let ListSnapshots { filter, sort, limit, cursor, .. } = request;
        let request = ListRequest { filter, sort, limit, cursor };
        Ok(filtered(rows, &request)?.map(|row: SnapshotRow| row.snapshot))
    }

    async fn get(&self, call: &Call, request: SnapshotRef) -> Result<Snapshot, ApiError> {
        let (snapshot, vm) = self.find_snapshot(call, &request, Permission::View).await?;
        Ok(api_snapshot(snapshot.key, snapshot.value, vm.value.snapshot))
    }

    async fn create(&self, call: &Call, request: CreateSnapshot) -> Result<TaskStarted, ApiError> {
        if request.name.trim().is_empty() || request.name.len() > 128 {
            return Err(ApiError::invalid("name", "use 1 to 128 characters"));
        }
        let vm = self.find_vm(call, &request.vm, Permission::Operate).await?;
        let others = self.snapshots_of(vm.key).await?;
        if others.iter().any(|other| other.value.name == request.name) {
            let message = format_args!("{} has a snapshot {:?} already", vm.value.spec.name, request.name);
            return Err(ApiError::new(Reason::Conflict, message));
        }
        if others.len() >= MOST_PER_VM {
            let message = format_args!("{} has {MOST_PER_VM} snapshots; delete some", vm.value.spec.name);
            return Err(ApiError::new(Reason::Conflict, message));
        }
        let mut disks = Vec::new();
        for disk in vm.value.spec.disks.iter().filter(|disk| disk.access == DiskAccess::ReadWrite) {
            let vdi = self.db.vdis.get(&disk.vdi).await.map_err(|e| store_error(&e))?;
            let vdi = vdi.ok_or_else(|| ApiError::not_found("VDI", &disk.vdi.to_string()))?.value;
            let (device, snapshot) = (disk.device, VdiId::new());
            disks.push(SnapshotDisk { device, vdi: vdi.id, snapshot, sr: vdi.sr, size: vdi.size });
        }
        if disks.is_empty() {
            let message = format_args!("{} has no disks that it writes", vm.value.spec.name);
            return Err(ApiError::new(Reason::WrongState, message));
        }
        let memory = self.memory_to_keep(&vm, &request, &disks)?;
        let title = format!("Snapshot {} as {}", vm.value.spec.name, request.name);
        if call.dry_run {
            free(&vm.value)?;
            return Err(call.planned(create_told(&title, (&vm.value, disks.as_slice()), memory.as_ref())));
        }
        let quiesce = if request.memory { Quiesce::Never } else { request.quiesce };
        let (snapshot, saga) = (SnapshotId::new(), SagaId::new());
        let record = SnapshotRecord {
            name: request.name,
            description: request.description,
            vm: vm.key,
            host: vm.value.host,
            parent: vm.value.snapshot,
            created: OffsetDateTime::now_utc(),
            spec: vm.value.spec.clone(),
            disks,
            memory,
            paused_ms: None,
            quiesced: None,
        };
        let commit = snapshots::insert_in(&self.db, self.hold(&vm, saga)?, snapshot, &record);
        let id = snapshot.to_string();
        let about =
            About { method: "snapshot.create", title, subjects: subjects(snapshot, &vm), object: Some(&id) };
        let params = CreateParams { snapshot, record, quiesce };
        self.begin::<SnapshotCreate>(call, (saga, &params), about, commit).await
    }

    async fn revert(&self, call: &Call, request: RevertSnapshot) -> Result<TaskStarted, ApiError> {
        let of = SnapshotRef { snapshot: request.snapshot.clone(), vm: request.vm.clone() };
        let (snapshot, vm) = self.find_snapshot(call, &of, Permission::Operate).await?;
        made(&snapshot)?;
        let name = &vm.value.spec.name;
        if let Some((_, observed)) = self.fleet.vm(vm.key)
            && observed.power != Power::Stopped
            && observed.power != Power::Crashed
        {
            let message = format_args!("{name} is {}; shut it down first", observed.power);
            return Err(ApiError::new(Reason::WrongState, message));
        }
        let has = |disk: &SnapshotDisk| vm.value.spec.disks.iter().any(|now| now.vdi == disk.vdi);
        if let Some(gone) = snapshot.value.disks.iter().find(|disk| !has(disk)) {
            return Err(ApiError::new(
                Reason::Conflict,
                format_args!(
                    "the disk {} of this snapshot (VDI {}) is not attached to {name} any more; attach it again, or \
                     clone the snapshot to a new VM",
                    gone.device, gone.vdi
                ),
            ));
        }
        let going = match &snapshot.value.memory {
            Some(memory) if !request.disks_only => {
                Some(self.going_on(call, (&snapshot.value, memory), &vm.value).await?)
            }
            _ => None,
        };
        let saga = SagaId::new();
        let commit = self.hold(&vm, saga)?;
        let title = format!("Revert {name} to {}", snapshot.value.name);
        if call.dry_run {
            let others = self.snapshots_of(vm.key).await?;
            return Err(call.planned(revert_told(&title, going.as_ref(), (&snapshot, &vm.value), &others)));
        }
        if going.is_some() {
            self.promise(vm.value.host, snapshot.value.spec.memory.target.mib());
        }
        let id = vm.key.to_string();
        let about = About {
            method: "snapshot.revert",
            title,
            subjects: subjects(snapshot.key, &vm),
            object: Some(&id),
        };
        let params = RevertParams {
            snapshot: snapshot.key,
            vm: vm.key,
            host: vm.value.host,
            disks: snapshot.value.disks.clone(),
            going,
        };
        self.begin::<SnapshotRevert>(call, (saga, &params), about, commit).await
    }

    async fn delete(&self, call: &Call, request: SnapshotRef) -> Result<TaskStarted, ApiError> {
        let (snapshot, vm) = self.find_snapshot(call, &request, Permission::Operate).await?;
        let saga = SagaId::new();
        let commit = self.hold(&vm, saga)?;
        let about = About {
            method: "snapshot.delete",
            title: format!("Delete the snapshot {} of {}", snapshot.value.name, vm.value.spec.name),
            subjects: subjects(snapshot.key, &vm),
            object: None,
        };
        let disks = snapshot.value.kept().collect();
        let params = DeleteParams { snapshot: snapshot.key, vm: vm.key, host: snapshot.value.host, disks };
        self.begin::<SnapshotDelete>(call, (saga, &params), about, commit).await
    }

    async fn clone(&self, call: &Call, request: CloneSnapshot) -> Result<TaskStarted, ApiError> {
        let of = SnapshotRef { snapshot: request.snapshot.clone(), vm: request.vm.clone() };
        let (snapshot, source) = self.find_snapshot(call, &of, Permission::View).await?;
        made(&snapshot)?;
        if !call.caller.sight(Permission::Provision).covers(Some(source.value.pool), &source.value.tags) {
            return Err(call.caller.forbidden(Permission::Provision));
        }
        let name = request.name.to_string();
        self.vm_name_is_free(&name, source.value.pool).await?;
        if request.start {
            self.may_start_on(call, snapshot.value.host).await?;
        }
        let mut new_vdis = Vec::new();
        let mut spec = VmSpec { name: request.name.clone(), autostart: None, ..snapshot.value.spec.clone() };
        for disk in &mut spec.disks {
            let Some(kept) = snapshot.value.disks.iter().find(|kept| kept.device == disk.device) else {
                continue;
            };
            let vdi = VdiId::new();
            disk.vdi = vdi;
            new_vdis.push(NewVdi {
                vdi,
                sr: kept.sr,
                size: kept.size,
                name: format!("{name}-{}", disk.device),
                from: Some(kept.snapshot),
                seed: None,
            });
        }
        // What it only read (an ISO) has one user at a time and stays with the VM that has it.
        spec.disks.retain(|disk| new_vdis.iter().any(|new| new.vdi == disk.vdi));
        // A device of the host is one VM's.
        spec.hardware.pci.clear();
        for nic in &mut spec.nics {
            nic.mac = self.free_mac().await?;
        }
        let title = format!("Clone {name} from the snapshot {}", snapshot.value.name);
        if call.dry_run {
            let (host, start) = (snapshot.value.host, request.start);
            let plan = json!({ "title": title, "host": host, "spec": spec, "start": start });
            return Err(call.planned(without_memory(plan, &snapshot.value)));
        }
        let (vm, saga) = (VmId::new(), SagaId::new());
        let record = VmRecord {
            description: format!("from the snapshot {} of {}", snapshot.value.name, source.value.spec.name),
            tags: source.value.tags.clone(),
            held_by: Some(saga),
            ..VmRecord::new(spec, (source.value.pool, snapshot.value.host))
        };
        let ids = new_vdis.iter().map(|new| new.vdi).collect();
        let mut commit = self.db.vms.insert_in(Transaction::new(), &vm, &record);
        let change = (None, Some(&record));
        commit = records::follow(&self.db, commit, vm, change, &ids).await.map_err(|e| store_error(&e))?;
        for vdi in &new_vdis {
            commit = self.insert_vdi(commit, vdi, record.host, super::vdi::MadeFor::Vm(vm));
        }
        // The snapshot is not deleted under the clone: both are commands to one agent, which holds what it reads.
        let start = request.start.then(IncarnationId::new);
        let (id, host) = (vm.to_string(), record.host);
        let about = About {
            method: "snapshot.clone",
            title,
            subjects: vec![format!("vm/{vm}"), format!("snapshot/{}", snapshot.key), format!("host/{host}")],
            object: Some(&id),
        };
        let params = VmParams { vm, record, new_vdis, start, source: None };
        self.begin::<VmCreate>(call, (saga, &params), about, commit).await
    }
}
