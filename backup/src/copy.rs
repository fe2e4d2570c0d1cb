//! Copying backups to another repository.
//!
//! A copy is a backup of a backup: the reader is the source, what differs from the copy before is found in the
//! maps, and only that is read. The target's own keys, chunking and sessions apply, so any two repositories can
//! be copied between, and a copy cut short resumes like every run. Copies keep the time of their original, and
//! its id as their origin. Moving packs as they are costs less, ties both repositories to one secret, and drags along what
//! the source no longer needs: that is [`crate::mirror`].

use std::sync::Arc;

use crate::diff::diff;
use crate::error::Result;
use crate::gc;
use crate::index::Index;
use crate::ingest::{Changes, DiskJob, Options, Progress, backup};
use crate::manifest::{DiskRecord, Manifest, newest};
use crate::reader::BackupDisk;
use crate::repo::Repository;

/// Copies every backup of `from` that `to` lacks, oldest first. Returns the new manifests.
pub fn copy(
    from: &Repository,
    to: &Repository,
    options: &Options,
    progress: &Progress,
) -> Result<Vec<Manifest>> {
    let (mut sources, _) = gc::visible(from)?;
    // In the order they were made, so that they are numbered alike.
    sources.sort_by_key(|source| (source.number(), source.created, source.id));
    let index = Arc::new(Index::load(from)?);
    let open = |disk: &DiskRecord| BackupDisk::new(from, Arc::clone(&index), disk);
    let mut copied = Vec::new();
    for source in &sources {
        let (there, _) = gc::visible(to)?;
        if there.iter().any(|manifest| manifest.origin == Some(source.id)) {
            continue;
        }
        let disks: Vec<(&DiskRecord, BackupDisk)> =
            source.disks.iter().map(|disk| (disk, open(disk))).collect();
        let mut jobs: Vec<DiskJob<'_>> = Vec::new();
        for (record, disk) in &disks {
            let changed = changes(&sources, &there, record, (disk, &open))?;
            jobs.push(DiskJob { name: record.name.clone(), source: disk, changed });
        }
        let options = Options {
            tags: source.tags.clone(),
            attachments: source.attachments.clone(),
            copy_of: Some((source.id, source.created)),
            ..options.clone()
        };
        copied.push(backup(to, jobs, &options, progress)?);
    }
    Ok(copied)
}

/// What differs from the target's newest backup of this disk, if that is a copy of one the source still has. Says which one
/// that is: another one may be the newest when the copy begins, and what differs from this one says nothing about that.
fn changes(
    sources: &[Manifest],
    there: &[Manifest],
    record: &DiskRecord,
    (disk, open): (&BackupDisk, &dyn Fn(&DiskRecord) -> BackupDisk),
) -> Result<Changes> {
    let unknown = |because: &str| Ok(Changes::Unknown { because: because.to_owned() });
    let Some((copy, _)) = newest(there, &record.name) else {
        return unknown("it is the first copy of this disk");
    };
    let base = sources.iter().find(|source| Some(source.id) == copy.origin);
    match base.and_then(|base| base.disk(&record.name)) {
        None => unknown("the newest backup there is no copy of one that is here"),
        Some(base) => Ok(Changes::Since { ranges: diff(&open(base), disk)?, base: Some(copy.id) }),
    }
}
