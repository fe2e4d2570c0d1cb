//! Legal holds: backups that no retention may forget until the hold is lifted.
//!
//! A hold is an object `holds/<backup id>`, or `holds/<backup id>.<holder>` of a program that needs the backup for a
//! while: holders do not lift each other's. It is looked at when a plan is proposed and again when its verdict is
//! made, so a hold placed while a plan waits still counts.

use crate::error::Result;
use crate::id::BackupId;
use crate::repo::Repository;
use crate::store::{ObjectKey, StoreError};

fn key(id: &BackupId) -> ObjectKey {
    ObjectKey::new(format!("holds/{id}"))
}

fn key_of(id: &BackupId, holder: &str) -> ObjectKey {
    ObjectKey::new(format!("holds/{id}.{holder}"))
}

/// Places a hold; placing it twice is one hold.
pub fn place(repo: &Repository, id: &BackupId) -> Result<()> {
    create(repo, &key(id))
}

/// Places a hold of `holder` (letters, digits and dashes).
pub fn place_for(repo: &Repository, id: &BackupId, holder: &str) -> Result<()> {
    create(repo, &key_of(id, holder))
}

/// Lifts the hold of `holder`.
pub fn lift_for(repo: &Repository, id: &BackupId, holder: &str) -> Result<()> {
    Ok(repo.store().delete(&key_of(id, holder))?)
}

fn create(repo: &Repository, key: &ObjectKey) -> Result<()> {
    match repo.store().create(key, &[bytes::Bytes::from_static(b"held\n")]) {
        Ok(()) | Err(StoreError::AlreadyExists { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Lifts a hold, and those of programs that forgot theirs.
pub fn lift(repo: &Repository, id: &BackupId) -> Result<()> {
    for info in repo.store().list(&format!("holds/{id}"))? {
        repo.store().delete(&info.key)?;
    }
    Ok(())
}

/// Lifts a hold that somebody placed; those of programs, which need the backup, stay.
pub fn lift_placed(repo: &Repository, id: &BackupId) -> Result<()> {
    Ok(repo.store().delete(&key(id))?)
}

/// The programs that hold a backup.
pub fn holders(repo: &Repository, id: &BackupId) -> Result<Vec<String>> {
    let prefix = format!("{}.", key(id));
    let listed = repo.store().list(&prefix)?;
    Ok(listed.iter().filter_map(|info| info.key.as_str().strip_prefix(&prefix).map(str::to_owned)).collect())
}

/// What somebody holds, without what a program needs for a while.
pub fn placed(repo: &Repository) -> Result<Vec<BackupId>> {
    let listed = repo.store().list("holds/")?;
    Ok(listed.iter().filter_map(|info| BackupId::parse(info.key.as_str().strip_prefix("holds/")?)).collect())
}

/// Everything under hold.
pub fn list(repo: &Repository) -> Result<Vec<BackupId>> {
    let listed = repo.store().list("holds/")?;
    let held = |key: &str| {
        let name = key.strip_prefix("holds/")?;
        BackupId::parse(name.split_once('.').map_or(name, |(id, _)| id))
    };
    let mut ids: Vec<BackupId> = listed.iter().filter_map(|info| held(info.key.as_str())).collect();
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}
