//! Proving backups: by hand, and after each run of a job for some of its VMs.

use xenith_common_ids::{HostId, SagaId};
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
use crate::sagas::backup_proof::Proof;
use crate::sagas::backup_restore::BackupRestore;
use xenith_hypervisor_agent_types::VmName;

/// How long a guest may take to say something when nobody said otherwise.
const MINUTES: u32 = 10;
/// Nobody waits longer for a guest.
const MOST_MINUTES: u32 = 240;

impl App {
    async fn plan_proof(
        &self,
        host: HostId,
        record: &BackupRecord,
        minutes: u32,
    ) -> Result<(Plan, SagaId), ApiError> {
        let definition = definition(record)?;
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
        plan.params.proof = Some(Proof { minutes });
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
            Some(reference) => self.find_host(call, reference).await?.key,
            None => self.proof_host(&record)?,
        };
        let minutes = if request.minutes == 0 { MINUTES } else { request.minutes.min(MOST_MINUTES) };
        let (plan, saga) = self.plan_proof(host, &record, minutes).await?;
        let subjects = subjects(&plan);
        let object = plan.object.as_deref();
        let about = About { method: "backup.prove", title: plan.title, subjects, object };
        self.begin::<BackupRestore>(call, (saga, &plan.params), about, plan.commit).await
    }

    fn proof_host(&self, record: &BackupRecord) -> Result<HostId, ApiError> {
        let was = record.definition.as_ref().and_then(|definition| self.views.vm(definition.vm));
        self.any_host(was.map(|record| record.host))
    }

    /// On behalf of a job.
    pub(crate) async fn prove_for(&self, who: &str, record: &BackupRecord) -> Result<(), ApiError> {
        let host = self.proof_host(record)?;
        let (plan, saga) = self.plan_proof(host, record, MINUTES).await?;
        let meta = Meta {
            title: plan.title.clone(),
            who: who.to_owned(),
            subjects: subjects(&plan),
            labels: [("method".to_owned(), "backup.prove".to_owned())].into(),
        };
        let started = self.engine.start_with::<BackupRestore>(saga, &plan.params, meta, plan.commit).await;
        started.map(drop).map_err(|error| crate::errors::saga_error(&error))
    }
}

fn subjects(plan: &Plan) -> Vec<String> {
    let mut subjects = vec![format!("host/{}", plan.params.host)];
    subjects.extend(plan.params.vm.as_ref().map(|vm| format!("vm/{}", vm.id)));
    subjects
}
