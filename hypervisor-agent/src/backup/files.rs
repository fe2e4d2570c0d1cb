//! Files of a backup: looked at, and handed out as an archive to whoever has a ticket.
//!
//! The filesystem in a backup is hostile: it is read by [`xenith_backup::files`], which bounds time and memory and never
//! mounts anything. What goes out is made while it is sent, so that an archive takes no space here; what could not be
//! read is named in a last entry of it, `NOT-IN-HERE.txt`.

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::mpsc::Sender;
use tokio::sync::oneshot;
use xenith_backup::files::{self, Archive, Entry, FileSystem, Kind};
use xenith_backup::index::Index;
use xenith_backup::reader::BackupDisk;
use xenith_backup::{BackupError, gc, manifest};
use xenith_common_block::BlockSource;
use xenith_hypervisor_agent_types::backup::{
    ArchiveKind, BackupFile, BackupFileKind, BackupReply, BackupVolume, DiskOf,
};
use xenith_hypervisor_agent_types::{Fault, FaultReason};

use super::repository::{Access, open};
use super::{Running, fault};

/// Entries of one answer: with the longest names it still fits into a message.
const ROOM: usize = 1000;
/// Until a ticket has to be used.
const TICKET_LIFE: Duration = Duration::from_secs(600);
/// More are refused: each keeps secrets in memory.
const MOST_TICKETS: usize = 256;
/// What goes over the network at a time.
const PIECE: usize = 256 * 1024;

/// What a ticket opens.
#[derive(Debug, Clone)]
pub struct Download {
    of: DiskOf,
    at: String,
    archive: ArchiveKind,
    since: Instant,
}

/// By the hash of the ticket.
#[derive(Debug, Default)]
pub struct Downloads(Mutex<HashMap<String, Download>>);

impl Downloads {
    pub fn open(
        &self,
        of: DiskOf,
        at: String,
        archive: ArchiveKind,
        ticket_hash: String,
    ) -> Result<(), Fault> {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        table.retain(|_, download| download.since.elapsed() < TICKET_LIFE);
        if table.len() >= MOST_TICKETS {
            let text = "too many downloads were asked for and not begun; wait ten minutes";
            return Err(Fault::new(FaultReason::NotReady, text));
        }
        table.insert(ticket_hash, Download { of, at, archive, since: Instant::now() });
        Ok(())
    }

    /// Once: who has begun has used it up.
    pub fn take(&self, ticket: &str) -> Option<Download> {
        let hash = blake3::hash(ticket.as_bytes()).to_hex();
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        table.remove(hash.as_str()).filter(|download| download.since.elapsed() < TICKET_LIFE)
    }
}

fn disk(of: &DiskOf, access: &Access<'_>) -> Result<Arc<dyn BlockSource>, Fault> {
    let repo = open(access)?;
    let opened = || -> Result<BackupDisk, BackupError> {
        let (manifests, _) = gc::visible(&repo)?;
        let (_, record) = manifest::find(&manifests, &format!("{}@{}", of.disk, of.backup))?;
        Ok(BackupDisk::new(&repo, Arc::new(Index::load(&repo)?), record))
    };
    Ok(Arc::new(opened().map_err(|error| fault(&error))?))
}

/// The filesystem and the path in it that `at` (`VOLUME:PATH`) means.
fn filesystem(of: &DiskOf, at: &str, access: &Access<'_>) -> Result<(FileSystem, String), Fault> {
    let (name, path) = at
        .split_once(':')
        .ok_or_else(|| Fault::invalid("at", format_args!("{at:?} is not of the form VOLUME:PATH")))?;
    let volumes = files::volumes(&disk(of, access)?).map_err(|error| fault(&error))?;
    let volume = volumes.into_iter().find(|volume| volume.name == name);
    let volume = volume
        .ok_or_else(|| Fault::new(FaultReason::NotFound, format_args!("the disk has no volume {name:?}")))?;
    let source = volume.source.ok_or_else(|| {
        let why = volume.unreadable.unwrap_or_default();
        Fault::new(FaultReason::Unsupported, format_args!("volume {name} cannot be read: {why}"))
    })?;
    let filesystem = files::open(source).map_err(|error| fault(&error))?;
    Ok((filesystem, format!("/{}", path.trim_matches('/'))))
}

pub(super) fn list(
    of: &DiskOf,
    (at, after): (Option<&str>, Option<&str>),
    running: &Arc<Running>,
) -> Result<BackupReply, Fault> {
    let access = &Access::of(&of.access, running);
    let Some(at) = at else {
        let volumes = files::volumes(&disk(of, access)?).map_err(|error| fault(&error))?;
        let shown = |volume: files::Volume| BackupVolume {
            name: volume.name,
            size: volume.size,
            filesystem: volume.filesystem.map(str::to_owned),
            unreadable: volume.unreadable,
        };
        let volumes = volumes.into_iter().map(shown).collect();
        return Ok(BackupReply::Files { volumes, entries: Vec::new(), more: false });
    };
    let (mut filesystem, path) = filesystem(of, at, access)?;
    let listed = filesystem.entry(path.as_bytes()).and_then(|entry| match entry.kind {
        Kind::Folder => filesystem.list(path.as_bytes()),
        _ => Ok(vec![entry]),
    });
    let mut entries: Vec<BackupFile> =
        listed.map_err(|error| fault(&error))?.into_iter().map(shown).collect();
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    let from = after.map_or(0, |after| entries.partition_point(|entry| entry.name.as_str() <= after));
    entries.drain(..from);
    let more = entries.len() > ROOM;
    entries.truncate(ROOM);
    Ok(BackupReply::Files { volumes: Vec::new(), entries, more })
}

fn shown(entry: Entry) -> BackupFile {
    BackupFile {
        name: String::from_utf8_lossy(&entry.name).into_owned(),
        kind: match entry.kind {
            Kind::File => BackupFileKind::File,
            Kind::Folder => BackupFileKind::Folder,
            Kind::Link => BackupFileKind::Link,
            Kind::Other => BackupFileKind::Other,
        },
        size: entry.size,
        mode: entry.mode,
        modified: entry.modified,
    }
}

/// Collects pieces for the network. Whoever listens no longer ends the work.
struct Pieces {
    piece: Vec<u8>,
    to: Sender<io::Result<Bytes>>,
}

impl Write for Pieces {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(data);
        if self.piece.len() >= PIECE {
            self.flush()?;
        }
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = Bytes::from(std::mem::take(&mut self.piece));
        self.to.blocking_send(Ok(piece)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Download {
    /// `application/zip`.
    #[must_use]
    pub const fn media_type(&self) -> &'static str {
        match self.archive {
            ArchiveKind::Zip => "application/zip",
            ArchiveKind::Tar => "application/x-tar",
        }
    }

    /// Opens what is asked for, says whether that went well, and sends the archive. Blocks. An error on the way breaks
    /// the connection off, so that half of it is not taken for all.
    pub fn send(self, opened: oneshot::Sender<Result<(), Fault>>, to: Sender<io::Result<Bytes>>) {
        let listens = to.clone();
        let access = Access::new(&self.of.access, move || listens.is_closed());
        let found = filesystem(&self.of, &self.at, &access).and_then(|(mut filesystem, path)| {
            filesystem.entry(path.as_bytes()).map_err(|error| fault(&error))?;
            Ok((filesystem, path))
        });
        let (filesystem, path) = match found {
            Ok(found) => found,
            Err(fault) => {
                let _gone = opened.send(Err(fault));
                return;
            }
        };
        if opened.send(Ok(())).is_err() {
            return;
        }
        if let Err(error) = pack(filesystem, &path, self.archive, &to) {
            tracing::info!(error = xenith_backup::error::chain(&error), "a download ended early");
            let _gone = to.blocking_send(Err(io::Error::other("the backup cannot be read further")));
        }
    }
}

fn pack(
    mut filesystem: FileSystem,
    path: &str,
    archive: ArchiveKind,
    to: &Sender<io::Result<Bytes>>,
) -> Result<(), BackupError> {
    let out = Pieces { piece: Vec::new(), to: to.clone() };
    let mut archive = match archive {
        ArchiveKind::Zip => Archive::zip(out),
        ArchiveKind::Tar => Archive::tar(out),
    };
    let packed = files::pack(&mut filesystem, path.as_bytes(), &mut archive)?;
    if !packed.left_out.is_empty() {
        archive.note("NOT-IN-HERE.txt", packed.left_out.join("\n").as_bytes())?;
    }
    archive.finish()
}
