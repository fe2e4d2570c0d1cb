//! Storage repositories.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use xenith_common_ids::{HostId, OperationId, SagaId, SrId, VdiId};
use xenith_hypervisor_agent_api::{Command, CommandResult, Envelope, StorageCommand};
use xenith_hypervisor_agent_client::AgentClientError;
use xenith_hypervisor_agent_types::SrFacts;
use xenith_orchestrator_api::Call;
use xenith_orchestrator_api::sr::SrApi;
use xenith_orchestrator_store::{Expect, Transaction};
use xenith_orchestrator_types::sr::{AdoptVdi, CreateSr, Sr, SrContent, SrOnHost, SrRef, SrScan};
use xenith_orchestrator_types::task::TaskStarted;
use xenith_orchestrator_types::template::Template;
use xenith_orchestrator_types::vdi::Vdi;
use xenith_orchestrator_types::{ApiError, Empty, ListRequest, Page, Permission, Reason};

use super::App;
use super::begin::About;
use super::find::administers;
use super::listings::filtered;
use super::listings::storage::SrRow;
use crate::errors::store_error;
use crate::fleet::Fleet;
use crate::model::{HostRecord, SnapshotRecord, SrRecord};
use crate::sagas::sr_attach::{Params as AttachParams, SrAttach};
use crate::sagas::sr_detach::{Params as DetachParams, SrDetach};

/// How long a host may look into an SR. One whose server is away would keep whoever looks at all of them.
const SCAN_WITHIN: Duration = Duration::from_secs(30);

/// An SR with where it is: declared, or the local one of a host.
pub(super) struct FoundSr {
    pub id: SrId,
    pub record: SrRecord,
    /// Of the record; `None`: a local SR, which has none.
    revision: Option<xenith_orchestrator_store::Revision>,
}

impl FoundSr {
    pub(super) const fn is_local(&self) -> bool {
        self.revision.is_none()
    }
}

fn local(host: HostId, record: &HostRecord) -> Option<FoundSr> {
    let sr = SrRecord {
        name: format!("local-{}", record.name),
        pool: record.pool,
        spec: None,
        hosts: BTreeSet::from([host]),
        content: SrContent::Vms,
    };
    Some(FoundSr { id: record.local_sr?, record: sr, revision: None })
}

/// Asks a host what is in an SR.
pub(crate) async fn scan(fleet: &Fleet, host: HostId, sr: SrId) -> Result<SrFacts, AgentClientError> {
    let Some(client) = fleet.client(host) else {
        let (address, detail) = (host.to_string(), "it was removed".to_owned());
        return Err(AgentClientError::Unreachable { address, detail });
    };
    let command = Command::Storage(StorageCommand::Scan { sr });
    let envelope = Envelope { operation: OperationId::new(), epoch: fleet.epoch(), command };
    let Ok(answer) = tokio::time::timeout(SCAN_WITHIN, client.execute(&envelope)).await else {
        let detail = format!("SR {sr} does not answer there; see whether its disk or its server is there");
        return Err(AgentClientError::Unreachable { address: host.to_string(), detail });
    };
    match answer? {
        CommandResult::Sr(facts) => Ok(*facts),
        other => {
            let (address, detail) = (host.to_string(), format!("it answered something else: {other:?}"));
            Err(AgentClientError::Unreachable { address, detail })
        }
    }
}

impl App {
    /// Every SR that the caller sees, local ones first.
    pub(super) async fn srs(&self, call: &Call) -> Result<Vec<FoundSr>, ApiError> {
        let sees = call.caller.sight(Permission::View);
        let mut srs = self.all_srs().await?;
        srs.retain(|sr| sees.covers(Some(sr.record.pool), []));
        Ok(srs)
    }

    /// Every SR there is, local ones first.
    pub(super) async fn all_srs(&self) -> Result<Vec<FoundSr>, ApiError> {
        let mut srs: Vec<FoundSr> =
            self.views.hosts().iter().filter_map(|(host, record)| local(*host, record)).collect();
        let (declared, _) = self.db.srs.all().await.map_err(|e| store_error(&e))?;
        srs.sort_by(|a, b| a.record.name.cmp(&b.record.name));
        srs.extend(declared.into_iter().map(|record| FoundSr {
            id: record.key,
            record: record.value,
            revision: Some(record.revision),
        }));
        Ok(srs)
    }

    /// Of VDIs: who has them, and what for.
    pub(super) async fn sr_record(&self, id: SrId) -> Result<Option<SrRecord>, ApiError> {
        let mut hosts = self.views.hosts().into_iter();
        if let Some((host, record)) = hosts.find(|(_, record)| record.local_sr == Some(id)) {
            return Ok(local(host, &record).map(|found| found.record));
        }
        let declared = self.db.srs.get(&id).await.map_err(|e| store_error(&e))?;
        Ok(declared.map(|record| record.value))
    }

    pub(super) async fn find_sr(&self, call: &Call, reference: &str) -> Result<FoundSr, ApiError> {
        let id = reference.parse::<SrId>().ok();
        let srs = self.srs(call).await?.into_iter();
        let mut found: Vec<FoundSr> =
            srs.filter(|sr| Some(sr.id) == id || sr.record.name == reference).collect();
        if found.len() > 1 {
            let message = format_args!("there are several SRs named {reference:?}; name one by its id");
            let mut error = ApiError::new(Reason::Ambiguous, message);
            error.data.candidates = found.iter().map(|sr| sr.id.to_string()).collect();
            return Err(error);
        }
        found.pop().ok_or_else(|| ApiError::not_found("SR", reference))
    }

    /// Refuses an SR that the hosts of a pool keep their leases in.
    async fn holds_no_leases(&self, sr: &FoundSr) -> Result<(), ApiError> {
        let (pools, _) = self.db.ha_pools.all().await.map_err(|e| store_error(&e))?;
        let Some(used) = pools.iter().find(|pool| pool.value.arms.sr == sr.id) else { return Ok(()) };
        let pool = self.pool_name(used.key);
        let message = format_args!(
            "the hosts of pool {pool} keep their leases in {}; turn high availability off first (xenith ha disable \
             {pool})",
            sr.record.name
        );
        Err(ApiError::new(Reason::WrongState, message))
    }

    /// As [`Self::find_sr`], one that the caller administers.
    async fn find_own_sr(&self, call: &Call, reference: &str) -> Result<FoundSr, ApiError> {
        let sr = self.find_sr(call, reference).await?;
        administers(call, sr.record.pool)?;
        Ok(sr)
    }

    /// The SR for a new VDI on `host`: the named one, which must be attached there, or the local one.
    pub(super) async fn sr_on(
        &self,
        call: &Call,
        host: HostId,
        reference: Option<&str>,
    ) -> Result<SrId, ApiError> {
        if let Some(reference) = reference {
            let sr = self.find_sr(call, reference).await?;
            if !sr.record.hosts.contains(&host) {
                let message = format_args!("SR {reference:?} is not attached to this host");
                return Err(ApiError::invalid("sr", message));
            }
            return Ok(sr.id);
        }
        self.local_sr(host)
    }

    /// The SR that a host has by itself.
    pub(super) fn local_sr(&self, host: HostId) -> Result<SrId, ApiError> {
        self.views.host(host).and_then(|record| record.local_sr).ok_or_else(|| {
            ApiError::new(Reason::HostUnreachable, "the host's storage is not known yet; try again")
        })
    }

    pub(super) fn api_sr(&self, sr: FoundSr) -> Sr {
        let mut shown = Sr {
            id: sr.id,
            name: sr.record.name,
            pool: sr.record.pool,
            spec: sr.record.spec,
            content: sr.record.content,
            hosts: sr.record.hosts.iter().copied().collect(),
            vdis: self.views.count_in(sr.id),
            copy_on_write: None,
            space: None,
            problem: None,
        };
        for host in &shown.hosts {
            match self.fleet.state(*host).and_then(|state| state.sr(sr.id)) {
                Some(Ok(seen)) => {
                    shown.copy_on_write = Some(seen.copy_on_write);
                    shown.space = Some(seen.space);
                }
                Some(Err(problem)) => shown.problem = Some(problem),
                None => {}
            }
        }
        shown
    }

    /// A host that has the SR and is heard.
    fn host_of(&self, sr: &FoundSr) -> Result<HostId, ApiError> {
        let heard = |host: &&HostId| self.fleet.state(**host).is_some_and(|state| state.is_heard());
        sr.record.hosts.iter().find(heard).copied().ok_or_else(|| {
            let message = format_args!("no host that has {} attached is heard", sr.record.name);
            ApiError::new(Reason::HostUnreachable, message)
        })
    }

    /// Refuses to forget what something else is made of.
    async fn not_needed(&self, sr: &FoundSr, vdis: &[Arc<Vdi>]) -> Result<(), ApiError> {
        let needed = |what: String| {
            let message = format_args!(
                "{what} is in {}; attach the SR to a host again and delete that first, or keep the SR",
                sr.record.name
            );
            Err(ApiError::new(Reason::WrongState, message))
        };
        for vdi in vdis {
            if let Some(vm) = self.drive_with(vdi.id) {
                let message =
                    format_args!("VDI {} in it is in the CD drive of {vm}; eject it first", vdi.name);
                return Err(ApiError::new(Reason::WrongState, message));
            }
        }
        let (snapshots, _) = self.db.snapshots.all().await.map_err(|e| store_error(&e))?;
        let here = |snapshot: &SnapshotRecord| snapshot.kept().any(|(_, of)| of == sr.id);
        if let Some(snapshot) = snapshots.iter().find(|snapshot| here(&snapshot.value)) {
            return needed(format!("the snapshot {}", snapshot.value.name));
        }
        let (templates, _) = self.db.templates.all().await.map_err(|e| store_error(&e))?;
        let here = |template: &Template| template.disks.iter().any(|disk| disk.sr == sr.id);
        match templates.iter().find(|template| here(&template.value)) {
            Some(template) => needed(format!("the template {}", template.value.name)),
            None => Ok(()),
        }
    }

    async fn begin_attach(
        &self,
        call: &Call,
        (method, title): (&'static str, String),
        params: AttachParams,
        record: Transaction,
    ) -> Result<TaskStarted, ApiError> {
        // Not to a host that is removed at the same moment: nobody would take its id out again.
        let record = self.db.hosts.require_in(record, &params.host, Expect::Present);
        let id = params.sr.to_string();
        let subjects = vec![format!("sr/{id}"), format!("host/{}", params.host)];
        let about = About { method, title, subjects, object: Some(&id) };
        self.begin::<SrAttach>(call, (SagaId::new(), &params), about, record).await
    }
}

fn not_attached(vdi: &Vdi) -> Result<(), ApiError> {
    if vdi.attached_to.is_some() {
        let message = format_args!("VDI {} in it is attached to a VM; detach it first", vdi.name);
        return Err(ApiError::new(Reason::WrongState, message));
    }
    Ok(())
}

fn declared(sr: &FoundSr) -> Result<(), ApiError> {
    if sr.is_local() {
        let message = format_args!("{} is its host's own and goes with it", sr.record.name);
        return Err(ApiError::new(Reason::WrongState, message));
    }
    Ok(())
}

#[async_trait]
impl SrApi for App {
    async fn list(&self, call: &Call, request: ListRequest) -> Result<Page<Sr>, ApiError> {
        let row = |sr: FoundSr| {
            let hosts = sr.record.hosts.iter().map(|host| self.host_name(*host)).collect();
            SrRow { pool: self.pool_name(sr.record.pool), hosts, sr: self.api_sr(sr) }
        };
        let rows = self.srs(call).await?.into_iter().map(row).collect();
        Ok(filtered(rows, &request)?.map(|row: SrRow| row.sr))
    }

    async fn get(&self, call: &Call, request: SrRef) -> Result<Sr, ApiError> {
        let sr = self.find_sr(call, &request.sr).await?;
        Ok(self.api_sr(sr))
    }

    async fn create(&self, call: &Call, request: CreateSr) -> Result<TaskStarted, ApiError> {
        if request.name.trim().is_empty() || request.name.len() > 64 || request.name.starts_with("local-") {
            return Err(ApiError::invalid("name", "use 1 to 64 characters, not beginning with \"local-\""));
        }
        request
            .spec
            .check()
            .map_err(|error| ApiError::invalid(format!("spec.{}", error.field), error.problem))?;
        let _alone = self.name_changes.lock().await;
        if self.srs(call).await?.iter().any(|sr| sr.record.name == request.name) {
            let message = format_args!("there is an SR {:?} already", request.name);
            return Err(ApiError::new(Reason::Conflict, message));
        }
        let host = self.find_own_host(call, &request.host).await?;
        let id = SrId::new();
        let record = SrRecord {
            name: request.name,
            pool: host.value.pool,
            spec: Some(request.spec.clone()),
            hosts: BTreeSet::from([host.key]),
            content: request.content,
        };
        let commit = self.db.srs.insert_in(Transaction::new(), &id, &record);
        let title = format!("Create SR {} ({})", record.name, request.spec);
        let params = AttachParams { sr: id, host: host.key, spec: request.spec, new: true };
        self.begin_attach(call, ("sr.create", title), params, commit).await
    }

    async fn attach(&self, call: &Call, request: SrOnHost) -> Result<TaskStarted, ApiError> {
        let sr = self.find_own_sr(call, &request.sr).await?;
        declared(&sr)?;
        let host = self.find_own_host(call, &request.host).await?;
        let Some(spec) = sr.record.spec.clone() else { return Err(ApiError::not_found("SR", &request.sr)) };
        if !spec.is_shared() && !sr.record.hosts.is_empty() && !sr.record.hosts.contains(&host.key) {
            let message =
                format_args!("{} is on disks of one host; only shared SRs have several", sr.record.name);
            return Err(ApiError::new(Reason::WrongState, message));
        }
        let mut record = sr.record.clone();
        record.hosts.insert(host.key);
        let mut commit = Transaction::new();
        if let Some(revision) = sr.revision {
            commit = self.db.srs.require_in(commit, &sr.id, Expect::At(revision));
        }
        let commit = self.db.srs.put_in(commit, &sr.id, &record);
        let title = format!("Attach SR {} to {}", record.name, host.value.name);
        let params = AttachParams { sr: sr.id, host: host.key, spec, new: false };
        self.begin_attach(call, ("sr.attach", title), params, commit).await
    }

    async fn detach(&self, call: &Call, request: SrOnHost) -> Result<TaskStarted, ApiError> {
        let sr = self.find_own_sr(call, &request.sr).await?;
        declared(&sr)?;
        let host = self.find_own_host(call, &request.host).await?;
        let Some(spec) = sr.record.spec.clone().filter(|_| sr.record.hosts.contains(&host.key)) else {
            let message = format_args!("{} is not attached to {}", sr.record.name, host.value.name);
            return Err(ApiError::new(Reason::WrongState, message));
        };
        self.holds_no_leases(&sr).await?;
        for known in self.views.vdis_in(sr.id) {
            let found = self.db.vdis.get(&known.id).await.map_err(|e| store_error(&e))?;
            if let Some(vdi) = found.filter(|vdi| vdi.value.host == host.key) {
                not_attached(&vdi.value)?;
                super::vdi::whole(&vdi)?;
            }
        }
        let id = sr.id.to_string();
        let about = About {
            method: "sr.detach",
            title: format!("Detach SR {} from {}", sr.record.name, host.value.name),
            subjects: vec![format!("sr/{id}"), format!("host/{}", host.key)],
            object: Some(&id),
        };
        let params = DetachParams { sr: sr.id, host: host.key, spec };
        self.begin::<SrDetach>(call, (SagaId::new(), &params), about, Transaction::new()).await
    }

    async fn forget(&self, call: &Call, request: SrRef) -> Result<Empty, ApiError> {
        let sr = self.find_own_sr(call, &request.sr).await?;
        declared(&sr)?;
        if !sr.record.hosts.is_empty() {
            let message = format_args!("{} is attached; detach it from every host first", sr.record.name);
            return Err(ApiError::new(Reason::WrongState, message));
        }
        self.holds_no_leases(&sr).await?;
        let vdis = self.views.vdis_in(sr.id);
        self.not_needed(&sr, &vdis).await?;
        let mut erase = self.db.srs.delete_in(Transaction::new(), &sr.id);
        for vdi in vdis {
            let Some(vdi) = self.db.vdis.get(&vdi.id).await.map_err(|e| store_error(&e))? else { continue };
            not_attached(&vdi.value)?;
            erase = self.db.vdis.require_in(erase, &vdi.key, Expect::At(vdi.revision));
            erase = self.db.vdis.delete_in(erase, &vdi.key);
        }
        self.db.store.commit(erase).await.map_err(|e| store_error(&e))?;
        Ok(Empty {})
    }

    async fn scan(&self, call: &Call, request: SrRef) -> Result<SrScan, ApiError> {
        let sr = self.find_sr(call, &request.sr).await?;
        let host = self.host_of(&sr)?;
        let facts = scan(&self.fleet, host, sr.id)
            .await
            .map_err(|error| ApiError::new(Reason::HostUnreachable, error))?;
        let (snapshots, _) = self.db.snapshots.all().await.map_err(|e| store_error(&e))?;
        let (templates, _) = self.db.templates.all().await.map_err(|e| store_error(&e))?;
        let mut known: BTreeSet<VdiId> = self.views.vdis_in(sr.id).iter().map(|vdi| vdi.id).collect();
        let kept = snapshots.iter().flat_map(|snapshot| snapshot.value.kept());
        known.extend(kept.filter(|(_, of)| *of == sr.id).map(|(vdi, _)| vdi));
        let disks = templates.iter().flat_map(|template| &template.value.disks);
        known.extend(disks.filter(|disk| disk.sr == sr.id).map(|disk| disk.vdi));
        let there: BTreeSet<VdiId> = facts.vdis.iter().map(|vdi| vdi.vdi).collect();
        let damaged: BTreeSet<VdiId> = facts.damaged.iter().map(|damaged| damaged.vdi).collect();
        Ok(SrScan {
            sr: sr.id,
            host,
            copy_on_write: facts.copy_on_write,
            space: facts.space,
            known: there.intersection(&known).count() as u64,
            orphans: facts.vdis.into_iter().filter(|vdi| !known.contains(&vdi.vdi)).collect(),
            missing: known.difference(&there).filter(|vdi| !damaged.contains(vdi)).copied().collect(),
            left_overs: facts.left_overs,
            damaged: facts.damaged,
        })
    }

    async fn adopt(&self, call: &Call, request: AdoptVdi) -> Result<Vdi, ApiError> {
        super::vdi::checked_name(&request.name)?;
        self.find_own_sr(call, &request.sr).await?;
        let scan = SrApi::scan(self, call, SrRef { sr: request.sr.clone() }).await?;
        let orphan = scan.orphans.iter().find(|orphan| orphan.vdi == request.vdi);
        let orphan = orphan.ok_or_else(|| {
            ApiError::new(Reason::NotFound, format_args!("{} is no orphan of this SR", request.vdi))
        })?;
        if orphan.snapshot_of.is_some() {
            let message = "it is a snapshot, which never changes; adopt the VDI that it is of, or delete it";
            return Err(ApiError::new(Reason::WrongState, message));
        }
        let vdi = Vdi {
            id: orphan.vdi,
            name: request.name,
            size: orphan.size,
            sr: scan.sr,
            host: scan.host,
            attached_to: None,
            held_by: None,
            leased_to: None,
        };
        self.db.vdis.insert(&vdi.id, &vdi).await.map_err(|e| store_error(&e))?;
        Ok(vdi)
    }
}
