//! Repositories: secrets are sealed before they are stored, and a host does what is to be done there.

use async_trait::async_trait;
use aws_lc_rs::rand;
use xenith_common_ids::{HostId, RepositoryId, SagaId};
use xenith_hypervisor_agent_types::backup::{RepositoryAccess, RepositoryKey, RepositoryPlace, Secret};
use xenith_orchestrator_api::Call;
use xenith_orchestrator_api::repository::RepositoryApi;
use xenith_orchestrator_store::{Record, Transaction};
use xenith_orchestrator_types::backup::{
    CreateRepository, Place, Repository, RepositoryRef, RepositorySecret, UpdateRepository, VerifyRepository,
};
use xenith_orchestrator_types::task::TaskStarted;
use xenith_orchestrator_types::{ApiError, Empty, ListRequest, Page, Reason};

use super::App;
use super::begin::About;
use super::listings::backups::RepositoryRow;
use super::listings::filtered;
use crate::catalogue;
use crate::errors::store_error;
use crate::model::{BaseRecord, RepositoryRecord, SEALED_ACCESS};
use crate::sagas::repository_act::{Act, Params, RepositoryAct};

fn access(request: &CreateRepository) -> Result<RepositoryAccess, ApiError> {
    let place = match &request.place {
        Place::Folder { path } => {
            if !path.starts_with('/') {
                return Err(ApiError::invalid("place.path", "give an absolute path, as the hosts see it"));
            }
            RepositoryPlace::Folder { path: path.clone() }
        }
        Place::S3 { bucket, prefix, endpoint, region } => {
            if bucket.is_empty() || request.access_key.is_empty() || request.secret_key.is_empty() {
                return Err(ApiError::invalid(
                    "place.bucket",
                    "give bucket, access_key and secret_key for S3",
                ));
            }
            RepositoryPlace::S3 {
                bucket: bucket.clone(),
                prefix: prefix.trim_matches('/').to_owned(),
                endpoint: endpoint.clone(),
                region: region.clone(),
                access_key: Secret::new(request.access_key.clone()),
                secret_key: Secret::new(request.secret_key.clone()),
            }
        }
    };
    let hex = |text: &str| {
        text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    let key = match (request.passphrase.as_str(), request.key.trim()) {
        ("", "") => RepositoryKey::Digits(Secret::new(new_key()?)),
        (passphrase, "") => RepositoryKey::Passphrase(Secret::new(passphrase.to_owned())),
        ("", digits) if hex(digits) => RepositoryKey::Digits(Secret::new(digits.to_owned())),
        ("", _) => return Err(ApiError::invalid("key", "a key has 64 hex digits in lower case")),
        _ => return Err(ApiError::invalid("key", "give a passphrase or a key, not both")),
    };
    let writer = if request.sealed { Some(Secret::new(new_key()?)) } else { None };
    Ok(RepositoryAccess { place, key, writer })
}

fn new_key() -> Result<String, ApiError> {
    let mut bytes = [0; 32];
    rand::fill(&mut bytes).map_err(|_| ApiError::internal("the system has no randomness"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

impl App {
    pub(super) async fn find_repository(
        &self,
        reference: &str,
    ) -> Result<Record<RepositoryId, RepositoryRecord>, ApiError> {
        let missing = || ApiError::not_found("repository", reference);
        let id = match reference.parse::<RepositoryId>() {
            Ok(id) => id,
            Err(_) => {
                let named = self.db.repository_names.get(&reference.to_owned()).await;
                named.map_err(|e| store_error(&e))?.ok_or_else(missing)?.value
            }
        };
        self.db.repositories.get(&id).await.map_err(|e| store_error(&e))?.ok_or_else(missing)
    }

    /// A host that can be asked now: the preferred one, if it is heard.
    pub(crate) fn any_host(&self, preferred: Option<HostId>) -> Result<HostId, ApiError> {
        let mut heard: Vec<HostId> = self
            .fleet
            .states()
            .into_iter()
            .filter(|(_, state)| state.is_heard())
            .map(|(host, _)| host)
            .collect();
        heard.sort_unstable();
        preferred.filter(|host| heard.contains(host)).or_else(|| heard.first().copied()).ok_or_else(|| {
            ApiError::new(Reason::HostUnreachable, "no host is connected that could reach the repository")
        })
    }

    /// Begins one act with a repository.
    pub(super) async fn act_on(
        &self,
        call: &Call,
        record: &Record<RepositoryId, RepositoryRecord>,
        (act, method, title): (Act, &'static str, String),
    ) -> Result<TaskStarted, ApiError> {
        let host = self.any_host(record.value.host)?;
        let params = Params { repository: record.key, host, act };
        let id = record.key.to_string();
        let subjects = vec![format!("repository/{id}"), format!("host/{host}")];
        let about = About { method, title, subjects, object: Some(&id) };
        self.begin::<RepositoryAct>(call, (SagaId::new(), &params), about, Transaction::new()).await
    }
}

#[async_trait]
impl RepositoryApi for App {
    async fn list(&self, _: &Call, request: ListRequest) -> Result<Page<Repository>, ApiError> {
        let (records, _) = self.db.repositories.all().await.map_err(|e| store_error(&e))?;
        let rows = records.into_iter().map(|record| RepositoryRow(record.value.repository)).collect();
        Ok(filtered(rows, &request)?.map(|RepositoryRow(repository)| repository))
    }

    async fn get(&self, _: &Call, request: RepositoryRef) -> Result<Repository, ApiError> {
        Ok(self.find_repository(&request.repository).await?.value.repository)
    }

    async fn create(&self, call: &Call, request: CreateRepository) -> Result<TaskStarted, ApiError> {
        if request.name.is_empty() || request.name.len() > 128 || request.name.parse::<RepositoryId>().is_ok()
        {
            return Err(ApiError::invalid("name", "use 1 to 128 characters, and not an id"));
        }
        let access = access(&request)?;
        let host = match &request.host {
            Some(reference) => self.find_host(call, reference).await?.key,
            None => self.any_host(None)?,
        };
        let plain = serde_json::to_vec(&access).map_err(ApiError::internal)?;
        let sealed_access = self.vault.seal(SEALED_ACCESS, &plain).map_err(ApiError::internal)?;
        let id = RepositoryId::new();
        let repository = Repository {
            id,
            name: request.name.clone(),
            place: request.place,
            repository: None,
            checked: None,
            problem: None,
            concurrency: request.concurrency,
            bandwidth: request.bandwidth,
        };
        let record = RepositoryRecord { repository, sealed_access, host: Some(host), check_begun: None };
        let mut commit = self.db.repositories.insert_in(Transaction::new(), &id, &record);
        commit = self.db.repository_names.insert_in(commit, &request.name, &id);
        let params = Params { repository: id, host, act: Act::Create };
        let title = format!("Add the repository {}", request.name);
        let subjects = vec![format!("repository/{id}"), format!("host/{host}")];
        let object = id.to_string();
        let about = About { method: "repository.create", title, subjects, object: Some(&object) };
        self.begin::<RepositoryAct>(call, (SagaId::new(), &params), about, commit).await
    }

    async fn update(&self, _: &Call, request: UpdateRepository) -> Result<Repository, ApiError> {
        let found = self.find_repository(&request.repository).await?;
        let UpdateRepository { repository: _, concurrency, bandwidth } = request;
        // A check or a list of its backups may write to the same record meanwhile.
        let change = |record: &mut RepositoryRecord| {
            let repository = &mut record.repository;
            repository.concurrency = concurrency.unwrap_or(repository.concurrency);
            repository.bandwidth = bandwidth.unwrap_or(repository.bandwidth);
        };
        self.db.repositories.modify(&found.key, change).await.map_err(|e| store_error(&e))?;
        // Who waits for a turn may have one now.
        self.runner.notify_one();
        Ok(self.find_repository(&found.key.to_string()).await?.value.repository)
    }

    async fn test(&self, call: &Call, request: RepositoryRef) -> Result<TaskStarted, ApiError> {
        let found = self.find_repository(&request.repository).await?;
        let title = format!("Open the repository {}", found.value.repository.name);
        self.act_on(call, &found, (Act::Test, "repository.test", title)).await
    }

    async fn verify(&self, call: &Call, request: VerifyRepository) -> Result<TaskStarted, ApiError> {
        let found = self.find_repository(&request.repository).await?;
        let title = format!("Verify the repository {}", found.value.repository.name);
        self.act_on(call, &found, (Act::Verify { deep: request.deep }, "repository.verify", title)).await
    }

    async fn key(&self, _: &Call, request: RepositoryRef) -> Result<RepositorySecret, ApiError> {
        let found = self.find_repository(&request.repository).await?;
        let plain =
            self.vault.unseal(SEALED_ACCESS, &found.value.sealed_access).map_err(ApiError::internal)?;
        let access: RepositoryAccess = serde_json::from_slice(&plain).map_err(ApiError::internal)?;
        let (kind, secret) = match access.key {
            RepositoryKey::Passphrase(text) => ("passphrase", text),
            RepositoryKey::Digits(digits) => ("key file", digits),
        };
        Ok(RepositorySecret { kind: kind.to_owned(), secret: secret.expose().to_owned() })
    }

    async fn delete(&self, _: &Call, request: RepositoryRef) -> Result<Empty, ApiError> {
        let found = self.find_repository(&request.repository).await?;
        let (jobs, _) = self.db.backup_jobs.all().await.map_err(|e| store_error(&e))?;
        if let Some(job) = jobs.iter().find(|job| job.value.settings.repositories.contains(&found.key)) {
            let name = &job.value.settings.name;
            let refusal = format_args!("the backup job {name} writes to it; change or delete the job first");
            return Err(ApiError::new(Reason::WrongState, refusal));
        }
        catalogue::clear(&self.db, found.key).await.map_err(|e| store_error(&e))?;
        let (bases, _) = self.db.bases.all().await.map_err(|e| store_error(&e))?;
        for base in bases.into_iter().filter(|base| base.key.1 == found.key) {
            let old = BaseRecord { backup: String::new(), ..base.value };
            let commit = self.db.old_snapshots.put_in(Transaction::new(), &old.snapshot, &old);
            let commit = self.db.bases.delete_in(commit, &base.key);
            self.db.store.commit(commit).await.map_err(|e| store_error(&e))?;
        }
        // Last, and the commit point: a repository whose deletion was broken off is there, and can be read again.
        let commit = self.db.repositories.delete_in(Transaction::new(), &found.key);
        let commit = self.db.repository_names.delete_in(commit, &found.value.repository.name);
        self.db.store.commit(commit).await.map_err(|e| store_error(&e))?;
        Ok(Empty {})
    }
}
