//! From words on the command line to an opened repository.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use xenith_backup::Repository;
use xenith_backup::keys::Credential;
use xenith_backup::store::{LocalStore, ObjectStore, RetryingStore, S3Store};

use crate::cli::KeyArgs;

pub fn credential(key: &KeyArgs) -> anyhow::Result<Credential> {
    if let Some(path) = &key.key_file {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        return Credential::from_key_file(&text)
            .with_context(|| format!("{} does not hold 64 hex digits", path.display()));
    }
    match &key.passphrase {
        Some(text) if !text.is_empty() => Ok(Credential::Passphrase(text.clone())),
        _ => bail!("there is no key: set XENITH_PASSPHRASE, or give --key-file"),
    }
}

fn patient(store: impl ObjectStore + 'static) -> Arc<dyn ObjectStore> {
    Arc::new(RetryingStore::new(store, Duration::from_millis(200), Duration::from_secs(180)))
}

pub fn store(repo: &str) -> anyhow::Result<Arc<dyn ObjectStore>> {
    if repo.starts_with("s3://") {
        return Ok(patient(S3Store::open(repo)?));
    }
    let opened = LocalStore::open(Path::new(repo));
    Ok(patient(opened.with_context(|| format!("there is no repository at {repo}; `init` makes one"))?))
}

pub fn store_for_init(repo: &str) -> anyhow::Result<Arc<dyn ObjectStore>> {
    if repo.starts_with("s3://") {
        return Ok(patient(S3Store::open(repo)?));
    }
    Ok(patient(LocalStore::create_root(Path::new(repo))?))
}

pub fn repository(repo: &str, key: &KeyArgs) -> anyhow::Result<Repository> {
    repository_with(repo, &credential(key)?)
}

/// The same with a key that reads what is in it.
pub fn readable(repo: &str, key: &KeyArgs) -> anyhow::Result<Repository> {
    let opened = repository(repo, key)?;
    opened.keyring().need_own("reading backups")?;
    Ok(opened)
}

/// The same with a key that is not the command line's.
pub fn repository_with(repo: &str, credential: &Credential) -> anyhow::Result<Repository> {
    Repository::open(store(repo)?, credential).with_context(|| format!("cannot open {repo}"))
}
