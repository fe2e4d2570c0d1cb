//! Proving backups: by hand, and after each run of a job for some of its VMs.

use std::num::NonZeroU16;

use xenith_common_ids::{BackupRunId, HostId, SagaId, TaskId};
use xenith_hypervisor_agent_types::PortQuestion;
use xenith_orchestrator_api::Call;
use xenith_orchestrator_saga::Meta;
use xenith_orchestrator_types::backup::{ProveBackup, RestoreBackup, RestoreTarget};
use xenith_orchestrator_types::task::TaskStarted;
use xenith_orchestrator_types::{ApiError, Permission};

use super::App;
use super::backup_restore::{Plan, definition, stamp};
use super::begin::About;
use crate::catalogue::Definition;
use crate::model::BackupRecord;
use crate::protection::NO_BACKUP;
use crate::sagas::backup_proof::{Ports, Proof};
use crate::sagas::backup_restore::BackupRestore;
use xenith_hypervisor_agent_types::VmName;

/// How long a guest may take to say something when nobody said otherwise.
const MINUTES: u32 = 10;
/// Nobody waits longer for a guest.
const MOST_MINUTES: u32 = 240;

/// In a proof: each once.
pub(super) fn checked_ports(field: &str, ports: Vec<NonZeroU16>) -> Result<Vec<NonZeroU16>, ApiError> {
    let ports: Vec<_> = std::collections::BTreeSet::from_iter(ports).into_iter().collect();
    if ports.len() > PortQuestion::MOST_PORTS {
        return Err(ApiError::invalid(field, format_args!("at most {} ports", PortQuestion::MOST_PORTS)));
    }
    Ok(ports)
}

/// What has to answer, on the VM's first network card.
fn demanded(definition: &Definition, ports: &[NonZeroU16]) -> Result<Option<Ports>, ApiError> {
    if ports.is_empty() {
        return Ok(None);
    }
    let nic = definition.spec.nics.first().ok_or_else(|| {
        let name = &definition.spec.name;
        let text = format_args!("{name} had no network card when it was backed up; prove it without ports");
        ApiError::invalid("ports", text)
    })?;
    Ok(Some(Ports { ports: ports.to_vec(), mac: nic.mac }))
}

impl App {
    async fn plan_proof(
        &self,
        host: HostId,
        record: &BackupRecord,
        (minutes, ports, run): (u32, &[NonZeroU16], Option<BackupRunId>),
    ) -> Result<(Plan, SagaId), ApiError> {
        let definition = definition(record)?;
        let ports = demanded(definition, ports)?;
        let suffix = stamp(record.created);
        let room = VmName::MAX_LEN - "proof--".len() - suffix.len();
        let of: String = definition.spec.name.as_str().chars().take(room).collect();
        let name: VmName =
            format!("proof-{of}-{suffix}").parse().map_err(|error| ApiError::invalid("name", error))?;
        let request = RestoreBackup {
            backup: record.facts.id.clone(),
            repository: None,
            target: RestoreTarget::NewVm { name: Some(name.clone()) },
            disks: Vec::new(),
            host: None,
            sr: None,
            networks: Default::default(),
            start: true,
            instant: true,
            bandwidth: 0,
        };
        let disks: Vec<(String, u64)> =
            record.facts.disks.iter().map(|disk| (disk.name.clone(), disk.size)).collect();
        // It is nobody's VM: no job takes it for one, and no tag of the real one gives it anything.
        let tags = [NO_BACKUP.to_owned()].into();
        let description = "A backup is being proved; it goes away by itself".to_owned();
        let definition = Definition { tags, description, ..definition.clone() };
        let record = BackupRecord { definition: Some(definition.clone()), ..record.clone() };
        let sr = self.local_sr(host)?;
        let (mut plan, saga) = self.plan_vm_on((host, sr), (&request, &record), (&disks, Vec::new())).await?;
        plan.params.proof = Some(Proof { minutes, ports, run });
        plan.title = format!("Prove the backup of {} of {suffix}", definition.spec.name);
        Ok((plan, saga))
    }

    pub(super) async fn prove_backup(
        &self,
        call: &Call,
        request: ProveBackup,
    ) -> Result<TaskStarted, ApiError> {
        let which = (request.backup.as_str(), request.repository.as_deref());
        let record = self.find_backup(call, which, Permission::Provision).await?;
        let host = match &request.host {
            Some(reference) => self.host_for(call, reference, &record).await?,
            None => self.proof_host(&record)?,
        };
        let minutes = if request.minutes == 0 { MINUTES } else { request.minutes.min(MOST_MINUTES) };
        let ports = checked_ports("ports", request.ports)?;
        let (plan, saga) = self.plan_proof(host, &record, (minutes, &ports, None)).await?;
        let subjects = subjects(&plan);
        let object = plan.object.as_deref();
        let about = About { method: "backup.prove", title: plan.title, subjects, object };
        self.begin::<BackupRestore>(call, (saga, &plan.params), about, plan.commit).await
    }

    fn proof_host(&self, record: &BackupRecord) -> Result<HostId, ApiError> {
        let was = record.definition.as_ref().and_then(|definition| self.views.vm(definition.vm));
        self.any_host(was.map(|record| record.host))
    }

    /// On behalf of a job's run.
    pub(crate) async fn prove_for(
        &self,
        who: &str,
        record: &BackupRecord,
        (run, ports): (BackupRunId, &[NonZeroU16]),
    ) -> Result<TaskId, ApiError> {
        let host = self.proof_host(record)?;
        let (plan, saga) = self.plan_proof(host, record, (MINUTES, ports, Some(run))).await?;
        let meta = Meta {
            title: plan.title.clone(),
            who: who.to_owned(),
            subjects: subjects(&plan),
            labels: [("method".to_owned(), "backup.prove".to_owned())].into(),
        };
        let started = self.engine.start_with::<BackupRestore>(saga, &plan.params, meta, plan.commit).await;
        started.map_err(|error| crate::errors::saga_error(&error))?;
        Ok(TaskId::from_bytes(*saga.as_bytes()))
    }
}

fn subjects(plan: &Plan) -> Vec<String> {
    let mut subjects = vec![format!("host/{}", plan.params.host)];
    subjects.extend(plan.params.vm.as_ref().map(|vm| format!("vm/{}", vm.id)));
    subjects
}
