//! Backups that are there.

use std::collections::HashMap;

use async_trait::async_trait;
use time::OffsetDateTime;
use xenith_common_ids::{RepositoryId, SagaId};
use xenith_orchestrator_api::backup::BackupApi;
use xenith_orchestrator_api::{Call, Sight};
use xenith_orchestrator_store::Transaction;
use xenith_orchestrator_types::backup::{
    Backup, BackupFiles, BackupProof, BackupRef, CreateBackup, DownloadFiles, DownloadTicket, HoldBackup,
    ListBackupFiles, ListBackups, ListUnprotected, ProveBackup, RestoreBackup, UnprotectedVm,
};
use xenith_orchestrator_types::task::TaskStarted;
use xenith_orchestrator_types::{ApiError, ListRequest, Page, Permission, Reason};

use super::App;
use super::backup_restore::stamp;
use super::begin::About;
use super::listings::backups::{BackupRow, UnprotectedRow};
use super::listings::filtered;
use crate::backup_runner;
use crate::catalogue;
use crate::errors::store_error;
use crate::model::BackupRecord;
use crate::protection;
use crate::sagas::backup_vm::BackupVm;
use crate::sagas::repository_act::Act;

/// Ids begin with the time, so that a few digits can mean thousands: nobody reads more of them than this.
const MOST_TOLD: usize = 20;

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
        let name = repository.map(|found| found.value.repository.name).unwrap_or_default();
        Ok(api_backup(record, name, proof.map(|found| found.value)))
    }

    /// Those that the caller may see and asks for, as rows of their list.
    async fn backup_rows(
        &self,
        call: &Call,
        (repository, vm): (Option<&str>, Option<&str>),
    ) -> Result<Vec<BackupRow>, ApiError> {
        let of = match repository {
            Some(reference) => Some(self.find_repository(reference).await?.key),
            None => None,
        };
        let sight = call.caller.sight(Permission::View);
        let mut found = self.candidates(of, vm.map(|vm| (vm, usize::MAX))).await?;
        found.retain(|record| vm.is_none_or(|vm| is_of(record, vm)) && self.sees_backup(&sight, record));
        let (repositories, _) = self.db.repositories.all().await.map_err(|e| store_error(&e))?;
        let names: HashMap<RepositoryId, String> =
            repositories.into_iter().map(|record| (record.key, record.value.repository.name)).collect();
        let (proofs, _) = self.db.proofs.all().await.map_err(|e| store_error(&e))?;
        let mut proofs: HashMap<_, _> = proofs.into_iter().map(|proof| (proof.key, proof.value)).collect();
        let row = |record: BackupRecord| {
            let name = names.get(&record.repository).cloned().unwrap_or_default();
            let proof = proofs.remove(&(record.repository, record.facts.id.clone()));
            let (created, host) = (record.facts.created, record.facts.host.clone());
            BackupRow { created, host, backup: api_backup(record, name, proof) }
        };
        Ok(found.into_iter().map(row).collect())
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
        let mut found = self.candidates(of, newest_of.map(|vm| (vm, catalogue::DATED_AHEAD))).await?;
        found.retain(|record| self.sees_backup(&sees, record));
        match newest_of {
            Some(vm) => {
                found.retain(|record| is_of(record, vm));
                found.sort_by(by_newness(OffsetDateTime::now_utc()));
                found.drain(..found.len().saturating_sub(1));
            }
            None => found.retain(|record| !backup.is_empty() && record.facts.id.starts_with(backup)),
        }
        if found.len() > 1 {
            return Err(self.several(found).await?);
        }
        let record = found.pop().ok_or_else(|| ApiError::not_found("backup", backup))?;
        if self.sees_backup(&may, &record) { Ok(record) } else { Err(call.caller.forbidden(permission)) }
    }

    /// Says which backups it could be, newest first: of those that the caller may see.
    async fn several(&self, mut found: Vec<BackupRecord>) -> Result<ApiError, ApiError> {
        found.sort_by(|one, other| by_age(other, one));
        let count = found.len();
        let text = format!("{count} backups begin with these digits; give more of them, or the repository");
        let mut error = ApiError::new(Reason::Ambiguous, text);
        for record in found.into_iter().take(MOST_TOLD) {
            let backup = self.view_backup(record).await?;
            let (created, of) = (stamp(backup.created), backup.vm_name);
            let candidate = format!("{} (of {of}, {created}, in {})", backup.id, backup.repository_name);
            error.data.candidates.push(candidate);
        }
        Ok(error)
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
}

fn api_backup(record: BackupRecord, repository_name: String, proof: Option<BackupProof>) -> Backup {
    let (vm, vm_name) = match &record.definition {
        Some(definition) => (Some(definition.vm), definition.spec.name.to_string()),
        None => (None, record.facts.disks.first().map(|disk| disk.name.clone()).unwrap_or_default()),
    };
    let quiesced = record.definition.as_ref().and_then(|definition| definition.quiesced.clone());
    let mut networks = Vec::new();
    for nic in record.definition.iter().flat_map(|definition| &definition.spec.nics) {
        if !networks.contains(&nic.network) {
            networks.push(nic.network);
        }
    }
    Backup {
        id: record.facts.id,
        repository: record.repository,
        repository_name,
        vm,
        vm_name,
        created: record.created,
        disks: record.facts.disks,
        held: record.facts.held,
        proof,
        networks,
        consistency: quiesced.as_ref().map(|quiesced| quiesced.consistency),
        not_quiesced_because: quiesced.and_then(|quiesced| quiesced.because),
    }
}

/// The older first. Of one second, ids tell, which begin with the time.
fn by_age(one: &BackupRecord, other: &BackupRecord) -> std::cmp::Ordering {
    (one.created, &one.facts.id).cmp(&(other.created, &other.facts.id))
}

/// The same, and before all others those that are dated ahead: which of them is the newest, nobody knows.
fn by_newness(now: OffsetDateTime) -> impl Fn(&BackupRecord, &BackupRecord) -> std::cmp::Ordering {
    let is_past = move |record: &BackupRecord| catalogue::is_past(record.created, now);
    move |one, other| is_past(one).cmp(&is_past(other)).then_with(|| by_age(one, other))
}

/// Whether it is a backup of the VM with this name or id.
fn is_of(record: &BackupRecord, vm: &str) -> bool {
    let of = record.definition.as_ref();
    of.is_some_and(|definition| definition.spec.name.as_str() == vm || definition.vm.to_string() == vm)
}

#[async_trait]
impl BackupApi for App {
    async fn list(&self, call: &Call, request: ListBackups) -> Result<Page<Backup>, ApiError> {
        let ListBackups { repository, vm, filter, sort, limit, cursor } = request;
        let rows = self.backup_rows(call, (repository.as_deref(), vm.as_deref())).await?;
        let request = ListRequest { filter, sort, limit, cursor };
        let page = self.readers.run(move || filtered(rows, &request)).await??;
        Ok(page.map(|row| row.backup))
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
    ) -> Result<Page<UnprotectedVm>, ApiError> {
        let ListUnprotected { older_than_minutes, filter, sort, limit, cursor } = request;
        let minutes = i64::from(older_than_minutes);
        let older_than = (minutes > 0).then(|| time::Duration::minutes(minutes));
        let sight = call.caller.sight(Permission::View);
        let mut found = protection::unprotected(self, older_than).await?;
        found.retain(|row| self.views.vm(row.vm).is_some_and(|vm| sight.covers(Some(vm.pool), &*vm.tags)));
        let rows: Vec<_> = found.into_iter().map(UnprotectedRow).collect();
        let page = filtered(rows, &ListRequest { filter, sort, limit, cursor })?;
        Ok(page.map(|row| row.0))
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
            quiesce: request.quiesce,
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
        if call.dry_run {
            let found = self.find_repository(&record.repository.to_string()).await?;
            self.any_host(found.value.host)?;
            return Err(call.planned(self.deletion_told(call, &record, &title).await?));
        }
        self.act_on_backup(call, &record, (act, "backup.delete", title)).await
    }

    async fn prove(&self, call: &Call, request: ProveBackup) -> Result<TaskStarted, ApiError> {
        self.prove_backup(call, request).await
    }

    async fn restore(&self, call: &Call, request: RestoreBackup) -> Result<TaskStarted, ApiError> {
        self.restore_backup(call, request).await
    }
}

#[cfg(test)]
mod tests {
    use xenith_hypervisor_agent_types::backup::BackupFacts;

    use super::*;

    #[test]
    fn the_latest_is_not_the_one_of_next_year() {
        let at = |day: i64| OffsetDateTime::UNIX_EPOCH + time::Duration::days(day);
        let made = |day: i64| BackupRecord {
            repository: RepositoryId::new(),
            created: at(day),
            definition: None,
            facts: BackupFacts {
                id: format!("{day:04}"),
                created: 0,
                host: String::new(),
                tags: vec![],
                disks: vec![],
                attachments: vec![],
                held: false,
            },
        };
        let mut found = [made(10), made(400), made(9), made(399)];
        found.sort_by(by_newness(at(11)));
        let order: Vec<&str> = found.iter().map(|record| record.facts.id.as_str()).collect();
        assert_eq!(order, ["0399", "0400", "0009", "0010"]);
    }
}
