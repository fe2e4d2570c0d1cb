//! The SR in a folder: one sparse raw image per VDI, named by its id.
//!
//! | name | what |
//! |---|---|
//! | `<id>.raw` | a VDI; being there under this name is its commit point |
//! | `<id>.snap` | a snapshot: the same, never opened for writing |
//! | `<id>.json` | what was written down about either ([`meta`]): written before it, deleted after it |
//! | `.xenith-leases/<id>.json` | who may write a VDI, in an SR that more than one host may have ([`crate::VdiLeases`]) |
//! | `*.partial` | something that is being made, or was when the power went |
//!
//! Snapshots and clones share blocks where the file system can (`FICLONE`: XFS made with reflink, btrfs, NFS 4.2 on
//! these). Elsewhere they are copies; there is no qcow2 under a running guest (`docs/adr/0040-raw-images.md`).
//!
//! Who else touches it: the kernel's loop devices write images in place for running guests. A crash leaves
//! `*.partial` files, which the same call made again overwrites, or a `.json` without an image.

mod loops;
mod meta;
mod open;
mod snapshot;
mod source;

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use rustix::io::Errno;
use xenith_common_block::{BlockError, BlockSink, BlockSource, FileSink, FileSource, copy, copy_unflushed};
use xenith_common_ids::{SrId, VdiId};
use xenith_hypervisor_agent_types::{DamagedVdi, LeftOver, SnapshotOf, SrSpace, VdiFacts, VdiSize};

use crate::error::is_full;
use crate::lease::LEASES;
use crate::vdi_lease::VDI_LEASES;
use crate::{Listing, PendingSnapshot, Result, Sharing, StorageDriver, StorageError, VdiLeases};
use meta::Meta;
use open::{plain, read_small_text};
use source::RawSource;

/// Says whose folder it is: the id of the SR. A folder without it is not attached (a disk that is not mounted).
pub(crate) const MARK: &str = ".xenith-sr";

/// The driver. Cheap to clone.
#[derive(Debug, Clone)]
pub struct FileDriver {
    id: SrId,
    folder: PathBuf,
    sharing: Sharing,
    /// It was attached by its mark, without which the folder is the one under a disk that is not mounted any more. Others
    /// may have it too, and so it has leases.
    leases: Option<Arc<VdiLeases>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Disk,
    Snapshot,
}

/// An image as it is found.
#[derive(Debug, Clone)]
struct Found {
    path: PathBuf,
    size: VdiSize,
    physical: u64,
    snapshot_of: Option<VdiId>,
    kind: Kind,
}

impl FileDriver {
    /// The SR `id` in `folder`, which is there. Tries whether the file system shares blocks.
    #[must_use]
    pub fn open(id: SrId, folder: PathBuf) -> Self {
        let sharing = match shares_blocks(&folder) {
            Ok(true) => Sharing::CopyOnWrite,
            Ok(false) => Sharing::FullCopy,
            Err(error) => {
                tracing::warn!(%error, folder = %folder.display(), "cannot try whether blocks are shared here");
                Sharing::FullCopy
            }
        };
        Self { id, folder, sharing, leases: None }
    }

    /// Marks a folder as the SR `id`, which it becomes with that.
    pub fn mark(id: SrId, folder: &Path) -> Result<()> {
        let sr = |source| StorageError::Sr { action: "make", sr: id, source };
        match read_small_text(&folder.join(MARK)) {
            Ok(mark) if mark.trim() == id.to_string() => return Ok(()),
            Ok(mark) => {
                let mark = mark.trim();
                let folder = folder.display();
                let problem = format!(
                    "{folder} is SR {mark} already; attach that one, or give another folder. If that SR was forgotten, \
                     remove {folder}/{MARK}: the SR that is made then finds its VDIs as orphans, to be adopted"
                );
                return Err(StorageError::Unsupported(problem));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(sr(error)),
        }
        let partial = Partial::create(folder.join(format!("{MARK}.partial"))).map_err(sr)?;
        fs::write(&partial.path, id.to_string())
            .and_then(|()| File::open(&partial.path)?.sync_all())
            .and_then(|()| partial.commit(&folder.join(MARK)))
            .and_then(|()| File::open(folder)?.sync_all())
            .map_err(sr)
    }

    /// Takes [`Self::mark`] back.
    pub fn unmark(id: SrId, folder: &Path) -> Result<()> {
        match fs::remove_file(folder.join(MARK)) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(StorageError::Sr { action: "unmake", sr: id, source })
            }
            _ => Ok(()),
        }
    }

    /// The SR `id` in a folder that is marked as such.
    pub fn attach(id: SrId, folder: PathBuf) -> Result<Self> {
        let sr = |source| StorageError::Sr { action: "attach", sr: id, source };
        let shown = folder.display();
        match read_small_text(&folder.join(MARK)) {
            Ok(mark) if mark.trim() == id.to_string() => {
                let leases = Some(Arc::new(VdiLeases::new(id, folder.clone())));
                Ok(Self { leases, ..Self::open(id, folder) })
            }
            Ok(mark) => Err(StorageError::Unsupported(format!("{shown} is another SR: {}", mark.trim()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(StorageError::Unsupported(format!(
                "{shown} is not SR {id} (it has no {MARK}); is its disk mounted?"
            ))),
            Err(error) => Err(sr(error)),
        }
    }

    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Refuses a folder whose disk was taken away under it: what is not in there may be safe and sound elsewhere, and
    /// what is made in there would be hidden when the disk is back.
    fn still_there(&self) -> Result<()> {
        if self.leases.is_none() || self.folder.join(MARK).exists() {
            return Ok(());
        }
        let (folder, id) = (self.folder.display(), self.id);
        Err(StorageError::Unsupported(format!(
            "{folder} is not SR {id} any more (its {MARK} is gone); is its disk mounted?"
        )))
    }

    fn image(&self, vdi: VdiId) -> PathBuf {
        self.folder.join(format!("{vdi}.raw"))
    }

    fn frozen(&self, vdi: VdiId) -> PathBuf {
        self.folder.join(format!("{vdi}.snap"))
    }

    fn io(&self, action: &'static str, vdi: VdiId) -> impl Fn(io::Error) -> StorageError + '_ {
        move |source| {
            if is_full(&source) {
                StorageError::Full { sr: self.id, vdi, action }
            } else {
                StorageError::Io { action, vdi, source }
            }
        }
    }

    fn sync_folder(&self) -> io::Result<()> {
        File::open(&self.folder)?.sync_all()
    }

    fn find(&self, vdi: VdiId) -> Result<Found> {
        for (path, kind) in [(self.image(vdi), Kind::Disk), (self.frozen(vdi), Kind::Snapshot)] {
            match fs::symlink_metadata(&path) {
                Ok(found) if found.is_file() => return self.check(vdi, path, &found, kind),
                Ok(_) => {
                    let detail = format!(
                        "{} is a link or no file at all, which nothing is read from or written to; put the image itself \
                         there, or remove it",
                        path.display()
                    );
                    return Err(StorageError::Damaged { vdi, detail });
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(self.io("look at", vdi)(error)),
            }
        }
        self.still_there()?;
        Err(StorageError::NotFound { vdi, sr: self.id })
    }

    /// Holds an image against what was written down about it.
    fn check(&self, vdi: VdiId, path: PathBuf, found: &fs::Metadata, kind: Kind) -> Result<Found> {
        let damaged = |detail| StorageError::Damaged { vdi, detail };
        let meta = Meta::load(&self.folder, vdi).map_err(self.io("read what is known of", vdi))?;
        let size = VdiSize::from_bytes(found.len()).map_err(|_| {
            damaged(format!("its image is {} bytes long, which no disk is; it was cut off", found.len()))
        })?;
        if let Some(meta) = &meta
            && meta.size > size
        {
            return Err(damaged(format!(
                "its image holds {size} of {}: it was cut off; restore it from a backup, or give it its size back \
                 with `truncate -s {} {}` to look at what is left",
                meta.size,
                meta.size.bytes(),
                path.display()
            )));
        }
        let snapshot_of = meta.and_then(|meta| meta.snapshot_of);
        Ok(Found { path, size, physical: found.blocks() * 512, snapshot_of, kind })
    }

    fn find_writable(&self, vdi: VdiId) -> Result<Found> {
        let found = self.find(vdi)?;
        if found.kind == Kind::Snapshot { Err(StorageError::IsSnapshot { vdi }) } else { Ok(found) }
    }

    fn facts_of(&self, vdi: VdiId, found: &Found) -> VdiFacts {
        VdiFacts {
            vdi,
            sr: self.id,
            size: found.size,
            physical: found.physical,
            snapshot_of: found.snapshot_of.filter(|_| found.kind == Kind::Snapshot),
        }
    }

    fn note(&self, vdi: VdiId, meta: &Meta) -> Result<()> {
        self.still_there()?;
        meta.save(&self.folder, vdi).map_err(self.io("write down the size of", vdi))
    }

    /// Fills `partial`, an empty file, with the contents of `from`, sharing blocks where that is possible.
    fn fill(&self, vdi: VdiId, from: &Found, partial: &Path, deadline: Option<Instant>) -> Result<()> {
        let io = self.io("copy", vdi);
        if self.sharing == Sharing::CopyOnWrite {
            let source = plain().read(true).open(&from.path).map_err(&io)?;
            let target = plain().write(true).open(partial).map_err(&io)?;
            return rustix::fs::ioctl_ficlone(&target, &source).map_err(|errno| io(errno.into()));
        }
        let target = plain().write(true).open(partial).map_err(&io)?;
        target.set_len(0).and_then(|()| target.set_len(from.size.bytes())).map_err(&io)?;
        let (source, sink) = (FileSource::open(&from.path)?, FileSink::open(partial)?);
        let copied = match deadline {
            // A guest stands. What was copied is made durable with the commit.
            Some(deadline) => copy_unflushed(&source, &sink, |_| match Instant::now() >= deadline {
                true => Err(BlockError::Cancelled),
                false => Ok(()),
            }),
            None => copy(&source, &sink, |_| Ok(())),
        };
        match copied {
            Ok(_) => Ok(()),
            Err(BlockError::Cancelled) => Err(StorageError::TooSlow { sr: self.id, vdi }),
            Err(BlockError::Io { source, .. }) if is_full(&source) => Err(io(source)),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes `<to>.raw` from `from`, replacing what is there. The rename is the commit point.
    fn put(&self, from: &Found, to: VdiId, action: &'static str) -> Result<()> {
        let io = self.io(action, to);
        let path = self.image(to);
        let partial = Partial::create(path.with_extension("raw.partial")).map_err(&io)?;
        self.fill(to, from, &partial.path, None)?;
        File::open(&partial.path).and_then(|file| file.sync_all()).map_err(&io)?;
        partial.commit(&path).and_then(|()| self.sync_folder()).map_err(&io)
    }
}

/// A file that is removed unless it is committed under its name.
#[derive(Debug)]
struct Partial {
    path: PathBuf,
    committed: bool,
}

impl Partial {
    /// An empty file, whatever a crash has left there.
    fn create(path: PathBuf) -> io::Result<Self> {
        plain().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        Ok(Self { path, committed: false })
    }

    fn commit(mut self, name: &Path) -> io::Result<()> {
        fs::rename(&self.path, name)?;
        self.committed = true;
        Ok(())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.committed {
            // What cannot be removed is listed as a left-over.
            let _left_over = fs::remove_file(&self.path);
        }
    }
}

/// Tries it: asking the file system for its name would only be a guess.
fn shares_blocks(folder: &Path) -> io::Result<bool> {
    let name = |half| folder.join(format!("probe-{}-{half}.partial", VdiId::new()));
    let (first, second) = (Partial::create(name(1))?, Partial::create(name(2))?);
    fs::write(&first.path, [1; 4096])?;
    let source = File::open(&first.path)?;
    source.sync_all()?;
    let target = plain().write(true).open(&second.path)?;
    Ok(rustix::fs::ioctl_ficlone(&target, &source).is_ok())
}

impl StorageDriver for FileDriver {
    fn sr(&self) -> SrId {
        self.id
    }

    fn sharing(&self) -> Sharing {
        self.sharing
    }

    fn leases(&self) -> Option<&VdiLeases> {
        self.leases.as_deref()
    }

    fn space(&self) -> Result<SrSpace> {
        let (free, total) = self.room()?;
        let listing = self.list()?;
        Ok(SrSpace {
            total,
            free,
            physical: listing.vdis.iter().map(|vdi| vdi.physical).sum(),
            // What a snapshot holds does not grow.
            promised: listing
                .vdis
                .iter()
                .map(|vdi| if vdi.snapshot_of.is_some() { vdi.physical } else { vdi.size.bytes() })
                .sum(),
        })
    }

    fn room(&self) -> Result<(u64, u64)> {
        let sr = |source| StorageError::Sr { action: "look at", sr: self.id, source };
        let disk = rustix::fs::statvfs(&self.folder).map_err(|errno| sr(errno.into()))?;
        let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
        Ok((bytes(disk.f_bavail), bytes(disk.f_blocks)))
    }

    fn list(&self) -> Result<Listing> {
        let sr = |source| StorageError::Sr { action: "list", sr: self.id, source };
        self.still_there()?;
        let mut listing = Listing::default();
        for entry in fs::read_dir(&self.folder).map_err(sr)? {
            let entry = entry.map_err(sr)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let parsed = name.split_once('.').and_then(|(id, kind)| Some((id.parse::<VdiId>().ok()?, kind)));
            match parsed {
                Some((vdi, "raw" | "snap")) => match self.facts(vdi) {
                    Ok(facts) => listing.vdis.push(facts),
                    // Deleted meanwhile.
                    Err(StorageError::NotFound { .. }) => {}
                    Err(error) => listing.damaged.push(DamagedVdi { vdi, problem: error.to_string() }),
                },
                // Not in the list of what is there, and none of ours to clear away.
                _ if [MARK, LEASES, VDI_LEASES, "lost+found", "downloads"].contains(&&*name) => {}
                Some((vdi, "json")) if self.image(vdi).exists() || self.frozen(vdi).exists() => {}
                _ => {
                    let Ok(found) = entry.metadata() else { continue };
                    let idle = found.modified().ok().and_then(|at| SystemTime::now().duration_since(at).ok());
                    let idle_s = idle.map_or(0, |idle| idle.as_secs());
                    listing.left_overs.push(LeftOver { name, bytes: found.blocks() * 512, idle_s });
                }
            }
        }
        listing.vdis.sort_by_key(|facts| facts.vdi);
        listing.left_overs.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(listing)
    }

    fn facts(&self, vdi: VdiId) -> Result<VdiFacts> {
        let found = self.find(vdi)?;
        Ok(self.facts_of(vdi, &found))
    }

    fn ensure(&self, vdi: VdiId, size: VdiSize) -> Result<VdiFacts> {
        match self.find_writable(vdi) {
            Ok(found) if found.size == size => return Ok(self.facts_of(vdi, &found)),
            Ok(found) => return Err(StorageError::OtherSize { vdi, found: found.size, wanted: size }),
            Err(StorageError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
        let io = self.io("create", vdi);
        self.note(vdi, &Meta::new(size, None))?;
        let path = self.image(vdi);
        let partial = Partial::create(path.with_extension("raw.partial")).map_err(&io)?;
        plain()
            .write(true)
            .open(&partial.path)
            .and_then(|file| file.set_len(size.bytes()).and_then(|()| file.sync_all()))
            .and_then(|()| partial.commit(&path))
            .and_then(|()| self.sync_folder())
            .map_err(&io)?;
        self.facts(vdi)
    }

    fn delete(&self, vdi: VdiId) -> Result<()> {
        self.still_there()?;
        for path in [self.image(vdi), self.frozen(vdi), Meta::path(&self.folder, vdi)] {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(self.io("delete", vdi)(error));
                }
                _ => {}
            }
        }
        self.sync_folder().map_err(self.io("delete", vdi))
    }

    fn grow(&self, vdi: VdiId, size: VdiSize) -> Result<VdiFacts> {
        let found = self.find_writable(vdi)?;
        if size < found.size {
            return Err(StorageError::Shrink { vdi, found: found.size, wanted: size });
        }
        let io = self.io("grow", vdi);
        if size > found.size {
            // First the image, then the note: a note that is too large would call the image cut off.
            let file = plain().write(true).open(&found.path).map_err(&io)?;
            file.set_len(size.bytes()).and_then(|()| file.sync_all()).map_err(&io)?;
        }
        self.note(vdi, &Meta::new(size, None))?;
        loops::grown(&found.path).map_err(&io)?;
        self.facts(vdi)
    }

    fn prepare_snapshot(&self, disks: &[SnapshotOf]) -> Result<Box<dyn PendingSnapshot>> {
        Ok(Box::new(snapshot::Pending::prepare(self, disks)?))
    }

    fn clone_vdi(&self, from: VdiId, to: VdiId) -> Result<VdiFacts> {
        let source = self.find(from)?;
        match self.find_writable(to) {
            Ok(found) => return Ok(self.facts_of(to, &found)),
            Err(StorageError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
        self.note(to, &Meta::new(source.size, None))?;
        self.put(&source, to, "clone")?;
        self.facts(to)
    }

    fn rename(&self, from: VdiId, to: VdiId) -> Result<VdiFacts> {
        let source = self.find_writable(from)?;
        match self.find(to) {
            Err(StorageError::NotFound { .. }) => {}
            Ok(_) => return Err(StorageError::Exists { vdi: to }),
            Err(error) => return Err(error),
        }
        self.note(to, &Meta::new(source.size, None))?;
        let io = self.io("rename", to);
        // Whoever filled it may be a program that flushes nothing (qemu-img): under its name it is whole for good.
        File::open(&source.path).and_then(|file| file.sync_all()).map_err(&io)?;
        fs::rename(&source.path, self.image(to)).and_then(|()| self.sync_folder()).map_err(&io)?;
        self.delete(from)?;
        self.facts(to)
    }

    fn revert(&self, vdi: VdiId, snapshot: VdiId) -> Result<VdiFacts> {
        let source = self.find(snapshot)?;
        if source.kind != Kind::Snapshot {
            return Err(StorageError::NotASnapshot { vdi: snapshot });
        }
        let before = self.find_writable(vdi)?;
        // The smaller size while either may be there.
        self.note(vdi, &Meta::new(before.size.min(source.size), None))?;
        self.put(&source, vdi, "revert")?;
        self.note(vdi, &Meta::new(source.size, None))?;
        self.facts(vdi)
    }

    fn share(&self, vdi: VdiId, file: &File) -> Result<bool> {
        if self.sharing == Sharing::FullCopy {
            return Ok(false);
        }
        let (found, io) = (self.find_writable(vdi)?, self.io("fill", vdi));
        let target = plain().write(true).open(&found.path).map_err(&io)?;
        match rustix::fs::ioctl_ficlone(&target, file) {
            Ok(()) => Ok(true),
            // It lies in another file system, or ends in the middle of a block, of which the VDI has more.
            Err(Errno::XDEV | Errno::INVAL | Errno::OPNOTSUPP) => Ok(false),
            Err(errno) => Err(io(errno.into())),
        }
    }

    fn path(&self, vdi: VdiId) -> Result<PathBuf> {
        Ok(self.find(vdi)?.path)
    }

    fn open_source(&self, vdi: VdiId) -> Result<Box<dyn BlockSource>> {
        let found = self.find(vdi)?;
        Ok(Box::new(RawSource::open(self.clone(), &found.path)?))
    }

    fn open_sink(&self, vdi: VdiId) -> Result<Box<dyn BlockSink>> {
        Ok(Box::new(FileSink::open(&self.find_writable(vdi)?.path)?))
    }
}
