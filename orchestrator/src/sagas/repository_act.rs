//! One thing with a repository, done by a host: make or open it, check it, hold, forget, prune. What the repository
//! then lists becomes the catalogue.
//!
//! Secrets are not among the parameters, which are stored as they are: the step unseals them.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use xenith_common_ids::{HostId, RepositoryId};
use xenith_common_text::counted;
use xenith_hypervisor_agent_types::backup::{BackupCommand, BackupReply, KeepPolicy};
use xenith_orchestrator_saga::{RetryPolicy, Saga, Step, StepCtx, StepError};
use xenith_orchestrator_store::Transaction;
use xenith_orchestrator_types::event::Severity;

use super::{Deps, nothing};
use crate::catalogue;
use crate::events::Happened;

#[derive(Clone)]
pub struct RepositoryAct(pub Arc<Deps>);

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Params {
    pub repository: RepositoryId,
    pub host: HostId,
    pub act: Act,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// Its record was written in the transaction that starts the saga.
    Create,
    Test,
    Verify {
        deep: bool,
    },
    /// Quickly, and by itself: what is found is told.
    Check,
    Hold {
        backup: String,
        held: bool,
    },
    Forget {
        backups: Vec<String>,
    },
    /// Of each of these VMs, given by the names of its disks.
    Prune {
        vms: Vec<Vec<String>>,
        keep: KeepPolicy,
    },
}

impl Saga for RepositoryAct {
    const KIND: &'static str = "repository_act";
    type Params = Params;

    fn steps(params: &Params) -> Vec<Step<Self>> {
        let day = Duration::from_secs(86_400);
        let act = match params.act {
            Act::Create => Step::new("act", act).retry(RetryPolicy { attempts: 3, ..RetryPolicy::default() }),
            Act::Forget { .. } | Act::Prune { .. } => {
                Step::new("act", act).cannot_be_undone("forgotten backups do not come back").deadline(day)
            }
            _ => Step::new("act", act).deadline(7 * day),
        };
        let mut steps = Vec::new();
        if params.act == Act::Create {
            steps.push(Step::new("record", nothing).undo(erase));
        }
        steps.push(act);
        steps.push(Step::new("catalogue", list));
        steps
    }
}

async fn erase(saga: &RepositoryAct, ctx: &StepCtx<RepositoryAct>) -> Result<(), StepError> {
    let (db, id) = (&saga.0.db, ctx.params().repository);
    let Some(record) = db.repositories.get(&id).await? else { return Ok(()) };
    let mut erase = db.repositories.delete_in(Transaction::new(), &id);
    erase = db.repository_names.delete_in(erase, &record.value.repository.name);
    db.store.commit(erase).await?;
    Ok(())
}

async fn act(saga: &RepositoryAct, ctx: &StepCtx<RepositoryAct>) -> Result<String, StepError> {
    let Params { repository, host, act } = ctx.params();
    let access = saga.0.access(*repository).await?;
    let command = match act.clone() {
        Act::Create => {
            BackupCommand::EnsureRepository { access: saga.0.all_access(*repository).await?, known: None }
        }
        Act::Test => {
            let record = saga.0.db.repositories.get(repository).await?;
            let known = record.and_then(|record| record.value.repository.repository);
            BackupCommand::EnsureRepository { access: saga.0.all_access(*repository).await?, known }
        }
        Act::Verify { deep } => BackupCommand::Verify { access, deep, quick: false },
        Act::Check => BackupCommand::Verify { access, deep: false, quick: true },
        Act::Hold { backup, held } => BackupCommand::Hold { access, backup, held },
        Act::Forget { backups } => BackupCommand::Forget { access, backups },
        Act::Prune { vms, keep } => BackupCommand::Prune { access, vms, keep },
    };
    let result = saga.0.backup_command(ctx, *host, command).await;
    if let Err(error) = &result
        && matches!(act, Act::Test | Act::Verify { .. })
    {
        note(saga, *repository, None, Some(error.chain())).await?;
    }
    // One that is away is asked again, and runs that need it tell of it.
    if let Err(error @ StepError::Permanent { .. }) = &result
        && *act == Act::Check
    {
        tell(saga, *repository, Severity::Warning, &format!("it could not be checked: {}", error.chain()))
            .await;
    }
    match result? {
        BackupReply::Repository { id, made } => {
            note(saga, *repository, Some(id), None).await?;
            Ok(if made {
                "the repository was made".to_owned()
            } else {
                "the repository was opened".to_owned()
            })
        }
        BackupReply::Verified { backups, bytes_read, problems, .. } if problems.is_empty() => {
            if *act == Act::Check {
                // What was looked at is less than what found a problem before.
                saga.0.db.repositories.modify(repository, |record| record.repository.checked = now()).await?;
            } else {
                note(saga, *repository, None, None).await?;
            }
            Ok(format!("{} verified, all good ({} MiB read)", counted(backups, "backup"), bytes_read >> 20))
        }
        BackupReply::Verified { problems, touched, .. } => {
            doubt(saga, *repository, &touched).await?;
            let text = format!("the repository is damaged: {}", problems.join("; "));
            let short: String = text.chars().take(4000).collect();
            note(saga, *repository, None, Some(short.clone())).await?;
            tell(saga, *repository, Severity::Error, &short).await;
            Err(StepError::permanent(short))
        }
        BackupReply::Forgotten { backups, freed, waiting } => {
            catalogue::take_out(&saga.0.db, *repository, &backups).await?;
            Ok(format!(
                "{} forgotten, {} MiB freed, {} waiting",
                counted(backups.len(), "backup"),
                freed >> 20,
                counted(waiting, "plan")
            ))
        }
        BackupReply::Held => Ok("done".to_owned()),
        other => Err(StepError::permanent(format!("the host answered something else: {other:?}"))),
    }
}

/// The next backups of these disks read all of them: what the repository lost and the disks still have is stored again.
async fn doubt(saga: &RepositoryAct, repository: RepositoryId, touched: &[String]) -> Result<(), StepError> {
    let bases = &saga.0.db.bases;
    for base in bases.all().await?.0 {
        if base.key.1 == repository && touched.contains(&base.value.disk_name) {
            bases.modify(&base.key, |base| base.doubted = true).await?;
        }
    }
    Ok(())
}

fn now() -> Option<OffsetDateTime> {
    Some(OffsetDateTime::now_utc())
}

/// Also to who is not looking at the task.
async fn tell(saga: &RepositoryAct, repository: RepositoryId, severity: Severity, what: &str) {
    let named = saga.0.db.repositories.get(&repository).await.ok().flatten();
    let name = named.map_or_else(|| repository.to_string(), |record| record.value.repository.name);
    let (subject, message) = (format!("repository/{repository}"), format!("{name}: {what}"));
    saga.0.tell(Happened { severity, kind: "backup.repository", subject, message, pool: None }).await;
}

async fn note(
    saga: &RepositoryAct,
    repository: RepositoryId,
    inside: Option<String>,
    problem: Option<String>,
) -> Result<(), StepError> {
    let change = |record: &mut crate::model::RepositoryRecord| {
        record.repository.checked = now();
        record.repository.problem.clone_from(&problem);
        if inside.is_some() {
            record.repository.repository.clone_from(&inside);
        }
    };
    saga.0.db.repositories.modify(&repository, change).await?;
    Ok(())
}

async fn list(saga: &RepositoryAct, ctx: &StepCtx<RepositoryAct>) -> Result<(), StepError> {
    let Params { repository, host, .. } = ctx.params();
    let access = saga.0.access(*repository).await?;
    let before = catalogue::known_before(&saga.0.db, *repository).await?;
    match saga.0.backup_command(ctx, *host, BackupCommand::List { access }).await? {
        BackupReply::Backups { backups } => {
            catalogue::replace(&saga.0.db, *repository, before, &backups).await?;
            Ok(())
        }
        other => Err(StepError::permanent(format!("the host answered something else: {other:?}"))),
    }
}
