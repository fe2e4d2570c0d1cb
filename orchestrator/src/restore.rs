//! `xenith-orchestrator restore`: words of a command line become a repository, and that a data folder.

use anyhow::{Context, bail};
use xenith_hypervisor_agent_types::backup::{RepositoryAccess, RepositoryKey, RepositoryPlace, Secret};
use xenith_orchestrator::config::Config;
use xenith_orchestrator::own_backup;
use xenith_orchestrator::own_backup::restore::{MASTER_KEY, Which, restore};
use xenith_orchestrator::secret::MasterKey;

use crate::cli::Restore;

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|text| !text.is_empty())
}

/// For paper.
pub fn show_master_key(config: &Config) -> anyhow::Result<()> {
    let path = config.data.join(MASTER_KEY);
    let bytes = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let Some(key) = MasterKey::from_bytes(&bytes) else { bail!("{} is no master key", path.display()) };
    println!("{}", key.digits());
    Ok(())
}

fn access(restore: &Restore) -> anyhow::Result<RepositoryAccess> {
    let place = match restore.repository.strip_prefix("s3://") {
        Some(rest) => {
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            let secret = |name| Secret::new(variable(name).unwrap_or_default());
            RepositoryPlace::S3 {
                bucket: bucket.to_owned(),
                prefix: prefix.to_owned(),
                endpoint: restore.endpoint.clone().unwrap_or_default(),
                region: restore.region.clone().unwrap_or_default(),
                access_key: secret("AWS_ACCESS_KEY_ID"),
                secret_key: secret("AWS_SECRET_ACCESS_KEY"),
            }
        }
        None => {
            let path = std::path::absolute(&restore.repository)
                .with_context(|| format!("{:?} is not a folder", restore.repository))?;
            RepositoryPlace::Folder { path: path.to_string_lossy().into_owned() }
        }
    };
    let key = match (variable("XENITH_KEY"), variable("XENITH_PASSPHRASE")) {
        (Some(digits), None) => RepositoryKey::Digits(Secret::new(digits)),
        (None, Some(passphrase)) => RepositoryKey::Passphrase(Secret::new(passphrase)),
        (None, None) => bail!("no key: set XENITH_KEY (64 hex digits) or XENITH_PASSPHRASE"),
        (Some(_), Some(_)) => bail!("both XENITH_KEY and XENITH_PASSPHRASE are set; unset one"),
    };
    Ok(RepositoryAccess { place, key, writer: None })
}

pub async fn run(arguments: &Restore, config: &Config) -> anyhow::Result<()> {
    let access = access(arguments)?;
    let key = match variable("XENITH_MASTER_KEY") {
        Some(digits) => {
            Some(MasterKey::from_digits(&digits).context("XENITH_MASTER_KEY is not 64 hex digits")?)
        }
        None => None,
    };
    let repo = tokio::task::spawn_blocking(move || own_backup::open(&access)).await??;
    let which = Which { backup: arguments.backup.clone(), disk: arguments.disk.clone() };
    let restored = restore(repo, (which, key), &config.data).await?;
    println!("restored   {} of {}, made {}", restored.backup, restored.disk, restored.created);
    println!("into       {}", config.data.display());
    if restored.abandoned > 0 {
        println!("abandoned  {} operations that were under way then", restored.abandoned);
    }
    println!(
        "Start the orchestrator now. Make sure that the one before it is gone for good: hosts listen to the new one \
         only. What was made since the backup is shown by `xenith orphan list`."
    );
    Ok(())
}
