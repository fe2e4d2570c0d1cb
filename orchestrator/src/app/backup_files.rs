//! Files of backups: browsed through a host, fetched from it.
//!
//! The contents never pass the orchestrator: it gives a ticket, of which the host knows only the hash.

use aws_lc_rs::rand;
use xenith_common_ids::{HostId, OperationId};
use xenith_common_pki::Peer;
use xenith_hypervisor_agent_api::{Command, CommandResult, Envelope};
use xenith_hypervisor_agent_client::AgentClientError;
use xenith_hypervisor_agent_types::FaultReason;
use xenith_hypervisor_agent_types::backup::{BackupCommand, BackupReply, DiskOf, RepositoryAccess};
use xenith_orchestrator_api::Call;
use xenith_orchestrator_types::backup::{BackupFiles, DownloadFiles, DownloadTicket, ListBackupFiles};
use xenith_orchestrator_types::{ApiError, Permission, Reason};

use super::App;
use crate::errors::store_error;
use crate::model::{BackupRecord, RepositoryRecord, SEALED_ACCESS};

/// What a host's refusal is to whoever asked.
fn answer_of(error: &AgentClientError) -> ApiError {
    let reason = match error {
        AgentClientError::Unreachable { .. } => Reason::HostUnreachable,
        AgentClientError::Refused(fault) => match fault.reason {
            FaultReason::NotFound => Reason::NotFound,
            FaultReason::Invalid => Reason::Invalid,
            FaultReason::WrongState | FaultReason::Unsupported => Reason::WrongState,
            _ => Reason::HostFailed,
        },
        _ => Reason::HostFailed,
    };
    ApiError::new(reason, error)
}

fn only_disk(record: &BackupRecord, wanted: Option<&str>) -> Result<String, ApiError> {
    let mut names = record.facts.disks.iter().map(|disk| disk.name.as_str());
    match (wanted, record.facts.disks.len()) {
        (Some(wanted), _) => names
            .find(|name| *name == wanted)
            .map(str::to_owned)
            .ok_or_else(|| ApiError::not_found("disk in the backup", wanted)),
        (None, 1) => Ok(names.next().unwrap_or_default().to_owned()),
        (None, _) => {
            let text = format!("name one of its disks: {}", names.collect::<Vec<_>>().join(", "));
            Err(ApiError::invalid("disk", text))
        }
    }
}

impl App {
    /// The disk that is meant, and the host that reads it.
    async fn readable(
        &self,
        record: &BackupRecord,
        disk: Option<&str>,
    ) -> Result<(DiskOf, HostId), ApiError> {
        let disk = only_disk(record, disk)?;
        let found = self.db.repositories.get(&record.repository).await.map_err(|e| store_error(&e))?;
        let found = found.ok_or_else(|| ApiError::not_found("repository", &record.repository.to_string()))?;
        let access = self.access_to(&found.value)?;
        let host = self.any_host(found.value.host)?;
        Ok((DiskOf { access, backup: record.facts.id.clone(), disk }, host))
    }

    /// A repository's place and key, unsealed for one command.
    pub(super) fn access_to(&self, record: &RepositoryRecord) -> Result<RepositoryAccess, ApiError> {
        let plain = self.vault.unseal(SEALED_ACCESS, &record.sealed_access).map_err(ApiError::internal)?;
        serde_json::from_slice(&plain).map_err(ApiError::internal)
    }

    pub(super) async fn tell_host(
        &self,
        host: HostId,
        command: BackupCommand,
    ) -> Result<BackupReply, ApiError> {
        let client = self.fleet.client(host).ok_or_else(|| {
            ApiError::new(Reason::HostUnreachable, "the host that reads the repository was removed")
        })?;
        let command = Command::Backup(Box::new(command));
        let envelope = Envelope { operation: OperationId::new(), epoch: self.fleet.epoch(), command };
        match client.execute(&envelope).await {
            Ok(CommandResult::Backup(reply)) => Ok(*reply),
            Ok(_) => Err(ApiError::internal("the host answered something else")),
            Err(error) => Err(answer_of(&error)),
        }
    }

    pub(super) async fn backup_files(
        &self,
        call: &Call,
        request: ListBackupFiles,
    ) -> Result<BackupFiles, ApiError> {
        let which = (request.backup.as_str(), request.repository.as_deref());
        let record = self.find_backup(call, which, Permission::Provision).await?;
        let (of, host) = self.readable(&record, request.disk.as_deref()).await?;
        let disk = of.disk.clone();
        let command = BackupCommand::Files { of, at: request.at, after: request.after };
        match self.tell_host(host, command).await? {
            BackupReply::Files { volumes, entries, more } => Ok(BackupFiles { disk, volumes, entries, more }),
            _ => Err(ApiError::internal("the host answered something else")),
        }
    }

    pub(super) async fn backup_download(
        &self,
        call: &Call,
        request: DownloadFiles,
    ) -> Result<DownloadTicket, ApiError> {
        let which = (request.backup.as_str(), request.repository.as_deref());
        let record = self.find_backup(call, which, Permission::Provision).await?;
        let (of, host) = self.readable(&record, request.disk.as_deref()).await?;
        let mut random = [0; 32];
        rand::fill(&mut random).map_err(|_| ApiError::internal("the system has no randomness"))?;
        let ticket: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let ticket_hash = blake3::hash(ticket.as_bytes()).to_hex().to_string();
        let (at, archive) = (request.at, request.archive);
        let port =
            match self.tell_host(host, BackupCommand::OpenDownload { of, at, archive, ticket_hash }).await? {
                BackupReply::Download { port } => port,
                _ => return Err(ApiError::internal("the host answered something else")),
            };
        let record = self.views.host(host);
        let record = record.ok_or_else(|| ApiError::new(Reason::HostUnreachable, "the host was removed"))?;
        Ok(DownloadTicket {
            ticket,
            address: record.at(port),
            server_name: Peer::Host(host).server_name().to_str().into_owned(),
            authority_pem: self.certificates.authority().certificate_pem().to_owned(),
        })
    }
}
