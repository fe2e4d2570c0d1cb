//! A standby VM's VDI is brought to a newer backup, by what differs from what it holds.
//!
//! The mark of the VDI ([`crate::disk`]) says which backups its blocks are of, also after a kill at any moment; what is
//! written is what differs from any of them. Where the mark or one of its backups is gone, all of the disk is written, and
//! the answer says why.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use xenith_backup::index::Index;
use xenith_backup::manifest::Manifest;
use xenith_backup::reader::BackupDisk;
use xenith_backup::{BackupError, Repository, follow as engine, gc, manifest};
use xenith_common_block::{BlockSource, RangeSet};
use xenith_common_ids::VdiId;
use xenith_hypervisor_agent_types::backup::{BackupReply, Rewind, RewindWhen};
use xenith_hypervisor_agent_types::{Fault, FaultReason};

use super::repository::{Access, open};
use super::restore::{check_room, workers, write_whole};
use super::{Running, fault};
use crate::disk::{Point, Storage};

/// The disks of a repository's backups.
struct Shelf {
    repo: Repository,
    index: Arc<Index>,
    manifests: Vec<Manifest>,
}

impl Shelf {
    fn open(access: &Access<'_>) -> Result<Self, Fault> {
        let repo = open(access)?;
        let (manifests, _) = gc::visible(&repo).map_err(|error| fault(&error))?;
        let index = Arc::new(Index::load(&repo).map_err(|error| fault(&error))?);
        Ok(Self { repo, index, manifests })
    }

    fn disk(&self, point: &Point) -> Result<BackupDisk, BackupError> {
        let (_, record) = manifest::find(&self.manifests, &format!("{}@{}", point.disk, point.backup))?;
        Ok(BackupDisk::new(&self.repo, Arc::clone(&self.index), record))
    }

    /// What to write, or why everything. Damage and a store that is away are errors.
    fn plan(&self, held: &[Point], to: &BackupDisk) -> Result<Result<RangeSet, String>, Fault> {
        if held.is_empty() {
            return Ok(Err("what the disk holds is not known".to_owned()));
        }
        let mut disks = Vec::new();
        for point in held {
            match self.disk(point) {
                Ok(disk) => disks.push(disk),
                Err(BackupError::NotFound { .. }) => {
                    return Ok(Err(format!("the backup {} that it holds is gone", point.backup)));
                }
                Err(error) => return Err(fault(&error)),
            }
        }
        engine::ranges(&disks, to).map(Ok).map_err(|error| fault(&error))
    }
}

pub(super) fn follow(
    storage: &Storage,
    access: &Access<'_>,
    target: Point,
    (vdi, running): (VdiId, &Running),
) -> Result<BackupReply, Fault> {
    let marked = storage.open_marked(vdi)?;
    let mut held = marked.held();
    if held == [target.clone()] {
        return Ok(BackupReply::Followed { written: 0, whole_because: None });
    }
    let shelf = Shelf::open(access)?;
    let to = shelf.disk(&target).map_err(|error| fault(&error))?;
    check_room(&to, (vdi, marked.sink()))?;
    let whole_because = match shelf.plan(&held, &to)? {
        Ok(ranges) => {
            running.restore_total.store(ranges.total_len(), Ordering::Relaxed);
            if !held.contains(&target) {
                held.push(target.clone());
            }
            marked.note(&held)?;
            engine::follow(&to, marked.sink(), &ranges, workers(), &running.restore)
                .map_err(|error| fault(&error))?;
            None
        }
        Err(why) => {
            running.restore_total.store(to.size(), Ordering::Relaxed);
            marked.note(&[])?;
            write_whole(&to, (vdi, marked.sink()), running)?;
            Some(why)
        }
    };
    marked.note(&[target])?;
    let written = running.restore.written.load(Ordering::Relaxed);
    Ok(BackupReply::Followed { written, whole_because })
}

pub(super) fn rewind(storage: &Storage, rewind: Rewind) -> Result<BackupReply, Fault> {
    let Rewind { vdi, snapshot, backup, disk, when } = rewind;
    if when == RewindWhen::Unknown && !storage.mark_of(vdi)?.is_empty() {
        return Ok(BackupReply::Rewound { rewound: false });
    }
    match storage.rewind(vdi, snapshot, Point { backup, disk }) {
        Ok(()) => Ok(BackupReply::Rewound { rewound: true }),
        Err(gone) if when == RewindWhen::Unknown && gone.reason == FaultReason::NotFound => {
            Ok(BackupReply::Rewound { rewound: false })
        }
        Err(error) => Err(error),
    }
}
