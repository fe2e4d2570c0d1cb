//! What the sagas about backups share.

use std::time::Duration;

use xenith_common_ids::{HostId, RepositoryId};
use xenith_hypervisor_agent_api::{Command, CommandResult};
use xenith_hypervisor_agent_client::AgentClient;
use xenith_hypervisor_agent_types::backup::{BackupCommand, BackupReply, RepositoryAccess};
use xenith_orchestrator_saga::{Saga, StepCtx, StepError};

use super::writers::Writer;
use super::{Deps, host_removed};
use crate::model::SEALED_ACCESS;

impl Deps {
    /// A repository's place and key, unsealed for one command.
    pub(super) async fn access(&self, repository: RepositoryId) -> Result<RepositoryAccess, StepError> {
        Ok(self.all_access(repository).await?.for_reading())
    }

    /// The same for a host that only adds a backup: of a sealed repository it gets a key for no more than that.
    pub(super) async fn access_to_add(
        &self,
        repository: RepositoryId,
    ) -> Result<RepositoryAccess, StepError> {
        Ok(self.all_access(repository).await?.for_writing())
    }

    /// All of a repository's secrets, for who makes it.
    pub(super) async fn all_access(&self, repository: RepositoryId) -> Result<RepositoryAccess, StepError> {
        let record = self.db.repositories.get(&repository).await?;
        let record = record
            .ok_or_else(|| StepError::permanent(format!("repository {repository} is not known any more")))?;
        let plain = self
            .vault()?
            .unseal(SEALED_ACCESS, &record.value.sealed_access)
            .map_err(|error| StepError::permanent(error.to_string()))?;
        serde_json::from_slice(&plain)
            .map_err(|_| StepError::permanent("the repository's secrets cannot be read"))
    }

    /// Bytes per second that all who write to it share; 0 for no limit. As it is now: somebody may have changed it.
    pub(super) async fn bandwidth_of(&self, repository: RepositoryId) -> Result<u64, StepError> {
        let record = self.db.repositories.get(&repository).await?;
        Ok(record.map_or(0, |record| record.value.repository.bandwidth))
    }

    /// Tells a host how fast it may write now, where it was told something else.
    async fn keep_pace<S: Saga>(
        &self,
        ctx: &StepCtx<S>,
        client: &AgentClient,
        (writer, told): (&Writer, &mut Option<u64>),
    ) {
        // What it was told before stands until the record can be read.
        let Ok(limit) = self.bandwidth_of(writer.repository()).await else { return };
        let share = writer.share(limit);
        if *told == Some(share) {
            return;
        }
        // A host that did not hear it is told again; one of an older version keeps to what its command said.
        if let Ok(true) = client.backup_pace(ctx.operation_id(), ctx.epoch(), share).await {
            *told = Some(share);
        }
    }

    /// Runs a long command, shows how far it is, and passes a wish to end on.
    pub(super) async fn backup_command<S: Saga>(
        &self,
        ctx: &StepCtx<S>,
        host: HostId,
        command: BackupCommand,
    ) -> Result<BackupReply, StepError> {
        self.paced_command(ctx, (host, command), None).await
    }

    /// The same for a command that writes to a repository, which others may do at the same time.
    pub(super) async fn paced_command<S: Saga>(
        &self,
        ctx: &StepCtx<S>,
        (host, command): (HostId, BackupCommand),
        writer: Option<&Writer>,
    ) -> Result<BackupReply, StepError> {
        // Not what the command says: a host that runs it already, from before a restart of ours, does not look at it again.
        let mut told = None;
        let operation = ctx.operation_id();
        let client = self.fleet()?.client(host).ok_or_else(|| host_removed(host))?;
        let sent = self.send(ctx, host, Command::Backup(Box::new(command)));
        tokio::pin!(sent);
        let mut asked = false;
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut before, mut since) = (0, std::time::Instant::now());
        loop {
            tokio::select! {
                result = &mut sent => return match result {
                    Ok(CommandResult::Backup(reply)) => Ok(*reply),
                    Ok(_) => Err(StepError::permanent("the host answered something else")),
                    Err(_) if asked => Err(StepError::Cancelled),
                    Err(error) => Err(error),
                },
                () = ctx.cancelled().cancelled(), if !asked => {
                    asked = true;
                    let _unheard = client.backup_cancel(operation, ctx.epoch()).await;
                }
                _ = tick.tick() => {
                    if asked {
                        // Again, for a host that did not hear it, or that had not begun.
                        let _unheard = client.backup_cancel(operation, ctx.epoch()).await;
                    }
                    if let Some(writer) = writer {
                        self.keep_pace(ctx, &client, (writer, &mut told)).await;
                    }
                    let Ok(now) = client.backup_progress(operation).await else { continue };
                    if now.total == 0 {
                        continue;
                    }
                    if let Some(writer) = writer {
                        writer.writes();
                    }
                    let percent = (u128::from(now.done) * 100 / u128::from(now.total)).min(100) as u8;
                    let rate = now.done.saturating_sub(before) as f64 / since.elapsed().as_secs_f64().max(0.001);
                    (before, since) = (now.done, std::time::Instant::now());
                    ctx.progress(percent, format!(
                        "{} of {} MiB, {:.0} MiB/s, {} MiB read, {} MiB new, {} MiB stored",
                        now.done >> 20, now.total >> 20, rate / 1_048_576.0,
                        now.read >> 20, now.new_bytes >> 20, now.stored >> 20,
                    ));
                }
            }
        }
    }
}
