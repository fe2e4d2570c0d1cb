//! Legal holds: backups that no retention may forget until the hold is lifted.
//!
//! A hold is an object `holds/<backup id>`. It is looked at when a plan is proposed and again when its verdict
//! is made, so a hold placed while a plan waits still counts.

use crate::error::Result;
use crate::id::BackupId;
use crate::repo::Repository;
use crate::store::{ObjectKey, StoreError};

fn key(id: &BackupId) -> ObjectKey {
    ObjectKey::new(format!("holds/{id}"))
}

/// Places a hold; placing it twice is one hold.
pub fn place(repo: &Repository, id: &BackupId) -> Result<()> {
    match repo.store().create(&key(id), &[bytes::Bytes::from_static(b"held\n")]) {
        Ok(()) | Err(StoreError::AlreadyExists { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Lifts a hold.
pub fn lift(repo: &Repository, id: &BackupId) -> Result<()> {
    Ok(repo.store().delete(&key(id))?)
}

/// Everything under hold.
pub fn list(repo: &Repository) -> Result<Vec<BackupId>> {
    let listed = repo.store().list("holds/")?;
    Ok(listed
        .iter()
        .filter_map(|info| info.key.as_str().strip_prefix("holds/").and_then(BackupId::parse))
        .collect())
}
