//! One disk of a backup into a VDI of this host.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use xenith_backup::index::Index;
use xenith_backup::reader::BackupDisk;
use xenith_backup::restore::Target;
use xenith_backup::{gc, manifest};
use xenith_common_block::{BlockSink, BlockSource, ByteRange};
use xenith_common_ids::VdiId;
use xenith_hypervisor_agent_types::backup::{BackupReply, RepositoryAccess};
use xenith_hypervisor_agent_types::{Fault, FaultReason};

use super::repository::open;
use super::{Running, fault};
use crate::disk::Storage;

pub(super) fn restore(
    storage: &Storage,
    access: &RepositoryAccess,
    (backup, disk): (&str, &str),
    vdi: VdiId,
    running: &Running,
) -> Result<BackupReply, Fault> {
    let disk = open_disk(access, (backup, disk))?;
    running.restore_total.store(disk.size(), Ordering::Relaxed);
    let sink = storage.open_sink(vdi)?;
    write_whole(&disk, (vdi, &*sink), running)?;
    Ok(BackupReply::Restored { written: running.restore.written.load(Ordering::Relaxed) })
}

fn open_disk(access: &RepositoryAccess, (backup, disk): (&str, &str)) -> Result<BackupDisk, Fault> {
    let repo = open(access)?;
    let opened = || -> Result<BackupDisk, xenith_backup::BackupError> {
        let (manifests, _) = gc::visible(&repo)?;
        let (_, record) = manifest::find(&manifests, &format!("{disk}@{backup}"))?;
        Ok(BackupDisk::new(&repo, Arc::new(Index::load(&repo)?), record))
    };
    opened().map_err(|error| fault(&error))
}

pub(super) fn check_room(disk: &BackupDisk, (vdi, sink): (VdiId, &dyn BlockSink)) -> Result<(), Fault> {
    if sink.size() < disk.size() {
        let refusal =
            format_args!("VDI {vdi} has {} bytes, the disk in the backup {}", sink.size(), disk.size());
        return Err(Fault::new(FaultReason::Invalid, refusal));
    }
    Ok(())
}

pub(super) fn workers() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from).min(8)
}

/// All of the disk, and zeros behind it.
pub(super) fn write_whole(
    disk: &BackupDisk,
    (vdi, sink): (VdiId, &dyn BlockSink),
    running: &Running,
) -> Result<(), Fault> {
    check_room(disk, (vdi, sink))?;
    // An earlier try may have left anything there, so zeros are written too.
    xenith_backup::restore::restore(disk, sink, Target::Used, workers(), &running.restore)
        .map_err(|error| fault(&error))?;
    let rest = ByteRange::new(disk.size(), sink.size());
    if !rest.is_empty() {
        let failed = |error| fault(&xenith_backup::BackupError::Block(error));
        sink.zero(rest).and_then(|()| sink.flush()).map_err(failed)?;
    }
    Ok(())
}
